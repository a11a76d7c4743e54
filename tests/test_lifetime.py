"""Processes end with their parent, and stop gracefully when asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

PARENT = """
import subprocess, sys, time
from ctp.lifetime import Tie
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=Tie())
print(child.pid, flush=True)
time.sleep(600)
"""

SERVICE = """
import asyncio, sys
from ctp.lifetime import until_stopped

async def serve():
    print("ready", flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.to_thread(sys.stdin.readline)  # until every signal has been sent
        print("stopped", flush=True)

asyncio.run(until_stopped(serve()))
print("done", flush=True)
"""


def start(code: str) -> subprocess.Popen[str]:
    """Start Python with this code, its standard output in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_parent_leaves_no_child() -> None:
    """SIGKILL gives the parent no chance to clean up: the kernel ends the child."""
    with start(PARENT) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        gone, alive = psutil.wait_procs([child], timeout=60)
    assert not alive
    assert len(gone) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_service_finish(number: signal.Signals) -> None:
    """The service's own ending runs, a second signal does not cut it short, and the exit code is 0."""
    with start(SERVICE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        os.kill(process.pid, number)
        rest, error = process.communicate(timeout=60)
    assert (rest, error, process.returncode) == ("stopped\ndone\n", "", 0)


def test_an_error_of_the_service_passes_through() -> None:
    """A crash is not mistaken for a stop: the supervisor must see a failing exit code."""
    crash = SERVICE.replace("await asyncio.sleep(600)", "raise OSError('disk')")
    with start(crash) as process:
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "OSError: disk" in error

"""The demo's supervisor: what dies comes back, what is stopped ends, what cannot work is not tried again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ctp.errors import ConfigError
from services.supervisor import Program, Supervisor

SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def program(folder: Path, code: str) -> Program:
    """Return a program that runs a line of Python."""
    return Program("sleeper", [sys.executable, "-c", code], dict(os.environ), folder / "sleeper.log")


async def until_running(supervisor: Supervisor, *, other_than: int = 0) -> int:
    """Wait for the child to run and return its process id."""
    async with asyncio.timeout(60):
        while True:
            process = supervisor.processes.get("sleeper")
            if process is not None and process.returncode is None and process.pid != other_than:
                return process.pid
            await asyncio.sleep(0.01)


def test_a_killed_child_comes_back_and_stop_ends_it(tmp_path: Path) -> None:
    """SIGKILL is answered by a new process; stop leaves none."""

    async def story() -> int:
        supervisor = Supervisor()
        watching = asyncio.create_task(supervisor.watch(program(tmp_path, SLEEP)))
        first = await until_running(supervisor)
        os.kill(first, signal.SIGKILL)
        second = await until_running(supervisor, other_than=first)
        assert supervisor.restarts == {"sleeper": 1}
        await supervisor.stop()
        await watching
        return second

    assert not psutil.pid_exists(asyncio.run(story()))


def test_wrong_configuration_is_not_tried_again(tmp_path: Path) -> None:
    """Exit code 78 names the log that says why."""
    with pytest.raises(ConfigError, match=r"sleeper\.log"):
        asyncio.run(Supervisor().watch(program(tmp_path, "raise SystemExit(78)")))


def test_a_killed_supervisor_leaves_no_child(tmp_path: Path) -> None:
    """Ctrl-C can be handled, SIGKILL cannot: the kernel ends the children."""
    code = f"""
import asyncio, os, sys
from pathlib import Path
from services.supervisor import Program, Supervisor

async def main():
    supervisor = Supervisor()
    program = Program("sleeper", [sys.executable, "-c", {SLEEP!r}], dict(os.environ), Path({str(tmp_path)!r}) / "log")
    task = asyncio.create_task(supervisor.watch(program))
    while "sleeper" not in supervisor.processes:
        await asyncio.sleep(0.01)
    print(supervisor.processes["sleeper"].pid, flush=True)
    await task

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = psutil.Process(int(supervisor.stdout.readline()))
        supervisor.kill()
        _, alive = psutil.wait_procs([child], timeout=60)
    assert not alive

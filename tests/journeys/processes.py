"""Look at real processes and ports from a test."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest


def eventually[T](question: Callable[[], T | None], what: str, timeout_s: float = 120) -> T:
    """Ask again until the answer is something; fail naming what did not happen."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.1)
    pytest.fail(f"{what} did not happen within {timeout_s:g} s")


# Below the ports that the machine gives to connections; each process begins elsewhere, so that tests side by side do not
# choose the same one.
_LASTING = itertools.cycle(range(20_000, 32_000))
_NEXT = itertools.islice(_LASTING, os.getpid() * 7 % 12_000, None)


def free_port() -> int:
    """Return a loopback port nobody listens on, another one each time, and none that a connection takes meanwhile."""
    for port in itertools.islice(_NEXT, 12_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def processes_of(home: Path) -> list[psutil.Process]:
    """Return every process, of whatever ancestry, that runs in a home at or below this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.environ().get("CTP_HOME", "/")).is_relative_to(home)
        except psutil.Error:
            continue
        if inside and process.pid != os.getpid():
            found.append(process)
    return found


def service(home: Path, name: str) -> psutil.Process | None:
    """Return the running process of one service in a home."""
    for process in processes_of(home):
        try:
            if f"services.crypto_trader_{name}" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except psutil.Error:
            continue
    return None

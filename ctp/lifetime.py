"""How a process of ours lives and ends: never longer than its parent, and gracefully when asked.

Invariants:
1. A child started with `Tie` ends when its parent ends, also when the parent is killed with SIGKILL.
2. SIGTERM and SIGINT cancel a service once and let it finish what it must; a second signal changes nothing.
3. A process is named so that no later process of its number is taken for it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


def end_with_parent(parent: int | None = None, death_signal: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to signal this process when its parent ends.

    parent: the parent's id as known before the fork; when it has already gone, this process ends at once.
    Does nothing where the kernel cannot (anything but Linux); there a killed parent leaves its children.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(death_signal), 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


class Tie:
    """A `preexec_fn` that ties a child to the process that makes it.

    The signal is SIGKILL by default: a child that is orphaned by a crash must not linger on a graceful stop.
    """

    def __init__(self, death_signal: signal.Signals = signal.SIGKILL) -> None:
        """Remember who the parent is."""
        self._parent, self._signal = os.getpid(), death_signal

    def __call__(self) -> None:
        """Run in the child between fork and exec."""
        end_with_parent(self._parent, self._signal)


async def until_stopped(service: Coroutine[Any, Any, None]) -> None:
    """Run a service until it returns, fails, or SIGTERM or SIGINT cancels it.

    Being cancelled by a signal is the normal end and raises nothing; an error of the service passes through.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(service)
    asked = False

    def stop() -> None:
        nonlocal asked
        if not asked:
            asked = True
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not asked:  # somebody else cancelled us: that is not ours to swallow
            raise
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def this_process() -> str:
    """Name this process; `has_ended` knows it by that."""
    return name_process(os.getpid())


def name_process(number: int) -> str:
    """Name a process of this machine: machine, number and the kernel's time of its start."""
    return f"{_machine()}:{number}:{_started(number)}"


def has_ended(process: str) -> bool:
    """Tell whether a process named by `name_process` ran on this machine and has certainly ended."""
    machine, _, rest = process.partition(":")
    number, _, started = rest.partition(":")
    if machine != _machine() or not number.isdigit() or not started:
        return False
    return _started(int(number)) != started


def _machine() -> str:
    """Return this machine's name, short enough for a database column together with the rest."""
    return socket.gethostname()[:32]


def _started(number: int) -> str:
    """Return when a process started, in the kernel's ticks; empty when there is none (or no /proc)."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[19] if fields[0] not in ("Z", "X") else ""

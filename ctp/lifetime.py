"""How a process of ours lives and ends: never longer than its parent, and gracefully when asked.

Invariants:
1. A child started with `Tie` ends when its parent ends, also when the parent is killed with SIGKILL.
2. SIGTERM and SIGINT cancel a service once and let it finish what it must; a second signal changes nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Coroutine
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

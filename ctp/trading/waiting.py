"""Wait for whichever comes first: something happening, work being done, or time passing on a given clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ctp.clock import Clock


async def wait_for(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Wait until the event is set, at most that long; returns whether it is set."""
    if event.is_set():
        return True
    happening = asyncio.ensure_future(event.wait())
    passing = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({happening, passing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (happening, passing):
            task.cancel()
        await asyncio.gather(happening, passing, return_exceptions=True)
    return event.is_set()


async def within[T](work: Coroutine[Any, Any, T], clock: Clock, seconds: float) -> T:
    """Return what the work returns; after that long it is cancelled and TimeoutError raised.

    The work begins at once, not when the loop comes round: a request is signed at the moment its sender thinks.
    """
    working = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
    if working.done():
        return working.result()
    passing = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({working, passing}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise TimeoutError
        return working.result()
    finally:
        for task in (working, passing):
            task.cancel()
        await asyncio.gather(working, passing, return_exceptions=True)

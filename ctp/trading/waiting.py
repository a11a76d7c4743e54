"""Wait for whichever comes first: something happening, or time passing on a given clock."""

from __future__ import annotations

import asyncio

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

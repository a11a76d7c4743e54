"""The only source of time. Code that waits or stamps asks a `Clock`, so a test can turn the hands.

Invariants:
1. Wall time is integer milliseconds UTC; it may jump when the machine's clock is set.
2. Durations are measured with `monotonic_s`, which never runs backwards.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """What tells the time and lets a task wait."""

    def now_ms(self) -> int:
        """Return the wall time, milliseconds UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary origin; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less gives other tasks one turn."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Return the machine's wall time, milliseconds UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return the machine's monotonic time in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await asyncio.sleep(max(0.0, seconds))


class ManualClock:
    """A clock that stands still until `advance` moves it; sleepers wake in the order of their hour.

    One per event loop. `advance` never waits in real time.
    """

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        """Start at a wall time; the monotonic hand starts at zero."""
        self._now_ms = float(now_ms)
        self._monotonic_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        """Return the wall time that was set."""
        return int(self._now_ms)

    def monotonic_s(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic_s

    def jump(self, milliseconds: int) -> None:
        """Set the wall clock forward or back, as an operator or NTP does; no sleeper wakes."""
        self._now_ms += milliseconds

    def tick(self, seconds: float) -> None:
        """Move both hands without an event loop; for code that does not sleep."""
        self._now_ms = round(self._now_ms + seconds * 1000, 6)
        self._monotonic_s += seconds

    async def advance(self, seconds: float, *, turns: int = 10) -> None:
        """Move both hands, waking every sleeper at its own time and letting it run `turns` loop turns."""
        target = self._monotonic_s + seconds
        await _let_run(turns)
        while self._sleepers and self._sleepers[0][0] <= target:
            wake_at, _, future = heapq.heappop(self._sleepers)
            if future.done():  # cancelled while it slept
                continue
            self.tick(max(0.0, wake_at - self._monotonic_s))
            future.set_result(None)
            await _let_run(turns)
        self.tick(target - self._monotonic_s)
        await _let_run(turns)

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved far enough."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic_s + seconds, next(self._order), future))
        await future


async def _let_run(turns: int) -> None:
    """Give every ready task `turns` turns of the event loop."""
    for _ in range(turns):
        await asyncio.sleep(0)

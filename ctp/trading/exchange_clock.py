"""How far our wall clock runs ahead of one exchange's, which decides whether signed requests are accepted at all.

Invariants:
1. A known lead is wrong by at most `MOST_ERROR_MS`, which the fence of every order allows for.
2. Of several answers the one with the shortest round trip counts; one during which our clock was set counts for nothing.
3. When every answer was slow, a lead that they do not contradict is kept; otherwise the best one is used and not trusted:
   `is_off` then stops entries, while exits and protection go on.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from ctp.clock import Clock
from ctp.errors import ExchangeDown, ExchangeError
from ctp.logs import logger
from ctp.trading.waiting import within

MOST_DRIFT_MS = 1000  # further off than this no entry leaves
MOST_ERROR_MS = 250  # of a lead that is known: half a round trip
SAMPLES = 5
SHORT_ROUND_TRIP_S = 0.1  # good enough: no need to ask again
MEASURED_WITHIN_S = 1.5  # an order may be waiting to be signed anew
MOST_JUMP_MS = 20  # by which the wall clock may disagree with the monotonic one over one round trip


class _Sample(NamedTuple):
    """One answer: the lead it shows, within half its round trip."""

    round_trip_s: float
    lead_ms: int

    @property
    def error_ms(self) -> float:
        """Return by how much the lead may be wrong."""
        return self.round_trip_s * 500


class ExchangeClock:
    """The lead of our clock, shared by every account on a venue."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, int]], clock: Clock) -> None:
        """Take a question that the exchange answers with its time in milliseconds; nothing is measured yet."""
        self._ask, self._clock = ask, clock
        self._lock = asyncio.Lock()
        self.lead_ms = 0
        self.is_known = False
        self.measurements = 0

    @property
    def is_off(self) -> bool:
        """Return whether the clocks are too far apart to enter, or may be."""
        return not self.is_known or abs(self.lead_ms) > MOST_DRIFT_MS

    async def measure(self) -> None:
        """Measure the lead. Raises ExchangeDown or ExchangeBusy when there was no answer at all; the lead stays."""
        async with self._lock:
            await self._measure()

    async def measure_after(self, seen: int) -> None:
        """Measure, unless somebody has since `measurements` was `seen`; a failure leaves the lead as it is."""
        async with self._lock:
            if self.measurements != seen:
                return
            try:
                await self._measure()
            except ExchangeError as error:
                logger("ctp.trading").warning("clock_unknown", error=str(error))

    async def _measure(self) -> None:
        """Ask until an answer comes fast, or often enough, and take the best one."""
        samples: list[_Sample] = []
        started_s = self._clock.monotonic_s()
        for number in itertools.count(1):
            left_s = MEASURED_WITHIN_S - (self._clock.monotonic_s() - started_s)
            if samples and left_s <= 0:
                break
            try:
                sample = await self._sample(max(left_s, SHORT_ROUND_TRIP_S))
            except ExchangeDown:
                if not samples:
                    raise
                break
            if sample is not None:
                samples.append(sample)
            if number >= SAMPLES or (sample is not None and sample.round_trip_s <= SHORT_ROUND_TRIP_S):
                break
        if not samples:
            raise ExchangeDown("our clock was being set while the exchange's was asked for")
        best = min(samples)
        self.measurements += 1
        if best.error_ms <= MOST_ERROR_MS:
            self.lead_ms, self.is_known = best.lead_ms, True
        elif not self.is_known or abs(best.lead_ms - self.lead_ms) > best.error_ms:
            self.lead_ms, self.is_known = best.lead_ms, False
        if self.is_off:
            logger("ctp.trading").warning(
                "clock_off", lead_ms=self.lead_ms, round_trip_s=round(best.round_trip_s, 3), known=self.is_known
            )

    async def _sample(self, within_s: float) -> _Sample | None:
        """Ask once; None when our clock was set meanwhile. Raises ExchangeDown or ExchangeBusy."""
        wall_ms, started_s = self._clock.now_ms(), self._clock.monotonic_s()
        try:
            told = await within(self._ask(), self._clock, within_s)
        except TimeoutError:
            raise ExchangeDown("the exchange did not tell its time") from None
        round_trip_s = self._clock.monotonic_s() - started_s
        passed_ms = self._clock.now_ms() - wall_ms
        if abs(passed_ms - round_trip_s * 1000) > MOST_JUMP_MS:
            return None
        return _Sample(round_trip_s, wall_ms + passed_ms // 2 - told)

"""Download history from an exchange, page by page; interrupted at any moment it goes on from there.

Owns which ranges are asked for and when a hole counts as the exchange's own.

Invariants:
1. Every page is on disk before the next is asked for. What is stored is not asked for again, except the newest
   candle, so that one stored too early is corrected and reported.
2. A candle that has not closed is never stored.
3. A hole is asked for once more in the same download. Still empty it is remembered as absent and not asked for
   again, except by a repair. The end of the range is never remembered: an exchange may be late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ctp.errors import ExchangeDown, InputError
from ctp.market.absent import Range, add_absent, read_absent, subtract
from ctp.market.candles import Candles, FundingRates, Gap, find_gaps
from ctp.market.exchange_source import HistorySource, Sleep, check_timeframe, fetch_patiently, page_limit
from ctp.market.series import MINUTE_MS, Series
from ctp.market.store import CandleStore, Revision
from ctp.market.validation import iso

# Funding intervals differ and change: the shortest one decides how far an empty page reaches.
SHORTEST_FUNDING_MS = 60 * MINUTE_MS


class Progress(NamedTuple):
    """Tell how far a download is: `reached` runs from `start` to `end`, all milliseconds."""

    series: Series
    start: int
    reached: int
    end: int
    added: int

    @property
    def fraction(self) -> float:
        """Return 0 to 1."""
        return min(1.0, max(0.0, (self.reached - self.start) / max(1, self.end - self.start)))


class Downloaded(NamedTuple):
    """Tell what a download did; `gaps` are the holes that remain between stored candles of the range."""

    series: Series
    requests: int
    added: int
    revised: tuple[Revision, ...]
    gaps: tuple[Gap, ...]


def system_now_ms() -> int:
    """Return the system's time in milliseconds."""
    return time.time_ns() // 1_000_000


async def download(
    source: HistorySource,
    store: CandleStore,
    series: Series,
    since: int,
    until: int | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    ask_absent: bool = False,
    now_ms: Callable[[], int] = system_now_ms,
    sleep: Sleep = asyncio.sleep,
) -> Downloaded:
    """Fetch what is missing of a series in [since, until) and store it page by page.

    source: any ccxt async exchange; it keeps its own rate limit. until: now without it.
    ask_absent: also ask again for holes the exchange is known to have.
    Raises InputError, ExchangeBusy, ExchangeDown, ExchangeError; what was fetched before stays stored.
    """
    check_timeframe(source, series)
    task = _Download(source, store, series, on_progress, sleep)
    task.start, task.end = _aligned(series, since, now_ms() if until is None else min(until, now_ms()))
    if task.start >= task.end:
        bound = f"must be at least one closed candle before {iso(task.end)}"
        raise InputError("since", iso(since), bound)
    return await task.run(ask_absent)


async def repair(
    source: HistorySource,
    store: CandleStore,
    series: Series,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Downloaded:
    """Ask once more for every hole between the first and the last stored candle; funding has no holes to see."""
    times = await asyncio.to_thread(store.times, series)
    if series.kind == "funding" or times.size < 2:
        return Downloaded(series, 0, 0, (), ())
    after = int(times[-1]) + series.length_ms
    return await download(
        source, store, series, int(times[0]), after, on_progress=on_progress, ask_absent=True, sleep=sleep
    )


def _aligned(series: Series, since: int, until: int) -> Range:
    """Return the open times [first, end) of the candles that start at or after since and closed by until."""
    if series.kind == "funding":
        return since - since % MINUTE_MS, until
    length = series.length_ms
    return -(-since // length) * length, until // length * length


class _Download:
    """Carry one download's counters from page to page."""

    def __init__(
        self,
        source: HistorySource,
        store: CandleStore,
        series: Series,
        on_progress: Callable[[Progress], None] | None,
        sleep: Sleep,
    ) -> None:
        """Start with nothing asked."""
        self.source, self.store, self.series = source, store, series
        self.on_progress, self.sleep = on_progress, sleep
        self.limit = page_limit(series)
        self.step_ms = SHORTEST_FUNDING_MS if series.kind == "funding" else series.length_ms
        self.start = self.end = 0
        self.requests = self.added = 0
        self.revised: dict[int, Revision] = {}

    async def run(self, ask_absent: bool) -> Downloaded:
        """Ask for what is missing, then once more for the holes, and remember those that stay."""
        folder = self.store.folder(self.series)
        known = [] if ask_absent else read_absent(folder)
        times = await self._stored()
        wanted = subtract(self._missing(times), known)
        if times.size and wanted and wanted[-1][0] > times[-1]:
            # The newest stored candle may have been fetched while it was still forming.
            wanted[-1] = (int(times[-1]), self.end)
        await self._fill(wanted)
        holes = subtract(self._inner(await self._stored()), known)
        if holes and self.series.kind != "funding":
            await self._fill(holes)
            holes = self._inner(await self._stored())
        if holes:
            await asyncio.to_thread(add_absent, folder, holes)
        times = await self._stored()
        gaps = [] if self.series.kind == "funding" else find_gaps(times, self.series.length_ms)
        return Downloaded(self.series, self.requests, self.added, tuple(self.revised.values()), tuple(gaps))

    async def _stored(self) -> np.ndarray:
        """Return the stored times inside the range."""
        times = await asyncio.to_thread(self.store.times, self.series)
        return times[(times >= self.start) & (times < self.end)]

    def _missing(self, times: np.ndarray) -> list[Range]:
        """Return the ranges without stored rows; of funding only those before and after everything stored."""
        if self.series.kind == "funding":
            times = times[[0, -1]] if times.size else times
            edges = [(self.start, int(times[0])), (int(times[-1]) + MINUTE_MS, self.end)] if times.size else []
            return [(a, b) for a, b in edges if a < b] if edges else [(self.start, self.end)]
        points = np.concatenate([[self.start - self.step_ms], times, [self.end]])
        after = np.flatnonzero(np.diff(points) != self.step_ms)
        return [(int(points[n]) + self.step_ms, int(points[n + 1])) for n in after]

    def _inner(self, times: np.ndarray) -> list[Range]:
        """Return the missing ranges that a stored row follows."""
        return [found for found in self._missing(times) if times.size and found[1] <= int(times[-1])]

    async def _fill(self, ranges: list[Range]) -> None:
        """Page through ranges; small ones that fit one page together are asked for together."""
        together: list[Range] = []
        for start, end in ranges:
            if together and end - together[-1][0] <= self.limit * self.step_ms and self.series.kind != "funding":
                together[-1] = (together[-1][0], end)
            else:
                together.append((start, end))
        for start, end in together:
            await self._page_through(start, end)

    async def _page_through(self, start: int, end: int) -> None:
        """Fetch and store one page after the other until the range is through."""
        cursor = start
        while cursor < end:
            page_end = cursor + self.limit * self.step_ms
            rows = await fetch_patiently(self.source, self.series, cursor, page_end, self.limit, self.sleep)
            self.requests += 1
            data = self._checked(rows, cursor, end)
            if data is not None:
                done = await asyncio.to_thread(self.store.append, data)
                self.added += done.added
                self.revised |= {revision.time: revision for revision in done.revised}
            cursor = self._next(rows, data, page_end, end)
            if self.on_progress is not None:
                self.on_progress(Progress(self.series, self.start, min(cursor, end), self.end, self.added))

    def _next(self, rows: list[list[Any]], data: Candles | FundingRates | None, page_end: int, end: int) -> int:
        """Return where to ask on after a page."""
        if self.series.kind == "funding":  # asked for with an end: a page that is not full is all there is
            full = data is not None and len(rows) >= self.limit
            return int(data.time[-1]) + MINUTE_MS if full and data is not None else page_end
        if data is not None:
            return int(data.time[-1]) + self.step_ms
        # An exchange that answers from `since` on skips the hole; one that answers by windows sends nothing.
        return end if any(row[0] >= end for row in rows) else page_end

    def _checked(self, rows: list[list[Any]], start: int, end: int) -> Candles | FundingRates | None:
        """Return a page's rows in [start, end) as validated data, or None when there are none."""
        width = len(self.series.row.names or ())
        try:
            table = np.array([row[:width] for row in rows], dtype=np.float64).reshape(-1, width)
            if not np.isfinite(table[:, 0]).all():
                raise ValueError("a row without a time")
            table = np.unique(table[(table[:, 0] >= start) & (table[:, 0] < end)], axis=0)
            return self._data(table) if table.size else None
        except (InputError, ValueError, TypeError) as error:
            raise ExchangeDown(f"{self.series}: the exchange sent what cannot be right: {error}") from error

    def _data(self, table: np.ndarray) -> Candles | FundingRates:
        """Return rows of numbers, sorted by time, as validated data."""
        exchange, symbol, timeframe, kind = self.series
        times = table[:, 0].astype(np.int64)
        if kind == "funding":
            return FundingRates.checked(symbol, exchange, times, table[:, 1])
        opens, high, low, close, volume = table[:, 1:].T
        return Candles.checked(symbol, timeframe, exchange, times, opens, high, low, close, volume, kind)

"""Where the prices of the simulated exchange come from: recorded candles, or a generator.

Owns the Feed port and the recorded feed. A feed knows nothing of orders.

Invariants:
1. Candles of a symbol are strictly in order of time; a recorded gap stays a gap.
2. Asking for the same candle twice gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]
Numbers = NDArray[np.float64]


class Candle(NamedTuple):
    """One candle, named by its open time in milliseconds."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Mark(NamedTuple):
    """The mark price of one candle: where funding and liquidation look."""

    open: float
    high: float
    low: float
    close: float


class Candles(NamedTuple):
    """Columns of candles, oldest first."""

    time: Times
    open: Numbers
    high: Numbers
    low: Numbers
    close: Numbers
    volume: Numbers

    def at(self, row: int) -> Candle:
        """Return one candle as plain Python numbers."""
        return Candle(
            int(self.time[row]), float(self.open[row]), float(self.high[row]),
            float(self.low[row]), float(self.close[row]), float(self.volume[row]),
        )  # fmt: skip

    def cut(self, start: int, end: int) -> Candles:
        """Return the candles with start ≤ open time ≤ end, without copying."""
        first, last = np.searchsorted(self.time, start, "left"), np.searchsorted(self.time, end, "right")
        return Candles(
            self.time[first:last], self.open[first:last], self.high[first:last], self.low[first:last],
            self.close[first:last], self.volume[first:last],
        )  # fmt: skip


class Payment(NamedTuple):
    """One funding time, rounded down to the minute, and its rate."""

    time: int
    rate: float


class Feed(Protocol):
    """What the exchange asks of a price source."""

    symbols: tuple[str, ...]
    timeframe_ms: int

    def first_time(self, history: int) -> int:
        """Return the open time to begin with, so that about `history` candles lie before it."""

    def next_time(self, after: int) -> int | None:
        """Return the first open time of any symbol later than `after`, or None at the end of the data."""

    def candle(self, symbol: str, time: int) -> Candle | None:
        """Return the symbol's candle of that open time, or None in a gap."""

    def mark(self, symbol: str, time: int) -> Mark | None:
        """Return the mark candle of that open time, if there is one."""

    def candles(self, symbol: str, start: int, end: int) -> Candles:
        """Return the candles with start ≤ open time ≤ end."""

    def funding(self, symbol: str, after: int, until: int) -> Sequence[Payment]:
        """Return the funding payments with after < time ≤ until."""


class Recording(NamedTuple):
    """Recorded candles of one symbol, with mark candles and funding when there are any.

    mark: columns time, open, high, low, close. funding: columns time, rate.
    """

    candles: Candles
    mark: tuple[Times, Numbers, Numbers, Numbers, Numbers] | None = None
    funding: tuple[Times, Numbers] | None = None


def recording(
    columns: Mapping[str, Sequence[float] | NDArray[np.generic]],
    mark: Mapping[str, Sequence[float] | NDArray[np.generic]] | None = None,
    funding: Mapping[str, Sequence[float] | NDArray[np.generic]] | None = None,
) -> Recording:
    """Make a recording of columns named ts, open, high, low, close, volume (mark: the same; funding: ts, rate).

    Raises ValueError naming the first bad row when times are not strictly in order or a price is not above 0.
    """
    times = np.asarray(columns["ts"], dtype=np.int64)
    numbers = [np.asarray(columns[name], dtype=np.float64) for name in ("open", "high", "low", "close", "volume")]
    if len(times) == 0:
        raise ValueError("a recording needs at least one candle")
    wrong_order = np.flatnonzero(np.diff(times) <= 0)
    if len(wrong_order):
        raise ValueError(f"row {int(wrong_order[0]) + 1}: open time {times[wrong_order[0] + 1]} is not after the last")
    for name, column in zip(("open", "high", "low", "close"), numbers, strict=False):
        bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
        if len(bad):
            raise ValueError(f"row {int(bad[0])}: {name} = {column[bad[0]]} is not a price")
    marks = payments = None
    if mark is not None:
        opened, high, low, closed = (np.asarray(mark[n], dtype=np.float64) for n in ("open", "high", "low", "close"))
        marks = (np.asarray(mark["ts"], dtype=np.int64), opened, high, low, closed)
    if funding is not None:
        moments = np.asarray(funding["ts"], dtype=np.int64) // 60_000 * 60_000
        payments = (moments, np.asarray(funding["rate"], dtype=np.float64))
    return Recording(Candles(times, *numbers), marks, payments)


class RecordedFeed:
    """Replay recordings; symbols may start, end and pause at different times."""

    def __init__(self, recordings: Mapping[str, Recording], timeframe_ms: int) -> None:
        """Take one recording per unified symbol, all of one timeframe."""
        if not recordings:
            raise ValueError("a recorded feed needs at least one symbol")
        self.symbols = tuple(sorted(recordings))
        self.timeframe_ms = timeframe_ms
        self._recordings = dict(recordings)
        self._times = np.unique(np.concatenate([item.candles.time for item in recordings.values()]))

    def first_time(self, history: int) -> int:
        """Return the open time after `history` candles, or half-way through shorter data."""
        row = history if history < len(self._times) else len(self._times) // 2
        return int(self._times[row])

    def next_time(self, after: int) -> int | None:
        """Return the next open time any symbol has."""
        row = int(np.searchsorted(self._times, after, "right"))
        return int(self._times[row]) if row < len(self._times) else None

    def candle(self, symbol: str, time: int) -> Candle | None:
        """Return the recorded candle, or None in a gap."""
        candles = self._recordings[symbol].candles
        row = int(np.searchsorted(candles.time, time))
        return candles.at(row) if row < len(candles.time) and candles.time[row] == time else None

    def mark(self, symbol: str, time: int) -> Mark | None:
        """Return the recorded mark candle, if any."""
        mark = self._recordings[symbol].mark
        if mark is None:
            return None
        row = int(np.searchsorted(mark[0], time))
        if row >= len(mark[0]) or mark[0][row] != time:
            return None
        return Mark(*(float(column[row]) for column in mark[1:]))

    def candles(self, symbol: str, start: int, end: int) -> Candles:
        """Return the recorded candles of a span."""
        return self._recordings[symbol].candles.cut(start, end)

    def funding(self, symbol: str, after: int, until: int) -> Sequence[Payment]:
        """Return the recorded funding of a span."""
        funding = self._recordings[symbol].funding
        if funding is None:
            return ()
        first, last = np.searchsorted(funding[0], after, "right"), np.searchsorted(funding[0], until, "right")
        return [Payment(int(funding[0][row]), float(funding[1][row])) for row in range(first, last)]

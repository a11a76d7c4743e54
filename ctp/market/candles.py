"""Candles and funding rates: closed, UTC, validated where they enter.

Owns the two frozen types that every other room takes market history as.

Invariants:
1. Arrays are C-contiguous int64 (time) and float64, equally long and writable. Nobody writes to them: a read-only
   array is another type to the compiler, and every kernel would be compiled a second time.
2. What `checked` returns has no defect in the sense of `validation`; the plain constructor trusts its caller.
3. Missing candles are absent; nothing is ever filled in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ctp.errors import InputError
from ctp.market.series import CANDLE_FIELDS, MINUTE_MS, Kind, Series, timeframe_ms
from ctp.market.validation import candle_defect, funding_defect, iso, refuse

if TYPE_CHECKING:
    import pandas as pd


class Gap(NamedTuple):
    """Name missing candles: the first missing open time, the next one there is, and how many lie between."""

    start: int
    end: int
    missing: int

    def __str__(self) -> str:
        """Return the gap in the words of a message."""
        return f"{iso(self.start)} to {iso(self.end)}: {self.missing} missing"


def find_gaps(time: np.ndarray, length_ms: int) -> list[Gap]:
    """Return the holes between strictly increasing open times, oldest first."""
    after = np.flatnonzero(np.diff(time) != length_ms)
    starts, ends = time[after] + length_ms, time[after + 1]
    return [Gap(int(a), int(b), int(b - a) // length_ms) for a, b in zip(starts, ends, strict=True)]


def _plain(name: str, values: Any, dtype: type) -> np.ndarray:
    """Return values as the one array type kernels are compiled for, copying only when they are not."""
    given = np.asarray(values)
    if dtype is np.int64 and given.dtype.kind not in "iu":
        raise InputError(name, str(given.dtype), "must be integer milliseconds UTC")
    array: np.ndarray = np.ascontiguousarray(given, dtype=dtype)
    return array if array.flags.writeable and array.flags.aligned else array.copy()


def _same_length(arrays: dict[str, np.ndarray]) -> None:
    """Refuse arrays of unequal length or more than one dimension."""
    count = arrays["time"].size
    for name, array in arrays.items():
        if array.shape != (count,):
            raise InputError(name, array.shape, f"must be one-dimensional with {count} values, one per time")


@dataclass(frozen=True, eq=False, slots=True)
class Candles:
    """Hold one symbol's candles, oldest first; `time` is the open time in milliseconds UTC.

    Prices are quote per base, volume is base units (0 in a mark series). Equality compares every value.
    """

    symbol: str
    timeframe: str
    exchange: str
    time: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    kind: Kind = "candles"

    def __post_init__(self) -> None:
        """Bring the arrays into the one form kernels know; values are not looked at."""
        arrays = {"time": _plain("time", self.time, np.int64)}
        arrays |= {name: _plain(name, getattr(self, name), np.float64) for name in CANDLE_FIELDS}
        _same_length(arrays)
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    @classmethod
    def checked(
        cls,
        symbol: str,
        timeframe: str,
        exchange: str,
        time: Any,
        open: Any,
        high: Any,
        low: Any,
        close: Any,
        volume: Any,
        kind: Kind = "candles",
        *,
        rows: np.ndarray | None = None,
        source: str = "",
    ) -> Candles:
        """Return candles after finding nothing wrong with them; InputError names the first bad row.

        rows, source: the original row of each entry and the file, for the message.
        """
        series = Series.checked(exchange, symbol, timeframe, kind)
        candles = cls(symbol, timeframe, exchange, time, open, high, low, close, volume, kind)
        if not len(candles):
            raise InputError("candles", 0, f"at least one candle is needed{f'; {source}' if source else ''}")
        defect = candle_defect(candles.time, candles.columns(), series.length_ms)
        if defect is not None:
            raise refuse(defect, candles.time, rows=rows, source=source)
        return candles

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, symbol: str, timeframe: str, exchange: str = "binance") -> Candles:
        """Return validated candles from a frame indexed by open time (naive times are UTC)."""
        import pandas as pd  # here, because the bot takes candles and never a frame: 40 MB less

        index = frame.index
        if not isinstance(index, pd.DatetimeIndex):
            raise InputError("index", type(index).__name__, "must be a DatetimeIndex of open times")
        missing = [name for name in CANDLE_FIELDS if name not in frame.columns]
        if missing:
            raise InputError("columns", list(frame.columns), f"lack {', '.join(missing)}")
        aware = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
        # Without the unit, pandas 3 hands out whatever resolution the index happens to have.
        time = aware.as_unit("ms")
        if index.hasnans or (time != aware).any():
            raise InputError("index", str(index.dtype), "must hold whole milliseconds and no missing time")
        opens, high, low, close, volume = (frame[name].to_numpy(dtype=np.float64) for name in CANDLE_FIELDS)
        return cls.checked(symbol, timeframe, exchange, time.asi8, opens, high, low, close, volume)

    def to_frame(self) -> pd.DataFrame:
        """Return a frame indexed by aware UTC open time, with copies of the five columns."""
        import pandas as pd

        index = pd.DatetimeIndex(self.time.astype("datetime64[ms]"), name="time").tz_localize("UTC")
        return pd.DataFrame({name: values.copy() for name, values in self.columns().items()}, index=index)

    @property
    def length_ms(self) -> int:
        """Return one candle's length in milliseconds."""
        return timeframe_ms(self.timeframe)

    @property
    def series(self) -> Series:
        """Return the name these candles are stored under."""
        return Series(self.exchange, self.symbol, self.timeframe, self.kind)

    def columns(self) -> dict[str, np.ndarray]:
        """Return open, high, low, close and volume by name; the arrays themselves."""
        return {name: getattr(self, name) for name in CANDLE_FIELDS}

    def between(self, start: int | None = None, end: int | None = None) -> Candles:
        """Return the candles that open in [start, end), milliseconds; views, possibly none."""
        first = 0 if start is None else int(np.searchsorted(self.time, start))
        last = len(self) if end is None else max(first, int(np.searchsorted(self.time, end)))
        cut = slice(first, last)
        values = {name: values[cut] for name, values in self.columns().items()}
        return Candles(self.symbol, self.timeframe, self.exchange, self.time[cut], **values, kind=self.kind)

    def gaps(self) -> list[Gap]:
        """Return the holes between the first and the last candle, oldest first."""
        return find_gaps(self.time, self.length_ms)

    def __len__(self) -> int:
        """Return the number of candles."""
        return self.time.size

    def __eq__(self, other: object) -> bool:
        """Tell whether name and every value are the same, to the bit."""
        if not isinstance(other, Candles):
            return NotImplemented
        if self.series != other.series or not np.array_equal(self.time, other.time):
            return False
        mine, theirs = self.columns(), other.columns()
        return all(np.array_equal(mine[name].view(np.int64), theirs[name].view(np.int64)) for name in mine)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return name, count and range instead of arrays."""
        span = f", {iso(int(self.time[0]))} to {iso(int(self.time[-1]))}" if len(self) else ""
        return f"Candles({self.series}, {len(self)} candles{span})"


@dataclass(frozen=True, eq=False, slots=True)
class FundingRates:
    """Hold a perpetual's funding payments, oldest first: time in whole minutes, rate as a fraction per interval."""

    symbol: str
    exchange: str
    time: np.ndarray
    rate: np.ndarray

    def __post_init__(self) -> None:
        """Bring the arrays into the one form kernels know; values are not looked at."""
        arrays = {"time": _plain("time", self.time, np.int64), "rate": _plain("rate", self.rate, np.float64)}
        _same_length(arrays)
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    @classmethod
    def checked(
        cls, symbol: str, exchange: str, time: Any, rate: Any, *, rows: np.ndarray | None = None, source: str = ""
    ) -> FundingRates:
        """Return validated rates, each time rounded down to its minute.

        Exchanges stamp a payment some milliseconds late, differently in each copy: without rounding at the door
        the same payment from two downloads would be charged twice.
        """
        Series.checked(exchange, symbol, "", "funding")
        exact = _plain("time", time, np.int64)
        rates = cls(symbol, exchange, exact - exact % MINUTE_MS, rate)
        if not len(rates):
            raise InputError("funding", 0, f"at least one rate is needed{f'; {source}' if source else ''}")
        defect = funding_defect(rates.time, rates.rate)
        if defect is not None:
            raise refuse(defect, rates.time, rows=rows, source=source)
        return rates

    @property
    def series(self) -> Series:
        """Return the name these rates are stored under."""
        return Series(self.exchange, self.symbol, "", "funding")

    def between(self, start: int | None = None, end: int | None = None) -> FundingRates:
        """Return the payments in [start, end), milliseconds; views, possibly none."""
        first = 0 if start is None else int(np.searchsorted(self.time, start))
        last = len(self) if end is None else max(first, int(np.searchsorted(self.time, end)))
        return FundingRates(self.symbol, self.exchange, self.time[first:last], self.rate[first:last])

    def __len__(self) -> int:
        """Return the number of payments."""
        return self.time.size

    def __eq__(self, other: object) -> bool:
        """Tell whether name and every value are the same, to the bit."""
        if not isinstance(other, FundingRates):
            return NotImplemented
        same = self.series == other.series and np.array_equal(self.time, other.time)
        return same and np.array_equal(self.rate.view(np.int64), other.rate.view(np.int64))

    __hash__ = None  # type: ignore[assignment]

"""Find the first thing wrong with candles or funding rates.

Owns what a valid series is. Gaps are not a defect: they are listed, never filled.

Invariants:
1. The defect reported is the one in the first bad row, in the order the rows came.
2. Data without a defect is strictly increasing in time, on its timeframe's grid, finite, with prices above 0,
   volume at least 0 and low <= open, close <= high.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ctp.errors import InputError
from ctp.market.series import CANDLE_FIELDS, TIMEFRAMES

LATEST_MS = 4_102_444_800_000  # 2100-01-01: anything later is a time in another unit
PRICES = CANDLE_FIELDS[:4]


class Defect(NamedTuple):
    """Tell what is wrong with one row; `position` counts from 0."""

    position: int
    field: str
    value: object
    bound: str


def iso(time_ms: int) -> str:
    """Return milliseconds as ISO 8601 UTC, to the millisecond only where it has any."""
    whole = time_ms % 1000 == 0
    return f"{np.datetime64(int(time_ms) // 1000, 's') if whole else np.datetime64(int(time_ms), 'ms')}Z"


def refuse(defect: Defect, time: np.ndarray, *, rows: np.ndarray | None = None, source: str = "") -> InputError:
    """Return the one error that names the row (counted from 1), its time, the field, the value and what is wrong.

    rows: the original row index of each entry when rows were moved or dropped before.
    source: the file, when there is one.
    """
    row = int(defect.position if rows is None else rows[defect.position]) + 1
    when = int(time[defect.position])
    at = f" ({iso(when)})" if 0 <= when < LATEST_MS else ""
    where = f"row {row}{at}" + (f" of {source}" if source else "")
    return InputError(defect.field, defect.value, f"{defect.bound}; {where}")


def candle_defect(time: np.ndarray, columns: Mapping[str, np.ndarray], length_ms: int) -> Defect | None:
    """Return the first row's defect, or None.

    time: int64 open times in milliseconds. columns: float64 open, high, low, close, volume.
    """
    bad: list[tuple[int, str, object, str]] = []

    def found(mask: np.ndarray, field: str, values: np.ndarray, bound: str) -> None:
        """Keep the first row of one check."""
        index = int(mask.argmax()) if mask.size else 0
        if mask.size and mask[index]:
            bad.append((index, field, values[index].item(), bound))

    for field in CANDLE_FIELDS:
        found(~np.isfinite(columns[field]), field, columns[field], "must be a finite number")
    for field in PRICES:
        found(columns[field] <= 0, field, columns[field], "must be above 0")
    found(columns["volume"] < 0, "volume", columns["volume"], "must be 0 or more")
    low, high = columns["low"], columns["high"]
    found(high < low, "high", high, "must not be below the low")
    for field in ("open", "close"):
        found(columns[field] < low, "low", low, f"must not be above the {field}")
        found(columns[field] > high, "high", high, f"must not be below the {field}")
    bad += _time_defects(time)
    off_grid = time % length_ms != 0
    name = next(name for name, length in TIMEFRAMES.items() if length == length_ms)
    found(off_grid, "time", time, f"is not on the {name} grid: the timeframe is wrong or the time is shifted")
    return _first(bad)


def funding_defect(time: np.ndarray, rate: np.ndarray) -> Defect | None:
    """Return the first row's defect, or None. time: int64 milliseconds. rate: fraction per interval."""
    bad = _time_defects(time)
    for mask, bound in (
        (~np.isfinite(rate), "must be a finite number"),
        (np.abs(rate) >= 1, "must be a fraction between -1 and 1"),
    ):
        if mask.any():
            index = int(mask.argmax())
            bad.append((index, "rate", rate[index].item(), bound))
    return _first(bad)


def smallest_grid_ms(time: np.ndarray) -> int | None:
    """Return the greatest step all times share, or None for fewer than two different times.

    A file of hourly candles shares 3,600,000 however many hours it lacks, so a wrong timeframe shows.
    """
    steps = np.diff(np.unique(time))
    return int(np.gcd.reduce(steps)) if steps.size else None


def timeframe_name(length_ms: int) -> str:
    """Return a length in the words of a message: the timeframe's name, or its milliseconds."""
    return next((name for name, length in TIMEFRAMES.items() if length == length_ms), f"{length_ms} ms")


def _time_defects(time: np.ndarray) -> list[tuple[int, str, object, str]]:
    """Return the first row out of range, the first duplicate and the first out of order."""
    bad: list[tuple[int, str, object, str]] = []
    outside = (time < 0) | (time >= LATEST_MS)
    if outside.any():
        index = int(outside.argmax())
        bad.append((index, "time", int(time[index]), "must be milliseconds between 1970 and 2100"))
    steps = np.diff(time)
    for mask, bound in (
        (steps == 0, "is the same as the row before: a duplicate"),
        (steps < 0, "is before the row above it: not in order"),
    ):
        if mask.any():
            index = int(mask.argmax()) + 1
            bad.append((index, "time", int(time[index]), bound))
    return bad


def _first(bad: list[tuple[int, str, object, str]]) -> Defect | None:
    """Return the defect of the lowest row; within a row the check that came first."""
    return Defect(*min(bad, key=lambda entry: entry[0])) if bad else None

"""Bring a file of candles or funding rates into the store, whole or not at all.

Owns what is refused and what `repair` may mend.

Invariants:
1. Nothing is written unless every row is good; without `repair` the first defect is the error.
2. A repair only moves or drops rows, never changes a value, and is listed with the rows of the file it concerns.
3. Two different rows for one time are never repaired: nobody can know which one is right.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ctp.errors import InputError
from ctp.market.candles import Candles, FundingRates, Gap
from ctp.market.file_readers import read_columns
from ctp.market.series import CANDLE_FIELDS, MINUTE_MS, Series
from ctp.market.store import CandleStore, Revision
from ctp.market.validation import candle_defect, iso, refuse, smallest_grid_ms, timeframe_name


class Repair(NamedTuple):
    """Name one kind of repair: what was done, to which rows (counted from 1), and the time of the first."""

    action: str
    rows: tuple[int, ...]
    first_time: int

    def __str__(self) -> str:
        """Return the repair in the words of a message."""
        return f"{self.action}: {len(self.rows)} rows, first row {self.rows[0]} ({iso(self.first_time)})"


class Imported(NamedTuple):
    """Tell what an import did; `gaps` are those inside the file."""

    series: Series
    rows: int
    added: int
    unchanged: int
    revised: tuple[Revision, ...]
    repairs: tuple[Repair, ...]
    gaps: tuple[Gap, ...]


def import_file(
    path: Path, series: Series, store: CandleStore, *, repair: bool = False, now_ms: int | None = None
) -> Imported:
    """Read, check and store one file; InputError names the first bad row and nothing is written.

    repair: drop rows with a missing value, unclosed candles and exact duplicates, and sort; each is listed.
    now_ms: the time at which a candle must be closed; the system's clock without it.
    """
    data, repairs, count = read_file(path, series, repair=repair, now_ms=now_ms)
    done = store.append(data)
    gaps = tuple(data.gaps()) if isinstance(data, Candles) else ()
    return Imported(series, count, done.added, done.unchanged, done.revised, repairs, gaps)


def read_file(
    path: Path, series: Series, *, repair: bool = False, now_ms: int | None = None
) -> tuple[Candles | FundingRates, tuple[Repair, ...], int]:
    """Return a file's validated data, the repairs made and the number of rows read, without storing anything."""
    columns = read_columns(path, series)
    count = columns["ts"].size
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    length = MINUTE_MS if series.kind == "funding" else series.length_ms
    if series.kind == "funding":
        columns["ts"] = columns["ts"] - columns["ts"] % MINUTE_MS
    # A value that looks wrong may only be a column mix-up: the row is named first, the timeframe second.
    rows = np.arange(count)
    repairs: list[Repair] = []
    if repair:
        columns, rows = _repaired(columns, rows, now - length, repairs)
        if not rows.size:
            raise InputError("file", path.name, "holds no usable row: each one lacks a value or is not closed yet")
    data = _checked(columns, rows, series, path.name)
    if isinstance(data, Candles):
        _check_timeframe(data, path.name)
    _check_closed(columns["ts"], rows, now - length, path.name)
    return data, tuple(repairs), count


def _checked(columns: dict[str, np.ndarray], rows: np.ndarray, series: Series, source: str) -> Candles | FundingRates:
    """Return the columns as validated data."""
    if series.kind == "funding":
        return FundingRates.checked(
            series.symbol, series.exchange, columns["ts"], columns["rate"], rows=rows, source=source
        )
    defect = candle_defect(columns["ts"], columns, series.length_ms)
    if defect is not None:
        hint = _looks_like(columns["ts"], series.length_ms) if "grid" in defect.bound else ""
        raise refuse(defect._replace(bound=defect.bound + hint), columns["ts"], rows=rows, source=source)
    values = {name: columns[name] for name in CANDLE_FIELDS}
    return Candles(series.symbol, series.timeframe, series.exchange, columns["ts"], **values, kind=series.kind)


def _looks_like(times: np.ndarray, length_ms: int) -> str:
    """Return a hint at the timeframe the file seems to have, or nothing."""
    grid = smallest_grid_ms(times)
    return f"; the file looks like {timeframe_name(grid)}" if grid and grid != length_ms else ""


def _check_timeframe(candles: Candles, source: str) -> None:
    """Refuse a file all of whose candles lie on a coarser grid, such as hours imported as minutes."""
    grid = smallest_grid_ms(candles.time)
    if grid is not None and grid > candles.length_ms:
        bound = f"the candles of {source} are {timeframe_name(grid)} apart; say that timeframe"
        raise InputError("timeframe", candles.timeframe, bound)


def _check_closed(times: np.ndarray, rows: np.ndarray, latest: int, source: str) -> None:
    """Refuse a candle that has not closed yet."""
    late = times > latest
    if late.any():
        index = int(late.argmax())
        where = f"row {int(rows[index]) + 1} of {source}"
        raise InputError("time", iso(int(times[index])), f"is not over yet; {where}; repair drops it")


def _repaired(
    columns: dict[str, np.ndarray], rows: np.ndarray, latest: int, repairs: list[Repair]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return columns and their original rows after the repairs, each added to `repairs`."""

    def take(kept: np.ndarray) -> None:
        """Keep these positions, in this order."""
        nonlocal columns, rows
        columns, rows = {name: values[kept] for name, values in columns.items()}, rows[kept]

    def note(action: str, mask: np.ndarray) -> None:
        """List the rows a repair concerns."""
        if mask.any():
            repairs.append(Repair(action, tuple((rows[mask] + 1).tolist()), int(columns["ts"][mask.argmax()])))

    lacking = np.logical_or.reduce([np.isnan(values) for name, values in columns.items() if name != "ts"])
    note("dropped for a missing value", lacking)
    take(np.flatnonzero(~lacking))
    unclosed = columns["ts"] > latest
    note("dropped because the candle is not closed yet", unclosed)
    take(np.flatnonzero(~unclosed))
    if rows.size == 0:
        return columns, rows
    behind = columns["ts"] < np.maximum.accumulate(columns["ts"])
    note("sorted", behind)
    take(np.argsort(columns["ts"], kind="stable"))
    same = np.zeros(rows.size, dtype=bool)
    same[1:] = np.logical_and.reduce([values[1:] == values[:-1] for values in columns.values()])
    note("dropped as an exact duplicate", same)
    take(np.flatnonzero(~same))
    return columns, rows

"""Pieces of a history as the engines take them, and daily returns by day number.

Invariant: a piece shows the engines nothing after its end; indicators warm up on the candles before its beginning, and the
account decides for the first time at its first close.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import Strategy
from ctp.research.backtest import Prepared, run_of
from ctp.research.bar_loop import DECISIONS, MINUTE_MS, TRADES, Series
from ctp.research.grid import Grid
from ctp.research.metrics import DAY_MS, HOUR_MS, period_returns


class Course(NamedTuple):
    """An account's course: closes decided at, equity there, and of each closed trade P&L ÷ equity at its entry."""

    time: np.ndarray
    equity: np.ndarray
    trade_returns: np.ndarray
    longest_ms: int  # the longest any closed trade was held


def piece(prepared: Prepared, first: int, last: int) -> Prepared:
    """Return the close times [first, last) of a history, rows of `prepared.times`."""
    begin, end = int(prepared.times[first]), int(prepared.times[last - 1])
    columns = prepared.columns
    rows, dues, offset, funding_offset = [], [], [0], [0]
    for symbol in range(len(prepared.markets)):
        mine = np.arange(columns.offset[symbol], columns.offset[symbol + 1])
        mine = mine[(columns.time[mine] >= begin) & (columns.time[mine] <= end)]
        due = np.arange(columns.funding_offset[symbol], columns.funding_offset[symbol + 1])
        minute = columns.funding_time[due] // MINUTE_MS * MINUTE_MS
        due = due[(minute >= begin) & (minute <= end)]
        rows.append(mine)
        dues.append(due)
        offset.append(offset[-1] + len(mine))
        funding_offset.append(funding_offset[-1] + len(due))
    row, due = np.concatenate(rows), np.concatenate(dues)
    has_marks = len(columns.mark_open) > 0
    marks = {
        name: np.ascontiguousarray(getattr(columns, name)[row]) if has_marks else np.empty(0)
        for name in ("mark_open", "mark_high", "mark_low")
    }
    cut = Series(
        offset=np.array(offset),
        funding_offset=np.array(funding_offset),
        funding_time=columns.funding_time[due],
        funding_rate=columns.funding_rate[due],
        **{name: getattr(columns, name)[row] for name in ("time", "open", "high", "low", "close", "volume")},
        **marks,
        detail=columns.detail,
    )
    candles = [each.between(begin, end + 1) for each in prepared.candles]
    return dataclasses.replace(
        prepared, candles=candles, columns=cut, times=np.ascontiguousarray(prepared.times[first:last])
    )


def warmed(strategy: ParameterSet, candles: int) -> ParameterSet:
    """Return the strategy with its first decision at the close of candle number `candles`, counted from 1."""
    return strategy.with_values({"warm_up": candles})


def without_warm_up(grid: Grid) -> Grid:
    """Return the grid without an axis for the warm-up, which is set by where a fold begins."""
    if "warm_up" not in grid.axes:
        return grid
    return grid._replace(axes=_rest(grid.axes), numbers=_rest(grid.numbers), places=_rest(grid.places))


def _rest[T](columns: Mapping[str, T]) -> dict[str, T]:
    """Return all axes but the warm-up."""
    return {name: value for name, value in columns.items() if name != "warm_up"}


def course_of(
    prepared: Prepared,
    strategy: ParameterSet,
    risk: DynamicRiskManager,
    rule: Strategy | None = None,
) -> Course:
    """Return the course of one parameter set by the bar loop."""
    record = run_of(prepared, strategy, risk, rule).record
    decisions, trades = int(record.totals[DECISIONS]), int(record.totals[TRADES])
    rows = record.trade_rows[:trades]
    longest = int((rows[:, 4] - rows[:, 2]).max()) + prepared.timeframe_ms if trades else 0
    return Course(
        record.time[:decisions].copy(), record.equity[:decisions].copy(), rows[:, 13] / rows[:, 17], longest
    )


def daily_of(time: np.ndarray, equity: np.ndarray, zone_offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Return day numbers of the risk zone and their returns, oldest first."""
    if len(time) < 2:
        return np.empty(0, np.int64), np.empty(0)
    day = (time + int(zone_offset * HOUR_MS)) // DAY_MS
    starts = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist()]
    returns = np.array(period_returns(starts, equity))
    return day[starts][: len(returns)], returns


def ceil_days(milliseconds: int) -> int:
    """Return a length of time in days, rounded up."""
    return math.ceil(milliseconds / DAY_MS)

"""The figures of a run (semantics §6): formula in each docstring, sums in order of time.

All over the equity at decisions, from the first decision's to the last close. Undefined is None. A day's return runs from
its first decision's equity to the next day's; the last day's to the final equity, if it has more than one decision.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ctp.research.ratios import MONTHLY_TARGET, cagr_of, profit_factor_of, sharpe_of, sortino_of

DAY_MS, HOUR_MS = 86_400_000, 3_600_000


class Period(NamedTuple):
    """A stretch of the equity curve: its name (day number or "2024-05"), return, and whether it is whole."""

    name: Any
    value: float
    is_full: bool


def period_returns(starts: Sequence[int], equity: np.ndarray) -> list[float]:
    """Return each period's return: from its first decision to the next period's, the last one's to the final equity.

    starts: rows at which periods begin, the first 0. A last period of a single decision has no return.
    """
    values = [float(equity[later]) / float(equity[row]) - 1.0 for row, later in pairwise(starts)]
    if len(equity) - starts[-1] > 1:
        values.append(float(equity[-1]) / float(equity[starts[-1]]) - 1.0)
    return values


def daily_returns(time: np.ndarray, equity: np.ndarray, zone_offset: float) -> list[float]:
    """Return the return of each day of the risk zone that has a decision, oldest first."""
    if len(time) == 0:
        return []
    day = (time + int(zone_offset * HOUR_MS)) // DAY_MS
    starts = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist()]
    return period_returns(starts, equity)


def monthly_returns(time: np.ndarray, equity: np.ndarray, zone_offset: float, timeframe_ms: int) -> list[Period]:
    """Return the months of the risk zone's calendar; partial ones are marked as not full.

    The first month is full when its first close is the month's first; the last when the next month has begun.
    """
    if len(time) == 0:
        return []
    local = time + int(zone_offset * HOUR_MS)
    month = local.astype("datetime64[ms]").astype("datetime64[M]")
    starts = [0, *(np.flatnonzero(np.diff(month.astype(np.int64))) + 1).tolist()]
    values = period_returns(starts, equity)
    first_begins = int(month[0].astype("datetime64[ms]").astype(np.int64))
    periods = []
    for index, value in enumerate(values):
        is_whole_start = index > 0 or int(local[0]) - first_begins < timeframe_ms
        periods.append(Period(str(month[starts[index]]), value, is_whole_start and index + 1 < len(starts)))
    return periods


def drawdown(time: np.ndarray, equity: np.ndarray) -> tuple[float | None, float | None]:
    """Return (largest fall from a peak as a fraction, its length in days from the peak to the first close back at it)."""
    if len(equity) == 0:
        return None, None
    peak = np.maximum.accumulate(equity)
    falls = (peak - equity) / peak
    lowest = int(np.argmax(falls))
    if falls[lowest] == 0.0:
        return 0.0, 0.0
    top = int(np.flatnonzero(equity[: lowest + 1] == peak[lowest])[-1])
    back = np.flatnonzero(equity[lowest:] >= peak[lowest])
    end = lowest + int(back[0]) if len(back) else len(equity) - 1
    return float(falls[lowest]), float(int(time[end]) - int(time[top])) / DAY_MS


def total(values: Iterable[float]) -> float:
    """Return the sum, left to right."""
    return reduce(operator.add, values, 0.0)


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, summed in order."""
    return total(values) / len(values) if values else None


def sharpe(daily: Sequence[float]) -> float | None:
    """Return the Sharpe ratio of daily returns."""
    return _defined(sharpe_of(len(daily), total(daily), total(value * value for value in daily)))


def sortino(daily: Sequence[float]) -> float | None:
    """Return the Sortino ratio of daily returns."""
    return _defined(sortino_of(len(daily), total(daily), total(value * value for value in daily if value < 0.0)))


def cagr(time: np.ndarray, equity: np.ndarray) -> float | None:
    """Return the compound annual growth rate from the first decision to the last; too large to write is infinite."""
    if len(time) < 2:
        return None
    try:
        return _defined(cagr_of((int(time[-1]) - int(time[0])) / DAY_MS, float(equity[0]), float(equity[-1])))
    except OverflowError:
        return math.inf


def profit_factor(pnl: Sequence[float]) -> float | None:
    """Return gains ÷ losses of closed trades."""
    gains = total(value for value in pnl if value > 0.0)
    return _defined(profit_factor_of(len(pnl), gains, -total(value for value in pnl if value <= 0.0)))


def _defined(value: float) -> float | None:
    """Return None for what is undefined."""
    return None if value != value else value


def figures(
    *,
    time: np.ndarray,
    equity: np.ndarray,
    is_exposed: np.ndarray,
    pnl: Sequence[float],
    r_multiples: Sequence[float],
    entry_equity: Sequence[float],
    costs: tuple[float, float, float],
    zone_offset: float,
    timeframe_ms: int,
) -> dict[str, Any]:
    """Return every figure of semantics §6 by name.

    time, equity, is_exposed: one per decision. pnl, r_multiples, entry_equity: one per closed trade, in order of closing.
    costs: fees, funding (> 0 received) and slippage paid, open positions included.
    """
    daily = daily_returns(time, equity, zone_offset)
    months = monthly_returns(time, equity, zone_offset, timeframe_ms)
    full = [month.value for month in months if month.is_full]
    deepest, length = drawdown(time, equity)
    growth = cagr(time, equity)
    defined_r = [value for value in r_multiples if math.isfinite(value)]
    losses = [-value / before for value, before in zip(pnl, entry_equity, strict=True) if value < 0.0]
    return {
        "total_return": float(equity[-1]) / float(equity[0]) - 1.0 if len(equity) else None,
        "cagr": growth,
        "max_drawdown": deepest,
        "max_drawdown_days": length,
        "sharpe": sharpe(daily),
        "sortino": sortino(daily),
        "calmar": growth / deepest if growth is not None and deepest else None,
        "trades": len(pnl),
        "win_rate": sum(value > 0.0 for value in pnl) / len(pnl) if pnl else None,
        "profit_factor": profit_factor(pnl),
        "expectancy_r": mean(defined_r),
        "exposure": int(is_exposed.sum()) / len(is_exposed) if len(is_exposed) else None,
        "fees": costs[0],
        "funding": costs[1],
        "slippage": costs[2],
        "largest_loss": max(losses, default=0.0) if pnl else None,
        "worst_day": min(daily) if daily else None,
        "months_at_target": sum(value >= MONTHLY_TARGET for value in full) / len(full) if full else None,
        "full_months": len(full),
        "monthly_returns": {month.name: month.value for month in months},
    }


def iso_time(milliseconds: int) -> str:
    """Return a time as ISO-8601 UTC, with milliseconds only where there are any."""
    moment = dt.datetime.fromtimestamp(milliseconds // 1000, dt.UTC)
    rest = milliseconds % 1000
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{rest:03d}" if rest else "") + "Z"

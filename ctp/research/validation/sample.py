"""A sample of a grid's combinations with their daily returns, for the statistics that look at all of them together.

The drawdown lock is off here: in a backtest nobody lifts it, and days after it would be silence, not skill. Every
combination decides for the first time at the same close, so that their days are the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.errors import InputError
from ctp.research.backtest import Prepared, run_of
from ctp.research.bar_loop import DECISIONS
from ctp.research.grid import Grid
from ctp.research.sweep import split_values
from ctp.research.validation.slices import course_of, daily_of, warmed

MOST = 1_000  # combinations
LEAST = 100
MOST_CANDLES = 60_000_000  # combinations × candles
PROBES = 3  # combinations looked at for each end of an axis, to find the longest warm-up


class Sample(NamedTuple):
    """Combinations by number, and (days, combinations) daily returns; the candidate comes first."""

    numbers: np.ndarray
    day: np.ndarray
    daily: np.ndarray


def chosen_numbers(total: int, first: int, candles: int, seed: int) -> np.ndarray:
    """Return at most 1,000 combinations, fewer over very long histories: `first`, then others by chance, in order."""
    count = min(total, MOST, max(LEAST, MOST_CANDLES // max(1, candles)))
    others = np.random.default_rng(seed).choice(total, count, replace=False)
    others = np.sort(others[others != first])[: count - 1]
    return np.concatenate(([first], others)).astype(np.int64)


def longest_warm_up(prepared: Prepared, grid: Grid, candidate: int) -> int:
    """Return the rows before the first decision of whichever combination takes longest.

    Looked for at the ends of every axis: windows and periods warm up the longer the larger they are.
    """
    probes = {candidate}
    for name, values in grid.axes.items():
        for place in {0, len(values) - 1}:
            there = np.flatnonzero(grid.places[name] == place)
            probes.update(int(each) for each in (*there[:PROBES], *there[-PROBES:]))
    found = 0
    for number in sorted(probes):
        strategy, risk = split_values(prepared.strategy, prepared.risk, grid.values(number))
        record = run_of(prepared, strategy, risk).record
        if not int(record.totals[DECISIONS]):
            raise InputError("candles", len(prepared.times), f"too few: {strategy} is never past its warm-up")
        found = max(found, int(np.searchsorted(prepared.times, record.time[0] - prepared.timeframe_ms)))
    return found


def unlocked(strategy: ParameterSet, risk: DynamicRiskManager, warm_rows: int) -> tuple[ParameterSet, DynamicRiskManager]:
    """Return the parameters with the drawdown lock off and the first decision after `warm_rows` candles."""
    return warmed(strategy, warm_rows + 1), risk.with_values({"max_drawdown": 1.0})


def sample_of(
    prepared: Prepared,
    grid: Grid,
    candidate: int,
    warm_rows: int,
    seed: int,
    *,
    workers: int | None,
    advance: Callable[[int], None],
) -> Sample:
    """Return daily returns of a sample of the grid by the bar loop. grid: without a warm-up axis."""
    numbers = chosen_numbers(grid.total, candidate, len(prepared.times), seed)

    def daily(number: int) -> tuple[np.ndarray, np.ndarray]:
        """Run one combination."""
        pair = split_values(prepared.strategy, prepared.risk, grid.values(number))
        course = course_of(prepared, *unlocked(*pair, warm_rows))
        advance(1)
        return daily_of(course.time, course.equity, pair[1].zone_offset)

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as threads:
        found = list(threads.map(daily, numbers.tolist()))
    days = min(len(each) for _, each in found)
    return Sample(numbers, found[0][0][:days], np.column_stack([each[:days] for _, each in found]))

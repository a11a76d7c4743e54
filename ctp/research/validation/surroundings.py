"""What surrounds a candidate: its neighbours on the grid, kinds of markets, symbols; and the grid around a single result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.errors import InputError
from ctp.market.candles import Candles
from ctp.research.event_figures import FIGURES
from ctp.research.grid import Grid
from ctp.research.metrics import DAY_MS, HOUR_MS
from ctp.research.validation.outcome import Plateau, Regime, SymbolShare
from ctp.research.validation.sharpe import annual_sharpe

LOOK_BACK = 20  # days that tell the kind of market
STEP = 0.2  # of a parameter's value, to its neighbours
FIXED = ("warm_up", "cooldown", "volume_window")
MOST_AXES = 5
PLATEAU = "plateau"  # chosen by: not the best combination, but the one with the best neighbours


def plateau(grid: Grid, figures: np.ndarray, candidate: int) -> Plateau:
    """Return how good the neighbourhood is: every combination at most one step away on each axis.

    Axes of words (direction, mode) stay where they are: they have no neighbours. A candidate on a plateau has neighbours
    nearly as good as itself; a lucky one stands alone. score: median Sharpe of the neighbours ÷ the candidate's.
    """
    near = np.ones(grid.total, bool)
    for name, values in grid.axes.items():
        order = np.arange(len(values))
        if all(isinstance(value, int | float) for value in values):
            order = np.argsort(np.argsort(np.array(values, float)))
            reach = 1
        else:
            reach = 0
        place = order[grid.places[name]]
        near &= np.abs(place - place[candidate]) <= reach
    near[candidate] = False
    sharpe = figures[:, FIGURES.index("sharpe")]
    around = np.nan_to_num(sharpe[near], nan=0.0)
    own = float(sharpe[candidate])
    if not len(around) or not own > 0.0:
        median = float(np.median(around)) if len(around) else None
        return Plateau(score=None if not len(around) else 0.0, neighbours=len(around), profitable=None, median_sharpe=median)
    median = float(np.median(around))
    gains = figures[near, FIGURES.index("total_return")] > 0.0
    return Plateau(
        score=min(1.0, max(0.0, median / own)),
        neighbours=len(around),
        profitable=float(np.mean(gains)),
        median_sharpe=median,
    )


def plateau_scores(grid: Grid, figures: np.ndarray) -> np.ndarray:
    """Return for each combination the median Sharpe ratio of its neighbours, NaN without any: what a plateau is chosen by."""
    found = (plateau(grid, figures, number).median_sharpe for number in range(grid.total))
    return np.array([np.nan if score is None else score for score in found])


def best_plateau(grid: Grid, figures: np.ndarray) -> int:
    """Return the combination whose neighbourhood is best; the first of equals."""
    return int(np.argmax(np.nan_to_num(plateau_scores(grid, figures), nan=-np.inf)))


def neighbourhood(strategy: ParameterSet) -> dict[str, Sequence[Any]]:
    """Return axes around a parameter set, a fifth of its value to either side of each number in use; 3⁵ combinations at most.

    What is off (0) stays off; what changes neither entry nor exit stays too. Values that contradict the others are left out.
    """
    axes: dict[str, Sequence[Any]] = {}
    for name, bound in type(strategy).bounds().items():
        value = getattr(strategy, name)
        if bound.choices or name in FIXED or value is None or isinstance(value, str) or value == 0 or len(axes) == MOST_AXES:
            continue
        step = max(1, round(abs(value) * STEP)) if bound.is_integer else abs(value) * STEP
        near = []
        for candidate in (value - step, value, value + step):
            try:
                near.append(getattr(strategy.with_values({name: candidate}), name))
            except InputError:
                continue
        if len(near) > 1:
            axes[name] = near
    return axes


def regimes(candles: Candles, zone_offset: float, day: np.ndarray, daily: np.ndarray) -> list[Regime]:
    """Return out-of-sample days by trend and by volatility, in terciles of what was known when each began.

    Trend: the close's change over the 20 days before; volatility: the deviation of their daily log returns. day, daily: day
    numbers of the risk zone and their returns.
    """
    number = (candles.time + candles.length_ms + int(zone_offset * HOUR_MS)) // DAY_MS
    first = np.flatnonzero(np.concatenate(([True], np.diff(number) != 0)))
    opening = np.log(candles.close[first])  # what a day began with
    known_day = number[first]
    if len(first) <= LOOK_BACK + 3:
        return []
    change = np.diff(opening)
    windows = np.lib.stride_tricks.sliding_window_view(change, LOOK_BACK)
    trend, wildness, known_day = windows.sum(axis=1), windows.std(axis=1), known_day[LOOK_BACK:]
    place = np.searchsorted(known_day, day)
    is_known = (place < len(known_day)) & (known_day[np.minimum(place, len(known_day) - 1)] == day)
    place, returned = place[is_known], daily[is_known]
    if len(returned) < 3:
        return []
    found = []
    for values, names in ((trend, ("trend_down", "trend_flat", "trend_up")), (wildness, ("calm", "usual", "wild"))):
        here = values[place]
        low, high = np.quantile(here, [1 / 3, 2 / 3])
        for name, mine in zip(names, (here < low, (here >= low) & (here < high), here >= high), strict=True):
            part = returned[mine]
            total = math.expm1(float(np.log1p(np.maximum(part, -0.999999)).sum()))
            found.append(Regime(name=name, days=len(part), total_return=total, sharpe=annual_sharpe(part)))
    return found


def symbol_shares(trades: Sequence[dict[str, Any]], symbols: Sequence[str]) -> list[SymbolShare]:
    """Return what each symbol brought."""
    found = []
    for symbol in symbols:
        pnl = [float(trade["pnl"]) for trade in trades if trade["symbol"] == symbol]
        wins = sum(value > 0.0 for value in pnl)
        found.append(
            SymbolShare(symbol=symbol, trades=len(pnl), pnl=math.fsum(pnl), win_rate=wins / len(pnl) if pnl else None)
        )
    return found

"""`ctp.sweep`: every combination of a grid over the same candles, with the backtest's own figures to the bit.

One symbol goes through the event engine, whose cost follows trades. What it cannot know it says, and the bar loop is taken
for that combination: several symbols on one account, finer candles, closing out on a daily loss, a liquidation in reach, a
strategy that is not in two halves. The result says which engine ran how often and why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs, MarketRules
from ctp.core.strategies import of_parameters
from ctp.market.candles import Candles, FundingRates
from ctp.research.backtest import Prepared, prepare, run_bar_loop
from ctp.research.event_engine import Shared, run_events
from ctp.research.event_figures import FIGURES
from ctp.research.event_walk import NEEDS_BAR_LOOP
from ctp.research.grid import Grid, full_grid
from ctp.research.progress import progress_bar
from ctp.research.sweep_result import EVENTS, SweepResult
from ctp.research.trial_ledger import note_trials

LIQUIDATION_IN_REACH = "liquidation in reach"


def sweep(
    strategy: ParameterSet | None = None,
    risk: DynamicRiskManager | None = None,
    candles: Candles | Sequence[Candles] = (),
    grid: Mapping[str, Iterable[Any]] | None = None,
    *,
    costs: Costs | Mapping[str, Costs] | None = None,
    rules: MarketRules | Mapping[str, MarketRules] | None = None,
    mark: Candles | Sequence[Candles] = (),
    funding: FundingRates | Sequence[FundingRates] = (),
    equity: float = 10_000.0,
    detail: str | Candles | Sequence[Candles] = (),
    workers: int | None = None,
    quiet: bool = False,
    **axes: Iterable[Any],
) -> SweepResult:
    """Run every combination of the axes' values and return their figures.

    strategy, risk: what is not on an axis. axes (or grid): a parameter of either and the values to try, such as
    `period=range(5, 41), stop_loss=[0.01, 0.02]`. The rest as for `backtest`. workers: threads, all cores unless given.
    What was tried is noted in the trial ledger, where there is a database.
    Raises InputError naming the axis and the value before anything runs.
    """
    prepared = prepare(strategy, risk, candles, costs, rules, mark, funding, equity, detail)
    combinations = full_grid(
        prepared.strategy, prepared.risk, {**(grid or {}), **axes}, is_perpetual=bool(prepared.markets[0].is_perpetual)
    )
    with progress_bar("Sweeping", combinations.total, quiet=quiet) as advance:
        figures, engines = run_grid(prepared, combinations, workers=workers, advance=advance)
    note_trials(prepared, combinations, figures[:, FIGURES.index("sharpe")])
    return SweepResult(prepared=prepared, grid=combinations, figures=figures, engines=engines)


def run_grid(
    prepared: Prepared,
    grid: Grid,
    *,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (figures in the order of FIGURES, why each combination took its engine), one row a combination."""
    figures = np.full((grid.total, len(FIGURES)), np.nan)
    engines = _engines_of(prepared, grid)
    by_events = np.flatnonzero(engines == EVENTS)
    if len(by_events):
        found = figures if len(by_events) == grid.total else np.empty((len(by_events), len(FIGURES)))
        statuses = np.zeros(len(by_events), np.int8)
        run_events(
            Shared(
                of_parameters(prepared.strategy),
                prepared.columns,
                prepared.markets[0],
                prepared.timeframe_ms,
                prepared.equity,
            ),
            prepared.strategy,
            prepared.risk,
            grid if len(by_events) == grid.total else grid.chosen(by_events),
            workers=workers or os.cpu_count() or 1,
            figures=found,
            statuses=statuses,
            finished=lambda numbers: advance(len(numbers)),
        )
        figures[by_events] = found
        engines[by_events[statuses == NEEDS_BAR_LOOP]] = LIQUIDATION_IN_REACH
    by_loop = np.flatnonzero(engines != EVENTS)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as threads:
        for number, row in zip(by_loop, threads.map(lambda each: _loop_figures(prepared, grid, each), by_loop), strict=True):
            figures[number] = row
            if engines[number] != LIQUIDATION_IN_REACH:
                advance(1)
    return figures, engines


def split_values(
    strategy: ParameterSet, risk: DynamicRiskManager, values: Mapping[str, Any]
) -> tuple[ParameterSet, DynamicRiskManager]:
    """Return strategy and risk with these parameters."""
    of_risk = type(risk).bounds()
    return (
        strategy.with_values({name: value for name, value in values.items() if name not in of_risk}),
        risk.with_values({name: value for name, value in values.items() if name in of_risk}),
    )


def _engines_of(prepared: Prepared, grid: Grid) -> np.ndarray:
    """Return EVENTS for each combination, or why the bar loop is needed."""
    reason = EVENTS
    if len(prepared.markets) > 1:
        reason = "several symbols share the account"
    elif prepared.columns.detail.length_ms:
        reason = "finer candles decide what came first"
    elif of_parameters(prepared.strategy).factors is None:
        reason = "the strategy is not in two halves"
    if reason != EVENTS:
        return np.full(grid.total, reason, object)
    engines = np.full(grid.total, EVENTS, object)
    nowhere = np.zeros(grid.total, np.int32)
    closes = np.array([each == "close" for each in grid.axes.get("on_daily_loss", [prepared.risk.on_daily_loss])])
    engines[closes[grid.places.get("on_daily_loss", nowhere)]] = "positions close on a daily loss"
    limits = np.array([each > 0 for each in grid.axes.get("limit_offset", [getattr(prepared.strategy, "limit_offset", 0)])])
    engines[limits[grid.places.get("limit_offset", nowhere)]] = "limit entries fill inside a candle"
    return engines


def _loop_figures(prepared: Prepared, grid: Grid, number: int) -> list[float]:
    """Return a combination's figures by the bar loop; undefined is NaN."""
    strategy, risk = split_values(prepared.strategy, prepared.risk, grid.values(int(number)))
    found = run_bar_loop(prepared, strategy, risk).figures
    return [np.nan if found[name] is None else float(found[name]) for name in FIGURES]

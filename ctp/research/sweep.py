"""`ctp.sweep`: every combination of a grid over the same candles, with the backtest's own figures to the bit.

One symbol goes through the event engine, whose cost follows trades. What it cannot know it says, and the bar loop is taken
for that combination: several symbols on one account, finer candles, closing out on a daily loss, a liquidation in reach, a
strategy that is not in two halves. The result says which engine ran how often and why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs, MarketRules
from ctp.core.strategies import of_parameters
from ctp.errors import InputError
from ctp.market.candles import Candles, FundingRates
from ctp.research.backtest import Prepared, prepare, run_bar_loop
from ctp.research.event_engine import run_events, shared_by
from ctp.research.event_figures import FIGURES
from ctp.research.event_walk import NEEDS_BAR_LOOP
from ctp.research.grid import Grid, full_grid
from ctp.research.progress import progress_bar
from ctp.research.search import SEARCHES, check_trials, random_grid, space_of, tpe_grid
from ctp.research.sweep_result import EVENTS, SMALLER_IS_BETTER, SweepResult
from ctp.research.trial_ledger import note_trials

if TYPE_CHECKING:
    from ctp.research.sweep_store import SweepStore

LIQUIDATION_IN_REACH = "liquidation in reach"
DEFAULT_TRIALS = 1_000


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
    search: str | None = None,
    trials: int | None = None,
    seed: int = 0,
    by: str = "sharpe",
    workers: int | None = None,
    dask: Any = None,
    store: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    **axes: Iterable[Any],
) -> SweepResult:
    """Run every combination of the axes' values and return their figures.

    strategy, risk: what is not on an axis. axes (or grid): a parameter of either and the values to try, such as
    `period=range(5, 41), stop_loss=[0.01, 0.02]`. The rest as for `backtest`.
    search: "random" or "tpe" tries only so many `trials`, also of ranges (`stop_loss=ctp.between(0.005, 0.1, log=True)`);
    TPE looks for the best figure `by`. The same seed tries the same.
    workers: threads, all cores unless given. dask: the address of a Dask scheduler, or a `dask.distributed.Client`.
    store: a folder that keeps results as they come; the same sweep started again with it goes on where it stopped.
    What was tried is noted in the trial ledger, where there is a database.
    Raises InputError naming the axis and the value before anything runs.
    """
    workers = _check_workers(workers)
    if by not in FIGURES:
        raise InputError("by", by, "must be one of " + ", ".join(FIGURES))
    if grid is not None and not isinstance(grid, Mapping):
        raise InputError("grid", type(grid).__name__, "must name axes, like {'period': [7, 14]}")
    asked: dict[str, Any] = {**(grid or {}), **axes}
    for name in axes:
        if grid and name in grid:
            raise InputError(f"axis {name}", "", "is given twice")
    prepared = prepare(strategy, risk, candles, costs, rules, mark, funding, equity, detail)
    is_perpetual = bool(prepared.markets[0].is_perpetual)
    told: dict[str, Any] = {}
    if search is None:
        if trials is not None:
            raise InputError("trials", trials, 'is for search="random" or "tpe"')
        combinations = full_grid(prepared.strategy, prepared.risk, asked, is_perpetual=is_perpetual)
        total = combinations.total
    else:
        if search not in SEARCHES:
            raise InputError("search", search, "must be one of " + ", ".join(SEARCHES))
        total = check_trials(DEFAULT_TRIALS if trials is None else trials)
        space = space_of(prepared.strategy, prepared.risk, asked, is_perpetual=is_perpetual)
        told = {"search": search, "trials": total, "seed": seed, "space": space.axes}
        if search == "random":
            combinations = random_grid(space, total, seed)
            total = combinations.total
    with ExitStack() as stack:
        client = None
        if dask is not None:
            from ctp.research.spread import dask_client

            client = stack.enter_context(dask_client(dask))
        kept = None
        if store is not None:
            from ctp.research.sweep_store import SweepStore, fingerprint

            told |= {"by": by} if search == "tpe" else {"axes": combinations.axes, "total": combinations.total}
            kept = SweepStore(Path(store), fingerprint(prepared, told))
            stack.callback(kept.flush)
        advance = stack.enter_context(progress_bar("Sweeping", total, quiet=quiet))
        if search != "tpe":
            figures, engines = run_grid(
                prepared, combinations, workers=workers, advance=advance, store=kept, client=client
            )
        else:
            parts: list[np.ndarray] = []

            def measure(batch: Grid, begin: int) -> np.ndarray:
                found, why = run_grid(
                    prepared, batch, workers=workers, advance=advance, store=kept, client=client, begin=begin
                )
                parts.append(why)
                return found

            combinations, figures = tpe_grid(space, total, seed, FIGURES.index(by), by in SMALLER_IS_BETTER, measure)
            engines = np.concatenate(parts)
    note_trials(prepared, combinations, figures[:, FIGURES.index("sharpe")])
    return SweepResult(prepared=prepared, grid=combinations, figures=figures, engines=engines, search=search)


def run_grid(
    prepared: Prepared,
    grid: Grid,
    *,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
    store: SweepStore | None = None,
    client: Any = None,
    begin: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (figures in the order of FIGURES, why each combination took its engine), one row a combination.

    store: where results are kept and what is done already is taken from, by number counted from `begin`. client: a Dask
    client whose workers do the work.
    """
    workers = _check_workers(workers)
    figures = np.empty((grid.total, len(FIGURES)))
    engines = _engines_of(prepared, grid)
    left = np.arange(grid.total)
    if store is not None:
        done = store.done(begin, begin + grid.total)
        numbers = done.numbers - begin
        figures[numbers], engines[numbers] = done.figures, done.engines
        left = np.setdiff1d(left, numbers, assume_unique=True)
        advance(len(numbers))

    def finish(numbers: np.ndarray) -> None:
        """Keep what is done and say so."""
        if store is not None:
            places = {name: np.array(grid.axes[name])[grid.places[name][numbers]] for name in grid.axes}
            store.add(begin + numbers, places, figures[numbers], engines[numbers].tolist())
        advance(len(numbers))

    if client is not None:
        from ctp.research.spread import run_on_dask

        def take(numbers: np.ndarray, found: np.ndarray, why: np.ndarray) -> None:
            figures[numbers], engines[numbers] = found, why
            finish(numbers)

        run_on_dask(client, prepared, grid, left, take)
        return figures, engines

    by_events = left[engines[left] == EVENTS]
    if len(by_events):

        def walked(numbers: np.ndarray, statuses: np.ndarray) -> None:
            needs_loop = statuses == NEEDS_BAR_LOOP
            engines[numbers[needs_loop]] = LIQUIDATION_IN_REACH
            finish(numbers[~needs_loop])

        run_events(
            shared_by(prepared),
            prepared.strategy,
            prepared.risk,
            grid if len(by_events) == grid.total else grid.chosen(by_events),
            by_events,
            figures,
            walked,
            workers,
        )
    by_loop = left[engines[left] != EVENTS]
    with ThreadPoolExecutor(workers) as threads:
        rows = threads.map(lambda each: _loop_figures(prepared, grid, each), by_loop)
        try:
            for number, row in zip(by_loop, rows, strict=True):
                figures[number] = row
                finish(np.array([number]))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
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


def _check_workers(workers: int | None) -> int:
    """Return how many threads to use: all cores that this process may run on, unless given."""
    if workers is None:
        return len(os.sched_getaffinity(0))
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= 1_024:
        raise InputError("workers", workers, "must be a whole number from 1 to 1024")
    return workers


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

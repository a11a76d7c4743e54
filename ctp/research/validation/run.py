"""`ctp.validate`: whether the best of a sweep, or a backtest, is more than luck."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any

import numpy as np

from ctp.accounts.sources import source_hash
from ctp.core.strategies import of_parameters
from ctp.errors import InputError
from ctp.research.backtest import Prepared
from ctp.research.event_figures import FIGURES
from ctp.research.grid import Grid, full_grid
from ctp.research.progress import progress_bar
from ctp.research.provenance import data_hash
from ctp.research.ratios import DAYS_A_YEAR
from ctp.research.result import BacktestResult
from ctp.research.sweep import run_grid
from ctp.research.sweep_result import EVENTS, SweepResult
from ctp.research.trial_ledger import past_trials, sketch_of, united
from ctp.research.validation import verdict as judge
from ctp.research.validation.bootstrap import bands, reality_check
from ctp.research.validation.cross_validation import cross_validation
from ctp.research.validation.effective import effective_trials
from ctp.research.validation.outcome import Bands, DeflatedSharpe, Validation, WalkForward, plain
from ctp.research.validation.overfitting import overfitting
from ctp.research.validation.sample import Sample, longest_warm_up, sample_of
from ctp.research.validation.sharpe import (
    annual,
    deflated_sharpe,
    expected_best,
    moments,
    track_record_needed,
)
from ctp.research.validation.slices import Course, ceil_days, course_of, daily_of, without_warm_up
from ctp.research.validation.stress import stresses
from ctp.research.validation.surroundings import PLATEAU, best_plateau, neighbourhood, plateau, regimes, symbol_shares
from ctp.research.validation.walk_forward import ANCHORED, ROLLING, Walker

LEAST_DAYS = 60  # after the warm-up; less proves nothing
MOST_BY_LOOP = 300  # combinations that walk forward where the event engine cannot


def validate(
    grid_or_result: SweepResult | BacktestResult,
    *,
    number: int | None = None,
    by: str = "sharpe",
    folds: int = 6,
    seed: int = 1,
    workers: int | None = None,
    quiet: bool = False,
) -> Validation:
    """Return the verdict on the best of a sweep, or on a backtest's parameters, with everything it rests on.

    grid_or_result: a sweep: its best by `by`, or combination `number`, is judged, and each walk-forward fold chooses anew from
    the whole grid. A backtest: its parameters are judged, and folds choose from their neighbourhood (a fifth to either side).
    by: a figure, or "plateau": not the best combination, but the one whose neighbours are best.
    folds: of each walk-forward and of the cross-validation. seed: of everything that depends on chance.
    Raises InputError naming what is wrong, too few candles among it.
    """
    if not 2 <= folds <= 50:
        raise InputError("folds", folds, "must be from 2 to 50")
    if by not in (*FIGURES, PLATEAU):
        raise InputError("by", by, "must be plateau or one of " + ", ".join(FIGURES))
    swept, candidate, is_single = _swept(grid_or_result, number, by, workers)
    prepared = swept.prepared
    notes = [*prepared.notes]
    grid, figures, candidate = _walked(swept, candidate, seed, notes)
    best = swept.backtest(candidate if grid.total == len(swept) else _place(swept, grid, candidate))
    warm_rows = longest_warm_up(prepared, grid, candidate)
    grid = without_warm_up(grid)
    if (len(prepared.times) - warm_rows) * prepared.timeframe_ms < LEAST_DAYS * 86_400_000:
        raise InputError(
            "candles", len(prepared.times), f"too few: {LEAST_DAYS} days are needed after {warm_rows} candles of warm-up"
        )
    work = 2 * folds * grid.total + min(grid.total, 1_000)
    with progress_bar("Validating", work, quiet=quiet) as advance:
        sample = sample_of(prepared, grid, candidate, warm_rows, seed, workers=workers, advance=advance)
        walker = Walker(prepared, grid, warm_rows, by, workers=workers, advance=advance)
        anchored, choices, courses = walker.walk(ANCHORED, folds)
        rolling, _, _ = walker.walk(ROLLING, folds)
    stressed = stresses(walker, anchored, choices)
    held = _longest_days(walker, candidate, courses)
    deflated = _deflated(swept, best, sample, is_single, warm_rows)
    checked = reality_check(sample.daily, seed)
    overfit = overfitting(sample.daily)
    crossed = cross_validation(sample.daily, folds, held)
    around = plateau(grid, figures, candidate)
    reasons = judge.sort_reasons(
        [
            reason
            for reason in (
                judge.of_deflated(deflated),
                judge.of_walk_forward(anchored, rolling),
                judge.of_reality_check(checked),
                judge.of_overfitting(overfit),
                judge.of_cross_validation(crossed),
                judge.of_plateau(around),
                judge.of_stresses(stressed),
                judge.of_trades(anchored, int(best.figures["trades"])),
            )
            if reason is not None
        ]
    )
    strategy, risk = best.strategy, best.risk
    found = Validation(
        verdict=judge.verdict_of(reasons),
        reasons=reasons,
        fingerprint="",
        data_hash=data_hash(prepared.candles, prepared.columns, prepared.markets, prepared.equity),
        source_hash=source_hash(of_parameters(strategy).name),
        strategy=strategy,
        risk=risk,
        symbols=tuple(each.symbol for each in prepared.candles),
        timeframe=prepared.candles[0].timeframe,
        exchange=prepared.candles[0].exchange,
        start=int(prepared.times[0]),
        end=int(prepared.times[-1]),
        combinations=len(swept),
        axes={name: tuple(values) for name, values in swept.grid.axes.items()},
        chosen_by="given" if is_single or number is not None else by,
        seed=seed,
        figures=best.to_dict()["figures"],
        deflated=deflated,
        overfitting=overfit,
        reality_check=checked,
        cross_validation=crossed,
        anchored=anchored,
        rolling=rolling,
        plateau=around,
        bands=_bands(anchored, courses, seed),
        regimes=tuple(regimes(prepared.candles[0], risk.zone_offset, anchored.day, anchored.daily)),
        symbol_shares=tuple(symbol_shares(best.closed_trades, [each.symbol for each in prepared.candles])),
        stresses=tuple(stressed),
        notes=tuple(notes),
    )
    return dataclasses.replace(found, fingerprint=_fingerprint(found))


def _swept(
    given: SweepResult | BacktestResult, number: int | None, by: str, workers: int | None
) -> tuple[SweepResult, int, bool]:
    """Return a sweep, the candidate's number in it, and whether it was made around a single result."""
    if isinstance(given, SweepResult):
        if number is not None and not 0 <= number < len(given):
            raise InputError("number", number, f"must be 0 to {len(given) - 1}")
        if number is None:
            number = best_plateau(given.grid, given.figures) if by == PLATEAU else int(given._ranked(by)[0])
        return given, number, False
    if not isinstance(given, BacktestResult):
        raise InputError("grid_or_result", type(given).__name__, "must be what ctp.sweep or ctp.backtest returned")
    prepared = Prepared(
        strategy=given.strategy, risk=given.risk, candles=given.candles, markets=given.markets, columns=given.columns,
        times=np.unique(given.columns.time), equity=given.start_equity, notes=given.notes,
    )  # fmt: skip
    axes = neighbourhood(given.strategy)
    grid = full_grid(given.strategy, given.risk, axes, is_perpetual=bool(given.markets[0].is_perpetual))
    own = {name: values.index(getattr(given.strategy, name)) for name, values in grid.axes.items()}
    is_own = np.logical_and.reduce([grid.places[name] == place for name, place in own.items()])
    figures, engines = run_grid(prepared, grid, workers=workers)
    return SweepResult(prepared=prepared, grid=grid, figures=figures, engines=engines), int(np.flatnonzero(is_own)[0]), True


def _walked(swept: SweepResult, candidate: int, seed: int, notes: list[str]) -> tuple[Grid, np.ndarray, int]:
    """Return the grid that walks forward, its figures and the candidate's number in it.

    Where combinations need the bar loop, sweeping them anew for each fold takes too long: a part of the grid stands for it,
    drawn by chance, and the notes say so.
    """
    by_loop = int((swept.engines != EVENTS).sum())
    if by_loop <= MOST_BY_LOOP:
        return swept.grid, swept.figures, candidate
    share = min(1.0, MOST_BY_LOOP / by_loop)
    drawn = np.random.default_rng(seed).random(len(swept)) < share
    drawn[candidate] = True
    numbers = np.flatnonzero(drawn)
    notes.append(f"{by_loop:,} combinations need the bar loop: {len(numbers):,} of {len(swept):,}, drawn by chance, walk forward")
    return swept.grid.chosen(numbers), swept.figures[numbers], int(np.searchsorted(numbers, candidate))


def _place(swept: SweepResult, grid: Grid, candidate: int) -> int:
    """Return a combination's number in the whole grid."""
    same = np.logical_and.reduce([swept.grid.places[name] == grid.places[name][candidate] for name in grid.axes])
    return int(np.flatnonzero(same)[0])


def _longest_days(walker: Walker, candidate: int, courses: list[Course | None]) -> int:
    """Return how many days the longest trade of the candidate or of any fold was held."""
    own = course_of(walker.prepared, *walker.parameters(candidate)).longest_ms
    return ceil_days(max([own, *(course.longest_ms for course in courses if course is not None)]))


def _deflated(swept: SweepResult, best: BacktestResult, sample: Sample, is_single: bool, warm_rows: int) -> DeflatedSharpe:
    """Return the candidate's Sharpe ratio against luck among all trials: those of the ledger and those at hand."""
    found = moments(daily_of(best.time, best.equity_values, best.risk.zone_offset)[1])
    own = sketch_of(best.strategy, best.risk, None, np.array([annual(found.sharpe)]))
    if not is_single:
        prepared = swept.prepared
        own = sketch_of(prepared.strategy, prepared.risk, swept.grid, swept.figures[:, FIGURES.index("sharpe")])
    past = past_trials(swept.prepared)
    every = own if past is None else united([own, past])
    looked_at = sample._replace(daily=sample.daily[:, :1]) if is_single else sample
    clusters, sampled, effective = effective_trials(swept.prepared, looked_at, own, every, warm_rows)
    year = math.sqrt(DAYS_A_YEAR)
    # Trials that move alike differ less among each other than each from its true ratio: chance is never below that.
    spread = max(every.spread / year, 1.0 / math.sqrt(max(1, found.days - 1)))
    luck = expected_best(spread, effective)
    probability = deflated_sharpe(found, spread, effective)
    return DeflatedSharpe(
        probability=None if math.isnan(probability) else probability,
        sharpe=None if math.isnan(found.sharpe) else annual(found.sharpe),
        luck=annual(luck),
        trials=max(every.distinct, float(own.runs)),  # beyond 2,048 the union is an estimate, the grid at hand is known
        runs=own.runs if past is None else max(own.runs, past.runs),
        effective_trials=effective,
        clusters=clusters,
        sampled=sampled,
        spread=annual(spread),
        days=found.days,
        skewness=found.skewness,
        kurtosis=found.kurtosis,
        days_needed=track_record_needed(found, luck),
        from_ledger=past is not None,
    )


def _bands(anchored: WalkForward, courses: list[Course | None], seed: int) -> Bands | None:
    """Return the bands of the anchored walk-forward's days and trades."""
    trades = np.concatenate([np.empty(0), *(course.trade_returns for course in courses if course is not None)])
    measured = {
        "annual_return": anchored.annual_return, "max_drawdown": anchored.max_drawdown,
        "months_at_target": anchored.months_at_target, "months_in_band": anchored.months_in_band,
    }  # fmt: skip
    return bands(anchored.daily, trades, measured, seed)


def _fingerprint(found: Validation) -> str:
    """Return the SHA-256 of what went in and what came out."""
    document: Any = found.to_dict()
    document.pop("fingerprint")
    return hashlib.sha256(json.dumps(plain(document), sort_keys=True).encode()).hexdigest()



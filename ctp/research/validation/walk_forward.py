"""Walk-forward: choose on the past, measure on what came after, go on.

The last 60 % of the candles are cut into equal tests. Before each, the whole grid is swept again over the training candles
(anchored: all of them from the first decision on; rolling: the last 40 %), the best is taken and run over the test alone,
with indicators warmed on the candles before it and a fresh account. Sweeps are the event engine's.
Source: Pardo, The Evaluation and Optimization of Trading Strategies, 2nd ed. (2008), ch. 11.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import Strategy
from ctp.research.backtest import Prepared
from ctp.research.event_figures import FIGURES
from ctp.research.grid import Grid
from ctp.research.metrics import drawdown, monthly_returns
from ctp.research.sweep import run_grid, split_values
from ctp.research.sweep_result import SMALLER_IS_BETTER
from ctp.research.validation.bootstrap import HIGH, LOW
from ctp.research.validation.outcome import Fold, WalkForward
from ctp.research.validation.sharpe import annual_sharpe, moments, probabilistic_sharpe
from ctp.research.validation.slices import Course, course_of, daily_of, piece, warmed
from ctp.research.validation.surroundings import PLATEAU, plateau_scores

FIRST_TRAINING = 0.4  # of all candles after the warm-up
WARMED_ON = 5_000  # candles before a test, where there are as many
ANCHORED, ROLLING = "anchored", "rolling"


class Span(NamedTuple):
    """Rows of a fold: training [train, test), test [test, end)."""

    train: int
    test: int
    end: int


class Choice(NamedTuple):
    """What a fold chose, and how it did in training."""

    span: Span
    number: int | None
    sharpe: float | None


def spans(kind: str, warm_rows: int, rows: int, folds: int) -> list[Span]:
    """Return the folds of a history of so many rows whose first `warm_rows` only warm the indicators."""
    usable = rows - warm_rows
    first = warm_rows + int(usable * FIRST_TRAINING)
    edges = [first + (rows - first) * step // folds for step in range(folds + 1)]
    length = first - warm_rows
    return [
        Span(warm_rows if kind == ANCHORED else test - length, test, end)
        for test, end in pairwise(edges)
    ]


class Walker:
    """Chooses and measures on pieces of one history; keeps what both kinds of walk-forward share."""

    def __init__(
        self,
        prepared: Prepared,
        grid: Grid,
        warm_rows: int,
        by: str,
        *,
        workers: int | None,
        advance: Callable[[int], None],
    ) -> None:
        """Take a grid without a warm-up axis. warm_rows: rows before each training that warm the indicators."""
        self.prepared, self.grid, self.warm_rows, self.by = prepared, grid, warm_rows, by
        self.workers, self.advance = workers, advance
        self._chosen: dict[tuple[int, int], Choice] = {}

    def choose(self, span: Span) -> Choice:
        """Return the best of the grid over a training; the first of equals."""
        key = (span.train, span.test)
        if key not in self._chosen:
            training = piece(self.prepared, span.train - self.warm_rows, span.test)
            training = dataclasses.replace(training, strategy=warmed(training.strategy, self.warm_rows + 1))
            figures, _ = run_grid(training, self.grid, workers=self.workers, advance=self.advance)
            values = plateau_scores(self.grid, figures) if self.by == PLATEAU else figures[:, FIGURES.index(self.by)]
            signed = np.where(np.isnan(values), -np.inf, -values if self.by in SMALLER_IS_BETTER else values)
            signed[figures[:, FIGURES.index("trades")] == 0] = -np.inf
            best = int(np.argmax(signed))
            sharpe = float(figures[best, FIGURES.index("sharpe")])
            is_found = bool(np.isfinite(signed[best]))
            self._chosen[key] = Choice(span, best if is_found else None, sharpe if is_found else None)
        return self._chosen[key]._replace(span=span)

    def parameters(self, number: int) -> tuple[ParameterSet, DynamicRiskManager]:
        """Return strategy and risk of a combination."""
        return split_values(self.prepared.strategy, self.prepared.risk, self.grid.values(number))

    def measure(self, choice: Choice, prepared: Prepared | None = None, rule: Strategy | None = None) -> Course | None:
        """Return the course of what was chosen over its test, from a fresh account; None: nothing was chosen.

        prepared: the same history under other costs. rule: other code that decides.
        """
        if choice.number is None:
            return None
        span = choice.span
        before = min(span.test, max(self.warm_rows, WARMED_ON))
        test = piece(self.prepared if prepared is None else prepared, span.test - before, span.end)
        strategy, risk = self.parameters(choice.number)
        found = course_of(test, warmed(strategy, before + 1), risk, rule)
        return found if len(found.time) > 1 else None

    def walk(self, kind: str, folds: int) -> tuple[WalkForward, list[Choice], list[Course | None]]:
        """Return the walk-forward, what each fold chose and its course."""
        choices = [self.choose(span) for span in spans(kind, self.warm_rows, len(self.prepared.times), folds)]
        courses = [self.measure(choice) for choice in choices]
        return self.outcome(kind, choices, courses), choices, courses

    def outcome(self, kind: str, choices: Sequence[Choice], courses: Sequence[Course | None]) -> WalkForward:
        """Put the folds together: one account after another, each beginning with what the last one ended with."""
        zone = self.prepared.risk.zone_offset
        found, times, equities, days, returns = [], [], [], [], []
        level = 1.0
        for choice, course in zip(choices, courses, strict=True):
            found.append(self._fold(choice, course))
            if course is None:
                idle = self.prepared.times[choice.span.test : choice.span.end] + self.prepared.timeframe_ms
                course = Course(idle, np.ones(len(idle)), np.empty(0), 0)
            scaled = level * (course.equity / course.equity[0])
            level = float(scaled[-1])
            times.append(course.time)
            equities.append(scaled)
            day, daily = daily_of(course.time, course.equity, zone)
            days.append(day)
            returns.append(daily)
        time, equity = np.concatenate(times), np.concatenate(equities)
        daily = np.concatenate(returns)
        months = monthly_returns(time, equity, zone, self.prepared.timeframe_ms)
        full = [month.value for month in months if month.is_full]
        probability = probabilistic_sharpe(moments(daily))
        years = len(daily) / 365.0
        return WalkForward(
            kind=kind,
            folds=tuple(found),
            total_return=level - 1.0,
            annual_return=level ** (1.0 / years) - 1.0 if years > 0 and level > 0 else None,
            sharpe=annual_sharpe(daily),
            probability=None if np.isnan(probability) else probability,
            max_drawdown=float(drawdown(time, equity)[0] or 0.0),
            trades=sum(fold.trades for fold in found),
            profitable_folds=sum(fold.test_return > 0.0 for fold in found),
            full_months=len(full),
            months_at_target=sum(value >= LOW for value in full) / len(full) if full else None,
            months_in_band=sum(LOW <= value <= HIGH for value in full) / len(full) if full else None,
            months={month.name: month.value for month in months},
            day=np.concatenate(days),
            daily=daily,
            time=time,
            equity=equity,
        )

    def _fold(self, choice: Choice, course: Course | None) -> Fold:
        """Return one fold's figures."""
        times, length, span = self.prepared.times, self.prepared.timeframe_ms, choice.span
        daily = np.empty(0) if course is None else daily_of(course.time, course.equity, self.prepared.risk.zone_offset)[1]
        return Fold(
            train_start=int(times[span.train]),
            train_end=int(times[span.test]),
            test_start=int(times[span.test]),
            test_end=int(times[span.end - 1]) + length,
            number=choice.number,
            parameters={} if choice.number is None else self.grid.values(choice.number),
            train_sharpe=choice.sharpe,
            test_return=0.0 if course is None else float(course.equity[-1] / course.equity[0] - 1.0),
            test_sharpe=annual_sharpe(daily),
            test_drawdown=0.0 if course is None else float(drawdown(course.time, course.equity)[0] or 0.0),
            trades=0 if course is None else len(course.trade_returns),
        )

"""Spaces too large to grid: combinations drawn by chance, or by Optuna's TPE, which looks where it was good before.

Either way every combination is walked by the same engine as a grid's, and the same seed tries the same combinations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.errors import InputError
from ctp.research.grid import MOST_COMBINATIONS, Between, Grid, accept_axes, grid_of, home_of, plain_value, possible

SEARCHES = ("random", "tpe")
BATCH = 32  # combinations that TPE asks for before it hears how they did
DIGITS = 6  # of a drawn number: one that a person can type again
FIRST = 200  # combinations that TPE draws evenly before it looks where it was good
BEST, OTHERS = 40, 160  # answers that it is reminded of
ROUNDS = 40  # of drawing before a space counts as used up


class Range(NamedTuple):
    """An accepted range of one axis."""

    low: float
    high: float
    is_log: bool
    is_integer: bool

    def at(self, place: np.ndarray) -> list[Any]:
        """Return the values at places from 0 to 1."""
        if self.is_log:
            values = np.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
        elif self.is_integer:
            values = np.floor(self.low + place * (self.high - self.low + 1.0))
        else:
            values = self.low + place * (self.high - self.low)
        return [self.rounded(value) for value in values.tolist()]

    def rounded(self, value: float) -> Any:
        """Return a value of the range as it is tried."""
        inside = min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))
        return round(inside) if self.is_integer else inside


class Space(NamedTuple):
    """What to search: by name, values to choose from or a range."""

    strategy: ParameterSet
    risk: DynamicRiskManager
    axes: Mapping[str, Sequence[Any] | Range]

    def grid(self, columns: Mapping[str, Sequence[Any]], total: int) -> Grid:
        """Return the combinations whose values stand in columns."""
        axes, places = {}, {}
        for name, column in columns.items():
            values = list(dict.fromkeys(column))
            if not isinstance(values[0], str):
                values.sort()
            place_of = {value: place for place, value in enumerate(values)}
            axes[name] = values
            places[name] = np.fromiter((place_of[value] for value in column), np.int32, total)
        return grid_of(self.strategy, self.risk, axes, places, total)


def space_of(
    strategy: ParameterSet, risk: DynamicRiskManager, axes: Mapping[str, Iterable[Any]], *, is_perpetual: bool
) -> Space:
    """Return what to search, validated. Raises InputError naming axis and value."""
    ranges: dict[str, Range] = {}
    order = []
    lists: dict[str, Iterable[Any]] = {}
    for axis, given in axes.items():
        name, bound = home_of(strategy, risk, axis)
        if name in order:
            raise InputError(f"axis {axis}", "", "is given twice")
        order.append(name)
        if not isinstance(given, Between):
            lists[axis] = given
            continue
        if bound.choices:
            raise InputError(f"axis {name}", f"{given.low}..{given.high}", f"has no range: it is {bound.words()}")
        low, high = (bound.accept(f"axis {name}", plain_value(end)) for end in (given.low, given.high))
        if not low < high:
            raise InputError(f"axis {name}", f"{given.low}..{given.high}", "must begin below its end")
        if given.log and low <= 0.0:
            raise InputError(f"axis {name}", low, "must be above 0 to be drawn by order of magnitude")
        if not is_perpetual and name == "leverage":
            raise InputError("axis leverage", f"{given.low}..{given.high}", "must be 1.0 on a spot market")
        ranges[name] = Range(low, high, given.log, bound.is_integer)
    if not order:
        raise InputError("grid", "nothing", "must have at least one axis to search")
    accepted = accept_axes(strategy, risk, lists, is_perpetual=is_perpetual)
    return Space(strategy, risk, {name: ranges[name] if name in ranges else accepted[name] for name in order})


def check_trials(trials: Any) -> int:
    """Return how many combinations to try. Raises InputError when that is no number of them."""
    if isinstance(trials, bool) or not isinstance(trials, int) or not 1 <= trials <= MOST_COMBINATIONS:
        raise InputError("trials", trials, f"must be a whole number from 1 to {MOST_COMBINATIONS:,}")
    return trials


def random_grid(space: Space, trials: int, seed: int) -> Grid:
    """Return that many different combinations drawn evenly; fewer when the space has no more.

    Raises InputError when every combination drawn contradicts itself.
    """
    chance = np.random.default_rng(seed)
    rows: dict[tuple[Any, ...], None] = {}
    left_out, reason = 0, ""
    for _ in range(ROUNDS):
        count = max(64, trials - len(rows))
        columns = {name: _drawn(values, chance.random(count)) for name, values in space.axes.items()}
        is_possible, why = possible(space.strategy, space.grid(columns, count))
        reason = reason or why
        for row, is_taken in zip(zip(*columns.values(), strict=True), is_possible.tolist(), strict=True):
            if len(rows) == trials:
                break
            if is_taken:
                rows[row] = None
            else:
                left_out += 1
        if len(rows) == trials:
            break
    if not rows:
        raise InputError("grid", ", ".join(space.axes), f"no combination that was drawn is possible: {reason}")
    columns = dict(zip(space.axes, map(list, zip(*rows, strict=True)), strict=True))
    return space.grid(columns, len(rows))._replace(left_out=left_out)


def _drawn(values: Sequence[Any] | Range, place: np.ndarray) -> list[Any]:
    """Return the values at places from 0 to below 1."""
    if isinstance(values, Range):
        return values.at(place)
    return [values[index] for index in (place * len(values)).astype(int).tolist()]


def tpe_grid(
    space: Space,
    trials: int,
    seed: int,
    column: int,
    is_smaller_better: bool,
    measure: Callable[[Grid, int], np.ndarray],
) -> tuple[Grid, np.ndarray]:
    """Try combinations that Optuna's tree-structured Parzen estimator asks for, in batches.

    measure: takes combinations and the number of the first of them, and returns a row of figures for each, undefined is NaN;
    column: which of them is to be optimised. Returns all that were tried, in order, and their figures.
    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization (2011).
    """
    optuna = _optuna()
    known: dict[tuple[Any, ...], float] = {}
    measured: list[np.ndarray] = []
    heard: list[Any] = []  # every answer, as Optuna keeps it
    left_out = 0
    distributions = {name: _distribution(optuna, values) for name, values in space.axes.items()}
    for generation in range(3 * trials // BATCH + 10):
        if len(known) >= trials:
            break
        study = _study(optuna, heard, seed + generation, is_first=len(heard) < min(FIRST, trials // 4))
        batch = [study.ask(distributions) for _ in range(min(BATCH, trials - len(known)))]
        rows = [tuple(_asked(space.axes[name], trial.params[name]) for name in space.axes) for trial in batch]
        fresh = [row for row in dict.fromkeys(rows) if row not in known]
        bad: set[tuple[Any, ...]] = set()
        if fresh:
            columns = dict(zip(space.axes, map(list, zip(*fresh, strict=True)), strict=True))
            grid = space.grid(columns, len(fresh))
            is_possible, _ = possible(space.strategy, grid)
            bad = {row for row, is_taken in zip(fresh, is_possible.tolist(), strict=True) if not is_taken}
            left_out += len(bad)
            kept = [row for row in fresh if row not in bad]
            if kept:
                figures = measure(grid.chosen(np.flatnonzero(is_possible)), len(known))
                measured.append(figures)
                known.update(zip(kept, figures[:, column].tolist(), strict=True))
        for trial, row in zip(batch, rows, strict=True):
            signed = known.get(row, math.inf) * (1.0 if is_smaller_better or row in bad else -1.0)
            value = WORST if math.isnan(signed) else max(-WORST, min(WORST, signed))
            heard.append(optuna.trial.create_trial(params=trial.params, distributions=distributions, value=value))
    if not known:
        raise InputError("grid", ", ".join(space.axes), "no combination that was tried is possible")
    columns = dict(zip(space.axes, map(list, zip(*known, strict=True)), strict=True))
    return space.grid(columns, len(known))._replace(left_out=left_out), np.concatenate(measured)


WORST = 1e12  # what TPE hears of a combination that contradicts itself or has no such figure


def _study(optuna: Any, heard: Sequence[Any], seed: int, *, is_first: bool) -> Any:
    """Return a study that knows the best answers so far and some others.

    One that knows them all takes longer for each question the more there are, soon longer than the market takes to be walked.
    """
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=WORST if is_first else 0)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    order = sorted(range(len(heard)), key=lambda place: heard[place].value)
    others = np.random.default_rng(seed).permutation(order[BEST:])[:OTHERS].tolist()
    study.add_trials([heard[place] for place in sorted([*order[:BEST], *others])])
    return study


def _optuna() -> Any:
    """Return Optuna, quiet. Raises InputError saying how to install it."""
    try:
        import optuna
    except ImportError:
        raise InputError("search", "tpe", 'needs Optuna: pip install "ctp[search]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, values: Sequence[Any] | Range) -> Any:
    """Return an axis as Optuna takes it: values to choose from stand by their places, which keep their order."""
    if not isinstance(values, Range):
        if isinstance(values[0], str):
            return optuna.distributions.CategoricalDistribution(list(values))
        return optuna.distributions.IntDistribution(0, len(values) - 1)
    if values.is_integer:
        return optuna.distributions.IntDistribution(int(values.low), int(values.high), log=values.is_log)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.is_log)


def _asked(values: Sequence[Any] | Range, answer: Any) -> Any:
    """Return the value that Optuna asks for."""
    if isinstance(values, Range):
        return values.rounded(answer)
    return answer if isinstance(answer, str) else values[answer]

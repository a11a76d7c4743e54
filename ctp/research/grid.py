"""The combinations of a sweep: named axes of strategy and risk parameters, validated before anything runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from ctp.core.parameters import Bound, ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.errors import InputError

MOST_COMBINATIONS = 50_000_000
MOST_VALUES = 100_000  # on one axis


class Between(NamedTuple):
    """All values of a range; a search draws from it, evenly or evenly by order of magnitude."""

    low: Any
    high: Any
    log: bool = False


def between(low: float, high: float, log: bool = False) -> Between:
    """Return a range for `search="random"` or `"tpe"`: any value from low to high, whole numbers where the parameter is one.

    log: as many draws from 0.001 to 0.01 as from 0.01 to 0.1.
    """
    return Between(low, high, log)


class Grid(NamedTuple):
    """Combinations by the places of their values on each axis."""

    axes: Mapping[str, Sequence[Any]]  # parameter name -> accepted values
    numbers: Mapping[str, Sequence[Any]]  # the same as kernels take them: a choice is its place among the choices
    places: Mapping[str, np.ndarray]  # parameter name -> place on its axis, one a combination
    total: int
    left_out: int = 0  # combinations whose parameters contradict each other

    def values(self, number: int) -> dict[str, Any]:
        """Return a combination's parameters by name."""
        return {name: values[int(self.places[name][number])] for name, values in self.axes.items()}

    def distinct(self, names: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tell combinations apart by some axes: each one's number among those, and for each number a combination that has it."""
        code, most = np.zeros(self.total, np.int64), 1
        for name in names:
            if name not in self.axes:
                continue
            code = code * len(self.axes[name]) + self.places[name]
            most *= len(self.axes[name])
            if most > 4 * self.total + 1_000_000:
                code = np.unique(code, return_inverse=True)[1]
                most = int(code.max()) + 1
        first = np.full(most, -1, np.int64)
        first[code[::-1]] = np.arange(self.total - 1, -1, -1)
        present = np.flatnonzero(first >= 0)
        number = np.zeros(most, np.int32)
        number[present] = np.arange(len(present))
        return number[code], first[present]

    def chosen(self, numbers: np.ndarray) -> Grid:
        """Return some of the combinations."""
        places = {name: column[numbers] for name, column in self.places.items()}
        return self._replace(places=places, total=len(numbers))


def full_grid(
    strategy: ParameterSet, risk: DynamicRiskManager, axes: Mapping[str, Iterable[Any]], *, is_perpetual: bool
) -> Grid:
    """Return every combination of the axes' values.

    axes: a parameter's name, or strategy.NAME or risk.NAME, with the values to try. Combinations that contradict themselves
    (oversold not below overbought) are left out and counted. Raises InputError naming the axis and the value that is
    impossible by itself or in every combination.
    """
    accepted = accept_axes(strategy, risk, axes, is_perpetual=is_perpetual)
    sizes = [len(values) for values in accepted.values()]
    count = math.prod(sizes)
    if count > MOST_COMBINATIONS:
        raise InputError(
            "grid", f"{count:,}", f"must hold at most {MOST_COMBINATIONS:,} combinations; use search=\"random\" or \"tpe\""
        )
    places = {}
    repeat = count
    for name, size in zip(accepted, sizes, strict=True):
        repeat //= size
        column = np.repeat(np.arange(size, dtype=np.int32), repeat)
        places[name] = np.tile(column, count // len(column))
    grid = grid_of(strategy, risk, accepted, places, count)
    is_possible, first_reason = possible(strategy, grid)
    if is_possible.all():
        return grid
    for name in strategy.related:
        if name in grid.axes:
            tried = np.bincount(grid.places[name][is_possible], minlength=len(grid.axes[name]))
            for value, times in zip(grid.axes[name], tried, strict=True):
                if times == 0:
                    raise InputError(f"axis {name}", value, f"is impossible in every combination: {first_reason}")
    kept = np.flatnonzero(is_possible)
    return grid.chosen(kept)._replace(left_out=count - len(kept))


def grid_of(
    strategy: ParameterSet,
    risk: DynamicRiskManager,
    axes: Mapping[str, Sequence[Any]],
    places: Mapping[str, np.ndarray],
    total: int,
) -> Grid:
    """Return a grid of accepted values."""
    bounds = {**type(strategy).bounds(), **type(risk).bounds()}
    numbers = {
        name: [bounds[name].choices.index(value) if bounds[name].choices else value for value in values]
        for name, values in axes.items()
    }
    return Grid(axes, numbers, places, total)


def variant(parameters: ParameterSet, accepted: Mapping[str, Any]) -> ParameterSet:
    """Return a copy with some values that were accepted before; not validated again, which takes longer than a combination."""
    changed = copy.copy(parameters)
    for name, value in accepted.items():
        object.__setattr__(changed, name, value)
    return changed


def home_of(strategy: ParameterSet, risk: DynamicRiskManager, axis: Any) -> tuple[str, Bound]:
    """Return an axis's plain name and what its values may be. Raises InputError for one that there is not."""
    homes = {"strategy": type(strategy).bounds(), "risk": type(risk).bounds()}
    group, _, name = str(axis).rpartition(".")
    found = [bounds[name] for home, bounds in homes.items() if group in ("", home) and name in bounds]
    if not found:
        known = ", ".join(f"{home}.{each}" for home, bounds in homes.items() for each in bounds)
        raise InputError(f"axis {axis}", "", f"unknown; there are {known}")
    return name, found[0]


def accept_axes(
    strategy: ParameterSet, risk: DynamicRiskManager, axes: Mapping[str, Iterable[Any]], *, is_perpetual: bool
) -> dict[str, Sequence[Any]]:
    """Return the axes by plain name with their values in proper types. Raises InputError naming axis and value."""
    accepted: dict[str, Sequence[Any]] = {}
    for axis, given in axes.items():
        name, bound = home_of(strategy, risk, axis)
        if name in accepted:
            raise InputError(f"axis {axis}", "", "is given twice")
        if isinstance(given, Between):
            raise InputError(f"axis {name}", str(given), "is a range: give values to try, or search=\"random\" or \"tpe\"")
        is_one = isinstance(given, str | bytes) or not isinstance(given, Iterable)
        taken: dict[Any, None] = {}
        for value in [given] if is_one else given:
            if len(taken) == MOST_VALUES:
                raise InputError(f"axis {name}", "too many", f"must have at most {MOST_VALUES:,} values")
            checked = bound.accept(f"axis {name}", plain_value(value))
            if checked in taken:
                raise InputError(f"axis {name}", value, "is given twice")
            taken[checked] = None
        if not taken:
            raise InputError(f"axis {name}", "nothing", "must have at least one value")
        accepted[name] = list(taken)
    if not is_perpetual:
        for name, only in (("leverage", 1.0), ("direction", "long")):
            for value in accepted.get(name, ()):
                if value != only:
                    raise InputError(f"axis {name}", value, f"must be {only} on a spot market")
    return accepted


def possible(strategy: ParameterSet, grid: Grid) -> tuple[np.ndarray, str]:
    """Return which combinations do not contradict themselves, and the first contradiction."""
    number, first = grid.distinct(strategy.related)
    is_possible = np.ones(len(first), bool)
    reason = ""
    for each, combination in enumerate(first.tolist()):
        values = grid.values(combination)
        try:
            variant(strategy, {name: values[name] for name in strategy.related if name in values}).check()
        except InputError as error:
            is_possible[each] = False
            reason = reason or str(error)
    return is_possible[number], reason


def plain_value(value: Any) -> Any:
    """Return a value as Python has it: numpy's numbers and arrays of one are numbers too."""
    if isinstance(value, np.generic | np.ndarray):
        return value.item() if value.size == 1 else repr(value)
    return value if isinstance(value, str | int | float | Decimal) else repr(value)

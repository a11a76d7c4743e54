"""The combinations of a sweep: named axes of strategy and risk parameters, validated before anything runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.errors import InputError

MOST_COMBINATIONS = 50_000_000


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

    def codes(self, axes: Sequence[str]) -> tuple[np.ndarray, int]:
        """Return each combination's place among all combinations of some axes, and how many those are."""
        code = np.zeros(self.total, np.int64)
        sizes = 1
        for name in axes:
            code *= len(self.axes[name])
            code += self.places[name]
            sizes *= len(self.axes[name])
        return code, sizes

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
    accepted = _accept(strategy, risk, axes, is_perpetual=is_perpetual)
    sizes = [len(values) for values in accepted.values()]
    count = math.prod(sizes)
    if count > MOST_COMBINATIONS:
        raise InputError("grid", count, f"must hold at most {MOST_COMBINATIONS:,} combinations; search them by chance instead")
    places = {}
    repeat = count
    for name, size in zip(accepted, sizes, strict=True):
        repeat //= size
        column = np.repeat(np.arange(size, dtype=np.int32), repeat)
        places[name] = np.tile(column, count // len(column))
    bounds = {**type(strategy).bounds(), **type(risk).bounds()}
    numbers = {
        name: [bounds[name].choices.index(value) if bounds[name].choices else value for value in values]
        for name, values in accepted.items()
    }
    grid = Grid(accepted, numbers, places, count)
    is_possible, first_reason = _possible(strategy, grid)
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


def variant(parameters: ParameterSet, accepted: Mapping[str, Any]) -> ParameterSet:
    """Return a copy with some values that were accepted before; not validated again, which takes longer than a combination."""
    changed = copy.copy(parameters)
    for name, value in accepted.items():
        object.__setattr__(changed, name, value)
    return changed


def _accept(
    strategy: ParameterSet, risk: DynamicRiskManager, axes: Mapping[str, Iterable[Any]], *, is_perpetual: bool
) -> dict[str, Sequence[Any]]:
    """Return the axes by plain name with their values in proper types."""
    homes = {"strategy": type(strategy).bounds(), "risk": type(risk).bounds()}
    accepted: dict[str, Sequence[Any]] = {}
    for axis, given in axes.items():
        group, dot, name = axis.rpartition(".")
        found = [bounds[name] for home, bounds in homes.items() if group in ("", home) and name in bounds]
        if not found or (dot and group not in homes):
            known = ", ".join(f"{home}.{each}" for home, bounds in homes.items() for each in bounds)
            raise InputError(f"axis {axis}", "", f"unknown; there are {known}")
        values = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
        if not values:
            raise InputError(f"axis {axis}", "nothing", "must have at least one value")
        taken: list[Any] = []
        for value in values:
            plain = value.item() if isinstance(value, np.generic) else value
            checked = found[0].accept(f"axis {name}", plain)
            if checked in taken:
                raise InputError(f"axis {name}", value, "is given twice")
            taken.append(checked)
        if name in accepted:
            raise InputError(f"axis {axis}", "", "is given twice")
        accepted[name] = taken
    if not is_perpetual:
        for name, only in (("leverage", 1.0), ("direction", "long")):
            for value in accepted.get(name, ()):
                if value != only:
                    raise InputError(f"axis {name}", value, f"must be {only} on a spot market")
    return accepted


def _possible(strategy: ParameterSet, grid: Grid) -> tuple[np.ndarray, str]:
    """Return which combinations do not contradict themselves, and the first contradiction."""
    axes = [name for name in strategy.related if name in grid.axes]
    code = np.zeros(grid.total, np.int64)
    for name in axes:
        code = code * len(grid.axes[name]) + grid.places[name]
    is_possible = np.ones(math.prod(len(grid.axes[name]) for name in axes), bool)
    reason = ""
    for each in np.unique(code).tolist():
        rest, chosen = each, {}
        for name in reversed(axes):
            rest, place = divmod(rest, len(grid.axes[name]))
            chosen[name] = grid.axes[name][place]
        try:
            variant(strategy, chosen).check()
        except InputError as error:
            is_possible[each] = False
            reason = reason or str(error)
    return is_possible[code], reason

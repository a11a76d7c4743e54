"""Parameters with their bounds: declared once, used by notebook, command line, dashboard and sweep.

A parameter set is a frozen dataclass whose fields carry a `Bound`. It is validated when it is made, and gives the kernel a
NamedTuple of numbers (`values()`), in which a choice is its position among the choices. A default of None means that the
number follows from other parameters or from the market; it is filled in before `values()`.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import namedtuple
from functools import cache
from typing import Any, ClassVar, Self

from ctp.errors import InputError


@dataclasses.dataclass(frozen=True)
class Bound:
    """What a parameter may be. Bounds are inclusive unless marked open."""

    low: float | None = None
    high: float | None = None
    is_integer: bool = False
    is_open: bool = False  # low and high themselves are not allowed
    may_be_zero: bool = False  # 0 switches the rule off, although it lies below `low`
    choices: tuple[str, ...] = ()

    def words(self) -> str:
        """Say in words what is allowed."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        kind = "a whole number" if self.is_integer else "a number"
        between = "strictly between" if self.is_open else "from"
        to = "and" if self.is_open else "to"
        if self.low is not None and self.high is not None:
            kind += f" {between} {self.low:g} {to} {self.high:g}"
        elif self.low is not None:
            kind += f" {'above' if self.is_open else 'of at least'} {self.low:g}"
        return kind + (", or 0 for off" if self.may_be_zero else "")

    def accept(self, name: str, value: Any) -> Any:
        """Return the value in its proper type, or raise InputError naming field, value and bound."""
        if self.choices:
            if value not in self.choices:
                raise InputError(name, value, f"must be {self.words()}")
            return value
        number = _number(value)
        if number is None or not math.isfinite(number) or (self.is_integer and number != math.floor(number)):
            raise InputError(name, value, f"must be {self.words()}")
        if not (self.may_be_zero and number == 0) and not self._holds(number):
            raise InputError(name, value, f"must be {self.words()}")
        return int(number) if self.is_integer else number

    def _holds(self, number: float) -> bool:
        """Return whether the number lies within the bounds."""
        if self.is_open:
            return (self.low is None or number > self.low) and (self.high is None or number < self.high)
        return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)


def _number(value: Any) -> float | None:
    """Return the value as a float, or None when it is not a number; texts from a command line count."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def parameter(default: Any, bound: Bound) -> Any:
    """Declare a field of a parameter set: its default and what it may be."""
    return dataclasses.field(default=default, metadata={"bound": bound})


@cache
def _numbers_type(kind: Any) -> Any:
    """Return the NamedTuple that holds the numbers of one kind of parameter set.

    It is put beside its parameter set, so that compiled code on disk finds it again by name.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    numbers = namedtuple(kind.__name__ + "Values", names, module=kind.__module__)  # type: ignore[misc]
    setattr(sys.modules[kind.__module__], numbers.__name__, numbers)
    return numbers


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParameterSet:
    """Base of all parameter sets."""

    related: ClassVar[tuple[str, ...]] = ()  # the parameters that `check` holds against each other

    def __post_init__(self) -> None:
        """Validate every field, then what must hold between fields."""
        for field in dataclasses.fields(self):
            bound: Bound = field.metadata["bound"]
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                object.__setattr__(self, field.name, bound.accept(field.name, value))
        self.check()

    def check(self) -> None:
        """Raise InputError when fields contradict each other."""

    def values(self) -> Any:
        """Return the NamedTuple of numbers that kernels take."""
        numbers = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            choices = field.metadata["bound"].choices
            numbers.append(choices.index(value) if choices else value)
        return _numbers_type(type(self))(*numbers)  # type: ignore[arg-type]

    def with_values(self, values: dict[str, Any]) -> Self:
        """Return the set with some parameters replaced. Raises InputError."""
        return dataclasses.replace(self, **values) if values else self

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters by name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make a set from names and values; an unknown name is an InputError."""
        known = {field.name for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise InputError(name, value, f"unknown; {cls.__name__} has " + ", ".join(sorted(known)))
        return cls(**values)

    @classmethod
    def bounds(cls) -> dict[str, Bound]:
        """Return what each parameter may be, by name, in order of declaration."""
        return {field.name: field.metadata["bound"] for field in dataclasses.fields(cls)}

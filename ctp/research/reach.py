"""What a strategy's code takes from elsewhere than its candle, its memory and its parameters.

Numbers, texts, types, short tuples of them, mathematics and other functions of the strategy's own file or of `ctp.core` belong
to the rule. Tables, frames, files and anything that can change or hold a market's history do not.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Iterator
from typing import Any

from ctp.core.strategies import Strategy

MOST_NUMBERS = 64  # in a tuple of constants; more is a table
PLAIN = (int, float, complex, str, bytes, bool, type(None), range)
FORBIDDEN = ("open", "eval", "exec", "compile", "__import__", "globals", "input")
MODULES = ("math", "numpy", "cmath", "typing", "ctp.core")


def outside_of(rule: Strategy) -> list[str]:
    """Return the names of what the code of a strategy reaches for, in order."""
    parts: list[Any] = [rule.start, rule.step, rule.describe]
    if rule.factors is not None:
        parts += [rule.factors.advance, rule.factors.observe, rule.factors.judge, rule.factors.observation_of]
    seen: set[int] = set()
    found: set[str] = set()
    for part in parts:
        found.update(_reached(part, seen))
    return sorted(found)


def _reached(function: Any, seen: set[int]) -> Iterator[str]:
    """Yield what one function reaches for, and the functions it calls."""
    if not isinstance(function, types.FunctionType):
        yield f"{getattr(function, '__name__', function)!s} ({type(function).__name__})"
        return
    if id(function) in seen:
        return
    seen.add(id(function))
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    given = {name: cell.cell_contents for name, cell in cells}
    given |= {f"default {place}": value for place, value in enumerate(function.__defaults__ or ())}
    for code in _codes(function.__code__):
        for name in code.co_names:
            if name in function.__globals__:
                given[name] = function.__globals__[name]
            elif name in FORBIDDEN and hasattr(builtins, name):
                yield f"{name}()"
    for name, value in given.items():
        yield from _judged(name, value, function.__module__, seen)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a function's code and that of the functions and comprehensions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _judged(name: str, value: Any, home: str, seen: set[int]) -> Iterator[str]:
    """Yield a name if what it stands for is no part of a rule."""
    if isinstance(value, PLAIN):
        return
    if isinstance(value, type):
        if value.__module__ != home and not value.__module__.startswith((*MODULES, "builtins")):
            yield f"{name} ({value.__module__})"
        return
    if isinstance(value, tuple | frozenset):
        if len(value) > MOST_NUMBERS:
            yield f"{name} ({len(value):,} values)"
            return
        for each in value:
            yield from _judged(name, each, home, seen)
        return
    if isinstance(value, types.ModuleType):
        if not value.__name__.startswith(MODULES):
            yield f"{name} (module)"
        return
    if isinstance(value, types.BuiltinFunctionType) or (type(value).__module__ == "numpy" and callable(value)):
        return
    if isinstance(value, types.FunctionType):
        if value.__module__ == home:
            yield from _reached(value, seen)
        elif not (value.__module__ or "").startswith(MODULES):
            yield f"{name} ({value.__module__})"
        return
    yield f"{name} ({type(value).__name__})"

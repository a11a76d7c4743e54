"""The code of a strategy as a number: equal as long as it decides alike.

A strategy may be written anywhere, in a file of the user's or in a notebook's cell, so the code itself is looked at. Comments
and names of local variables do not count.
"""

from __future__ import annotations

import hashlib
import types
from functools import cache
from typing import Any

from ctp.core.strategies import Strategy


@cache
def code_hash(strategy: Strategy) -> str:
    """Return the SHA-256 of what decides in a strategy: its kernels, all they call, and the numbers they name."""
    halves = strategy.factors
    waiting: list[Any] = [strategy.step, strategy.start, strategy.parameters.values]
    waiting += [halves.advance, halves.observe, halves.observation_of, halves.judge] if halves else []
    digest = hashlib.sha256()
    seen = set(waiting)
    while waiting:
        function = waiting.pop()
        code = function.__code__
        digest.update(f"{function.__qualname__} {_text(code)}".encode())
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, types.FunctionType):
                if value not in seen:
                    seen.add(value)
                    waiting.append(value)
            elif isinstance(value, int | float | tuple):
                digest.update(repr((name, value)).encode())
            elif isinstance(value, type):
                digest.update(repr((name, getattr(value, "_fields", ()))).encode())
    return digest.hexdigest()


def _text(value: Any) -> str:
    """Return a code object or one of its constants as a text that is the same in every process."""
    if isinstance(value, types.CodeType):
        return f"{value.co_code!r} {_text(value.co_consts)} {value.co_names!r}"
    if isinstance(value, tuple):
        return f"({' '.join(_text(one) for one in value)})"
    if isinstance(value, frozenset):
        return f"{{{' '.join(sorted(_text(one) for one in value))}}}"
    return repr(value)

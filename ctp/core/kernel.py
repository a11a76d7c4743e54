"""The mark of a function that runs as plain Python in the bot and compiled in research.

A kernel uses numbers, NamedTuples of numbers and indexed buffers only: no `**`, no `try`, no strings, no mutable globals.
Three globals are replaced when it is compiled (see `ctp.research.compiled`): `strategy_start` and `strategy_step`, which
find the code of a strategy from the type of its parameters, and `new_buffer`, which makes a list here and an array there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def kernel[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function as part of the trading definition that research compiles unchanged."""
    function.__ctp_kernel__ = True  # type: ignore[attr-defined]
    return function


def new_buffer(length: int) -> Any:
    """Return `length` zeros that can be read and written by index."""
    return [0.0] * length

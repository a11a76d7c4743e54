"""The mark of a function that runs as plain Python in the bot and compiled in research.

A kernel uses numbers, NamedTuples of numbers and indexed buffers only: no `**`, no `try`, no strings, no mutable globals.
Two globals are replaced when it is compiled (see `ctp.research.compiled`): `strategy_step`, by the step of the strategy at
hand, and `put`. Rings are lists here and arrays there; nothing is allocated inside a kernel that runs per candle.
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

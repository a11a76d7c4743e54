"""Every decision one candle late: the same strategy, engine and fills, hearing each signal at the next close.

It is no second definition: the strategy's own `step` runs inside, and the bar loop's kernels do everything else.
"""

from __future__ import annotations

import types
from functools import cache
from typing import Any, NamedTuple

from ctp.core.kernel import kernel
from ctp.core.strategies import Strategy, strategy_step
from ctp.core.types import NO_SIGNAL_YET, Candle, Signal

inner_step = strategy_step  # stands for the strategy's own step, which `delayed` puts in its place


class LateMemory(NamedTuple):
    """What the strategy remembers, and what it said one candle ago."""

    inner: Any
    signal: Signal


@kernel
def late_step(strategy: Any, memory: LateMemory, candle: Candle) -> tuple[LateMemory, Signal]:
    """Advance the strategy by one candle and pass on what it said at the candle before."""
    inner, signal = inner_step(strategy, memory.inner, candle)
    return LateMemory(inner, signal), memory.signal


@cache
def delayed(strategy: Strategy) -> Strategy:
    """Return the strategy with each signal one candle late; for the bar loop only."""
    scope = {**late_step.__globals__, "inner_step": strategy.step}
    step: Any = types.FunctionType(late_step.__code__, scope, late_step.__name__)
    step.__module__, step.__qualname__ = late_step.__module__, late_step.__qualname__

    def start(values: Any) -> LateMemory:
        return LateMemory(strategy.start(values), NO_SIGNAL_YET)

    return strategy._replace(start=start, step=kernel(step), factors=None)

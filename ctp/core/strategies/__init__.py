"""Strategies, one file each, found through the registry.

A strategy is a parameter set, a `start` and a `step` kernel, the names of its entry rules and a `describe` for people. Its
numbers must include `take_profit`, `trailing_stop`, `cooldown` and `warm_up`, which the trader applies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ctp.core.parameters import ParameterSet
from ctp.core.strategies import rsi_mean_reversion
from ctp.core.strategies.rsi_mean_reversion import RsiMeanReversion
from ctp.core.types import Candle, Signal
from ctp.errors import InputError

__all__ = [
    "RsiMeanReversion",
    "Strategy",
    "find",
    "of_parameters",
    "of_values",
    "register",
    "strategy_start",
    "strategy_step",
]


class Strategy(NamedTuple):
    """The code of one strategy."""

    name: str
    parameters: type[ParameterSet]
    start: Callable[[Any], Any]
    step: Callable[[Any, Any, Candle], tuple[Any, Signal]]
    rules: tuple[str, ...]
    describe: Callable[[Any, Any, Candle], dict[str, float]]


_BY_NAME: dict[str, Strategy] = {}
_BY_VALUES: dict[str, Strategy] = {}


def register(strategy: Strategy) -> None:
    """Make a strategy known to backtest, sweep, bot and dashboard."""
    _BY_NAME[strategy.name] = strategy
    _BY_VALUES[type(strategy.parameters().values()).__name__] = strategy


def find(name: str) -> Strategy:
    """Return the strategy of that registry name."""
    if name not in _BY_NAME:
        raise InputError("strategy", name, "must be one of " + ", ".join(sorted(_BY_NAME)))
    return _BY_NAME[name]


def of_parameters(parameters: ParameterSet) -> Strategy:
    """Return the strategy that a parameter set belongs to."""
    return of_values(parameters.values())


def of_values(values: Any) -> Strategy:
    """Return the strategy that a tuple of kernel numbers belongs to."""
    return _BY_VALUES[type(values).__name__]


def strategy_start(values: Any) -> Any:
    """Return a strategy's memory before the first candle; replaced by the strategy's own `start` when compiled."""
    return of_values(values).start(values)


def strategy_step(values: Any, memory: Any, candle: Candle) -> tuple[Any, Signal]:
    """Advance a strategy by one candle; replaced by the strategy's own `step` when compiled."""
    return of_values(values).step(values, memory, candle)


register(
    Strategy(
        "rsi_mean_reversion",
        RsiMeanReversion,
        rsi_mean_reversion.start,
        rsi_mean_reversion.step,
        rsi_mean_reversion.RULES,
        rsi_mean_reversion.describe,
    )
)

"""Strategies, one file each, found through the registry.

A strategy is a parameter set, a `start` and a `step` kernel, the names of its entry rules and a `describe` for people. Its
numbers must include `take_profit`, `trailing_stop`, `cooldown` and `warm_up`, which the trader applies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ctp.core.parameters import ParameterSet
from ctp.core.strategies import rsi_mean_reversion
from ctp.core.strategies.rsi_mean_reversion import RsiMeanReversion
from ctp.core.types import Candle, Signal
from ctp.errors import InputError

__all__ = [
    "Factors",
    "Key",
    "RsiMeanReversion",
    "Strategy",
    "find",
    "observation_of",
    "of_parameters",
    "of_values",
    "register",
    "strategy_advance",
    "strategy_judge",
    "strategy_observe",
    "strategy_start",
    "strategy_step",
]


class Key(NamedTuple):
    """What something depends on: the parameters by name, and what of a combination's numbers matters."""

    names: tuple[str, ...]
    of: Callable[[Any], tuple[Any, ...]]


class Factors(NamedTuple):
    """A strategy's `step` in two halves, so that a sweep computes each indicator once for all combinations that share it.

    `step` must be `advance`, then `judge` of what `observe` returns. An observation is a NamedTuple of doubles;
    `observation_of` makes one of a row. What entries, exits and stop widths depend on comes on top of `observed_by`.
    """

    advance: Callable[[Any, Any, Candle], Any]
    observe: Callable[[Any, Any], Any]
    observation_of: Callable[[Any, Any], Any]
    judge: Callable[[Any, Any, Candle], Signal]
    observed_by: Key
    entered_by: Key
    left_by: Key
    stopped_by: Key
    warmed_by: tuple[str, ...]  # what the warm-up depends on
    columns: int  # doubles in an observation
    loosest: Callable[[Sequence[Any]], Any]  # numbers with which `observe` says enough for all of these
    left_seen_by: Key | None = None  # what of `observed_by` exit signals depend on, when not all of it


class Strategy(NamedTuple):
    """The code of one strategy. Without `factors` a sweep runs `step` for every combination: the same result, later."""

    name: str
    parameters: type[ParameterSet]
    start: Callable[[Any], Any]
    step: Callable[[Any, Any, Candle], tuple[Any, Signal]]
    rules: tuple[str, ...]
    describe: Callable[[Any, Any, Candle], dict[str, float]]
    factors: Factors | None = None


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


def strategy_advance(values: Any, memory: Any, candle: Candle) -> Any:
    """Advance a strategy's indicators by one candle; like the three below, replaced when compiled."""
    return _factors(values).advance(values, memory, candle)


def strategy_observe(values: Any, memory: Any) -> Any:
    """Return what a strategy's indicators say."""
    return _factors(values).observe(values, memory)


def observation_of(values: Any, row: Any) -> Any:
    """Return the observation that was written down in a row of numbers."""
    return _factors(values).observation_of(values, row)


def strategy_judge(values: Any, seen: Any, candle: Candle) -> Signal:
    """Return what a strategy wants, given what its indicators say."""
    return _factors(values).judge(values, seen, candle)


def _factors(values: Any) -> Factors:
    """Return the halves of the strategy that a tuple of kernel numbers belongs to."""
    factors = of_values(values).factors
    assert factors is not None
    return factors


register(
    Strategy(
        "rsi_mean_reversion",
        RsiMeanReversion,
        rsi_mean_reversion.start,
        rsi_mean_reversion.step,
        rsi_mean_reversion.RULES,
        rsi_mean_reversion.describe,
        Factors(
            rsi_mean_reversion.advance,
            rsi_mean_reversion.observe,
            rsi_mean_reversion.observation_of,
            rsi_mean_reversion.judge,
            Key(rsi_mean_reversion.OBSERVED_BY, rsi_mean_reversion.observed_by),
            Key(rsi_mean_reversion.ENTERED_BY, rsi_mean_reversion.entered_by),
            Key(rsi_mean_reversion.LEFT_BY, rsi_mean_reversion.left_by),
            Key(rsi_mean_reversion.STOPPED_BY, rsi_mean_reversion.stopped_by),
            ("period", "warm_up"),
            len(rsi_mean_reversion.RsiObservation._fields),
            rsi_mean_reversion.loosest,
            Key(("period",), lambda values: (values.period,)),
        ),
    )
)

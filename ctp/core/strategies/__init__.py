"""Strategies, one file each, found through the registry.

A strategy is a parameter set, a `start` and a `step` kernel, the names of its entry rules, a `describe` and words for
people. Every file of this folder registers its own when the package is loaded; so does any other file that calls `register`
(`docs/write-a-strategy.md`).
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ctp.core.parameters import ParameterSet
from ctp.core.types import Candle, Signal
from ctp.errors import InputError

__all__ = [
    "DEFAULT_STRATEGY",
    "DonchianBreakout",
    "Factors",
    "Key",
    "RsiMeanReversion",
    "Strategy",
    "Words",
    "find",
    "names",
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
    # Numbers with which `observe` says enough for all of these; None: it says the same for all.
    loosest: Callable[[Sequence[Any]], Any] | None = None
    left_seen_by: Key | None = None  # what of `observed_by` exit signals depend on, when not all of it


@dataclasses.dataclass(frozen=True, eq=False)
class Words:
    """What a strategy's decisions are called, by language: `name`, and templates by `outcome.reason` (`hold.hold`).

    A template may name every number of `describe` and of the decision (`how` it enters, `size`, `stop`, `take`, `entry_price`,
    `risk`, `side`, `seen`, `warm_up`). What is not here is told in general words.
    """

    en: Mapping[str, str]
    ko: Mapping[str, str]


NO_WORDS = Words({}, {})


class Strategy(NamedTuple):
    """The code of one strategy. Without `factors` a sweep runs `step` for every combination: the same result, later."""

    name: str
    parameters: type[ParameterSet]
    start: Callable[[Any], Any]
    step: Callable[[Any, Any, Candle], tuple[Any, Signal]]
    rules: tuple[str, ...]
    describe: Callable[[Any, Any, Candle], dict[str, float]]
    factors: Factors | None = None
    words: Words = NO_WORDS


DEFAULT_STRATEGY = "rsi_mean_reversion"
APPLIED_BY_THE_TRADER = ("take_profit", "trailing_stop", "limit_offset", "cooldown", "warm_up")
ALL_RULES_HOLD = "entry_signal"

_BY_NAME: dict[str, Strategy] = {}
_BY_VALUES: dict[tuple[str, str], Strategy] = {}


def register(strategy: Strategy) -> None:
    """Make a strategy known to backtest, sweep, bot and dashboard; the same one again replaces itself.

    Raises InputError when its name is another strategy's, or when it lacks what the trader needs of it.
    """
    known = _BY_NAME.get(strategy.name)
    if known is not None and _identity(known.parameters) != _identity(strategy.parameters):
        raise InputError("strategy", strategy.name, f"is the name of another one, {known.parameters.__name__}")
    missing = [name for name in APPLIED_BY_THE_TRADER if name not in strategy.parameters.bounds()]
    if missing:
        raise InputError("strategy", strategy.name, "must have the parameters " + ", ".join(missing))
    if strategy.rules[:1] != (ALL_RULES_HOLD,):
        raise InputError("rules", strategy.rules, f"must begin with {ALL_RULES_HOLD}: rule 0 says that all of them hold")
    _BY_NAME[strategy.name] = strategy
    _BY_VALUES[_identity(type(strategy.parameters().values()))] = strategy


def _identity(kind: type) -> tuple[str, str]:
    """Return what stays the same when a file or a notebook cell is run again."""
    return kind.__module__, kind.__qualname__


def names() -> list[str]:
    """Return the registry names of all strategies."""
    return sorted(_BY_NAME)


def find(name: str) -> Strategy:
    """Return the strategy of that registry name."""
    if name not in _BY_NAME:
        raise InputError("strategy", name, "must be one of " + ", ".join(names()))
    return _BY_NAME[name]


def of_parameters(parameters: ParameterSet) -> Strategy:
    """Return the strategy that a parameter set belongs to."""
    return of_values(parameters.values())


def of_values(values: Any) -> Strategy:
    """Return the strategy that a tuple of kernel numbers belongs to."""
    return _BY_VALUES[_identity(type(values))]


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


for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

# Strategies need the registry above, so their names come last.
from ctp.core.strategies.donchian_breakout import DonchianBreakout  # noqa: E402
from ctp.core.strategies.rsi_mean_reversion import RsiMeanReversion  # noqa: E402

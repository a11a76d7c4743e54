"""RSI mean reversion: buy weakness on rising volume, sell strength (semantics §3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from ctp.core.indicators import (
    ATR_PERIOD,
    NO_ATR,
    NO_RSI,
    AtrState,
    RsiState,
    Window,
    atr,
    mean,
    mean_before_last,
    push,
    rsi,
)
from ctp.core.kernel import kernel, new_buffer
from ctp.core.parameters import Bound, ParameterSet, parameter
from ctp.core.stops import LEAST_STOP_WIDTH, WIDEST_STOP, atr_stop_width
from ctp.core.strategies import Factors, Key, Strategy, register
from ctp.core.types import FLAT, LONG, NAN, SHORT, Candle, Signal
from ctp.errors import InputError

LONG_ONLY, SHORT_ONLY, BOTH = 0, 1, 2

# The entry rules in the order in which they are tried; `Signal.rule` names the first that failed.
RULES = ("entry_signal", "not_ready", "rsi_level", "rsi_no_cross", "no_volume", "volume_not_rising", "trend")
ALL_HOLD, NOT_READY, RSI_LEVEL, RSI_NO_CROSS, NO_VOLUME, VOLUME_NOT_RISING, TREND = range(len(RULES))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RsiMeanReversion(ParameterSet):
    """Parameters of RSI mean reversion. Widths are fractions of the entry price; windows are candles."""

    related: ClassVar[tuple[str, ...]] = ("oversold", "overbought", "direction", "take_profit")

    period: int = parameter(14, Bound(2, 200, is_integer=True))
    oversold: float = parameter(30.0, Bound(0, 100, is_open=True))
    overbought: float = parameter(70.0, Bound(0, 100, is_open=True))
    entry_mode: str = parameter("level", Bound(choices=("level", "cross")))
    volume_window: int = parameter(20, Bound(1, 10_000, is_integer=True))
    volume_factor: float = parameter(1.0, Bound(0, 1000))
    stop_loss: float = parameter(0.02, Bound(LEAST_STOP_WIDTH, WIDEST_STOP))
    stop_atr: float = parameter(0.0, Bound(0, 1000))
    take_profit: float = parameter(0.04, Bound(0, 100))
    trailing_stop: float = parameter(0.0, Bound(0, 1, is_open=True, may_be_zero=True))
    direction: str = parameter("long", Bound(choices=("long", "short", "both")))
    trend_window: int = parameter(0, Bound(0, 100_000, is_integer=True))
    signal: str = parameter("reversion", Bound(choices=("reversion", "momentum")))
    limit_offset: float = parameter(0.0, Bound(0, 0.2))
    cooldown: int = parameter(0, Bound(0, 1_000_000, is_integer=True))
    warm_up: int | None = parameter(None, Bound(0, 1_000_000, is_integer=True))

    def check(self) -> None:
        """Refuse levels in the wrong order and a short take-profit below zero."""
        if self.oversold >= self.overbought:
            raise InputError("oversold", self.oversold, f"must be below overbought = {self.overbought:g}")
        if self.direction != "long" and self.take_profit >= 1:
            raise InputError(
                "take_profit", self.take_profit, "must be below 1 when shorting: a price cannot fall further"
            )

    def values(self) -> Any:
        """Return the numbers for the kernel; the warm-up is 28 periods unless given."""
        numbers = super().values()
        return numbers if self.warm_up is not None else numbers._replace(warm_up=28 * self.period)


class RsiIndicators(NamedTuple):
    """What the strategy remembers of one symbol."""

    rsi: RsiState
    atr: AtrState
    volumes: Window
    closes: Window


class RsiObservation(NamedTuple):
    """What the indicators say after a candle; doubles only, NaN where not defined or not asked for."""

    is_ready: float  # 1 once every indicator in use is defined
    rsi: float
    previous: float
    volume_mean: float  # of the candles before this one
    trend_mean: float
    atr: float


@kernel
def start(strategy: Any) -> RsiIndicators:
    """Return the memory before the first candle."""
    return RsiIndicators(
        NO_RSI,
        NO_ATR,
        Window(new_buffer(strategy.volume_window + 1), 0),
        Window(new_buffer(max(1, strategy.trend_window)), 0),
    )


@kernel
def step(strategy: Any, memory: RsiIndicators, candle: Candle) -> tuple[RsiIndicators, Signal]:
    """Advance by one closed candle and say what the strategy wants at its close."""
    memory = advance(strategy, memory, candle)
    return memory, judge(strategy, observe(strategy, memory), candle)


@kernel
def advance(strategy: Any, memory: RsiIndicators, candle: Candle) -> RsiIndicators:
    """Advance the indicators in use by one closed candle."""
    ranges = memory.atr
    if strategy.stop_atr > 0.0:
        ranges = atr(ATR_PERIOD, memory.atr, candle.high, candle.low, candle.close)
    closes = memory.closes
    if strategy.trend_window > 0:
        closes = push(closes, candle.close)
    return RsiIndicators(
        rsi(strategy.period, memory.rsi, candle.close), ranges, push(memory.volumes, candle.volume), closes
    )


@kernel
def is_entry_near(strategy: Any, value: float) -> bool:
    """Return whether the RSI stands at a level at which a position may be entered."""
    low_side = LONG_ONLY if strategy.signal == 0 else SHORT_ONLY
    if value <= strategy.oversold and (strategy.direction == BOTH or strategy.direction == low_side):
        return True
    return value >= strategy.overbought and strategy.direction != low_side


@kernel
def observe(strategy: Any, memory: RsiIndicators) -> RsiObservation:
    """Return what the indicators say after a candle; the means cost a window each and are left out where no entry is near."""
    # NaN is the only value that differs from itself: an indicator that is not defined yet.
    ready = memory.rsi.value == memory.rsi.value
    if strategy.volume_factor > 0.0 and memory.volumes.seen <= strategy.volume_window:
        ready = False
    if strategy.trend_window > 0 and memory.closes.seen < strategy.trend_window:
        ready = False
    if strategy.stop_atr > 0.0 and memory.atr.value != memory.atr.value:
        ready = False
    volume_mean = NAN
    trend = NAN
    if is_entry_near(strategy, memory.rsi.value):
        if strategy.volume_factor > 0.0:
            volume_mean = mean_before_last(memory.volumes)
        if strategy.trend_window > 0:
            trend = mean(memory.closes)
    return RsiObservation(
        1.0 if ready else 0.0, memory.rsi.value, memory.rsi.previous, volume_mean, trend, memory.atr.value
    )


@kernel
def observation_of(strategy: Any, row: Any) -> RsiObservation:
    """Return the observation that was written down in a row of numbers."""
    return RsiObservation(row[0], row[1], row[2], row[3], row[4], row[5])


@kernel
def judge(strategy: Any, seen: RsiObservation, candle: Candle) -> Signal:
    """Say what the strategy wants at the close of a candle, from what the indicators say."""
    rule, side = _entry(strategy, seen, candle)
    is_high = seen.rsi >= strategy.overbought
    is_low = seen.rsi <= strategy.oversold
    exit_long, exit_short = is_high, is_low
    if strategy.signal == 1:
        exit_long, exit_short = is_low, is_high
    width = strategy.stop_loss
    if strategy.stop_atr > 0.0:
        width = atr_stop_width(strategy.stop_atr, seen.atr, candle.close)
    return Signal(
        int(rule != NOT_READY), side if rule == ALL_HOLD else FLAT, int(exit_long), int(exit_short), width, rule
    )


@kernel
def _entry(strategy: Any, seen: RsiObservation, candle: Candle) -> tuple[int, int]:
    """Return (first failing rule or ALL_HOLD, side)."""
    if seen.is_ready == 0.0:
        return NOT_READY, FLAT

    low_side, high_side = LONG, SHORT
    if strategy.signal == 1:
        low_side, high_side = SHORT, LONG
    side = FLAT
    crossed = False
    if seen.rsi <= strategy.oversold:
        side = low_side
        crossed = seen.previous > strategy.oversold
    elif seen.rsi >= strategy.overbought:
        side = high_side
        crossed = seen.previous < strategy.overbought
    if (strategy.direction == LONG_ONLY and side != LONG) or (strategy.direction == SHORT_ONLY and side != SHORT):
        side = FLAT
    if side == FLAT:
        return RSI_LEVEL, FLAT
    if strategy.entry_mode == 1 and not crossed:
        return RSI_NO_CROSS, side
    if candle.volume <= 0.0:
        return NO_VOLUME, side
    if strategy.volume_factor > 0.0 and not candle.volume > strategy.volume_factor * seen.volume_mean:
        return VOLUME_NOT_RISING, side
    if strategy.trend_window > 0:
        is_against = not candle.close > seen.trend_mean if side == LONG else not candle.close < seen.trend_mean
        if is_against:
            return TREND, side
    return ALL_HOLD, side


def describe(strategy: Any, memory: RsiIndicators, candle: Candle) -> dict[str, float]:
    """Return the numbers behind the signal at `candle`, for people; `memory` is the one after that candle."""
    numbers = {"rsi": memory.rsi.value, "close": candle.close, "volume": candle.volume}
    numbers["volume_mean"] = mean_before_last(memory.volumes)
    if strategy.trend_window > 0:
        numbers["trend_mean"] = mean(memory.closes)
    if strategy.stop_atr > 0.0:
        numbers["atr"] = memory.atr.value
    return {name: value for name, value in numbers.items() if value == value}


OBSERVED_BY = ("period", "volume_window", "volume_factor", "trend_window", "stop_atr")
ENTERED_BY = ("oversold", "overbought", "entry_mode", "volume_factor", "direction", "signal", "trend_window", "stop_atr")
LEFT_BY = ("oversold", "overbought", "direction", "signal")
STOPPED_BY = ("stop_loss", "stop_atr")


def observed_by(values: Any) -> tuple[Any, ...]:
    """Return what the observations depend on."""
    volume_window = values.volume_window if values.volume_factor > 0.0 else 0
    return (values.period, volume_window, values.trend_window, values.stop_atr > 0.0)


def loosest(values: Sequence[Any]) -> Any:
    """Return numbers whose entries are near wherever those of any of the values are."""
    sides = {(each.direction, each.signal) for each in values}
    return values[0]._replace(
        oversold=max(each.oversold for each in values),
        overbought=min(each.overbought for each in values),
        direction=values[0].direction if len(sides) == 1 else BOTH,
    )


def entered_by(values: Any) -> tuple[Any, ...]:
    """Return what entries depend on, beside the observations: only the levels of the sides that may be entered."""
    enters_low = values.direction == BOTH or (values.direction == LONG_ONLY) == (values.signal == 0)
    enters_high = values.direction == BOTH or not enters_low
    return (
        values.oversold if enters_low else None,
        values.overbought if enters_high else None,
        values.entry_mode,
        values.volume_factor,
        values.direction,
        values.signal,
    )


def left_by(values: Any) -> tuple[Any, ...]:
    """Return what exit signals depend on, beside the observations: only the level at which an open side is left."""
    leaves_high = values.direction == BOTH or (values.direction == LONG_ONLY) == (values.signal == 0)
    leaves_low = values.direction == BOTH or not leaves_high
    return (
        values.oversold if leaves_low else None,
        values.overbought if leaves_high else None,
        values.direction,
        values.signal,
    )


def stopped_by(values: Any) -> tuple[Any, ...]:
    """Return what the stop width depends on; ATR has a period of its own and none of the observations'."""
    return ("atr", values.stop_atr) if values.stop_atr > 0.0 else ("fixed", values.stop_loss)


register(
    Strategy(
        "rsi_mean_reversion",
        RsiMeanReversion,
        start,
        step,
        RULES,
        describe,
        Factors(
            advance,
            observe,
            observation_of,
            judge,
            Key(OBSERVED_BY, observed_by),
            Key(ENTERED_BY, entered_by),
            Key(LEFT_BY, left_by),
            Key(STOPPED_BY, stopped_by),
            ("period", "warm_up"),
            len(RsiObservation._fields),
            loosest,
            Key(("period",), lambda values: (values.period,)),
        ),
    )
)

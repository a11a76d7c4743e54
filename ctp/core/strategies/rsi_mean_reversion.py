"""RSI mean reversion: buy weakness on rising volume, sell strength (semantics §3)."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from ctp.core.indicators import NO_ATR, NO_RSI, AtrState, RsiState, Window, atr, mean, mean_before_last, push, rsi
from ctp.core.kernel import kernel, new_buffer
from ctp.core.parameters import Bound, ParameterSet, parameter
from ctp.core.types import FLAT, LONG, SHORT, Candle, Signal
from ctp.errors import InputError

ATR_PERIOD = 14
LEAST_STOP_WIDTH, WIDEST_STOP = 0.002, 0.2
LONG_ONLY, SHORT_ONLY, BOTH = 0, 1, 2

# The entry rules in the order in which they are tried; `Signal.rule` names the first that failed.
RULES = ("entry_signal", "not_ready", "rsi_level", "rsi_no_cross", "no_volume", "volume_not_rising", "trend")
ALL_HOLD, NOT_READY, RSI_LEVEL, RSI_NO_CROSS, NO_VOLUME, VOLUME_NOT_RISING, TREND = range(len(RULES))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RsiMeanReversion(ParameterSet):
    """Parameters of RSI mean reversion. Widths are fractions of the entry price; windows are candles."""

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
    momentum = rsi(strategy.period, memory.rsi, candle.close)
    ranges = memory.atr
    if strategy.stop_atr > 0.0:
        ranges = atr(ATR_PERIOD, memory.atr, candle.high, candle.low, candle.close)
    closes = memory.closes
    if strategy.trend_window > 0:
        closes = push(closes, candle.close)
    volumes = push(memory.volumes, candle.volume)
    rule, side = _entry(strategy, momentum, ranges, volumes, closes, candle)

    is_high = momentum.value >= strategy.overbought
    is_low = momentum.value <= strategy.oversold
    exit_long, exit_short = is_high, is_low
    if strategy.signal == 1:
        exit_long, exit_short = is_low, is_high
    width = strategy.stop_loss
    if strategy.stop_atr > 0.0:
        width = min(WIDEST_STOP, max(LEAST_STOP_WIDTH, strategy.stop_atr * ranges.value / candle.close))
    signal = Signal(
        int(rule != NOT_READY), side if rule == ALL_HOLD else FLAT, int(exit_long), int(exit_short), width, rule
    )
    return RsiIndicators(momentum, ranges, volumes, closes), signal


@kernel
def _entry(
    strategy: Any, momentum: RsiState, ranges: AtrState, volumes: Window, closes: Window, candle: Candle
) -> tuple[int, int]:
    """Return (first failing rule or ALL_HOLD, side). Both windows include this candle as their newest value."""
    # NaN is the only value that differs from itself: an indicator that is not defined yet.
    ready = momentum.value == momentum.value
    if strategy.volume_factor > 0.0 and volumes.seen <= strategy.volume_window:
        ready = False
    if strategy.trend_window > 0 and closes.seen < strategy.trend_window:
        ready = False
    if strategy.stop_atr > 0.0 and ranges.value != ranges.value:
        ready = False
    if not ready:
        return NOT_READY, FLAT

    low_side, high_side = LONG, SHORT
    if strategy.signal == 1:
        low_side, high_side = SHORT, LONG
    side = FLAT
    crossed = False
    if momentum.value <= strategy.oversold:
        side = low_side
        crossed = momentum.previous > strategy.oversold
    elif momentum.value >= strategy.overbought:
        side = high_side
        crossed = momentum.previous < strategy.overbought
    if (strategy.direction == LONG_ONLY and side != LONG) or (strategy.direction == SHORT_ONLY and side != SHORT):
        side = FLAT
    if side == FLAT:
        return RSI_LEVEL, FLAT
    if strategy.entry_mode == 1 and not crossed:
        return RSI_NO_CROSS, side
    if candle.volume <= 0.0:
        return NO_VOLUME, side
    if strategy.volume_factor > 0.0 and not candle.volume > strategy.volume_factor * mean_before_last(volumes):
        return VOLUME_NOT_RISING, side
    if strategy.trend_window > 0:
        trend = mean(closes)
        if (side == LONG and not candle.close > trend) or (side == SHORT and not candle.close < trend):
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

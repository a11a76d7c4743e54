"""Donchian breakout: buy what leaves its range upwards, go when it leaves a shorter range downwards.

Every number comes from candles before the one that decides, so the channel cannot move with the price that breaks it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

from ctp.core.indicators import ATR_PERIOD, NO_ATR, AtrState, Window, atr, mean, mean_before_last, push
from ctp.core.kernel import kernel, new_buffer
from ctp.core.parameters import Bound, ParameterSet, parameter
from ctp.core.stops import LEAST_STOP_WIDTH, WIDEST_STOP, atr_stop_width
from ctp.core.strategies import Factors, Key, Strategy, Words, register
from ctp.core.types import FLAT, LONG, NAN, SHORT, Candle, Signal
from ctp.errors import InputError

LONG_ONLY, SHORT_ONLY, BOTH = 0, 1, 2

# The entry rules in the order in which they are tried; `Signal.rule` names the first that failed.
RULES = ("entry_signal", "not_ready", "inside_channel", "other_direction", "no_volume", "volume_not_rising", "trend")
ALL_HOLD, NOT_READY, INSIDE_CHANNEL, OTHER_DIRECTION, NO_VOLUME, VOLUME_NOT_RISING, TREND = range(len(RULES))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DonchianBreakout(ParameterSet):
    """Parameters of the Donchian breakout. Widths are fractions of the entry price; windows are candles."""

    related: ClassVar[tuple[str, ...]] = ("direction", "take_profit")

    entry_window: int = parameter(20, Bound(1, 10_000, is_integer=True))
    exit_window: int = parameter(10, Bound(1, 10_000, is_integer=True))
    volume_window: int = parameter(20, Bound(1, 10_000, is_integer=True))
    volume_factor: float = parameter(0.0, Bound(0, 1000))
    trend_window: int = parameter(0, Bound(0, 100_000, is_integer=True))
    direction: str = parameter("long", Bound(choices=("long", "short", "both")))
    stop_loss: float = parameter(0.1, Bound(LEAST_STOP_WIDTH, WIDEST_STOP))
    stop_atr: float = parameter(3.0, Bound(0, 1000))
    take_profit: float = parameter(0.0, Bound(0, 100))
    trailing_stop: float = parameter(0.0, Bound(0, 1, is_open=True, may_be_zero=True))
    limit_offset: float = parameter(0.0, Bound(0, 0.2))
    cooldown: int = parameter(0, Bound(0, 1_000_000, is_integer=True))
    warm_up: int | None = parameter(None, Bound(0, 1_000_000, is_integer=True))

    def check(self) -> None:
        """Refuse a short take-profit below zero."""
        if self.direction != "long" and self.take_profit >= 1:
            raise InputError(
                "take_profit", self.take_profit, "must be below 1 when shorting: a price cannot fall further"
            )

    def values(self) -> Any:
        """Return the numbers for the kernel; only ATR needs a warm-up, 28 periods unless given."""
        numbers = super().values()
        if self.warm_up is not None:
            return numbers
        return numbers._replace(warm_up=28 * ATR_PERIOD if self.stop_atr > 0.0 else 0)


class Channel(NamedTuple):
    """Highest high and lowest low of some candles; NaN until there were as many."""

    upper: float
    lower: float


class DonchianMemory(NamedTuple):
    """What the strategy remembers of one symbol."""

    highs: Window
    lows: Window
    volumes: Window
    closes: Window
    atr: AtrState
    entry: Channel  # before the newest candle, as is `exit`
    exit: Channel


class DonchianObservation(NamedTuple):
    """What the indicators say after a candle; doubles only, NaN where not defined or not in use."""

    is_ready: float  # 1 once every indicator in use is defined
    upper: float
    lower: float
    exit_upper: float
    exit_lower: float
    volume_mean: float  # of the candles before this one
    trend_mean: float
    atr: float


@kernel
def start(strategy: Any) -> DonchianMemory:
    """Return the memory before the first candle."""
    longest = max(strategy.entry_window, strategy.exit_window)
    return DonchianMemory(
        Window(new_buffer(longest), 0),
        Window(new_buffer(longest), 0),
        Window(new_buffer(strategy.volume_window + 1), 0),
        Window(new_buffer(max(1, strategy.trend_window)), 0),
        NO_ATR,
        Channel(NAN, NAN),
        Channel(NAN, NAN),
    )


@kernel
def step(strategy: Any, memory: DonchianMemory, candle: Candle) -> tuple[DonchianMemory, Signal]:
    """Advance by one closed candle and say what the strategy wants at its close."""
    memory = advance(strategy, memory, candle)
    return memory, judge(strategy, observe(strategy, memory), candle)


@kernel
def channel(highs: Window, lows: Window, count: int) -> Channel:
    """Return the channel of the last candles."""
    if highs.seen < count:
        return Channel(NAN, NAN)
    length = len(highs.ring)
    place = highs.seen % length
    upper = -1.0
    lower = -1.0
    for _ in range(count):
        place = length - 1 if place == 0 else place - 1
        if highs.ring[place] > upper:
            upper = highs.ring[place]
        if lower < 0.0 or lows.ring[place] < lower:
            lower = lows.ring[place]
    return Channel(upper, lower)


@kernel
def advance(strategy: Any, memory: DonchianMemory, candle: Candle) -> DonchianMemory:
    """Advance the indicators in use by one closed candle; the channels first, from the candles before it."""
    entry = channel(memory.highs, memory.lows, strategy.entry_window)
    leave = channel(memory.highs, memory.lows, strategy.exit_window)
    ranges = memory.atr
    if strategy.stop_atr > 0.0:
        ranges = atr(ATR_PERIOD, memory.atr, candle.high, candle.low, candle.close)
    volumes = memory.volumes
    if strategy.volume_factor > 0.0:
        volumes = push(volumes, candle.volume)
    closes = memory.closes
    if strategy.trend_window > 0:
        closes = push(closes, candle.close)
    return DonchianMemory(
        push(memory.highs, candle.high), push(memory.lows, candle.low), volumes, closes, ranges, entry, leave
    )


@kernel
def observe(strategy: Any, memory: DonchianMemory) -> DonchianObservation:
    """Return what the indicators say after a candle."""
    volume_mean = mean_before_last(memory.volumes) if strategy.volume_factor > 0.0 else NAN
    trend_mean = mean(memory.closes) if strategy.trend_window > 0 else NAN
    # NaN is the only value that differs from itself: an indicator that is not defined yet.
    ready = memory.entry.upper == memory.entry.upper and memory.exit.upper == memory.exit.upper
    if strategy.volume_factor > 0.0 and volume_mean != volume_mean:
        ready = False
    if strategy.trend_window > 0 and trend_mean != trend_mean:
        ready = False
    if strategy.stop_atr > 0.0 and memory.atr.value != memory.atr.value:
        ready = False
    return DonchianObservation(
        1.0 if ready else 0.0,
        memory.entry.upper,
        memory.entry.lower,
        memory.exit.upper,
        memory.exit.lower,
        volume_mean,
        trend_mean,
        memory.atr.value,
    )


@kernel
def observation_of(strategy: Any, row: Any) -> DonchianObservation:
    """Return the observation that was written down in a row of numbers."""
    return DonchianObservation(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7])


@kernel
def judge(strategy: Any, seen: DonchianObservation, candle: Candle) -> Signal:
    """Say what the strategy wants at the close of a candle, from what the indicators say."""
    rule, side = _entry(strategy, seen, candle)
    width = strategy.stop_loss
    if strategy.stop_atr > 0.0:
        width = atr_stop_width(strategy.stop_atr, seen.atr, candle.close)
    return Signal(
        int(rule != NOT_READY),
        side if rule == ALL_HOLD else FLAT,
        int(candle.close < seen.exit_lower),
        int(candle.close > seen.exit_upper),
        width,
        rule,
    )


@kernel
def _entry(strategy: Any, seen: DonchianObservation, candle: Candle) -> tuple[int, int]:
    """Return (first failing rule or ALL_HOLD, side)."""
    if seen.is_ready == 0.0:
        return NOT_READY, FLAT
    side = FLAT
    if candle.close > seen.upper:
        side = LONG
    elif candle.close < seen.lower:
        side = SHORT
    if side == FLAT:
        return INSIDE_CHANNEL, FLAT
    if (strategy.direction == LONG_ONLY and side != LONG) or (strategy.direction == SHORT_ONLY and side != SHORT):
        return OTHER_DIRECTION, FLAT
    if candle.volume <= 0.0:
        return NO_VOLUME, side
    if strategy.volume_factor > 0.0 and not candle.volume > strategy.volume_factor * seen.volume_mean:
        return VOLUME_NOT_RISING, side
    if strategy.trend_window > 0:
        is_against = not candle.close > seen.trend_mean if side == LONG else not candle.close < seen.trend_mean
        if is_against:
            return TREND, side
    return ALL_HOLD, side


def describe(strategy: Any, memory: DonchianMemory, candle: Candle) -> dict[str, float]:
    """Return the numbers behind the signal at `candle`, for people; `memory` is the one after that candle."""
    seen = observe(strategy, memory)
    numbers = {"close": candle.close, "volume": candle.volume}
    for name in ("upper", "lower", "exit_upper", "exit_lower", "volume_mean", "trend_mean", "atr"):
        numbers[name] = getattr(seen, name)
    return {name: value for name, value in numbers.items() if value == value}


OBSERVED_BY = ("entry_window", "exit_window", "volume_window", "volume_factor", "trend_window", "stop_atr")
ENTERED_BY = ("volume_factor", "direction")
STOPPED_BY = ("stop_loss", "stop_atr")


def observed_by(values: Any) -> tuple[Any, ...]:
    """Return what the observations depend on."""
    volume_window = values.volume_window if values.volume_factor > 0.0 else 0
    return values.entry_window, values.exit_window, volume_window, values.trend_window, values.stop_atr > 0.0


def entered_by(values: Any) -> tuple[Any, ...]:
    """Return what entries depend on, beside the observations."""
    return values.volume_factor, values.direction


def left_by(values: Any) -> tuple[Any, ...]:
    """Return what exit signals depend on, beside the observations: nothing."""
    return ()


def stopped_by(values: Any) -> tuple[Any, ...]:
    """Return what the stop width depends on; ATR has a period of its own and none of the observations'."""
    return ("atr", values.stop_atr) if values.stop_atr > 0.0 else ("fixed", values.stop_loss)


WORDS = Words(
    en={
        "name": "Donchian breakout",
        "no_signal.not_ready": "The channel and its filters need more candles than the {seen} so far.",
        "no_signal.inside_channel": "The close {close} is inside the channel {lower} to {upper}.",
        "no_signal.other_direction": "The close {close} left the channel {lower} to {upper} on the side that is not traded.",
        "no_signal.no_volume": "The close {close} left the channel, but nothing was traded in this candle.",
        "no_signal.volume_not_rising": "The close {close} left the channel {lower} to {upper}, but volume {volume} is not"
        " far enough above its mean {volume_mean}.",
        "no_signal.trend": "The close {close} left the channel, but is on the wrong side of the trend mean {trend_mean}.",
        "enter.entry_signal": "The close {close} left the channel {lower} to {upper}: {side} {size} {how},"
        " stop-loss {stop}, risk {risk}.",
        "hold.hold": "The close {close} is inside the exit channel {exit_lower} to {exit_upper}."
        " Entry {entry_price}, stop-loss {stop}, take-profit {take}.",
        "hold.stopped": "The close {close} left the exit channel, but the account is stopped: the position is yours to"
        " close; its stop-loss {stop} stays.",
        "exit.exit_signal": "The close {close} left the exit channel {exit_lower} to {exit_upper}: the position is closed"
        " at the next open.",
        "refused.signal": "The close {close} had left the channel {lower} to {upper}.",
    },
    ko={
        "name": "돈치안 돌파",
        "no_signal.not_ready": "지금까지 캔들 {seen}개, 채널과 필터를 채우려면 더 필요합니다.",
        "no_signal.inside_channel": "종가 {close}, 채널 {lower}–{upper} 안에 있습니다.",
        "no_signal.other_direction": "종가 {close}, 채널 {lower}–{upper}을 벗어났지만 거래하지 않는 방향입니다.",
        "no_signal.no_volume": "종가 {close}, 채널을 벗어났지만 이 캔들에는 거래가 없었습니다.",
        "no_signal.volume_not_rising": "종가 {close}, 채널 {lower}–{upper}을 벗어났지만 거래량 {volume}이(가)"
        " 평균 {volume_mean}보다 충분히 크지 않습니다.",
        "no_signal.trend": "종가 {close}, 채널을 벗어났지만 추세 평균 {trend_mean}의 반대편에 있습니다.",
        "enter.entry_signal": "종가 {close}, 채널 {lower}–{upper} 돌파. {how} {side} {size} 진입, 손절가 {stop},"
        " 위험 금액 {risk}.",
        "hold.hold": "종가 {close}, 청산 채널 {exit_lower}–{exit_upper} 안에 있습니다."
        " 진입가 {entry_price}, 손절가 {stop}, 익절가 {take}.",
        "hold.stopped": "종가 {close}, 청산 채널을 벗어났지만 계좌가 정지 상태라 포지션을 그대로 둡니다."
        " 손절가 {stop}은(는) 유지됩니다.",
        "exit.exit_signal": "종가 {close}, 청산 채널 {exit_lower}–{exit_upper}을 벗어나 다음 시가에 청산합니다.",
        "refused.signal": "종가 {close}, 채널 {lower}–{upper}을 벗어난 진입 신호였습니다.",
    },
)

register(
    Strategy(
        "donchian_breakout",
        DonchianBreakout,
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
            Key((), left_by),
            Key(STOPPED_BY, stopped_by),
            ("stop_atr", "warm_up"),
            len(DonchianObservation._fields),
            left_seen_by=Key(("exit_window",), lambda values: (values.exit_window,)),
        ),
        WORDS,
    )
)

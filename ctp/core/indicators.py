"""Indicators, one candle at a time. Pure.

Each step takes a state and the candle's value and returns the next state; the caller keeps it. Wilder's averages start as
the sum of the first `period` values ÷ period, then `average × (1 − k) + value × k` with `k = 1 ÷ period` (semantics §2).
The operation order is part of the definition: live, backtest and sweep agree to the bit because of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ctp.core.kernel import kernel
from ctp.core.types import NAN

ATR_PERIOD = 14


class RsiState(NamedTuple):
    """Wilder's averages after `seen` closes; before the first value they hold plain sums."""

    seen: int
    close: float
    gain: float
    loss: float
    value: float  # NaN until defined
    previous: float  # the value one close earlier


class AtrState(NamedTuple):
    """Wilder's average true range after `seen` candles; a plain sum before the first value."""

    seen: int
    close: float
    total: float
    value: float  # NaN until defined


class Window(NamedTuple):
    """The last values, in a ring that is written in place; `seen` values were ever put in."""

    ring: Any
    seen: int


NO_RSI = RsiState(0, NAN, 0.0, 0.0, NAN, NAN)
NO_ATR = AtrState(0, NAN, 0.0, NAN)


@kernel
def rsi(period: int, state: RsiState, close: float) -> RsiState:
    """Advance Wilder's RSI by one close.

    period: candles, >= 2. close: quote per base, finite, > 0.
    The value is 0..100, NaN for the first `period` closes. A flat market is 50 by convention.
    Source: Wilder, New Concepts in Technical Trading Systems (1978).
    """
    count = state.seen + 1
    if count == 1:
        return RsiState(1, close, 0.0, 0.0, NAN, NAN)
    change = close - state.close
    up = change if change > 0.0 else 0.0
    down = -change if change < 0.0 else 0.0
    if count <= period + 1:
        gain = state.gain + up
        loss = state.loss + down
        if count <= period:
            return RsiState(count, close, gain, loss, NAN, NAN)
        gain = gain / period
        loss = loss / period
    else:
        k = 1.0 / period
        gain = state.gain * (1.0 - k) + up * k
        loss = state.loss * (1.0 - k) + down * k
    total = gain + loss
    value = 50.0 if total == 0.0 else 100.0 * (gain / total)
    return RsiState(count, close, gain, loss, value, state.value)


@kernel
def atr(period: int, state: AtrState, high: float, low: float, close: float) -> AtrState:
    """Advance Wilder's average true range by one candle.

    The first candle has no true range, so the first value stands at candle index `period`, as TA-Lib has it.
    Source: Wilder, New Concepts in Technical Trading Systems (1978).
    """
    count = state.seen + 1
    if count == 1:
        return AtrState(1, close, 0.0, NAN)
    span = max(high - low, abs(high - state.close), abs(low - state.close))
    if count <= period + 1:
        total = state.total + span
        if count <= period:
            return AtrState(count, close, total, NAN)
        value = total / period
    else:
        k = 1.0 / period
        value = state.value * (1.0 - k) + span * k
    return AtrState(count, close, 0.0, value)


@kernel
def push(window: Window, value: float) -> Window:
    """Put a value into the window, over the oldest one when it is full."""
    window.ring[window.seen % len(window.ring)] = value
    return Window(window.ring, window.seen + 1)


@kernel
def mean(window: Window) -> float:
    """Return the mean of a full window, summed oldest to newest; NaN while it is not full.

    A running sum would drift from a fresh one, so it is summed anew each time it is asked for.
    """
    length = len(window.ring)
    if window.seen < length:
        return NAN
    oldest = window.seen % length
    total = 0.0
    for index in range(oldest, length):
        total += window.ring[index]
    for index in range(oldest):
        total += window.ring[index]
    return total / length


@kernel
def mean_before_last(window: Window) -> float:
    """Return the mean of a full window without its newest value, summed oldest to newest; NaN while it is not full."""
    length = len(window.ring)
    if window.seen < length:
        return NAN
    oldest = window.seen % length
    newest = (window.seen - 1) % length
    total = 0.0
    for index in range(oldest, length if newest < oldest else newest):
        total += window.ring[index]
    if newest < oldest:
        for index in range(newest):
            total += window.ring[index]
    return total / (length - 1)

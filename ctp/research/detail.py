"""Which came first, stop or take-profit, when one candle touched both: finer candles say it where there are any.

A coarse candle alone cannot know, and the definition takes the stop. Here the finer candles inside it are walked in order with
the very kernel that fills protective orders.

Invariants:
1. Only a candle that filled the stop and touched the take-profit too is looked into; whether and where it is liquidated, and
   all other fills, stay the coarse candle's.
2. Where finer candles cannot say it (one is missing before the answer, one touches both itself, none touches either), the
   stop stays, as without them; the first and the last of these also keep the coarse price.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ctp.core.fills import NO_FILL, Fill, is_take_touched, is_traded_through, protective_fill, rest_of_candle
from ctp.core.kernel import kernel
from ctp.core.types import LIQUIDATION, NAN, STILL_OPEN, STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, Candle, Market, Position

# What became of a fill: nothing to ask; both touched and not known which came first; known; finer candles missing.
CLEAR, AMBIGUOUS, RESOLVED, MISSING = 0, 1, 2, 3


class Detail(NamedTuple):
    """Finer candles of all symbols, one after another; symbol s owns rows offset[s] to offset[s + 1]. length_ms 0: none."""

    offset: Any
    time: Any
    open: Any
    high: Any
    low: Any
    close: Any
    length_ms: int


class Ambiguity(NamedTuple):
    """How many trades ended in a candle that touched both stop and take-profit, and what finer candles said of them."""

    touched: int = 0
    resolved: int = 0
    missing: int = 0  # finer candles were given, but not for these


@kernel
def row_at(detail: Detail, symbol: int, time: int) -> int:
    """Return the first row of a symbol's finer candles that opens at a time or later."""
    low: int = detail.offset[symbol]
    high: int = detail.offset[symbol + 1]
    while low < high:
        middle = (low + high) // 2
        if detail.time[middle] < time:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def without_liquidation(position: Position) -> Position:
    """Return the position as one that is not liquidated: the coarse candle has said already that the stop comes first."""
    return Position(
        position.side,
        position.lots,
        position.entry_price,
        position.entry_time,
        position.stop_ticks,
        position.first_stop_ticks,
        position.take_ticks,
        position.best_close,
        position.leverage,
        position.margin,
        NAN,
        position.entry_equity,
        position.opened_lots,
        position.gross,
        position.exit_cost,
        position.fee,
        position.funding,
        position.slippage,
    )


@kernel
def look_inside(
    market: Market,
    position: Position,
    candle: Candle,
    fill: Fill,
    detail: Detail,
    symbol: int,
    timeframe_ms: int,
) -> tuple[Fill, int]:
    """Return the fill of a candle as its finer candles have it, and what became of the question which came first."""
    if fill.reason not in (STOP_LOSS, TRAILING_STOP) or not is_take_touched(market, position, candle):
        return fill, CLEAR
    if detail.length_ms == 0:
        return fill, AMBIGUOUS
    protected = without_liquidation(position)
    row = row_at(detail, symbol, candle.time)
    time = candle.time
    while time < candle.time + timeframe_ms:
        if row >= detail.offset[symbol + 1] or detail.time[row] != time:
            return fill, MISSING
        fine = Candle(time, detail.open[row], detail.high[row], detail.low[row], detail.close[row], NAN, NAN, NAN, NAN)
        found = protective_fill(market, protected, fine, False)
        if found.reason != STILL_OPEN:
            is_both = found.reason in (STOP_LOSS, TRAILING_STOP) and is_take_touched(market, protected, fine)
            return found, AMBIGUOUS if is_both else RESOLVED
        row += 1
        time += detail.length_ms
    return fill, AMBIGUOUS


@kernel
def look_inside_entry(
    market: Market,
    position: Position,
    candle: Candle,
    fill: Fill,
    detail: Detail,
    symbol: int,
    timeframe_ms: int,
    limit: float,
) -> tuple[Fill, int]:
    """Return the fill of the candle in which a limit entry has filled, as its finer candles have it.

    There the take-profit may have been touched before the entry; the coarse candle fills it only at its close or beyond.
    """
    if not is_take_touched(market, position, candle) or fill.reason == LIQUIDATION:
        return fill, CLEAR
    if detail.length_ms == 0:
        return fill, AMBIGUOUS
    protected = without_liquidation(position)
    row = row_at(detail, symbol, candle.time)
    time = candle.time
    is_entered = is_unsure = False
    while time < candle.time + timeframe_ms:
        if row >= detail.offset[symbol + 1] or detail.time[row] != time:
            return fill, MISSING
        fine = Candle(
            time, detail.open[row], detail.high[row], detail.low[row], detail.close[row], NAN, NAN, NAN, NAN
        )
        if not is_entered and is_traded_through(position.side, limit, fine):
            is_unsure = is_take_touched(market, protected, fine)  # before the entry or after it?
            fine = rest_of_candle(position.side, limit, fine)
            is_entered = True
        if is_entered:
            found = protective_fill(market, protected, fine, False)
            if found.reason == TAKE_PROFIT:
                return found, RESOLVED
            if found.reason != STILL_OPEN:
                return found, AMBIGUOUS if is_unsure or is_take_touched(market, protected, fine) else RESOLVED
        row += 1
        time += detail.length_ms
    if is_entered:
        return NO_FILL, AMBIGUOUS if is_unsure else RESOLVED
    return fill, AMBIGUOUS

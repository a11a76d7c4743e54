"""The price that one candle gives an order (semantics §1 and §5). Pure.

The simulated exchange computes its fills with code of its own; the two are compared to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

from ctp.core.kernel import kernel
from ctp.core.steps import price_of
from ctp.core.stops import bankruptcy_price
from ctp.core.types import (
    LIQUIDATION,
    LONG,
    NAN,
    STILL_OPEN,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAILING_STOP,
    Candle,
    Market,
    Position,
)


class Fill(NamedTuple):
    """A fill of a whole position: `reason` STILL_OPEN means none. `reference` is the price before slippage."""

    reason: int
    price: float
    reference: float


NO_FILL = Fill(STILL_OPEN, NAN, NAN)


@kernel
def buy_price(market: Market, reference: float) -> float:
    """Return what a market buy pays."""
    return reference * (1.0 + market.slippage)


@kernel
def sell_price(market: Market, reference: float) -> float:
    """Return what a market sale gets."""
    return reference * (1.0 - market.slippage)


@kernel
def entry_price(market: Market, side: int, reference: float) -> float:
    """Return the fill price of a market order that opens a position."""
    return buy_price(market, reference) if side == LONG else sell_price(market, reference)


@kernel
def exit_price(market: Market, side: int, reference: float) -> float:
    """Return the fill price of a market order that closes a position."""
    return sell_price(market, reference) if side == LONG else buy_price(market, reference)


@kernel
def taker_fee(market: Market, size: float, price: float) -> float:
    """Return the fee of a market, stop or take-profit fill."""
    return market.fee_rate * size * price


@kernel
def maker_fee(market: Market, size: float, price: float) -> float:
    """Return the fee of a limit entry, which rests before it fills."""
    return market.maker_fee_rate * size * price


@kernel
def exit_fee(market: Market, size: float, price: float, reason: int) -> float:
    """Return the fee of a fill that closes a position; a liquidation pays its own fee instead."""
    if reason == LIQUIDATION:
        return market.liquidation_fee * size * price
    return taker_fee(market, size, price)


@kernel
def is_traded_through(side: int, limit: float, candle: Candle) -> bool:
    """Return whether a candle trades beyond the price of a resting limit entry; a touch may leave it in the queue."""
    return candle.low < limit if side == LONG else candle.high > limit


@kernel
def is_limit_filled(side: int, limit: float, candle: Candle) -> bool:
    """Return whether a limit entry sent at the open fills in that candle.

    One that would meet the market at the open is refused by the exchange (post-only), and nothing is entered.
    """
    would_rest = candle.open > limit if side == LONG else candle.open < limit
    return would_rest and is_traded_through(side, limit, candle)


@kernel
def rest_of_candle(side: int, limit: float, candle: Candle) -> Candle:
    """Return what is sure of a candle after a limit entry has filled inside it.

    It goes from the limit price to its extreme beyond it and to its close; the other extreme may have come before.
    """
    high = max(limit, candle.close) if side == LONG else candle.high
    low = candle.low if side == LONG else min(limit, candle.close)
    return Candle(
        candle.time,
        limit,
        high,
        low,
        candle.close,
        candle.volume,
        candle.mark_open,
        candle.mark_high,
        candle.mark_low,
    )


@kernel
def protective_fill(market: Market, position: Position, candle: Candle, is_entry_candle: bool) -> Fill:
    """Return what the protective orders of an open position do inside a candle: stop, liquidation, take, or nothing."""
    side = position.side
    stop = price_of(market, position.stop_ticks)
    mark_open = candle.mark_open if candle.mark_open == candle.mark_open else candle.open
    mark_low = candle.mark_low if candle.mark_low == candle.mark_low else candle.low
    mark_high = candle.mark_high if candle.mark_high == candle.mark_high else candle.high
    liquidation = position.liquidation_price  # NaN on spot, and no comparison with NaN holds
    if side == LONG:
        is_liquidated_at_open = mark_open <= liquidation
        is_liquidated = mark_low <= liquidation
        is_stopped = candle.low <= stop
        stop_reference = min(candle.open, stop)
    else:
        is_liquidated_at_open = mark_open >= liquidation
        is_liquidated = mark_high >= liquidation
        is_stopped = candle.high >= stop
        stop_reference = max(candle.open, stop)

    if (is_liquidated_at_open and not is_entry_candle) or (is_liquidated and not is_stopped):
        price = bankruptcy_price(side, position.entry_price, position.leverage)
        return Fill(LIQUIDATION, price, price)
    if is_stopped:
        has_trailed = position.stop_ticks != position.first_stop_ticks
        reason = TRAILING_STOP if has_trailed else STOP_LOSS
        return Fill(reason, exit_price(market, side, stop_reference), stop_reference)
    if is_take_touched(market, position, candle):
        take = price_of(market, position.take_ticks)
        reference = max(candle.open, take) if side == LONG else min(candle.open, take)
        return Fill(TAKE_PROFIT, exit_price(market, side, reference), reference)
    return NO_FILL


@kernel
def is_take_touched(market: Market, position: Position, candle: Candle) -> bool:
    """Return whether a candle reaches the take-profit of an open position."""
    if position.take_ticks == 0:
        return False
    take = price_of(market, position.take_ticks)
    return candle.high >= take if position.side == LONG else candle.low <= take

"""Where a position is entered and protected: limit, stop-loss, take-profit, trailing stop and liquidation prices. Pure.

A stop and a take-profit are set from the entry fill price and rounded to a tick towards it; a trailing stop is rounded to a
tick towards the market (semantics §3). Liquidation is that of an isolated position (§5).
"""

from __future__ import annotations

from ctp.core.kernel import kernel
from ctp.core.steps import ticks_above, ticks_below
from ctp.core.types import LONG, NAN, Market

LEAST_STOP_WIDTH, WIDEST_STOP = 0.002, 0.2


@kernel
def atr_stop_width(multiple: float, atr: float, close: float) -> float:
    """Return a stop width of that many average true ranges, held within what a stop may be."""
    return min(WIDEST_STOP, max(LEAST_STOP_WIDTH, multiple * atr / close))


@kernel
def entry_limit_ticks(market: Market, side: int, close: float, offset: float) -> int:
    """Return the price of a limit entry in ticks: `close × (1 − offset)` when buying, rounded away from the market."""
    if side == LONG:
        return ticks_below(market, close * (1.0 - offset))
    return ticks_above(market, close * (1.0 + offset))


@kernel
def stop_loss_ticks(market: Market, side: int, entry_price: float, stop_width: float) -> int:
    """Return the stop-loss price in ticks: `entry × (1 − width)` for a long position, mirrored for a short one."""
    if side == LONG:
        return ticks_above(market, entry_price * (1.0 - stop_width))
    return ticks_below(market, entry_price * (1.0 + stop_width))


@kernel
def take_profit_ticks(market: Market, side: int, entry_price: float, take_width: float) -> int:
    """Return the take-profit price in ticks, 0 when there is none."""
    if take_width <= 0.0:
        return 0
    if side == LONG:
        return ticks_below(market, entry_price * (1.0 + take_width))
    return ticks_above(market, entry_price * (1.0 - take_width))


@kernel
def trailing_stop_ticks(market: Market, side: int, best_close: float, trailing_width: float) -> int:
    """Return where the trailing stop would stand after that best close."""
    if side == LONG:
        return ticks_above(market, best_close * (1.0 - trailing_width))
    return ticks_below(market, best_close * (1.0 + trailing_width))


@kernel
def bracket_at(market: Market, notional: float) -> int:
    """Return the index of the maintenance bracket that holds at a notional."""
    index = 0
    for candidate in range(1, len(market.bracket_floor)):
        if notional >= market.bracket_floor[candidate]:
            index = candidate
    return index


@kernel
def liquidation_price(market: Market, side: int, size: float, entry_price: float, margin: float) -> float:
    """Return the price at which an isolated position is liquidated, NaN on spot.

    Source: Binance, "How to calculate liquidation price of USDⓈ-M futures contracts", isolated mode.
    """
    if not market.is_perpetual:
        return NAN
    bracket = bracket_at(market, size * entry_price)
    rate = market.bracket_rate[bracket]
    amount = market.bracket_amount[bracket]
    if side == LONG:
        return (size * entry_price - margin - amount) / (size * (1.0 - rate))
    return (size * entry_price + margin + amount) / (size * (1.0 + rate))


@kernel
def bankruptcy_price(side: int, entry_price: float, leverage: float) -> float:
    """Return the price at which the margin is gone: where a liquidation fills."""
    if side == LONG:
        return entry_price * (1.0 - 1.0 / leverage)
    return entry_price * (1.0 + 1.0 / leverage)

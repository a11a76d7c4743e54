"""Between floats and whole steps: lots and ticks. Pure.

A step is an integer or 1 ÷ an integer; what would be divided by 1 is not: a division costs a sweep as much as all else here.
Rounding forgives a billionth of a step, so that 0.3 ÷ 0.1 is three lots.
"""

from __future__ import annotations

import math

from ctp.core.kernel import kernel
from ctp.core.types import Market

FORGIVEN = 1e-9


@kernel
def size_of(market: Market, lots: int) -> float:
    """Return the size in base units of that many lots, the nearest double."""
    if market.lot_divisor == 1:
        return float(lots * market.lot_multiple)
    return lots / market.lot_divisor


@kernel
def price_of(market: Market, ticks: int) -> float:
    """Return the price of that many ticks, the nearest double."""
    if market.tick_divisor == 1:
        return float(ticks * market.tick_multiple)
    return ticks / market.tick_divisor


@kernel
def lots_below(market: Market, size: float) -> int:
    """Round a size down to whole lots."""
    lots = size * market.lot_divisor if market.lot_multiple == 1 else size / market.lot_multiple
    return math.floor(lots + FORGIVEN)


@kernel
def ticks_below(market: Market, price: float) -> int:
    """Round a price down to whole ticks."""
    ticks = price * market.tick_divisor if market.tick_multiple == 1 else price / market.tick_multiple
    return math.floor(ticks + FORGIVEN)


@kernel
def ticks_above(market: Market, price: float) -> int:
    """Round a price up to whole ticks."""
    ticks = price * market.tick_divisor if market.tick_multiple == 1 else price / market.tick_multiple
    return math.ceil(ticks - FORGIVEN)

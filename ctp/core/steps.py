"""Between floats and whole steps: lots and ticks. Pure.

A step is an integer or 1 ÷ an integer. Rounding forgives a billionth of a step, so that 0.3 ÷ 0.1 is three lots.
"""

from __future__ import annotations

import math

from ctp.core.kernel import kernel
from ctp.core.types import Market

FORGIVEN = 1e-9


@kernel
def size_of(market: Market, lots: int) -> float:
    """Return the size in base units of that many lots, the nearest double."""
    return lots * market.lot_multiple / market.lot_divisor


@kernel
def price_of(market: Market, ticks: int) -> float:
    """Return the price of that many ticks, the nearest double."""
    return ticks * market.tick_multiple / market.tick_divisor


@kernel
def lots_below(market: Market, size: float) -> int:
    """Round a size down to whole lots."""
    return math.floor(size * market.lot_divisor / market.lot_multiple + FORGIVEN)


@kernel
def ticks_below(market: Market, price: float) -> int:
    """Round a price down to whole ticks."""
    return math.floor(price * market.tick_divisor / market.tick_multiple + FORGIVEN)


@kernel
def ticks_above(market: Market, price: float) -> int:
    """Round a price up to whole ticks."""
    return math.ceil(price * market.tick_divisor / market.tick_multiple - FORGIVEN)

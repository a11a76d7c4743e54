"""Turn an exchange's listing into the rules of the trading definition, and steps into exact decimals. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ctp.core.rules import DEFAULT_LIQUIDATION_FEE, UNKNOWN_BRACKET, Bracket, Costs, MarketRules
from ctp.core.types import Market


def exact(steps: int, multiple: int, divisor: int) -> Decimal:
    """Return that many steps as an exact decimal."""
    return Decimal(steps * multiple) / Decimal(divisor)


def exact_size(market: Market, lots: int) -> Decimal:
    """Return the exact size of that many lots."""
    return exact(lots, market.lot_multiple, market.lot_divisor)


def exact_price(market: Market, ticks: int) -> Decimal:
    """Return the exact price of that many ticks."""
    return exact(ticks, market.tick_multiple, market.tick_divisor)


def lots_of(market: Market, size: Decimal) -> int:
    """Return the whole lots in an exact size."""
    return int(size * market.lot_divisor / market.lot_multiple)


def ticks_of(market: Market, price: Decimal) -> int:
    """Return the nearest whole ticks of an exact price."""
    return int((price * market.tick_divisor / market.tick_multiple).to_integral_value())


def binance_market(
    listing: Mapping[str, Any],
    *,
    is_perpetual: bool,
    fee_rate: float,
    maker_fee_rate: float,
    brackets: Sequence[Mapping[str, Any]],
) -> Market:
    """Return the rules of one symbol of Binance.

    listing: its entry in exchangeInfo, spot or USDⓈ-M. brackets: its leverage brackets; empty on spot.
    Raises InputError when a step cannot be traded with.
    """
    filters = {one["filterType"]: one for one in listing["filters"]}
    if "MIN_NOTIONAL" in filters:
        notional = filters["MIN_NOTIONAL"]
        least = notional.get("notional", notional.get("minNotional", "0"))
    else:
        least = filters.get("NOTIONAL", {"minNotional": "0"})["minNotional"]
    known = [
        Bracket(
            float(one["notionalFloor"]), float(one["maintMarginRatio"]), float(one["cum"]), float(one["initialLeverage"])
        )
        for one in sorted(brackets, key=lambda one: float(one["notionalFloor"]))
    ]
    rules = MarketRules(
        is_perpetual=is_perpetual,
        tick=Decimal(filters["PRICE_FILTER"]["tickSize"]),
        lot=Decimal(filters["LOT_SIZE"]["stepSize"]),
        min_notional=float(least),
        brackets=tuple(known) or (UNKNOWN_BRACKET,),
    )
    liquidation_fee = float(listing.get("liquidationFee", DEFAULT_LIQUIDATION_FEE))
    return rules.market(Costs(fee=fee_rate, liquidation_fee=liquidation_fee, maker_fee=maker_fee_rate))


def rules_and_costs(market: Market) -> tuple[MarketRules, Costs]:
    """Return what a market was made from, so that the same decisions can be made again elsewhere."""
    brackets = zip(
        market.bracket_floor, market.bracket_rate, market.bracket_amount, market.bracket_leverage, strict=True
    )
    rules = MarketRules(
        is_perpetual=bool(market.is_perpetual),
        tick=exact_price(market, 1),
        lot=exact_size(market, 1),
        min_notional=market.min_notional,
        brackets=tuple(Bracket(*one) for one in brackets),
    )
    return rules, Costs(
        fee=market.fee_rate,
        slippage=market.slippage,
        liquidation_fee=market.liquidation_fee,
        maker_fee=market.maker_fee_rate,
    )

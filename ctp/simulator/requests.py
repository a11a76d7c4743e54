"""Reading and checking what clients send: the filters of both venues, with each venue's own refusals.

Invariant: a request that leaves this file has whole lots, a price on tick and a known side and type.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from ctp.simulator.instrument import Instrument
from ctp.simulator.orders import Touch, Trigger
from ctp.simulator.refusals import Refusal, filter_failure
from ctp.simulator.rules import parse_amount

Parameters = dict[str, str]

USDM_CONDITIONAL = {
    "STOP": Touch.STOP, "STOP_MARKET": Touch.STOP, "TAKE_PROFIT": Touch.TAKE, "TAKE_PROFIT_MARKET": Touch.TAKE,
    "TRAILING_STOP_MARKET": Touch.TRAIL,
}  # fmt: skip
SPOT_CONDITIONAL = {
    "STOP_LOSS": Touch.STOP, "STOP_LOSS_LIMIT": Touch.STOP, "TAKE_PROFIT": Touch.TAKE, "TAKE_PROFIT_LIMIT": Touch.TAKE,
}  # fmt: skip
_SIGNS = {"BUY": 1, "SELL": -1}
_LONGEST_CLIENT_ID = 36


class OrderRequest(NamedTuple):
    """An order as asked for. price 0: none."""

    kind: str
    sign: int
    lots: int
    price: float = 0.0
    time_in_force: str = "GTC"
    reduce_only: bool = False
    client_id: str = ""
    quote: float = 0.0
    stop: float = 0.0


class TriggerRequest(NamedTuple):
    """A conditional order as asked for."""

    kind: str
    touch: Touch
    sign: int
    lots: int
    level: float
    limit: float = 0.0
    time_in_force: str = "GTC"
    reduce_only: bool = False
    close_position: bool = False
    callback: float = 0.0
    activation: float = 0.0
    client_id: str = ""
    working_type: str = "CONTRACT_PRICE"

    def is_passed(self, price: float) -> bool:
        """Tell whether the price is already at or beyond the level."""
        if self.touch is Touch.TRAIL:
            return False
        above = (self.touch is Touch.STOP) == (self.sign > 0)
        return price >= self.level if above else price <= self.level

    def trigger(self, number: int, client_id: str, account: str, symbol: str, now: int, price: float) -> Trigger:
        """Make the conditional order that waits."""
        return Trigger(
            number, client_id, account, symbol, self.sign, self.kind, self.touch, self.lots, self.level, self.limit,
            now, self.reduce_only, self.close_position, self.time_in_force, self.callback, self.activation, price,
            updated=now, working_type=self.working_type,
        )  # fmt: skip


def flag(parameters: Parameters, name: str) -> bool:
    """Read a true-or-false parameter."""
    return parameters.get(name, "false").lower() == "true"


def whole(parameters: Parameters, name: str, default: int | None = None) -> int | None:
    """Read a whole number, or return the default when it was not sent."""
    text = parameters.get(name, "")
    if not text:
        return default
    if not text.lstrip("-").isdigit():
        raise Refusal(-1100, name=name, legal="^[0-9]{1,20}$")
    return int(text)


def amount(parameters: Parameters, name: str, decimals: int | None = None) -> Decimal:
    """Read a decimal number.

    Raises Refusal: −1102 not sent, −1100 not a number, −1111 more decimals than the asset has.
    """
    text = parameters.get(name, "")
    if not text:
        raise Refusal(-1102, name=name)
    value = parse_amount(text)
    if value is None:
        raise Refusal(-1100, name=name, legal=r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
    exponent = value.normalize().as_tuple().exponent
    if decimals is not None and isinstance(exponent, int) and -exponent > decimals:
        raise Refusal(-1111)
    return value


def side(parameters: Parameters) -> int:
    """Read the side: +1 for BUY, -1 for SELL."""
    text = parameters.get("side", "")
    if not text:
        raise Refusal(-1102, name="side")
    if text not in _SIGNS:
        raise Refusal(-1117)
    return _SIGNS[text]


def client_id(parameters: Parameters, name: str) -> str:
    """Read a client order id, at most 36 characters."""
    text = parameters.get(name, "")
    if len(text) > _LONGEST_CLIENT_ID:
        raise Refusal(-4015)
    return text


def usdm_lots(parameters: Parameters, instrument: Instrument, *, market: bool) -> int:
    """Read a USDⓈ-M quantity in lots."""
    rules = instrument.rules
    value = amount(parameters, "quantity", rules.size_decimals)
    if value <= 0:
        raise Refusal(-4003)
    lots = rules.lot.steps_of(value)
    if lots is None:
        raise Refusal(-4023)
    if lots < rules.min_lots:
        raise Refusal(-4003)
    if lots > (rules.market_max_lots if market else rules.max_lots):
        raise Refusal(-4005)
    return lots


def usdm_price(parameters: Parameters, name: str, instrument: Instrument) -> float:
    """Read a USDⓈ-M price on tick."""
    rules = instrument.rules
    value = amount(parameters, name, rules.price_decimals)
    if value <= 0:
        raise Refusal(-4001)
    if rules.tick.steps_of(value) is None:
        raise Refusal(-4014)
    return float(value)


def usdm_order(parameters: Parameters, instrument: Instrument) -> OrderRequest:
    """Read POST /fapi/v1/order."""
    kind, sign = parameters.get("type", ""), side(parameters)
    if kind in USDM_CONDITIONAL:
        raise Refusal(-4120)
    if kind not in ("LIMIT", "MARKET"):
        raise Refusal(-1116)
    if parameters.get("positionSide", "BOTH") != "BOTH":
        raise Refusal(-4061)
    lots = usdm_lots(parameters, instrument, market=kind == "MARKET")
    price, time_in_force = 0.0, "GTC"
    if kind == "LIMIT":
        price = usdm_price(parameters, "price", instrument)
        time_in_force = parameters.get("timeInForce", "")
        if not time_in_force:
            raise Refusal(-1102, name="timeinforce")
        if time_in_force not in ("GTC", "IOC", "FOK", "GTX"):
            raise Refusal(-1115)
        highest, lowest = instrument.price * 1.05, instrument.price * 0.95
        if sign > 0 and price > highest:
            raise Refusal(-4016, limit=f"{highest:.{instrument.rules.price_decimals}f}")
        if sign < 0 and price < lowest:
            raise Refusal(-4024, limit=f"{lowest:.{instrument.rules.price_decimals}f}")
    name = client_id(parameters, "newClientOrderId")
    return OrderRequest(kind, sign, lots, price, time_in_force, flag(parameters, "reduceOnly"), name)


def usdm_trigger(parameters: Parameters, instrument: Instrument) -> TriggerRequest:
    """Read POST /fapi/v1/algoOrder."""
    if parameters.get("algoType") != "CONDITIONAL":
        raise Refusal(-1102, name="algotype")
    kind, sign = parameters.get("type", ""), side(parameters)
    if kind not in USDM_CONDITIONAL:
        raise Refusal(-1116)
    touch, closes = USDM_CONDITIONAL[kind], flag(parameters, "closePosition")
    if closes and parameters.get("quantity"):
        raise Refusal(-4137)
    lots = 0 if closes else usdm_lots(parameters, instrument, market=kind.endswith("_MARKET"))
    level = callback = activation = 0.0
    if touch is Touch.TRAIL:
        callback = float(amount(parameters, "callbackRate")) / 100.0
        if not 0.001 <= callback <= 0.1:
            raise Refusal(-1102, name="callbackrate")
        if parameters.get("activatePrice"):
            activation = usdm_price(parameters, "activatePrice", instrument)
    else:
        level = usdm_price(parameters, "triggerPrice", instrument)
    limit = usdm_price(parameters, "price", instrument) if kind in ("STOP", "TAKE_PROFIT") else 0.0
    return TriggerRequest(
        kind, touch, sign, lots, level, limit, parameters.get("timeInForce", "GTC"), flag(parameters, "reduceOnly"),
        closes, callback, activation, client_id(parameters, "clientAlgoId"),
        parameters.get("workingType", "CONTRACT_PRICE"),
    )  # fmt: skip


def spot_lots(parameters: Parameters, name: str, instrument: Instrument, *, market: bool) -> int:
    """Read a spot quantity in lots."""
    rules = instrument.rules
    value = amount(parameters, name, rules.size_decimals)
    lots = rules.lot.steps_of(value)
    if value <= 0 or lots is None or not rules.min_lots <= lots <= rules.max_lots:
        raise filter_failure("LOT_SIZE")
    if market and lots > rules.market_max_lots:
        raise filter_failure("MARKET_LOT_SIZE")
    return lots


def spot_price(parameters: Parameters, name: str, instrument: Instrument) -> float:
    """Read a spot price on tick."""
    value = amount(parameters, name, 8)
    if value <= 0 or instrument.rules.tick.steps_of(value) is None:
        raise filter_failure("PRICE_FILTER")
    if not 0.2 <= float(value) / instrument.price <= 5.0:
        raise filter_failure("PERCENT_PRICE_BY_SIDE")
    return float(value)


def spot_order(parameters: Parameters, instrument: Instrument) -> OrderRequest:
    """Read POST /api/v3/order: market, limit and conditional orders."""
    kind, sign = parameters.get("type", ""), side(parameters)
    if kind not in ("MARKET", "LIMIT", "LIMIT_MAKER", *SPOT_CONDITIONAL):
        raise Refusal(-1116)
    lots, quote, price, stop, time_in_force = 0, 0.0, 0.0, 0.0, "GTC"
    if kind == "MARKET" and "quoteOrderQty" in parameters:
        if "quantity" in parameters:
            raise Refusal(-1106, name="quoteOrderQty")
        quote = float(amount(parameters, "quoteOrderQty", 8))
        lots = instrument.rules.lot.floor(Decimal(repr(quote / instrument.price)))
    else:
        lots = spot_lots(parameters, "quantity", instrument, market=kind in ("MARKET", "STOP_LOSS", "TAKE_PROFIT"))
    if kind in ("LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"):
        price = spot_price(parameters, "price", instrument)
    if kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"):
        time_in_force = parameters.get("timeInForce", "")
        if not time_in_force:
            raise Refusal(-1102, name="timeInForce")
        if time_in_force not in ("GTC", "IOC", "FOK"):
            raise Refusal(-1115)
    if kind in SPOT_CONDITIONAL:
        stop = spot_price(parameters, "stopPrice", instrument)
    notional = quote or instrument.rules.lot.value(lots) * (price or stop or instrument.price)
    if notional < instrument.rules.min_notional:
        raise filter_failure("NOTIONAL")
    if lots == 0:
        raise filter_failure("LOT_SIZE")
    return OrderRequest(
        kind, sign, lots, price, time_in_force, False, client_id(parameters, "newClientOrderId"), quote, stop
    )

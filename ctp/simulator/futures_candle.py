"""What the market does to USDⓈ-M accounts: funding, touches, liquidation.

Invariants:
1. In a stretch of prices stops come first, then liquidation, then take-profits, then limit orders.
2. Once a reduce-only order has closed a position in a stretch, its siblings rest: at most one protects.
3. An open already beyond the liquidation price liquidates before the stop, except on the entry candle.
"""

from __future__ import annotations

from ctp.simulator.fills import Part, limit_base, stop_base, take_base
from ctp.simulator.futures import FuturesVenue
from ctp.simulator.futures_account import FuturesAccount, Position
from ctp.simulator.instrument import Instrument, Segment
from ctp.simulator.market import Rested
from ctp.simulator.orders import Income, Order, Touch, Trigger
from ctp.simulator.requests import OrderRequest


def pay_funding(venue: FuturesVenue, instrument: Instrument, time: int, rate: float) -> None:
    """Move one funding payment: `size × mark × rate`, paid by longs when the rate is above 0.

    The mark is the open of the candle in the mark series, else the close of the candle before.
    """
    mark = instrument.mark.open if instrument.mark is not None else instrument.previous_close
    symbol = instrument.rules.id
    for account in venue.accounts.values():
        position = account.positions.get(symbol)
        if position is None or position.lots == 0 or not mark:
            continue
        payment = instrument.rules.lot.value(abs(position.lots)) * mark * rate
        amount = -payment if position.lots > 0 else payment
        account.add(amount)
        number = venue.market.trade_ids.next()
        account.income.append(Income(number, symbol, "FUNDING_FEE", amount, "USDT", time))
        venue.tell_account(account, symbol, "FUNDING_FEE")


def touch(venue: FuturesVenue, instrument: Instrument, last: Segment, mark: Segment) -> None:
    """Apply a stretch of prices to everything that waits on one instrument.

    last, mark: the stretch in the last price, and in the mark price that liquidation looks at.
    """
    for account in [account for account in venue.accounts.values() if _is_touchable(account, instrument)]:
        touch_account(venue, account, instrument, last, mark)


def touch_account(
    venue: FuturesVenue, account: FuturesAccount, instrument: Instrument, last: Segment, mark: Segment
) -> None:
    """Apply a stretch of prices to everything of one account that waits on one instrument."""
    position = account.position(instrument.rules.id)
    candle_time = instrument.candle.time if instrument.candle is not None else venue.market.now
    if position.lots and position.since != candle_time and _beyond(venue, account, instrument, mark.open):
        _liquidate(venue, account, instrument)
    _touch_triggers(venue, account, instrument, last, (Touch.STOP, Touch.TRAIL))
    if position.lots and _beyond(venue, account, instrument, mark.low if position.lots > 0 else mark.high):
        _liquidate(venue, account, instrument)
    _touch_triggers(venue, account, instrument, last, (Touch.TAKE,))
    _touch_limits(venue, account, instrument, last)


def _is_touchable(account: FuturesAccount, instrument: Instrument) -> bool:
    """Tell whether an account has a position or an order on the instrument."""
    position = account.positions.get(instrument.rules.id)
    if position is not None and position.lots:
        return True
    return any(order.account == account.key for order in instrument.orders.values()) or any(
        trigger.account == account.key for trigger in instrument.triggers.values()
    )


def _beyond(venue: FuturesVenue, account: FuturesAccount, instrument: Instrument, price: float) -> bool:
    """Tell whether a price is at or beyond the liquidation price."""
    symbol = instrument.rules.id
    limit = venue.margins(account).liquidation_price(symbol)
    return price <= limit if account.position(symbol).lots > 0 else price >= limit


def _liquidate(venue: FuturesVenue, account: FuturesAccount, instrument: Instrument) -> None:
    """Take a position away: at `entry × (1 ∓ 1 ÷ leverage)` when isolated, at the liquidation price when cross."""
    symbol = instrument.rules.id
    position = account.position(symbol)
    sign, lots = (-1 if position.lots > 0 else 1), abs(position.lots)
    if account.margin_type(symbol) == "isolated":
        distance = 1.0 / account.leverage(symbol)
        price = position.entry * (1.0 - distance) if sign < 0 else position.entry * (1.0 + distance)
    else:
        price = venue.margins(account).liquidation_price(symbol)
    for order in [order for order in instrument.orders.values() if order.account == account.key]:
        venue.close_order(order, "EXPIRED")
    request = OrderRequest("LIMIT", sign, lots, price, "IOC", True, f"autoclose-{venue.market.now}")
    order = venue.open_order(account, instrument, request, lots)
    order.original_kind = "LIQUIDATION"
    venue.fill(account, order, [Part(lots, price)], maker=False, liquidation=True)


def _touch_triggers(
    venue: FuturesVenue, account: FuturesAccount, instrument: Instrument, last: Segment, kinds: tuple[Touch, ...]
) -> None:
    """Trigger the account's conditional orders of some kinds that a stretch touches."""
    for trigger in list(instrument.triggers.values()):
        if trigger.account != account.key or trigger.touch not in kinds:
            continue
        if trigger.id not in instrument.triggers or _is_idle(account.position(instrument.rules.id), trigger):
            continue
        base = _base(trigger, last)
        if base is not None:
            _trigger(venue, account, instrument, trigger, base)


def _is_idle(position: Position, trigger: Trigger) -> bool:
    """Tell whether a reduce-only order has nothing to reduce: it rests until its owner cancels it."""
    return (trigger.reduce_only or trigger.close_position) and position.lots * trigger.sign >= 0


def _base(trigger: Trigger, last: Segment) -> float | None:
    """Return the unslipped price at which a stretch triggers the order, or None."""
    if trigger.touch is Touch.STOP:
        return stop_base(trigger.sign, trigger.level, last)
    if trigger.touch is Touch.TAKE:
        return take_base(trigger.sign, trigger.level, last)
    if trigger.activation:
        if take_base(trigger.sign, trigger.activation, last) is None:
            return None
        trigger.best, trigger.activation = trigger.activation, 0.0
    level = trigger.best * (1.0 - trigger.callback) if trigger.sign < 0 else trigger.best * (1.0 + trigger.callback)
    base = stop_base(trigger.sign, level, last)
    trigger.best = max(trigger.best, last.high) if trigger.sign < 0 else min(trigger.best, last.low)
    return base


def _trigger(
    venue: FuturesVenue, account: FuturesAccount, instrument: Instrument, trigger: Trigger, base: float
) -> None:
    """Turn a conditional order into an order, and fill it when it is a market order or its limit allows."""
    now = venue.market.now
    position = account.position(instrument.rules.id)
    lots = trigger.lots
    if trigger.close_position:
        lots = abs(position.lots)
    elif trigger.reduce_only:
        lots = min(lots, abs(position.lots))
    trigger.status, trigger.triggered, trigger.updated = "TRIGGERING", now, now
    instrument.triggers.pop(trigger.id, None)
    venue.tell_trigger(trigger)
    kind = "MARKET" if trigger.is_market else "LIMIT"
    request = OrderRequest(
        kind, trigger.sign, lots, trigger.limit, trigger.time_in_force,
        trigger.reduce_only or trigger.close_position, trigger.client_id,
    )  # fmt: skip
    order = venue.open_order(account, instrument, request, lots)
    order.original_kind, order.stop, order.close_position = trigger.kind, trigger.level, trigger.close_position
    trigger.order_id, trigger.status = order.id, "TRIGGERED"
    venue.tell_trigger(trigger)
    venue.tell_order(order, "NEW")
    if kind == "MARKET":
        venue.fill(account, order, venue.market.fills.triggered(instrument, trigger.sign, base, lots), maker=False)
    elif (trigger.limit - base) * trigger.sign >= 0:
        venue.fill(account, order, [Part(lots, base)], maker=False)
    trigger.status = "FINISHED"
    venue.tell_trigger(trigger)


def _touch_limits(venue: FuturesVenue, account: FuturesAccount, instrument: Instrument, last: Segment) -> None:
    """Fill the account's limit orders that a stretch reaches."""
    for order in list(instrument.orders.values()):
        if order.account != account.key or order.kind != "LIMIT" or order.id not in instrument.orders:
            continue
        base = limit_base(order.sign, order.price, last)
        if base is None:
            continue
        lots = _fillable(account.position(instrument.rules.id), order)
        if lots == 0:
            venue.close_order(order, "EXPIRED")
        else:
            venue.fill(account, order, venue.market.cut(venue.market.fills.resting(instrument, lots, base)), maker=True)
            if not order.reduce_only:
                venue.market.rested.append(Rested(venue.name, account.key, instrument, order.sign, base))


def _fillable(position: Position, order: Order) -> int:
    """Return how many lots of an order may fill: a reduce-only one no more than the position."""
    left = order.lots - order.filled
    if not order.reduce_only:
        return left
    return min(left, abs(position.lots)) if position.lots * order.sign < 0 else 0

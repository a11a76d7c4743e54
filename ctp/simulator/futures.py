"""The USDⓈ-M venue: takes orders, keeps positions, moves money.

Owns orders, conditional orders and fills; what a candle does to them is in `futures_candle`.

Invariants:
1. Every change of a wallet is a trade, a funding payment or a liquidation charge, each with its income line.
2. A reduce-only fill never makes a position larger and never turns it round.
"""

from __future__ import annotations

from decimal import Decimal

from ctp.simulator import futures_views as views
from ctp.simulator.fills import Part
from ctp.simulator.futures_account import FuturesAccount, Margins
from ctp.simulator.instrument import Instrument
from ctp.simulator.market import Market, client_ids
from ctp.simulator.orders import Income, Order, Trade, Trigger
from ctp.simulator.refusals import Refusal
from ctp.simulator.requests import OrderRequest, TriggerRequest

MAX_TRIGGERS = 10


class FuturesVenue:
    """All USDⓈ-M accounts and their orders."""

    name = "usdm"

    def __init__(self, market: Market) -> None:
        """Start without accounts."""
        self.market = market
        self.accounts: dict[str, FuturesAccount] = {}
        self.instruments: dict[str, Instrument] = {}
        self._client_id = client_ids()

    def add_account(self, key: str, wallet: Decimal) -> FuturesAccount:
        """Open an account with a wallet in USDT."""
        account = self.accounts[key] = FuturesAccount(key, wallet)
        return account

    def margins(self, account: FuturesAccount) -> Margins:
        """Return the margin arithmetic of an account."""
        return Margins(account, self.instruments)

    # events

    def tell_order(self, order: Order, execution: str, trade: Trade | None = None) -> None:
        """Send ORDER_TRADE_UPDATE."""
        event = views.order_event(
            order, self.instruments[order.symbol], self.market.wire, self.market.now, execution, trade
        )
        self.market.emit(self.name, order.account, event)

    def tell_trigger(self, trigger: Trigger, reason: str = "") -> None:
        """Send ALGO_UPDATE."""
        account = self.accounts[trigger.account]
        order = account.orders.get(trigger.order_id)
        instrument = self.instruments[trigger.symbol]
        event = views.trigger_event(trigger, instrument, self.market.wire, self.market.now, order, reason)
        self.market.emit(self.name, trigger.account, event)

    def tell_account(self, account: FuturesAccount, symbol: str | None, reason: str) -> None:
        """Send ACCOUNT_UPDATE."""
        event = views.account_event(
            account, symbol, self.margins(account), self.market.wire, self.market.now, reason
        )
        self.market.emit(self.name, account.key, event)

    # orders

    def submit(self, account: FuturesAccount, instrument: Instrument, request: OrderRequest) -> Order:
        """Accept an order and fill what fills at once.

        Raises Refusal when the exchange would not take it.
        """
        instrument.check_open_for_trading()
        self._check_client_id(account, request.client_id)
        lots, price = request.lots, request.price
        reference = price or instrument.price
        position = account.position(instrument.rules.id)
        if request.reduce_only:
            if position.lots * request.sign >= 0:
                raise Refusal(-2022)
            lots = min(lots, abs(position.lots)) if request.kind == "MARKET" else lots
        else:
            notional = instrument.rules.lot.value(lots) * reference
            if notional < instrument.rules.min_notional:
                raise Refusal(-4164, minimum=f"{instrument.rules.min_notional:g}")
            self._check_margin(account, instrument, request.sign, lots, reference)
        crosses = request.kind == "MARKET" or (price - instrument.price) * request.sign >= 0
        if request.time_in_force == "GTX" and crosses and request.kind == "LIMIT":
            raise Refusal(-5022)
        if request.time_in_force == "FOK" and not crosses:
            raise Refusal(-5021)
        order = self.open_order(account, instrument, request, lots)
        self.tell_order(order, "NEW")
        if crosses:
            price_limit = price if request.kind == "LIMIT" else None
            parts = self.market.cut(self._crossing(instrument, request.sign, lots, price_limit))
            self.fill(account, order, parts, maker=False)
            if order.is_working and (request.kind == "MARKET" or request.time_in_force in ("IOC", "FOK")):
                self.close_order(order, "EXPIRED")
        elif request.time_in_force == "IOC":
            self.close_order(order, "EXPIRED")
        return order

    def open_order(
        self, account: FuturesAccount, instrument: Instrument, request: OrderRequest, lots: int
    ) -> Order:
        """Put a new order on the books."""
        now = self.market.now
        order = Order(
            self.market.order_ids.next(), request.client_id or self._client_id(), account.key, instrument.rules.id,
            request.sign, request.kind, lots, request.price, now, request.time_in_force, request.reduce_only,
            updated=now,
        )  # fmt: skip
        account.orders[order.id] = order
        instrument.orders[order.id] = order
        return order

    def _crossing(self, instrument: Instrument, sign: int, lots: int, limit: float | None) -> list[Part]:
        """Return the trades of an order that meets the book now; a limit order gets its limit or better."""
        parts = self.market.fills.market(instrument, sign, lots)
        if limit is None:
            return parts
        return [Part(part.lots, min(part.price, limit) if sign > 0 else max(part.price, limit)) for part in parts]

    def _check_client_id(self, account: FuturesAccount, client_id: str) -> None:
        """Refuse a client order id that a working order has; ids of finished orders are free again."""
        if client_id and any(order.client_id == client_id and order.is_working for order in account.orders.values()):
            raise Refusal(-4116)

    def _check_margin(
        self, account: FuturesAccount, instrument: Instrument, sign: int, lots: int, reference: float
    ) -> None:
        """Refuse what the free margin does not cover, or the bracket does not allow at this leverage."""
        symbol, rules = instrument.rules.id, instrument.rules
        position, leverage = account.position(symbol), account.leverage(symbol)
        opening = lots if position.lots * sign >= 0 else max(0, lots - 2 * abs(position.lots))
        size = rules.lot.value(opening)
        need = size * reference / leverage + self.market.costs.usdm_taker * size * reference
        if opening and need > self.margins(account).available():
            raise Refusal(-2019)
        if leverage > rules.bracket(rules.lot.value(abs(position.lots) + opening) * reference).max_leverage:
            raise Refusal(-2027)

    def close_order(self, order: Order, status: str) -> None:
        """End an order that did not fill whole."""
        order.status, order.updated = status, self.market.now
        self.instruments[order.symbol].orders.pop(order.id, None)
        self.tell_order(order, "EXPIRED" if status == "EXPIRED" else "CANCELED")

    def find_order(self, account: FuturesAccount, symbol: str, order_id: str, client_id: str) -> Order | None:
        """Return an order by its number, or the newest with a client id."""
        if order_id:
            order = account.orders.get(int(order_id))
            return order if order is not None and order.symbol == symbol else None
        matches = [o for o in account.orders.values() if o.client_id == client_id and o.symbol == symbol]
        return matches[-1] if matches else None

    # conditional orders

    def submit_trigger(self, account: FuturesAccount, instrument: Instrument, request: TriggerRequest) -> Trigger:
        """Accept a conditional order.

        In exact mode a level that the open of the candle has already passed is accepted and touches inside that
        candle, because there it was in force before the open; otherwise the exchange refuses it with −2021.
        """
        if instrument.halted:
            raise Refusal(-1122)
        waiting = [trigger for trigger in instrument.triggers.values() if trigger.account == account.key]
        if any(trigger.client_id == request.client_id for trigger in waiting):
            raise Refusal(-4116)
        if len(waiting) >= MAX_TRIGGERS:
            raise Refusal(-4045)
        passed = request.is_passed(instrument.price)
        if passed and not self.market.takes_passed_levels:
            raise Refusal(-2021)
        trigger = request.trigger(
            self.market.algo_ids.next(), request.client_id or self._client_id(), account.key, instrument.rules.id,
            self.market.now, instrument.price,
        )  # fmt: skip
        account.triggers[trigger.id] = trigger
        instrument.triggers[trigger.id] = trigger
        self.tell_trigger(trigger)
        return trigger

    def find_trigger(self, account: FuturesAccount, algo_id: str, client_id: str) -> Trigger | None:
        """Return a conditional order by its number, or the newest with a client id."""
        if algo_id:
            return account.triggers.get(int(algo_id))
        matches = [t for t in account.triggers.values() if t.client_id == client_id]
        return matches[-1] if matches else None

    def close_trigger(self, trigger: Trigger, status: str, reason: str = "") -> None:
        """End a conditional order that did not trigger."""
        trigger.status, trigger.updated = status, self.market.now
        self.instruments[trigger.symbol].triggers.pop(trigger.id, None)
        self.tell_trigger(trigger, reason)

    # fills

    def fill(
        self, account: FuturesAccount, order: Order, parts: list[Part], *, maker: bool, liquidation: bool = False
    ) -> None:
        """Book the trades of an order: position, wallet, income, events."""
        instrument = self.instruments[order.symbol]
        for part in parts:
            trade = self._book(account, order, instrument, part, maker=maker, liquidation=liquidation)
            self.tell_account(account, order.symbol, "ORDER")
            self.tell_order(order, "CALCULATED" if liquidation else "TRADE", trade)
        if not order.is_working:
            instrument.orders.pop(order.id, None)

    def _book(
        self, account: FuturesAccount, order: Order, instrument: Instrument, part: Part,
        *, maker: bool, liquidation: bool,
    ) -> Trade:  # fmt: skip
        """Book one trade and return it."""
        lots, price, rules, costs = part.lots, part.price, instrument.rules, self.market.costs
        size, time = rules.lot.value(lots), self.market.trade_time(instrument)
        rate = costs.liquidation if liquidation else costs.usdm_maker if maker else costs.usdm_taker
        fee = rate * size * price
        realized = self._move_position(account, instrument, order.sign, lots, price)
        trade_id = self.market.trade_ids.next()
        account.add(realized)
        account.add(-fee)
        order.take(lots, size, price, time, trade_id)
        trade = Trade(
            trade_id, order.id, order.symbol, order.sign, lots, price, size * price, fee, "USDT", realized, maker, time
        )
        account.trades.append(trade)
        charge = "INSURANCE_CLEAR" if liquidation else "COMMISSION"
        for kind, amount in (("REALIZED_PNL", realized), (charge, -fee)):
            if amount:
                account.income.append(Income(trade_id, order.symbol, kind, amount, "USDT", time, str(trade_id)))
        return trade

    def _move_position(
        self, account: FuturesAccount, instrument: Instrument, sign: int, lots: int, price: float
    ) -> float:
        """Change the position by a trade and return the profit it realised."""
        rules = instrument.rules
        position = account.position(rules.id)
        realized, opening = 0.0, lots
        if position.lots * sign < 0:
            closing = min(abs(position.lots), lots)
            gain = rules.lot.value(closing) * (price - position.entry)
            realized = gain if position.lots > 0 else -gain
            position.lots += sign * closing
            opening = lots - closing
            position.realized += realized
            if position.lots == 0:
                position.entry = 0.0
        if opening:
            held = rules.lot.value(abs(position.lots))
            added = rules.lot.value(opening)
            if position.lots == 0:
                position.entry = price
                position.since = instrument.candle.time if instrument.candle is not None else self.market.now
            else:
                position.entry = (position.entry * held + price * added) / (held + added)
            position.lots += sign * opening
            position.bracket = rules.bracket(rules.lot.value(abs(position.lots)) * position.entry)
        position.updated = self.market.trade_time(instrument)
        return realized

"""The spot venue: takes orders, holds coins, moves money.

Every resting order holds its coins: a sell its size, a buy its price × size with fee. The two orders of a list hold
them once. Conditional orders wait as orders of their own and keep their number when they trigger.

Invariants:
1. Nothing is sold that is not there; no balance goes below 0.
2. A trade moves base and quote by exactly its size and turnover, and the fee by exactly its fee.
"""

from __future__ import annotations

from decimal import ROUND_UP, Decimal

from ctp.simulator import spot_views as views
from ctp.simulator.fills import Part, limit_base, stop_base, take_base
from ctp.simulator.instrument import Instrument, Segment
from ctp.simulator.market import Market, Rested, client_ids
from ctp.simulator.orders import Order, Touch, Trade
from ctp.simulator.refusals import Refusal
from ctp.simulator.requests import SPOT_CONDITIONAL, OrderRequest, TriggerRequest
from ctp.simulator.spot_account import Balance, SpotAccount

Holding = tuple[str, Decimal]


class SpotVenue:
    """All spot accounts and their orders."""

    name = "spot"

    def __init__(self, market: Market) -> None:
        """Start without accounts."""
        self.market = market
        self.accounts: dict[str, SpotAccount] = {}
        self.instruments: dict[str, Instrument] = {}
        self._client_id = client_ids()

    def add_account(self, key: str, balances: dict[str, Decimal], fee_side: str, *, may_withdraw: bool) -> SpotAccount:
        """Open an account with balances."""
        account = SpotAccount(key, 354_937_000 + len(self.accounts), fee_side=fee_side, may_withdraw=may_withdraw)
        account.balances = {asset: Balance(amount) for asset, amount in balances.items()}
        self.accounts[key] = account
        return account

    # events

    def tell_order(self, order: Order, execution: str, trade: Trade | None = None) -> None:
        """Send executionReport, and the balances it changed."""
        instrument, account = self.instruments[order.symbol], self.accounts[order.account]
        now = self.market.now
        event = views.order_event(order, instrument, self.market.wire, now, execution, trade)
        self.market.emit(self.name, order.account, event)
        assets = (instrument.rules.base, instrument.rules.quote)
        self.market.emit(self.name, order.account, views.balance_event(account, assets, now))

    def tell_list(self, account: SpotAccount, list_id: int) -> None:
        """Send listStatus."""
        client_id, numbers = account.lists[list_id]
        orders = [account.orders[number] for number in numbers]
        self.market.emit(self.name, account.key, views.list_event(orders, client_id, self.market.now))

    # orders

    def submit(self, account: SpotAccount, instrument: Instrument, request: OrderRequest) -> Order:
        """Accept an order and fill what fills at once.

        Raises Refusal when the exchange would not take it.
        """
        if request.kind not in SPOT_CONDITIONAL:
            instrument.check_open_for_trading()
        self._check_client_id(account, request.client_id)
        if request.kind in SPOT_CONDITIONAL:
            self._check_level(instrument, request)
            order = self._open(account, instrument, request)
            self._hold(account, instrument, order)
            self.tell_order(order, "NEW")
            return order
        crosses = request.kind == "MARKET" or (request.price - instrument.price) * request.sign >= 0
        if request.kind == "LIMIT_MAKER" and crosses:
            raise Refusal(-2010, "Order would immediately match and take.")
        if request.time_in_force == "FOK" and not crosses:
            order = self._open(account, instrument, request)
            self._end(account, order, "EXPIRED")
            return order
        if request.quote:
            price = self.market.fills.market(instrument, request.sign, 1)[0].price
            request = request._replace(lots=instrument.rules.lot.floor(Decimal(repr(request.quote / price))))
        parts = self.market.cut(self._crossing(instrument, request)) if crosses else []
        if parts:
            self._check_covered(account, instrument, request.sign, parts)
        order = self._open(account, instrument, request)
        if not crosses:
            self._hold(account, instrument, order)
        self.tell_order(order, "NEW")
        if parts:
            self._fill(account, order, parts, maker=False)
            self._keep_rest(account, instrument, order)
        elif request.time_in_force == "IOC":
            self._end(account, order, "EXPIRED")
        return order

    def _keep_rest(self, account: SpotAccount, instrument: Instrument, order: Order) -> None:
        """Let what a crossing order did not fill rest with its coins held, or expire."""
        if not order.is_working:
            return
        asset, amount = self._holding(instrument, order.sign, order.lots - order.filled, order.price)
        if order.kind == "LIMIT" and order.time_in_force == "GTC" and amount <= account.balance(asset).free:
            account.lock(asset, amount)
        else:
            self._end(account, order, "EXPIRED")

    def submit_list(
        self, account: SpotAccount, instrument: Instrument, first: OrderRequest, second: OrderRequest, client_id: str
    ) -> list[Order]:
        """Accept two orders of which one cancels the other; together they hold the coins once."""
        for request in (first, second):
            self._check_client_id(account, request.client_id)
            if request.kind in SPOT_CONDITIONAL:
                self._check_level(instrument, request)
            elif (request.price - instrument.price) * request.sign >= 0:
                raise Refusal(-2010, "The relationship of the prices for the orders is not correct.")
        self._check_held(account, instrument, first, second)
        list_id = self.market.list_ids.next()
        orders = [self._open(account, instrument, request) for request in (first, second)]
        for order in orders:
            order.list_id = list_id
        account.lists[list_id] = (client_id or self._client_id(), tuple(order.id for order in orders))
        self._hold(account, instrument, orders[0] if first.sign < 0 else max(orders, key=lambda o: o.price or o.stop))
        for order in orders:
            self.tell_order(order, "NEW")
        self.tell_list(account, list_id)
        return orders

    def _check_held(
        self, account: SpotAccount, instrument: Instrument, first: OrderRequest, second: OrderRequest
    ) -> None:
        """Refuse a list whose coins are not free."""
        level = max(first.price or first.stop, second.price or second.stop)
        asset, amount = self._holding(instrument, first.sign, first.lots, level)
        if amount > account.balance(asset).free:
            raise Refusal(-2010)

    def _check_client_id(self, account: SpotAccount, client_id: str) -> None:
        """Refuse a client order id that a working order has."""
        if client_id and any(order.client_id == client_id and order.is_working for order in account.orders.values()):
            raise Refusal(-2010, "Duplicate order sent.")

    def _check_level(self, instrument: Instrument, request: OrderRequest) -> None:
        """Refuse a conditional order whose level the price has passed; at an exact open it is accepted."""
        if instrument.halted:
            raise Refusal(-1013, "Market is closed.")
        touch = SPOT_CONDITIONAL[request.kind]
        passed = TriggerRequest(request.kind, touch, request.sign, request.lots, request.stop).is_passed(
            instrument.price
        )
        if passed and not self.market.takes_passed_levels:
            raise Refusal(-2010, "Stop price would trigger immediately.")

    def _crossing(self, instrument: Instrument, request: OrderRequest) -> list[Part]:
        """Return the trades of an order that meets the book now; a limit order gets its limit or better."""
        parts = self.market.fills.market(instrument, request.sign, request.lots)
        if not request.price:
            return parts
        better = min if request.sign > 0 else max
        return [Part(part.lots, better(part.price, request.price)) for part in parts]

    def _open(self, account: SpotAccount, instrument: Instrument, request: OrderRequest) -> Order:
        """Put a new order on the books."""
        now, conditional = self.market.now, request.kind in SPOT_CONDITIONAL
        order = Order(
            self.market.order_ids.next(), request.client_id or self._client_id(), account.key, instrument.rules.id,
            request.sign, request.kind, request.lots, request.price, now, request.time_in_force, stop=request.stop,
            updated=now, quote_wanted=request.quote, in_book=not conditional,
        )  # fmt: skip
        account.orders[order.id] = instrument.orders[order.id] = order
        return order

    # coins

    def _holding(self, instrument: Instrument, sign: int, lots: int, price: float) -> Holding:
        """Return what an order holds: asset and amount."""
        rules = instrument.rules
        if sign < 0:
            return rules.base, rules.lot.decimal(lots)
        turnover = Decimal(repr(price)) * rules.lot.decimal(lots)
        margin = 1 + Decimal(repr(self.market.costs.spot_taker)) + Decimal("0.01")
        return rules.quote, (turnover * margin).quantize(Decimal("1e-8"), ROUND_UP)

    def _hold(self, account: SpotAccount, instrument: Instrument, order: Order) -> None:
        """Lock what a new resting order holds, or take the order off the books again."""
        asset, amount = self._holding(instrument, order.sign, order.lots, order.price or order.stop)
        try:
            account.lock(asset, amount)
        except Refusal:
            del account.orders[order.id], instrument.orders[order.id]
            raise

    def _release(self, account: SpotAccount, order: Order, lots: int) -> None:
        """Give back what an order, or its list, holds for some lots."""
        instrument = self.instruments[order.symbol]
        level = order.price or order.stop
        if order.list_id >= 0 and order.sign > 0:
            siblings = (account.orders[number] for number in account.lists[order.list_id][1])
            level = max(sibling.price or sibling.stop for sibling in siblings)
        account.unlock(*self._holding(instrument, order.sign, lots, level))

    def _check_covered(self, account: SpotAccount, instrument: Instrument, sign: int, parts: list[Part]) -> None:
        """Refuse a market order that the free balance does not pay."""
        rules = instrument.rules
        if sign < 0:
            asset, need = rules.base, rules.lot.decimal(sum(part.lots for part in parts))
        else:
            rate = self.market.costs.spot_taker if account.fee_side == "quote" else 0.0
            sizes = [(rules.lot.value(part.lots), part.price) for part in parts]
            asset = rules.quote
            need = sum(
                (Decimal(repr(size * price)) + Decimal(repr(rate * size * price)) for size, price in sizes), Decimal(0)
            )
        if need > account.balance(asset).free:
            raise Refusal(-2010)

    # fills

    def _fill(self, account: SpotAccount, order: Order, parts: list[Part], *, maker: bool) -> None:
        """Book the trades of an order: coins and events."""
        instrument = self.instruments[order.symbol]
        for part in parts:
            trade = self._book(account, order, instrument, part, maker=maker)
            self.tell_order(order, "TRADE", trade)
        if not order.is_working:
            instrument.orders.pop(order.id, None)
            self._end_siblings(account, order)

    def _book(
        self, account: SpotAccount, order: Order, instrument: Instrument, part: Part, *, maker: bool
    ) -> Trade:
        """Book one trade and return it."""
        rules, costs = instrument.rules, self.market.costs
        size, exact_size = rules.lot.value(part.lots), rules.lot.decimal(part.lots)
        turnover = size * part.price
        rate = costs.spot_maker if maker else costs.spot_taker
        in_base = order.sign > 0 and account.fee_side == "received"
        fee = rate * size if in_base else rate * size * part.price
        base, quote = account.balance(rules.base), account.balance(rules.quote)
        base.free += order.sign * exact_size
        quote.free -= order.sign * Decimal(repr(turnover))
        (base if in_base else quote).free -= Decimal(repr(fee))
        time, trade_id = self.market.trade_time(instrument), self.market.trade_ids.next()
        order.take(part.lots, size, part.price, time, trade_id)
        asset = rules.base if in_base else rules.quote
        trade = Trade(
            trade_id, order.id, order.symbol, order.sign, part.lots, part.price, turnover, fee, asset, 0.0, maker, time,
            order.list_id,
        )  # fmt: skip
        account.trades.append(trade)
        return trade

    def _end(self, account: SpotAccount, order: Order, status: str) -> None:
        """End an order that did not fill whole."""
        order.status, order.updated = status, self.market.now
        self.instruments[order.symbol].orders.pop(order.id, None)
        self.tell_order(order, status)

    def _end_siblings(self, account: SpotAccount, order: Order) -> None:
        """Expire the other order of a list; the coins were already released."""
        if order.list_id < 0:
            return
        for number in account.lists[order.list_id][1]:
            sibling = account.orders[number]
            if sibling.is_working:
                self._end(account, sibling, "EXPIRED")
        self.tell_list(account, order.list_id)

    def cancel(self, account: SpotAccount, order: Order) -> None:
        """Cancel a working order, and with it its list."""
        self._release(account, order, order.lots - order.filled)
        self._end(account, order, "CANCELED")
        if order.list_id >= 0:
            for number in account.lists[order.list_id][1]:
                if account.orders[number].is_working:
                    self._end(account, account.orders[number], "CANCELED")
            self.tell_list(account, order.list_id)

    def find_order(self, account: SpotAccount, symbol: str, order_id: str, client_id: str) -> Order | None:
        """Return an order by its number, or the newest with a client id."""
        if order_id:
            order = account.orders.get(int(order_id))
            return order if order is not None and order.symbol == symbol else None
        matches = [o for o in account.orders.values() if o.client_id == client_id and o.symbol == symbol]
        return matches[-1] if matches else None

    # the market moves

    def touch(self, instrument: Instrument, last: Segment, only: str | None = None) -> None:
        """Apply a stretch of prices to the waiting orders: stops, then take-profits, then limits.

        only: the key of the one account it concerns.
        """
        for wanted in (Touch.STOP, Touch.TAKE, None):
            for order in list(instrument.orders.values()):
                touch = SPOT_CONDITIONAL.get(order.kind) if not order.in_book else None
                if touch is wanted and order.is_working and only in (None, order.account):
                    self._touch_order(instrument, order, last, touch)

    def _touch_order(self, instrument: Instrument, order: Order, last: Segment, touch: Touch | None) -> None:
        """Trigger or fill one waiting order when the stretch reaches it."""
        account = self.accounts[order.account]
        level = order.stop if touch is not None else order.price
        reach = stop_base if touch is Touch.STOP else limit_base if touch is None else take_base
        base = reach(order.sign, level, last)
        if base is None:
            return
        left, fills = order.lots - order.filled, self.market.fills
        if touch is None:
            parts, maker = fills.resting(instrument, left, base), True
        elif not order.price:
            parts, maker = fills.triggered(instrument, order.sign, base, left), False
        else:
            order.in_book = True
            self.tell_order(order, "NEW")
            if (order.price - base) * order.sign < 0:
                return
            parts, maker = [Part(left, base)], False
        self._release(account, order, left)
        try:
            self._check_covered(account, instrument, order.sign, parts)
        except Refusal:
            self._end(account, order, "EXPIRED")
            return
        order.in_book = True
        self._fill(account, order, parts, maker=maker)
        if touch is None and order.sign > 0:
            self.market.rested.append(Rested(self.name, account.key, instrument, order.sign, base))

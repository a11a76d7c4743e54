"""The USDⓈ-M account over HTTP: every signed path a trading program calls."""

from __future__ import annotations

from collections.abc import Callable

from ctp.simulator import futures_views as views
from ctp.simulator.futures import FuturesVenue
from ctp.simulator.futures_account import FuturesAccount
from ctp.simulator.instrument import Instrument
from ctp.simulator.named_orders import cancellable, existing, find_named, working
from ctp.simulator.orders import Order, Trigger
from ctp.simulator.refusals import Refusal
from ctp.simulator.requests import Parameters, usdm_lots, usdm_order, usdm_price, usdm_trigger, whole
from ctp.simulator.windows import WEEK_MS, Window, trades_of

Answer = object
Handler = Callable[[FuturesAccount, Parameters], Answer]
_ALL_CANCELLED = {"code": 200, "msg": "The operation of cancel all open order is done."}
_DONE = {"code": 200, "msg": "success"}
_MAX_LEVERAGE = 125


class FuturesRest:
    """What the owner of a key may ask and do."""

    def __init__(self, venue: FuturesVenue) -> None:
        """Answer for one venue."""
        self.venue, self.market = venue, venue.market
        path = "/fapi/v1"
        self.routes: dict[str, Handler] = {
            "GET /fapi/v3/account": self.account,
            "GET /fapi/v2/account": self.account,
            "GET /fapi/v3/balance": self.balance,
            "GET /fapi/v2/balance": self.balance,
            "GET /fapi/v3/positionRisk": self.position_risk,
            "GET /fapi/v2/positionRisk": self.position_risk,
            f"GET {path}/leverageBracket": self.leverage_bracket,
            f"POST {path}/leverage": self.set_leverage,
            f"POST {path}/marginType": self.set_margin_type,
            f"GET {path}/positionSide/dual": lambda account, _: {"dualSidePosition": account.hedge_mode},
            f"POST {path}/positionSide/dual": self.set_position_side,
            f"GET {path}/multiAssetsMargin": lambda account, _: {"multiAssetsMargin": False},
            f"GET {path}/symbolConfig": self.symbol_config,
            f"GET {path}/accountConfig": self.account_config,
            f"GET {path}/commissionRate": self.commission_rate,
            f"POST {path}/order": self.new_order,
            f"POST {path}/order/test": self.test_order,
            f"PUT {path}/order": self.modify_order,
            f"GET {path}/order": self.get_order,
            f"DELETE {path}/order": self.cancel_order,
            f"GET {path}/openOrder": self.get_open_order,
            f"GET {path}/openOrders": self.open_orders,
            f"GET {path}/allOrders": self.all_orders,
            f"DELETE {path}/allOpenOrders": self.cancel_all,
            f"POST {path}/algoOrder": self.new_trigger,
            f"GET {path}/algoOrder": self.get_trigger,
            f"DELETE {path}/algoOrder": self.cancel_trigger,
            f"GET {path}/openAlgoOrders": self.open_triggers,
            f"GET {path}/allAlgoOrders": self.all_triggers,
            f"DELETE {path}/algoOpenOrders": self.cancel_all_triggers,
            f"GET {path}/userTrades": self.user_trades,
            f"GET {path}/income": self.income,
        }

    def _instrument(self, parameters: Parameters) -> Instrument:
        """Return the instrument named."""
        return self.market.instrument("usdm", parameters)

    def order_view(self, order: Order) -> views.View:
        """Return an order as the exchange shows it."""
        return views.order_view(order, self.venue.instruments[order.symbol], self.market.wire)

    def trigger_view(self, account: FuturesAccount, trigger: Trigger) -> views.View:
        """Return a conditional order as the exchange shows it."""
        order = account.orders.get(trigger.order_id)
        return views.trigger_view(trigger, self.venue.instruments[trigger.symbol], self.market.wire, order)

    # account

    def account(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return wallet, margins and positions."""
        return views.account_view(account, self.venue.margins(account), self.market.now, self.market.wire)

    def balance(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return the wallet."""
        margins, text = self.venue.margins(account), self.market.wire.balance
        free = text(margins.available())
        return [{
            "accountAlias": "SgsR", "asset": "USDT", "balance": text(account.wallet),
            "crossWalletBalance": text(margins.cross_wallet()), "crossUnPnl": text(margins.cross_profit()),
            "availableBalance": free, "maxWithdrawAmount": free, "marginAvailable": True, "updateTime": self.market.now,
        }]  # fmt: skip

    def position_risk(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return open positions, all or of one symbol."""
        margins, wanted = self.venue.margins(account), parameters.get("symbol")
        return [
            views.position_view(account, symbol, self.venue.instruments[symbol], margins, self.market.wire)
            for symbol in margins.open_symbols()
            if wanted in (None, symbol)
        ]

    def leverage_bracket(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return the maintenance brackets of the traded symbols."""
        if "symbol" in parameters:
            return self._brackets(self._instrument(parameters))
        return [self._brackets(instrument) for instrument in self.market.of_venue("usdm")]

    @staticmethod
    def _brackets(instrument: Instrument) -> views.View:
        """Return the brackets of one symbol."""
        rows = [
            {
                "bracket": number, "initialLeverage": bracket.max_leverage, "notionalCap": bracket.cap,
                "notionalFloor": bracket.floor, "maintMarginRatio": bracket.rate, "cum": bracket.amount,
            }
            for number, bracket in enumerate(instrument.rules.brackets, 1)
        ]  # fmt: skip
        return {"symbol": instrument.rules.id, "notionalCoef": 1.0, "brackets": rows}

    def _most(self, instrument: Instrument, leverage: int) -> str:
        """Return the largest notional allowed at a leverage."""
        allowed = [bracket.cap for bracket in instrument.rules.brackets if bracket.max_leverage >= leverage]
        return str(int(max(allowed, default=0)))

    def set_leverage(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Set the leverage of a symbol."""
        instrument = self._instrument(parameters)
        leverage = whole(parameters, "leverage")
        if leverage is None:
            raise Refusal(-1102, name="leverage")
        highest = max((bracket.max_leverage for bracket in instrument.rules.brackets), default=_MAX_LEVERAGE)
        if not 1 <= leverage <= highest:
            raise Refusal(-4028, leverage=leverage)
        account.leverages[instrument.rules.id] = leverage
        most = self._most(instrument, leverage)
        return {"symbol": instrument.rules.id, "leverage": leverage, "maxNotionalValue": most}

    def set_margin_type(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Set a symbol to isolated or cross margin."""
        symbol = self._instrument(parameters).rules.id
        wanted = {"ISOLATED": "isolated", "CROSSED": "cross"}.get(parameters.get("marginType", ""))
        if wanted is None:
            raise Refusal(-1102, name="marginType")
        if account.margin_type(symbol) == wanted:
            raise Refusal(-4046)
        if account.position(symbol).lots:
            raise Refusal(-4048)
        if any(order.symbol == symbol and order.is_working for order in account.orders.values()):
            raise Refusal(-4047)
        account.margin_types[symbol] = wanted
        return _DONE

    def set_position_side(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Refuse hedge mode, which this exchange does not simulate; one-way mode is always on."""
        if parameters.get("dualSidePosition", "").lower() != "true":
            raise Refusal(-4059)
        raise Refusal(-4084, "Method is not allowed currently. Upcoming soon.")

    def symbol_config(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return margin type and leverage, of one symbol or of all traded."""
        chosen = [self._instrument(parameters)] if "symbol" in parameters else self.market.of_venue("usdm")
        return [
            {
                "symbol": instrument.rules.id,
                "marginType": "ISOLATED" if account.margin_type(instrument.rules.id) == "isolated" else "CROSSED",
                "isAutoAddMargin": False, "leverage": account.leverage(instrument.rules.id),
                "maxNotionalValue": self._most(instrument, account.leverage(instrument.rules.id)),
            }
            for instrument in chosen
        ]  # fmt: skip

    def account_config(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return the settings of the account."""
        return {
            "feeTier": 0, "canTrade": True, "canDeposit": True, "canWithdraw": True,
            "dualSidePosition": account.hedge_mode, "updateTime": 0, "multiAssetsMargin": False, "tradeGroupId": -1,
        }  # fmt: skip

    def commission_rate(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return the fee rates of a symbol."""
        costs, text = self.market.costs, self.market.wire.money
        return {
            "symbol": self._instrument(parameters).rules.id, "makerCommissionRate": text(costs.usdm_maker, 6),
            "takerCommissionRate": text(costs.usdm_taker, 6),
        }  # fmt: skip

    # orders

    def new_order(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Place an order."""
        instrument = self._instrument(parameters)
        order = self.venue.submit(account, instrument, usdm_order(parameters, instrument))
        return self.order_view(order)

    def test_order(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Check an order without placing it."""
        usdm_order(parameters, self._instrument(parameters))
        return {}

    def _find(self, account: FuturesAccount, parameters: Parameters) -> Order | None:
        """Return the order a request names, if it exists."""
        symbol = self._instrument(parameters).rules.id
        return find_named(parameters, lambda number, client_id: self.venue.find_order(account, symbol, number, client_id))

    def modify_order(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Change price and size of a working limit order."""
        order, instrument = self._find(account, parameters), self._instrument(parameters)
        if order is None or not order.is_working:
            raise Refusal(-2013)
        lots, price = usdm_lots(parameters, instrument, market=False), usdm_price(parameters, "price", instrument)
        if lots <= order.filled or (price - instrument.price) * order.sign >= 0:
            raise Refusal(-5022)
        order.lots, order.price, order.updated = lots, price, self.market.now
        self.venue.tell_order(order, "AMENDMENT")
        return self.order_view(order)

    def get_order(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return one order."""
        return self.order_view(existing(self._find(account, parameters)))

    def get_open_order(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return one order if it is working."""
        order = self._find(account, parameters)
        if order is None or not order.is_working:
            raise Refusal(-2013)
        return self.order_view(order)

    def cancel_order(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Cancel one order."""
        order = cancellable(self._find(account, parameters))
        self.venue.close_order(order, "CANCELED")
        return self.order_view(order)

    def open_orders(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return the working orders."""
        return [self.order_view(order) for order in working(account.orders.values(), parameters)]

    def all_orders(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return orders of any status, by number or by time."""
        wanted, first = parameters.get("symbol"), whole(parameters, "orderId")
        rows = [order for order in account.orders.values() if wanted in (None, order.symbol)]
        if first is not None:
            limit = whole(parameters, "limit", 500) or 500
            return [self.order_view(order) for order in rows if order.id >= first][:limit]
        window = Window(parameters, self.market.now, default_limit=500, longest_limit=1000, span_ms=WEEK_MS)
        return [self.order_view(order) for order in window.cut(rows, lambda order: order.created)]

    def cancel_all(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Cancel all working orders of a symbol."""
        self._instrument(parameters)
        for order in working(account.orders.values(), parameters):
            self.venue.close_order(order, "CANCELED")
        return _ALL_CANCELLED

    # conditional orders

    def new_trigger(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Place a conditional order."""
        instrument = self._instrument(parameters)
        trigger = self.venue.submit_trigger(account, instrument, usdm_trigger(parameters, instrument))
        return self.trigger_view(account, trigger)

    def _find_trigger(self, account: FuturesAccount, parameters: Parameters) -> Trigger | None:
        """Return the conditional order a request names, if it exists."""
        number, client_id = whole(parameters, "algoId"), parameters.get("clientAlgoId", "")
        if number is None and not client_id:
            raise Refusal(-1102, "Param 'clientAlgoId' or 'algoId' must be sent, but both were empty/null!")
        return self.venue.find_trigger(account, "" if number is None else str(number), client_id)

    def get_trigger(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return one conditional order."""
        trigger = self._find_trigger(account, parameters)
        if trigger is None:
            raise Refusal(-2013)
        return self.trigger_view(account, trigger)

    def cancel_trigger(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Cancel one conditional order."""
        trigger = self._find_trigger(account, parameters)
        if trigger is None or trigger.status != "NEW":
            raise Refusal(-2011)
        self.venue.close_trigger(trigger, "CANCELED")
        return {"algoId": trigger.id, "clientAlgoId": trigger.client_id, "code": "200", "msg": "success"}

    def _waiting(self, account: FuturesAccount, parameters: Parameters) -> list[Trigger]:
        """Return the conditional orders that wait, all or of one symbol."""
        wanted = parameters.get("symbol")
        return [t for t in account.triggers.values() if t.status == "NEW" and wanted in (None, t.symbol)]

    def open_triggers(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return the conditional orders that wait."""
        return [self.trigger_view(account, trigger) for trigger in self._waiting(account, parameters)]

    def all_triggers(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return conditional orders of any status."""
        wanted = self._instrument(parameters).rules.id
        window = Window(parameters, self.market.now, default_limit=500, longest_limit=1000, span_ms=WEEK_MS)
        rows = [trigger for trigger in account.triggers.values() if trigger.symbol == wanted]
        return [self.trigger_view(account, trigger) for trigger in window.cut(rows, lambda trigger: trigger.created)]

    def cancel_all_triggers(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Cancel all conditional orders of a symbol."""
        self._instrument(parameters)
        for trigger in self._waiting(account, parameters):
            self.venue.close_trigger(trigger, "CANCELED")
        return _ALL_CANCELLED

    # history

    def user_trades(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return trades of a symbol."""
        instrument = self._instrument(parameters)
        rows = [trade for trade in account.trades if trade.symbol == instrument.rules.id]
        chosen = trades_of(
            rows, parameters, self.market.now, id_of=lambda trade: trade.id, order_of=lambda trade: trade.order_id,
            time_of=lambda trade: trade.time, span_ms=WEEK_MS,
        )  # fmt: skip
        return [views.trade_view(trade, instrument, self.market.wire) for trade in chosen]

    def income(self, account: FuturesAccount, parameters: Parameters) -> Answer:
        """Return income lines, filtered by symbol, kind and time."""
        wanted, kind = parameters.get("symbol"), parameters.get("incomeType")
        rows = [i for i in account.income if wanted in (None, i.symbol) and kind in (None, i.kind)]
        has_window = "startTime" in parameters or "endTime" in parameters
        window = Window(
            parameters, self.market.now, default_limit=100, longest_limit=1000, span_ms=None if has_window else WEEK_MS
        )
        return [views.income_view(line, self.market.wire) for line in window.cut(rows, lambda line: line.time)]

"""The spot account over HTTP, and the wallet pages both venues share."""

from __future__ import annotations

from collections.abc import Callable

from ctp.simulator import spot_views as views
from ctp.simulator.instrument import Instrument
from ctp.simulator.keys import Key
from ctp.simulator.listing import Listing
from ctp.simulator.named_orders import cancellable, existing, find_named, working
from ctp.simulator.orders import Order
from ctp.simulator.refusals import Refusal
from ctp.simulator.requests import OrderRequest, Parameters, flag, spot_order, whole
from ctp.simulator.spot import SpotVenue
from ctp.simulator.spot_account import SpotAccount
from ctp.simulator.windows import Window, trades_of

Answer = object
Handler = Callable[[SpotAccount, Parameters], Answer]
_DAY_MS = 86_400_000


class SpotRest:
    """What the owner of a key may ask and do."""

    def __init__(self, venue: SpotVenue) -> None:
        """Answer for one venue."""
        self.venue, self.market = venue, venue.market
        path = "/api/v3"
        self.routes: dict[str, Handler] = {
            f"GET {path}/account": self.account,
            f"POST {path}/order": self.new_order,
            f"POST {path}/order/test": self.test_order,
            f"GET {path}/order": self.get_order,
            f"DELETE {path}/order": self.cancel_order,
            f"GET {path}/openOrders": self.open_orders,
            f"DELETE {path}/openOrders": self.cancel_all,
            f"GET {path}/allOrders": self.all_orders,
            f"GET {path}/myTrades": self.my_trades,
            f"POST {path}/orderList/oco": self.new_list,
            f"POST {path}/order/oco": self.new_old_list,
            f"GET {path}/orderList": self.get_list,
            f"GET {path}/openOrderList": self.open_lists,
            f"DELETE {path}/orderList": self.cancel_list,
        }

    def _instrument(self, parameters: Parameters) -> Instrument:
        """Return the instrument named."""
        return self.market.instrument("spot", parameters)

    def order_view(self, order: Order) -> views.View:
        """Return an order as the exchange shows it."""
        return views.order_view(order, self.venue.instruments[order.symbol], self.market.wire)

    def account(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Return the balances."""
        costs, hides = self.market.costs, flag(parameters, "omitZeroBalances")
        return views.account_view(account, self.market.now, costs.spot_taker, costs.spot_maker, omit_zero=hides)

    # orders

    def new_order(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Place an order."""
        instrument = self._instrument(parameters)
        order = self.venue.submit(account, instrument, spot_order(parameters, instrument))
        trades = [trade for trade in account.trades[-8:] if trade.order_id == order.id]
        default = "FULL" if order.kind in ("MARKET", "LIMIT") else "ACK"
        response = parameters.get("newOrderRespType", default)
        return views.new_order_view(order, instrument, trades, self.market.wire, response)

    def test_order(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Check an order without placing it."""
        spot_order(parameters, self._instrument(parameters))
        return {}

    def _find(self, account: SpotAccount, parameters: Parameters) -> Order | None:
        """Return the order a request names, if it exists."""
        symbol = self._instrument(parameters).rules.id
        return find_named(parameters, lambda number, client_id: self.venue.find_order(account, symbol, number, client_id))

    def get_order(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Return one order."""
        return self.order_view(existing(self._find(account, parameters)))

    def cancel_order(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Cancel one order."""
        order = cancellable(self._find(account, parameters))
        self.venue.cancel(account, order)
        return views.cancel_view(order, self.venue.instruments[order.symbol], self.market.wire)

    def open_orders(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Return the working orders."""
        return [self.order_view(order) for order in working(account.orders.values(), parameters)]

    def cancel_all(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Cancel all working orders of a symbol."""
        instrument = self._instrument(parameters)
        doomed = working(account.orders.values(), parameters)
        if not doomed:
            raise Refusal(-2011)
        for order in doomed:
            if order.is_working:
                self.venue.cancel(account, order)
        return [views.cancel_view(order, instrument, self.market.wire) for order in doomed]

    def all_orders(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Return orders of any status of a symbol, by number or by time."""
        wanted, first = self._instrument(parameters).rules.id, whole(parameters, "orderId")
        rows = [order for order in account.orders.values() if order.symbol == wanted]
        if first is not None:
            limit = whole(parameters, "limit", 500) or 500
            return [self.order_view(order) for order in rows if order.id >= first][:limit]
        self._check_window(parameters)
        window = Window(parameters, self.market.now, default_limit=500, longest_limit=1000, span_ms=None)
        return [self.order_view(order) for order in window.cut(rows, lambda order: order.created)]

    @staticmethod
    def _check_window(parameters: Parameters) -> None:
        """Refuse more than a day between startTime and endTime."""
        start, end = whole(parameters, "startTime"), whole(parameters, "endTime")
        if start is not None and end is not None and end - start > _DAY_MS:
            raise Refusal(-1127, "More than 24 hours between startTime and endTime.")

    def my_trades(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Return trades of a symbol."""
        instrument = self._instrument(parameters)
        self._check_window(parameters)
        rows = [trade for trade in account.trades if trade.symbol == instrument.rules.id]
        chosen = trades_of(
            rows, parameters, self.market.now, id_of=lambda trade: trade.id, order_of=lambda trade: trade.order_id,
            time_of=lambda trade: trade.time, span_ms=None,
        )  # fmt: skip
        return [views.trade_view(trade, instrument, self.market.wire) for trade in chosen]

    # order lists

    def _leg(self, parameters: Parameters, side: str) -> OrderRequest:
        """Read one of the two orders of a list: `side` is "above" or "below"."""
        names = {"Type": "type", "Price": "price", "StopPrice": "stopPrice", "TimeInForce": "timeInForce",
                 "ClientOrderId": "newClientOrderId"}  # fmt: skip
        leg = _common(parameters)
        leg |= {ours: parameters[side + theirs] for theirs, ours in names.items() if side + theirs in parameters}
        return spot_order(leg, self._instrument(parameters))

    def new_list(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Place two orders of which one cancels the other."""
        below, above = self._leg(parameters, "below"), self._leg(parameters, "above")
        return self._place_list(account, parameters, below, above)

    def new_old_list(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Place a list in the older form: a limit-maker order and a stop."""
        instrument = self._instrument(parameters)
        common = _common(parameters)
        limit = common | {"type": "LIMIT_MAKER", "price": parameters.get("price", "")}
        stop = common | {"type": "STOP_LOSS", "stopPrice": parameters.get("stopPrice", "")}
        if "stopLimitPrice" in parameters:
            stop |= {
                "type": "STOP_LOSS_LIMIT", "price": parameters["stopLimitPrice"],
                "timeInForce": parameters.get("stopLimitTimeInForce", "GTC"),
            }  # fmt: skip
        for leg, name in ((limit, "limitClientOrderId"), (stop, "stopClientOrderId")):
            if name in parameters:
                leg["newClientOrderId"] = parameters[name]
        return self._place_list(account, parameters, spot_order(stop, instrument), spot_order(limit, instrument))

    def _place_list(
        self, account: SpotAccount, parameters: Parameters, first: OrderRequest, second: OrderRequest
    ) -> Answer:
        """Place both orders and report them."""
        instrument = self._instrument(parameters)
        orders = self.venue.submit_list(account, instrument, first, second, parameters.get("listClientOrderId", ""))
        view = self._list_view(account, orders[0].list_id)
        reports = [views.new_order_view(order, instrument, [], self.market.wire, "RESULT") for order in orders]
        return view | {"orderReports": reports}

    def _list_view(self, account: SpotAccount, list_id: int) -> views.View:
        """Return an order list as the exchange shows it."""
        client_id, numbers = account.lists[list_id]
        return views.list_view([account.orders[number] for number in numbers], client_id, self.market.now)

    def _find_list(self, account: SpotAccount, parameters: Parameters, name: str) -> int | None:
        """Return the number of the list a request names, if it exists."""
        number = whole(parameters, "orderListId")
        if number is not None:
            return number if number in account.lists else None
        return next((n for n, (client_id, _) in account.lists.items() if client_id == parameters.get(name)), None)

    def get_list(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Return one order list."""
        list_id = self._find_list(account, parameters, "origClientOrderId")
        if list_id is None:
            raise Refusal(-2018, "Order list does not exist.")
        return self._list_view(account, list_id)

    def open_lists(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Return the order lists that wait."""
        every = [self._list_view(account, list_id) for list_id in account.lists]
        return [view for view in every if view["listOrderStatus"] == "EXECUTING"]

    def cancel_list(self, account: SpotAccount, parameters: Parameters) -> Answer:
        """Cancel both orders of a list."""
        instrument = self._instrument(parameters)
        list_id = self._find_list(account, parameters, "listClientOrderId")
        orders = [] if list_id is None else [account.orders[number] for number in account.lists[list_id][1]]
        working = [order for order in orders if order.is_working]
        if list_id is None or not working:
            raise Refusal(-2011)
        self.venue.cancel(account, working[0])
        reports = [views.cancel_view(order, instrument, self.market.wire) for order in orders]
        return self._list_view(account, list_id) | {"orderReports": reports}


def _common(parameters: Parameters) -> Parameters:
    """Return what both orders of a list share."""
    return {name: value for name, value in parameters.items() if name in ("symbol", "side", "quantity")}


class WalletRest:
    """The /sapi pages a trading program reads: rights of the key, coins, spot fees."""

    def __init__(self, venue: SpotVenue, listing: Listing) -> None:
        """Answer with the coins of a listing and the fees of a venue."""
        self.venue, self.listing = venue, listing
        self.routes: dict[str, Callable[[Key, Parameters], Answer]] = {
            "GET /sapi/v1/account/apiRestrictions": self.restrictions,
            "GET /sapi/v1/capital/config/getall": self.coins,
            "GET /sapi/v1/asset/tradeFee": self.trade_fee,
            "GET /sapi/v1/margin/allPairs": lambda key, parameters: [],
            "GET /sapi/v1/margin/isolated/allPairs": lambda key, parameters: [],
        }

    def restrictions(self, key: Key, parameters: Parameters) -> Answer:
        """Return what the key may do."""
        return {
            "ipRestrict": key.is_ip_restricted, "createTime": 1_600_000_000_000, "enableReading": True,
            "enableWithdrawals": key.can_withdraw, "enableInternalTransfer": False, "enableMargin": False,
            "enableFutures": key.can_trade_futures, "permitsUniversalTransfer": False,
            "enableVanillaOptions": False, "enableFixApiTrade": False, "enableFixReadOnly": False,
            "enableSpotAndMarginTrading": key.can_trade_spot, "enablePortfolioMarginTrading": False,
        }  # fmt: skip

    def coins(self, key: Key, parameters: Parameters) -> Answer:
        """Return the coins that are traded, with the key owner's spot balances."""
        account = self.venue.accounts[key.key]
        rows = []
        for asset in self.listing.assets:
            balance = account.balance(asset)
            rows.append({
                "coin": asset, "depositAllEnable": True, "withdrawAllEnable": True, "name": asset,
                "free": f"{balance.free:.8f}", "locked": f"{balance.locked:.8f}", "freeze": "0", "withdrawing": "0",
                "ipoing": "0", "ipoable": "0", "storage": "0", "isLegalMoney": False, "trading": True,
                "networkList": [],
            })  # fmt: skip
        return rows

    def trade_fee(self, key: Key, parameters: Parameters) -> Answer:
        """Return spot fee rates, of one symbol or of all traded."""
        market = self.venue.market
        chosen = [market.instrument("spot", parameters)] if "symbol" in parameters else market.of_venue("spot")
        maker, taker = f"{market.costs.spot_maker:.8f}", f"{market.costs.spot_taker:.8f}"
        return [{"symbol": i.rules.id, "makerCommission": maker, "takerCommission": taker} for i in chosen]

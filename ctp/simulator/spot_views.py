"""Spot replies and events, field by field as the exchange sends them."""

from __future__ import annotations

from ctp.simulator.instrument import Instrument
from ctp.simulator.orders import Order, Trade
from ctp.simulator.spot_account import SpotAccount
from ctp.simulator.wire import Wire

View = dict[str, object]


def order_view(order: Order, instrument: Instrument, wire: Wire) -> View:
    """Return an order as GET /api/v3/order does."""
    rules = instrument.rules
    return {
        "symbol": order.symbol, "orderId": order.id, "orderListId": order.list_id, "clientOrderId": order.client_id,
        "price": wire.price(rules, order.price), "origQty": wire.size(rules, order.lots),
        "executedQty": wire.size(rules, order.filled), "origQuoteOrderQty": wire.money(order.quote_wanted),
        "cummulativeQuoteQty": wire.money(order.turnover), "status": order.status,
        "timeInForce": order.time_in_force, "type": order.kind, "side": order.side,
        "stopPrice": wire.price(rules, order.stop), "icebergQty": "0.00000000", "time": order.created,
        "updateTime": order.updated, "isWorking": order.in_book,
        "workingTime": order.created if order.in_book else -1, "selfTradePreventionMode": "EXPIRE_MAKER",
    }  # fmt: skip


def new_order_view(order: Order, instrument: Instrument, trades: list[Trade], wire: Wire, response: str) -> View:
    """Return the answer to a new order: `response` is ACK, RESULT or FULL."""
    view: View = {
        "symbol": order.symbol, "orderId": order.id, "orderListId": order.list_id, "clientOrderId": order.client_id,
        "transactTime": order.updated,
    }  # fmt: skip
    if response == "ACK":
        return view
    full = order_view(order, instrument, wire)
    names = ("price", "origQty", "executedQty", "origQuoteOrderQty", "cummulativeQuoteQty", "status", "timeInForce",
             "type", "side", "workingTime", "selfTradePreventionMode")  # fmt: skip
    view |= {name: full[name] for name in names}
    if order.stop:
        view["stopPrice"] = full["stopPrice"]
    if response == "FULL":
        rules = instrument.rules
        view["fills"] = [
            {
                "price": wire.price(rules, trade.price), "qty": wire.size(rules, trade.lots),
                "commission": wire.money(trade.fee), "commissionAsset": trade.fee_asset, "tradeId": trade.id,
            }
            for trade in trades
        ]  # fmt: skip
    return view


def cancel_view(order: Order, instrument: Instrument, wire: Wire) -> View:
    """Return the answer to a cancellation."""
    view = order_view(order, instrument, wire)
    names = ("symbol", "orderId", "orderListId", "price", "origQty", "executedQty", "cummulativeQuoteQty", "status",
             "timeInForce", "type", "side", "stopPrice", "selfTradePreventionMode")  # fmt: skip
    return {
        **{name: view[name] for name in names}, "origClientOrderId": order.client_id,
        "clientOrderId": f"cancel{order.id}", "transactTime": order.updated,
    }  # fmt: skip


def trade_view(trade: Trade, instrument: Instrument, wire: Wire) -> View:
    """Return a trade as GET /api/v3/myTrades does."""
    rules = instrument.rules
    return {
        "symbol": trade.symbol, "id": trade.id, "orderId": trade.order_id, "orderListId": trade.list_id,
        "price": wire.price(rules, trade.price), "qty": wire.size(rules, trade.lots),
        "quoteQty": wire.money(trade.turnover), "commission": wire.money(trade.fee),
        "commissionAsset": trade.fee_asset, "time": trade.time, "isBuyer": trade.sign > 0, "isMaker": trade.maker,
        "isBestMatch": True,
    }  # fmt: skip


def account_view(account: SpotAccount, now: int, taker: float, maker: float, *, omit_zero: bool) -> View:
    """Return the account as GET /api/v3/account does."""
    balances = [
        {"asset": asset, "free": Wire.balance(balance.free), "locked": Wire.balance(balance.locked)}
        for asset, balance in sorted(account.balances.items())
        if not omit_zero or balance.free or balance.locked
    ]
    rates = {"maker": f"{maker:.8f}", "taker": f"{taker:.8f}", "buyer": "0.00000000", "seller": "0.00000000"}
    return {
        "makerCommission": round(maker * 10_000), "takerCommission": round(taker * 10_000), "buyerCommission": 0,
        "sellerCommission": 0, "commissionRates": rates, "canTrade": True, "canWithdraw": account.may_withdraw,
        "canDeposit": True, "brokered": False, "requireSelfTradePrevention": False, "preventSor": False,
        "updateTime": now, "accountType": "SPOT", "balances": balances, "permissions": ["SPOT"], "uid": account.uid,
    }  # fmt: skip


def balance_event(account: SpotAccount, assets: tuple[str, ...], now: int) -> View:
    """Return outboundAccountPosition for the assets that changed."""
    rows = [
        {"a": asset, "f": Wire.balance(account.balance(asset).free), "l": Wire.balance(account.balance(asset).locked)}
        for asset in assets
    ]
    return {"e": "outboundAccountPosition", "E": now, "u": now, "B": rows}


def order_event(
    order: Order, instrument: Instrument, wire: Wire, now: int, execution: str, trade: Trade | None = None
) -> View:
    """Return executionReport: `execution` is NEW, TRADE, CANCELED or EXPIRED."""
    rules = instrument.rules
    canceled = execution == "CANCELED"
    return {
        "e": "executionReport", "E": now, "s": order.symbol, "c": f"cancel{order.id}" if canceled else order.client_id,
        "S": order.side, "o": order.kind, "f": order.time_in_force, "q": wire.size(rules, order.lots),
        "p": wire.price(rules, order.price), "P": wire.price(rules, order.stop), "F": "0.00000000", "g": order.list_id,
        "C": order.client_id if canceled else "", "x": execution, "X": order.status, "r": "NONE", "i": order.id,
        "l": wire.size(rules, trade.lots if trade else 0), "z": wire.size(rules, order.filled),
        "L": wire.price(rules, trade.price) if trade else "0.00000000", "n": wire.money(trade.fee) if trade else "0",
        "N": trade.fee_asset if trade else None, "T": trade.time if trade else now, "t": trade.id if trade else -1,
        "I": order.id * 2, "w": order.in_book and order.is_working, "m": trade.maker if trade else False, "M": False,
        "O": order.created, "Z": wire.money(order.turnover), "Y": wire.money(trade.turnover) if trade else "0.00000000",
        "Q": wire.money(order.quote_wanted), "W": order.created, "V": "EXPIRE_MAKER",
    }  # fmt: skip


def list_view(orders: list[Order], client_id: str, now: int) -> View:
    """Return an order list: two orders of which one cancels the other."""
    alive = any(order.is_working for order in orders)
    return {
        "orderListId": orders[0].list_id, "contingencyType": "OCO",
        "listStatusType": "EXEC_STARTED" if alive else "ALL_DONE",
        "listOrderStatus": "EXECUTING" if alive else "ALL_DONE", "listClientOrderId": client_id,
        "transactionTime": now, "symbol": orders[0].symbol,
        "orders": [{"symbol": o.symbol, "orderId": o.id, "clientOrderId": o.client_id} for o in orders],
    }  # fmt: skip


def list_event(orders: list[Order], client_id: str, now: int) -> View:
    """Return listStatus for an order list."""
    view = list_view(orders, client_id, now)
    return {
        "e": "listStatus", "E": now, "s": orders[0].symbol, "g": orders[0].list_id, "c": "OCO",
        "l": view["listStatusType"], "L": view["listOrderStatus"], "r": "NONE", "C": client_id, "T": now,
        "O": [{"s": o.symbol, "i": o.id, "c": o.client_id} for o in orders],
    }  # fmt: skip

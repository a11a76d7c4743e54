"""USDⓈ-M replies and events, field by field as the exchange sends them."""

from __future__ import annotations

from ctp.simulator.futures_account import FuturesAccount, Margins
from ctp.simulator.instrument import Instrument
from ctp.simulator.orders import Income, Order, Trade, Trigger
from ctp.simulator.wire import Wire

View = dict[str, object]


def average(order: Order, instrument: Instrument) -> float:
    """Return the mean price of an order's trades, 0 before the first."""
    if order.filled and not order.average:
        return order.turnover / instrument.rules.lot.value(order.filled)
    return order.average


def order_view(order: Order, instrument: Instrument, wire: Wire) -> View:
    """Return an order as GET /fapi/v1/order does."""
    rules = instrument.rules
    mean = average(order, instrument)
    return {
        "orderId": order.id, "symbol": order.symbol, "status": order.status, "clientOrderId": order.client_id,
        "price": wire.price(rules, order.price), "avgPrice": wire.money(mean, 5) if mean else "0.00000",
        "origQty": wire.size(rules, order.lots), "executedQty": wire.size(rules, order.filled),
        "cumQty": wire.size(rules, order.filled), "cumQuote": wire.money(order.turnover, 5),
        "timeInForce": order.time_in_force, "type": order.kind, "reduceOnly": order.reduce_only,
        "closePosition": order.close_position, "side": order.side, "positionSide": "BOTH",
        "stopPrice": wire.price(rules, order.stop), "workingType": "CONTRACT_PRICE", "priceProtect": False,
        "origType": order.original_kind or order.kind, "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER", "goodTillDate": 0, "time": order.created,
        "updateTime": order.updated,
    }  # fmt: skip


def trigger_view(trigger: Trigger, instrument: Instrument, wire: Wire, order: Order | None) -> View:
    """Return a conditional order as GET /fapi/v1/algoOrder does; `order` is what it became."""
    rules = instrument.rules
    view: View = {
        "algoId": trigger.id, "clientAlgoId": trigger.client_id, "algoType": "CONDITIONAL",
        "orderType": trigger.kind, "symbol": trigger.symbol, "side": trigger.side, "positionSide": "BOTH",
        "timeInForce": trigger.time_in_force, "quantity": wire.size(rules, trigger.lots),
        "algoStatus": trigger.status, "actualOrderId": str(trigger.order_id) if trigger.order_id else "",
        "actualPrice": wire.money(average(order, instrument), 5) if order and order.filled else "0.00000",
        "triggerPrice": wire.price(rules, trigger.level), "price": wire.price(rules, trigger.limit),
        "icebergQuantity": None, "tpTriggerPrice": "0.000", "tpPrice": "0.000", "slTriggerPrice": "0.000",
        "slPrice": "0.000", "tpOrderType": "", "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": trigger.working_type, "priceMatch": "NONE", "closePosition": trigger.close_position,
        "priceProtect": False, "reduceOnly": trigger.reduce_only, "createTime": trigger.created,
        "updateTime": trigger.updated, "triggerTime": trigger.triggered, "goodTillDate": 0,
    }  # fmt: skip
    if trigger.callback:
        view |= {"callbackRate": f"{trigger.callback * 100:g}", "activatePrice": wire.price(rules, trigger.activation)}
    if order is not None:
        view |= {"actualQty": wire.size(rules, order.filled), "actualType": order.kind}
    return view


def trade_view(trade: Trade, instrument: Instrument, wire: Wire) -> View:
    """Return a trade as GET /fapi/v1/userTrades does."""
    rules = instrument.rules
    return {
        "symbol": trade.symbol, "id": trade.id, "orderId": trade.order_id, "side": "BUY" if trade.sign > 0 else "SELL",
        "price": wire.price(rules, trade.price), "qty": wire.size(rules, trade.lots),
        "realizedPnl": wire.money(trade.realized), "quoteQty": wire.money(trade.turnover),
        "commission": wire.money(trade.fee), "commissionAsset": trade.fee_asset, "time": trade.time,
        "positionSide": "BOTH", "buyer": trade.sign > 0, "maker": trade.maker, "marginAsset": "USDT",
    }  # fmt: skip


def income_view(income: Income, wire: Wire) -> View:
    """Return one line of GET /fapi/v1/income."""
    return {
        "symbol": income.symbol, "incomeType": income.kind, "income": wire.money(income.amount),
        "asset": income.asset, "time": income.time, "info": income.trade_id or income.kind, "tranId": income.id,
        "tradeId": income.trade_id,
    }  # fmt: skip


def position_view(account: FuturesAccount, symbol: str, instrument: Instrument, margins: Margins, wire: Wire) -> View:
    """Return a position as GET /fapi/v3/positionRisk does."""
    position, isolated = account.position(symbol), account.margin_type(symbol) == "isolated"
    profit, margin = margins.profit(symbol), margins.margin(symbol)
    notional = position.lots and margins.size(symbol) * instrument.mark_price * (1 if position.lots > 0 else -1)
    return {
        "symbol": symbol, "positionSide": "BOTH", "positionAmt": wire.size(instrument.rules, position.lots),
        "entryPrice": wire.money(position.entry), "breakEvenPrice": wire.money(position.entry),
        "markPrice": wire.money(instrument.mark_price), "unRealizedProfit": wire.money(profit),
        "liquidationPrice": wire.money(margins.liquidation_price(symbol)),
        "isolatedMargin": wire.money(margin + profit) if isolated else "0", "notional": wire.money(float(notional)),
        "marginAsset": "USDT", "isolatedWallet": wire.money(margin) if isolated else "0",
        "initialMargin": wire.money(margin), "maintMargin": wire.money(margins.maintenance(symbol)),
        "positionInitialMargin": wire.money(margin), "openOrderInitialMargin": "0", "adl": 2, "bidNotional": "0",
        "askNotional": "0", "updateTime": position.updated,
    }  # fmt: skip


def account_view(account: FuturesAccount, margins: Margins, now: int, wire: Wire) -> View:
    """Return the account as GET /fapi/v3/account does."""
    open_symbols = margins.open_symbols()
    profit = sum((margins.profit(symbol) for symbol in open_symbols), 0.0)
    initial = sum((margins.margin(symbol) for symbol in open_symbols), 0.0)
    maintenance = sum((margins.maintenance(symbol) for symbol in open_symbols), 0.0)
    held, wallet = margins.order_margin(), float(account.wallet)
    text = wire.balance
    asset = {
        "asset": "USDT", "walletBalance": text(account.wallet), "unrealizedProfit": text(profit),
        "marginBalance": text(wallet + profit), "maintMargin": text(maintenance), "initialMargin": text(initial + held),
        "positionInitialMargin": text(initial), "openOrderInitialMargin": text(held),
        "crossWalletBalance": text(margins.cross_wallet()), "crossUnPnl": text(margins.cross_profit()),
        "availableBalance": text(margins.available()), "maxWithdrawAmount": text(margins.available()),
        "updateTime": now,
    }  # fmt: skip
    totals = {
        "totalInitialMargin": asset["initialMargin"], "totalMaintMargin": asset["maintMargin"],
        "totalWalletBalance": asset["walletBalance"], "totalUnrealizedProfit": asset["unrealizedProfit"],
        "totalMarginBalance": asset["marginBalance"], "totalPositionInitialMargin": asset["positionInitialMargin"],
        "totalOpenOrderInitialMargin": asset["openOrderInitialMargin"],
        "totalCrossWalletBalance": asset["crossWalletBalance"], "totalCrossUnPnl": asset["crossUnPnl"],
        "availableBalance": asset["availableBalance"], "maxWithdrawAmount": asset["maxWithdrawAmount"],
    }  # fmt: skip
    positions = [
        {
            "symbol": symbol, "positionSide": "BOTH",
            "positionAmt": wire.size(margins.instruments[symbol].rules, account.position(symbol).lots),
            "unrealizedProfit": text(margins.profit(symbol)),
            "isolatedMargin": text(margins.margin(symbol) + margins.profit(symbol))
            if account.margin_type(symbol) == "isolated" else "0.00000000",
            "notional": text(margins.size(symbol) * margins.instruments[symbol].mark_price
                             * (1 if account.position(symbol).lots > 0 else -1)),
            "isolatedWallet": text(margins.margin(symbol)) if account.margin_type(symbol) == "isolated" else "0",
            "initialMargin": text(margins.margin(symbol)), "maintMargin": text(margins.maintenance(symbol)),
            "updateTime": account.position(symbol).updated,
        }
        for symbol in open_symbols
    ]  # fmt: skip
    return {**totals, "assets": [asset], "positions": positions}


def order_event(
    order: Order, instrument: Instrument, wire: Wire, now: int, execution: str, trade: Trade | None = None
) -> View:
    """Return ORDER_TRADE_UPDATE: `execution` is NEW, TRADE, CANCELED, EXPIRED or CALCULATED."""
    rules = instrument.rules
    mean = average(order, instrument)
    report: View = {
        "s": order.symbol, "c": order.client_id, "S": order.side, "o": order.kind, "f": order.time_in_force,
        "q": wire.size(rules, order.lots), "p": wire.price(rules, order.price),
        "ap": wire.money(mean, 5) if mean else "0", "sp": wire.price(rules, order.stop), "x": execution,
        "X": order.status, "i": order.id, "l": wire.size(rules, trade.lots if trade else 0),
        "z": wire.size(rules, order.filled), "L": wire.price(rules, trade.price) if trade else "0",
        "N": "USDT", "n": wire.money(trade.fee) if trade else "0", "T": trade.time if trade else now,
        "t": trade.id if trade else 0, "b": "0", "a": "0", "m": trade.maker if trade else False,
        "R": order.reduce_only, "wt": "CONTRACT_PRICE", "ot": order.original_kind or order.kind, "ps": "BOTH",
        "cp": order.close_position, "rp": wire.money(trade.realized) if trade else "0", "pP": False, "si": 0,
        "ss": 0, "V": "EXPIRE_MAKER", "pm": "NONE", "gtd": 0,
    }  # fmt: skip
    return {"e": "ORDER_TRADE_UPDATE", "T": report["T"], "E": now, "o": report}


def trigger_event(
    trigger: Trigger, instrument: Instrument, wire: Wire, now: int, order: Order | None, reason: str = ""
) -> View:
    """Return ALGO_UPDATE; `reason` says why the exchange gave the order up."""
    rules = instrument.rules
    report: View = {
        "caid": trigger.client_id, "aid": trigger.id, "at": "CONDITIONAL", "o": trigger.kind, "s": trigger.symbol,
        "S": trigger.side, "ps": "BOTH", "f": trigger.time_in_force, "q": wire.size(rules, trigger.lots),
        "X": trigger.status, "ai": str(trigger.order_id) if trigger.order_id else "",
        "ap": wire.money(average(order, instrument), 5) if order and order.filled else "0.00000",
        "aq": wire.size(rules, order.filled) if order else "0.00000", "act": order.kind if order else "0",
        "tp": wire.price(rules, trigger.level), "p": wire.price(rules, trigger.limit), "V": "EXPIRE_MAKER",
        "wt": trigger.working_type, "pm": "NONE", "cp": trigger.close_position, "pP": False,
        "R": trigger.reduce_only, "tt": trigger.triggered, "gtd": 0, "rm": reason,
    }  # fmt: skip
    return {"e": "ALGO_UPDATE", "T": now, "E": now, "o": report}


def account_event(
    account: FuturesAccount, symbol: str | None, margins: Margins, wire: Wire, now: int, reason: str
) -> View:
    """Return ACCOUNT_UPDATE for the wallet and one position."""
    wallet = {
        "a": "USDT", "wb": wire.balance(account.wallet), "cw": wire.balance(margins.cross_wallet()), "bc": "0",
    }  # fmt: skip
    positions = []
    if symbol is not None:
        position, rules = account.position(symbol), margins.instruments[symbol].rules
        isolated = account.margin_type(symbol) == "isolated"
        positions.append({
            "s": symbol, "pa": wire.size(rules, position.lots), "ep": wire.money(position.entry, 5),
            "bep": wire.money(position.entry, 5), "cr": wire.money(position.realized),
            "up": wire.money(margins.profit(symbol)), "mt": account.margin_type(symbol),
            "iw": wire.money(margins.margin(symbol)) if isolated else "0", "ps": "BOTH", "ma": "USDT",
        })  # fmt: skip
    return {"e": "ACCOUNT_UPDATE", "T": now, "E": now, "a": {"m": reason, "B": [wallet], "P": positions}}

"""What the three witnesses of the demo check say: the bot's database, the exchange's own record, the backtest."""

from __future__ import annotations

from typing import Any

import numpy as np
import sqlalchemy as sa

from ctp.accounts.visible import AccountView
from ctp.market.candles import Candles, FundingRates
from ctp.market.validation import timeframe_name
from ctp.research.backtest import backtest
from ctp.simulator.feed import Feed, Mark
from ctp.storage.tables import decisions, trades
from ctp.trading.replay import read_replay
from services.trade_records import ExchangeFill, ExchangePayment, TradeRecord, rebuild_trades

DETAILS = ("leverage", "margin", "stop_price", "take_price", "r_multiple")
COMMON = TradeRecord._fields[1:-1]
CAUSES = {
    "STOP_MARKET": "stop",
    "STOP_LOSS": "stop",
    "TAKE_PROFIT_MARKET": "take",
    "TAKE_PROFIT": "take",
    "LIQUIDATION": "liquidation",
    "MARKET": "market",
}


def trades_of_database(connection: sa.Connection, account: AccountView) -> list[TradeRecord]:
    """Return the closed trades as the bot wrote them down."""
    rows = connection.execute(sa.select(trades).where(trades.c.account_id == account.id)).mappings()
    return [_record(account, row) for row in rows]


def trades_of_exchange(state: dict[str, Any], account: AccountView) -> list[TradeRecord]:
    """Return the closed trades rebuilt from the exchange's fills, fees and funding. `state` is the account's there."""
    venue = state["usdm" if account.exchange == "binanceusdm" else "spot"]
    symbols = {symbol.partition(":")[0].replace("/", ""): symbol for symbol in account.symbols}
    kinds = {order["orderId"]: order.get("origType", order["type"]) for order in venue["orders"]}
    income = venue.get("income", [])
    fills = []
    for trade in sorted(venue["trades"], key=lambda one: one["id"]):
        cause = CAUSES[kinds[trade["orderId"]]]
        fee = float(trade["commission"])
        if cause == "liquidation":  # the exchange charges it apart from the trade
            fee += -sum(
                float(line["income"])
                for line in income
                if (line["incomeType"], line["symbol"], line["time"]) == ("INSURANCE_CLEAR", trade["symbol"], trade["time"])
            )
        is_buy = trade["isBuyer"] if "isBuyer" in trade else trade["buyer"]
        price, size = float(trade["price"]), float(trade["qty"])
        fills.append(ExchangeFill(account.name, symbols[trade["symbol"]], trade["time"], is_buy, price, size, fee, cause))
    payments = [
        ExchangePayment(account.name, symbols[line["symbol"]], line["time"], float(line["income"]))
        for line in income
        if line["incomeType"] == "FUNDING_FEE"
    ]
    return rebuild_trades(fills, payments)


def trades_of_backtest(connection: sa.Connection, account: AccountView, feed: Feed) -> list[TradeRecord]:
    """Return the closed trades of a backtest over the same candles, from the account's first to its last decision."""
    replay = read_replay(connection, account.id)
    newest = sa.select(sa.func.max(decisions.c.candle_time)).where(decisions.c.account_id == account.id)
    last = connection.execute(newest).scalar_one()
    timeframe = timeframe_name(feed.timeframe_ms)
    candles, mark, funding = [], [], []
    for symbol in replay.symbols:
        first = replay.first_times[symbol]
        columns = feed.candles(symbol, first, last)
        candles.append(Candles(symbol, timeframe, replay.exchange, *columns))
        marks = [(int(time), feed.mark(symbol, int(time))) for time in columns.time]
        known = [(time, one) for time, one in marks if one is not None]
        if known:
            mark.append(_mark_candles(symbol, timeframe, replay.exchange, known))
        payments = feed.funding(symbol, first - 1, last) if ":" in symbol else ()
        if payments:
            times = np.array([payment.time for payment in payments])
            rates = np.array([payment.rate for payment in payments])
            funding.append(FundingRates(symbol, replay.exchange, times, rates))
    result = backtest(
        replay.strategy,
        replay.risk,
        candles,
        costs=replay.costs,
        rules=replay.rules,
        mark=mark,
        funding=funding,
        equity=replay.capital,
        is_trial=False,
    )
    return [_record(account, trade) for trade in result.closed_trades]


def _mark_candles(symbol: str, timeframe: str, exchange: str, known: list[tuple[int, Mark]]) -> Candles:
    """Return mark prices as candles, which have no volume."""
    times = np.array([time for time, _ in known])
    opened, high, low, close = np.array([tuple(one) for _, one in known]).T
    return Candles(symbol, timeframe, exchange, times, opened, high, low, close, np.zeros(len(times)), "mark")


def _record(account: AccountView, values: Any) -> TradeRecord:
    """Return a trade of the database or the backtest, which use the same names."""
    details = tuple(values[name] for name in DETAILS)
    return TradeRecord(account=account.name, **{name: values[name] for name in COMMON}, details=details)

"""Read Binance's raw replies, spot and USDⓈ-M, and refuse what is no answer.

ccxt turns a broken HTTP 200 into "flat, no balance, order id None"; here the raw shape is checked instead, and every
number is taken from its own text. Anything missing or of the wrong kind raises ExchangeDown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from ctp.core.orders import CANCELLED, EXPIRED, FILLED, OPEN, PARTIAL, REJECTED, STOP, TAKE
from ctp.core.types import Candle
from ctp.errors import ExchangeDown
from ctp.trading.exchange import BUY, SELL, CandleUpdate, FillReport, FundingReport, OrderReport

ORDER_STATUS = {
    "NEW": OPEN,
    "PENDING_NEW": OPEN,
    "PENDING_CANCEL": OPEN,
    "PARTIALLY_FILLED": PARTIAL,
    "FILLED": FILLED,
    "CANCELED": CANCELLED,
    "REJECTED": REJECTED,
    "EXPIRED": EXPIRED,
    "EXPIRED_IN_MATCH": EXPIRED,
}
ALGO_STATUS = {
    "NEW": OPEN,
    "TRIGGERING": OPEN,
    "TRIGGERED": OPEN,
    "FINISHED": OPEN,  # what became of it is said by the order it turned into
    "CANCELED": CANCELLED,
    "REJECTED": REJECTED,
    "EXPIRED": EXPIRED,
}
PURPOSE = {"STOP_MARKET": STOP, "STOP_LOSS": STOP, "TAKE_PROFIT_MARKET": TAKE, "TAKE_PROFIT": TAKE}


def checked[T](what: str, read: Callable[[], T]) -> T:
    """Return what `read` makes of a reply; ExchangeDown when the reply is not what it should be."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, InvalidOperation) as error:
        raise ExchangeDown(f"{what}: the reply makes no sense ({type(error).__name__}: {error})") from error


def rows_of(what: str, reply: Any) -> list[Mapping[str, Any]]:
    """Return a reply that must be a list of objects."""
    if not isinstance(reply, list) or any(not isinstance(row, dict) for row in reply):
        raise ExchangeDown(f"{what}: expected a list, got {str(reply)[:60]!r}")
    return reply


def object_of(what: str, reply: Any) -> Mapping[str, Any]:
    """Return a reply that must be one object."""
    if not isinstance(reply, dict):
        raise ExchangeDown(f"{what}: expected an object, got {str(reply)[:60]!r}")
    return reply


def number(value: Any) -> Decimal:
    """Return an exact finite number from its text."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no exact number")
    found = Decimal(value)
    if not found.is_finite():
        raise ValueError(f"{value!r} is not finite")
    return found


def order_report(symbol: str, reply: Any) -> OrderReport:
    """Read an order of either venue."""
    row = object_of("order", reply)
    return checked(
        "order",
        lambda: OrderReport(
            id=str(row["clientOrderId"]),
            symbol=symbol,
            purpose=PURPOSE.get(row["type"], ""),
            exchange_id=str(int(row["orderId"])),
            status=ORDER_STATUS[row["status"]],
            size=number(row["origQty"]),
            filled=number(row["executedQty"]),
            trigger_price=_trigger(row.get("stopPrice")),
        ),
    )


def algo_report(symbol: str, reply: Any) -> OrderReport:
    """Read a conditional order of USDⓈ-M that has not become an order."""
    row = object_of("algo order", reply)
    return checked(
        "algo order",
        lambda: OrderReport(
            id=str(row["clientAlgoId"]),
            symbol=symbol,
            purpose=PURPOSE.get(row["orderType"], ""),
            exchange_id=f"a{int(row['algoId'])}",
            status=ALGO_STATUS[row["algoStatus"]],
            size=number(row["quantity"]),
            filled=Decimal(0),
            trigger_price=_trigger(row.get("triggerPrice")),
        ),
    )


def confirms_cancel(reply: Any, order_id: str) -> bool:
    """Return whether a reply says that this order, or the list it belongs to, is cancelled."""
    if not isinstance(reply, dict):
        return False
    if "clientAlgoId" in reply:
        return str(reply["clientAlgoId"]) == order_id and str(reply.get("code")) == "200"
    listed = reply.get("orderReports")
    for row in [reply, *(listed if isinstance(listed, list) else [])]:
        names = (row.get("origClientOrderId"), row.get("clientOrderId")) if isinstance(row, dict) else ()
        if order_id in names and row.get("status") == "CANCELED":
            return True
    return False


def actual_order_id(reply: Mapping[str, Any]) -> str:
    """Return the id of the order that a conditional order became, empty when it has not."""
    found = str(reply.get("actualOrderId") or "")
    return found if found.isdigit() and int(found) > 0 else ""


def _trigger(value: Any) -> Decimal | None:
    """Return a trigger price, None when there is none."""
    if value in (None, ""):
        return None
    price = number(value)
    return price if price > 0 else None


def fill_report(symbol: str, reply: Any) -> FillReport:
    """Read a trade of either venue."""
    row = object_of("trade", reply)

    def read() -> FillReport:
        is_buy = row["isBuyer"] if "isBuyer" in row else row["side"] == "BUY"
        if row.get("side", "BUY") not in ("BUY", "SELL"):
            raise ValueError(f"side {row['side']!r}")
        size, price = number(row["qty"]), number(row["price"])
        if size <= 0 or price <= 0:
            raise ValueError(f"trade of {size} at {price}")
        return FillReport(
            id=str(int(row["id"])),
            symbol=symbol,
            order_exchange_id=str(int(row["orderId"])),
            time=int(row["time"]),
            side=BUY if is_buy else SELL,
            price=price,
            size=size,
            fee=number(row["commission"]),
            fee_asset=str(row["commissionAsset"]),
        )

    return checked("trade", read)


def funding_report(symbol: str, reply: Any) -> FundingReport:
    """Read a line of income that is a funding payment."""
    row = object_of("income", reply)
    return checked(
        "income",
        lambda: FundingReport(
            str(int(row["tranId"])), symbol, int(row["time"]), number(row["income"]), str(row["asset"])
        ),
    )


def open_time(what: str, row: Any) -> int:
    """Return the open time of a row of the history."""
    return checked(what, lambda: int(row[0]))


def kline_update(symbol: str, timeframe: str, row: Any, newest_open: int) -> CandleUpdate:
    """Read a row of the history; the one that opened at `newest_open` is still open."""

    def read() -> CandleUpdate:
        if not isinstance(row, list) or len(row) < 6:
            raise ValueError(f"kline {str(row)[:40]!r}")
        candle = _candle(row[0], *row[1:6])
        return CandleUpdate(symbol, timeframe, candle, candle.time < newest_open, candle.time)

    return checked("klines", read)


def stream_update(symbol: str, timeframe: str, message: Mapping[str, Any]) -> CandleUpdate:
    """Read a kline event, with its flag `x` that tells whether the candle is closed."""

    def read() -> CandleUpdate:
        kline = message["k"]
        candle = _candle(kline["t"], kline["o"], kline["h"], kline["l"], kline["c"], kline["v"])
        return CandleUpdate(symbol, timeframe, candle, kline["x"] is True, int(message["E"]))

    return checked("kline event", read)


def _candle(time: Any, open_: Any, high: Any, low: Any, close: Any, volume: Any) -> Candle:
    """Return a candle whose prices are finite, above zero and in order."""
    prices = [float(number(value)) for value in (open_, high, low, close)]
    amount = float(number(volume))
    if min(prices) <= 0 or amount < 0 or prices[1] < max(prices) or prices[2] > min(prices):
        raise ValueError(f"candle {prices} volume {amount}")
    return Candle(int(time), prices[0], prices[1], prices[2], prices[3], amount)

"""Every spot call a trading program makes, by unmodified ccxt.pro.binance, and the real class of every refusal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from tests.simulator.conftest import ACCOUNT, HOUR, ROW, START, feed_of

pytestmark = pytest.mark.anyio
BTC = "BTC/USDT"
ROWS: list[ROW | None] = [(30000.0 + i, 30500.0 + i, 29500.0 + i, 30000.0 + i + 1) for i in range(40)]
SLIP = 0.0002
Call = Callable[[Any], Awaitable[Any]]


def calm_feed() -> Any:
    """Return forty quiet hours of two spot pairs."""
    return feed_of({BTC: ROWS, "ETH/USDT": [(2000.0, 2001.0, 1999.0, 2000.0)] * 40})


async def test_the_listing_is_as_long_as_the_real_one(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client("binance", fresh=True)
        await client.load_markets()
        assert sum(market["spot"] for market in client.markets.values()) >= 3000
        market = client.market(BTC)
        assert (market["precision"]["amount"], market["precision"]["price"]) == (0.00001, 0.01)
        assert market["limits"]["cost"]["min"] == 5.0 and market["active"]
        one = await client.publicGetExchangeInfo({"symbol": "BTCUSDT"})
        assert [row["symbol"] for row in one["symbols"]] == ["BTCUSDT"]


async def test_a_client_with_default_options_loads_all_its_markets(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client("binance", fresh=True, fetchMarkets={"types": ["spot", "linear", "inverse"]}, fetchCurrencies=True)
        await client.load_markets()
        assert client.market(BTC)["spot"] and "BTC" in client.currencies


async def test_public_spot_prices_are_those_of_the_feed(rig: Any) -> None:
    async with rig(calm_feed(), history=30) as made:
        client = made.client("binance")
        candles = await client.fetch_ohlcv(BTC, "4h", limit=2)
        assert candles[0][0] % (4 * HOUR) == 0
        first = (candles[0][0] - START) // HOUR
        assert candles[0][1:5] == [30000.0 + first, 30503.0 + first, 29500.0 + first, 30004.0 + first]
        assert (await client.fetch_ticker(BTC))["last"] == 30030.0
        assert (await client.fetch_tickers([BTC]))[BTC]["bid"] < 30030.01
        assert (await client.fetch_order_book(BTC))["asks"][0][0] > 30030.0
        assert len(await client.fetch_trades(BTC)) == 1
        assert (await client.fetch_bids_asks([BTC]))[BTC]["ask"] > 30030.0
        assert (await client.fetch_last_prices())[BTC]["price"] == 30030.0


async def test_buying_and_selling_moves_exactly_the_money(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client("binance")
        order = await client.create_order(BTC, "market", "buy", 0.1, None, {"newClientOrderId": "ctp-1"})
        price = 30001.0 * (1.0 + SLIP)
        assert order["status"] == "closed" and order["filled"] == 0.1
        trade = (await client.fetch_my_trades(BTC))[0]
        assert (trade["price"], trade["amount"], trade["side"]) == (price, 0.1, "buy")
        assert trade["fee"] == {"cost": 0.001 * 0.1 * price, "currency": "USDT"}
        balance = await client.fetch_balance()
        spent = Decimal(repr(0.1 * price)) + Decimal(repr(0.001 * 0.1 * price))
        assert balance["USDT"]["free"] == float(f"{Decimal(10000) - spent:.8f}")
        assert balance["BTC"]["free"] == 1.1
        found = await client.fetch_order(None, BTC, {"origClientOrderId": "ctp-1"})
        assert found["id"] == order["id"] and (await client.fetch_orders(BTC))[0]["id"] == order["id"]
        await client.create_order(BTC, "market", "sell", 0.1)
        assert (await client.fetch_balance())["BTC"]["free"] == 1.0
        assert (await client.fetch_trading_fee(BTC))["taker"] == 0.001
        rights = await client.sapiGetAccountApiRestrictions()
        assert rights["enableWithdrawals"] is False and rights["enableSpotAndMarginTrading"] is True


async def test_fees_can_be_charged_in_the_coin_received(rig: Any) -> None:
    account = replace(ACCOUNT, fee_side="received", spot=(("USDT", Decimal(10000)),))
    async with rig(calm_feed(), accounts=(account,)) as made:
        client = made.client("binance")
        await client.create_order(BTC, "market", "buy", 0.1)
        trade = (await client.fetch_my_trades(BTC))[0]
        assert trade["fee"] == {"cost": 0.001 * 0.1, "currency": "BTC"}
        assert (await client.fetch_balance())["BTC"]["free"] == 0.0999
        await client.create_order(BTC, "market", "sell", 0.0999)
        assert (await client.fetch_my_trades(BTC))[1]["fee"]["currency"] == "USDT"


async def test_a_market_buy_for_a_sum_spends_no_more_than_it(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client("binance")
        order = await client.create_market_buy_order_with_cost(BTC, 1000)
        assert order["status"] == "closed" and 990 < order["cost"] <= 1000


async def test_resting_orders_hold_their_coins(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client("binance")
        limit = await client.create_order(BTC, "limit", "sell", 0.4, 30400.0)
        stop = await client.create_order(BTC, "market", "sell", 0.5, None, {"stopLossPrice": 29000})
        balance = await client.fetch_balance()
        assert (balance["BTC"]["free"], balance["BTC"]["used"]) == (0.1, 0.9)
        assert {row["id"] for row in await client.fetch_open_orders(BTC)} == {limit["id"], stop["id"]}
        with pytest.raises(ccxt.InsufficientFunds):
            await client.create_order(BTC, "market", "sell", 0.2)
        await client.cancel_order(stop["id"], BTC)
        await made.exchange.advance()
        filled = await client.fetch_order(limit["id"], BTC)
        assert (filled["status"], filled["average"]) == ("closed", 30400.0)
        assert (await client.fetch_my_trades(BTC))[0]["takerOrMaker"] == "maker"
        assert (await client.fetch_balance())["BTC"]["total"] == 0.6
        maker = await client.create_order(BTC, "limit", "buy", 0.1, 29000.0, {"postOnly": True})
        assert maker["type"] == "limit" and maker["postOnly"]
        assert len(await client.cancel_all_orders(BTC)) == 1
        assert (await client.fetch_balance())["USDT"]["used"] == 0.0


async def test_of_a_list_one_order_cancels_the_other(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client("binance")
        await client.load_markets()
        legs = {
            "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.50000", "listClientOrderId": "ctp-list",
            "aboveType": "TAKE_PROFIT", "aboveStopPrice": "31000.00", "aboveClientOrderId": "ctp-take",
            "belowType": "STOP_LOSS", "belowStopPrice": "29000.00", "belowClientOrderId": "ctp-stop",
        }  # fmt: skip
        placed = await client.privatePostOrderListOco(legs)
        assert placed["listOrderStatus"] == "EXECUTING" and len(placed["orderReports"]) == 2
        assert (await client.fetch_balance())["BTC"]["used"] == 0.5
        await made.exchange.set_price(BTC, 31200.0)
        take = await client.fetch_order(None, BTC, {"origClientOrderId": "ctp-take"})
        stop = await client.fetch_order(None, BTC, {"origClientOrderId": "ctp-stop"})
        assert (take["status"], stop["status"]) == ("closed", "expired")
        done = await client.privateGetOrderList({"origClientOrderId": "ctp-list"})
        assert done["listOrderStatus"] == "ALL_DONE"
        assert (await client.fetch_balance())["BTC"] == {"free": 0.5, "used": 0.0, "total": 0.5}
        again = await client.privatePostOrderListOco(legs | {"aboveStopPrice": "35000.00"})
        cancelled = await client.privateDeleteOrderList({"symbol": "BTCUSDT", "orderListId": again["orderListId"]})
        assert cancelled["listOrderStatus"] == "ALL_DONE"
        assert (await client.fetch_balance())["BTC"]["used"] == 0.0
        old = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.1", "price": "33000", "stopPrice": "29000"}
        assert len((await client.privatePostOrderOco(old))["orders"]) == 2
        await client.cancel_order((await client.fetch_open_orders(BTC))[0]["id"], BTC)
        assert await client.fetch_open_orders(BTC) == []


def order(*arguments: Any, **parameters: Any) -> Call:
    """Return a call that creates an order."""
    return lambda client: client.create_order(*arguments, params=parameters)


def raw(method: str, **parameters: Any) -> Call:
    """Return a call of an implicit method, past ccxt's own rounding."""
    return lambda client: getattr(client, method)(parameters)


BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET"}
LIMIT = BUY | {"type": "LIMIT", "timeInForce": "GTC"}
REFUSALS: list[tuple[str, Call, type[Exception], int | str]] = [
    ("too precise", raw("privatePostOrder", **BUY, quantity="0.123456789"), ccxt.BadRequest, -1111),
    ("off lot", raw("privatePostOrder", **BUY, quantity="0.1234567"), ccxt.InvalidOrder, -1013),
    ("off tick", raw("privatePostOrder", **LIMIT, quantity="0.1", price="29000.005"), ccxt.InvalidOrder, -1013),
    ("too small", raw("privatePostOrder", **BUY, quantity="0.0001"), ccxt.BadRequest, -1013),
    ("far away", raw("privatePostOrder", **LIMIT, quantity="0.1", price="5000"), ccxt.InvalidOrder, "PERCENT_PRICE_BY_SIDE"),
    ("no money", order(BTC, "market", "buy", 5), ccxt.InsufficientFunds, "insufficient balance"),
    ("no coins", order(BTC, "market", "sell", 5), ccxt.InsufficientFunds, "insufficient balance"),
    ("no money for a limit order", order(BTC, "limit", "buy", 5, 29000), ccxt.InsufficientFunds, "insufficient balance"),
    ("stop already passed", order(BTC, "market", "sell", 0.1, stopLossPrice=31000),
     ccxt.OrderImmediatelyFillable, "trigger immediately"),
    ("maker that takes", order(BTC, "limit", "buy", 0.1, 30100, postOnly=True),
     ccxt.OrderImmediatelyFillable, "immediately match"),
    ("unknown symbol", raw("privatePostOrder", **BUY | {"symbol": "NOPE"}, quantity="1"), ccxt.BadSymbol, -1121),
    ("unknown type", raw("privatePostOrder", **BUY | {"type": "ODD"}, quantity="1"), ccxt.BadRequest, -1116),
    ("nothing sent", raw("privatePostOrder", **BUY), ccxt.BadRequest, -1102),
    ("both sizes", raw("privatePostOrder", **BUY, quantity="1", quoteOrderQty="5"), ccxt.BadRequest, -1106),
    ("unknown order", lambda client: client.fetch_order("1", BTC), ccxt.OrderNotFound, -2013),
    ("cancel unknown", lambda client: client.cancel_order("1", BTC), ccxt.OrderNotFound, -2011),
    ("nothing to cancel", lambda client: client.cancel_all_orders(BTC), ccxt.OrderNotFound, -2011),
    ("interval", raw("publicGetKlines", symbol="BTCUSDT", interval="1s"), ccxt.BadRequest, -1120),
    ("long window", raw("privateGetMyTrades", symbol="BTCUSDT", startTime=1, endTime=3 * 24 * HOUR),
     ccxt.BadRequest, -1127),
]  # fmt: skip


async def test_every_spot_refusal_raises_the_real_error_class(rig: Any) -> None:
    async with rig(calm_feed(), fill_mode="book", partial=0.0) as made:
        client = made.client("binance")
        await client.load_markets()
        wrong = []
        for name, call, expected, code in REFUSALS:
            try:
                await call(client)
            except ccxt.BaseError as error:
                if type(error) is not expected or str(code) not in str(error):
                    wrong.append((name, type(error).__name__, str(error)[:120]))
            else:
                wrong.append((name, "accepted", ""))
        assert not wrong, "\n".join(map(str, wrong))


async def test_a_closed_spot_market_says_so(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client("binance")
        await client.load_markets()
        made.exchange.halt(BTC)
        with pytest.raises(ccxt.MarketClosed):
            await client.create_order(BTC, "market", "buy", 0.1)

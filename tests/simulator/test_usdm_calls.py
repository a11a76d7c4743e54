"""Every call a trading program makes, by unmodified ccxt.pro.binanceusdm, and the real error class of every refusal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import ccxt
import pytest

from tests.simulator.conftest import HOUR, ROW, START, feed_of

pytestmark = pytest.mark.anyio
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
ROWS: list[ROW | None] = [(60000.0 + i, 60500.0 + i, 59500.0 + i, 60000.0 + i + 1) for i in range(60)]
CALM: list[ROW | None] = [(3000.0, 3001.0, 2999.0, 3000.0)] * 60
Call = Callable[[Any], Awaitable[Any]]


def calm_feed() -> Any:
    """Return sixty quiet hours of two perpetuals, with funding."""
    return feed_of({BTC: ROWS, ETH: CALM}, funding={BTC: [(8 * k, 0.0001) for k in range(1, 8)]})


async def test_the_listing_loads_with_the_real_rules(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client(fresh=True)
        markets = await client.load_markets()
        assert len(markets) >= 600
        market = client.market(BTC)
        assert (market["precision"]["amount"], market["precision"]["price"]) == (0.001, 0.1)
        assert market["limits"]["cost"]["min"] == 100 and market["linear"] and market["active"]
        assert client.amount_to_precision(BTC, 0.0129) == "0.012"


async def test_public_prices_are_those_of_the_feed(rig: Any) -> None:
    async with rig(calm_feed(), history=50) as made:
        client = made.client()
        candles = await client.fetch_ohlcv(BTC, "1h", limit=3)
        assert candles[0] == [START + 48 * HOUR, 60048.0, 60548.0, 59548.0, 60049.0, 58.0]
        assert candles[-1] == [START + 50 * HOUR, 60050.0, 60050.0, 60050.0, 60050.0, 0.0]
        later = await client.fetch_ohlcv(BTC, "1h", since=START + 10 * HOUR, limit=2)
        assert [row[0] for row in later] == [START + 10 * HOUR, START + 11 * HOUR]
        window = await client.fetch_ohlcv(BTC, "1h", since=START, params={"endTime": START + 2 * HOUR})
        assert len(window) == 3
        assert (await client.fetch_ticker(BTC))["last"] == 60050.0
        assert set(await client.fetch_tickers([BTC, ETH])) == {BTC, ETH}
        book = await client.fetch_order_book(BTC, 5)
        assert book["bids"][0][0] < book["asks"][0][0] and len(book["bids"]) == 5
        funding = await client.fetch_funding_rate(BTC)
        assert funding["markPrice"] == 60050.0 and funding["fundingRate"] == 0.0001
        assert len(await client.fetch_funding_rate_history(BTC, since=START, limit=3)) == 3
        assert (await client.fetch_funding_interval(BTC))["interval"] == "8h"
        assert abs(await client.fetch_time() - client.milliseconds()) < 60_000
        assert (await client.fetch_bids_asks([BTC]))[BTC]["bid"] < 60050.1
        assert (await client.fetch_last_prices([BTC]))[BTC]["price"] == 60050.0
        assert len(await client.fetch_trades(BTC)) == 1


async def test_an_account_is_set_up_and_read(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client()
        assert (await client.fetch_position_mode())["hedged"] is False
        await client.set_margin_mode("isolated", BTC)
        await client.set_leverage(5, BTC)
        leverage = await client.fetch_leverage(BTC)
        assert (leverage["marginMode"], leverage["longLeverage"]) == ("isolated", 5)
        tiers = await client.fetch_leverage_tiers([BTC])
        assert tiers[BTC][0]["maintenanceMarginRate"] == 0.004
        assert (await client.fetch_trading_fee(BTC))["taker"] == 0.0005
        assert BTC in await client.fetch_trading_fees()
        assert (await client.fetch_balance())["USDT"]["free"] == 10000.0
        assert (await client.fapiPrivateV3GetBalance())[0]["asset"] == "USDT"
        rights = await client.sapiGetAccountApiRestrictions()
        assert (rights["enableWithdrawals"], rights["enableFutures"]) == (False, True)
        assert await client.fapiPrivateGetMultiAssetsMargin() == {"multiAssetsMargin": False}
        assert await client.fetch_positions() == []


async def test_a_market_order_opens_a_position_and_a_trade(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client()
        await client.set_margin_mode("isolated", BTC)
        await client.set_leverage(3, BTC)
        order = await client.create_order(BTC, "market", "buy", 0.01, None, {"newClientOrderId": "ctp-1"})
        price = 60001.0 * (1.0 + 0.0002)
        assert (order["status"], order["average"], order["filled"]) == ("closed", price, 0.01)
        assert order["clientOrderId"] == "ctp-1"
        position = (await client.fetch_positions([BTC]))[0]
        assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", 0.01, price)
        assert position["marginMode"] == "isolated"
        trade = (await client.fetch_my_trades(BTC))[0]
        assert (trade["price"], trade["amount"], trade["order"]) == (price, 0.01, order["id"])
        assert trade["fee"] == {"cost": 0.0005 * 0.01 * price, "currency": "USDT"}
        assert trade["timestamp"] == START + HOUR
        found = await client.fetch_order(None, BTC, {"origClientOrderId": "ctp-1"})
        assert found["id"] == order["id"]
        assert (await client.fetch_orders(BTC))[0]["id"] == order["id"]
        assert (await client.fetch_closed_orders(BTC))[0]["id"] == order["id"]
        ledger = await client.fetch_ledger()
        assert [line["info"]["incomeType"] for line in ledger] == ["COMMISSION"]
        await made.exchange.advance(9)
        paid = await client.fetch_funding_history(BTC)
        assert paid[0]["amount"] == -(0.01 * 60007.0 + 0.01) * 0.0001 or paid[0]["amount"] == -(0.01 * 60008.0 * 0.0001)
        exit_ = await client.create_order(BTC, "market", "sell", 0.01, None, {"reduceOnly": True})
        assert exit_["average"] == 60010.0 * (1.0 - 0.0002)
        assert await client.fetch_positions() == []
        by_id = await client.fetch_my_trades(BTC, params={"fromId": int(trade["id"]) + 1})
        assert [row["order"] for row in by_id] == [exit_["id"]]
        by_order = await client.fetch_my_trades(BTC, params={"orderId": exit_["id"]})
        assert [row["order"] for row in by_order] == [exit_["id"]]


async def test_conditional_orders_live_on_their_own_endpoint(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client()
        await client.create_order(BTC, "market", "buy", 0.01)
        reduce_only = {"reduceOnly": True}
        stop = await client.create_order(
            BTC, "market", "sell", 0.01, None, {"stopLossPrice": 59000, "newClientOrderId": "ctp-stop", **reduce_only}
        )
        take = await client.create_order(BTC, "market", "sell", 0.01, None, {"takeProfitPrice": 60600, **reduce_only})
        trail = await client.create_order(BTC, "market", "sell", 0.01, None, {"trailingPercent": 5, **reduce_only})
        assert (stop["triggerPrice"], stop["status"], stop["clientOrderId"]) == (59000.0, "open", "ctp-stop")
        assert await client.fetch_open_orders(BTC) == []
        waiting = await client.fetch_open_orders(BTC, params={"trigger": True})
        assert {order["id"] for order in waiting} == {stop["id"], take["id"], trail["id"]}
        one = await client.fetch_order(stop["id"], BTC, {"trigger": True})
        assert one["triggerPrice"] == 59000.0
        by_name = await client.fetch_order(None, BTC, {"trigger": True, "clientAlgoId": "ctp-stop"})
        assert by_name["id"] == stop["id"]
        await client.cancel_order(trail["id"], BTC, {"trigger": True})
        with pytest.raises(ccxt.OrderNotFound):
            await client.cancel_order(trail["id"], BTC, {"trigger": True})
        await made.exchange.set_price(BTC, 60700.0)
        done = await client.fetch_order(take["id"], BTC, {"trigger": True})
        actual = await client.fetch_order(done["info"]["actualOrderId"], BTC)
        assert (done["status"], actual["status"], actual["filled"]) == ("closed", "closed", 0.01)
        assert actual["average"] == 60600.0 * (1.0 - 0.0002)
        assert await client.fetch_positions() == []
        await client.cancel_all_orders(BTC, {"trigger": True})
        every = await client.fetch_orders(BTC, params={"trigger": True})
        assert {order["status"] for order in every} == {"canceled", "closed"}


async def test_limit_orders_rest_change_and_fill(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client()
        order = await client.create_order(BTC, "limit", "buy", 0.01, 59800.0)
        assert order["status"] == "open"
        assert [row["id"] for row in await client.fetch_open_orders(BTC)] == [order["id"]]
        edited = await client.edit_order(order["id"], BTC, "limit", "buy", 0.02, 59700.0)
        assert (edited["amount"], edited["price"]) == (0.02, 59700.0)
        await made.exchange.advance()
        filled = await client.fetch_order(order["id"], BTC)
        assert (filled["status"], filled["average"]) == ("closed", 59700.0)
        trade = (await client.fetch_my_trades(BTC))[0]
        assert (trade["takerOrMaker"], trade["fee"]["cost"]) == ("maker", 0.0002 * 0.02 * 59700.0)
        resting = await client.create_order(BTC, "limit", "sell", 0.01, 61000.0)
        cancelled = await client.cancel_order(resting["id"], BTC)
        assert cancelled["status"] == "canceled"
        await client.create_order(BTC, "limit", "sell", 0.01, 61000.0)
        await client.cancel_all_orders(BTC)
        assert await client.fetch_open_orders() == []


def order(*arguments: Any, **parameters: Any) -> Call:
    """Return a call that creates an order."""
    return lambda client: client.create_order(*arguments, params=parameters)


def raw(method: str, **parameters: Any) -> Call:
    """Return a call of an implicit method, past ccxt's own rounding."""
    return lambda client: getattr(client, method)(parameters)


MARKET_BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET"}
STOP_BUY = {"symbol": "BTCUSDT", "side": "BUY", "algoType": "CONDITIONAL", "type": "STOP_MARKET"}
REFUSALS: list[tuple[str, Call, type[Exception], int]] = [
    ("too precise", raw("fapiPrivatePostOrder", quantity="0.0123", **MARKET_BUY), ccxt.BadRequest, -1111),
    ("no size", raw("fapiPrivatePostOrder", quantity="0", **MARKET_BUY), ccxt.BadRequest, -4003),
    ("too large", raw("fapiPrivatePostOrder", quantity="5000", **MARKET_BUY), ccxt.BadRequest, -4005),
    ("off tick", raw("fapiPrivatePostOrder", **MARKET_BUY | {"type": "LIMIT"}, quantity="0.01", price="59000.05",
                     timeInForce="GTC"), ccxt.BadRequest, -4014),
    ("too small", order(BTC, "market", "buy", 0.001), ccxt.InvalidOrder, -4164),
    ("unknown symbol", raw("fapiPrivatePostOrder", **MARKET_BUY | {"symbol": "NOPEUSDT"}, quantity="1"),
     ccxt.BadSymbol, -1121),
    ("no margin", order(BTC, "market", "buy", 10), ccxt.InsufficientFunds, -2019),
    ("nothing to reduce", order(BTC, "market", "sell", 0.01, reduceOnly=True), ccxt.InvalidOrder, -2022),
    ("conditional at the order endpoint", raw("fapiPrivatePostOrder", **MARKET_BUY | {"type": "STOP_MARKET"},
                                              quantity="0.01", stopPrice="70000"), ccxt.InvalidOrder, -4120),
    ("unknown type", raw("fapiPrivatePostOrder", **MARKET_BUY | {"type": "ODD"}, quantity="0.01"),
     ccxt.BadRequest, -1116),
    ("unknown side", raw("fapiPrivatePostOrder", **MARKET_BUY | {"side": "UP"}, quantity="0.01"),
     ccxt.BadRequest, -1117),
    ("nothing sent", raw("fapiPrivatePostOrder", **MARKET_BUY), ccxt.BadRequest, -1102),
    ("not a number", raw("fapiPrivatePostOrder", **MARKET_BUY, quantity="abc"), ccxt.BadRequest, -1100),
    ("post only that takes", order(BTC, "limit", "buy", 0.01, 60100.0, postOnly=True), ccxt.OrderNotFillable, -5022),
    ("fill or kill", order(BTC, "limit", "buy", 0.01, 59000.0, timeInForce="FOK"), ccxt.OrderNotFillable, -5021),
    ("price far above", order(BTC, "limit", "buy", 0.01, 70000.0), ccxt.BadRequest, -4016),
    ("price far below", order(BTC, "limit", "sell", 0.01, 50000.0), ccxt.BadRequest, -4024),
    ("hedge side", order(BTC, "market", "buy", 0.01, positionSide="LONG"), ccxt.OperationRejected, -4061),
    ("long client id", raw("fapiPrivatePostOrder", **MARKET_BUY, quantity="0.01", newClientOrderId="x" * 37),
     ccxt.BadRequest, -4015),
    ("stop off tick", raw("fapiPrivatePostAlgoOrder", **STOP_BUY, quantity="0.01", triggerPrice="70000.05"),
     ccxt.BadRequest, -4014),
    ("unknown order", lambda client: client.fetch_order("1", BTC), ccxt.OrderNotFound, -2013),
    ("cancel unknown", lambda client: client.cancel_order("1", BTC), ccxt.OrderNotFound, -2011),
    ("unknown conditional", lambda client: client.fetch_order("1", BTC, {"trigger": True}), ccxt.OrderNotFound, -2013),
    ("cross already", lambda client: client.set_margin_mode("cross", BTC), ccxt.MarginModeAlreadySet, -4046),
    ("one-way already", lambda client: client.set_position_mode(False), ccxt.OperationRejected, -4059),
    ("leverage", raw("fapiPrivatePostLeverage", symbol="BTCUSDT", leverage=126), ccxt.BadRequest, -4028),
    ("interval", raw("fapiPublicGetKlines", symbol="BTCUSDT", interval="7m"), ccxt.BadRequest, -1120),
    ("window", raw("fapiPrivateGetOrder", symbol="BTCUSDT", orderId="1", recvWindow=70000), ccxt.ExchangeError, -1131),
    ("wide window", raw("fapiPrivateGetUserTrades", symbol="BTCUSDT", startTime=1, endTime=8 * 24 * HOUR),
     ccxt.BadRequest, -4165),
    ("path", raw("fapiPrivateGetAdlQuantile"), ccxt.ExchangeError, -5000),
]  # fmt: skip


async def test_every_refusal_raises_the_real_error_class(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client()
        await client.load_markets()
        wrong = []
        for name, call, expected, code in REFUSALS:
            try:
                await call(client)
            except ccxt.BaseError as error:
                if type(error) is not expected or f'"code": {code}' not in str(error):
                    wrong.append((name, type(error).__name__, str(error)[:120]))
            else:
                wrong.append((name, "accepted", ""))
        assert not wrong, "\n".join(map(str, wrong))


async def test_refusals_that_need_a_situation(rig: Any) -> None:
    async with rig(calm_feed(), fill_mode="book", partial=0.0) as made:
        client = made.client()
        await client.create_order(BTC, "limit", "buy", 0.01, 59000.0, {"newClientOrderId": "same"})
        with pytest.raises(ccxt.InvalidOrder, match="-4116"):
            await client.create_order(BTC, "limit", "buy", 0.01, 59000.0, {"newClientOrderId": "same"})
        with pytest.raises(ccxt.OperationRejected, match="-4047"):
            await client.set_margin_mode("isolated", BTC)
        await client.cancel_all_orders(BTC)
        again = await client.create_order(BTC, "limit", "buy", 0.01, 59000.0, {"newClientOrderId": "same"})
        assert again["status"] == "open", "the id of a finished order is free again"
        await client.cancel_all_orders(BTC)
        await client.create_order(BTC, "market", "buy", 0.01)
        with pytest.raises(ccxt.OrderImmediatelyFillable, match="-2021"):
            await client.create_order(BTC, "market", "sell", 0.01, None, {"stopLossPrice": 61000, "reduceOnly": True})
        with pytest.raises(ccxt.OperationRejected, match="-4048"):
            await client.set_margin_mode("isolated", BTC)
        made.exchange.halt(BTC)
        with pytest.raises(ccxt.BadRequest, match="-1122"):
            await client.create_order(BTC, "market", "sell", 0.01, None, {"reduceOnly": True})
        await client.load_markets(True)
        assert client.market(BTC)["active"] is False
        made.exchange.halt(BTC, halted=False)
        for price in range(10):
            await client.create_order(BTC, "market", "sell", 0.01, None, {"stopLossPrice": 50000 + price})
        with pytest.raises(ccxt.OperationRejected, match="-4045"):
            await client.create_order(BTC, "market", "sell", 0.01, None, {"stopLossPrice": 50100})


@pytest.mark.parametrize(
    ("key", "secret", "code"), [("key", "wrong", "-1022"), ("unknown", "secret", "-2015")]
)
async def test_a_wrong_key_is_an_authentication_error(rig: Any, key: str, secret: str, code: str) -> None:
    async with rig(calm_feed()) as made:
        with pytest.raises(ccxt.AuthenticationError, match=code):
            await made.client(key=key, secret=secret).fetch_balance()


async def test_a_revoked_key_and_one_without_futures_are_refused(rig: Any) -> None:
    async with rig(calm_feed()) as made:
        client = made.client()
        await client.fetch_balance()
        made.exchange.change_key("key", can_trade_futures=False)
        with pytest.raises(ccxt.AuthenticationError, match="-2015"):
            await client.fetch_balance()
        made.exchange.change_key("key", can_trade_futures=True, is_revoked=True)
        with pytest.raises(ccxt.AuthenticationError, match="-2015"):
            await client.create_order(BTC, "market", "buy", 0.01)


@pytest.mark.parametrize("skew_ms", [20_000, -20_000])
async def test_a_skewed_clock_is_an_invalid_nonce(rig: Any, skew_ms: int) -> None:
    async with rig(calm_feed()) as made:
        client = made.client()
        made.exchange.skew_clock(skew_ms)
        with pytest.raises(ccxt.InvalidNonce, match="-1021"):
            await client.fetch_balance()
        await client.load_time_difference()
        client.options["adjustForTimeDifference"] = True
        assert (await client.fetch_balance())["USDT"]["total"] == 10000.0

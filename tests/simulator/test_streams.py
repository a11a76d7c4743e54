"""Websockets as unmodified ccxt.pro listens to them: prices, accounts, and what faults do to both."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt
import pytest

from tests.simulator.conftest import HOUR, ROW, START, Rig, feed_of

pytestmark = pytest.mark.anyio
PERP, SPOT = "BTC/USDT:USDT", "BTC/USDT"
ROWS: list[ROW | None] = [(60000.0 + i, 60500.0 + i, 59500.0 + i, 60000.0 + i + 1) for i in range(60)]
SOON = 60


def both() -> Any:
    """Return sixty quiet hours of a perpetual and its spot pair."""
    return feed_of({PERP: ROWS, SPOT: ROWS})


async def soon(awaitable: Any) -> Any:
    """Wait, but not for ever."""
    return await asyncio.wait_for(awaitable, SOON)


async def until(condition: Any) -> None:
    """Let the event loop run until something holds."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - what is waited for is ccxt's state, which has no event
            await asyncio.sleep(0)


async def listening(rig: Rig, count: int) -> None:
    """Wait until so many streams are subscribed, or user streams open."""
    await until(lambda: sum(len(c.streams) or c.kind == "user" for c in rig.exchange.streams.connections) >= count)


@pytest.mark.parametrize(("name", "symbol"), [("binanceusdm", PERP), ("binance", SPOT)])
async def test_a_closed_candle_and_the_next_open_arrive_in_order(rig: Any, name: str, symbol: str) -> None:
    async with rig(both()) as made:
        client = made.client(name)
        client.options["OHLCVLimit"] = 10
        watched = asyncio.create_task(client.watch_ohlcv(symbol, "1h"))
        await listening(made, 1)
        await made.exchange.advance()
        await soon(watched)
        await until(lambda: len(client.ohlcvs[symbol]["1h"]) == 2)
        closed, fresh = client.ohlcvs[symbol]["1h"]
        assert closed == [START + HOUR, 60001.0, 60501.0, 59501.0, 60002.0, 11.0]
        assert fresh == [START + 2 * HOUR, 60002.0, 60002.0, 60002.0, 60002.0, 0.0]


async def test_an_order_sent_on_the_news_of_a_close_meets_the_next_open(rig: Any) -> None:
    async with rig(both()) as made:
        client = made.client()
        watched = asyncio.create_task(client.watch_ohlcv(PERP, "1h"))
        await listening(made, 1)
        moving = asyncio.create_task(made.exchange.advance())
        await soon(watched)
        order = await client.create_order(PERP, "market", "buy", 0.01)
        await moving
        assert order["average"] == 60002.0 * (1.0 + 0.0002)


async def test_longer_candles_close_with_their_last_hour(rig: Any) -> None:
    async with rig(both(), history=4) as made:
        client = made.client()
        await client.load_markets()
        raw: list[dict[str, Any]] = []
        keep = client.handle_ohlcv
        client.handle_ohlcv = lambda socket, message: (raw.append(message["k"]), keep(socket, message))
        watched = asyncio.create_task(client.watch_ohlcv(PERP, "4h"))
        await listening(made, 1)
        await made.exchange.advance(8)
        await soon(watched)
        await until(lambda: len(raw) >= 16)
        closed = [kline for kline in raw if kline["x"]]
        assert len(closed) == 2 and all(kline["t"] % (4 * HOUR) == 0 for kline in closed)
        first = (closed[1]["t"] - START) // HOUR
        assert [float(closed[1][name]) for name in "ohlc"] == [
            60000.0 + first, 60503.0 + first, 59500.0 + first, 60004.0 + first,
        ]  # fmt: skip


@pytest.mark.parametrize(("name", "symbol"), [("binanceusdm", PERP), ("binance", SPOT)])
async def test_public_streams_follow_the_price(rig: Any, name: str, symbol: str) -> None:
    async with rig(both()) as made:
        client = made.client(name)
        watchers = [
            client.watch_ticker(symbol), client.watch_trades(symbol), client.watch_bids_asks([symbol]),
            client.watch_order_book(symbol),
        ]  # fmt: skip
        if name == "binanceusdm":
            watchers.append(client.watch_mark_price(symbol))
        tasks = [asyncio.create_task(watcher) for watcher in watchers]
        await listening(made, len(tasks))
        await until(lambda: symbol in client.orderbooks and client.orderbooks[symbol]["nonce"])
        for _ in range(3):
            await made.exchange.advance()
        ticker, trades, bids, _book, *mark = [await soon(task) for task in tasks]
        assert ticker["last"] == 60002.0 and trades[0]["price"] == 60002.0
        assert bids[symbol]["bid"] < bids[symbol]["ask"]
        await until(lambda: client.orderbooks[symbol]["asks"][0][0] > 60004.0)
        book = client.orderbooks[symbol]
        assert book["bids"][0][0] < book["asks"][0][0] < 60005.0
        assert not mark or mark[0]["markPrice"] == 60002.0


async def test_unsubscribing_stops_the_stream(rig: Any) -> None:
    async with rig(both()) as made:
        client = made.client()
        watched = asyncio.create_task(client.watch_ohlcv(PERP, "1h"))
        await listening(made, 1)
        await made.exchange.advance()
        await soon(watched)
        await soon(client.un_watch_ohlcv(PERP, "1h"))
        assert not any(connection.streams for connection in made.exchange.streams.connections)


async def test_the_futures_account_is_told_of_everything(rig: Any) -> None:
    async with rig(both()) as made:
        client = made.client()
        await client.load_markets()
        watchers = [client.watch_orders(), client.watch_my_trades(), client.watch_positions(), client.watch_balance()]
        tasks = [asyncio.create_task(watcher) for watcher in watchers]
        await listening(made, 1)
        await until(lambda: client.clients and all(c.isConnected or c.url == "authenticationFlights"
                                                   for c in client.clients.values()))  # fmt: skip
        placed = await client.create_order(PERP, "market", "buy", 0.01)
        orders, trades, positions, balance = [await soon(task) for task in tasks]
        await until(lambda: client.orders[-1]["status"] == "closed")
        assert orders[0]["id"] == placed["id"] and client.orders[-1]["average"] == placed["average"]
        assert trades[0]["price"] == placed["average"] and trades[0]["fee"]["currency"] == "USDT"
        assert (positions[0]["side"], positions[0]["contracts"]) == ("long", 0.01)
        assert balance["USDT"]["total"] < 10000
        stop = await client.create_order(PERP, "market", "sell", 0.01, None, {"stopLossPrice": 59800, "reduceOnly": True})
        await until(lambda: any(order["id"] == stop["id"] for order in client.orders))
        await made.exchange.advance()
        await until(lambda: len(client.myTrades) == 2)
        assert client.myTrades[1]["price"] == 59800.0 * (1.0 - 0.0002)


async def test_the_spot_account_is_told_of_everything(rig: Any) -> None:
    async with rig(both()) as made:
        client = made.client("binance")
        await client.load_markets()
        tasks = [asyncio.create_task(w) for w in (client.watch_orders(), client.watch_my_trades(), client.watch_balance())]
        await listening(made, 1)
        placed = await client.create_order(SPOT, "market", "buy", 0.01)
        orders, trades, _ = [await soon(task) for task in tasks]
        await until(lambda: client.orders[-1]["status"] == "closed")
        assert orders[0]["id"] == placed["id"]
        assert trades[0]["price"] == 60001.0 * (1.0 + 0.0002)
        await until(lambda: client.balance["spot"]["BTC"]["free"] == 1.01)


async def test_a_wrong_secret_cannot_listen(rig: Any) -> None:
    """ccxt 4.5.90 trips over its own clean-up here: what surfaces may be a KeyError in place of the refusal."""
    async with rig(both()) as made:
        with pytest.raises((ccxt.AuthenticationError, KeyError)) as caught:
            await soon(made.client("binance", secret="wrong").watch_orders())
        assert any(isinstance(error, ccxt.AuthenticationError) for error in (caught.value, caught.value.__context__))


async def test_orders_can_go_over_the_websocket(rig: Any) -> None:
    async with rig(both()) as made:
        for name, symbol in (("binance", SPOT), ("binanceusdm", PERP)):
            client = made.client(name)
            order = await soon(client.create_order_ws(symbol, "limit", "buy", 0.01, 59000))
            assert (await soon(client.cancel_order_ws(order["id"], symbol)))["status"] == "canceled"
            with pytest.raises(ccxt.OrderNotFound):
                await soon(client.cancel_order_ws(order["id"], symbol))


async def user_stream(made: Rig) -> tuple[Any, list[str]]:
    """Return a client that listens to its account, and the kinds of order events as they come."""
    client = made.client()
    await client.load_markets()
    seen: list[str] = []
    keep = client.handle_order_update

    def hear(socket: Any, message: dict[str, Any]) -> None:
        """Note an event and pass it on."""
        seen.append(message["o"].get("x", message["o"]["X"]))
        keep(socket, message)

    client.handle_order_update = hear
    made.watch = asyncio.create_task(client.watch_orders())  # type: ignore[attr-defined]
    await listening(made, 1)
    return client, seen


@pytest.mark.parametrize(
    ("action", "expected"),
    [("duplicate", ["NEW", "NEW", "TRADE", "TRADE"]), ("drop", []), ("hold", []), ("reverse", ["TRADE", "NEW"])],
)
async def test_events_can_be_doubled_lost_held_and_reversed(rig: Any, action: str, expected: list[str]) -> None:
    async with rig(both()) as made:
        client, seen = await user_stream(made)
        if action == "reverse":
            await made.exchange.socket_trouble("hold")
        await made.exchange.socket_trouble(action)
        await client.create_order(PERP, "market", "buy", 0.01)
        if action == "reverse":
            await made.exchange.socket_trouble("release")
        await until(lambda: len(seen) >= len(expected))
        assert seen == expected
        await made.exchange.socket_trouble("clear")
        if action == "hold":
            await until(lambda: seen == ["NEW", "TRADE"])
        made.watch.cancel()


@pytest.mark.parametrize("action", ["disconnect", "abort"])
async def test_a_cut_stream_is_a_network_error(rig: Any, action: str) -> None:
    async with rig(both()) as made:
        await user_stream(made)
        await made.exchange.socket_trouble(action)
        with pytest.raises(ccxt.NetworkError):
            await soon(made.watch)


async def test_an_expired_listen_key_falls_silent(rig: Any) -> None:
    async with rig(both()) as made:
        client, seen = await user_stream(made)
        await made.exchange.socket_trouble("expire")
        await client.create_order(PERP, "market", "buy", 0.01)
        assert (await client.fetch_positions())[0]["contracts"] == 0.01
        assert seen == []
        with pytest.raises(ccxt.BaseError, match="-1125"):
            await client.fapiPrivatePutListenKey()
        made.watch.cancel()


async def test_market_time_runs_on_its_own_when_paced(rig: Any) -> None:
    async with rig(both(), speed=3600 * 20.0) as made:
        client = made.client()
        watched = asyncio.create_task(client.watch_ohlcv(PERP, "1h"))
        await soon(watched)
        await until(lambda: made.exchange.engine.time >= START + 6 * HOUR)
        candles = await client.fetch_ohlcv(PERP, "1h")
        assert [row[0] for row in candles] == [START + i * HOUR for i in range(len(candles))]
        closed = [row for row in client.ohlcvs[PERP]["1h"] if row[0] < made.exchange.engine.time]
        assert closed[0][1:5] == list(ROWS[(closed[0][0] - START) // HOUR])  # type: ignore[arg-type]

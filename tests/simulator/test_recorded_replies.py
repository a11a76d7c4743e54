"""Our replies and events against recordings of the real exchange: the same field names, the same JSON types."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ctp.simulator.keys import parameters_of, signature
from tests.simulator.conftest import ROW, Rig, feed_of

pytestmark = pytest.mark.anyio
ROWS: list[ROW | None] = [(60000.0, 60500.0, 59500.0, 60000.0)] * 40
# Fields of recordings that this exchange never sends: features it does not have, or older forms of a reply.
ABSENT = {
    "/fapi/v3/positionRisk": {"leverage", "maxNotionalValue", "marginType", "isAutoAddMargin"},
    "/fapi/v1/order": {"activatePrice", "priceRate", "pair", "cumBase"},
    "/fapi/v1/openOrders": {"activatePrice", "priceRate"}, "/fapi/v1/allOrders": {"activatePrice", "priceRate"},
    "/fapi/v1/allAlgoOrders": {"actualQty", "actualType"},
    "/fapi/v1/algoOrder": {"activatePrice", "callbackRate", "actualQty", "actualType"},
    "/api/v3/order": {"fills"}, "/api/v3/orderList/oco": {"icebergQty"}, "/api/v3/exchangeInfo": {"sors"},
}  # fmt: skip
# Fields whose type differs between recordings themselves.
LOOSE = {"isAutoAddMargin", "autoAssetExchange", "tradeId", "tranId", "info", "code", "estimatedSettlePrice"}


def kind(value: object) -> str:
    """Return the JSON type of a value; whole and broken numbers are one type."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {str: "string", type(None): "null", list: "list", dict: "object"}[type(value)]


def differences(ours: object, theirs: object, absent: set[str], where: str = "") -> list[str]:
    """Return what of the recording is missing in our value or has another type."""
    if isinstance(theirs, list):
        if not isinstance(ours, list):
            return [f"{where}: {kind(ours)} for list"]
        if not theirs or not ours:
            return []
        return differences(ours[0], theirs[0], absent, f"{where}[]")
    if isinstance(theirs, dict):
        if not isinstance(ours, dict):
            return [f"{where}: {kind(ours)} for object"]
        found = []
        for name, value in theirs.items():
            if name in absent:
                continue
            if name not in ours:
                found.append(f"{where}.{name}: missing")
            elif name not in LOOSE:
                found += differences(ours[name], value, absent, f"{where}.{name}")
        return found
    if theirs is None or ours is None or kind(ours) == kind(theirs):
        return []
    return [f"{where}: {kind(ours)} for {kind(theirs)}"]


class Caller:
    """Signed raw requests."""

    def __init__(self, made: Rig) -> None:
        """Use the session of a rig."""
        self.made = made

    async def __call__(self, method: str, path: str, **parameters: object) -> Any:
        """Send one request and return its JSON."""
        sent = "&".join(f"{name}={value}" for name, value in parameters.items())
        stamp = f"timestamp={self.made.exchange.server.wall_ms()}"
        payload = f"{sent}&{stamp}" if sent else stamp
        payload += f"&signature={signature('secret', payload)}"
        assert parameters_of(payload)["timestamp"]
        host = "fapi.binance.com" if path.startswith("/fapi") else "api.binance.com"
        public = path.rpartition("/")[2] in ("klines", "depth", "exchangeInfo", "time", "24hr", "bookTicker", "price",
                                             "premiumIndex", "fundingRate", "fundingInfo", "trades", "aggTrades")  # fmt: skip
        url = f"https://{host}{path}?{sent if public else payload}"
        headers = {"X-MBX-APIKEY": "key"}
        async with self.made.http.request(method, url, headers=headers) as answer:
            return await answer.json()


FUTURES = {"symbol": "BTCUSDT"}
OCO = {
    "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.1", "aboveType": "LIMIT_MAKER", "abovePrice": "61000",
    "belowType": "STOP_LOSS_LIMIT", "belowStopPrice": "59000", "belowPrice": "58900", "belowTimeInForce": "GTC",
}  # fmt: skip
REQUESTS: list[tuple[str, str, dict[str, object]]] = [
    ("GET", "/fapi/v3/account", {}), ("GET", "/fapi/v3/balance", {}), ("GET", "/fapi/v3/positionRisk", {}),
    ("GET", "/fapi/v1/leverageBracket", {}), ("POST", "/fapi/v1/leverage", {**FUTURES, "leverage": 5}),
    ("GET", "/fapi/v1/symbolConfig", FUTURES), ("GET", "/fapi/v1/accountConfig", {}),
    ("GET", "/fapi/v1/commissionRate", FUTURES), ("GET", "/fapi/v1/income", {}),
    ("GET", "/fapi/v1/userTrades", FUTURES), ("GET", "/fapi/v1/openAlgoOrders", FUTURES),
    ("GET", "/fapi/v1/allAlgoOrders", FUTURES), ("GET", "/fapi/v1/openOrders", FUTURES),
    ("GET", "/fapi/v1/allOrders", FUTURES), ("GET", "/fapi/v1/positionSide/dual", {}),
    ("GET", "/fapi/v1/multiAssetsMargin", {}), ("GET", "/fapi/v1/premiumIndex", FUTURES),
    ("GET", "/fapi/v1/fundingRate", FUTURES), ("GET", "/fapi/v1/fundingInfo", {}), ("GET", "/fapi/v1/depth", FUTURES),
    ("GET", "/fapi/v1/ticker/24hr", FUTURES), ("GET", "/fapi/v1/ticker/bookTicker", FUTURES),
    ("GET", "/fapi/v2/ticker/price", FUTURES), ("GET", "/fapi/v1/time", {}), ("GET", "/fapi/v1/trades", FUTURES),
    ("GET", "/fapi/v1/aggTrades", FUTURES), ("GET", "/fapi/v1/klines", {**FUTURES, "interval": "1h"}),
    ("GET", "/fapi/v1/exchangeInfo", {}),
    ("DELETE", "/fapi/v1/algoOpenOrders", FUTURES), ("DELETE", "/fapi/v1/allOpenOrders", FUTURES),
    ("GET", "/api/v3/account", {}), ("GET", "/api/v3/openOrders", FUTURES), ("GET", "/api/v3/allOrders", FUTURES),
    ("GET", "/api/v3/myTrades", FUTURES), ("GET", "/api/v3/ticker/24hr", FUTURES),
    ("GET", "/api/v3/ticker/bookTicker", FUTURES), ("GET", "/api/v3/ticker/price", FUTURES),
    ("GET", "/api/v3/time", {}), ("GET", "/api/v3/trades", FUTURES), ("GET", "/api/v3/aggTrades", FUTURES),
    ("GET", "/api/v3/klines", {**FUTURES, "interval": "1h"}), ("GET", "/api/v3/exchangeInfo", {"symbol": "BTCUSDT"}),
    ("POST", "/api/v3/orderList/oco", OCO), ("GET", "/sapi/v1/asset/tradeFee", {}),
]  # fmt: skip


def both() -> Any:
    """Return a perpetual and its spot pair, with funding."""
    payments = [(8 * k, 0.0001) for k in range(5)]
    return feed_of({"BTC/USDT:USDT": ROWS, "BTC/USDT": ROWS}, funding={"BTC/USDT:USDT": payments})


async def prepare(call: Caller) -> None:
    """Leave a position, orders and trades on both venues."""
    await call("POST", "/fapi/v1/order", **FUTURES, side="BUY", type="MARKET", quantity="0.01")
    await call("POST", "/fapi/v1/order", **FUTURES, side="SELL", type="LIMIT", quantity="0.01", price="62000.0",
               timeInForce="GTC")  # fmt: skip
    await call("POST", "/fapi/v1/algoOrder", **FUTURES, algoType="CONDITIONAL", side="SELL", type="STOP_MARKET",
               quantity="0.01", triggerPrice="59000.0", reduceOnly="true")  # fmt: skip
    await call("POST", "/api/v3/order", **FUTURES, side="BUY", type="MARKET", quantity="0.01")
    await call("POST", "/api/v3/order", **FUTURES, side="BUY", type="LIMIT", quantity="0.01", price="59000",
               timeInForce="GTC")  # fmt: skip


async def test_replies_have_the_fields_and_types_of_the_recorded_ones(rig: Any, shared_vectors: Path) -> None:
    cases = json.loads((shared_vectors / "binance_net_responses.json").read_text())["cases"]
    recorded = {(case["method"], case["path"]): case["response"] for case in cases}
    async with rig(both(), history=10) as made:
        call = Caller(made)
        await prepare(call)
        found, compared = [], 0
        for method, path, parameters in REQUESTS:
            if (method, path) not in recorded:
                continue
            ours = await call(method, path, **parameters)
            theirs = recorded[(method, path)]
            if isinstance(ours, dict) and isinstance(theirs, list):
                theirs = theirs[0]
            if isinstance(ours, list) and isinstance(theirs, dict):
                ours = ours[0]
            compared += 1
            found += [f"{method} {path} {line}" for line in differences(ours, theirs, ABSENT.get(path, set()))]
        assert not found, "\n".join(found)
        assert compared >= 36, "the recordings shrank"


async def test_orders_have_the_fields_and_types_of_the_recorded_ones(rig: Any, shared_vectors: Path) -> None:
    cases = json.loads((shared_vectors / "binance_net_responses.json").read_text())["cases"]
    recorded = {(case["method"], case["path"]): case["response"] for case in cases}
    async with rig(both(), history=10) as made:
        call, found = Caller(made), []
        limit = {"side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "59000.0", "timeInForce": "GTC"}
        algo = {"algoType": "CONDITIONAL", "side": "BUY", "type": "STOP_MARKET", "quantity": "0.01",
                "triggerPrice": "61000.0"}  # fmt: skip
        for path, body, number in (
            ("/fapi/v1/order", limit, "orderId"), ("/fapi/v1/algoOrder", algo, "algoId"), ("/api/v3/order", limit, "orderId"),
        ):  # fmt: skip
            placed = await call("POST", path, **FUTURES, **body)
            for method in ("POST", "GET", "DELETE"):
                named = {**FUTURES, number: placed[number]}
                ours = placed if method == "POST" else await call(method, path, **named)
                theirs = recorded[(method, path)]
                if (method, path) == ("DELETE", "/fapi/v1/algoOrder"):
                    theirs = {name: theirs[name] for name in ("algoId", "clientAlgoId")}
                found += [f"{method} {path} {line}" for line in differences(ours, theirs, ABSENT[path])]
        assert not found, "\n".join(found)


EVENTS = {
    "usdm": {
        "futures/user_data_json/order_update_trade.json": ("ORDER_TRADE_UPDATE", {"AP", "cr"}),
        "futures/user_data_json/order_update_new.json": ("ORDER_TRADE_UPDATE", {"AP", "cr"}),
        "futures/user_data_json/account_update.json": ("ACCOUNT_UPDATE", set()),
        "futures/user_data_json/algo_update_new.json": ("ALGO_UPDATE", set()),
    },
    "spot": {
        "spot/user_data_json/execution_report_wrapped.json": ("executionReport", set()),
        "spot/user_data_json/account_position_wrapped.json": ("outboundAccountPosition", set()),
        "spot/user_data_json/list_status_wrapped.json": ("listStatus", set()),
    },
}
STREAMS = {
    "futures/market_data_json/kline_stream_open.json": ("kline", {"st"}),
    "futures/market_data_json/agg_trade_stream.json": ("aggTrade", {"st"}),
    "futures/market_data_json/trade_stream.json": ("trade", set()),
    "futures/market_data_json/book_ticker_stream.json": ("bookTicker", {"st", "ps"}),
    "futures/market_data_json/depth_update_stream.json": ("depthUpdate", {"st", "ps"}),
    "futures/market_data_json/mark_price_stream.json": ("markPriceUpdate", {"st"}),
    "futures/market_data_json/ticker_stream.json": ("24hrTicker", {"st"}),
}


async def test_account_events_have_the_fields_and_types_of_the_recorded_ones(rig: Any, shared_vectors: Path) -> None:
    files = json.loads((shared_vectors / "nautilus_binance_test_data.json").read_text())["files"]
    async with rig(both(), history=10) as made:
        heard: dict[tuple[str, str], Any] = {}
        made.exchange.engine.market.emit = lambda venue, key, event: heard.update({(venue, event["e"]): event})
        call = Caller(made)
        await prepare(call)
        await call("POST", "/api/v3/orderList/oco", **OCO)
        found = []
        for venue, recordings in EVENTS.items():
            for name, (event, absent) in recordings.items():
                theirs = files[name].get("event", files[name])
                found += [f"{name} {line}" for line in differences(heard[(venue, event)], theirs, absent)]
        assert not found, "\n".join(found)


async def test_market_events_have_the_fields_and_types_of_the_recorded_ones(rig: Any, shared_vectors: Path) -> None:
    files = json.loads((shared_vectors / "nautilus_binance_test_data.json").read_text())["files"]
    kinds = ["kline_1h", "aggTrade", "trade", "bookTicker", "depth", "markPrice", "ticker"]
    async with rig(both(), history=10) as made:
        async with made.http.ws_connect("wss://fstream.binance.com/market/ws") as socket:
            await socket.send_json({"method": "SUBSCRIBE", "params": [f"btcusdt@{k}" for k in kinds], "id": 1})
            assert await socket.receive_json() == {"result": None, "id": 1}
            await made.exchange.advance()
            heard: dict[str, Any] = {}
            async with asyncio.timeout(60):
                while len(heard) < len(kinds):
                    event = await socket.receive_json()
                    heard[event["e"]] = event
        found = []
        for name, (event, absent) in STREAMS.items():
            found += [f"{name} {line}" for line in differences(heard[event], files[name], absent)]
        assert not found, "\n".join(found)

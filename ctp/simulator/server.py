"""One TLS port that answers as every Binance host: HTTP requests and websockets, told apart by the Host header.

Invariants:
1. A request is charged, checked and answered in one step of the event loop, except for scripted delays.
2. A fault before the request changes nothing; a fault after it loses the answer, not the deed.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping

from aiohttp import WSMsgType, web

from ctp.simulator import keys
from ctp.simulator.engine import Engine
from ctp.simulator.faults import Fault, Faults
from ctp.simulator.futures_rest import FuturesRest
from ctp.simulator.keys import Key
from ctp.simulator.limits import SPOT_LIMIT, USDM_LIMIT, Limits
from ctp.simulator.listing import Listing
from ctp.simulator.public_rest import PublicRest
from ctp.simulator.refusals import Refusal, no_such_key
from ctp.simulator.spot_rest import SpotRest, WalletRest
from ctp.simulator.streams import Connection, Streams

_VENUES = {
    "fapi.binance.com": "usdm", "fstream.binance.com": "usdm", "ws-fapi.binance.com": "usdm",
    "api.binance.com": "spot", "stream.binance.com": "spot", "ws-api.binance.com": "spot",
}  # fmt: skip
_BRANCHES = {"drop_before", "delay_before", "status", "error"}
_API_ROUTES = {
    "order.place": "POST", "order.cancel": "DELETE", "order.status": "GET", "openOrders.status": "GET openOrders",
    "account.status": "GET account", "myTrades": "GET myTrades", "allOrders": "GET allOrders",
}  # fmt: skip
_MOST_STREAMS = 1024
_COIN_M_LISTING = {"timezone": "UTC", "rateLimits": [], "exchangeFilters": [], "symbols": []}


class Server:
    """The dialect: routes, keys, limits, faults, sockets."""

    def __init__(
        self, engine: Engine, streams: Streams, faults: Faults, *, enforce_limits: bool, latency_ms: int
    ) -> None:
        """Serve an engine. latency_ms: how long an order travels before it reaches the matching."""
        self.engine, self.streams, self.faults, self.latency_ms = engine, streams, faults, latency_ms
        self.keys: dict[str, Key] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.skew_ms = 0
        self.listings = {
            venue: Listing(venue, [i.rules for i in engine.instruments if i.rules.venue == venue])
            for venue in ("usdm", "spot")
        }
        self.limits = {
            "usdm": Limits("usdm", limit=USDM_LIMIT, enforced=enforce_limits),
            "spot": Limits("spot", limit=SPOT_LIMIT, enforced=enforce_limits),
        }
        self._public = {
            venue: PublicRest(engine, venue, self.listings[venue], self.wall_ms) for venue in ("usdm", "spot")
        }
        self._futures, self._spot = FuturesRest(engine.futures), SpotRest(engine.spot)
        self._wallet = WalletRest(engine.spot, self.listings["spot"])

    def wall_ms(self) -> int:
        """Return the exchange's wall clock, skewed when a test says so."""
        return int(time.time() * 1000) + self.skew_ms

    def application(self) -> web.Application:
        """Return the web application."""
        application = web.Application(client_max_size=2**20)
        application.router.add_route("*", "/{path:.*}", self.handle)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of any host."""
        host = request.headers.get("Host", "").partition(":")[0]
        if host == "dapi.binance.com" and request.path == "/dapi/v1/exchangeInfo":
            return web.json_response(_COIN_M_LISTING)
        venue = _VENUES.get(host)
        if venue is None:
            return web.Response(status=404, text="<html><body>404 Not Found</body></html>", content_type="text/html")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, venue, host)
        return await self._answer(request, venue)

    # HTTP

    async def _answer(self, request: web.Request, venue: str) -> web.StreamResponse:
        """Answer an HTTP request, with the trouble scripted for it."""
        payload = request.rel_url.raw_query_string + (await request.read()).decode("utf-8", "replace")
        parameters = keys.parameters_of(payload)
        method, path = request.method, request.path
        fault = self.faults.next_for(method, path, parameters)
        headers: dict[str, str] = {}
        status, body = 200, b""
        try:
            headers = self.limits[venue].headers(self.limits[venue].spend(method, path, parameters))
            if fault is not None and fault.action in _BRANCHES:
                struck = await self._before(request, fault)
                if struck is not None:
                    return struck
            if self.latency_ms and method in ("POST", "PUT", "DELETE"):
                await asyncio.sleep(self.latency_ms / 1000)
            answer = self._route(venue, method, path, parameters, payload, request.headers, headers)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        except Refusal as refusal:
            status, body = refusal.status, json.dumps(refusal.body()).encode()
            headers |= refusal.headers
        if fault is not None and fault.action not in _BRANCHES:
            return await self._after(request, fault, body)
        return web.Response(status=status, body=body, headers=headers, content_type="application/json")

    async def _before(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        """Strike before the request is heard; None lets it through after a delay.

        Raises Refusal for a scripted refusal.
        """
        if fault.action == "drop_before":
            return self._cut(request)
        if fault.action == "delay_before":
            await asyncio.sleep(fault.delay_ms / 1000)
            return None
        if fault.action == "error":
            status = fault.status if fault.status != 503 else 400
            raise Refusal(fault.code, fault.message, status=status, headers=dict(fault.headers))
        body = fault.body or json.dumps({"code": fault.code, "msg": fault.message})
        return web.Response(
            status=fault.status, text=body, content_type=fault.content_type, headers=dict(fault.headers)
        )

    async def _after(self, request: web.Request, fault: Fault, body: bytes) -> web.StreamResponse:
        """Strike after the request was carried out."""
        if fault.action == "drop_after":
            return self._cut(request)
        if fault.action == "delay_after":
            await asyncio.sleep(fault.delay_ms / 1000)
            return web.Response(body=body, content_type="application/json")
        if fault.action == "status_after":
            return web.json_response({"code": fault.code, "msg": fault.message}, status=fault.status)
        if fault.action == "truncate":
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        if fault.action == "null":
            return web.Response(body=b"null", content_type="application/json")
        return web.Response(text=fault.body or "<html>502 Bad Gateway</html>", content_type="text/html")

    @staticmethod
    def _cut(request: web.Request) -> web.StreamResponse:
        """Cut the connection without an answer."""
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    def _route(
        self, venue: str, method: str, path: str, parameters: dict[str, str], payload: str,
        sent: Mapping[str, str], headers: dict[str, str],
    ) -> object:  # fmt: skip
        """Find who answers a request, check its key, and ask."""
        route = f"{method} {path}"
        public = self._public[venue].routes.get(route)
        if public is not None:
            return public(parameters)
        if path == "/fapi/v1/listenKey" and venue == "usdm":
            return self._listen_key(method, self._key(sent, venue))
        if not any(route in routes for routes in self._signed_routes(venue)):
            raise Refusal(-5000, status=404, path=path, method=method)
        key = self._key(sent, "wallet" if path.startswith("/sapi/") else venue)
        keys.check_signed(key, payload, parameters, self.wall_ms())
        headers |= self.limits[venue].count_order(method, path, key.key)
        return self.dispatch(venue, route, key, parameters)

    def _signed_routes(self, venue: str) -> list[Mapping[str, object]]:
        """Return the route tables that need a signature."""
        return [self._futures.routes] if venue == "usdm" else [self._spot.routes, self._wallet.routes]

    def dispatch(self, venue: str, route: str, key: Key, parameters: dict[str, str]) -> object:
        """Ask the venue on behalf of a key; what may have changed something is reported to `on_change`."""
        if not route.startswith("GET "):
            self.on_change()
        if route in self._wallet.routes:
            return self._wallet.routes[route](key, parameters)
        if venue == "usdm":
            return self._futures.routes[route](self.engine.futures.accounts[key.key], parameters)
        return self._spot.routes[route](self.engine.spot.accounts[key.key], parameters)

    def _key(self, sent: Mapping[str, str], venue: str) -> Key:
        """Return the key of a request that has the right to a venue."""
        key = keys.find(self.keys, sent.get("X-MBX-APIKEY"))
        if (venue == "usdm" and not key.can_trade_futures) or (venue == "spot" and not key.can_trade_spot):
            raise no_such_key()
        return key

    def _listen_key(self, method: str, key: Key) -> object:
        """Make, prolong or close the key of the user data stream."""
        if method == "POST":
            key.listen_key = key.listen_key or secrets.token_hex(32)
            return {"listenKey": key.listen_key}
        if not key.listen_key:
            raise Refusal(-1125, "This listenKey does not exist.")
        if method == "DELETE":
            key.listen_key = ""
            return {}
        return {"listenKey": key.listen_key}

    # websockets

    async def _socket(self, request: web.Request, venue: str, host: str) -> web.StreamResponse:
        """Serve one websocket until it closes."""
        kind = "api" if host.startswith("ws-") else "market"
        listen_key = request.query.get("listenKey") or request.path.rpartition("/")[2]
        owner = next((key for key in self.keys.values() if key.listen_key and key.listen_key == listen_key), None)
        if owner is None and "/private/" in request.path:
            return web.json_response({"code": -1125, "msg": "This listenKey does not exist."}, status=400)
        socket = web.WebSocketResponse(autoping=True, compress=False)
        await socket.prepare(request)
        connection = Connection(socket, venue, "user" if owner else kind, owner.key if owner else "")
        self.streams.add(connection)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._hear(connection, message.data)
        finally:
            self.streams.remove(connection)
            await connection.stop()
        return socket

    def _hear(self, connection: Connection, text: str) -> None:
        """Answer one message of a client."""
        try:
            message = json.loads(text)
            method, number = message["method"], message["id"]
        except (ValueError, KeyError, TypeError):
            connection.put(json.dumps({"error": {"code": 2, "msg": "Invalid request: unknown method"}}))
            return
        try:
            if connection.kind == "api" or connection.subscription_id is not None:
                self._hear_api(connection, method, number, message.get("params") or {})
                return
            answer: object = None
            if method == "SUBSCRIBE":
                if len(connection.streams) + len(message["params"]) > _MOST_STREAMS:
                    raise Refusal(2, "Invalid request: too many subscriptions")
                for name in message["params"]:
                    self.streams.subscribe(connection, name)
            elif method == "UNSUBSCRIBE":
                for name in message["params"]:
                    self.streams.unsubscribe(connection, name)
            elif method == "LIST_SUBSCRIPTIONS":
                answer = sorted(connection.streams)
            else:
                raise Refusal(2, f"Invalid request: unknown method {method}")
            connection.put(json.dumps({"result": answer, "id": number}))
        except Refusal as refusal:
            connection.put(json.dumps({"id": number, "error": refusal.body()}))

    def _hear_api(self, connection: Connection, method: str, number: object, sent: dict[str, object]) -> None:
        """Answer a request of the websocket API."""
        parameters = {n: value if isinstance(value, str) else json.dumps(value) for n, value in sent.items()}
        try:
            result = self._api_result(connection, method, parameters)
            answer: dict[str, object] = {"id": number, "status": 200, "result": result}
        except Refusal as refusal:
            answer = {"id": number, "status": refusal.status, "error": refusal.body()}
        connection.put(json.dumps(answer))

    def _api_result(self, connection: Connection, method: str, parameters: dict[str, str]) -> object:
        """Return what a method of the websocket API answers."""
        if method == "ping":
            return {}
        if method == "time":
            return {"serverTime": self.wall_ms()}
        key = keys.find(self.keys, parameters.get("apiKey"))
        signed = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()) if name != "signature")
        keys.check_signed(key, f"{signed}&signature={parameters.get('signature', '')}", parameters, self.wall_ms())
        if method == "userDataStream.subscribe.signature" and connection.venue == "spot":
            connection.kind, connection.key, connection.subscription_id = "user", key.key, 0
            return {"subscriptionId": 0}
        if method == "userDataStream.unsubscribe":
            connection.kind, connection.key, connection.subscription_id = "api", "", None
            return {}
        if method not in _API_ROUTES:
            raise Refusal(-5000, status=404, path=method, method="WS")
        verb, _, leaf = _API_ROUTES[method].partition(" ")
        prefix = "/fapi/v1/" if connection.venue == "usdm" else "/api/v3/"
        route = f"{verb} {prefix}{leaf or 'order'}"
        if connection.venue == "usdm":
            renamed = {"account": "GET /fapi/v3/account", "myTrades": "GET /fapi/v1/userTrades"}
            route = renamed.get(leaf, route)
        self.limits[connection.venue].count_order(verb, route.partition(" ")[2], key.key)
        return self.dispatch(connection.venue, route, key, parameters)

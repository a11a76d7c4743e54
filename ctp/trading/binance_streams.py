"""Binance's streams: candles for everybody, and the news of one account.

Streams only wake us up. The account's news is read by REST (`sync`), so a lost, doubled or reversed event cannot matter;
of a candle the stream's own words count, and its history fills whatever the stream missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ctp.clock import Clock
from ctp.errors import ExchangeDown
from ctp.logs import logger
from ctp.trading import binance_shapes as shapes
from ctp.trading.ccxt_errors import GARBAGE, asking_failed, text_of
from ctp.trading.ccxt_light import ccxt
from ctp.trading.exchange import FUNDING_HINT, AccountEvent, CandleUpdate
from ctp.trading.exchange_clock import ExchangeClock

PAGE = 1000
RECONNECT_S = 1.0


class BinanceMarket:
    """The PublicMarket port of one venue, shared by every account on it."""

    def __init__(self, api: Any, clock: Clock, *, is_perpetual: bool) -> None:
        """Use a ccxt exchange without a key."""
        self.api, self.is_perpetual = api, is_perpetual
        self._clock = clock
        self._queue: asyncio.Queue[CandleUpdate | ExchangeDown] = asyncio.Queue()
        self._pairs: frozenset[tuple[str, str]] = frozenset()
        self._watching: asyncio.Task[None] | None = None
        self._symbols: dict[str, str] = {}
        self.exchange_clock = ExchangeClock(self.server_time, clock)
        api.on_message = self._hear

    def follow(self, pairs: frozenset[tuple[str, str]]) -> None:
        """Follow these (symbol, timeframe) pairs from now on."""
        if pairs == self._pairs:
            return
        self._pairs = pairs
        self._symbols = {str(self.api.markets[symbol]["id"]): symbol for symbol, _ in pairs}
        if self._watching is not None:
            self._watching.cancel()
        self._watching = asyncio.create_task(self._watch(sorted(pairs)))

    async def _watch(self, pairs: list[tuple[str, str]]) -> None:
        """Keep the stream alive; what it says arrives in `_hear`."""
        while True:
            try:
                await self.api.watch_ohlcv_for_symbols([list(pair) for pair in pairs])
            except (ccxt.BaseError, *GARBAGE) as error:
                self._queue.put_nowait(ExchangeDown(text_of(error)))
                await self._clock.sleep(RECONNECT_S)

    def _hear(self, message: Mapping[str, Any]) -> None:
        """Take a kline event out of the stream."""
        event = message.get("data", message)
        if not isinstance(event, dict) or event.get("e") != "kline":
            return
        symbol = self._symbols.get(str(event.get("s")))
        if symbol is None:
            return
        try:
            update = shapes.stream_update(symbol, str(event["k"]["i"]), event)
        except (ExchangeDown, *GARBAGE) as error:
            logger("ctp.trading").warning("candle_refused", symbol=symbol, error=str(error))
            return
        self._queue.put_nowait(update)

    async def next_updates(self) -> Sequence[CandleUpdate]:
        """Wait for candle news, in order of arrival."""
        found = [await self._queue.get()]
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        updates = [one for one in found if isinstance(one, CandleUpdate)]
        broken = [one for one in found if isinstance(one, ExchangeDown)]
        if broken and not updates:
            raise broken[-1]
        if broken:
            self._queue.put_nowait(broken[-1])
        return updates

    async def candles(self, symbol: str, timeframe: str, since: int | None, limit: int) -> Sequence[CandleUpdate]:
        """Return history oldest first, the open candle included."""
        call = self.api.fapiPublicGetKlines if self.is_perpetual else self.api.publicGetKlines
        # The time comes first: asked afterwards, a candle that closed in between would pass for closed with the
        # numbers it had while it was open.
        now = await self.market_time(symbol)
        rows: list[Any] = []
        while len(rows) < limit:
            request: dict[str, Any] = {"symbol": self.api.markets[symbol]["id"], "interval": timeframe}
            request["limit"] = min(PAGE, limit - len(rows))
            if since is not None:
                request["startTime"] = since
            page = await self._ask(call(request))
            if not isinstance(page, list):
                raise ExchangeDown(f"klines: expected a list, got {str(page)[:60]!r}")
            rows += page
            if since is None or len(page) < request["limit"]:
                break
            since = shapes.open_time("klines", page[-1]) + 1
        if not rows:
            return []
        length = int(self.api.parse_timeframe(timeframe)) * 1000
        newest = max(shapes.open_time("klines", rows[0]), now // length * length)
        return [shapes.kline_update(symbol, timeframe, row, newest) for row in rows]

    async def market_time(self, symbol: str) -> int:
        """Return the exchange's market time: that of its newest statistics of a symbol."""
        call = self.api.fapiPublicGetTicker24hr if self.is_perpetual else self.api.publicGetTicker24hr
        reply = shapes.object_of("ticker", await self._ask(call({"symbol": self.api.markets[symbol]["id"]})))
        return shapes.checked("ticker", lambda: int(reply["closeTime"]))

    async def server_time(self) -> int:
        """Return the exchange's wall time now."""
        call = self.api.fapiPublicGetTime if self.is_perpetual else self.api.publicGetTime
        reply = shapes.object_of("time", await self._ask(call({})))
        return shapes.checked("time", lambda: int(reply["serverTime"]))

    async def _ask(self, call: Any) -> Any:
        """Await a question; every failure is one of ours."""
        try:
            return await call
        except (ccxt.BaseError, *GARBAGE) as error:
            raise asking_failed(error, self.api.last_response_headers, self._clock.now_ms()) from error

    async def close(self) -> None:
        """End the stream."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self.api.close()


class AccountStream:
    """The news of one account: each event is handed over as a hint where to look."""

    def __init__(self, api: Any, clock: Clock, on_event: Callable[[AccountEvent], None]) -> None:
        """Listen with a ccxt exchange that has the account's key."""
        self.api, self._clock, self._on_event = api, clock, on_event
        api.on_message = self._hear

    async def run(self) -> None:
        """Keep listening until cancelled; after every new connection everything is looked at."""
        while True:
            try:
                await self.api.watch_orders()
            except (ccxt.BaseError, *GARBAGE) as error:
                logger("ctp.trading").warning("account_stream_broke", error=text_of(error))
                self._on_event(AccountEvent())
                await self._clock.sleep(RECONNECT_S)

    def _hear(self, message: Mapping[str, Any]) -> None:
        """Turn a message into a hint."""
        event = message.get("event", message)
        if not isinstance(event, dict):
            return
        kind = event.get("e")
        if kind == "ORDER_TRADE_UPDATE":
            self._tell(event.get("o"), "c")
        elif kind == "executionReport":
            self._tell(event, "c")
        elif kind == "ALGO_UPDATE":
            row = event.get("o")
            if isinstance(row, dict) and row.get("X") in ("CANCELED", "REJECTED", "EXPIRED"):
                self._on_event(AccountEvent(self._symbol(row), str(row.get("caid", ""))))
        elif kind == "ACCOUNT_UPDATE":
            about = event.get("a")
            if isinstance(about, dict) and about.get("m") == "FUNDING_FEE":
                self._on_event(AccountEvent(FUNDING_HINT))
        elif kind == "listenKeyExpired":
            # ccxt ignores this and would listen to a dead stream for ever: drop the connection, a new key follows.
            self._on_event(AccountEvent())
            for client in list(self.api.clients.values()):
                client.reject(ccxt.NetworkError("the listen key has expired"))

    def _tell(self, row: Any, id_field: str) -> None:
        """Hand over a trade, or the end of an order."""
        if not isinstance(row, dict):
            return
        if row.get("x") == "TRADE" or row.get("x") == "CALCULATED":
            self._on_event(AccountEvent(self._symbol(row), str(row.get(id_field, "")), str(row.get("t", ""))))
        elif row.get("x") in ("CANCELED", "EXPIRED", "REJECTED"):
            # A cancellation on spot has an id of its own in `c`; the order's is in `C`.
            self._on_event(AccountEvent(self._symbol(row), str(row.get("C") or row.get(id_field, ""))))

    def _symbol(self, row: Mapping[str, Any]) -> str:
        """Return our name of a message's symbol, empty when unknown."""
        found = self.api.markets_by_id.get(str(row.get("s")), []) if self.api.markets_by_id else []
        return str(found[0]["symbol"]) if found else ""

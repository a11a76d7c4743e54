"""Websocket connections: who listens to what, and in which order messages leave.

Market messages are made only for streams somebody subscribed to. Each connection has a queue and one writer, so
a slow reader delays nobody else.

Invariants:
1. The messages of one connection leave in the order they were made, unless a fault says otherwise.
2. In `flush`, what happened to accounts is written before what happened to prices.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict

from aiohttp import web

from ctp.simulator import charts, quotes
from ctp.simulator.faults import SocketTrouble
from ctp.simulator.feed import Feed
from ctp.simulator.instrument import Instrument
from ctp.simulator.market import Market, UserEvent

_QUEUE_LIMIT = 20_000
_DRAIN_S = 0.25


class Connection:
    """One websocket. kind: "market", "user" or "api"; key: the account a user stream belongs to."""

    def __init__(self, socket: web.WebSocketResponse, venue: str, kind: str, key: str = "") -> None:
        """Start the writer."""
        self.socket, self.venue, self.kind, self.key = socket, venue, kind, key
        self.streams: set[str] = set()
        self.subscription_id: int | None = None
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(_QUEUE_LIMIT)
        self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Send what is queued until told to stop, or until the peer is gone."""
        while (text := await self._queue.get()) is not None:
            with contextlib.suppress(ConnectionError):
                await self.socket.send_str(text)
            self._queue.task_done()

    def put(self, text: str) -> None:
        """Queue a message; a peer that stopped reading long ago loses it."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(text)

    async def drain(self) -> None:
        """Wait until everything queued was handed to the socket, but not for a stuck peer."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), _DRAIN_S)

    async def stop(self) -> None:
        """End the writer."""
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer

    def abort(self) -> None:
        """Cut the connection without a goodbye."""
        if self.socket._req is not None and self.socket._req.transport is not None:
            self.socket._req.transport.abort()


class Streams:
    """All websocket connections of the exchange."""

    def __init__(self, market: Market, feed: Feed) -> None:
        """Start without connections."""
        self.market, self.feed = market, feed
        self.connections: set[Connection] = set()
        self.trouble: dict[str, SocketTrouble] = defaultdict(SocketTrouble)
        self._listeners: dict[tuple[str, str], dict[str, set[Connection]]] = defaultdict(dict)
        self._later: list[tuple[Connection, str]] = []
        self._levels: dict[str, tuple[quotes.Levels, quotes.Levels]] = {}

    # connections

    def add(self, connection: Connection) -> None:
        """Take a new connection."""
        self.connections.add(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection and its subscriptions."""
        self.connections.discard(connection)
        for name in list(connection.streams):
            self.unsubscribe(connection, name)

    @staticmethod
    def _split(name: str) -> tuple[str, str]:
        """Return symbol and kind of a stream name such as "btcusdt@kline_1m"."""
        if name.startswith("!"):
            return "", name[1:]
        symbol, _, kind = name.partition("@")
        return symbol.upper(), kind

    def subscribe(self, connection: Connection, name: str) -> None:
        """Start sending a stream to a connection.

        Raises Refusal for a kline interval that cannot be made of the feed's candles.
        """
        symbol, kind = self._split(name)
        if kind.startswith("kline_"):
            charts.timeframe_ms(kind.removeprefix("kline_").partition("@")[0], self.feed.timeframe_ms)
        instrument = self.market.instruments.get((connection.venue, symbol))
        if kind.startswith("depth") and instrument is not None:
            self._levels.setdefault(instrument.symbol, quotes.both_sides(instrument, self.market))
        connection.streams.add(name)
        self._listeners[(connection.venue, symbol)].setdefault(kind, set()).add(connection)

    def unsubscribe(self, connection: Connection, name: str) -> None:
        """Stop sending a stream to a connection."""
        connection.streams.discard(name)
        symbol, kind = self._split(name)
        listeners = self._listeners[(connection.venue, symbol)]
        listeners.get(kind, set()).discard(connection)
        if not listeners.get(kind):
            listeners.pop(kind, None)

    # sending

    def send(self, connection: Connection, text: str) -> None:
        """Queue a message, with the trouble scripted for this kind of connection."""
        trouble = self.trouble[connection.kind]
        if trouble.drop:
            return
        if trouble.hold:
            trouble.held.append((connection, text))
            return
        connection.put(text)
        if trouble.duplicate:
            connection.put(text)

    def release(self, kind: str) -> None:
        """Send what was held, in reverse when so scripted."""
        trouble = self.trouble[kind]
        trouble.hold, held, trouble.held = False, trouble.held, []
        for connection, text in reversed(held) if trouble.reverse else held:
            connection.put(text)

    def tell_user(self, venue: str, key: str, event: UserEvent) -> None:
        """Send an account event to every stream of that account."""
        listeners = [c for c in self.connections if c.key == key and c.venue == venue and c.kind == "user"]
        if not listeners:
            return
        plain = json.dumps(event)
        for connection in listeners:
            wrapped = connection.subscription_id is not None
            text = json.dumps({"subscriptionId": connection.subscription_id, "event": event}) if wrapped else plain
            self.send(connection, text)

    def _offer(self, listeners: set[Connection], event: object) -> None:
        """Keep a market message for the next flush."""
        text = json.dumps(event)
        self._later.extend((connection, text) for connection in listeners)

    async def flush(self) -> None:
        """Let account events leave first, then the market messages made since the last flush."""
        users = [connection for connection in self.connections if connection.kind == "user"]
        if users and self._later:
            await asyncio.gather(*(connection.drain() for connection in users))
        later, self._later = self._later, []
        for connection, text in later:
            if connection in self.connections:
                self.send(connection, text)

    # market messages

    def tell_price(self, instrument: Instrument) -> None:
        """Make the messages of a new price for those who listen."""
        rules = instrument.rules
        listeners = self._listeners.get((rules.venue, rules.id.upper()))
        instrument.update_id += 1
        if listeners:
            depth = self._depth_event(instrument, listeners)
            for kind, connections in list(listeners.items()):
                event = depth if kind.startswith("depth") else self._event(instrument, kind)
                if event is not None:
                    self._offer(connections, event)
        everyone = self._listeners.get((rules.venue, ""))
        for kind, connections in list((everyone or {}).items()):
            self._offer(connections, self._all_event(instrument, kind))

    def tell_candle(self, instrument: Instrument, *, closed: bool) -> None:
        """Make kline messages: of the candle that closes, or of one that has come further."""
        rules = instrument.rules
        listeners = self._listeners.get((rules.venue, rules.id.upper()))
        for kind, connections in list((listeners or {}).items()):
            if kind.startswith("kline_"):
                self._tell_kline(instrument, kind.removeprefix("kline_").partition("@")[0], connections, closed=closed)

    def _tell_kline(
        self, instrument: Instrument, interval: str, connections: set[Connection], *, closed: bool
    ) -> None:
        """Make the kline message of one interval; longer candles close with the last one inside them."""
        span = charts.TIMEFRAMES[interval] * charts.MINUTE_MS
        candle = charts.current(self.feed, instrument, span)
        if candle is None or instrument.candle is None:
            return
        following = self.feed.next_time(instrument.candle.time)
        ends = following is None or charts.bucket(following, span) != candle.time
        event = charts.event(
            candle, instrument, interval, span, self.market.now, self.market.wire, closed=closed and ends
        )
        self._offer(connections, event)

    def _event(self, instrument: Instrument, kind: str) -> object | None:
        """Return the message of one stream of one symbol, or None when it has its own moments."""
        market, base = self.market, kind.partition("@")[0]
        if base in ("trade", "aggTrade"):
            return quotes.trade_event(instrument, market, base)
        if base == "bookTicker":
            return quotes.book_ticker_event(instrument, market)
        if base in ("ticker", "miniTicker"):
            return quotes.ticker_event(self.feed, instrument, market, short=base == "miniTicker")
        if base == "markPrice":
            return quotes.mark_event(self.feed, instrument, market)
        return None

    def _depth_event(self, instrument: Instrument, listeners: dict[str, set[Connection]]) -> object | None:
        """Return the change of the book since the last price, the same for every depth stream."""
        if not any(kind.startswith("depth") for kind in listeners):
            self._levels.pop(instrument.symbol, None)
            return None
        before = self._levels.get(instrument.symbol, ([], []))
        event, self._levels[instrument.symbol] = quotes.depth_event(instrument, self.market, before)
        return event

    def _all_event(self, instrument: Instrument, kind: str) -> object:
        """Return the message of an all-symbols stream such as "!miniTicker@arr"."""
        if kind.startswith("markPrice"):
            return [quotes.mark_event(self.feed, instrument, self.market)]
        if kind == "bookTicker":
            return quotes.book_ticker_event(instrument, self.market)
        return [quotes.ticker_event(self.feed, instrument, self.market, short=kind.startswith("mini"))]

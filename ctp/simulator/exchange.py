"""The simulated exchange as one object: start it, add accounts, move it, break it, ask it for the truth.

Invariants:
1. `advance` returns when the news of the step was handed to the sockets, accounts before prices.
2. `state` tells what the matching knows, whatever faults hide it from clients.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import fields
from decimal import Decimal
from typing import Any

from aiohttp import web

from ctp.simulator import certificates, futures_views, snapshot, spot_views
from ctp.simulator.engine import Engine
from ctp.simulator.faults import SOCKET_ACTIONS, Fault, Faults
from ctp.simulator.fills import Book, CandleExact, FillModel
from ctp.simulator.futures_rest import FuturesRest
from ctp.simulator.instrument import Instrument
from ctp.simulator.keys import Key
from ctp.simulator.market import PartialFill
from ctp.simulator.server import Server
from ctp.simulator.settings import AccountSettings, SimulatorSettings
from ctp.simulator.spot_rest import SpotRest
from ctp.simulator.streams import Streams

_POINTS_PER_S = 10
_MOST_POINTS, _FEWEST_POINTS = 24, 3
_SAVE_AFTER_S = 0.25


class SimulatedExchange:
    """One exchange with both venues, its server and its clock."""

    def __init__(self, settings: SimulatorSettings) -> None:
        """Build everything; nothing listens before `start`."""
        self.settings = settings
        fills: FillModel = CandleExact(settings.slippage)
        if settings.fill_mode == "book":
            fills = Book(settings.spread, settings.partial, settings.seed)
        resumed = snapshot.read(settings.folder) if settings.state else None
        self.engine = Engine(
            settings.feed, fills, settings.costs, history=settings.history,
            start_ms=resumed.time if resumed else settings.start_ms, rules=settings.rules,
        )  # fmt: skip
        self.streams = Streams(self.engine.market, settings.feed)
        self.faults = Faults(settings.seed)
        self.server = Server(
            self.engine, self.streams, self.faults, enforce_limits=settings.enforce_limits,
            latency_ms=settings.latency_ms,
        )  # fmt: skip
        self.engine.market.emit = self.streams.tell_user
        self.engine.on_price = self.streams.tell_price
        self.engine.on_candle = lambda instrument, closed: self.streams.tell_candle(instrument, closed=closed)
        self._certificates = certificates.ensure(settings.folder)
        self._runner: web.AppRunner | None = None
        self._clock: asyncio.Task[None] | None = None
        self._saving: asyncio.TimerHandle | None = None
        self.port = 0
        if settings.state:
            self.server.on_change = self._save_soon
        if resumed is not None:
            snapshot.restore(resumed, self.engine, self.server)
        for account in settings.accounts:
            if account.key not in self.server.keys:
                self.add_account(account)

    @property
    def ca_file(self) -> str:
        """Return the path of the authority that clients must trust."""
        return str(self._certificates.authority)

    async def start(self) -> None:
        """Listen on 127.0.0.1, and let market time run when paced."""
        self._runner = web.AppRunner(self.server.application(), access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self.settings.port,
            ssl_context=certificates.server_context(self._certificates),
        )  # fmt: skip
        await site.start()
        self.port = self._runner.addresses[0][1]
        if self.settings.speed:
            self._clock = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop the clock, save the state when asked to, close every connection."""
        if self._clock is not None:
            self._clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clock
        self.save()
        for connection in list(self.streams.connections):
            await connection.stop()
            connection.abort()
        if self._runner is not None:
            await self._runner.cleanup()

    def save(self) -> None:
        """Write the state file, when the settings ask for one."""
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        if self.settings.state:
            snapshot.write(self.settings.folder, self.engine, self.server)

    def _save_soon(self) -> None:
        """Write the state file after a moment, together with what else changes in it."""
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(_SAVE_AFTER_S, self.save)

    # accounts

    def add_account(self, account: AccountSettings) -> None:
        """Open an account on both venues."""
        self.server.keys[account.key] = Key(
            account.key, account.secret, account.can_trade_futures, account.can_trade_spot, account.can_withdraw,
            account.is_ip_restricted,
        )  # fmt: skip
        self.engine.add_account(
            account.key, account.wallet, dict(account.spot), account.fee_side, may_withdraw=account.can_withdraw
        )

    def change_key(self, key: str, **rights: bool) -> None:
        """Change the rights of a key, such as `is_revoked=True`."""
        entry = self.server.keys[key]
        for name, value in rights.items():
            if not hasattr(entry, name):
                raise ValueError(f"a key has no right {name!r}")
            setattr(entry, name, value)

    def deposit(self, key: str, asset: str, amount: Decimal, *, venue: str = "spot") -> None:
        """Add money to an account, or take it with an amount below 0."""
        if venue == "usdm":
            account = self.engine.futures.accounts[key]
            account.wallet += amount
            self.engine.futures.tell_account(account, None, "DEPOSIT" if amount > 0 else "WITHDRAW")
            return
        self.engine.spot.accounts[key].balance(asset).free += amount
        now = self.engine.market.now
        event: dict[str, object] = {"e": "balanceUpdate", "E": now, "a": asset, "d": f"{amount:.8f}", "T": now}
        self.streams.tell_user("spot", key, event)

    # time

    async def advance(self, candles: int = 1) -> dict[str, object]:
        """Finish the candle and enter the next open, `candles` times or to the end of the data.

        It stops half way, in phase `interior`, where a limit order has opened something: advance again once it is protected.
        """
        for _ in range(candles):
            moved = self.engine.step()
            await self.streams.flush()
            if not moved or self.engine.market.is_paused:
                break
        self.save()
        return self.status()

    async def _run(self) -> None:
        """Let market time run: half a candle for orders at the open, half for its interior."""
        loop = asyncio.get_running_loop()
        half = self.settings.feed.timeframe_ms / 1000 / self.settings.speed / 2
        points = max(_FEWEST_POINTS, min(_MOST_POINTS, int(half * _POINTS_PER_S))) // 3 * 3
        deadline = loop.time()
        while not self.engine.ended:
            deadline += half
            await asyncio.sleep(max(0.0, deadline - loop.time()))
            self.engine.touch_candle()
            for step in range(points):
                self.engine.walk(0.5 + 0.5 * (step + 1) / (points + 1), step, points)
                await self.streams.flush()
                deadline += half / points
                await asyncio.sleep(max(0.0, deadline - loop.time()))
            self.engine.close()
            await self.streams.flush()
            self.save()
            # A machine that cannot keep up loses speed, not candles.
            deadline = max(deadline, loop.time() - half)

    # trouble

    def fault(self, action: str, **details: Any) -> Fault:
        """Script a fault for requests; see `Fault` for the details."""
        known = {field.name for field in fields(Fault)}
        unknown = set(details) - known
        if unknown:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
        fault = Fault(action, **details)
        self.faults.add(fault)
        return fault

    def partial_fill(self, fraction: float, rest: str = "filled", count: int = 1) -> None:
        """Script partial fills of the next `count` orders that meet the book; see `PartialFill`."""
        self.engine.market.partials.append(PartialFill(fraction, rest, count))

    async def socket_trouble(self, action: str, kind: str = "user", *, on: bool = True) -> None:
        """Trouble the websockets of one kind: "user", "market" or "api".

        drop, duplicate, hold and reverse switch on or off; release sends what was held; clear ends all;
        disconnect closes politely, abort cuts; expire ends every listen key as the exchange does.
        """
        if action not in SOCKET_ACTIONS:
            raise ValueError(f"websocket action {action!r} is none of {', '.join(sorted(SOCKET_ACTIONS))}")
        trouble = self.streams.trouble[kind]
        if action in ("drop", "duplicate", "hold", "reverse"):
            setattr(trouble, action, on)
        elif action == "release":
            self.streams.release(kind)
        elif action == "clear":
            trouble.drop = trouble.duplicate = trouble.reverse = False
            self.streams.release(kind)
        elif action == "expire":
            self._expire_listen_keys()
        else:
            for connection in [c for c in self.streams.connections if c.kind == kind]:
                if action == "abort":
                    connection.abort()
                else:
                    await connection.socket.close(code=1001)

    def _expire_listen_keys(self) -> None:
        """End every listen key: its stream says so once and is silent from then on."""
        for key in self.server.keys.values():
            if key.listen_key:
                event: dict[str, object] = {
                    "e": "listenKeyExpired", "E": self.engine.market.now, "listenKey": key.listen_key,
                }  # fmt: skip
                self.streams.tell_user("usdm", key.key, event)
                key.listen_key = ""
        for connection in self.streams.connections:
            if connection.venue == "usdm" and connection.kind == "user":
                connection.key = ""

    def skew_clock(self, milliseconds: int) -> None:
        """Move the exchange's wall clock against ours."""
        self.server.skew_ms = milliseconds

    def instrument(self, symbol: str) -> Instrument:
        """Return a traded instrument by its unified name."""
        for instrument in self.engine.instruments:
            if instrument.symbol == symbol:
                return instrument
        raise KeyError(f"{symbol} is not traded here; traded: {', '.join(self.settings.feed.symbols)}")

    async def set_price(self, symbol: str, price: float) -> None:
        """Jump to a price; stops and liquidations on the way happen."""
        self.engine.jump(self.instrument(symbol), price)
        await self.streams.flush()

    def halt(self, symbol: str, *, halted: bool = True) -> None:
        """Stop trading one symbol, or let it go on."""
        instrument = self.instrument(symbol)
        instrument.halted = halted
        status = "BREAK" if instrument.rules.venue == "spot" else "SETTLING"
        self.server.listings[instrument.rules.venue].restate(instrument.rules, status if halted else "TRADING")

    # the truth

    def status(self) -> dict[str, object]:
        """Return where the market stands."""
        market = self.engine.market
        return {
            "time": market.now, "candle": self.engine.time, "phase": str(market.phase), "ended": self.engine.ended,
            "fill_mode": self.settings.fill_mode, "speed": self.settings.speed, "port": self.port,
            "ca_file": self.ca_file, "prices": {i.symbol: i.price for i in self.engine.instruments},
            "trading": [i.symbol for i in self.engine.instruments if i.candle is not None and not i.halted],
        }  # fmt: skip

    def state(self, key: str) -> dict[str, Any]:
        """Return all that the exchange knows of an account, in the words of its replies."""
        futures, spot = self.engine.futures.accounts[key], self.engine.spot.accounts[key]
        usdm, coins = FuturesRest(self.engine.futures), SpotRest(self.engine.spot)
        wire = self.engine.market.wire
        from_usdm, from_spot = self.engine.futures.instruments, self.engine.spot.instruments
        return {
            "usdm": {
                "account": usdm.account(futures, {}),
                "positions": usdm.position_risk(futures, {}),
                "orders": [usdm.order_view(order) for order in futures.orders.values()],
                "conditional": [usdm.trigger_view(futures, trigger) for trigger in futures.triggers.values()],
                "trades": [futures_views.trade_view(trade, from_usdm[trade.symbol], wire) for trade in futures.trades],
                "income": [futures_views.income_view(line, wire) for line in futures.income],
            },
            "spot": {
                "account": coins.account(spot, {}),
                "orders": [coins.order_view(order) for order in spot.orders.values()],
                "trades": [spot_views.trade_view(trade, from_spot[trade.symbol], wire) for trade in spot.trades],
            },
        }

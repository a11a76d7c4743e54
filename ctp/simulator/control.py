"""The operator's door: plain HTTP on loopback, a second port, a bearer token from a 0600 file.

POST /sim/accounts {key, secret, wallet, spot, …}     POST /sim/advance {candles}
GET  /sim/status                                      GET  /sim/state?key=K
POST /sim/fault {action, match, …} or {clear: true}   GET  /sim/fault
POST /sim/price {symbol, price}                       POST /sim/halt {symbol, halted}
POST /sim/socket {action, kind, on}                   POST /sim/clock {skew_ms}
POST /sim/deposit {key, asset, amount, venue}         POST /sim/key {key, is_revoked: true, …}
POST /sim/partial {fraction, rest, count}

Invariant: nothing here answers without the token, and wrong input gets 400 with the field named.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from ctp.simulator.certificates import write_private
from ctp.simulator.exchange import SimulatedExchange
from ctp.simulator.settings import AccountSettings

TOKEN_FILE = "simulator-control.token"  # noqa: S105 - the name of a file
Body = dict[str, Any]


def account_settings(body: Body) -> AccountSettings:
    """Read an account from JSON; money as text or numbers, spot as {"USDT": "1000"}.

    Raises ValueError naming a field that does not exist.
    """
    known = {field.name for field in fields(AccountSettings)}
    unknown = set(body) - known
    if unknown:
        raise ValueError(f"an account has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
    values = dict(body)
    if "wallet" in values:
        values["wallet"] = Decimal(str(values["wallet"]))
    if "spot" in values:
        values["spot"] = tuple((asset, Decimal(str(amount))) for asset, amount in values["spot"].items())
    return AccountSettings(**values)


class Control:
    """The control port of one exchange."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        """Write a fresh token; nothing listens before `start`."""
        self.exchange = exchange
        self.token = secrets.token_urlsafe(32)
        self.port = 0
        self._runner: web.AppRunner | None = None
        write_private(exchange.settings.folder / TOKEN_FILE, self.token.encode())

    async def start(self) -> None:
        """Listen on 127.0.0.1."""
        application = web.Application()
        posts: dict[str, Callable[[Body], Awaitable[object]]] = {
            "accounts": self._accounts, "advance": self._advance, "fault": self._fault, "price": self._price,
            "halt": self._halt, "socket": self._socket, "clock": self._clock, "deposit": self._deposit,
            "key": self._key, "partial": self._partial,
        }  # fmt: skip
        for name, handler in posts.items():
            application.router.add_post(f"/sim/{name}", self._guarded(handler))
        application.router.add_get("/sim/status", self._guarded(self._status))
        application.router.add_get("/sim/state", self._guarded(self._state))
        application.router.add_get("/sim/fault", self._guarded(self._faults))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.exchange.settings.control_port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _guarded(
        self, handler: Callable[[Body], Awaitable[object]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Put the token check and the answers to wrong input around a handler."""

        async def answer(request: web.Request) -> web.StreamResponse:
            """Check the token, read the body, answer."""
            sent = request.headers.get("Authorization", "")
            if not hmac.compare_digest(sent.encode(), f"Bearer {self.token}".encode()):
                return web.json_response({"error": "the bearer token is missing or wrong"}, status=401)
            try:
                body = dict(request.query) | (await request.json() if request.can_read_body else {})
                return web.json_response(await handler(body))
            except (ValueError, TypeError, KeyError, json.JSONDecodeError, InvalidOperation) as error:
                return web.json_response({"error": str(error) or type(error).__name__}, status=400)

        return answer

    async def _accounts(self, body: Body) -> object:
        """Open an account."""
        account = account_settings(body)
        if account.key in self.exchange.server.keys:
            raise ValueError(f"key {account.key!r} already has an account")
        self.exchange.add_account(account)
        return {"key": account.key}

    async def _advance(self, body: Body) -> object:
        """Move the market by candles."""
        return await self.exchange.advance(int(body.get("candles", 1)))

    async def _status(self, body: Body) -> object:
        """Return where the market stands."""
        return self.exchange.status()

    async def _state(self, body: Body) -> object:
        """Return the truth about one account."""
        return self.exchange.state(body["key"])

    async def _fault(self, body: Body) -> object:
        """Script a fault, or clear all."""
        if body.pop("clear", False):
            self.exchange.faults.clear()
        if body:
            self.exchange.fault(**body)
        return await self._faults({})

    async def _faults(self, body: Body) -> object:
        """Return the faults that wait, and those that struck."""
        faults = self.exchange.faults
        return {"waiting": [asdict(fault) for fault in faults.waiting if fault.count > 0], "struck": faults.struck}

    async def _price(self, body: Body) -> object:
        """Jump to a price."""
        await self.exchange.set_price(body["symbol"], float(body["price"]))
        return self.exchange.status()

    async def _partial(self, body: Body) -> object:
        """Script partial fills."""
        self.exchange.partial_fill(float(body["fraction"]), body.get("rest", "filled"), int(body.get("count", 1)))
        return {"waiting": sum(partial.count for partial in self.exchange.engine.market.partials)}

    async def _halt(self, body: Body) -> object:
        """Stop trading a symbol, or let it go on."""
        self.exchange.halt(body["symbol"], halted=bool(body.get("halted", True)))
        return {"symbol": body["symbol"], "halted": bool(body.get("halted", True))}

    async def _socket(self, body: Body) -> object:
        """Trouble websockets."""
        await self.exchange.socket_trouble(body["action"], body.get("kind", "user"), on=bool(body.get("on", True)))
        return {"action": body["action"]}

    async def _clock(self, body: Body) -> object:
        """Skew the exchange's wall clock."""
        self.exchange.skew_clock(int(body["skew_ms"]))
        return {"skew_ms": self.exchange.server.skew_ms}

    async def _deposit(self, body: Body) -> object:
        """Add or take money."""
        amount = Decimal(str(body["amount"]))
        self.exchange.deposit(body["key"], body["asset"], amount, venue=body.get("venue", "spot"))
        return {"key": body["key"]}

    async def _key(self, body: Body) -> object:
        """Change the rights of a key."""
        name = body.pop("key")
        self.exchange.change_key(name, **body)
        return {"key": name}

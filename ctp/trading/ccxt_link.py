"""The one door to an exchange: an unmodified ccxt class, and the way its requests take.

A live account's requests go to the exchange. A paper account's go to the simulated exchange: every host name resolves to
loopback and only the simulator's own authority is trusted, so nothing can escape. After this door nobody asks which.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ctp.config import PaperEndpoint, Settings
from ctp.errors import ConfigError
from ctp.trading.ccxt_light import ccxt

TIMEOUT_MS = 10_000
CONNECTIONS_PER_SESSION = 64
SUPPORTED = ("binanceusdm", "binance")


class Loopback(AbstractResolver):
    """Resolve every host to one port of this machine."""

    def __init__(self, port: int) -> None:
        """Take the port."""
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the one address, whatever the host."""
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Have nothing to close."""


class Link(NamedTuple):
    """Where the requests for one exchange go."""

    exchange: str
    mode: str
    endpoint: PaperEndpoint | None  # None: the exchange itself


def link_for(settings: Settings, exchange: str, mode: str) -> Link:
    """Return the link of an account; ConfigError when paper trading has no simulated exchange to go to."""
    if exchange not in SUPPORTED:
        raise ConfigError(f"trading on {exchange} is not available yet; available: {', '.join(SUPPORTED)}")
    if mode == "live":
        return Link(exchange, mode, None)
    endpoint = settings.paper.endpoint(exchange)
    if endpoint.port is None or endpoint.ca_file is None:
        raise ConfigError(
            f"paper trading on {exchange} needs a simulated exchange: start `ctp simulator` and set paper.port and"
            " paper.ca_file"
        )
    return Link(exchange, mode, endpoint)


def open_session(link: Link) -> aiohttp.ClientSession:
    """Return a session whose requests go where the link says; its owner closes it."""
    if link.endpoint is None:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS_PER_SESSION))
    assert link.endpoint.port is not None
    trust = ssl.create_default_context(cafile=str(link.endpoint.ca_file))
    connector = aiohttp.TCPConnector(
        ssl=trust, resolver=Loopback(link.endpoint.port), limit=CONNECTIONS_PER_SESSION, use_dns_cache=False
    )
    return aiohttp.ClientSession(connector=connector)


def _hooked(base: type) -> Any:
    """Return a subclass that hands every websocket message over before ccxt reads it."""

    class Hooked(base):  # type: ignore[misc]
        """An unmodified exchange class with an ear at its messages."""

        on_message: Callable[[Mapping[str, Any]], None] | None = None

        def handle_message(self, client: Any, message: Any) -> Any:
            """Pass a message on, then let ccxt handle it."""
            if self.on_message is not None and isinstance(message, dict):
                self.on_message(message)
            return super().handle_message(client, message)

    return Hooked


_CLASSES: dict[str, Any] = {name: _hooked(getattr(ccxt.pro, name)) for name in SUPPORTED}


def open_ccxt(link: Link, session: aiohttp.ClientSession, *, key: str = "", secret: str = "") -> Any:
    """Return a ccxt exchange of the link's kind that uses the session."""
    options: dict[str, Any] = {"fetchCurrencies": False, "warnOnFetchOpenOrdersWithoutSymbol": False}
    if link.exchange == "binance":
        options["fetchMarkets"] = {"types": ["spot"]}
        options["defaultType"] = "spot"
    # ccxt's own throttle would hold a request back between its planning and its signature, and the fence counts from
    # there; requests are spared by asking little, and 429 is obeyed.
    return _CLASSES[link.exchange](
        {
            "apiKey": key,
            "secret": secret,
            "session": session,
            "enableRateLimit": False,
            "timeout": TIMEOUT_MS,
            "options": options,
            "newUpdates": True,
        }
    )

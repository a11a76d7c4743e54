"""A running simulated exchange and unmodified ccxt clients that reach it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.pro
import pytest

from ctp.simulator import certificates
from ctp.simulator.exchange import SimulatedExchange
from ctp.simulator.feed import RecordedFeed, recording
from ctp.simulator.loopback import session
from ctp.simulator.settings import AccountSettings, SimulatorSettings

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
ROW = tuple[float, float, float, float]
LOADED: dict[str, Any] = {}
ACCOUNT = AccountSettings("key", "secret", Decimal(10_000), (("USDT", Decimal(10_000)), ("BTC", Decimal(1))))


def feed_of(
    rows: Mapping[str, Sequence[ROW | None]],
    *,
    mark: Mapping[str, Sequence[ROW]] | None = None,
    funding: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    step_ms: int = HOUR,
) -> RecordedFeed:
    """Make a recorded feed of (open, high, low, close) rows; None is a gap. funding: (hours after start, rate)."""
    made = {}
    for symbol, candles in rows.items():
        kept = [(START + i * step_ms, *row) for i, row in enumerate(candles) if row is not None]
        columns = dict(zip(("ts", "open", "high", "low", "close"), zip(*kept, strict=True), strict=True))
        columns["volume"] = tuple(10.0 + i for i in range(len(kept)))
        marks = None
        if mark and symbol in mark:
            marked = [(START + i * step_ms, *row) for i, row in enumerate(mark[symbol])]
            marks = dict(zip(("ts", "open", "high", "low", "close"), zip(*marked, strict=True), strict=True))
        payments = None
        if funding and symbol in funding:
            times, rates = zip(*funding[symbol], strict=True)
            payments = {"ts": tuple(START + int(hours * HOUR) for hours in times), "rate": rates}
        made[symbol] = recording(columns, marks, payments)
    return RecordedFeed(made, step_ms)


class Rig:
    """One exchange and the clients made for it."""

    def __init__(self, exchange: SimulatedExchange, http: aiohttp.ClientSession) -> None:
        """Take a started exchange and a session that reaches it."""
        self.exchange, self.http = exchange, http
        self.clients: list[Any] = []

    def client(
        self, name: str = "binanceusdm", key: str = "key", secret: str = "secret", *, fresh: bool = False, **options: Any
    ) -> Any:
        """Return an unmodified ccxt client of the exchange.

        fresh: let it load its markets itself, instead of sharing those that an earlier test loaded.
        """
        types = ["linear"] if name == "binanceusdm" else ["spot"]
        config = {
            "apiKey": key, "secret": secret, "session": self.http, "enableRateLimit": False,
            "options": {"fetchCurrencies": False, "warnOnFetchOpenOrdersWithoutSymbol": False,
                        "fetchMarkets": {"types": types}, **options},
        }  # fmt: skip
        client = getattr(ccxt.pro, name)(config)
        if not fresh and name in LOADED:
            client.set_markets_from_exchange(LOADED[name])
        self.clients.append(client)
        return client

    async def close(self) -> None:
        """Close the clients; what the first of each kind loaded serves the tests after it."""
        for client in self.clients:
            await client.close()
            if client.markets and len(client.options["fetchMarkets"]["types"]) == 1:
                LOADED.setdefault(client.id, client)
        await self.http.close()


@pytest.fixture
def anyio_backend() -> str:
    """Run coroutine tests on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def certificate_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with certificates that every test of the session shares."""
    folder = tmp_path_factory.mktemp("simulator")
    certificates.ensure(folder)
    return folder


@pytest.fixture
def rig(certificate_folder: Path) -> Callable[..., Any]:
    """Return a context manager that runs an exchange on a feed."""

    @asynccontextmanager
    async def run(feed: Any, **settings: Any) -> AsyncIterator[Rig]:
        """Run one exchange with one account."""
        chosen = SimulatorSettings(certificate_folder, feed, accounts=(ACCOUNT,), history=1)
        exchange = SimulatedExchange(replace(chosen, **settings))
        await exchange.start()
        http = session(exchange.port, exchange.ca_file)
        made = Rig(exchange, http)
        try:
            yield made
        finally:
            await made.close()
            await exchange.stop()

    return run

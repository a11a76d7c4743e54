"""Download through unmodified ccxt from the simulated exchange."""

from __future__ import annotations

import asyncio
from pathlib import Path

import ccxt.async_support
import numpy as np

from ctp.market.download import download
from ctp.market.series import Series
from ctp.market.store import CandleStore
from ctp.simulator.exchange import SimulatedExchange
from ctp.simulator.generated import DEFAULT_START_MS, GeneratedFeed
from ctp.simulator.loopback import session
from ctp.simulator.settings import SimulatorSettings

MINUTE = 60_000
SYMBOL = "BTC/USDT:USDT"


def test_pages_of_the_exchange_become_the_stored_series_and_a_second_run_adds_nothing(tmp_path: Path) -> None:
    feed = GeneratedFeed((SYMBOL,), MINUTE, seed=5)
    start, end = DEFAULT_START_MS, DEFAULT_START_MS + 3_200 * MINUTE
    series = Series.checked("binanceusdm", SYMBOL, "1m")
    store = CandleStore(tmp_path / "candles")

    async def fetch() -> tuple[int, int]:
        """Download the same stretch twice; return what each run added."""
        exchange = SimulatedExchange(SimulatorSettings(tmp_path / "exchange", feed, history=4_000, enforce_limits=False))
        await exchange.start()
        http = session(exchange.port, exchange.ca_file)
        options = {"fetchCurrencies": False, "fetchMarkets": {"types": ["linear"]}}
        source = ccxt.async_support.binanceusdm({"session": http, "options": options, "enableRateLimit": False})
        try:
            added = []
            for _ in range(2):
                done = await download(source, store, series, start, end, now_ms=lambda: end)
                added.append(done.added)
            return added[0], added[1]
        finally:
            await source.close()
            await http.close()
            await exchange.stop()

    assert asyncio.run(fetch()) == (3_200, 0)
    stored, made = store.load(series), feed.candles(SYMBOL, start, end - MINUTE)
    assert np.array_equal(stored.time, made.time)
    for name in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(stored, name), getattr(made, name))

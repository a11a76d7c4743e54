"""Generated candles for research tests, and one compiled cache for all of them."""

from __future__ import annotations

import numpy as np
import pytest

from ctp.market.candles import Candles, FundingRates
from ctp.market.series import timeframe_ms

START = 1_672_531_200_000  # 2023-01-01T00:00Z


def generated_candles(symbol: str = "BTC/USDT", count: int = 3_000, seed: int = 1, timeframe: str = "1h") -> Candles:
    """Return a seeded random walk with consistent candles on a 0.01 tick."""
    chance = np.random.default_rng(seed)
    close = np.round(100.0 * np.exp(np.cumsum(chance.normal(0.0, 0.006, count))), 2)
    open_ = np.concatenate([[100.0], close[:-1]])
    high = np.round(np.maximum(open_, close) * (1.0 + np.abs(chance.normal(0.0, 0.003, count))), 2)
    low = np.round(np.minimum(open_, close) * (1.0 - np.abs(chance.normal(0.0, 0.003, count))), 2)
    time = START + np.arange(count) * timeframe_ms(timeframe)
    exchange = "binanceusdm" if ":" in symbol else "binance"
    high, low = np.maximum(high, np.maximum(open_, close)), np.minimum(low, np.minimum(open_, close))
    return Candles(symbol, timeframe, exchange, time, open_, high, low, close, np.round(chance.gamma(2.0, 5.0, count), 3))


def generated_funding(candles: Candles, seed: int = 1) -> FundingRates:
    """Return a rate every eight hours over the same stretch."""
    chance = np.random.default_rng(seed)
    time = np.arange(candles.time[0], candles.time[-1], 8 * 3_600_000)
    return FundingRates(candles.symbol, candles.exchange, time, chance.normal(0.0001, 0.0003, len(time)))


@pytest.fixture
def candles() -> Candles:
    """Return 3,000 generated hours of BTC/USDT."""
    return generated_candles()

"""The statistics of the generated market, and that it is the same market every time."""

from __future__ import annotations

import numpy as np
import pytest

from ctp.simulator.generated import DEFAULT_START_MS, GeneratedFeed

HOUR, MINUTE = 3_600_000, 60_000
COINS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")


@pytest.fixture(scope="module")
def long_run() -> GeneratedFeed:
    """Return a year of hours of four coins."""
    feed = GeneratedFeed(COINS, HOUR, seed=5)
    feed.candle("BTC/USDT", DEFAULT_START_MS + 9000 * HOUR)
    return feed


def returns(feed: GeneratedFeed, symbol: str) -> np.ndarray:
    """Return the close-to-close returns of the first nine thousand candles."""
    candles = feed.candles(symbol, 0, DEFAULT_START_MS + 9000 * HOUR)
    return candles.close[1:] / candles.close[:-1] - 1.0


def test_the_same_seed_makes_the_same_market_however_it_is_asked() -> None:
    one, other = GeneratedFeed(COINS, HOUR, seed=3), GeneratedFeed(COINS, HOUR, seed=3)
    late = one.candle("ETH/USDT", DEFAULT_START_MS + 2000 * HOUR)
    for hour in range(0, 2001, 100):
        stepped = other.candle("ETH/USDT", DEFAULT_START_MS + hour * HOUR)
    assert stepped == late
    assert GeneratedFeed(COINS, HOUR, seed=4).candle("ETH/USDT", DEFAULT_START_MS + 2000 * HOUR) != late
    assert one.candle("ETH/USDT", DEFAULT_START_MS - HOUR) is None
    assert one.next_time(DEFAULT_START_MS) == DEFAULT_START_MS + HOUR


def test_candles_are_consistent_and_on_tick(long_run: GeneratedFeed) -> None:
    candles = long_run.candles("BTC/USDT", 0, DEFAULT_START_MS + 9000 * HOUR)
    assert np.all(candles.low <= np.minimum(candles.open, candles.close))
    assert np.all(candles.high >= np.maximum(candles.open, candles.close))
    assert np.all(candles.open[1:] == candles.close[:-1])
    assert np.all(candles.volume > 0)
    assert np.all(np.round(candles.close * 100) / 100 == candles.close)
    assert np.all(np.diff(candles.time) == HOUR)


def test_the_price_has_no_drift() -> None:
    """Over many seeds the mean of final ÷ first price is 1 within what chance allows (t below 3)."""
    ends = []
    for seed in range(150):
        candles = GeneratedFeed(("BTC/USDT",), HOUR, seed=seed).candles("BTC/USDT", 0, DEFAULT_START_MS + 255 * HOUR)
        ends.append(candles.close[-1] / candles.open[0] - 1.0)
    mean, deviation = np.mean(ends), np.std(ends, ddof=1)
    assert abs(mean / (deviation / np.sqrt(len(ends)))) < 3.0
    assert 0.05 < deviation < 0.4, "and it does move"


def test_returns_have_fat_tails(long_run: GeneratedFeed) -> None:
    sample = returns(long_run, "BTC/USDT")
    kurtosis = np.mean((sample - sample.mean()) ** 4) / np.var(sample) ** 2
    assert 4.0 < kurtosis < 60.0


def test_volatility_comes_in_clusters_and_direction_does_not(long_run: GeneratedFeed) -> None:
    sample = returns(long_run, "BTC/USDT")
    size = np.abs(sample)

    def correlation(series: np.ndarray, lag: int) -> float:
        """Return the autocorrelation at a lag."""
        return float(np.corrcoef(series[:-lag], series[lag:])[0, 1])

    assert correlation(size, 1) > 0.1 and correlation(size, 10) > 0.05
    assert abs(correlation(sample, 1)) < 0.06


def test_volume_follows_the_size_of_the_move(long_run: GeneratedFeed) -> None:
    candles = long_run.candles("BTC/USDT", 0, DEFAULT_START_MS + 9000 * HOUR)
    moves = np.abs(candles.close / candles.open - 1.0)
    assert np.corrcoef(moves, candles.volume)[0, 1] > 0.4


def test_coins_move_together(long_run: GeneratedFeed) -> None:
    correlation = np.corrcoef(returns(long_run, "BTC/USDT"), returns(long_run, "ETH/USDT"))[0, 1]
    assert 0.15 < correlation < 0.6


def test_a_perpetual_follows_its_spot_pair() -> None:
    feed = GeneratedFeed(("BTC/USDT", "BTC/USDT:USDT"), MINUTE, seed=1)
    spot, perpetual = (feed.candles(name, 0, DEFAULT_START_MS + 500 * MINUTE) for name in feed.symbols)
    assert np.max(np.abs(spot.close - perpetual.close)) <= 0.1
    assert np.all(np.round(perpetual.close * 10) / 10 == perpetual.close)


def test_funding_comes_every_eight_hours_and_hangs_on_the_seed_alone() -> None:
    one, other = GeneratedFeed(COINS, HOUR, seed=3), GeneratedFeed(("ETH/USDT",), HOUR, seed=3)
    payments = one.funding("ETH/USDT", DEFAULT_START_MS, DEFAULT_START_MS + 48 * HOUR)
    assert [payment.time % (8 * HOUR) for payment in payments] == [0] * 6
    assert payments == other.funding("ETH/USDT", DEFAULT_START_MS, DEFAULT_START_MS + 48 * HOUR)
    assert all(abs(payment.rate) <= 0.003 for payment in payments)

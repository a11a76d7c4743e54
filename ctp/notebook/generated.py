"""Generated candles where nothing was downloaded yet."""

from __future__ import annotations

from ctp.market.candles import Candles
from ctp.market.series import timeframe_ms
from ctp.simulator.generated import DEFAULT_START_MS, GeneratedFeed

EXAMPLE_COUNT = 10_000


def example_candles(symbol: str, timeframe: str, count: int = EXAMPLE_COUNT, seed: int = 1) -> Candles:
    """Return candles of the generated market, and say so in their exchange's name.

    The market has no drift: what a strategy earns here before costs is luck.
    """
    length_ms = timeframe_ms(timeframe)
    made = GeneratedFeed((symbol,), length_ms, seed).candles(
        symbol, DEFAULT_START_MS, DEFAULT_START_MS + (count - 1) * length_ms
    )
    time, open_, high, low, close, volume = (column.copy() for column in made)
    return Candles.checked(symbol, timeframe, "generated", time, open_, high, low, close, volume)

"""The oracle's indicators (§2): each a whole series, None where undefined."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tests.parity.oracle_values import Candle

ATR_PERIOD = 14


def wilder(values: Sequence[float], period: int) -> list[float | None]:
    """Return Wilder's average of a series: first the plain mean, then avg × (1 − k) + x × k."""
    k = 1 / period
    averages: list[float | None] = []
    average: float | None = None
    for i, value in enumerate(values):
        if i == period - 1:
            total = 0.0
            for first in values[:period]:
                total += first
            average = total / period
        elif average is not None:
            average = average * (1 - k) + value * k
        averages.append(average)
    return averages


def rsi_series(closes: Sequence[float], period: int) -> list[float | None]:
    """Return Wilder's RSI; a flat market is 50, the first value has index `period`."""
    changes = [after - before for before, after in itertools.pairwise(closes)]
    gains = wilder([max(change, 0.0) for change in changes], period)
    losses = wilder([max(-change, 0.0) for change in changes], period)
    series: list[float | None] = [None]
    for gain, loss in zip(gains, losses, strict=True):
        if gain is None or loss is None:
            series.append(None)
        elif gain + loss == 0:
            series.append(50.0)
        else:
            series.append(100 * (gain / (gain + loss)))
    return series


def atr_series(candles: Sequence[Candle]) -> list[float | None]:
    """Return Wilder's ATR; true ranges count from the second candle on."""
    ranges = [
        max(now.high - now.low, abs(now.high - before.close), abs(now.low - before.close))
        for before, now in itertools.pairwise(candles)
    ]
    return [None, *wilder(ranges, ATR_PERIOD)]


def mean_before(values: Sequence[float], i: int, window: int) -> float | None:
    """Return the mean of the `window` values before index i, summed oldest to newest."""
    if i < window:
        return None
    total = 0.0
    for value in values[i - window : i]:
        total += value
    return total / window

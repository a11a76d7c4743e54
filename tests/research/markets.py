"""Markets whose truth is known: a random walk, and the same with mean reversion planted into it.

Both have volatility that clusters, fat tails and volume that rises with the size of a move; neither has drift.
"""

from __future__ import annotations

import numpy as np

from ctp.market.candles import Candles

START = 1_609_459_200_000  # 2021-01-01
HOUR_MS = 3_600_000
PERSISTENCE, REACTION = 0.94, 0.05  # of the variance, per hour
USUAL_MOVE = 0.006  # an hour's deviation
HALF_LIFE, STRENGTH = 8.0, 0.02  # hours and deviation of what is planted: it fades back to the walk


def market(seed: int, count: int, *, planted: float = 0.0, drift: float = 0.0) -> Candles:
    """Return hourly candles. planted: deviation of the part that reverts, 0.02 is an edge above costs. drift: an hour's."""
    chance = np.random.default_rng(seed)
    shocks = chance.standard_t(5, count) / np.sqrt(5 / 3)
    variance = np.empty(count)
    variance[0] = 1.0
    for at in range(1, count):  # GARCH(1, 1), Bollerslev 1986
        variance[at] = 0.01 + REACTION * variance[at - 1] * shocks[at - 1] ** 2 + PERSISTENCE * variance[at - 1]
    moves = USUAL_MOVE * np.sqrt(variance) * shocks
    path = np.cumsum(moves + drift)
    if planted > 0.0:
        fade = 0.5 ** (1.0 / HALF_LIFE)
        pushes = planted * np.sqrt(1.0 - fade * fade) * chance.normal(size=count)
        away = np.empty(count)
        away[0] = 0.0
        for at in range(1, count):
            away[at] = fade * away[at - 1] + pushes[at]
        path = path + away
    close = 100.0 * np.exp(path)
    opens = np.concatenate(([100.0], close[:-1]))
    reach = np.abs(0.4 * USUAL_MOVE * np.sqrt(variance) * chance.normal(size=(2, count)))
    high, low = np.maximum(opens, close) * (1.0 + reach[0]), np.minimum(opens, close) * (1.0 - reach[1])
    volume = np.exp(chance.normal(0.0, 0.5, count)) * (1.0 + np.abs(moves) / USUAL_MOVE)
    time = START + np.arange(count, dtype=np.int64) * HOUR_MS
    return Candles("BTC/USDT", "1h", "binance", time, opens, high, low, close, volume)

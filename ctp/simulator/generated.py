"""A generated market: seeded, endless, with the texture of real prices and no drift.

Per candle and coin the return is `deviation × t`, with
- `t` a Student t of 5 degrees of freedom scaled to unit variance: fat tails;
- a deviation that follows GARCH(1,1), `v' = w + 0.10 r² + 0.88 v`, held between 1/25 and 25 of its mean: clusters;
- one third of the variance of `t` common to all coins: correlation;
- a volume that grows with |return| ÷ its usual deviation, times a lognormal of its own.
A candle is made of eight sub-steps whose returns are scaled by the candle's deviation; high and low are the
extremes of that path, so every candle is consistent. Each sub-return is symmetric about zero and multiplies the
price as `1 + r`, which makes the price a martingale: whatever a strategy earns here before costs is luck.
Prices lie on the spot market's tick; spot and perpetual of one coin share a path, each on its own tick.

Invariants:
1. Same seed, coins and timeframe: same candles, however they are asked for.
2. Extending costs time in proportion to the candles added.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from ctp.simulator.feed import Candle, Candles, Mark, Numbers, Payment
from ctp.simulator.rules import SymbolRules, rules_of

EIGHT_HOURS_MS = 28_800_000
DEFAULT_START_MS = 1_704_067_200_000  # 2024-01-01T00:00Z: a fixed start, so that a seed means the same every day
DEFAULT_SYMBOLS = ("BTC/USDT", "BTC/USDT:USDT", "ETH/USDT", "ETH/USDT:USDT", "SOL/USDT:USDT", "XRP/USDT:USDT")
_CHUNK = 256
_STEPS = 8
_FREEDOM = 5
_ARCH, _GARCH = 0.10, 0.88
_COMMON = 1 / 3
_DEVIATION_PER_HOUR = 0.008


class GeneratedFeed:
    """Make candles on demand, in chunks that depend only on the seed and what came before."""

    def __init__(
        self,
        symbols: Sequence[str] = DEFAULT_SYMBOLS,
        timeframe_ms: int = 60_000,
        seed: int = 1,
        start_ms: int = DEFAULT_START_MS,
        deviation_per_hour: float = _DEVIATION_PER_HOUR,
    ) -> None:
        """Prepare the coins; nothing is generated before the first question.

        start_ms: open time of the first candle of history, rounded down to the timeframe.
        """
        if not symbols:
            raise ValueError("a generated market needs at least one symbol")
        self.symbols = tuple(sorted(symbols))
        self.timeframe_ms = timeframe_ms
        self._start = start_ms // timeframe_ms * timeframe_ms
        self._seed = seed
        self._rules: dict[str, SymbolRules] = {symbol: rules_of(symbol) for symbol in self.symbols}
        self._coins = tuple(sorted({rules.base for rules in self._rules.values()}))
        prices = {rules.base: rules.reference_price for rules in self._rules.values()}
        self._price = np.array([prices[coin] for coin in self._coins])
        self._usual = (deviation_per_hour * np.sqrt(timeframe_ms / 3_600_000)) ** 2
        self._variance = np.full(len(self._coins), self._usual)
        self._turnover = 2e6 * timeframe_ms / 60_000 / self._price
        self._count = 0
        self._columns: dict[str, list[Numbers]] = {symbol: [] for symbol in self.symbols}
        self._whole: dict[str, Candles] = {}

    def _extend(self, count: int) -> None:
        """Generate until at least `count` candles exist; capacity doubles so that joining stays cheap."""
        if count <= self._count:
            return
        count = max(count, self._count + self._count // 4)
        while self._count < count:
            self._chunk()
        times = self._start + np.arange(self._count, dtype=np.int64) * self.timeframe_ms
        for symbol, parts in self._columns.items():
            joined = np.concatenate(parts, axis=1)
            parts[:] = [joined]
            self._whole[symbol] = Candles(times, *joined)

    def _chunk(self) -> None:
        """Generate the next chunk of candles of every coin."""
        chance = np.random.default_rng([self._seed, self._count // _CHUNK])
        coins = len(self._coins)
        scale = np.sqrt((_FREEDOM - 2) / _FREEDOM)
        shared = chance.standard_t(_FREEDOM, (_CHUNK, _STEPS, 1)) * scale
        own = chance.standard_t(_FREEDOM, (_CHUNK, _STEPS, coins)) * scale
        shocks = (np.sqrt(_COMMON) * shared + np.sqrt(1 - _COMMON) * own) / np.sqrt(_STEPS)
        noise = np.exp(chance.normal(0.0, 0.35, (_CHUNK, coins)))
        opens, highs, lows, closes, volumes = (np.empty((_CHUNK, coins)) for _ in range(5))
        for row in range(_CHUNK):
            deviation = np.sqrt(self._variance)
            steps = np.clip(shocks[row] * deviation, -0.2, 0.2)
            path = self._price * np.cumprod(1.0 + steps, axis=0)
            close = path[-1]
            opens[row] = self._price
            highs[row] = np.maximum(self._price, path.max(axis=0))
            lows[row] = np.minimum(self._price, path.min(axis=0))
            closes[row] = close
            change = close / self._price - 1.0
            volumes[row] = self._turnover * noise[row] * (0.5 + np.abs(change) / np.sqrt(self._usual))
            variance = self._usual * (1 - _ARCH - _GARCH) + _ARCH * change * change + _GARCH * self._variance
            self._variance = np.clip(variance, self._usual / 25, self._usual * 25)
            self._price = close
        for symbol, rules in self._rules.items():
            coin = self._coins.index(rules.base)
            prices = [_on_grid(column[:, coin], rules) for column in (opens, highs, lows, closes)]
            sizes = np.maximum(1, np.round(volumes[:, coin] * rules.lot.denominator / rules.lot.numerator))
            self._columns[symbol].append(
                np.vstack([*prices, sizes * rules.lot.numerator / rules.lot.denominator])
            )
        self._count += _CHUNK

    def first_time(self, history: int) -> int:
        """Return the open time after `history` candles."""
        return self._start + history * self.timeframe_ms

    def next_time(self, after: int) -> int:
        """Return the next open time; a generated market has no end and no gaps."""
        return max(self._start, after // self.timeframe_ms * self.timeframe_ms + self.timeframe_ms)

    def candle(self, symbol: str, time: int) -> Candle | None:
        """Return the candle of that open time."""
        row, rest = divmod(time - self._start, self.timeframe_ms)
        if row < 0 or rest:
            return None
        self._extend(row + 1)
        return self._whole[symbol].at(row)

    def mark(self, symbol: str, time: int) -> Mark | None:
        """Return None: here the last price is the mark price."""
        return None

    def candles(self, symbol: str, start: int, end: int) -> Candles:
        """Return the candles of a span."""
        self._extend(max(1, (end - self._start) // self.timeframe_ms + 1))
        return self._whole[symbol].cut(start, end)

    def funding(self, symbol: str, after: int, until: int) -> Sequence[Payment]:
        """Return a payment every eight hours; its rate hangs on the seed, the symbol and the time alone."""
        payments = []
        for time in range((after // EIGHT_HOURS_MS + 1) * EIGHT_HOURS_MS, until + 1, EIGHT_HOURS_MS):
            chance = np.random.default_rng([self._seed, zlib.crc32(symbol.encode()), time // EIGHT_HOURS_MS])
            payments.append(Payment(time, round(float(np.clip(chance.normal(0.0, 0.0001), -0.003, 0.003)), 8)))
        return payments


def _on_grid(prices: Numbers, rules: SymbolRules) -> Numbers:
    """Round prices to the symbol's tick, never below one tick."""
    ticks = np.maximum(1.0, np.round(prices * rules.tick.denominator / rules.tick.numerator))
    return ticks * rules.tick.numerator / rules.tick.denominator

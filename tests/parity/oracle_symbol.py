"""One symbol as the oracle sees it: history, position, plan, and what the strategy (§3) says at its newest close."""

from __future__ import annotations

from collections.abc import Sequence

from tests.parity.oracle_indicators import atr_series, mean_before, rsi_series
from tests.parity.oracle_values import (
    Candle,
    Costs,
    Market,
    PlannedEntry,
    Position,
    Strategy,
    bracket_at,
    round_down,
    round_up,
)

STOP_NARROWEST, STOP_WIDEST = 0.002, 0.2  # §3


class Symbol:
    """One symbol of the account: its whole history, its position and what is planned for its next open."""

    def __init__(
        self, name: str, candles: Sequence[Candle], strategy: Strategy, market: Market, costs: Costs
    ) -> None:
        """Compute every indicator over the whole history."""
        self.name = name
        self.candles = candles
        self.strategy = strategy
        self.market = market
        self.costs = costs
        closes = [candle.close for candle in candles]
        volumes = [candle.volume for candle in candles]
        self.rsi = rsi_series(closes, strategy.period)
        self.atr = atr_series(candles)
        self.volume_mean = [mean_before(volumes, i, strategy.volume_window) for i in range(len(candles))]
        window = strategy.trend_window
        self.trend_mean = [mean_before(closes, i + 1, window) if window else None for i in range(len(candles))]
        self.index_at = {candle.time: i for i, candle in enumerate(candles)}
        self.i = -1  # index of the newest candle seen
        self.position: Position | None = None
        self.planned_entry: PlannedEntry | None = None
        self.planned_exit: str | None = None
        self.stopped_index: int | None = None  # of the candle of the last stop, trailing stop or liquidation

    @property
    def candle(self) -> Candle:
        """Return the newest candle seen."""
        return self.candles[self.i]

    def is_after_gap(self, timeframe: int) -> bool:
        """Tell whether the newest candle does not follow the one before it (§1 Gaps)."""
        return self.i > 0 and self.candle.time != self.candles[self.i - 1].time + timeframe

    def is_warm(self) -> bool:
        """Tell whether every indicator in use is defined and `warm_up` candles were seen (§2)."""
        strategy = self.strategy
        warm_up = 28 * strategy.period if strategy.warm_up is None else strategy.warm_up
        return (
            self.i + 1 >= warm_up
            and self.rsi[self.i] is not None
            and (strategy.volume_factor == 0 or self.volume_mean[self.i] is not None)
            and (strategy.trend_window == 0 or self.trend_mean[self.i] is not None)
            and (strategy.stop_atr == 0 or self.atr[self.i] is not None)
        )

    def is_low(self, rsi: float | None) -> bool:
        """Tell whether an RSI is at or below the oversold level."""
        return rsi is not None and rsi <= self.strategy.oversold

    def is_high(self, rsi: float | None) -> bool:
        """Tell whether an RSI is at or above the overbought level."""
        return rsi is not None and rsi >= self.strategy.overbought

    def wants_entry(self, side: str) -> bool:
        """Tell whether the entry rule of one side is true at the newest close (§3, and volume of §2)."""
        strategy, i = self.strategy, self.i
        if strategy.direction not in (side, "both"):
            return False
        # Reversion buys low; momentum swaps the sides of entry and exit; the short side mirrors.
        reached = self.is_low if (side == "long") == (strategy.signal == "reversion") else self.is_high
        if not reached(self.rsi[i]):
            return False
        if strategy.entry_mode == "cross" and (i == 0 or self.rsi[i - 1] is None or reached(self.rsi[i - 1])):
            return False
        if self.candle.volume == 0:
            return False
        if strategy.volume_factor != 0:
            mean = self.volume_mean[i]
            if mean is not None and not self.candle.volume > strategy.volume_factor * mean:
                return False
        if strategy.trend_window:
            trend = self.trend_mean[i]
            if trend is not None:
                return self.candle.close > trend if side == "long" else self.candle.close < trend
        return True

    def wants_exit(self, side: str) -> bool:
        """Tell whether the exit rule of the side in position is true at the newest close (§3)."""
        reached = self.is_high if (side == "long") == (self.strategy.signal == "reversion") else self.is_low
        return reached(self.rsi[self.i])

    def stop_width(self) -> float:
        """Return the stop width a decision at the newest close uses (§3)."""
        if self.strategy.stop_atr == 0:
            return self.strategy.stop_loss
        atr = self.atr[self.i]
        assert atr is not None, "decided before the ATR was defined"
        return min(max(self.strategy.stop_atr * atr / self.candle.close, STOP_NARROWEST), STOP_WIDEST)

    def stop_from(self, price: float, side: str, width: float) -> float:
        """Return the stop of an entry at a price, rounded to a tick towards it (§3)."""
        if side == "long":
            return round_up(price * (1 - width), self.market.tick)
        return round_down(price * (1 + width), self.market.tick)

    def take_from(self, price: float, side: str) -> float | None:
        """Return the take-profit of an entry at a price, rounded to a tick towards it (§3)."""
        if self.strategy.take_profit == 0:
            return None
        if side == "long":
            return round_down(price * (1 + self.strategy.take_profit), self.market.tick)
        return round_up(price * (1 - self.strategy.take_profit), self.market.tick)

    def liquidation_from(self, price: float, side: str, size: float, leverage: float) -> float | None:
        """Return the liquidation price of an entry at a price, None on spot (§5)."""
        if not self.market.perpetual:
            return None
        bracket = bracket_at(size * price, self.market)
        margin = size * price / leverage
        if side == "long":
            return (size * price - margin - bracket.amount) / (size * (1 - bracket.rate))
        return (size * price + margin + bracket.amount) / (size * (1 + bracket.rate))

"""Random accounts: everything follows from one seed.

The series are nastier than a market: jumps beyond every stop, gaps, zero volume, prices that repeat and that lie exactly
on the grid of stops, symbols that begin late and miss candles.
"""

from __future__ import annotations

import dataclasses
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from ctp.market.candles import Candles, FundingRates
from ctp.market.series import timeframe_ms
from tests.parity import oracle_values as plain

PERPETUALS = ("ADA/USDT:USDT", "BTC/USDT:USDT", "ETH/USDT:USDT")
SPOTS = ("ADA/USDT", "BTC/USDT", "ETH/USDT")
START_MS = 1_672_531_200_000  # 2023-01-01
TICKS = (Fraction(1, 100_000_000), Fraction(1, 1000), Fraction(1, 20), Fraction(1, 10), Fraction(1), Fraction(5))
LOTS = (Fraction(1, 100_000_000), Fraction(1, 100_000), Fraction(1, 1000), Fraction(1, 1000), Fraction(1, 20), Fraction(1))


@dataclasses.dataclass(frozen=True)
class Case:
    """One account to run; `seed` makes its candles."""

    seed: int
    timeframe: str
    is_perpetual: bool
    symbols: int
    length: int
    volatility: float
    jump_chance: float
    gap_chance: float
    has_mark: bool
    has_funding: bool
    equity: float
    strategy: dict[str, Any]
    risk: dict[str, Any]
    costs: tuple[plain.Costs, ...]
    markets: tuple[plain.Market, ...]
    names: tuple[str, ...]  # of the symbols, in alphabetical order

    @property
    def exchange(self) -> str:
        """Return the exchange that the symbols belong to."""
        return "binanceusdm" if self.is_perpetual else "binance"


@dataclasses.dataclass(frozen=True)
class History:
    """The candles, mark candles and funding rates of a case, by symbol."""

    candles: dict[str, Candles]
    mark: dict[str, Candles]
    funding: dict[str, FundingRates]


ONE_BRACKET = (plain.Bracket(0.0, 0.01, 0.0, 125.0),)
SEVERAL_BRACKETS = (
    plain.Bracket(0.0, 0.004, 0.0, 10.0),
    plain.Bracket(500.0, 0.02, 8.0, 6.0),
    plain.Bracket(5_000.0, 0.05, 158.0, 2.0),
    plain.Bracket(50_000.0, 0.2, 7_658.0, 1.0),
)


def _between(chance: random.Random, low: float, high: float) -> float:
    """Draw a number of few digits: round numbers meet each other, odd ones do not."""
    return chance.randint(round(low * 10_000), round(high * 10_000)) / 10_000


def _strategy(chance: random.Random, is_perpetual: bool) -> dict[str, Any]:
    """Draw the parameters of the strategy."""
    direction = chance.choice(("long", "short", "both")) if is_perpetual else "long"
    take_profit = chance.choice((0.0, _between(chance, 0.002, 0.05), _between(chance, 0.002, 0.3)))
    return {
        "period": chance.randint(2, 15),
        "oversold": chance.choice((20.0, 30.0, 40.0, 45.0, 49.5)),
        "overbought": chance.choice((50.0, 50.5, 55.0, 60.0, 70.0, 85.0)),
        "entry_mode": chance.choice(("level", "level", "cross")),
        "volume_window": chance.randint(1, 22),
        "volume_factor": chance.choice((0.0, 0.5, 1.0, 1.0, 1.3)),
        "stop_loss": chance.choice((_between(chance, 0.002, 0.03), _between(chance, 0.002, 0.2))),
        "stop_atr": chance.choice((0.0, 0.0, 0.5, 1.5, 3.0)),
        "take_profit": take_profit,
        "trailing_stop": chance.choice((0.0, _between(chance, 0.001, 0.03), _between(chance, 0.001, 0.2))),
        "direction": direction,
        "trend_window": chance.choice((0, 0, 0, 1, 7, 30)),
        "signal": chance.choice(("reversion", "reversion", "momentum")),
        "cooldown": chance.choice((0, 0, 1, 2, 9)),
        "warm_up": chance.choice((0, 1, 10, 31, 60)),
    }


def _risk(chance: random.Random, is_perpetual: bool) -> dict[str, Any]:
    """Draw the risk parameters."""
    return {
        "risk_per_trade": chance.choice((0.02, _between(chance, 0.001, 0.006), _between(chance, 0.001, 0.02))),
        "leverage": chance.choice((None, 1.0, 2.0, 4.5, 7.0, 10.0, 10.0)) if is_perpetual else None,
        "daily_loss_limit": chance.choice((0.03, _between(chance, 0.001, 0.006), _between(chance, 0.003, 0.03))),
        "loss_streak": chance.randint(1, 4),
        "shrink": chance.choice((0.3, 0.5, 0.7, 1.0)),
        "shrink_floor": chance.choice((0.0, 0.1, 0.25, 1.0)),
        "max_open_positions": chance.randint(1, 3),
        "max_margin_fraction": chance.choice((0.05, 0.3, 0.5, 0.9)),
        "max_drawdown": chance.choice((0.02, 0.05, 0.2, 1.0, 1.0, 1.0)),
        "liquidation_buffer": chance.choice((0.0, 0.0, 0.2, 0.6)),
        "on_daily_loss": chance.choice(("lock", "close")),
        "zone_offset": chance.choice((9.0, 0.0, -5.0, 5.5)),
    }


def _market(chance: random.Random, is_perpetual: bool) -> plain.Market:
    """Draw the rules of one symbol."""
    return plain.Market(
        perpetual=is_perpetual,
        tick=chance.choice(TICKS),
        lot=chance.choice(LOTS),
        minimum_notional=chance.choice((0.0, 5.0, 5.0, 100.0)),
        brackets=chance.choice((ONE_BRACKET, SEVERAL_BRACKETS)) if is_perpetual else ONE_BRACKET,
    )


def _costs(chance: random.Random) -> plain.Costs:
    """Draw the costs of one symbol."""
    fee, slippage = chance.choice((0.0, 0.0002, 0.0005, 0.001, 0.01)), chance.choice((0.0, 0.0001, 0.0005, 0.003))
    return plain.Costs(fee, slippage, chance.choice((0.0, 0.0125, 0.02)), fee * 0.4)


def random_case(seed: int, length: int = 300) -> Case:
    """Draw an account of one to three symbols; the same seed always draws the same one."""
    chance = random.Random(seed)
    is_perpetual = chance.random() < 0.8
    symbols = chance.randint(1, 3)
    strategy, risk = _strategy(chance, is_perpetual), _risk(chance, is_perpetual)
    offset = random.Random(seed + 1)
    strategy["limit_offset"] = offset.choice((0.0, 0.0, 0.0, _between(offset, 0.0, 0.01), _between(offset, 0.0, 0.05)))
    timeframe, volatility = chance.choice(("1h", "5m", "15m", "4h", "8h", "1d")), chance.choice((0.002, 0.01, 0.03))
    if chance.random() < 0.3:
        # Patient: profits run for days, and are given back through the daily limit and towards liquidation.
        timeframe, volatility = "4h", 0.03
        strategy |= {"take_profit": 0.0, "trailing_stop": 0.0, "overbought": 90.0, "stop_loss": 0.09, "stop_atr": 0.0}
        risk |= {"max_drawdown": 1.0, "on_daily_loss": "close", "liquidation_buffer": 0.0, "daily_loss_limit": 0.006}
    return Case(
        seed=seed,
        timeframe=timeframe,
        is_perpetual=is_perpetual,
        symbols=symbols,
        length=length,
        volatility=volatility,
        jump_chance=chance.choice((0.0, 0.02, 0.1)),
        gap_chance=chance.choice((0.0, 0.0, 0.03, 0.15)),
        has_mark=is_perpetual and chance.random() < 0.5,
        has_funding=is_perpetual and chance.random() < 0.5,
        equity=chance.choice((300.0, 10_000.0, 10_000.0, 1_000_000.0, 50_000_000.0)),
        strategy=strategy,
        risk=risk,
        costs=tuple(_costs(chance) for _ in range(symbols)),
        markets=tuple(_market(chance, is_perpetual) for _ in range(symbols)),
        names=(PERPETUALS if is_perpetual else SPOTS)[:symbols],
    )


def history_of(case: Case) -> History:
    """Make the candles of a case from its seed."""
    chance = np.random.default_rng(case.seed)
    history = History({}, {}, {})
    for name, market in zip(case.names, case.markets, strict=True):
        candles = _walk(case, chance, name, market.tick)
        history.candles[name] = candles
        if case.has_mark:
            history.mark[name] = _mark(case, chance, candles)
        if case.has_funding:
            history.funding[name] = _funding(case, chance, name)
    return history


def _walk(case: Case, chance: np.random.Generator, name: str, tick: Fraction) -> Candles:
    """Return a random walk with jumps, stills, gaps and silent candles; prices of a symbol lie on its grid or off it."""
    count, length_ms = case.length, timeframe_ms(case.timeframe)
    move = case.volatility * chance.standard_normal(count)
    move += np.where(chance.random(count) < case.jump_chance, chance.choice((-0.2, -0.07, 0.07, 0.25), count), 0.0)
    move[chance.random(count) < 0.1] = 0.0
    if chance.random() < 0.15:
        move[count // 3 : count // 2] = 0.0  # a flat market
    start = float(chance.choice((40.0, 900.0, 30_000.0))) * max(1.0, float(tick) * 4)
    close = start * np.exp(np.cumsum(move))
    jolt = (chance.random(count) < 0.3) * case.volatility * chance.standard_normal(count)
    opens = np.concatenate(([start], close[:-1])) * (1 + jolt)
    reach = np.abs(chance.standard_normal((2, count))) * case.volatility * (chance.random((2, count)) < 0.8)
    high = np.maximum(opens, close) * (1 + reach[0])
    low = np.minimum(opens, close) * np.maximum(1 - reach[1], 0.2)
    if chance.random() < 0.8:  # as on an exchange: on the grid
        step = float(tick)
        opens, high, low, close = (np.maximum(np.round(each / step), 1) * step for each in (opens, high, low, close))
    volume = np.exp(chance.standard_normal(count))
    volume[chance.random(count) < 0.05] = 0.0
    volume[chance.random(count) < 0.05] = 1.0
    keep = chance.random(count) >= case.gap_chance
    if case.symbols > 1 and chance.random() < 0.4:
        keep[: int(chance.integers(1, count // 3))] = False
    if case.gap_chance and chance.random() < 0.4:
        keep[count // 2 : count // 2 + int(chance.integers(2, 12))] = False
    keep[-1] = keep[-1] or not keep.any()
    time = START_MS + np.arange(count, dtype=np.int64) * length_ms
    columns = (column[keep] for column in (time, opens, high, low, close, volume))
    return Candles.checked(name, case.timeframe, case.exchange, *columns)


def _mark(case: Case, chance: np.random.Generator, candles: Candles) -> Candles:
    """Return mark candles that stray from the last prices, some missing."""
    stray = 1 + float(chance.choice((0.01, 0.08))) * chance.standard_normal(len(candles)).clip(-4, 4)
    keep = chance.random(len(candles)) < 0.9
    keep[0] = True
    columns = (getattr(candles, field) * stray for field in ("open", "high", "low", "close"))
    volume = np.zeros(len(candles))
    every = (column[keep] for column in (candles.time, *columns, volume))
    return Candles.checked(candles.symbol, case.timeframe, case.exchange, *every, kind="mark")


def _funding(case: Case, chance: np.random.Generator, name: str) -> FundingRates:
    """Return funding every eight hours, stamped some milliseconds late; several a candle on long timeframes."""
    span_ms = case.length * timeframe_ms(case.timeframe)
    every_ms = 8 * 3_600_000 if span_ms > 16 * 3_600_000 else 600_000
    time = np.arange(START_MS, START_MS + span_ms, every_ms, dtype=np.int64)
    rate = 0.001 * chance.standard_normal(len(time))
    return FundingRates(name, case.exchange, time + chance.integers(0, 9, len(time)), rate)


def as_decimal(step: Fraction) -> Decimal:
    """Return a tick or lot as market rules take it."""
    return Decimal(step.numerator) / Decimal(step.denominator)

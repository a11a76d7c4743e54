"""Random accounts: parameters from Hypothesis, candle series from a seed, so that a failure prints all it takes.

The series are nastier than a market: jumps beyond every stop, gaps, zero volume, prices that repeat and that lie exactly
on the grid of stops, symbols that begin late and miss candles.
"""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ctp.market.candles import Candles, FundingRates
from ctp.market.series import timeframe_ms
from tests.parity import oracle_values as plain

PERPETUALS = ("ADA/USDT:USDT", "BTC/USDT:USDT", "ETH/USDT:USDT")
SPOTS = ("ADA/USDT", "BTC/USDT", "ETH/USDT")
START_MS = 1_672_531_200_000  # 2023-01-01
LOTS = (Fraction(1, 100_000_000), Fraction(1, 100_000), Fraction(1, 1000), Fraction(1, 20), Fraction(1))
STEPS = (Fraction(1, 100_000_000), Fraction(1, 1000), Fraction(1, 20), Fraction(1, 10), Fraction(1), Fraction(5))


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

    @property
    def names(self) -> tuple[str, ...]:
        """Return the symbols of the account, in alphabetical order."""
        return (PERPETUALS if self.is_perpetual else SPOTS)[: self.symbols]

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


def _fraction(low: float, high: float) -> st.SearchStrategy[float]:
    """Draw a number of few digits: round numbers meet each other, odd ones do not."""
    return st.integers(math.ceil(low * 10_000), math.floor(high * 10_000)).map(lambda whole: whole / 10_000)


STRATEGIES = st.fixed_dictionaries(
    {
        "period": st.integers(2, 15),
        "oversold": st.sampled_from((20.0, 30.0, 40.0, 45.0, 49.5)),
        "overbought": st.sampled_from((50.0, 50.5, 55.0, 60.0, 70.0, 85.0, 99.0)),
        "entry_mode": st.sampled_from(("level", "level", "cross")),
        "volume_window": st.integers(1, 22),
        "volume_factor": st.sampled_from((0.0, 0.5, 1.0, 1.0, 1.3)),
        "stop_loss": st.one_of(_fraction(0.002, 0.03), _fraction(0.002, 0.2)),
        "stop_atr": st.sampled_from((0.0, 0.0, 0.5, 1.5, 3.0)),
        "take_profit": st.one_of(st.just(0.0), _fraction(0.002, 0.05), _fraction(0.002, 0.3)),
        "trailing_stop": st.one_of(st.just(0.0), _fraction(0.001, 0.03), _fraction(0.001, 0.2)),
        "direction": st.sampled_from(("long", "short", "both", "both")),
        "trend_window": st.sampled_from((0, 0, 1, 7, 30)),
        "signal": st.sampled_from(("reversion", "reversion", "momentum")),
        "cooldown": st.sampled_from((0, 0, 1, 2, 9)),
        "warm_up": st.sampled_from((0, 1, 10, 31, 60, None)),
    }
)
RISKS = st.fixed_dictionaries(
    {
        "risk_per_trade": st.one_of(_fraction(0.001, 0.006), _fraction(0.001, 0.02)),
        "leverage": st.sampled_from((None, 1.0, 2.0, 4.5, 7.0, 10.0, 10.0)),
        "daily_loss_limit": st.one_of(st.just(0.03), _fraction(0.001, 0.006), _fraction(0.003, 0.03)),
        "loss_streak": st.integers(1, 4),
        "shrink": st.sampled_from((0.3, 0.5, 0.7, 1.0)),
        "shrink_floor": st.sampled_from((0.0, 0.1, 0.25, 1.0)),
        "max_open_positions": st.integers(1, 3),
        "max_margin_fraction": st.sampled_from((0.05, 0.3, 0.5, 0.9)),
        "max_drawdown": st.sampled_from((0.005, 0.02, 0.2, 1.0, 1.0, 1.0)),
        "liquidation_buffer": st.sampled_from((0.0, 0.2, 0.5, 0.9)),
        "on_daily_loss": st.sampled_from(("close", "lock")),
        "zone_offset": st.sampled_from((9.0, 0.0, -5.0, 5.5)),
    }
)
COSTS = st.builds(
    plain.Costs,
    fee=st.sampled_from((0.0, 0.0002, 0.0005, 0.001, 0.01)),
    slippage=st.sampled_from((0.0, 0.0001, 0.0005, 0.003)),
    liquidation_fee=st.sampled_from((0.0, 0.0125, 0.02)),
)
ONE_BRACKET = (plain.Bracket(0.0, 0.01, 0.0, 125.0),)
SEVERAL_BRACKETS = (
    plain.Bracket(0.0, 0.004, 0.0, 10.0),
    plain.Bracket(500.0, 0.02, 8.0, 6.0),
    plain.Bracket(5_000.0, 0.05, 158.0, 2.0),
    plain.Bracket(50_000.0, 0.2, 7_658.0, 1.0),
)


@st.composite
def _markets(draw: st.DrawFn, is_perpetual: bool) -> plain.Market:
    """Draw the rules of one symbol."""
    return plain.Market(
        perpetual=is_perpetual,
        tick=draw(st.sampled_from(STEPS)),
        lot=draw(st.sampled_from(LOTS)),
        minimum_notional=draw(st.sampled_from((0.0, 5.0, 5.0, 100.0))),
        brackets=draw(st.sampled_from((ONE_BRACKET, SEVERAL_BRACKETS))) if is_perpetual else ONE_BRACKET,
    )


@st.composite
def cases(draw: st.DrawFn, length: int = 300) -> Case:
    """Draw an account of one to three symbols."""
    is_perpetual = draw(st.sampled_from((True, True, True, False)))
    symbols = draw(st.integers(1, 3))
    strategy = draw(STRATEGIES)
    risk = draw(RISKS)
    if not is_perpetual:
        strategy["direction"] = "long"
        risk["leverage"] = None
    timeframe = draw(st.sampled_from(("1h", "5m", "15m", "4h", "8h", "1d")))
    volatility = draw(st.sampled_from((0.002, 0.01, 0.03)))
    if draw(st.sampled_from((True, False, False))):
        # Patient: profits run for days, and are given back through the daily limit and towards liquidation.
        timeframe, volatility = "4h", 0.03
        strategy |= {"take_profit": 0.0, "trailing_stop": 0.0, "overbought": 90.0, "stop_loss": 0.09, "stop_atr": 0.0}
        risk |= {"max_drawdown": 1.0, "on_daily_loss": "close", "liquidation_buffer": 0.0, "daily_loss_limit": 0.006}
    if strategy["direction"] != "long":
        strategy["take_profit"] = min(strategy["take_profit"], 0.9)
    return Case(
        seed=draw(st.integers(0, 2**32 - 1)),
        timeframe=timeframe,
        is_perpetual=is_perpetual,
        symbols=symbols,
        length=length,
        volatility=volatility,
        jump_chance=draw(st.sampled_from((0.0, 0.02, 0.1))),
        gap_chance=draw(st.sampled_from((0.0, 0.0, 0.03, 0.15))),
        has_mark=is_perpetual and draw(st.booleans()),
        has_funding=is_perpetual and draw(st.booleans()),
        equity=draw(st.sampled_from((10_000.0, 1_000_000.0, 50_000_000.0, 300.0))),
        strategy=strategy,
        risk=risk,
        costs=tuple(draw(COSTS) for _ in range(symbols)),
        markets=tuple(draw(_markets(is_perpetual)) for _ in range(symbols)),
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
    opens = np.concatenate(([start], close[:-1])) * (1 + (chance.random(count) < 0.3) * case.volatility * chance.standard_normal(count))
    reach = np.abs(chance.standard_normal((2, count))) * case.volatility * (chance.random((2, count)) < 0.8)
    high = np.maximum(opens, close) * (1 + reach[0])
    low = np.minimum(opens, close) * np.maximum(1 - reach[1], 0.2)
    if chance.random() < 0.8:  # as on an exchange: on the grid
        opens, high, low, close = (np.maximum(np.round(column / float(tick)), 1) * float(tick) for column in (opens, high, low, close))
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

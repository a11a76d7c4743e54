"""What goes into the oracle and what comes out, and its whole steps (§5).

Written from the definition alone; it shares no line with ctp. The paragraph signs (§) name its paragraphs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

# --- what goes in -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candle:
    """One closed candle, named by its open time."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Strategy:
    """The parameters of §3, with its defaults; `warm_up` None is 28 × period."""

    period: int = 14
    oversold: float = 30.0
    overbought: float = 70.0
    entry_mode: str = "level"
    volume_window: int = 20
    volume_factor: float = 1.0
    stop_loss: float = 0.02
    stop_atr: float = 0.0
    take_profit: float = 0.04
    trailing_stop: float = 0.0
    direction: str = "long"
    trend_window: int = 0
    signal: str = "reversion"
    limit_offset: float = 0.0
    cooldown: int = 0
    warm_up: int | None = None


@dataclass(frozen=True)
class Risk:
    """The parameters of §4, with its defaults; `leverage` None is 1 on spot and 3 on perpetuals."""

    risk_per_trade: float = 0.01
    leverage: float | None = None
    daily_loss_limit: float = 0.03
    loss_streak: int = 3
    shrink: float = 0.5
    shrink_floor: float = 0.25
    max_open_positions: int = 3
    max_margin_fraction: float = 0.5
    max_drawdown: float = 0.20
    liquidation_buffer: float = 0.2
    on_daily_loss: str = "lock"
    zone_offset: float = 9


@dataclass(frozen=True)
class Bracket:
    """One maintenance bracket: it holds from the notional `floor` up to the next bracket's floor."""

    floor: float
    rate: float
    amount: float
    max_leverage: float


@dataclass(frozen=True)
class Market:
    """The rules of one symbol; a step is an integer or 1 ÷ an integer (§5)."""

    perpetual: bool = True
    tick: Fraction = Fraction(1, 10)
    lot: Fraction = Fraction(1, 1000)
    minimum_notional: float = 5.0
    brackets: tuple[Bracket, ...] = (Bracket(0.0, 0.01, 0.0, math.inf),)  # §5: unknown is 0.01 and 0


@dataclass(frozen=True)
class Costs:
    """The fractions of §5."""

    fee: float = 0.0005
    slippage: float = 0.0
    liquidation_fee: float = 0.0125
    maker_fee: float = 0.0005


# --- what comes out ---------------------------------------------------------------------------------------------------


@dataclass
class Position:
    """An open position and, once closed, the trade of §8."""

    symbol: str
    side: str
    entry_time: int
    entry_price: float
    size: float
    leverage: float
    margin: float
    first_stop: float
    stop: float
    take: float | None
    liquidation: float | None
    entry_fee: float
    decision_equity: float
    entry_index: int
    funding: float = 0.0
    slippage: float = 0.0
    by_limit: bool = False
    best_close: float | None = None
    stop_moved: bool = False
    exit_time: int | None = None
    exit_price: float | None = None
    exit_fee: float = 0.0
    gross: float | None = None
    pnl: float | None = None
    r_multiple: float | None = None
    exit_reason: str | None = None

    @property
    def sign(self) -> int:
        """Return 1 for long, -1 for short."""
        return 1 if self.side == "long" else -1

    @property
    def fee(self) -> float:
        """Return the fees paid so far, ≥ 0 (§8)."""
        return self.entry_fee + self.exit_fee


@dataclass
class PlannedEntry:
    """An order decided at a close: at market for the next open of its symbol, or at a limit for its next candle."""

    side: str
    size: float
    close: float
    stop_width: float
    leverage: float
    loss_width: float
    decision_equity: float
    limit: float | None = None  # None: a market order


@dataclass(frozen=True)
class Decision:
    """The account at one decision."""

    close_time: int
    equity: float
    day: int
    day_start_equity: float
    in_position: bool


@dataclass
class Result:
    """Everything a run of the account produced."""

    closed: list[Position] = field(default_factory=list)
    open: list[Position] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    refusals: list[tuple[int, str, str]] = field(default_factory=list)  # close time, symbol, reason
    unfilled: int = 0  # limit entries that nothing traded through, or that would have met the market
    dropped: int = 0  # planned entries whose fill candle came after a gap
    balance: float = 0.0
    fees: float = 0.0
    funding: float = 0.0
    slippage: float = 0.0


# --- §5: steps --------------------------------------------------------------------------------------------------------


def to_steps(value: float, step: Fraction) -> float:
    """Return a value in (fractional) steps."""
    return value * step.denominator if step.numerator == 1 else value / step.numerator


def from_steps(steps: int, step: Fraction) -> float:
    """Return a whole number of steps as the nearest double."""
    return steps / step.denominator if step.numerator == 1 else float(steps * step.numerator)


def round_down(value: float, step: Fraction) -> float:
    """Round down to a step; 1e-9 of a step is forgiven."""
    return from_steps(math.floor(to_steps(value, step) + 1e-9), step)


def round_up(value: float, step: Fraction) -> float:
    """Round up to a step; 1e-9 of a step is forgiven."""
    return from_steps(math.ceil(to_steps(value, step) - 1e-9), step)


def bracket_at(notional: float, market: Market) -> Bracket:
    """Return the bracket that a notional lies in."""
    found = market.brackets[0]
    for bracket in market.brackets:
        if notional >= bracket.floor:
            found = bracket
    return found

"""The values that cross the trading definition: NamedTuples of numbers.

Units: times are milliseconds UTC; prices are quote per base; sizes are base units; `lots` and `ticks` are integers and
turn into floats by `steps * multiple / divisor`, where one of the two is 1, so that the result is the nearest double.
A price or ratio that is not there is NaN (never 0); a count or flag that is not there is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

NAN = float("nan")
NO_BOUND = float("inf")

# Sides of a position. A plan or a signal uses the same numbers.
SHORT, FLAT, LONG = -1, 0, 1

# What a decision did.
NO_SIGNAL, ENTER, EXIT, HOLD, REFUSED, NO_CANDLE = 0, 1, 2, 3, 4, 5
OUTCOMES = ("no_signal", "enter", "exit", "hold", "refused", "no_candle")

# Why an entry was refused, in the order in which the reasons are tried (semantics §4).
REFUSALS = (
    "",
    "paused",
    "exchange_unavailable",
    "clock_drift",
    "stale_candle",
    "warming_up",
    "gap_in_data",
    "cooldown",
    "daily_loss_lock",
    "drawdown_lock",
    "max_open_positions",
    "no_margin",
    "below_minimum",
    "liquidation_too_near",
)
(
    ALLOWED,
    PAUSED,
    EXCHANGE_UNAVAILABLE,
    CLOCK_DRIFT,
    STALE_CANDLE,
    WARMING_UP,
    GAP_IN_DATA,
    COOLDOWN,
    DAILY_LOSS_LOCK,
    DRAWDOWN_LOCK,
    MAX_OPEN_POSITIONS,
    NO_MARGIN,
    BELOW_MINIMUM,
    LIQUIDATION_TOO_NEAR,
) = range(len(REFUSALS))

# Why a position was closed (semantics §8).
EXIT_REASONS = (
    "",
    "exit_signal",
    "stop_loss",
    "take_profit",
    "trailing_stop",
    "liquidation",
    "daily_loss",
    "force_exit",
    "emergency_exit",
    "closed_outside",
)
(
    STILL_OPEN,
    EXIT_SIGNAL,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAILING_STOP,
    LIQUIDATION,
    DAILY_LOSS,
    FORCE_EXIT,
    EMERGENCY_EXIT,
    CLOSED_OUTSIDE,
) = range(len(EXIT_REASONS))


class Candle(NamedTuple):
    """One closed candle, named by its open time. The mark prices are NaN where none are given."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    mark_open: float = NAN
    mark_high: float = NAN
    mark_low: float = NAN


class Market(NamedTuple):
    """The rules and costs of one symbol. Brackets ascend by notional; their four columns have one length, at least 1."""

    tick_multiple: int
    tick_divisor: int
    lot_multiple: int
    lot_divisor: int
    min_notional: float
    is_perpetual: int
    fee_rate: float
    slippage: float
    liquidation_fee: float
    bracket_floor: Sequence[float]  # notional from which the bracket holds
    bracket_rate: Sequence[float]  # maintenance margin rate
    bracket_amount: Sequence[float]  # maintenance amount
    bracket_leverage: Sequence[float]  # highest leverage
    maker_fee_rate: float = 0.0


class Signal(NamedTuple):
    """What the strategy says at one close. `rule` numbers the strategy's own entry rules: 0 = all hold."""

    is_ready: int
    enter: int
    exit_long: int
    exit_short: int
    stop_width: float
    rule: int


class Plan(NamedTuple):
    """A market order for the next open, or a limit entry for the next candle. An exit closes whatever is open then."""

    action: int  # NO_SIGNAL (none), ENTER, EXIT
    side: int
    lots: int
    leverage: float
    close: float  # of the candle that decided; of a limit entry, its limit price
    stop_width: float
    loss_width: float
    equity: float  # at the decision
    reason: int  # exit reason
    limit_ticks: int = 0  # of a limit entry; 0: a market order


class Position(NamedTuple):
    """An open position and what it has cost so far. `side` = FLAT: none."""

    side: int
    lots: int
    entry_price: float
    entry_time: int
    stop_ticks: int
    first_stop_ticks: int
    take_ticks: int  # 0: no take-profit
    best_close: float  # highest close since entry when long, lowest when short; NaN before the first
    leverage: float
    margin: float
    liquidation_price: float  # NaN on spot
    entry_equity: float  # at the decision that opened it
    opened_lots: int  # entered in all
    gross: float  # realised by partial exits
    exit_cost: float  # lots * price of partial exits
    fee: float
    funding: float  # > 0 when received
    slippage: float  # quote units lost to slippage


class TraderState(NamedTuple):
    """Everything remembered about one symbol of one account."""

    indicators: Any
    signal: Signal
    position: Position
    plan: Plan
    seen: int
    time: int  # open time of the last candle, 0 before the first
    close: float
    after_gap: int
    cooldown: int  # closes left without entry, the coming one included


class Account(NamedTuple):
    """The money side of one account, in quote units."""

    balance: float
    equity: float
    day: int  # days since 1970 in the risk zone
    day_start_equity: float
    peak: float
    losses: int  # in a row
    daily_locked: int
    drawdown_locked: int
    is_started: int


class Exposure(NamedTuple):
    """What open positions and planned entries already use, and how much of the balance the wallet covers."""

    slots: int
    margin: float
    stopped_out: float  # P&L of open positions as if filled at their stop now (<= 0 mostly)
    planned_loss: float
    cover: float = NO_BOUND  # a wallet that holds less than the balance bounds the room


class Intent(NamedTuple):
    """What `decide` wants at one close, with the numbers that explain it. Quote units; NaN where not reached."""

    outcome: int
    side: int
    lots: int
    refusal: int
    reason: int
    rule: int
    equity: float
    wanted: float
    budget: float
    room: float
    notional: float
    loss_width: float
    leverage: float


class Trade(NamedTuple):
    """A closed trade (semantics §8)."""

    side: int
    entry_time: int
    entry_price: float
    exit_time: int
    exit_price: float
    lots: int
    leverage: float
    margin: float
    first_stop_ticks: int
    take_ticks: int
    fee: float
    funding: float
    pnl: float
    r_multiple: float
    reason: int
    slippage: float
    entry_equity: float


NO_PLAN = Plan(NO_SIGNAL, FLAT, 0, 0.0, NAN, NAN, NAN, NAN, STILL_OPEN, 0)
NO_POSITION = Position(FLAT, 0, NAN, 0, 0, 0, 0, NAN, 0.0, 0.0, NAN, NAN, 0, 0.0, 0.0, 0.0, 0.0, 0.0)
NO_TRADE = Trade(FLAT, 0, NAN, 0, NAN, 0, 0.0, 0.0, 0, 0, 0.0, 0.0, 0.0, NAN, STILL_OPEN, 0.0, NAN)
NO_SIGNAL_YET = Signal(0, FLAT, 0, 0, NAN, 0)

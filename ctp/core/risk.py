"""DynamicRiskManager: how much may be risked, and when trading stops (semantics §4). Pure.

Invariants:
1. No entry risks more than `MAX_RISK_PER_TRADE` of equity at its stop, slippage and both fees included.
2. Open and planned risk together never exceed what is left of the day's loss limit.
3. A refusal is a returned reason and leaves no trace in the state.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Self

from ctp.core.book import gross_profit
from ctp.core.fills import exit_price, taker_fee
from ctp.core.kernel import kernel
from ctp.core.parameters import Bound, ParameterSet, parameter
from ctp.core.steps import lots_below, price_of, size_of
from ctp.core.stops import bracket_at, liquidation_price, stop_loss_ticks
from ctp.core.types import (
    ALLOWED,
    BELOW_MINIMUM,
    DAILY_LOSS_LOCK,
    ENTER,
    FLAT,
    LIQUIDATION_TOO_NEAR,
    LONG,
    NO_MARGIN,
    Account,
    Exposure,
    Market,
    Plan,
    Position,
)
from ctp.errors import InputError

MAX_RISK_PER_TRADE = 0.02
MAX_DAILY_LOSS = 0.03
MAX_LEVERAGE = 10.0
MAX_MARGIN_FRACTION = 0.9
DUST_FRACTION = 0.25  # an entry shrunk below this part of what was wanted is not worth its costs
DEFAULT_PERPETUAL_LEVERAGE = 3.0
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicRiskManager(ParameterSet):
    """Risk parameters. The upper bounds are the hard ceilings: nothing else in ctp can raise them."""

    risk_per_trade: float = parameter(0.01, Bound(0.0, MAX_RISK_PER_TRADE))
    leverage: float | None = parameter(None, Bound(1, MAX_LEVERAGE))
    daily_loss_limit: float = parameter(0.03, Bound(0.0, MAX_DAILY_LOSS))
    loss_streak: int = parameter(3, Bound(1, 1000, is_integer=True))
    shrink: float = parameter(0.5, Bound(0, 1))
    shrink_floor: float = parameter(0.25, Bound(0, 1))
    max_open_positions: int = parameter(3, Bound(1, 1000, is_integer=True))
    max_margin_fraction: float = parameter(0.5, Bound(0, MAX_MARGIN_FRACTION))
    max_drawdown: float = parameter(0.20, Bound(0, 1))
    liquidation_buffer: float = parameter(0.2, Bound(0, 1))
    on_daily_loss: str = parameter("lock", Bound(choices=("lock", "close")))
    zone_offset: float = parameter(9.0, Bound(-14, 14))

    def for_market(self, is_perpetual: bool) -> Self:
        """Return the set with its leverage settled: 1 on spot (nothing else there), 3 on perpetuals unless given."""
        if not is_perpetual and self.leverage not in (None, 1.0):
            raise InputError("leverage", self.leverage, "must be 1 on a spot market")
        if self.leverage is not None:
            return self
        return dataclasses.replace(self, leverage=DEFAULT_PERPETUAL_LEVERAGE if is_perpetual else 1.0)


class Sizing(NamedTuple):
    """The answer to "how much?": a refusal, or lots with the numbers that led to them (quote units)."""

    refusal: int
    lots: int
    leverage: float
    loss_width: float
    wanted: float
    budget: float
    room: float
    notional: float


@kernel
def streak_factor(risk: Any, losses: int) -> float:
    """Return the factor that shrinks the risk after consecutive losses."""
    factor = 1.0
    times = losses - risk.loss_streak + 1
    while times > 0 and factor > risk.shrink_floor:
        factor = factor * risk.shrink
        times -= 1
    return max(risk.shrink_floor, factor)


@kernel
def add_position(market: Market, position: Position, exposure: Exposure) -> Exposure:
    """Add what an open position uses: a slot, its margin, and its P&L if it were filled at its stop now."""
    size = size_of(market, position.lots)
    price = exit_price(market, position.side, price_of(market, position.stop_ticks))
    outcome = gross_profit(position.side, size, position.entry_price, price) - taker_fee(market, size, price)
    return Exposure(
        exposure.slots + 1,
        exposure.margin + position.margin,
        exposure.stopped_out + outcome,
        exposure.planned_loss,
        exposure.cover,
    )


@kernel
def add_plan(market: Market, plan: Plan, exposure: Exposure) -> Exposure:
    """Add what a planned entry will use."""
    notional = size_of(market, plan.lots) * plan.close
    return Exposure(
        exposure.slots + 1,
        exposure.margin + notional / plan.leverage,
        exposure.stopped_out,
        exposure.planned_loss + notional * plan.loss_width,
        exposure.cover,
    )


@kernel
def size_entry(
    risk: Any, market: Market, account: Account, exposure: Exposure, side: int, close: float, stop_width: float
) -> Sizing:
    """Return the size of an entry at `close`, or why there is none.

    The margin is `risk amount ÷ (leverage × stop width)`, the owner's formula; everything after it only makes it smaller.
    """
    equity = account.equity
    loss_width = stop_width + 2.0 * (market.fee_rate + market.slippage)
    ceiling = MAX_RISK_PER_TRADE * equity / loss_width
    risk_amount = equity * risk.risk_per_trade * streak_factor(risk, account.losses)
    leverage = risk.leverage
    margin = risk_amount / (leverage * stop_width)
    allowed = market.bracket_leverage[bracket_at(market, min(margin * leverage, ceiling))]
    if allowed < leverage:
        leverage = allowed
        margin = risk_amount / (leverage * stop_width)
    wanted = min(margin * leverage, ceiling, risk.max_margin_fraction * equity * leverage)

    worst_equity = account.balance + exposure.stopped_out - exposure.planned_loss
    day_start = account.day_start_equity
    budget = risk.daily_loss_limit * day_start - (day_start - worst_equity)
    room = min(risk.max_margin_fraction * equity, account.balance, exposure.cover) - exposure.margin
    notional = min(wanted, budget / loss_width, room * leverage)
    refusal = ALLOWED
    lots = 0
    if notional <= 0.0 or notional < DUST_FRACTION * wanted:
        refusal = DAILY_LOSS_LOCK if budget / loss_width <= room * leverage else NO_MARGIN
    else:
        lots = lots_below(market, notional / close)
        refusal = _check_size(risk, market, side, close, stop_width, leverage, lots)
        if refusal != ALLOWED:
            lots = 0
    return Sizing(refusal, lots, leverage, loss_width, wanted, budget, room, notional)


@kernel
def _check_size(
    risk: Any, market: Market, side: int, close: float, stop_width: float, leverage: float, lots: int
) -> int:
    """Return why a size cannot be traded, as if it were filled at the close; ALLOWED when it can."""
    size = size_of(market, lots)
    stop = price_of(market, stop_loss_ticks(market, side, close, stop_width))
    if lots < 1 or size * min(close, stop) < market.min_notional:
        return BELOW_MINIMUM
    liquidation = liquidation_price(market, side, size, close, size * close / leverage)
    if side == LONG:
        is_near = stop - liquidation < risk.liquidation_buffer * (close - liquidation)
    else:
        is_near = liquidation - stop < risk.liquidation_buffer * (liquidation - close)
    return LIQUIDATION_TOO_NEAR if is_near else ALLOWED


@kernel
def day_of(risk: Any, time: int) -> int:
    """Return the day of the risk zone that contains a time, in days since 1970."""
    return (time + int(risk.zone_offset * HOUR_MS)) // DAY_MS


@kernel
def is_daily_loss(risk: Any, day_start_equity: float, equity: float) -> bool:
    """Return whether equity has come down to the day's loss limit."""
    return equity <= (1.0 - risk.daily_loss_limit) * day_start_equity


@kernel
def is_drawdown(risk: Any, peak: float, equity: float) -> bool:
    """Return whether equity has come down to the drawdown limit; a limit of 1 is none."""
    return risk.max_drawdown < 1.0 and equity <= (1.0 - risk.max_drawdown) * peak


@kernel
def mark_account(risk: Any, account: Account, equity: float, close_time: int) -> Account:
    """Take the account to a decision: the day may turn, the peak may rise, locks may engage.

    close_time: when the candle closed; a close at midnight of the risk zone belongs to the new day.
    """
    day = day_of(risk, close_time)
    day_start = account.day_start_equity
    daily_locked = account.daily_locked
    peak = account.peak
    if not account.is_started or day != account.day:
        day_start = equity
        daily_locked = 0
    if not account.is_started or equity > peak:
        peak = equity
    if is_daily_loss(risk, day_start, equity):
        daily_locked = 1
    drawdown_locked = account.drawdown_locked
    if is_drawdown(risk, peak, equity):
        drawdown_locked = 1
    return Account(account.balance, equity, day, day_start, peak, account.losses, daily_locked, drawdown_locked, 1)


@kernel
def open_profit(market: Market, position: Position, close: float) -> float:
    """Return the unrealised P&L of a position at a close, 0 when flat."""
    if position.side == FLAT:
        return 0.0
    return gross_profit(position.side, size_of(market, position.lots), position.entry_price, close)


@kernel
def has_plan(plan: Plan) -> bool:
    """Return whether an entry is planned."""
    return plan.action == ENTER

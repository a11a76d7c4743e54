"""What a fill or a funding payment does to a position and to the balance. Pure.

Backtest and bot book through these functions alone; only where the fill comes from differs. The balance changes by
−entry fee, −each funding payment, then +(gross − exit fee), in the order of events (semantics §7).
"""

from __future__ import annotations

from ctp.core.kernel import kernel
from ctp.core.steps import price_of, size_of
from ctp.core.stops import liquidation_price, stop_loss_ticks, take_profit_ticks
from ctp.core.types import (
    LIQUIDATION,
    NAN,
    NO_POSITION,
    NO_TRADE,
    STOP_LOSS,
    TRAILING_STOP,
    Account,
    Market,
    Plan,
    Position,
    Trade,
)


@kernel
def with_balance(account: Account, balance: float) -> Account:
    """Return the account with another balance."""
    return Account(
        balance,
        account.equity,
        account.day,
        account.day_start_equity,
        account.peak,
        account.losses,
        account.daily_locked,
        account.drawdown_locked,
        account.is_started,
    )


@kernel
def gross_profit(side: int, size: float, entry_price: float, price: float) -> float:
    """Return the profit of a position between two prices, before costs."""
    return side * size * (price - entry_price)


@kernel
def book_entry(
    market: Market,
    position: Position,
    account: Account,
    plan: Plan,
    take_width: float,
    lots: int,
    price: float,
    reference: float,
    fee: float,
    time: int,
) -> tuple[Position, Account]:
    """Book a fill of an entry order, whole or one of several; stop and take follow the mean entry price."""
    total = position.lots + lots
    entry = price if position.lots == 0 else (position.lots * position.entry_price + lots * price) / total
    size = size_of(market, total)
    margin = size * entry / plan.leverage
    stop = stop_loss_ticks(market, plan.side, entry, plan.stop_width)
    slippage = position.slippage + abs(price - reference) * size_of(market, lots)
    opened = Position(
        plan.side,
        total,
        entry,
        time if position.lots == 0 else position.entry_time,
        stop,
        stop,
        take_profit_ticks(market, plan.side, entry, take_width),
        position.best_close,
        plan.leverage,
        margin,
        liquidation_price(market, plan.side, size, entry, margin),
        plan.equity,
        position.opened_lots + lots,
        position.gross,
        position.exit_cost,
        position.fee + fee,
        position.funding,
        slippage,
    )
    return opened, with_balance(account, account.balance - fee)


@kernel
def funding_payment(market: Market, position: Position, mark: float, rate: float) -> float:
    """Return what an open position pays at a funding time; negative when it receives."""
    return position.side * size_of(market, position.lots) * mark * rate


@kernel
def book_funding(position: Position, account: Account, payment: float) -> tuple[Position, Account]:
    """Book a funding payment (> 0: paid) into the balance, never into the margin."""
    booked = Position(
        position.side,
        position.lots,
        position.entry_price,
        position.entry_time,
        position.stop_ticks,
        position.first_stop_ticks,
        position.take_ticks,
        position.best_close,
        position.leverage,
        position.margin,
        position.liquidation_price,
        position.entry_equity,
        position.opened_lots,
        position.gross,
        position.exit_cost,
        position.fee,
        position.funding - payment,
        position.slippage,
    )
    return booked, with_balance(account, account.balance - payment)


@kernel
def book_exit(
    market: Market,
    position: Position,
    account: Account,
    lots: int,
    price: float,
    reference: float,
    fee: float,
    reason: int,
    time: int,
) -> tuple[Position, Account, Trade]:
    """Book a fill that closes a position, or part of it; the trade is there (side not FLAT) once nothing is left.

    A win resets the losing streak, anything else lengthens it.
    """
    size = size_of(market, lots)
    gross = gross_profit(position.side, size, position.entry_price, price)
    balance = account.balance + (gross - fee)
    slippage = position.slippage + abs(price - reference) * size
    left = position.lots - lots
    if left > 0:
        rest = Position(
            position.side,
            left,
            position.entry_price,
            position.entry_time,
            position.stop_ticks,
            position.first_stop_ticks,
            position.take_ticks,
            position.best_close,
            position.leverage,
            size_of(market, left) * position.entry_price / position.leverage,
            position.liquidation_price,
            position.entry_equity,
            position.opened_lots,
            position.gross + gross,
            position.exit_cost + lots * price,
            position.fee + fee,
            position.funding,
            slippage,
        )
        return rest, with_balance(account, balance), NO_TRADE

    opened = position.opened_lots
    mean_price = price if lots == opened else (position.exit_cost + lots * price) / opened
    pnl = position.gross + gross - (position.fee + fee) + position.funding
    whole = size_of(market, opened)
    risk = whole * abs(position.entry_price - price_of(market, position.first_stop_ticks))
    if reason == STOP_LOSS and position.stop_ticks != position.first_stop_ticks:
        reason = TRAILING_STOP
    trade = Trade(
        position.side,
        position.entry_time,
        position.entry_price,
        time,
        mean_price,
        opened,
        position.leverage,
        whole * position.entry_price / position.leverage,
        position.first_stop_ticks,
        position.take_ticks,
        position.fee + fee,
        position.funding,
        pnl,
        pnl / risk if risk > 0.0 else NAN,  # a stop within one tick of the entry risks nothing to measure by
        reason,
        slippage if reason != LIQUIDATION else position.slippage,
        position.entry_equity,
    )
    closed = Account(
        balance,
        account.equity,
        account.day,
        account.day_start_equity,
        account.peak,
        0 if pnl > 0.0 else account.losses + 1,
        account.daily_locked,
        account.drawdown_locked,
        account.is_started,
    )
    return NO_POSITION, closed, trade

"""What people are told about trading: facts into the outbox, inside the trading transaction.

Every notice has a key made from what happened, so that a repeated report never tells it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from ctp.core.orders import ENTRY, FILLED, REJECTED
from ctp.core.steps import price_of, size_of
from ctp.core.types import (
    DAILY_LOSS_LOCK,
    EXIT_REASONS,
    LIQUIDATION,
    LONG,
    REFUSALS,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAILING_STOP,
    Market,
)
from ctp.notifiers.kinds import Kind
from ctp.notifiers.outbox import tell_account
from ctp.trading import rows
from ctp.trading.exchange import WOULD_MATCH
from ctp.trading.fold import ClosedTrade, Memory

if TYPE_CHECKING:
    from ctp.trading.store import AccountInfo

SYSTEM_ERROR: Final = "system_error"
TRADE_EXECUTED: Final = "trade_executed"
POSITION_OPENED: Final = "position_opened"
POSITION_CLOSED: Final = "position_closed"
_CLOSED_BY: dict[int, Kind] = {
    STOP_LOSS: "stop_loss_hit",
    TRAILING_STOP: "stop_loss_hit",
    TAKE_PROFIT: "take_profit_hit",
}


def tell(
    connection: sa.Connection,
    account: AccountInfo,
    kind: Kind,
    facts: dict[str, Any],
    key: str,
    now_ms: int,
    *,
    urgent: bool = False,
) -> None:
    """Put a notice to the account's people into the outbox, once per key."""
    tell_account(connection, account.id, kind, facts, key, now_ms, urgent=urgent)


def tell_trouble(
    connection: sa.Connection, account: AccountInfo, what: str, key: str, now_ms: int, *, urgent: bool = True, **facts: Any
) -> None:
    """Tell the owner that something needs a person's eye. `what` names the text."""
    tell(connection, account, SYSTEM_ERROR, {"what": what, **facts}, key, now_ms, urgent=urgent)


def after_facts(
    connection: sa.Connection,
    account: AccountInfo,
    current: Memory,
    markets: Sequence[Market],
    order_ids: Sequence[str],
    closed: Sequence[ClosedTrade],
    equity: float,
    now_ms: int,
) -> None:
    """Tell about orders that have filled and positions that have opened or closed.

    order_ids: orders about which something was just learnt. closed: trades written just now. equity: at the newest
    prices; what the account's row says is as old as the last decision.
    """
    today = _today(current, equity)
    numbers = {symbol: number for number, symbol in enumerate(current.symbols)}
    for order_id in order_ids:
        order = rows.read_order(connection, order_id)
        if order is None:
            continue
        if order.status == REJECTED and order.purpose == ENTRY and order.error not in (rows.GAP_IN_DATA, WOULD_MATCH):
            about = {"symbol": order.symbol, "error": order.error or ""}
            tell_trouble(connection, account, "order_rejected", f"rejected:{order.id}", now_ms, urgent=False, **about)
        if order.status != FILLED:
            continue
        price, fee, fee_asset = rows.mean_fill(connection, order.id)
        done = {
            "symbol": order.symbol,
            "side": order.side,
            "size": str(order.filled),
            "price": float(price),
            "fee": float(fee),
            "fee_asset": fee_asset,
            "reason": order.reason,
            **today,
        }
        tell(connection, account, TRADE_EXECUTED, done, f"filled:{order.id}", now_ms)
        number = numbers.get(order.symbol)
        if order.purpose != ENTRY or number is None or current.entry_orders.get(order.symbol) != order.id:
            continue
        position, market = current.states[number].position, markets[number]
        size, stop = size_of(market, position.lots), price_of(market, position.stop_ticks)
        opened = {
            "symbol": order.symbol,
            "side": "long" if position.side == LONG else "short",
            "size": size,
            "price": position.entry_price,
            "stop": stop,
            "take": price_of(market, position.take_ticks) if position.take_ticks else None,
            "leverage": position.leverage,
            "margin": position.margin,
            "reason": order.reason,
            "risk": size * abs(position.entry_price - stop),
            "equity": position.entry_equity,
            **today,
        }
        tell(connection, account, POSITION_OPENED, opened, f"opened:{order.id}", now_ms)
    for one in closed:
        tell_closed(connection, account, one, markets[numbers[one.symbol]], current, today, now_ms)


def tell_lock(
    connection: sa.Connection, account: AccountInfo, what: str, current: Memory, equity: float, now_ms: int
) -> None:
    """Tell that a lock ended all entries: the day's once a day, the drawdown's each time it engages."""
    money = current.account
    is_for_the_day = what == REFUSALS[DAILY_LOSS_LOCK]
    number = money.day if is_for_the_day else current.decision_time
    limit = {"day_start_equity": money.day_start_equity} if is_for_the_day else {"peak": money.peak}
    facts = {"equity": equity, **limit, **_today(current, equity)}
    tell_trouble(connection, account, what, f"{what}:{number}", now_ms, urgent=not is_for_the_day, **facts)


def _today(current: Memory, equity: float) -> dict[str, float]:
    """Return today's profit so far; nothing before the first decision, which opens the first day."""
    money = current.account
    return {"day_pnl": equity - money.day_start_equity} if money.is_started else {}


def tell_closed(
    connection: sa.Connection,
    account: AccountInfo,
    one: ClosedTrade,
    market: Market,
    current: Memory,
    today: dict[str, float],
    now_ms: int,
) -> None:
    """Tell that a position was closed, and whether its stop-loss or take-profit did it."""
    trade = one.trade
    facts = {
        "symbol": one.symbol,
        "side": "long" if trade.side == LONG else "short",
        "size": size_of(market, trade.lots),
        "entry_price": trade.entry_price,
        "price": trade.exit_price,
        "pnl": trade.pnl,
        "r_multiple": trade.r_multiple,
        "entry_time": trade.entry_time,
        "exit_time": trade.exit_time,
        "reason": EXIT_REASONS[trade.reason],
        "fee": trade.fee,
        "funding": trade.funding,
        "balance": current.account.balance,
        **today,
    }
    kind = _CLOSED_BY.get(trade.reason, POSITION_CLOSED)
    tell(connection, account, kind, facts, f"closed:{one.entry_order_id}", now_ms)
    if trade.reason == LIQUIDATION:
        tell_trouble(connection, account, "liquidated", f"liquidated:{one.entry_order_id}", now_ms, symbol=one.symbol)

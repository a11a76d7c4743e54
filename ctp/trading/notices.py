"""What people are told about trading: facts into the outbox, inside the trading transaction.

Every notice has a key made from what happened, so that a repeated report never tells it twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ctp.core.orders import ENTRY, FILLED
from ctp.core.steps import price_of, size_of
from ctp.core.types import EXIT_REASONS, LONG, STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, Market
from ctp.storage.database import insert_or
from ctp.storage.tables import notices
from ctp.trading import rows
from ctp.trading.fold import ClosedTrade, Memory

if TYPE_CHECKING:
    from ctp.trading.store import AccountInfo

SYSTEM_ERROR, TRADE_EXECUTED = "system_error", "trade_executed"
POSITION_OPENED, POSITION_CLOSED = "position_opened", "position_closed"
STOP_LOSS_HIT, TAKE_PROFIT_HIT = "stop_loss_hit", "take_profit_hit"


def tell(
    connection: sa.Connection,
    account: AccountInfo,
    kind: str,
    facts: dict[str, Any],
    key: str,
    now_ms: int,
    *,
    urgent: bool = False,
) -> None:
    """Put a notice to the account's owner into the outbox, once per key."""
    values = {
        "user_id": account.user_id,
        "account_id": account.id,
        "kind": kind,
        "facts": json.dumps(facts | {"account": account.name, "mode": account.mode, "quote": account.quote}),
        "deduplication_key": f"{account.id}:{key}"[:128],
        "urgent": urgent,
        "created_at": now_ms,
    }
    connection.execute(insert_or(connection, notices).values(values).on_conflict_do_nothing())


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
    now_ms: int,
) -> None:
    """Tell about orders that have filled and positions that have opened or closed.

    order_ids: orders about which something was just learnt. closed: trades written just now.
    """
    numbers = {symbol: number for number, symbol in enumerate(current.symbols)}
    for order_id in order_ids:
        order = rows.read_order(connection, order_id)
        if order is None or order.status != FILLED:
            continue
        done = {"symbol": order.symbol, "side": order.side, "size": str(order.filled), "reason": order.reason}
        tell(connection, account, TRADE_EXECUTED, done | {"order": order.id}, f"filled:{order.id}", now_ms)
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
            "risk": size * abs(position.entry_price - stop),
            "equity": position.entry_equity,
        }
        tell(connection, account, POSITION_OPENED, opened, f"opened:{order.id}", now_ms)
    for one in closed:
        tell_closed(connection, account, one, markets[numbers[one.symbol]], current, now_ms)


def tell_closed(
    connection: sa.Connection, account: AccountInfo, one: ClosedTrade, market: Market, current: Memory, now_ms: int
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
        "reason": EXIT_REASONS[trade.reason],
        "fee": trade.fee,
        "funding": trade.funding,
        "balance": current.account.balance,
    }
    tell(connection, account, POSITION_CLOSED, facts, f"closed:{one.entry_order_id}", now_ms)
    if trade.reason in (STOP_LOSS, TRAILING_STOP):
        tell(connection, account, STOP_LOSS_HIT, facts, f"stop:{one.entry_order_id}", now_ms)
    if trade.reason == TAKE_PROFIT:
        tell(connection, account, TAKE_PROFIT_HIT, facts, f"take:{one.entry_order_id}", now_ms)

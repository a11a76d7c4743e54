"""The bot's rows: orders, ledger, trades, decisions, states. Reads and writes inside the caller's transaction.

Invariants:
1. A fill or funding row is written once, however often it is reported.
2. A trade row is written once, with the order that opened it as its name.
3. What is known about an order only grows (`ctp.core.orders.join`); it is final only once its fills are booked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.core import types
from ctp.core.memory import dump, load
from ctp.core.orders import ENTRY, FINAL, NOT_SENT, PARTIAL, Progress, join
from ctp.core.steps import price_of, size_of
from ctp.core.types import EXIT_REASONS, LONG, OUTCOMES, REFUSALS, REFUSED, Market, Plan
from ctp.storage.database import insert_or
from ctp.storage.tables import decisions, ledger, orders, trades
from ctp.trading.fold import FILL, ClosedTrade, EntryPlan, Fact, Memory

GAP_IN_DATA = REFUSALS[types.GAP_IN_DATA]  # why an entry was dropped whose symbol did not trade at its open


LIMIT = "limit"  # the type of an entry that rests for one candle


class OrderRow(NamedTuple):
    """A row of `orders`."""

    id: str
    account_id: int
    symbol: str
    purpose: str
    side: str
    type: str
    size: Decimal
    trigger_price: Decimal | None
    reduce_only: bool
    reason: str
    status: str
    exchange_id: str | None
    filled: Decimal
    candle_time: int | None
    planned_at: int
    sent_at: int | None
    fence_until: int | None
    updated_at: int
    error: str | None
    plan: str


class OrderNews(NamedTuple):
    """Something learnt about an order."""

    id: str
    progress: Progress
    exchange_id: str | None = None
    error: str | None = None
    fence_until: int | None = None


def given_up(row: OrderRow, why: str) -> OrderNews:
    """Return the end of an order that never left."""
    return OrderNews(row.id, Progress(NOT_SENT, Decimal(0)), error=why)


def insert_orders(connection: sa.Connection, rows: Iterable[OrderRow]) -> None:
    """Write planned orders; their ids are new."""
    values = [row._asdict() for row in rows]
    if values:
        connection.execute(sa.insert(orders), values)


def move_fences(connection: sa.Connection, planned: Iterable[OrderRow]) -> None:
    """Write the fences of orders that are about to leave."""
    for row in planned:
        connection.execute(sa.update(orders).where(orders.c.id == row.id).values(fence_until=row.fence_until))


def read_order(connection: sa.Connection, order_id: str) -> OrderRow | None:
    """Return an order by its client order id."""
    row = connection.execute(sa.select(orders).where(orders.c.id == order_id)).first()
    return None if row is None else OrderRow(**row._mapping)


def unfinished_orders(connection: sa.Connection, account_id: int) -> dict[str, OrderRow]:
    """Return the orders of an account that are not final, by id, oldest first."""
    query = (
        sa.select(orders)
        .where(orders.c.account_id == account_id, orders.c.status.not_in(sorted(FINAL)))
        .order_by(orders.c.planned_at, orders.c.id)
    )
    return {row.id: OrderRow(**row._mapping) for row in connection.execute(query)}


def attempts_made(connection: sa.Connection, account_id: int, symbol: str, candle_time: int, purpose: str) -> int:
    """Return how many orders of one purpose a candle already has."""
    query = sa.select(sa.func.count()).where(
        orders.c.account_id == account_id,
        orders.c.symbol == symbol,
        orders.c.candle_time == candle_time,
        orders.c.purpose == purpose,
    )
    return int(connection.execute(query).scalar_one())


def apply_news(connection: sa.Connection, news: Iterable[OrderNews], now_ms: int) -> None:
    """Join what was learnt into the orders' rows.

    An order that has ended stays unfinished here (`partial`) until the ledger holds every fill its report counts: only
    unfinished orders are looked at again, and a fill that is never looked for is a position nobody protects.
    """
    told = list(news)
    booked = filled_sizes(connection, sorted({one.id for one in told}))
    for one in told:
        row = read_order(connection, one.id)
        if row is None:
            continue
        known = join(Progress(row.status, row.filled), one.progress, row.size)
        if known.status in FINAL and known.filled > booked.get(one.id, Decimal(0)):
            known = Progress(PARTIAL, known.filled)
        values: dict[str, Any] = {"status": known.status, "filled": known.filled, "updated_at": now_ms}
        if one.exchange_id:
            values["exchange_id"] = one.exchange_id
        if one.error is not None:
            values["error"] = one.error[:256]
        if one.fence_until is not None:
            values |= {"fence_until": one.fence_until, "sent_at": now_ms}
        connection.execute(sa.update(orders).where(orders.c.id == one.id).values(values))
        if one.error == GAP_IN_DATA and known.status in FINAL and known.filled == 0:
            _drop_entry(connection, row)


def _drop_entry(connection: sa.Connection, row: OrderRow) -> None:
    """Let the journal say what became of a planned entry whose candle never came: dropped, as in a backtest."""
    connection.execute(
        sa.update(decisions)
        .where(
            decisions.c.account_id == row.account_id,
            decisions.c.symbol == row.symbol,
            decisions.c.candle_time == row.candle_time,
        )
        .values(outcome=OUTCOMES[REFUSED], reason=GAP_IN_DATA)
    )


def dropped_plans(connection: sa.Connection, account_id: int, planned: Mapping[str, int]) -> dict[str, Plan]:
    """Return the plans of entries that a gap has dropped, by symbol.

    planned: open time of the candle whose close planned an entry, by symbol.
    """
    if not planned:
        return {}
    query = sa.select(orders.c.symbol, orders.c.candle_time, orders.c.plan).where(
        orders.c.account_id == account_id,
        orders.c.purpose == ENTRY,
        orders.c.error == GAP_IN_DATA,
        orders.c.candle_time.in_(sorted(set(planned.values()))),
    )
    found = connection.execute(query).all()
    return {row.symbol: read_plan(row.plan).plan for row in found if planned.get(row.symbol) == row.candle_time}


def insert_facts(connection: sa.Connection, account_id: int, facts: Iterable[Fact], now_ms: int) -> int:
    """Write facts in the given order, each once; returns how many were new. Their ids are given by the database."""
    new = 0
    for fact in facts:
        values = fact._asdict() | {"account_id": account_id, "recorded_at": now_ms}
        del values["id"]
        statement = insert_or(connection, ledger).values(values)
        new += connection.execute(statement.on_conflict_do_nothing()).rowcount
    return new


def facts_since(connection: sa.Connection, account_id: int, memory: Memory) -> tuple[Fact, ...]:
    """Return the facts that the memory does not hold yet."""
    wanted = ledger.c.id > memory.ledger_id
    if memory.pending:
        wanted = sa.or_(wanted, ledger.c.id.in_(memory.pending))
    columns = [ledger.c[name] for name in Fact._fields]
    query = sa.select(*columns).where(ledger.c.account_id == account_id, wanted).order_by(ledger.c.id)
    return tuple(Fact(**row._mapping) for row in connection.execute(query))


def last_fill_ids(connection: sa.Connection, account_id: int) -> dict[str, str]:
    """Return the newest fill id per symbol; ids grow with time within a symbol."""
    query = sa.select(ledger.c.symbol, ledger.c.external_id).where(
        ledger.c.account_id == account_id, ledger.c.kind == FILL
    )
    newest: dict[str, str] = {}
    for symbol, external_id in connection.execute(query):
        if external_id.isdigit() and int(external_id) > int(newest.get(symbol, "-1")):
            newest[symbol] = external_id
    return newest


def filled_sizes(connection: sa.Connection, order_ids: Sequence[str]) -> dict[str, Decimal]:
    """Return how much of each order the ledger holds."""
    sizes: dict[str, Decimal] = {}
    query = sa.select(ledger.c.order_id, ledger.c.size).where(ledger.c.order_id.in_(order_ids), ledger.c.kind == FILL)
    for order_id, size in connection.execute(query):
        sizes[order_id] = sizes.get(order_id, Decimal(0)) + size
    return sizes


def mean_fill(connection: sa.Connection, order_id: str) -> tuple[Decimal, Decimal, str]:
    """Return an order's mean price, the sum of its fees, and the coin they were taken in."""
    columns = (ledger.c.price, ledger.c.size, ledger.c.amount, ledger.c.asset)
    fills = connection.execute(sa.select(*columns).where(ledger.c.order_id == order_id, ledger.c.kind == FILL)).all()
    size = sum((fill.size for fill in fills), Decimal(0))
    if not size:
        return Decimal(0), Decimal(0), ""
    worth = sum((fill.price * fill.size for fill in fills), Decimal(0))
    return worth / size, sum((fill.amount for fill in fills), Decimal(0)), fills[0].asset


def orders_behind(
    connection: sa.Connection, facts: Sequence[Fact], memory: Memory
) -> tuple[dict[str, EntryPlan], dict[str, str]]:
    """Return (plans of entries, purposes) of the orders that facts and open positions refer to, by order id."""
    wanted = {fact.order_id for fact in facts if fact.order_id} | set(memory.entry_orders.values())
    plans: dict[str, EntryPlan] = {}
    purposes: dict[str, str] = {}
    if not wanted:
        return plans, purposes
    query = sa.select(orders.c.id, orders.c.purpose, orders.c.plan).where(orders.c.id.in_(sorted(wanted)))
    for row in connection.execute(query):
        purposes[row.id] = row.purpose
        if row.purpose == ENTRY:
            plans[row.id] = read_plan(row.plan)
    return plans, purposes


def write_plan(plan: Plan, take_width: float) -> str:
    """Return the JSON text of what an entry was planned with."""
    return dump(plan._asdict() | {"take_width": take_width})


def read_plan(text: str) -> EntryPlan:
    """Return what an entry was planned with."""
    plain = load(text)
    take_width = plain.pop("take_width")
    return EntryPlan(Plan(**plain), take_width)


def insert_trades(
    connection: sa.Connection, account_id: int, closed: Iterable[ClosedTrade], markets: dict[str, Market]
) -> list[ClosedTrade]:
    """Write closed trades, each once; returns those that were new."""
    new = []
    for one in closed:
        market, trade = markets[one.symbol], one.trade
        values = {
            "account_id": account_id,
            "symbol": one.symbol,
            "side": "long" if trade.side == LONG else "short",
            "entry_time": trade.entry_time,
            "entry_price": trade.entry_price,
            "exit_time": trade.exit_time,
            "exit_price": trade.exit_price,
            "size": size_of(market, trade.lots),
            "leverage": trade.leverage,
            "margin": trade.margin,
            "stop_price": price_of(market, trade.first_stop_ticks),
            "take_price": price_of(market, trade.take_ticks) if trade.take_ticks else None,
            "fee": trade.fee,
            "funding": trade.funding,
            "pnl": trade.pnl,
            "r_multiple": trade.r_multiple,
            "exit_reason": EXIT_REASONS[trade.reason],
            "entry_order_id": one.entry_order_id,
            "exit_order_id": one.exit_order_id,
        }
        statement = insert_or(connection, trades).values(values).on_conflict_do_nothing()
        if connection.execute(statement).rowcount:
            new.append(one)
    return new

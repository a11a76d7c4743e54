"""What one account has on disk, and the transactions that change it.

Invariants:
1. A decision is one transaction: state, journal, planned orders, equity sample, notices. All of it or none.
2. A fact is one transaction with everything that follows from it: order status, closed trades, the protective orders
   that the position now needs (planned, before they are sent), notices.
3. A `View` is what the database said inside that same transaction, or follows from what was written in it alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.core.memory import dump
from ctp.core.orders import EMERGENCY, ENTRY, EXIT, FINAL, PARTIAL, PROTECTIVE, RESTING, Progress
from ctp.core.types import Plan
from ctp.storage.database import insert_or
from ctp.storage.tables import account_states, decision_points, decisions, equity_samples, ledger, orders
from ctp.trading import notices, rows
from ctp.trading.decision import Decided, JournalRow, Rules
from ctp.trading.equity_watch import Prices, equity_at
from ctp.trading.fold import LOCK, TRANSFER, EntryPlan, Fact, Folded, Memory, Terms, fold
from ctp.trading.memory_text import write_memory
from ctp.trading.rows import LIMIT, OrderNews, OrderRow

RUNNING, PAUSED, STOPPED, BLOCKED = "running", "paused", "stopped", "blocked"
POINT_EVERY_MS = 7 * 86_400_000
POINTS_KEPT_MS = 31 * 86_400_000  # a day more than is replayed
RESTORED = "restored"  # how the reason of a status begins that a restored backup set


@dataclasses.dataclass(frozen=True)
class AccountInfo:
    """What never changes while an account trades, except its capital."""

    id: int
    user_id: int
    name: str
    exchange: str
    mode: str
    symbols: tuple[str, ...]  # alphabetical
    timeframe: str
    timeframe_ms: int
    quote: str
    capital: Decimal | None


class View(NamedTuple):
    """An account at one moment: the memory, what happened since, and the orders that are not final."""

    memory: Memory
    folded: Folded
    facts: tuple[Fact, ...]
    plans: Mapping[str, EntryPlan]
    purposes: Mapping[str, str]
    unfinished: Mapping[str, OrderRow]

    def lots(self, symbol: str) -> int:
        """Return the signed lots of our position now."""
        position = self.folded.memory.states[self.memory.symbols.index(symbol)].position
        return position.side * position.lots

    def in_flight(self) -> dict[str, Plan | None]:
        """Return the symbols with an unfinished market order; the plan when it is an entry."""
        found: dict[str, Plan | None] = {}
        for row in self.unfinished.values():
            if row.purpose not in PROTECTIVE:
                found[row.symbol] = rows.read_plan(row.plan).plan if row.purpose == ENTRY else None
        return found

    def entered_after(self, pending: Collection[int]) -> dict[str, Plan | None]:
        """Return the symbols that entries of ours have filled in candles later than the one decided on, with their plans.

        pending: ids of the facts of later candles. The order may be final: only its fill tells that the symbol is taken.
        """
        return {
            fact.symbol: self.plans[fact.order_id].plan
            for fact in self.facts
            if fact.id in pending and fact.order_id is not None and self.purposes.get(fact.order_id) == ENTRY
        }

    def resting_entries(self, symbol: str) -> list[OrderRow]:
        """Return the limit entries of a symbol that rest at the exchange."""
        return [
            row
            for row in self.unfinished.values()
            if row.symbol == symbol and row.type == LIMIT and row.status in RESTING
        ]

    def with_orders(self, planned: Sequence[OrderRow]) -> View:
        """Return the view once these orders are written."""
        return self._replace(unfinished={**self.unfinished, **{row.id: row for row in planned}})

    def protective(self, symbol: str) -> list[OrderRow]:
        """Return the protective orders of a symbol that may be live."""
        return [row for row in self.unfinished.values() if row.symbol == symbol and row.purpose in PROTECTIVE]


class AccountRow(NamedTuple):
    """The row of `account_states`."""

    status: str
    status_reason: str
    parameter_version: int | None
    core_state: str
    decision_time: int
    ledger_id: int


class Store:
    """The transactions of one account. Every method runs inside the caller's transaction."""

    def __init__(self, account: AccountInfo) -> None:
        """Bind to an account."""
        self.account = account

    def read_row(self, connection: sa.Connection, now_ms: int) -> AccountRow:
        """Return the account's row, made on first sight as stopped."""
        columns = [account_states.c[name] for name in AccountRow._fields]
        query = sa.select(*columns).where(account_states.c.account_id == self.account.id)
        found = connection.execute(query).first()
        if found is None:
            values = {"account_id": self.account.id, "status": STOPPED, "core_state": "{}", "updated_at": now_ms}
            connection.execute(insert_or(connection, account_states).values(values).on_conflict_do_nothing())
            return AccountRow(STOPPED, "", None, "{}", 0, 0)
        return AccountRow(**{**found._mapping, "decision_time": found.decision_time or 0})

    def set_status(self, connection: sa.Connection, status: str, reason: str, now_ms: int) -> None:
        """Write whether the account may trade."""
        self._update(connection, now_ms, status=status, status_reason=reason[:256])

    def view(self, connection: sa.Connection, memory: Memory, rules: Rules) -> View:
        """Return the account as the database has it now."""
        facts = rows.facts_since(connection, self.account.id, memory)
        plans, purposes = rows.orders_behind(connection, facts, memory)
        unfinished = rows.unfinished_orders(connection, self.account.id)
        folded = fold(memory, facts, plans, purposes, self.terms(rules))
        return View(memory, folded, facts, plans, purposes, unfinished)

    def terms(self, rules: Rules) -> Terms:
        """Return what folding needs."""
        return Terms(rules.markets, rules.timeframe_ms, rules.strategy, self.account.quote)

    def start(
        self, connection: sa.Connection, memory: Memory, rules: Rules, capital: Decimal, market_time: int, now_ms: int
    ) -> View:
        """Write the first state of an account, with its allotted capital as the first transfer."""
        first = Fact(
            0, TRANSFER, "", market_time, None, "capital-1", None, None, None, capital, self.account.quote, "start"
        )
        rows.insert_facts(connection, self.account.id, [first], now_ms)
        newest = sa.select(sa.func.max(ledger.c.id)).where(ledger.c.account_id == self.account.id)
        memory = memory._replace(ledger_id=connection.execute(newest).scalar_one())
        self._save(connection, memory, memory, rules, now_ms, capital=capital)
        self._put_point(connection, memory, rules, now_ms)
        return self.view(connection, memory, rules)

    def take_up(self, connection: sa.Connection, memory: Memory, rules: Rules, now_ms: int) -> View:
        """Return the view of a memory that was read again; from here on its decisions can be replayed with these rules."""
        self._put_point(connection, memory, rules, now_ms)
        return self.view(connection, memory, rules)

    def transfer(self, connection: sa.Connection, amount: Decimal, capital: Decimal, market_time: int, now_ms: int) -> None:
        """Record a change of the allotted capital."""
        count = sa.select(sa.func.count()).where(ledger.c.account_id == self.account.id, ledger.c.kind == TRANSFER)
        number = connection.execute(count).scalar_one() + 1
        quote, name = self.account.quote, f"capital-{number}"
        fact = Fact(0, TRANSFER, "", market_time, None, name, None, None, None, amount, quote, "transfer")
        rows.insert_facts(connection, self.account.id, [fact], now_ms)
        self._update(connection, now_ms, capital=capital)

    def capital(self, connection: sa.Connection) -> Decimal | None:
        """Return the capital recorded last; None before the first Start."""
        query = sa.select(account_states.c.capital).where(account_states.c.account_id == self.account.id)
        found: Decimal | None = connection.execute(query).scalar()
        return found

    def replace_memory(self, connection: sa.Connection, memory: Memory, rules: Rules, now_ms: int) -> View:
        """Write a memory that changed without a decision: unlocked, or warmed up for other parameters."""
        view = self.view(connection, memory, rules)
        self._save(connection, memory, view.folded.memory, rules, now_ms)
        self._put_point(connection, memory, rules, now_ms)
        return view

    def commit_decision(
        self,
        connection: sa.Connection,
        decided: Decided,
        planned: Sequence[OrderRow],
        current: Memory,
        rules: Rules,
        now_ms: int,
    ) -> None:
        """Write everything a candle close led to. `current` is the new memory with every known fact folded in."""
        memory = decided.memory
        connection.execute(
            sa.insert(decisions), [self._decision_values(row, memory, rules, now_ms) for row in decided.journal]
        )
        rows.insert_orders(connection, planned)
        self._sample(connection, memory)
        self._save(connection, memory, current, rules, now_ms)
        if memory.decision_time // POINT_EVERY_MS != (memory.decision_time - rules.timeframe_ms) // POINT_EVERY_MS:
            self._put_point(connection, memory, rules, now_ms)
        for what in decided.locks:
            notices.tell_lock(connection, self.account, what, memory, memory.account.equity, now_ms)

    def after_decision(self, view: View, decided: Decided, planned: Sequence[OrderRow], rules: Rules) -> View:
        """Return the view that follows from a decision once it is committed; nothing needs to be read again."""
        memory = decided.memory
        waiting = frozenset(memory.pending)
        facts = tuple(fact for fact in view.facts if fact.id > memory.ledger_id or fact.id in waiting)
        folded = fold(memory, facts, view.plans, view.purposes, self.terms(rules))
        return view._replace(memory=memory, folded=folded, facts=facts).with_orders(planned)

    def record(
        self,
        connection: sa.Connection,
        memory: Memory,
        rules: Rules,
        news: Sequence[OrderNews],
        facts: Sequence[Fact],
        prices: Prices,
        now_ms: int,
    ) -> View:
        """Write facts and order news with all that follows from them. `prices` tell today's P&L to whoever is told."""
        rows.insert_facts(connection, self.account.id, facts, now_ms)
        filled = rows.filled_sizes(connection, sorted({fact.order_id for fact in facts if fact.order_id}))
        booked = [OrderNews(name, Progress(PARTIAL, size)) for name, size in filled.items()]
        rows.apply_news(connection, [*news, *booked], now_ms)
        view = self.view(connection, memory, rules)
        markets = dict(zip(memory.symbols, rules.markets, strict=True))
        closed = rows.insert_trades(connection, self.account.id, view.folded.trades, markets)
        if facts:
            self._save(connection, memory, view.folded.memory, rules, now_ms)
        finished = {one.id for one in news} | {fact.order_id for fact in facts if fact.order_id}
        current = view.folded.memory
        equity = equity_at(current, rules.markets, prices, current.decision_time + rules.timeframe_ms)
        notices.after_facts(connection, self.account, current, rules.markets, sorted(finished), closed, equity, now_ms)
        for fact in facts:
            if fact.kind == LOCK:
                notices.tell_lock(connection, self.account, fact.reason, current, float(fact.amount), now_ms)
        return view

    def due_exits(self, connection: sa.Connection, view: View) -> dict[str, tuple[str, int]]:
        """Return symbol -> (reason, candle time) of positions whose exit was planned but is not under way.

        Once an exit was planned for a position it stays due until the position is closed, whatever became of the order.
        """
        due: dict[str, tuple[str, int]] = {}
        busy = view.in_flight()
        for symbol, opened_by in view.folded.memory.entry_orders.items():
            if symbol in busy:
                continue
            opened = sa.select(orders.c.planned_at).where(orders.c.id == opened_by).scalar_subquery()
            query = (
                sa.select(orders.c.reason, orders.c.candle_time)
                .where(
                    orders.c.account_id == self.account.id,
                    orders.c.symbol == symbol,
                    orders.c.purpose.in_((EXIT, EMERGENCY)),
                    orders.c.status.in_(sorted(FINAL)),
                    orders.c.planned_at >= opened,
                )
                .order_by(orders.c.planned_at.desc())
            )
            last = connection.execute(query).first()
            if last is not None:
                due[symbol] = (last.reason, last.candle_time)
        return due

    def _decision_values(self, row: JournalRow, memory: Memory, rules: Rules, now_ms: int) -> dict[str, Any]:
        """Return the columns of a journal row."""
        return {
            "account_id": self.account.id,
            "symbol": row.symbol,
            "candle_time": memory.decision_time,
            "outcome": row.outcome,
            "reason": row.reason,
            "numbers": dump(row.numbers),
            "parameter_version": rules.version,
            "decided_at": now_ms,
        }

    def _put_point(self, connection: sa.Connection, memory: Memory, rules: Rules, now_ms: int) -> None:
        """Keep the memory as a point to replay from; of the older ones, the last that lies before the replayed days."""
        if memory.decision_time == 0:
            return
        points, mine = decision_points, decision_points.c.account_id == self.account.id
        values = {
            "ledger_id": memory.ledger_id,
            "parameter_version": rules.version,
            "core_state": write_memory(memory, rules.markets, memory),
            "recorded_at": now_ms,
        }
        statement = insert_or(connection, points).values(
            account_id=self.account.id, decision_time=memory.decision_time, **values
        )
        keys = [points.c.account_id, points.c.decision_time]
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))
        old = sa.select(sa.func.max(points.c.decision_time)).where(
            mine, points.c.decision_time <= memory.decision_time - POINTS_KEPT_MS
        )
        connection.execute(sa.delete(points).where(mine, points.c.decision_time < old.scalar_subquery()))

    def _sample(self, connection: sa.Connection, memory: Memory) -> None:
        """Write the equity at a decision."""
        if not memory.account.is_started:
            return
        values = {
            "account_id": self.account.id,
            "time": memory.decision_time + self.account.timeframe_ms,
            "equity": memory.account.equity,
            "balance": memory.account.balance,
        }
        connection.execute(insert_or(connection, equity_samples).values(values).on_conflict_do_nothing())

    def _save(
        self, connection: sa.Connection, memory: Memory, current: Memory, rules: Rules, now_ms: int, **more: Any
    ) -> None:
        """Write the memory and the figures that dashboards read."""
        account = memory.account
        self._update(
            connection,
            now_ms,
            core_state=write_memory(memory, rules.markets, current),
            decision_time=memory.decision_time,
            ledger_id=memory.ledger_id,
            parameter_version=rules.version,
            equity=account.equity,
            balance=current.account.balance,
            day_start_equity=account.day_start_equity,
            daily_locked=bool(current.account.daily_locked),
            drawdown_locked=bool(account.drawdown_locked),
            **more,
        )

    def _update(self, connection: sa.Connection, now_ms: int, **values: Any) -> None:
        """Change columns of the account's row."""
        connection.execute(
            sa.update(account_states)
            .where(account_states.c.account_id == self.account.id)
            .values(updated_at=now_ms, **values)
        )

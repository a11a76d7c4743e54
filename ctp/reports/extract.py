"""Take what a report needs out of the database: one reading transaction, one account, into a folder.

Invariants:
1. Everything is read in one transaction and so belongs to one moment.
2. Every query names the account, which its reader was found to see; nothing of any other account is read.
3. The bot is not kept waiting: nothing is written and nothing is computed here that grows with the account's history,
   except the balance before the period.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.rights import Actor
from ctp.accounts.visible import AccountState, AccountView, ParameterVersion, Visible
from ctp.config import Settings
from ctp.core.memory import load
from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import is_perpetual_symbol
from ctp.core.strategies import DEFAULT_STRATEGY
from ctp.core.timeframes import timeframe_ms
from ctp.errors import NotFound
from ctp.reports.books import Books, candle_index, terms_of
from ctp.reports.extracted import (
    CloseRow,
    CommandRow,
    DecisionTime,
    EquityRow,
    LedgerRow,
    OutcomeCount,
    TradeRow,
    TroubleRow,
    write_extract,
)
from ctp.reports.periods import DAY_MS, Period, Zone, period_of
from ctp.reports.sections import Section
from ctp.storage.tables import (
    account_states,
    commands,
    decisions,
    equity_samples,
    ledger,
    notices,
    orders,
    parameter_versions,
    trades,
    users,
)

OWN_TIME_AFTER_MS = 2 * DAY_MS  # a market whose candles are further from our clock than this keeps its own time


class Scope(NamedTuple):
    """Whose account a report is about, who reads it, and when its days are."""

    account: AccountView
    state: AccountState | None
    core: Mapping[str, Any]  # the bot's memory as JSON; empty before the first start
    versions: Sequence[ParameterVersion]  # newest first
    risk: DynamicRiskManager
    zone: Zone


def read_scope(visible: Visible, account_id: int) -> Scope:
    """Return the account as its reader sees it. Raises NotFound."""
    account, state = visible.account(account_id), visible.state(account_id)
    versions = visible.parameter_versions(account_id, limit=500)
    told = versions[0].risk_parameters if versions else {}
    is_perpetual = any(is_perpetual_symbol(symbol) for symbol in account.symbols)
    risk = DynamicRiskManager.from_dict(told).for_market(is_perpetual)
    memory = sa.select(account_states.c.core_state).where(account_states.c.account_id == account.id)
    core = load(visible.connection.execute(memory).scalar() or "{}")
    return Scope(account, state, core, versions, risk, Zone(risk.zone_offset, timeframe_ms(account.timeframe)))


def reader_of(connection: sa.Connection, user_id: int) -> tuple[Actor, sa.Row[Any]]:
    """Return a person as the one who looks, and their row. Raises NotFound for nobody or somebody disabled."""
    row = connection.execute(sa.select(users).where(users.c.id == user_id, users.c.disabled_at.is_(None))).first()
    if row is None:
        raise NotFound(f"no user {user_id}")
    return Actor(row.id, row.name, row.role, None, "scheduler"), row


def extract(
    connection: sa.Connection,
    settings: Settings,
    scope: Scope,
    reader: sa.Row[Any],
    period: Period,
    sections: Sequence[Section],
    folder: Path,
    now_ms: int,
) -> None:
    """Write everything the report may tell into an empty folder."""
    reading = _Reading(connection, scope, reader, period)
    about = {
        "account": _account(settings, scope.account) | {"has_own_time": reading.has_own_time},
        "reader": {"zone": reader.zone, "theme": reader.theme, "rise_colour": reader.rise_colour},
        "period": {"kind": period.kind, "first": period.first.isoformat(), "last": period.last.isoformat()},
        "zone_offset": scope.zone.offset_hours,
        "timeframe_ms": scope.zone.timeframe_ms,
        "made_at": now_ms,
        "limits": _limits(scope.risk),
        "parameters": [_version(one) for one in scope.versions],
        "state": _state(scope),
        "markets": scope.core.get("markets", {}),
        "opening": reading.opening,
        "sections": [
            {"name": one.name, **one.tell(connection, scope.account.id, period)._asdict()} for one in sections
        ],
    }
    write_extract(folder, about, reading.rows())


class _Reading:
    """The rows of one account around one period."""

    def __init__(self, connection: sa.Connection, scope: Scope, reader: sa.Row[Any], period: Period) -> None:
        """Find out from when on rows are needed, and book everything before."""
        self.connection, self.scope, self.reader, self.period = connection, scope, reader, period
        self.account_id = scope.account.id
        self.since = window_start(period, scope.zone)
        self.until = period.end_ms
        self.equity = self._equity()
        # Where the close that ends the period is missing, the next one measures it.
        self.marked_until = max([self.until, *(row.time for row in self.equity[-1:])])
        # The mark before the window closes the day before: what happened after it is still to be told.
        self.first = min([self.since, *(row.time for row in self.equity[:1])])
        books = Books(terms_of(scope.core.get("markets", {})), scope.account.quote, scope.zone.timeframe_ms)
        self.ledger: list[LedgerRow] = []
        old: list[LedgerRow] = []
        for row in self._ledger():
            is_old = candle_index(row.fact(), scope.zone.timeframe_ms) * scope.zone.timeframe_ms < self.first
            (old if is_old else self.ledger).append(row)
        books.book_all([row.fact() for row in old], {row.order_id or "": row.purpose for row in old})
        self.opening = books.to_plain()
        self.decisions = self._decisions()
        self.has_own_time = keeps_own_time(connection, scope.account)

    def rows(self) -> dict[str, Sequence[Any]]:
        """Return every table of the extract."""
        start, end = self._wall_window()
        return {
            "ledger": self.ledger,
            "equity": self.equity,
            "trades": self._trades(),
            "decisions": self.decisions,
            "outcomes": self._outcomes(),
            "trouble": self._trouble(start, end),
            "commands": self._commands(start, end),
            "closes": self._closes(),
        }

    def _equity(self) -> list[EquityRow]:
        """Return equity from the last sample before the window to the first one after the period.

        Samples thin out with age; at the ends of days the decision journal remembers what a sample once said.
        """
        samples = equity_samples.c
        mine = samples.account_id == self.account_id
        before = sa.select(sa.func.max(samples.time)).where(mine, samples.time < self.since).scalar_subquery()
        next_day = sa.and_(samples.time >= self.until, samples.time < self.until + DAY_MS)
        after = sa.select(sa.func.min(samples.time)).where(mine, next_day).scalar_subquery()
        query = sa.select(samples.time, samples.equity, samples.balance).where(
            mine,
            samples.time >= sa.func.coalesce(before, self.since),
            samples.time <= sa.func.coalesce(after, self.until),
        )
        found = {row.time: EquityRow(*row) for row in self.connection.execute(query)}
        step = self.scope.zone.timeframe_ms
        day, missing = self.scope.zone.day_of(self.since), []
        while (moment := self.scope.zone.first_close(day)) <= self.until:
            missing += [moment - step] if moment not in found else []
            day += timedelta(days=1)
        journal = sa.select(decisions.c.candle_time, decisions.c.numbers).where(
            decisions.c.account_id == self.account_id, decisions.c.candle_time.in_(missing)
        )
        for row in self.connection.execute(journal):
            equity = json.loads(row.numbers).get("equity")
            if equity is not None:
                found[row.candle_time + step] = EquityRow(row.candle_time + step, float(equity), None)
        return [found[time] for time in sorted(found)]

    def _ledger(self) -> list[LedgerRow]:
        """Return the ledger up to the end of the period, with the order behind each row and its decided price."""
        columns = [
            ledger.c[name]
            for name in ("id", "kind", "symbol", "time", "order_id", "external_id", "side", "price", "size", "amount",
                         "asset", "reason")
        ]  # fmt: skip
        query = (
            sa.select(*columns, orders.c.purpose, orders.c.plan, orders.c.trigger_price, orders.c.candle_time)
            .outerjoin(orders, orders.c.id == ledger.c.order_id)
            .where(ledger.c.account_id == self.account_id, ledger.c.time < self.marked_until)
            .order_by(ledger.c.id)
        )
        closes = self._exit_closes()
        found = []
        for row in self.connection.execute(query):
            decided = None
            if row.purpose == "entry":
                decided = load(row.plan).get("close")
            elif row.trigger_price is not None:
                decided = float(row.trigger_price)
            elif row.purpose == "exit":
                decided = closes.get((row.symbol, row.candle_time))
            exact = [None if value is None else format(value, "f") for value in (row.price, row.size, row.amount)]
            found.append(
                LedgerRow(
                    row.id, row.kind, row.symbol, row.time, row.order_id, row.external_id, row.side, exact[0], exact[1],
                    exact[2] or "0", row.asset, row.reason, row.purpose or "", decided,
                )
            )  # fmt: skip
        return found

    def _exit_closes(self) -> dict[tuple[str, int], float]:
        """Return the close at which each planned exit around the window was decided, by symbol and candle."""
        query = sa.select(decisions.c.symbol, decisions.c.candle_time, decisions.c.numbers).where(
            decisions.c.account_id == self.account_id,
            decisions.c.outcome == "exit",
            decisions.c.candle_time >= self.since - DAY_MS,
            decisions.c.candle_time < self.until,
        )
        found = {}
        for row in self.connection.execute(query):
            close = json.loads(row.numbers).get("close")
            if close is not None:
                found[(row.symbol, row.candle_time)] = float(close)
        return found

    def _trades(self) -> list[TradeRow]:
        """Return the trades closed since the window began, with what was decided at their entry."""
        opened = sa.and_(
            decisions.c.account_id == trades.c.account_id,
            decisions.c.symbol == trades.c.symbol,
            decisions.c.candle_time == orders.c.candle_time,
        )
        decided_with = sa.and_(
            parameter_versions.c.account_id == decisions.c.account_id,
            parameter_versions.c.version == decisions.c.parameter_version,
        )
        query = (
            sa.select(trades, orders.c.plan, decisions.c.numbers, parameter_versions.c.strategy)
            .outerjoin(orders, orders.c.id == trades.c.entry_order_id)
            .outerjoin(decisions, opened)
            .outerjoin(parameter_versions, decided_with)
            .where(
                trades.c.account_id == self.account_id,
                trades.c.exit_time >= self.first,
                trades.c.exit_time < self.marked_until,
            )
            .order_by(trades.c.exit_time, trades.c.id)
        )
        names = [name for name in TradeRow._fields if not name.startswith("entry_") or name in trades.c]
        found = []
        for row in self.connection.execute(query):
            values = {name: row._mapping[name] for name in names}
            equity = load(row.plan or "{}").get("equity")
            strategy = row.strategy or DEFAULT_STRATEGY
            found.append(
                TradeRow(**values, entry_equity=equity, entry_numbers=row.numbers or "", entry_strategy=strategy)
            )
        return found

    def _decisions(self) -> list[DecisionTime]:
        """Return every close of the window that was decided on, oldest first."""
        step = self.scope.zone.timeframe_ms
        query = (
            sa.select(
                decisions.c.candle_time,
                sa.func.max(decisions.c.decided_at).label("decided_at"),
                sa.func.max(decisions.c.parameter_version).label("parameter_version"),
            )
            .where(
                decisions.c.account_id == self.account_id,
                decisions.c.candle_time >= self.since - step,
                decisions.c.candle_time <= self.until - step,
            )
            .group_by(decisions.c.candle_time)
            .order_by(decisions.c.candle_time)
        )
        return [
            DecisionTime(row.candle_time + step, row.decided_at, row.parameter_version)
            for row in self.connection.execute(query)
        ]

    def _outcomes(self) -> list[OutcomeCount]:
        """Return how decisions of the period came out, the most frequent first."""
        step, count = self.scope.zone.timeframe_ms, sa.func.count()
        query = (
            sa.select(decisions.c.outcome, decisions.c.reason, count)
            .where(
                decisions.c.account_id == self.account_id,
                decisions.c.candle_time >= self.period.start_ms - step,
                decisions.c.candle_time < self.until - step,
            )
            .group_by(decisions.c.outcome, decisions.c.reason)
            .order_by(count.desc(), decisions.c.outcome, decisions.c.reason)
        )
        return [OutcomeCount(*row) for row in self.connection.execute(query)]

    def _closes(self) -> list[CloseRow]:
        """Return the closes at the mark that ends the period."""
        marks = [row.time for row in self.equity if row.time >= self.until] or [row.time for row in self.equity[-1:]]
        if not marks:
            return []
        query = sa.select(decisions.c.symbol, decisions.c.numbers).where(
            decisions.c.account_id == self.account_id,
            decisions.c.candle_time == marks[0] - self.scope.zone.timeframe_ms,
        )
        found = []
        for row in self.connection.execute(query):
            numbers = json.loads(row.numbers)
            found.append(CloseRow(row.symbol, marks[0], numbers.get("close"), numbers.get("stop")))
        return found

    def _wall_window(self) -> tuple[int, int]:
        """Return when the period was by our own clock, which is another one than that of a simulated market."""
        if not self.has_own_time:
            return self.period.start_ms, self.period.end_ms
        inside = [one.decided_at for one in self.decisions if self.period.start_ms < one.close_time <= self.until]
        return (min(inside), max(inside) + 1) if inside else (0, 0)

    def _trouble(self, start: int, end: int) -> list[TroubleRow]:
        """Return the notices of trouble with this account that the reader got in the period, oldest first."""
        query = sa.select(notices.c.created_at, notices.c.facts).where(
            notices.c.user_id == self.reader.id,
            notices.c.account_id == self.account_id,
            notices.c.kind == "system_error",
            notices.c.created_at >= start,
            notices.c.created_at < end,
        )
        found = []
        for row in self.connection.execute(query.order_by(notices.c.id)):
            facts = json.loads(row.facts)
            found.append(TroubleRow(row.created_at, str(facts.get("what", "other")), str(facts.get("symbol", ""))))
        return found

    def _commands(self, start: int, end: int) -> list[CommandRow]:
        """Return what people asked of the bot in the period, oldest first."""
        query = (
            sa.select(commands, users.c.name.label("asker"))
            .outerjoin(users, users.c.id == commands.c.asked_by)
            .where(commands.c.account_id == self.account_id, commands.c.asked_at >= start, commands.c.asked_at < end)
            .order_by(commands.c.id)
        )
        return [
            CommandRow(row.asked_at, row.kind, row.asker or "", row.door, row.result or "")
            for row in self.connection.execute(query)
        ]


def keeps_own_time(connection: sa.Connection, account: AccountView) -> bool:
    """Tell whether an account's market is simulated at another time than ours: its newest candle is days away from it."""
    if account.mode != "paper":
        return False
    query = sa.select(decisions.c.candle_time, decisions.c.decided_at).where(decisions.c.account_id == account.id)
    newest = connection.execute(query.order_by(decisions.c.candle_time.desc()).limit(1)).first()
    return newest is not None and abs(newest.decided_at - newest.candle_time) > OWN_TIME_AFTER_MS


def window_start(period: Period, zone: Zone) -> int:
    """Return the earliest moment that a report looks back to: the week and the month of its last day, and the period."""
    marks: list[date] = [period.first, period_of("monthly", period.last, zone).first]
    marks.append(period_of("weekly", period.last, zone).first)
    return zone.first_close(min(marks))


def _account(settings: Settings, account: AccountView) -> dict[str, Any]:
    """Return what a report says about the account itself."""
    is_generated = account.mode == "paper" and settings.paper.endpoint(account.exchange).market == "generated"
    return {
        "name": account.name,
        "owner": None if account.relation == "owner" else account.owner,
        "mode": account.mode,
        "exchange": account.exchange,
        "quote": account.quote,
        "symbols": list(account.symbols),
        "timeframe": account.timeframe,
        "is_generated": is_generated,
    }


def _limits(risk: DynamicRiskManager) -> dict[str, float]:
    """Return the limits in force."""
    names = ("risk_per_trade", "daily_loss_limit", "max_drawdown", "loss_streak", "shrink", "shrink_floor")
    return {name: getattr(risk, name) for name in names}


def _version(version: ParameterVersion) -> dict[str, Any]:
    """Return what a report says about a parameter version."""
    return {"version": version.version, "created_at": version.created_at, "reason": version.reason}


def _state(scope: Scope) -> dict[str, Any] | None:
    """Return what the bot last said, with the losses in a row and the peak that tomorrow's locks depend on."""
    if scope.state is None:
        return None
    names = ("status", "status_reason", "equity", "day_start_equity", "daily_locked", "drawdown_locked", "updated_at")
    money = scope.core.get("account", {})
    return {name: getattr(scope.state, name) for name in names} | {
        "losses": money.get("losses", 0),
        "peak": money.get("peak"),
        "is_started": bool(money.get("is_started", 0)),
        "open_positions": len(scope.state.positions),
    }

"""What an actor may see of trading accounts. The only way from a person to the rows of an account.

Invariants:
1. Every row returned belongs to an account the actor owns or that is shared with them; there is no method without
   that filter.
2. An account that is not visible raises the same NotFound as one that does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple, cast

import sqlalchemy as sa

from ctp.accounts.rights import Action, Actor, Relation, allowed, require
from ctp.core.strategies import DEFAULT_STRATEGY
from ctp.errors import InputError, NotFound
from ctp.storage import tables


class AccountView(NamedTuple):
    """A trading account as somebody sees it."""

    id: int
    user_id: int
    owner: str
    name: str
    exchange: str
    mode: str  # paper, live
    symbols: tuple[str, ...]
    timeframe: str
    quote: str
    capital: Decimal | None
    closed_at: int | None
    created_at: int
    relation: Relation  # of the one who looks


class AccountState(NamedTuple):
    """What the bot last said about an account; `positions` are what is open now."""

    account_id: int
    status: str
    status_reason: str
    parameter_version: int | None
    decision_time: int | None
    capital: Decimal | None
    equity: float | None
    balance: float | None
    day_start_equity: float | None
    daily_locked: bool
    drawdown_locked: bool
    updated_at: int
    positions: tuple[dict[str, Any], ...]


class ParameterVersion(NamedTuple):
    """One version of an account's parameters."""

    id: int
    account_id: int
    version: int
    strategy: str
    strategy_parameters: dict[str, Any]
    risk_parameters: dict[str, Any]
    source_hash: str | None  # of the sources that decide, where it was appended
    data_hash: str | None
    verdict: str | None  # green, amber, red; None: never validated, or changed since
    fingerprint: str | None
    evidence: dict[str, Any]
    override: str
    author_id: int | None
    reason: str
    created_at: int


class CodePin(NamedTuple):
    """Which sources an account is known to decide with."""

    version: int
    source_hash: str
    pinned_at: int
    state: str  # pinned, unproven, changed
    found_hash: str | None
    checked_at: int | None
    compared: int
    differing: int
    differences: list[dict[str, Any]]


class CommandView(NamedTuple):
    """A command and how far it has come: asked, acknowledged, done."""

    id: int
    account_id: int
    kind: str
    arguments: dict[str, Any]
    asked_by: int | None
    door: str
    request_key: str | None
    asked_at: int
    acknowledged_at: int | None
    done_at: int | None
    result: str | None


class DecisionView(NamedTuple):
    """The decision recorded for one candle."""

    id: int
    account_id: int
    symbol: str
    candle_time: int
    outcome: str
    reason: str
    numbers: dict[str, Any]
    parameter_version: int
    decided_at: int
    strategy: str  # registry name


class Share(NamedTuple):
    """With whom an account is shared, and as what."""

    account_id: int
    user_id: int
    user_name: str
    role: str
    granted_by: int
    granted_at: int


class KeyHint(NamedTuple):
    """What may be shown of an exchange key: never the key."""

    account_id: int
    hint: str
    permissions: dict[str, Any]
    checked_at: int | None
    created_at: int


class ReportView(NamedTuple):
    """A report as its reader finds it in the list."""

    id: int
    account_id: int
    kind: str  # daily, weekly, monthly
    period: str  # its first day, YYYY-MM-DD
    language: str
    status: str  # done, failed
    file: str  # below the folder of reports
    chart: str  # likewise
    summary: dict[str, Any]
    created_at: int


class Visible:
    """The accounts an actor may see, inside one transaction."""

    def __init__(self, connection: sa.Connection, actor: Actor) -> None:
        """Look through this actor's eyes."""
        self.connection = connection
        self.actor = actor

    def accounts(self, *, with_closed: bool = False) -> list[AccountView]:
        """Return every account the actor sees, own ones first, then by name."""
        query = self._accounts()
        if not with_closed:
            query = query.where(tables.accounts.c.closed_at.is_(None))
        found = [_account(row) for row in self.connection.execute(query)]
        return sorted(found, key=lambda account: (account.relation != "owner", account.owner, account.name))

    def account(self, account_id: int) -> AccountView:
        """Return one account. Raises NotFound."""
        row = self.connection.execute(self._accounts().where(tables.accounts.c.id == account_id)).first()
        if row is None:
            raise NotFound(f"no account {account_id}")
        return _account(row)

    def find_account(self, reference: str) -> AccountView:
        """Return the account that a person means: its number, its name, or `user/name`.

        Raises NotFound, and InputError when several have that name.
        """
        owner, _, name = reference.rpartition("/")
        found = [
            account
            for account in self.accounts(with_closed=True)
            if reference == str(account.id) or (account.name == name and owner in ("", account.owner))
        ]
        if not found:
            raise NotFound(f"account = {reference!r}: there is none; `ctp account list` names them")
        if len(found) > 1:
            several = ", ".join(f"{account.owner}/{account.name}" for account in found)
            raise InputError("account", reference, f"several have this name; say which: {several}")
        return found[0]

    def may(self, action: Action, account: AccountView) -> bool:
        """Tell whether the actor may do something to an account it sees."""
        return allowed(self.actor, action, account.relation)

    def for_action(self, action: Action, account_id: int) -> AccountView:
        """Return an account the actor is about to change. Raises NotFound, or NotAllowed if it is merely seen."""
        account = self.account(account_id)
        require(self.actor, action, account.relation)
        return account

    def state(self, account_id: int) -> AccountState | None:
        """Return what the bot last said about an account; None before it first looked at it."""
        self.account(account_id)
        return self._states([account_id]).get(account_id)

    def states(self) -> dict[int, AccountState]:
        """Return what the bot last said, for every account the actor sees."""
        return self._states([account.id for account in self.accounts(with_closed=True)])

    def orders(self, account_id: int, *, working: bool = False, limit: int = 200) -> list[dict[str, Any]]:
        """Return orders, newest first; with `working` only those that may still fill."""
        query = self._rows(tables.orders, account_id).order_by(tables.orders.c.planned_at.desc()).limit(limit)
        if working:
            query = query.where(tables.orders.c.status.in_(("planned", "sent", "unknown", "open", "partial")))
        return self._mappings(query)

    def trades(
        self, account_id: int, *, limit: int = 200, before_id: int | None = None, symbol: str | None = None
    ) -> list[dict[str, Any]]:
        """Return closed trades, the last closed first."""
        query = self._rows(tables.trades, account_id).order_by(tables.trades.c.id.desc()).limit(limit)
        if symbol is not None:
            query = query.where(tables.trades.c.symbol == symbol)
        if before_id is not None:
            query = query.where(tables.trades.c.id < before_id)
        return self._mappings(query)

    def ledger(self, account_id: int, *, since_id: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """Return ledger rows, oldest first."""
        query = self._rows(tables.ledger, account_id).where(tables.ledger.c.id > since_id)
        return self._mappings(query.order_by(tables.ledger.c.id).limit(limit))

    def decisions(self, account_id: int, *, symbol: str | None = None, limit: int = 50) -> list[DecisionView]:
        """Return decisions, the newest candle first."""
        query = self._rows(tables.decisions, account_id)
        if symbol is not None:
            query = query.where(tables.decisions.c.symbol == symbol)
        query = query.order_by(tables.decisions.c.candle_time.desc(), tables.decisions.c.symbol).limit(limit)
        found = self._mappings(query)
        used = {row["parameter_version"] for row in found}
        versions = tables.parameter_versions.c
        rows = self.connection.execute(
            sa.select(versions.version, versions.strategy).where(
                versions.account_id == account_id, versions.version.in_(used)
            )
        )
        strategies = {row.version: row.strategy for row in rows}
        return [
            DecisionView(
                **{**row, "numbers": json.loads(row["numbers"])},
                strategy=strategies.get(row["parameter_version"], DEFAULT_STRATEGY),
            )
            for row in found
        ]

    def equity(self, account_id: int, *, since: int = 0, limit: int = 5000) -> list[tuple[int, float]]:
        """Return the newest equity samples since a time, oldest first: (time, equity)."""
        query = self._rows(tables.equity_samples, account_id).where(tables.equity_samples.c.time >= since)
        rows = self._mappings(query.order_by(tables.equity_samples.c.time.desc()).limit(limit))
        return [(row["time"], row["equity"]) for row in reversed(rows)]

    def candles(self, account_id: int, symbol: str, *, limit: int = 500, since: int = 0) -> list[dict[str, Any]]:
        """Return the newest live candles of one of the account's symbols, oldest first, the open one included.

        since: the earliest open time wanted.
        """
        account = self.account(account_id)
        if symbol not in account.symbols:
            raise NotFound(f"account {account_id} does not trade {symbol}")
        live = tables.live_candles.c
        query = sa.select(tables.live_candles).where(
            live.exchange == account.exchange,
            live.market == account.mode,
            live.symbol == symbol,
            live.timeframe == account.timeframe,
            live.time >= since,
        )
        return self._mappings(query.order_by(live.time.desc()).limit(limit))[::-1]

    def parameter_versions(self, account_id: int, *, limit: int = 50) -> list[ParameterVersion]:
        """Return parameter versions, newest first."""
        query = self._rows(tables.parameter_versions, account_id)
        query = query.order_by(tables.parameter_versions.c.version.desc()).limit(limit)
        return [parameter_version(row) for row in self._mappings(query)]

    def code_pin(self, account_id: int) -> CodePin | None:
        """Return which sources an account decides with, and what a replay by others showed; None before its first start."""
        for row in self._mappings(self._rows(tables.code_pins, account_id)):
            return CodePin(**{name: row[name] for name in CodePin._fields} | {"differences": json.loads(row["differences"])})
        return None

    def commands(self, account_id: int, *, limit: int = 20) -> list[CommandView]:
        """Return commands, newest first."""
        query = self._rows(tables.commands, account_id).order_by(tables.commands.c.id.desc()).limit(limit)
        return [command_view(row) for row in self._mappings(query)]

    def command(self, command_id: int) -> CommandView:
        """Return one command of an account the actor sees, or of the actor's own asking. Raises NotFound."""
        query = sa.select(tables.commands).where(tables.commands.c.id == command_id)
        for row in self._mappings(query):
            if self.actor.is_machine or row["asked_by"] != self.actor.user_id:
                self.account(row["account_id"])
            return command_view(row)
        raise NotFound(f"no command {command_id}")

    def reports(
        self,
        account_id: int | None = None,
        *,
        kind: str | None = None,
        limit: int = 50,
        before: tuple[str, int] | None = None,
    ) -> list[ReportView]:
        """Return the actor's own reports about accounts it sees, the newest period first.

        before: (period, id) of the last report seen, to go on from. Raises NotFound for an account that is not visible.
        """
        if account_id is not None:
            self.account(account_id)
        report = tables.reports.c
        query = self._reports().order_by(report.period.desc(), report.id.desc()).limit(limit)
        if account_id is not None:
            query = query.where(report.account_id == account_id)
        if kind is not None:
            query = query.where(report.kind == kind)
        if before is not None:
            query = query.where(sa.tuple_(report.period, report.id) < sa.tuple_(*before))
        return [_report(row) for row in self._mappings(query)]

    def report(self, report_id: int) -> ReportView:
        """Return one of the actor's own reports. Raises NotFound, also when its account is not visible any more."""
        for row in self._mappings(self._reports().where(tables.reports.c.id == report_id)):
            return _report(row)
        raise NotFound(f"no report {report_id}")

    def shares(self, account_id: int) -> list[Share]:
        """Return with whom an account is shared; for those who may change that."""
        self.for_action("edit_account", account_id)
        shares, users = tables.account_shares, tables.users
        query = sa.select(shares, users.c.name.label("user_name")).join(users, users.c.id == shares.c.user_id)
        rows = self.connection.execute(query.where(shares.c.account_id == account_id).order_by(users.c.name))
        return [Share(row.account_id, row.user_id, row.user_name, row.role, row.granted_by, row.granted_at) for row in rows]

    def key_hint(self, account_id: int) -> KeyHint | None:
        """Return what may be shown of an account's exchange key; None when there is no key."""
        self.for_action("exchange_key", account_id)
        keys = tables.exchange_keys.c
        query = sa.select(keys.account_id, keys.hint, keys.permissions, keys.checked_at, keys.created_at)
        row = self.connection.execute(query.where(keys.account_id == account_id)).first()
        if row is None:
            return None
        return KeyHint(row.account_id, row.hint, json.loads(row.permissions), row.checked_at, row.created_at)

    def _accounts(self) -> sa.Select[Any]:
        """Select the accounts the actor sees, each with its owner's name and the actor's relation to it."""
        accounts, shares, users = tables.accounts, tables.account_shares, tables.users
        mine = sa.and_(shares.c.account_id == accounts.c.id, shares.c.user_id == self.actor.user_id)
        relation = sa.case(
            (accounts.c.user_id == self.actor.user_id, "owner"), else_=sa.func.coalesce(shares.c.role, "none")
        )
        query = (
            sa.select(accounts, users.c.name.label("owner"), relation.label("relation"))
            .join(users, users.c.id == accounts.c.user_id)
            .outerjoin(shares, mine)
        )
        if self.actor.is_machine:
            return query
        seen = [which for which in _relations() if allowed(self.actor, "see_account", which)]
        return query.where(relation.in_(seen)) if seen else query.where(sa.false())

    def _rows(self, table: sa.Table, account_id: int) -> sa.Select[Any]:
        """Select one account's rows of a table, after checking that the actor sees the account."""
        self.account(account_id)
        return sa.select(table).where(table.c.account_id == account_id)

    def _reports(self) -> sa.Select[Any]:
        """Select the reports made for the actor about accounts it sees."""
        seen = [account.id for account in self.accounts(with_closed=True)]
        columns = [tables.reports.c[name] for name in ReportView._fields]
        query = sa.select(*columns).where(tables.reports.c.account_id.in_(seen))
        return query if self.actor.is_machine else query.where(tables.reports.c.user_id == self.actor.user_id)

    def _states(self, account_ids: list[int]) -> dict[int, AccountState]:
        """Read the states of accounts that were found visible."""
        query = sa.select(tables.account_states).where(tables.account_states.c.account_id.in_(account_ids))
        found = {}
        for row in self._mappings(query):
            positions = tuple(json.loads(row["core_state"] or "{}").get("positions", ()))
            values = {name: row[name] for name in AccountState._fields if name != "positions"}
            found[row["account_id"]] = AccountState(**values, positions=positions)
        return found

    def _mappings(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        """Run a query and return its rows by column name."""
        return [dict(row) for row in self.connection.execute(query).mappings()]


def parameter_version(row: dict[str, Any]) -> ParameterVersion:
    """Read a row of parameter_versions."""
    decoded = {name: json.loads(row[name]) for name in ("strategy_parameters", "risk_parameters", "evidence")}
    return ParameterVersion(**{**row, **decoded})


def _report(row: dict[str, Any]) -> ReportView:
    """Read a row of reports."""
    return ReportView(**{**row, "summary": json.loads(row["summary"])})


def command_view(row: dict[str, Any]) -> CommandView:
    """Read a row of commands."""
    return CommandView(**{**row, "arguments": json.loads(row["arguments"])})


def _account(row: sa.Row[Any]) -> AccountView:
    """Read a row of accounts."""
    values = {name: getattr(row, name) for name in AccountView._fields}
    values["symbols"] = tuple(json.loads(row.symbols))
    return AccountView(**values)


def _relations() -> Iterator[Relation]:
    """List every relation."""
    yield from cast("tuple[Relation, ...]", ("owner", "trader", "viewer", "none"))

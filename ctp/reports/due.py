"""Which reports are due: whose day, week or month has ended, and whose clock shows the hour they want it at.

Invariants:
1. A report that has a row, made or failed, is never due again.
2. After an absence each reader gets the newest report of each kind, not one for every day missed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.rights import Actor
from ctp.accounts.visible import AccountView, Visible
from ctp.errors import CtpError
from ctp.logs import logger
from ctp.reports.extract import Scope, keeps_own_time, read_scope
from ctp.reports.periods import DAY_MS, KINDS, Kind, Period, last_wanted, newest_complete, period_of, wanted_at
from ctp.storage.tables import commands, equity_samples, ledger, reports, users

LOOK_BACK_MS = 7 * DAY_MS
log = logger(__name__)


class DueReport(NamedTuple):
    """A report that somebody waits for. `period` is the first day, as `make_report` takes it."""

    account_id: int
    user_id: int
    kind: Kind
    period: str


def due_reports(connection: sa.Connection, now_ms: int) -> list[DueReport]:
    """Return what is due and not made, in the order of accounts and readers.

    Readers are those who are told about an account: its owner, and those who trade it with them. An account that never
    started has nothing to report, nor has one that was stopped all the while.
    """
    made = _made(connection, now_ms)
    found = []
    for reader in connection.execute(sa.select(users).where(users.c.disabled_at.is_(None)).order_by(users.c.id)):
        visible = Visible(connection, Actor(reader.id, reader.name, reader.role, None, "scheduler"))
        for account in visible.accounts():
            if account.relation not in ("owner", "trader"):
                continue
            try:
                scope = read_scope(visible, account.id)
            except CtpError as error:  # parameters that break a bound of today: the bot says so too
                log.warning("report_scope_unreadable", account_id=account.id, error=str(error))
                continue
            found += _due(connection, scope, reader, made, now_ms)
    return sorted(found)


def _due(
    connection: sa.Connection, scope: Scope, reader: sa.Row[Any], made: dict[tuple[Any, ...], int], now_ms: int
) -> list[DueReport]:
    """Return what one reader waits for from one account."""
    account = scope.account
    first = connection.execute(
        sa.select(sa.func.min(equity_samples.c.time)).where(equity_samples.c.account_id == account.id)
    ).scalar()
    if first is None:
        return []
    choices: dict[Kind, bool] = {"daily": True, "weekly": reader.weekly_report, "monthly": reader.monthly_report}
    own_time = keeps_own_time(connection, account)
    found = []
    for kind in KINDS:
        if not choices[kind]:
            continue
        period = (
            _wanted_by_market(connection, scope, reader, kind, made, now_ms)
            if own_time
            else _wanted(scope, reader, kind, now_ms)
        )
        if period is None or period.end_ms <= first or (account.id, reader.id, kind, period.name) in made:
            continue
        if has_news(connection, scope, period):
            found.append(DueReport(account.id, reader.id, kind, period.name))
    return found


def _wanted(scope: Scope, reader: sa.Row[Any], kind: Kind, now_ms: int) -> Period | None:
    """Return the newest period whose report the reader has been waiting for, at most a week back."""
    period = newest_complete(kind, now_ms, scope.zone)
    wanted = wanted_at(period.end_ms, reader.report_at, reader.zone)
    if wanted > now_ms:  # not yet: perhaps the one before was never made
        period = period_of(kind, period.first - timedelta(days=1), scope.zone)
        wanted = wanted_at(period.end_ms, reader.report_at, reader.zone)
    return period if now_ms - LOOK_BACK_MS < wanted <= now_ms else None


def _wanted_by_market(
    connection: sa.Connection,
    scope: Scope,
    reader: sa.Row[Any],
    kind: Kind,
    made: dict[tuple[Any, ...], int],
    now_ms: int,
) -> Period | None:
    """Return what a reader of a market with a time of its own waits for: once each day by our clock, its newest period."""
    wanted = last_wanted(kind, now_ms, reader.report_at, reader.zone)
    if wanted <= max(now_ms - LOOK_BACK_MS, scope.account.created_at):
        return None
    mine = [at for key, at in made.items() if key[:3] == (scope.account.id, reader.id, kind)]
    if any(at >= wanted for at in mine):
        return None
    return newest_complete(kind, market_now(connection, scope.account, now_ms), scope.zone)


def _made(connection: sa.Connection, now_ms: int) -> dict[tuple[Any, ...], int]:
    """Return the reports made lately, and when: (account, reader, kind, period) -> time."""
    rows = connection.execute(sa.select(reports).where(reports.c.created_at > now_ms - 40 * DAY_MS))
    return {(row.account_id, row.user_id, row.kind, row.period): row.created_at for row in rows}


def market_now(connection: sa.Connection, account: AccountView, now_ms: int) -> int:
    """Return what time it is in an account's market: ours, or that of its newest decision where it keeps its own."""
    if not keeps_own_time(connection, account):
        return now_ms
    query = sa.select(sa.func.max(equity_samples.c.time)).where(equity_samples.c.account_id == account.id)
    return int(connection.execute(query).scalar() or 0)


def has_news(connection: sa.Connection, scope: Scope, period: Period) -> bool:
    """Tell whether there is something to report: the account trades, or something happened in the period."""
    if scope.state is None or scope.state.status != "stopped" or scope.state.positions:
        return True
    for table, column in ((ledger, ledger.c.time), (commands, commands.c.asked_at)):
        inside = sa.and_(table.c.account_id == scope.account.id, column >= period.start_ms, column < period.end_ms)
        if connection.execute(sa.select(table.c.id).where(inside).limit(1)).first() is not None:
            return True
    return False

"""Reports that somebody wants now: asked for by any door, made by the scheduler within seconds.

Invariants:
1. A person asks for accounts they see, for themselves, and for a bounded number in an hour.
2. The same wish while one waits is the same request.
3. A request whose making died with its process is tried once more; then it has failed.
"""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.rights import Actor
from ctp.accounts.visible import Visible
from ctp.errors import InputError, NotAllowed, StateConflict
from ctp.logs import redact
from ctp.storage.tables import report_requests

KINDS = ("daily", "weekly", "monthly")
MOST_AN_HOUR = 6
MOST_ATTEMPTS = 2
WAITING, DONE, FAILED, REFUSED = "waiting", "done", "failed", "refused"
_HOUR_MS = 3_600_000


class ReportRequest(NamedTuple):
    """A report that somebody asked for, and how far it has come."""

    id: int
    account_id: int
    user_id: int
    kind: str
    day: str  # in the period wanted; empty: the last that has ended
    door: str
    asked_at: int
    attempts: int
    ended_at: int | None
    result: str  # waiting, done, failed, refused
    reason: str  # why it was refused
    report_id: int | None


_COLUMNS = [report_requests.c[field] for field in ReportRequest._fields]


def ask_report(
    connection: sa.Connection, actor: Actor, account_id: int, kind: str, now_ms: int, *, day: str = ""
) -> ReportRequest:
    """Ask for a report; the request that waits already is returned instead of a second one.

    Raises NotFound for an account the actor does not see, InputError for a kind or day that makes no sense, StateConflict
    for an account that never started, NotAllowed after too many in an hour.
    """
    if actor.user_id is None:
        raise NotAllowed("the machine reads no reports")
    visible = Visible(connection, actor)
    account = visible.account(account_id)
    if kind not in KINDS:
        raise InputError("kind", kind, "must be one of " + ", ".join(KINDS))
    if day:
        _check_day(day)
    if visible.state(account.id) is None:
        raise StateConflict(f"account {account.name} has never started: there is nothing to report")
    mine = report_requests.c.user_id == actor.user_id
    same = sa.and_(mine, *(report_requests.c[name] == value for name, value in _wish(account_id, kind, day).items()))
    waiting = connection.execute(sa.select(*_COLUMNS).where(same, report_requests.c.result == WAITING)).first()
    if waiting is not None:
        return ReportRequest(*waiting)
    lately = sa.select(sa.func.count()).where(mine, report_requests.c.asked_at > now_ms - _HOUR_MS)
    if connection.execute(lately).scalar_one() >= MOST_AN_HOUR:
        raise NotAllowed(f"at most {MOST_AN_HOUR} reports are made for a person in an hour; try again later")
    values = {**_wish(account_id, kind, day), "user_id": actor.user_id, "door": actor.door, "asked_at": now_ms}
    row = connection.execute(
        sa.insert(report_requests).values(**values, attempts=0, result=WAITING, reason="").returning(*_COLUMNS)
    ).one()
    record(connection, actor, "report.ask", f"account:{account_id}", now_ms, kind=kind, day=day, request=row.id)
    return ReportRequest(*row)


def my_requests(connection: sa.Connection, actor: Actor, since_ms: int, *, limit: int = 20) -> list[ReportRequest]:
    """Return the actor's own requests that wait or ended lately, newest first, of accounts they still see."""
    seen = {account.id for account in Visible(connection, actor).accounts(with_closed=True)}
    query = sa.select(*_COLUMNS).where(
        report_requests.c.user_id == actor.user_id,
        sa.or_(report_requests.c.result == WAITING, report_requests.c.ended_at > since_ms),
    )
    rows = connection.execute(query.order_by(report_requests.c.id.desc()).limit(limit))
    return [request for row in rows if (request := ReportRequest(*row)).account_id in seen]


def is_waited_for(connection: sa.Connection) -> bool:
    """Tell whether any request waits."""
    query = sa.select(report_requests.c.id).where(report_requests.c.result == WAITING).limit(1)
    return connection.execute(query).first() is not None


def take_request(connection: sa.Connection, now_ms: int) -> ReportRequest | None:
    """Return the oldest request that waits, counting the attempt; None when there is none. Worn out ones have failed."""
    waits = report_requests.c.result == WAITING
    worn_out = sa.and_(waits, report_requests.c.attempts >= MOST_ATTEMPTS)
    connection.execute(sa.update(report_requests).where(worn_out).values(result=FAILED, ended_at=now_ms))
    row = connection.execute(sa.select(*_COLUMNS).where(waits).order_by(report_requests.c.id).limit(1)).first()
    if row is None:
        return None
    mine = report_requests.c.id == row.id
    connection.execute(sa.update(report_requests).where(mine).values(attempts=row.attempts + 1))
    return ReportRequest(*row)


def end_request(
    connection: sa.Connection, request_id: int, result: str, now_ms: int, *, reason: str = "", report_id: int | None = None
) -> None:
    """Write down what came of a request."""
    values: dict[str, Any] = {"result": result, "ended_at": now_ms, "reason": redact(reason)[:256], "report_id": report_id}
    mine = sa.and_(report_requests.c.id == request_id, report_requests.c.result == WAITING)
    connection.execute(sa.update(report_requests).where(mine).values(**values))


def prune_requests(connection: sa.Connection, before_ms: int) -> int:
    """Forget requests that ended long ago; returns how many."""
    return connection.execute(sa.delete(report_requests).where(report_requests.c.ended_at < before_ms)).rowcount


def _wish(account_id: int, kind: str, day: str) -> dict[str, Any]:
    """Return what makes two requests of a person the same."""
    return {"account_id": account_id, "kind": kind, "day": day}


def _check_day(day: str) -> None:
    """Raise InputError unless this is a day."""
    try:
        date.fromisoformat(day)
    except ValueError:
        raise InputError("day", day[:40], "must be a day such as 2026-05-01") from None
    if len(day) != len("2026-05-01"):
        raise InputError("day", day[:40], "must be a day such as 2026-05-01")

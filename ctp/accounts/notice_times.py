"""When a person wants to be left alone, and when they want their reports.

Minutes are counted from midnight in the person's own time zone. Quiet hours may run across midnight.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.rights import Actor
from ctp.errors import InputError, NotAllowed, NotFound
from ctp.storage.tables import users

MINUTES_OF_A_DAY = 1440


class NoticeTimes(NamedTuple):
    """Quiet hours (both None: none) and reports."""

    quiet_from: int | None
    quiet_until: int | None
    report_at: int
    weekly_report: bool
    monthly_report: bool


_COLUMNS = [users.c[field] for field in NoticeTimes._fields]


def read_notice_times(connection: sa.Connection, user_id: int) -> NoticeTimes:
    """Return a person's choice. Raises NotFound."""
    row = connection.execute(sa.select(*_COLUMNS).where(users.c.id == user_id)).first()
    if row is None:
        raise NotFound(f"no user {user_id}")
    return NoticeTimes(*row)


def set_notice_times(connection: sa.Connection, actor: Actor, times: NoticeTimes, now_ms: int) -> None:
    """Change the actor's own times. Raises InputError for a time that is none, or quiet hours without beginning or end."""
    if actor.user_id is None:
        raise NotAllowed("the machine reads no notices")
    for field in ("quiet_from", "quiet_until", "report_at"):
        minutes = getattr(times, field)
        if minutes is not None and not 0 <= minutes < MINUTES_OF_A_DAY:
            raise InputError(field, minutes, f"must be 0 to {MINUTES_OF_A_DAY - 1} minutes after midnight")
    if (times.quiet_from is None) != (times.quiet_until is None):
        raise InputError("quiet_until", times.quiet_until, "quiet hours need a beginning and an end")
    if times.quiet_from is not None and times.quiet_from == times.quiet_until:
        raise InputError("quiet_until", times.quiet_until, "must differ from quiet_from")
    connection.execute(sa.update(users).where(users.c.id == actor.user_id).values(**times._asdict()))
    record(connection, actor, "user.notice_times", f"user:{actor.user_id}", now_ms, **times._asdict())

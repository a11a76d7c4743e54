"""The web channel: a notice is delivered once its row can be read; read and unread are the reader's own.

Only notices that the reader has on for the web are here.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.notifiers.kinds import KINDS
from ctp.storage.database import insert_or
from ctp.storage.tables import deliveries, notices


class WebNotice(NamedTuple):
    """A notice as its reader finds it; `messages.compose` puts it in words."""

    id: int
    user_id: int
    account_id: int | None
    kind: str
    facts: dict[str, Any]
    urgent: bool
    created_at: int
    read_at: int | None


def recent_notices(
    connection: sa.Connection,
    user_id: int | None,
    *,
    limit: int = 50,
    before_id: int | None = None,
    kind: str | None = None,
    account_id: int | None = None,
    unread: bool = False,
) -> list[WebNotice]:
    """Return a person's notices, newest first; those of one kind or account, or those not read yet, when asked for."""
    query = _on_the_web().where(notices.c.user_id == user_id).order_by(notices.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(notices.c.id < before_id)
    if kind is not None:
        query = query.where(notices.c.kind == kind)
    if account_id is not None:
        query = query.where(notices.c.account_id == account_id)
    if unread:
        query = query.where(notices.c.read_at.is_(None))
    return [_notice(row) for row in connection.execute(query)]


def newer_notices(
    connection: sa.Connection, user_ids: Collection[int], after_id: int, *, limit: int = 500
) -> list[WebNotice]:
    """Return the notices that these people have got since one, oldest first; for pushing them to open pages."""
    query = _on_the_web().where(notices.c.id > after_id, notices.c.user_id.in_(user_ids))
    return [_notice(row) for row in connection.execute(query.order_by(notices.c.id).limit(limit))]


def newest_notice_id(connection: sa.Connection) -> int:
    """Return the highest id there is; 0 when there is no notice."""
    return connection.execute(sa.select(sa.func.max(notices.c.id))).scalar() or 0


def unread_count(connection: sa.Connection, user_id: int | None) -> int:
    """Return how many notices a person has not read."""
    unread = _on_the_web().where(notices.c.user_id == user_id, notices.c.read_at.is_(None)).subquery()
    return connection.execute(sa.select(sa.func.count()).select_from(unread)).scalar_one()


def mark_read(connection: sa.Connection, user_id: int | None, now_ms: int, ids: Collection[int] | None = None) -> int:
    """Mark a person's notices as read, all or those named; other people's are left alone. Returns how many."""
    which = [notices.c.user_id == user_id, notices.c.read_at.is_(None)]
    if ids is not None:
        which.append(notices.c.id.in_(ids))
    return connection.execute(sa.update(notices).where(*which).values(read_at=now_ms)).rowcount


def put_on_the_web(connection: sa.Connection, which: sa.ColumnElement[bool], now_ms: int) -> None:
    """Put notices among those their readers find on the web, whatever they chose; which: a condition on `notices`.

    For what another channel gave up. Codes and test messages are no notices to keep.
    """
    given = (sa.literal(value) for value in ("web", "delivered", 0))
    now = sa.literal(now_ms, sa.BigInteger)
    turn = sa.case((notices.c.urgent, 0), else_=1)
    columns = ["notice_id", "channel", "status", "attempts", "due_at", "delivered_at", "user_id", "turn"]
    found = sa.select(notices.c.id, *given, now, now, notices.c.user_id, turn).where(which, notices.c.kind.in_(KINDS))
    connection.execute(insert_or(connection, deliveries).from_select(columns, found).on_conflict_do_nothing())


def _on_the_web() -> sa.Select[Any]:
    """Select the notices that have the web among their channels."""
    here = sa.and_(deliveries.c.notice_id == notices.c.id, deliveries.c.channel == "web")
    return sa.select(*(notices.c[name] for name in WebNotice._fields)).join(deliveries, here)


def _notice(row: sa.Row[Any]) -> WebNotice:
    """Read a row."""
    return WebNotice(**{**row._mapping, "facts": json.loads(row.facts)})

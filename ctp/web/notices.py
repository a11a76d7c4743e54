"""Notices as pages show them: read, counted and marked for their own reader alone."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.rights import Actor
from ctp.i18n import has_text, text
from ctp.storage.tables import notices


class WebNotice(NamedTuple):
    """A notice as it is kept."""

    id: int
    user_id: int
    account_id: int | None
    kind: str
    facts: dict[str, Any]
    urgent: bool
    created_at: int
    read_at: int | None


def recent_notices(
    connection: sa.Connection, actor: Actor, *, limit: int, before_id: int | None = None
) -> list[WebNotice]:
    """Return the actor's notices, newest first."""
    query = sa.select(notices).where(notices.c.user_id == actor.user_id)
    if before_id is not None:
        query = query.where(notices.c.id < before_id)
    return _read(connection, query.order_by(notices.c.id.desc()).limit(limit))


def newer_notices(connection: sa.Connection, user_ids: Collection[int], after_id: int) -> list[WebNotice]:
    """Return what was written for these people after a notice, oldest first."""
    query = sa.select(notices).where(notices.c.id > after_id, notices.c.user_id.in_(user_ids))
    return _read(connection, query.order_by(notices.c.id))


def newest_notice_id(connection: sa.Connection) -> int:
    """Return the newest notice's id; 0 when there is none."""
    return int(connection.execute(sa.select(sa.func.max(notices.c.id))).scalar() or 0)


def unread_count(connection: sa.Connection, user_id: int) -> int:
    """Return how many notices a person has not read."""
    query = sa.select(sa.func.count()).where(notices.c.user_id == user_id, notices.c.read_at.is_(None))
    return int(connection.execute(query).scalar_one())


def mark_read(connection: sa.Connection, actor: Actor, now_ms: int, ids: Collection[int] | None = None) -> None:
    """Mark the actor's notices as read: these, or all."""
    query = sa.update(notices).where(notices.c.user_id == actor.user_id, notices.c.read_at.is_(None))
    if ids is not None:
        query = query.where(notices.c.id.in_(ids))
    connection.execute(query.values(read_at=now_ms))


def notice_view(notice: WebNotice, language: str) -> dict[str, Any]:
    """Return a notice in its reader's words."""
    key = f"web.notice.{notice.kind}"
    return {
        "id": notice.id,
        "account": notice.account_id,
        "kind": notice.kind,
        "title": text(key, language) if has_text(key) else text("web.notice_fallback.title", language),
        "text": " · ".join(str(notice.facts[name]) for name in ("account", "symbol", "price") if name in notice.facts),
        "urgent": notice.urgent,
        "created_at": notice.created_at,
        "read_at": notice.read_at,
    }


def _read(connection: sa.Connection, query: sa.Select[Any]) -> list[WebNotice]:
    """Read rows of notices."""
    return [
        WebNotice(
            row.id,
            row.user_id,
            row.account_id,
            row.kind,
            json.loads(row.facts),
            row.urgent,
            row.created_at,
            row.read_at,
        )
        for row in connection.execute(query)
    ]

"""The audit log: who did what, when, through which door. Append-only, never pruned.

Invariants:
1. A row is written in the transaction of the deed it records: both are kept or neither.
2. No secret is in it.
3. A deed that changes stored settings makes a version of the configuration, in the same transaction.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.configuration import CHANGES, note_version
from ctp.accounts.rights import Actor, require
from ctp.logs import redact, redact_fields
from ctp.storage.tables import audit_log, users


class Deed(NamedTuple):
    """One row of the audit log."""

    id: int
    at: int
    user_id: int | None
    user_name: str | None
    door: str
    action: str
    subject: str
    details: dict[str, Any]


def record(connection: sa.Connection, actor: Actor, action: str, subject: str, now_ms: int, **details: object) -> None:
    """Write down a deed inside its own transaction.

    action: noun and verb, as `account.create`. subject: what it was done to, as `account:5`.
    """
    connection.execute(
        sa.insert(audit_log).values(
            at=now_ms,
            user_id=actor.user_id,
            door=actor.door,
            action=action,
            subject=subject[:128],
            details=json.dumps(redact_fields(details), ensure_ascii=False, default=str),
        )
    )
    if action in CHANGES:
        reason = redact(str(details.get("reason") or f"{action} {subject}"))
        note_version(connection, actor.name, actor.user_id, actor.door, reason, now_ms)


class AuditFilter(NamedTuple):
    """Which deeds are wanted; what is None is not asked for. Times are milliseconds UTC, `until` not included."""

    user_id: int | None = None  # 0: the machine itself
    door: str | None = None
    group: str | None = None  # the noun of an action, as `user`
    since: int | None = None
    until: int | None = None


def read_audit(
    connection: sa.Connection,
    actor: Actor,
    *,
    limit: int = 100,
    before_id: int | None = None,
    wanted: AuditFilter | None = None,
) -> list[Deed]:
    """Return deeds, newest first. Raises NotAllowed for anybody but an administrator."""
    require(actor, "manage_users")
    wanted = wanted or AuditFilter()
    query = (
        sa.select(audit_log, users.c.name.label("user_name"))
        .outerjoin(users, users.c.id == audit_log.c.user_id)
        .order_by(audit_log.c.id.desc())
        .limit(limit)
    )
    if before_id is not None:
        query = query.where(audit_log.c.id < before_id)
    if wanted.user_id is not None:
        query = query.where(audit_log.c.user_id == wanted.user_id if wanted.user_id else audit_log.c.user_id.is_(None))
    if wanted.door is not None:
        query = query.where(audit_log.c.door == wanted.door)
    if wanted.group is not None:
        query = query.where(audit_log.c.action.startswith(f"{wanted.group}.", autoescape=True))
    if wanted.since is not None:
        query = query.where(audit_log.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit_log.c.at < wanted.until)
    return [
        Deed(row.id, row.at, row.user_id, row.user_name, row.door, row.action, row.subject, json.loads(row.details))
        for row in connection.execute(query)
    ]


def audit_groups(connection: sa.Connection, actor: Actor) -> list[str]:
    """Return the nouns of the actions that have been written down, sorted."""
    require(actor, "manage_users")
    actions = connection.scalars(sa.select(audit_log.c.action).distinct())
    return sorted({action.partition(".")[0] for action in actions})

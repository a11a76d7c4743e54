"""Buttons that confirm what is dangerous: for the asker alone, once, for a minute.

Kept is the token's hash. What a press does is decided by the row, never by what came with the button.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from ctp.storage.tables import confirmations
from ctp.telegram.person import Question

CONFIRM_MS = 60_000
_KEPT_MS = 24 * 3_600_000

Refusal = Literal["foreign", "used", "expired"]


class Confirmed(NamedTuple):
    """What a button stands for."""

    kind: str
    account_id: int
    arguments: dict[str, Any]


def offer(question: Question, kind: str, account_id: int, arguments: dict[str, Any]) -> str:
    """Return a new token for a command that has to be confirmed."""
    token = secrets.token_urlsafe(16)
    connection, now_ms = question.connection, question.now_ms
    connection.execute(sa.delete(confirmations).where(confirmations.c.created_at < now_ms - _KEPT_MS))
    connection.execute(
        sa.insert(confirmations).values(
            id=_hash(token),
            user_id=question.person.user_id,
            command=kind,
            arguments=json.dumps({"account_id": account_id, "arguments": arguments}),
            created_at=now_ms,
            expires_at=now_ms + CONFIRM_MS,
        )
    )
    return token


def look_up(question: Question, token: str) -> Confirmed | None:
    """Return what a token stands for, used or not; None when it is not this person's."""
    row = question.connection.execute(_this(question, token)).first()
    if row is None:
        return None
    meant = json.loads(row.arguments)
    return Confirmed(row.command, int(meant["account_id"]), dict(meant["arguments"]))


def use(question: Question, token: str) -> Refusal | None:
    """Use a token up; returns why it does not count, None when it does."""
    row = question.connection.execute(_this(question, token)).first()
    if row is None:
        return "foreign"
    if row.used_at is not None:
        return "used"
    question.connection.execute(
        sa.update(confirmations).where(confirmations.c.id == _hash(token)).values(used_at=question.now_ms)
    )
    return "expired" if question.now_ms >= row.expires_at else None


def _this(question: Question, token: str) -> sa.Select[Any]:
    """Select a token of this person's."""
    query = sa.select(confirmations).where(
        confirmations.c.id == _hash(token), confirmations.c.user_id == question.person.user_id
    )
    return query.with_for_update()


def _hash(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()

"""What an administrator sees of people, and may do to their sessions. Their money is not here.

Invariants:
1. Everything here asks for the right to manage users, and what changes something is in the audit log.
2. A one-time password is shown to whoever made it, once; only its hash is kept, and its first use is to be changed.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.rights import Actor, Role, require
from ctp.accounts.sessions import Session, end_session, live_sessions_of, revoke_sessions_of
from ctp.accounts.users import read_user
from ctp.storage.tables import accounts, sessions, users

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that looks like another
_GROUPS, _GROUP = 4, 5


class PersonView(NamedTuple):
    """A person as the list of users shows them. Times are milliseconds UTC."""

    id: int
    name: str
    role: Role
    language: str
    must_change_password: bool
    disabled_at: int | None
    created_at: int
    sessions: int  # that are open
    seen_at: int | None  # when they last asked for something, in any session
    accounts: int  # trading accounts they own that are open


def list_people(connection: sa.Connection, actor: Actor, now_ms: int) -> list[PersonView]:
    """Return everybody, by name; those who are shut out last."""
    require(actor, "manage_users")
    mine = sessions.c.user_id == users.c.id
    lives = sa.and_(mine, sessions.c.revoked_at.is_(None), sessions.c.expires_at > now_ms, users.c.disabled_at.is_(None))
    columns = [users.c[field] for field in PersonView._fields[:7]]
    query = sa.select(
        *columns,
        sa.select(sa.func.count()).where(lives).correlate(users).scalar_subquery(),
        sa.select(sa.func.max(sessions.c.seen_at)).where(mine).correlate(users).scalar_subquery(),
        sa.select(sa.func.count())
        .where(accounts.c.user_id == users.c.id, accounts.c.closed_at.is_(None))
        .correlate(users)
        .scalar_subquery(),
    ).order_by(users.c.disabled_at.is_not(None), sa.func.lower(users.c.name))
    return [PersonView._make(row) for row in connection.execute(query)]


def sessions_of(connection: sa.Connection, actor: Actor, user_id: int, now_ms: int) -> list[Session]:
    """Return somebody's open sessions, newest first. Raises NotFound for somebody who does not exist."""
    require(actor, "manage_users")
    read_user(connection, user_id)
    return live_sessions_of(connection, user_id, now_ms)


def end_sessions_of(
    connection: sa.Connection, actor: Actor, user_id: int, now_ms: int, session_id: str | None = None
) -> set[str]:
    """End one of somebody's sessions, or all but the actor's own; returns which. Raises NotFound."""
    require(actor, "manage_users")
    open_ones = {session.id for session in sessions_of(connection, actor, user_id, now_ms)}
    if session_id is None:
        ended = open_ones - {actor.session_id or ""}
        revoke_sessions_of(connection, user_id, "administrator", now_ms, except_session=actor.session_id)
    else:
        ended = {session_id} & open_ones
        end_session(connection, actor, session_id, now_ms, "administrator")
    if ended:
        record(connection, actor, "session.end", f"user:{user_id}", now_ms, count=len(ended))
    return ended


def one_time_password() -> str:
    """Return a password to be handed over once; about 98 bits, easy to read out."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)

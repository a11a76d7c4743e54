"""Sessions: from login to logout. A token proves who asked; the row here says whether that still counts.

Invariants:
1. Whoever holds a session's current refresh token may renew it; each renewal voids the token before.
2. A void token that comes back means that somebody copied it: the whole session ends (a grace of seconds is left for
   two tabs that renew at once, and gives no new token).
3. Logout, a changed password and a disabled user end sessions at once, whatever tokens are still unexpired.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple, cast

import sqlalchemy as sa

from ctp.accounts.rights import Actor, Door, Role
from ctp.errors import NotFound
from ctp.storage.tables import sessions, users

RENEWAL_GRACE_MS = 10_000


class Session(NamedTuple):
    """One login of one person on one device."""

    id: str
    user_id: int
    refresh_generation: int
    address: str | None
    user_agent: str | None
    created_at: int
    seen_at: int
    expires_at: int
    revoked_at: int | None
    revoked_reason: str | None


class RefreshTicket(NamedTuple):
    """What a refresh token says, once its signature was checked: session, generation and its own secret."""

    session_id: str
    generation: int
    secret: str


_COLUMNS = [sessions.c[field] for field in Session._fields]


def open_session(
    connection: sa.Connection, user_id: int, address: str, user_agent: str, now_ms: int, lifetime_ms: int
) -> RefreshTicket:
    """Begin a session and return its first refresh ticket."""
    ticket = RefreshTicket(secrets.token_hex(16), 0, secrets.token_urlsafe(24))
    connection.execute(
        sa.insert(sessions).values(
            id=ticket.session_id,
            user_id=user_id,
            refresh_hash=_digest(ticket.secret),
            refresh_generation=0,
            address=address[:64],
            user_agent=user_agent[:256],
            created_at=now_ms,
            seen_at=now_ms,
            expires_at=now_ms + lifetime_ms,
        )
    )
    return ticket


def actor_of(connection: sa.Connection, session_id: str, door: Door, now_ms: int) -> Actor | None:
    """Return who a session speaks for, with their role of now; None when the session is over."""
    row = connection.execute(
        sa.select(users.c.id, users.c.name, users.c.role)
        .join(sessions, sessions.c.user_id == users.c.id)
        .where(sessions.c.id == session_id, *_lives(now_ms))
    ).first()
    return None if row is None else Actor(row.id, row.name, cast(Role, row.role), session_id, door)


def renew_session(connection: sa.Connection, ticket: RefreshTicket, now_ms: int) -> RefreshTicket | Session | None:
    """Renew a session.

    Returns a new ticket; or the Session when the ticket was renewed by another tab seconds ago, so that the caller
    keeps the ticket it got there; or None when the session is over, or ends now because an old ticket came back.
    """
    row = connection.execute(
        sa.select(*_COLUMNS, sessions.c.refresh_hash)
        .join(users, users.c.id == sessions.c.user_id)
        .where(sessions.c.id == ticket.session_id, *_lives(now_ms))
    ).first()
    if row is None:
        return None
    session = Session(*row[:-1])
    if ticket.generation == session.refresh_generation and secrets.compare_digest(row[-1], _digest(ticket.secret)):
        fresh = RefreshTicket(session.id, ticket.generation + 1, secrets.token_urlsafe(24))
        renewed = connection.execute(
            sa.update(sessions)
            .where(sessions.c.id == session.id, sessions.c.refresh_generation == ticket.generation)
            .values(refresh_hash=_digest(fresh.secret), refresh_generation=fresh.generation, seen_at=now_ms)
        )
        return fresh if renewed.rowcount == 1 else session
    is_just_void = ticket.generation == session.refresh_generation - 1 and now_ms - session.seen_at <= RENEWAL_GRACE_MS
    if is_just_void:
        return session
    _revoke(connection, sessions.c.id == session.id, "reuse", now_ms)
    return None


def end_session(connection: sa.Connection, actor: Actor, session_id: str, now_ms: int, reason: str = "logout") -> None:
    """End a session of the actor's own; an administrator may end anybody's. Raises NotFound for others'."""
    mine = sa.true() if actor.role == "admin" else sessions.c.user_id == actor.user_id
    if connection.execute(sa.select(sessions.c.id).where(sessions.c.id == session_id, mine)).first() is None:
        raise NotFound(f"no session {session_id}")
    _revoke(connection, sessions.c.id == session_id, reason, now_ms)


def revoke_sessions_of(
    connection: sa.Connection, user_id: int, reason: str, now_ms: int, *, except_session: str | None = None
) -> None:
    """End every session of a person, but one if asked."""
    _revoke(connection, sa.and_(sessions.c.user_id == user_id, sessions.c.id != (except_session or "")), reason, now_ms)


def live_sessions(connection: sa.Connection, actor: Actor, now_ms: int) -> list[Session]:
    """Return the actor's own sessions that are not over, newest first."""
    return [] if actor.user_id is None else live_sessions_of(connection, actor.user_id, now_ms)


def live_sessions_of(connection: sa.Connection, user_id: int, now_ms: int) -> list[Session]:
    """Return a person's sessions that are not over, newest first; the caller has asked whether that may be seen."""
    query = sa.select(*_COLUMNS).join(users, users.c.id == sessions.c.user_id).where(*_lives(now_ms))
    query = query.where(sessions.c.user_id == user_id).order_by(sessions.c.seen_at.desc())
    return [Session(*row) for row in connection.execute(query)]


def which_live(connection: sa.Connection, session_ids: set[str], now_ms: int) -> set[str]:
    """Return which of these sessions are not over; for closing the sockets of the others."""
    query = sa.select(sessions.c.id).join(users, users.c.id == sessions.c.user_id)
    return set(connection.scalars(query.where(sessions.c.id.in_(session_ids), *_lives(now_ms))))


def _lives(now_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions under which a session counts."""
    return (sessions.c.revoked_at.is_(None), sessions.c.expires_at > now_ms, users.c.disabled_at.is_(None))


def _revoke(connection: sa.Connection, which: sa.ColumnElement[bool], reason: str, now_ms: int) -> None:
    """End sessions that have not ended yet."""
    connection.execute(
        sa.update(sessions).where(which, sessions.c.revoked_at.is_(None)).values(revoked_at=now_ms, revoked_reason=reason)
    )


def _digest(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()

"""Login with name and password. Whatever is wrong, the answer and the time it takes are the same."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.passwords import COST, LONGEST, is_password
from ctp.accounts.rights import Actor, Door
from ctp.accounts.sessions import RefreshTicket, open_session
from ctp.accounts.throttle import blocked_until, count_failure, forgive
from ctp.accounts.users import User, find_user
from ctp.errors import NotFound
from ctp.storage.database import Database
from ctp.storage.tables import users


class Login(NamedTuple):
    """A person who has logged in, and the first ticket of their session."""

    user: User
    ticket: RefreshTicket
    expires_at: int


def log_in(
    database: Database,
    name: str,
    password: str,
    *,
    address: str,
    user_agent: str,
    now_ms: int,
    lifetime_ms: int,
    door: Door = "web",
    cost: int = COST,
) -> Login | None:
    """Open a session for a person; None when name, password or the number of attempts is wrong.

    Takes about 0.2 s of computing in any case (call it in a thread), and holds no transaction meanwhile.
    """
    with database.reading() as connection:
        user, kept = _look_up(connection, name)
        is_blocked = blocked_until(connection, name, address, user.id if user else None, now_ms) is not None
    is_right = is_password(password[: LONGEST + 1], kept, cost)
    with database.transaction() as connection:
        if user is None or not is_right or is_blocked:
            # An attempt while blocked does not prolong the block: the person may just be impatient.
            if not is_blocked:
                count_failure(connection, name, address, now_ms)
            return None
        forgive(connection, name, address)
        ticket = open_session(connection, user.id, address, user_agent, now_ms, lifetime_ms)
        actor = Actor(user.id, user.name, user.role, ticket.session_id, door)
        record(connection, actor, "user.login", f"user:{user.id}", now_ms, address=address)
    return Login(user, ticket, now_ms + lifetime_ms)


def is_own_password(database: Database, actor: Actor, password: str, now_ms: int, *, cost: int = COST) -> bool:
    """Tell whether this is the actor's password, asked again before something that matters. Slow on purpose.

    Guessing is slowed down as at the login, so that a session that was left open is no way to the password.
    """
    place = f"own:{actor.user_id}"
    with database.reading() as connection:
        kept = connection.execute(sa.select(users.c.password_hash).where(users.c.id == actor.user_id)).scalar()
        is_blocked = blocked_until(connection, actor.name, place, None, now_ms) is not None
    is_right = is_password(password[: LONGEST + 1], kept, cost) and not is_blocked
    if not is_right and not is_blocked:
        with database.transaction() as connection:
            count_failure(connection, actor.name, place, now_ms)
    return is_right


def _look_up(connection: sa.Connection, name: str) -> tuple[User | None, str | None]:
    """Return a person who may log in and their password's hash; two Nones for anybody else."""
    try:
        user = find_user(connection, name)
    except NotFound:
        return None, None
    if user.disabled_at is not None:
        return None, None
    kept = connection.execute(sa.select(users.c.password_hash).where(users.c.id == user.id)).scalar_one()
    return user, str(kept)

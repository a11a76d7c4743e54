"""People who may log in: adding, roles, passwords, preferences.

Invariants:
1. A user is never deleted, only disabled: rows of theirs keep an author.
2. Disabling, and changing a password, ends sessions in the same transaction.
3. There is always an administrator who can log in, once there was one.
"""

from __future__ import annotations

import re
import zoneinfo
from typing import NamedTuple, cast

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.passwords import NewPassword
from ctp.accounts.rights import ROLES, Actor, Role, require
from ctp.accounts.sessions import revoke_sessions_of
from ctp.errors import InputError, NotAllowed, NotFound, StateConflict
from ctp.i18n import LANGUAGES
from ctp.storage.tables import users

_NAME = re.compile(r"[A-Za-z0-9가-힣][A-Za-z0-9가-힣._-]{1,63}")


class User(NamedTuple):
    """A person, without the password."""

    id: int
    name: str
    role: Role
    language: str
    zone: str
    theme: str
    rise_colour: str
    must_change_password: bool
    disabled_at: int | None
    created_at: int


_COLUMNS = [users.c[field] for field in User._fields]


def count_people(connection: sa.Connection) -> int:
    """Return how many people may log in."""
    query = sa.select(sa.func.count()).select_from(users).where(users.c.disabled_at.is_(None))
    return int(connection.execute(query).scalar_one())


def add_user(
    connection: sa.Connection,
    actor: Actor,
    name: str,
    password: NewPassword,
    role: str,
    now_ms: int,
    *,
    language: str = "ko",
    must_change_password: bool = False,
) -> User:
    """Add a person who may log in. Raises InputError for a bad name, role or language."""
    require(actor, "manage_users")
    if not _NAME.fullmatch(name):
        raise InputError("name", name, "must be 2 to 64 letters, digits, dots, dashes or underscores")
    _check_choice("language", language, LANGUAGES)
    if connection.execute(sa.select(users.c.id).where(sa.func.lower(users.c.name) == name.lower())).first():
        raise InputError("name", name, "there is a user of this name already")
    row = {
        "name": name,
        "password_hash": password.kept,
        "role": _role(role),
        "language": language,
        "rise_colour": "red" if language == "ko" else "green",
        "must_change_password": must_change_password,
        "created_at": now_ms,
    }
    user_id = connection.execute(sa.insert(users).values(**row).returning(users.c.id)).scalar_one()
    record(connection, actor, "user.add", f"user:{user_id}", now_ms, name=name, role=role)
    return read_user(connection, user_id)


def read_user(connection: sa.Connection, user_id: int) -> User:
    """Return a person. For this room's own use and for the actor's own profile. Raises NotFound."""
    row = connection.execute(sa.select(*_COLUMNS).where(users.c.id == user_id)).first()
    if row is None:
        raise NotFound(f"no user {user_id}")
    return User(*row)


def find_user(connection: sa.Connection, name: str) -> User:
    """Return the person of a name, in whatever case it is written. Raises NotFound."""
    row = connection.execute(sa.select(*_COLUMNS).where(sa.func.lower(users.c.name) == name.lower())).first()
    if row is None:
        raise NotFound(f"no user {name!r}")
    return User(*row)


def list_users(connection: sa.Connection, actor: Actor) -> list[User]:
    """Return everybody, by name."""
    require(actor, "manage_users")
    return [User(*row) for row in connection.execute(sa.select(*_COLUMNS).order_by(users.c.name))]


def set_role(connection: sa.Connection, actor: Actor, user_id: int, role: str, now_ms: int) -> User:
    """Give a person another role; it counts from their next request on."""
    require(actor, "manage_users")
    _not_oneself(actor, user_id)
    before = read_user(connection, user_id)
    if before.role == "admin" and role != "admin":
        _keep_an_administrator(connection, user_id)
    connection.execute(sa.update(users).where(users.c.id == user_id).values(role=_role(role)))
    record(connection, actor, "user.role", f"user:{user_id}", now_ms, before=before.role, after=role)
    return read_user(connection, user_id)


def disable_user(connection: sa.Connection, actor: Actor, user_id: int, now_ms: int) -> User:
    """Take a person's access away at once, ending their sessions. Their accounts go on as they are."""
    require(actor, "manage_users")
    _not_oneself(actor, user_id)
    before = read_user(connection, user_id)
    if before.role == "admin":
        _keep_an_administrator(connection, user_id)
    connection.execute(sa.update(users).where(users.c.id == user_id).values(disabled_at=now_ms))
    revoke_sessions_of(connection, user_id, "disabled", now_ms)
    record(connection, actor, "user.disable", f"user:{user_id}", now_ms, name=before.name)
    return read_user(connection, user_id)


def enable_user(connection: sa.Connection, actor: Actor, user_id: int, now_ms: int) -> User:
    """Give a disabled person their access back."""
    require(actor, "manage_users")
    before = read_user(connection, user_id)
    connection.execute(sa.update(users).where(users.c.id == user_id).values(disabled_at=None))
    record(connection, actor, "user.enable", f"user:{user_id}", now_ms, name=before.name)
    return read_user(connection, user_id)


def set_password(connection: sa.Connection, actor: Actor, user_id: int, password: NewPassword, now_ms: int) -> None:
    """Set a password, ending every session of that person but the one that asks.

    People set their own (the door asks for the old one first); an administrator may set another's, who must then
    change it at the next login. Raises NotAllowed, NotFound.
    """
    if actor.user_id != user_id:
        require(actor, "manage_users")
    read_user(connection, user_id)
    is_own = actor.user_id == user_id
    connection.execute(
        sa.update(users).where(users.c.id == user_id).values(password_hash=password.kept, must_change_password=not is_own)
    )
    revoke_sessions_of(connection, user_id, "password", now_ms, except_session=actor.session_id if is_own else None)
    record(connection, actor, "user.password", f"user:{user_id}", now_ms)


def set_preferences(
    connection: sa.Connection,
    actor: Actor,
    *,
    language: str | None = None,
    zone: str | None = None,
    theme: str | None = None,
    rise_colour: str | None = None,
) -> User:
    """Change how the actor's own pages look; None leaves a preference as it is."""
    if actor.user_id is None:
        raise NotAllowed("the machine has no preferences")
    if language is not None:
        _check_choice("language", language, LANGUAGES)
    if theme is not None:
        _check_choice("theme", theme, ("dark", "light"))
    if rise_colour is not None:
        _check_choice("rise_colour", rise_colour, ("red", "green"))
    if zone is not None and zone not in zoneinfo.available_timezones():
        raise InputError("zone", zone, "must be a time zone such as Asia/Seoul")
    chosen = {"language": language, "zone": zone, "theme": theme, "rise_colour": rise_colour}
    changes = {name: value for name, value in chosen.items() if value is not None}
    if changes:
        connection.execute(sa.update(users).where(users.c.id == actor.user_id).values(**changes))
    return read_user(connection, actor.user_id)


def _role(role: str) -> Role:
    """Return a role that exists."""
    _check_choice("role", role, ROLES)
    return cast(Role, role)


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise InputError unless the value is one of the choices."""
    if value not in choices:
        raise InputError(field, value, "must be one of " + ", ".join(choices))


def _not_oneself(actor: Actor, user_id: int) -> None:
    """Keep an administrator from shutting themselves out by a slip; another one may do it."""
    if actor.user_id == user_id:
        raise NotAllowed(f"{actor.name} is this very session's; let another administrator do it")


def _keep_an_administrator(connection: sa.Connection, leaving: int) -> None:
    """Refuse to take away the last administrator."""
    others = sa.select(users.c.id).where(users.c.role == "admin", users.c.disabled_at.is_(None), users.c.id != leaving)
    if connection.execute(others.limit(1)).first() is None:
        raise StateConflict("this is the last administrator; make another one first")

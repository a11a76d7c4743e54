"""Who is asking: from cookie or handle to a person with the rights they have now, and the ways in and out.

Invariants:
1. A token proves nothing by itself: its session is looked up, at most `REMEMBERED_S` ago.
2. What ends a session here is forgotten here at once, so that no copied token is good for a second longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.kernels import handle_session
from ctp.accounts.login import is_own_password, log_in
from ctp.accounts.passwords import COST, accept_password
from ctp.accounts.rights import Actor, Relation, Role, allowed, may_be_shared_with
from ctp.accounts.sessions import (
    RefreshTicket,
    Session,
    actor_of,
    end_session,
    live_sessions,
    renew_session,
    which_live,
)
from ctp.accounts.tokens import ACCESS_MS, Audience, TokenSigner
from ctp.accounts.users import read_user, set_password, set_preferences
from ctp.clock import Clock
from ctp.config import Settings
from ctp.errors import InputError, NotAllowed
from ctp.i18n import text
from ctp.notifiers.web import unread_count
from ctp.storage.database import Database

REMEMBERED_S = 1.0
_MOST_REMEMBERED = 500


class Visitor(NamedTuple):
    """Somebody who is logged in, and how their pages look."""

    actor: Actor
    user_id: int
    session_id: str
    name: str
    role: Role
    language: str
    zone: str
    theme: str
    rise_colour: str
    must_change_password: bool
    unread: int

    @property
    def may_trade_page(self) -> bool:
        """Tell whether there can be accounts for them to look at."""
        return may_be_shared_with(self.role)

    @property
    def may_operate(self) -> bool:
        """Tell whether the health of the installation is theirs to look at."""
        return allowed(self.actor, "see_health")

    @property
    def may_administer(self) -> bool:
        """Tell whether users and the audit log are theirs to look at."""
        return allowed(self.actor, "manage_users")

    def may_command(self, relation: Relation) -> bool:
        """Tell whether they may start and stop an account to which they stand in this relation."""
        return allowed(self.actor, "command", relation)


class Tokens(NamedTuple):
    """What a browser holds of a session; without `refresh`, it keeps the one it has."""

    access: str
    refresh: str | None
    refresh_seconds: int


class LoginRefused(Exception):
    """Name, password or the number of attempts is wrong; which of them is not told."""


class People:
    """The gateway's way to users and sessions. Everything that computes or reads runs in a thread."""

    def __init__(self, settings: Settings, database: Database, clock: Clock, *, cost: int = COST) -> None:
        """Read the signing key, making it at the first start. cost: of bcrypt; tests lower it."""
        self._database, self._clock, self.cost = database, clock, cost
        self._signer = TokenSigner.from_folder(settings.keys)
        self._lifetime_ms = int(settings.web.session_hours * 3_600_000)
        self._remembered: dict[str, tuple[float, Visitor]] = {}

    async def log_in(self, name: str, password: str, address: str, user_agent: str) -> Tokens:
        """Begin a session. Raises LoginRefused."""
        now = self._clock.now_ms()
        found = await asyncio.to_thread(
            log_in, self._database, name, password,
            address=address, user_agent=user_agent, now_ms=now, lifetime_ms=self._lifetime_ms, cost=self.cost,
        )  # fmt: skip
        if found is None:
            raise LoginRefused
        return self._tokens(found.user.id, found.ticket, found.expires_at)

    async def visitor(self, access: str) -> Visitor | None:
        """Return whom an access token of a browser speaks for; None when it is not valid or its session is over."""
        if not access:
            return None
        try:
            claims = self._signer.check(access, "web", "access", self._clock.now_ms())
        except NotAllowed:
            return None
        return await self.visitor_of_session(claims.session_id)

    async def visitor_of_handle(self, handle: str, expected_session: str | None) -> Visitor | None:
        """Return whom a kernel draws for. expected_session: that of a kernel which is not bound yet."""
        if not handle:
            return None
        session_id = expected_session or await self._read(lambda connection: handle_session(connection, handle))
        return None if session_id is None else await self.visitor_of_session(session_id)

    async def visitor_of_token(self, token: str, audience: Audience) -> tuple[Visitor | None, bool]:
        """Return whom a lent token speaks for, and whether the person may come back when the session is over."""
        try:
            claims = self._signer.check(token, audience, "access", self._clock.now_ms())
        except NotAllowed:
            return None, False
        visitor = await self.visitor_of_session(claims.session_id)
        if visitor is not None:
            return visitor, True
        return None, await self._read(lambda connection: read_user(connection, claims.user_id).disabled_at is None)

    def lend(self, visitor: Visitor, audience: Audience) -> str:
        """Return a token of a few minutes by which another door of ours knows the visitor."""
        return self._signer.sign_access(visitor.user_id, visitor.session_id, audience, self._clock.now_ms())

    async def renew(self, refresh: str) -> Tokens | None:
        """Renew a session by its refresh token; None when it is over."""
        now = self._clock.now_ms()
        try:
            ticket = self._signer.check_refresh(refresh, "web", now)
        except NotAllowed:
            return None

        def write() -> Tokens | None:
            with self._database.transaction() as connection:
                renewed = renew_session(connection, ticket, now)
                actor = actor_of(connection, ticket.session_id, "web", now)
                if renewed is None or actor is None or actor.user_id is None:
                    return None
                expires_at = _expiry(connection, actor, now)
                if isinstance(renewed, Session):
                    return Tokens(self._access(actor.user_id, renewed.id), None, 0)
                return self._tokens(actor.user_id, renewed, expires_at)

        return await asyncio.to_thread(write)

    async def log_out(self, visitor: Visitor, session_id: str | None = None) -> None:
        """End the visitor's session, or another one of theirs. Raises NotFound for somebody else's."""
        ended = session_id or visitor.session_id
        now = self._clock.now_ms()
        await self._write(lambda connection: end_session(connection, visitor.actor, ended, now))
        self.forget({ended})

    async def change_password(self, visitor: Visitor, current: str, new: str) -> set[str]:
        """Change the visitor's password; returns their other sessions, which have ended. Raises InputError."""
        if not await self.is_own(visitor, current):
            raise InputError("current", "…", text("web.password.wrong", visitor.language))
        accepted = await asyncio.to_thread(accept_password, new, visitor.name, self.cost)
        now = self._clock.now_ms()

        def change(connection: sa.Connection) -> set[str]:
            before = {session.id for session in live_sessions(connection, visitor.actor, now)}
            set_password(connection, visitor.actor, visitor.user_id, accepted, now)
            return before - {visitor.session_id}

        ended = await self._write(change)
        self.forget(ended | {visitor.session_id})
        return ended

    async def is_own(self, visitor: Visitor, password: str) -> bool:
        """Tell whether this is the visitor's password; asked again before something that matters."""
        now = self._clock.now_ms()
        return await asyncio.to_thread(
            is_own_password, self._database, visitor.actor, password, now, cost=self.cost
        )

    async def sessions(self, visitor: Visitor) -> list[Session]:
        """Return the visitor's open sessions."""
        now = self._clock.now_ms()
        return await self._read(lambda connection: live_sessions(connection, visitor.actor, now))

    async def prefer(self, visitor: Visitor, chosen: dict[str, str]) -> None:
        """Change how the visitor's pages look. Raises InputError."""
        now = self._clock.now_ms()

        def write(connection: sa.Connection) -> None:
            set_preferences(connection, visitor.actor, **chosen)
            record(connection, visitor.actor, "user.preferences", f"user:{visitor.user_id}", now, **chosen)

        await self._write(write)
        self.forget({visitor.session_id})

    async def ended(self, session_ids: set[str]) -> set[str]:
        """Return which of these sessions are over."""
        if not session_ids:
            return set()
        now = self._clock.now_ms()
        over = session_ids - await self._read(lambda connection: which_live(connection, session_ids, now))
        self.forget(over)
        return over

    def forget(self, session_ids: set[str]) -> None:
        """Look these sessions up again at their next request."""
        for session_id in session_ids:
            self._remembered.pop(session_id, None)

    async def visitor_of_session(self, session_id: str) -> Visitor | None:
        """Return whom a session speaks for; None when it is over."""
        found = self._remembered.get(session_id)
        if found is not None and self._clock.monotonic_s() - found[0] <= REMEMBERED_S:
            return found[1]
        visitor = await self._read(lambda connection: _read_visitor(connection, session_id, self._clock.now_ms()))
        if visitor is None:
            self._remembered.pop(session_id, None)
        else:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[session_id] = (self._clock.monotonic_s(), visitor)
        return visitor

    def _access(self, user_id: int, session_id: str) -> str:
        """Sign an access token."""
        return self._signer.sign_access(user_id, session_id, "web", self._clock.now_ms())

    def _tokens(self, user_id: int, ticket: RefreshTicket, expires_at: int) -> Tokens:
        """Sign both tokens of a ticket."""
        now = self._clock.now_ms()
        refresh = self._signer.sign_refresh(user_id, ticket, "web", now, expires_at)
        return Tokens(self._access(user_id, ticket.session_id), refresh, max(1, (expires_at - now) // 1000))

    async def _read[Found](self, ask: Callable[[sa.Connection], Found]) -> Found:
        """Ask the database something, in a thread."""

        def read() -> Found:
            with self._database.reading() as connection:
                return ask(connection)

        return await asyncio.to_thread(read)

    async def _write[Done](self, change: Callable[[sa.Connection], Done]) -> Done:
        """Change the database, in a thread."""

        def write() -> Done:
            with self._database.transaction() as connection:
                return change(connection)

        return await asyncio.to_thread(write)


ACCESS_SECONDS = ACCESS_MS // 1000


def _read_visitor(connection: sa.Connection, session_id: str, now_ms: int) -> Visitor | None:
    """Return whom a session speaks for, with the role and preferences of now."""
    actor = actor_of(connection, session_id, "web", now_ms)
    if actor is None or actor.user_id is None:
        return None
    user = read_user(connection, actor.user_id)
    return Visitor(
        actor, user.id, session_id, user.name, user.role, user.language, user.zone, user.theme, user.rise_colour,
        user.must_change_password, unread_count(connection, user.id),
    )  # fmt: skip


def _expiry(connection: sa.Connection, actor: Actor, now_ms: int) -> int:
    """Return when the actor's session expires."""
    mine = (one.expires_at for one in live_sessions(connection, actor, now_ms) if one.id == actor.session_id)
    return next(mine, now_ms)

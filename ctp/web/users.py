"""The administrator's page about people: adding, roles, shutting out and letting in, new passwords, sessions.

Invariants:
1. To anybody but an administrator the page and its API do not exist.
2. What gives access asks for the administrator's own password again; what takes access away does not, and works at once.
3. A new password is made here, shown once in the answer, and kept nowhere but as a hash.
"""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ctp.accounts.administration import (
    PersonView,
    end_sessions_of,
    list_people,
    one_time_password,
    sessions_of,
)
from ctp.accounts.passwords import accept_password
from ctp.accounts.rights import ROLES
from ctp.accounts.users import add_user, disable_user, enable_user, read_user, set_password, set_role
from ctp.errors import InputError, NotFound
from ctp.i18n import LANGUAGES, text
from ctp.web.api import EntryRefused, read_json
from ctp.web.login import end_sessions
from ctp.web.pages import render_page
from ctp.web.people import Visitor
from ctp.web.state import GATEWAY, VISITOR, Gateway

_MOST_NAME, _MOST_PASSWORD = 64, 1024


async def users_page(request: web.Request) -> web.Response:
    """Show everybody who may log in."""
    gateway, visitor = request.app[GATEWAY], administrator(request)
    view = await _view(gateway, visitor)
    return render_page(
        "users.html", gateway, visitor, here="operations", title=text("web.users.title", visitor.language),
        view=view, roles_named=[[role, text(f"role.{role}", visitor.language)] for role in ROLES],
        languages_named=[[one, text(f"web.users.language_{one}", visitor.language)] for one in LANGUAGES],
    )  # fmt: skip


async def users(request: web.Request) -> web.Response:
    """Return everybody who may log in."""
    return web.json_response(await _view(request.app[GATEWAY], administrator(request)))


async def add(request: web.Request) -> web.Response:
    """Add a person; answers with the password for their first login."""
    gateway, visitor = request.app[GATEWAY], administrator(request)
    body = await read_json(request)
    name, role, language = (_text(body, field, visitor) for field in ("name", "role", "language"))
    await _prove(gateway, visitor, body)
    password = one_time_password()
    accepted = await asyncio.to_thread(accept_password, password, name, gateway.people.cost)
    now = gateway.clock.now_ms()

    def write(connection: sa.Connection) -> int:
        made = add_user(
            connection, visitor.actor, name, accepted, role, now, language=language, must_change_password=True
        )
        return made.id

    return web.json_response({"id": await gateway.write(write), "name": name, "password": password}, status=201)


async def new_password(request: web.Request) -> web.Response:
    """Give a person a new password for one login, and end their sessions."""
    gateway, visitor, user_id = request.app[GATEWAY], administrator(request), _user_id(request)
    body = await read_json(request)
    if user_id == visitor.user_id:
        raise EntryRefused("user", "…", text("web.users.own_password", visitor.language))
    await _prove(gateway, visitor, body)
    name = await gateway.read(lambda connection: read_user(connection, user_id).name)
    password, now = one_time_password(), gateway.clock.now_ms()
    accepted = await asyncio.to_thread(accept_password, password, name, gateway.people.cost)

    def write(connection: sa.Connection) -> set[str]:
        ended = {session.id for session in sessions_of(connection, visitor.actor, user_id, now)}
        set_password(connection, visitor.actor, user_id, accepted, now)
        return ended

    await _ended(gateway, await gateway.write(write))
    return web.json_response({"name": name, "password": password})


async def change_role(request: web.Request) -> web.Response:
    """Give a person another role."""
    gateway, visitor, user_id = request.app[GATEWAY], administrator(request), _user_id(request)
    body = await read_json(request)
    role = _text(body, "role", visitor)
    await _prove(gateway, visitor, body)
    now = gateway.clock.now_ms()

    def write(connection: sa.Connection) -> set[str]:
        set_role(connection, visitor.actor, user_id, role, now)
        return {session.id for session in sessions_of(connection, visitor.actor, user_id, now)}

    gateway.people.forget(await gateway.write(write))
    return web.Response(status=204)


async def shut_out(request: web.Request) -> web.Response:
    """Take a person's access away at once."""
    gateway, visitor, user_id = request.app[GATEWAY], administrator(request), _user_id(request)
    now = gateway.clock.now_ms()

    def write(connection: sa.Connection) -> set[str]:
        ended = {session.id for session in sessions_of(connection, visitor.actor, user_id, now)}
        disable_user(connection, visitor.actor, user_id, now)
        return ended

    await _ended(gateway, await gateway.write(write))
    return web.Response(status=204)


async def let_in(request: web.Request) -> web.Response:
    """Give a person who was shut out their access back."""
    gateway, visitor, user_id = request.app[GATEWAY], administrator(request), _user_id(request)
    await _prove(gateway, visitor, await read_json(request))
    now = gateway.clock.now_ms()
    await gateway.write(lambda connection: enable_user(connection, visitor.actor, user_id, now))
    return web.Response(status=204)


async def their_sessions(request: web.Request) -> web.Response:
    """List where a person is logged in."""
    gateway, visitor, user_id = request.app[GATEWAY], administrator(request), _user_id(request)
    now = gateway.clock.now_ms()
    found = await gateway.read(lambda connection: sessions_of(connection, visitor.actor, user_id, now))
    shown = [
        {
            "id": one.id, "device": one.user_agent, "address": one.address, "created_at": one.created_at,
            "seen_at": one.seen_at, "is_this": one.id == visitor.session_id,
        }
        for one in found
    ]  # fmt: skip
    return web.json_response({"sessions": shown})


async def end_theirs(request: web.Request) -> web.Response:
    """End one of a person's sessions, or all of them."""
    gateway, visitor, user_id = request.app[GATEWAY], administrator(request), _user_id(request)
    session_id, now = request.match_info.get("session"), gateway.clock.now_ms()
    ended = await gateway.write(
        lambda connection: end_sessions_of(connection, visitor.actor, user_id, now, session_id)
    )
    await _ended(gateway, ended)
    return web.json_response({"count": len(ended)})


def administrator(request: web.Request) -> Visitor:
    """Return the visitor if users and the audit log are theirs to see. Raises NotFound."""
    visitor: Visitor = request[VISITOR]
    if not visitor.may_administer:
        raise NotFound("administration")
    return visitor


async def _view(gateway: Gateway, visitor: Visitor) -> dict[str, Any]:
    """Gather the page's contents."""
    now = gateway.clock.now_ms()
    people = await gateway.read(lambda connection: list_people(connection, visitor.actor, now))
    return {"people": [_person(one, visitor) for one in people], "me": visitor.user_id}


def _person(person: PersonView, visitor: Visitor) -> dict[str, Any]:
    """Return a line of the list."""
    state = "disabled" if person.disabled_at else "first_password" if person.must_change_password else "active"
    return {
        **person._asdict(),
        "role_word": text(f"role.{person.role}", visitor.language),
        "state": state,
        "state_word": text(f"web.users.state_{state}", visitor.language),
    }


async def _prove(gateway: Gateway, visitor: Visitor, body: dict[str, Any]) -> None:
    """Let the administrator show that it is them. Raises EntryRefused, also after too many wrong passwords."""
    given = body.get("own_password")
    if not isinstance(given, str) or not 0 < len(given) <= _MOST_PASSWORD:
        raise EntryRefused("own_password", "…", text("web.users.own_needed", visitor.language))
    if not await gateway.people.is_own(visitor, given):
        raise EntryRefused("own_password", "…", text("web.users.own_wrong", visitor.language))


async def _ended(gateway: Gateway, session_ids: set[str]) -> None:
    """Forget sessions that are over, and close what hangs on them."""
    gateway.people.forget(session_ids)
    await end_sessions(gateway, session_ids)


def _text(body: dict[str, Any], field: str, visitor: Visitor) -> str:
    """Return a text of a request. Raises InputError."""
    value = body.get(field)
    if not isinstance(value, str) or len(value) > _MOST_NAME:
        raise InputError(field, "…", text("web.error.wrong_body", visitor.language))
    return value


def _user_id(request: web.Request) -> int:
    """Return the person's number in the address."""
    return int(request.match_info["user"])

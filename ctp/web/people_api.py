"""The JSON API about the visitor's own things: notices, preferences, sessions."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ctp.errors import InputError
from ctp.i18n import text
from ctp.notifiers.web import WebNotice, mark_read, recent_notices, unread_count
from ctp.web.api import read_json, whole_number
from ctp.web.login import end_sessions
from ctp.web.notices import notice_view
from ctp.web.state import GATEWAY, VISITOR

_MOST_NOTICES = 100
_PREFERENCES = ("language", "zone", "theme", "rise_colour")


async def notices(request: web.Request) -> web.Response:
    """Return the visitor's notices, newest first, in their language. before: the id to go on from."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    limit, before = whole_number(request, "limit", 50) or 0, whole_number(request, "before", None)
    if not 1 <= limit <= _MOST_NOTICES:
        raise InputError("limit", limit, f"must be 1 to {_MOST_NOTICES}")

    def read(connection: Any) -> tuple[list[WebNotice], int]:
        found = recent_notices(connection, visitor.user_id, limit=limit, before_id=before)
        return found, unread_count(connection, visitor.user_id)

    found, unread = await gateway.read(read)
    return web.json_response({"notices": [notice_view(one, visitor) for one in found], "unread": unread})


async def read_notices(request: web.Request) -> web.Response:
    """Mark notices of the visitor as read: those of `ids`, or `all`."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    body = await read_json(request)
    ids = None if body.get("all") is True else body.get("ids")
    is_list = isinstance(ids, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in ids)
    if ids is not None and (not is_list or len(ids) > _MOST_NOTICES):
        raise InputError("ids", "…", f"must be up to {_MOST_NOTICES} numbers")
    if ids is None and body.get("all") is not True:
        raise InputError("ids", "…", text("web.error.wrong_body", visitor.language))
    now = gateway.clock.now_ms()

    def write(connection: Any) -> int:
        mark_read(connection, visitor.user_id, now, ids)
        return unread_count(connection, visitor.user_id)

    unread = await gateway.write(write)
    gateway.people.forget({visitor.session_id})
    return web.json_response({"unread": unread})


async def prefer(request: web.Request) -> web.Response:
    """Change language, zone, theme or the colour of a rise."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    body = await read_json(request)
    unknown = sorted(set(body) - set(_PREFERENCES))
    if unknown:
        raise InputError("preference", unknown[0], "must be one of " + ", ".join(_PREFERENCES))
    for name, value in body.items():
        if not isinstance(value, str):
            raise InputError(name, value, text("web.error.wrong_body", visitor.language))
    await gateway.people.prefer(visitor, body)
    return web.Response(status=204)


async def sessions(request: web.Request) -> web.Response:
    """List where the visitor is logged in."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    found = [
        {
            "id": one.id,
            "device": one.user_agent,
            "address": one.address,
            "created_at": one.created_at,
            "seen_at": one.seen_at,
            "is_this": one.id == visitor.session_id,
        }
        for one in await gateway.people.sessions(visitor)
    ]
    return web.json_response({"sessions": found})


async def end_other_session(request: web.Request) -> web.Response:
    """End one of the visitor's sessions; somebody else's is not found."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    session_id = request.match_info["session"]
    await gateway.people.log_out(visitor, session_id)
    await end_sessions(gateway, {session_id})
    return web.Response(status=204)

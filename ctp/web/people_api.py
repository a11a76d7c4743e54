"""The JSON API about the visitor's own things: preferences and sessions."""

from __future__ import annotations

from aiohttp import web

from ctp.errors import InputError
from ctp.i18n import text
from ctp.web.api import read_json
from ctp.web.login import end_sessions
from ctp.web.state import GATEWAY, VISITOR

_PREFERENCES = ("language", "zone", "theme", "rise_colour")


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

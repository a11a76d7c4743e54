"""Coming in and going out: the login form, logout, renewal, the password."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ctp.errors import InputError
from ctp.i18n import text
from ctp.web.api import read_json
from ctp.web.channels import ENDED
from ctp.web.guard import set_session, spoken
from ctp.web.pages import login_page, render_page
from ctp.web.people import LoginRefused
from ctp.web.security import REFRESH, safe_next
from ctp.web.state import GATEWAY, VISITOR, Gateway

_MOST_NAME, _MOST_PASSWORD = 64, 1024


async def show_login(request: web.Request) -> web.Response:
    """Show the form; somebody who is logged in already goes on."""
    next_ = safe_next(request.query.get("next"))
    if VISITOR in request:
        raise web.HTTPFound(next_)
    return login_page(spoken(request), next_=next_)


async def log_in(request: web.Request) -> web.Response:
    """Check name and password, begin a session."""
    gateway = request.app[GATEWAY]
    form = await request.post()
    name, password = str(form.get("name", "")), str(form.get("password", ""))
    next_, language = safe_next(str(form.get("next", ""))), str(form.get("language", ""))
    language = language if language in ("ko", "en") else spoken(request)
    address = gateway.transport.client_address(request)
    agent = request.headers.get("User-Agent", "")[:256]
    try:
        if len(name) > _MOST_NAME or len(password) > _MOST_PASSWORD:
            raise LoginRefused
        tokens = await gateway.people.log_in(name, password, address, agent)
    except LoginRefused:
        problem = text("web.login.wrong", language)
        return login_page(language, next_=next_, problem=problem, tried=name[:_MOST_NAME], status=401)
    response = web.Response(status=303, headers={"Location": next_})
    set_session(gateway, response, tokens)
    return response


async def log_out(request: web.Request) -> web.Response:
    """End the session with everything that hangs on it."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    await gateway.people.log_out(visitor)
    await end_sessions(gateway, {visitor.session_id})
    response = web.Response(status=303, headers={"Location": "/login"})
    gateway.transport.drop_cookies(response)
    return response


async def renew(request: web.Request) -> web.Response:
    """Renew the short access token; the page asks for this while it is open."""
    gateway = request.app[GATEWAY]
    tokens = await gateway.people.renew(request.cookies.get(gateway.transport.cookie(REFRESH), ""))
    if tokens is None:
        response = web.json_response({"error": text("web.error.unauthenticated", spoken(request))}, status=401)
        gateway.transport.drop_cookies(response)
        return response
    response = web.Response(status=204)
    set_session(gateway, response, tokens)
    return response


async def show_first_password(request: web.Request) -> web.Response:
    """Show the form for the first password of one's own."""
    visitor = request[VISITOR]
    if not visitor.must_change_password:
        raise web.HTTPFound("/profile")
    title = text("web.password.title", visitor.language)
    return render_page("first_password.html", request.app[GATEWAY], visitor, title=title, next="/")


async def change_password(request: web.Request) -> web.Response:
    """Change one's own password; every other session of this person ends."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    body = await read_json(request)
    current, new = body.get("current"), body.get("new")
    if not isinstance(current, str) or not isinstance(new, str) or max(len(current), len(new)) > _MOST_PASSWORD:
        raise InputError("password", "…", text("web.error.wrong_body", visitor.language))
    await end_sessions(gateway, await gateway.people.change_password(visitor, current, new))
    return web.Response(status=204)


async def end_sessions(gateway: Gateway, session_ids: set[str]) -> None:
    """Close the websockets and end the kernels of sessions that are over. A page that does not answer delays nobody."""
    sockets = [socket for session_id in session_ids for socket in gateway.sockets.pop(session_id, ())]
    await asyncio.gather(*(socket.close(code=ENDED, message=b"session ended") for socket in sockets))
    await gateway.kernels.end_sessions(session_ids)

"""The three doors: browsers with cookies, dashboards' kernels with handles, JupyterLab with tokens. None takes another's.

Invariants:
1. Nothing but login, health and static files is answered to somebody who is not logged in.
2. A person who must change their password can do that, log out, and nothing else.
3. Every answer carries the security headers; every expected error has its status and is told in the reader's language.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import web

from ctp.accounts.rights import allowed
from ctp.errors import CtpError, InputError, NotAllowed, NotFound, StateConflict, StorageUnavailable
from ctp.explained import explained
from ctp.i18n import text
from ctp.web import lab
from ctp.web.api import EntryRefused
from ctp.web.pages import message_page
from ctp.web.people import ACCESS_SECONDS, Tokens
from ctp.web.security import ACCESS, REFRESH
from ctp.web.state import GATEWAY, VISITOR, Gateway

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PUBLIC = frozenset({"/login", "/healthz"})
_BEFORE_PASSWORD = frozenset({"/password", "/logout", "/api/v1/password", "/api/v1/session/renew", "/api/v1/live"})
_STATUS: tuple[tuple[type[CtpError], int, str], ...] = (
    (NotFound, 404, "not_found_title"),
    (NotAllowed, 403, "not_allowed_title"),
    (InputError, 400, "not_allowed_title"),
    (StateConflict, 409, "not_allowed_title"),
    (StorageUnavailable, 503, "unavailable_title"),
)


@web.middleware
async def public_door(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a browser in by its cookies."""
    gateway = request.app[GATEWAY]
    response = await _answer(request, lambda: _admit_browser(gateway, request, handler))
    if not response.prepared:
        gateway.transport.harden(response)
    return response


@web.middleware
async def inner_door(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a kernel in by its handle, as the person it draws for."""

    async def admit() -> web.StreamResponse:
        gateway = request.app[GATEWAY]
        scheme, _, handle = request.headers.get("Authorization", "").partition(" ")
        visitor = None
        if scheme == "Handle":
            visitor = await gateway.people.visitor_of_handle(handle, gateway.kernels.expected_session(handle))
        if visitor is None or visitor.must_change_password:
            return _refuse(401, text("web.error.unauthenticated", "en"))
        request[VISITOR] = visitor
        return await handler(request)

    return await _answer(request, admit)


@web.middleware
async def lab_door(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a notebook in by the token its person's JupyterLab was lent; JupyterLab itself has addresses of its own."""

    async def admit() -> web.StreamResponse:
        gateway = request.app[GATEWAY]
        if request.path not in lab.OWN:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            visitor, _ = await gateway.people.visitor_of_token(token if scheme == "Bearer" else "", "kernel")
            if visitor is None or visitor.must_change_password or not allowed(visitor.actor, "lab"):
                return _refuse(401, text("web.error.unauthenticated", "en"))
            request[VISITOR] = visitor
        return await handler(request)

    return await _answer(request, admit)


async def _admit_browser(gateway: Gateway, request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check origin and session, then let the request through."""
    transport = gateway.transport
    language = spoken(request)
    changes = request.method not in ("GET", "HEAD") or request.headers.get("Upgrade", "").lower() == "websocket"
    if not transport.origin(request) or (changes and not transport.is_ours(request)):
        return _refuse(403, text("web.error.origin", language))
    visitor = await gateway.people.visitor(request.cookies.get(transport.cookie(ACCESS), ""))
    renewed = None
    if visitor is None and request.method == "GET" and not request.path.startswith(("/api/", "/voila/", "/static/")):
        # A page opened after the short access token ran out: the refresh cookie renews it on the way.
        renewed = await gateway.people.renew(request.cookies.get(transport.cookie(REFRESH), ""))
        visitor = await gateway.people.visitor(renewed.access) if renewed else None
    if visitor is None:
        if request.path in _PUBLIC or request.path.startswith("/static/"):
            return await handler(request)
        if request.path == "/api/v1/session/renew" and request.method == "POST":
            return await handler(request)
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPFound(f"/login?next={quote(request.path_qs, safe='/')}")
        return _refuse(401, text("web.error.unauthenticated", language))
    request[VISITOR] = visitor
    if visitor.must_change_password and not (request.path in _BEFORE_PASSWORD or request.path.startswith("/static/")):
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPFound("/password")
        return _refuse(403, text("web.error.must_change_password", visitor.language))
    response = await handler(request)
    if renewed and not response.prepared:
        set_session(gateway, response, renewed)
    return response


def set_session(gateway: Gateway, response: web.StreamResponse, tokens: Tokens) -> None:
    """Give the browser the two cookies of a session."""
    gateway.transport.set_cookie(response, ACCESS, tokens.access, ACCESS_SECONDS)
    if tokens.refresh is not None:
        gateway.transport.set_cookie(response, REFRESH, tokens.refresh, tokens.refresh_seconds)


async def _answer(request: web.Request, admit: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Run a handler; what it raises becomes an answer."""
    try:
        return await admit()
    except web.HTTPRedirection as redirection:
        return web.Response(status=redirection.status, headers={"Location": redirection.headers["Location"]})
    except web.HTTPException as error:
        if error.status in (404, 405):  # a wrong method tells no more than a wrong path
            return _tell(request, 404, "not_found_title", text("web.error.not_found", spoken(request)))
        return _refuse(error.status, error.reason)
    except CtpError as error:
        for kind, status, heading in _STATUS:
            if isinstance(error, kind):
                return _tell(request, status, heading, _words(request, error, kind))
        log.exception("a request failed: %s %s", request.method, request.path)
        return _tell(request, 500, "unexpected_title", text("web.error.unexpected", spoken(request)))
    except Exception:
        # The outermost place of a request: one broken page must not take the gateway down, and tells no details.
        log.exception("a request failed: %s %s", request.method, request.path)
        return _tell(request, 500, "unexpected_title", text("web.error.unexpected", spoken(request)))


def _words(request: web.Request, error: CtpError, kind: type[CtpError]) -> str:
    """Return what the reader is told: what is missing and what is foreign get the same words."""
    if kind is NotFound:
        return text("web.error.not_found", spoken(request))
    if isinstance(error, EntryRefused):
        return error.bound
    if kind is StorageUnavailable:
        return text("web.error.unavailable", spoken(request))
    return explained(error, spoken(request))


def _tell(request: web.Request, status: int, heading: str, explanation: str) -> web.StreamResponse:
    """Answer with a page to a person and with JSON to a script."""
    visitor = request.get(VISITOR)
    if visitor is not None and "text/html" in request.headers.get("Accept", ""):
        title = text(f"web.error.{heading}", visitor.language)
        return message_page(request.app[GATEWAY], visitor, title, explanation, status=status)
    return _refuse(status, explanation)


def _refuse(status: int, explanation: str) -> web.Response:
    """Answer with an error as JSON."""
    return web.json_response({"error": explanation}, status=status)


def spoken(request: web.Request) -> str:
    """Return the language to use: the visitor's, else what was asked for, else what the browser prefers."""
    visitor = request.get(VISITOR)
    if visitor is not None:
        return str(visitor.language)
    asked = request.query.get("language") or request.cookies.get("ctp-language", "")
    if asked in ("ko", "en"):
        return asked
    preferred = request.headers.get("Accept-Language", "").lower()
    return "ko" if not preferred or preferred.startswith("ko") or ",ko" in preferred.replace(" ", "") else "en"

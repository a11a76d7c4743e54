"""JupyterLab's way in: who may enter it, and what notebooks may ask the gateway.

JupyterLab runs code of its people, as another user of this machine, so it is given nothing that opens the web: it sees no
password, no cookie of ours and no signing key. A person who is logged in here is handed over by a code that works once.

Invariants:
1. A code is good for one minute, once, and for whoever asked for it: JupyterLab compares what it gave this browser before.
2. Tokens of JupyterLab (`aud=lab`) and of its kernels (`aud=kernel`) live 15 minutes and are worth nothing at another door.
3. Once there is more than one person, a JupyterLab that runs as our own user or as root gets nobody handed over.
4. Notebooks read what their person may see, and stored candles; they may promote parameters, and give no command.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from ctp.accounts.rights import allowed
from ctp.accounts.users import count_people
from ctp.config import Settings, is_loopback
from ctp.errors import InputError, NotAllowed, NotFound
from ctp.i18n import text
from ctp.market.history import candle_store
from ctp.market.series import Series
from ctp.market.store import as_rows
from ctp.web.api import read_json, whole_number
from ctp.web.pages import message_page, render_page
from ctp.web.people import Visitor
from ctp.web.state import GATEWAY, VISITOR, Gateway

ENTER, SESSION, WHERE = "/api/v1/lab/enter", "/api/v1/lab/session", "/api/v1/lab/where"
OWN = frozenset({ENTER, SESSION, WHERE})  # what JupyterLab itself asks, before and about its people
MOST_ROWS = 200_000  # of stored candles in one answer: 10 MB
_STATE = re.compile(r"[A-Za-z0-9_-]{16,64}")
_ESTABLISHED = "01"  # in /proc/net/tcp


# --- the public door --------------------------------------------------------------------------------------------------


async def open_lab(request: web.Request) -> web.StreamResponse:
    """Send a person to JupyterLab; with a code when JupyterLab has asked for it.

    The answer is a page that goes on by itself: our content policy rightly refuses a redirect from the login form to
    another origin.
    """
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    if not allowed(visitor.actor, "lab"):
        raise NotAllowed(text("web.lab.not_allowed", visitor.language))
    if not await asyncio.to_thread(_is_listening, gateway.settings.lab.port):
        title, words = (text(f"web.lab.away.{part}", visitor.language) for part in ("title", "text"))
        return message_page(gateway, visitor, title, words, status=503)
    address = lab_origin(gateway.settings, request.host)
    state = request.query.get("state", "")
    if _STATE.fullmatch(state):
        code = gateway.lab_codes.make(visitor.session_id, gateway.clock.monotonic_s())
        asked = {"code": code, "state": state, "next": request.query.get("next", "")}
        address += f"/ctp/enter?{urlencode(asked)}"
    title = text("web.lab.opening", visitor.language)
    return render_page("lab.html", gateway, visitor, title=title, address=address)


def lab_origin(settings: Settings, host: str) -> str:
    """Return where a browser finds JupyterLab, seen from the host name it uses for us.

    Cookies ignore ports: under our own host name the browser would show JupyterLab our cookies too. On loopback there are
    two names for the same place, so JupyterLab is sent for under the other one.
    """
    if settings.lab.public_url:
        return settings.lab.public_url.rstrip("/")
    name = urlsplit(f"//{host}").hostname or ""
    other = "127.0.0.1" if name == "localhost" else "localhost"
    return f"http://{other}:{settings.lab.port}"


def _is_listening(port: int) -> bool:
    """Tell whether something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- the door of JupyterLab -------------------------------------------------------------------------------------------


async def where(request: web.Request) -> web.Response:
    """Tell JupyterLab where browsers find us."""
    gateway = request.app[GATEWAY]
    chosen = gateway.settings.web
    scheme = "https" if gateway.transport.is_https else "http"
    return web.json_response({"public_url": chosen.public_url.rstrip("/"), "scheme": scheme, "port": gateway.port})


async def enter(request: web.Request) -> web.Response:
    """Exchange a code for the token of a person."""
    gateway = request.app[GATEWAY]
    body = await read_json(request)
    await _require_apart(request)
    session_id = gateway.lab_codes.take(str(body.get("code", "")), gateway.clock.monotonic_s())
    visitor = await gateway.people.visitor_of_session(session_id) if session_id else None
    if visitor is None or visitor.must_change_password or not allowed(visitor.actor, "lab"):
        raise NotAllowed("the code is not valid")
    return web.json_response(_lent(gateway, visitor))


async def session(request: web.Request) -> web.Response:
    """Tell JupyterLab whether a person's session lives, with fresh tokens; and if not, whether the person still may."""
    gateway = request.app[GATEWAY]
    await _require_apart(request)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    visitor, may_return = await gateway.people.visitor_of_token(token if scheme == "Bearer" else "", "lab")
    if visitor is None or visitor.must_change_password or not allowed(visitor.actor, "lab"):
        stays = may_return and (visitor is None or allowed(visitor.actor, "lab"))
        return web.json_response({"state": "over", "may_return": stays})
    return web.json_response(_lent(gateway, visitor))


def _lent(gateway: Gateway, visitor: Visitor) -> dict[str, object]:
    """Return what JupyterLab holds of a person for the next minutes."""
    return {
        "state": "live",
        "user_id": visitor.user_id,
        "session": visitor.session_id[:16],
        "name": visitor.name,
        "role": visitor.role,
        "language": visitor.language,
        "token": gateway.people.lend(visitor, "lab"),
        "kernel_token": gateway.people.lend(visitor, "kernel"),
    }


async def _require_apart(request: web.Request) -> None:
    """Raise NotAllowed for a JupyterLab whose kernels could read whatever we can, once that is not one's own alone."""
    gateway = request.app[GATEWAY]
    if gateway.trusts_lab:
        return
    people = await gateway.read(count_people)
    if people > 1 and _user_of_peer(request) in (0, os.geteuid(), None):
        raise NotAllowed(
            f"{people} people use this installation, and JupyterLab runs as the user of the services: its notebooks could"
            " read everybody's keys. Run it as another user (docs/runbook.md, JupyterLab)"
        )


def _user_of_peer(request: web.Request) -> int | None:
    """Return the id of the user whose process is at the other end of a loopback connection; None when unknown."""
    transport = request.transport
    if transport is None:
        return None
    theirs, ours = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not theirs or not ours or not is_loopback(theirs[0]):
        return None
    rows = (line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:])
    wanted = (f"0100007F:{theirs[1]:04X}", f"0100007F:{ours[1]:04X}", _ESTABLISHED)
    return next((int(row[7]) for row in rows if (row[1], row[2], row[3]) == wanted), None)


# --- stored candles, read-only ----------------------------------------------------------------------------------------


async def list_history(request: web.Request) -> web.Response:
    """List the stored series."""
    gateway = request.app[GATEWAY]
    stored = await asyncio.to_thread(lambda: list(candle_store(gateway.settings.home).list()))
    rows = [{**one.series._asdict(), "rows": one.rows, "first": one.first, "last": one.last} for one in stored]
    return web.json_response({"series": rows})


async def history(request: web.Request) -> web.Response:
    """Return rows of one stored series as they lie in memory, at most `MOST_ROWS` from `start` on; empty: there are none."""
    gateway, query = request.app[GATEWAY], request.query
    series = Series.checked(
        query.get("exchange", ""), query.get("symbol", ""), query.get("timeframe", ""), query.get("kind", "candles")
    )
    start, end = whole_number(request, "start", None), whole_number(request, "end", None)
    if start is None:
        raise InputError("start", "", "must be milliseconds")
    length_ms = 3_600_000 if series.kind == "funding" else series.length_ms
    last = min(end or 1 << 62, start + MOST_ROWS * length_ms)
    try:
        rows = await asyncio.to_thread(_read, gateway.settings, series, start, last)
    except NotFound:
        rows = b""
    return web.Response(body=rows, content_type="application/octet-stream")


def _read(settings: Settings, series: Series, start: int, end: int) -> bytes:
    """Return stored rows in [start, end)."""
    store = candle_store(settings.home)
    data = store.load_funding(series, start, end) if series.kind == "funding" else store.load(series, start, end)
    return as_rows(data).tobytes()

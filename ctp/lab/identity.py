"""Who may use JupyterLab: people of the gateway, by its session and a cookie of our own.

Invariants:
1. No password is typed here: whoever is not in is sent to the gateway, and comes back with a code that works once.
2. The code counts only in the browser that was sent for it (`state`), so nobody is logged in to another's account.
3. Requests that show us cookies of the trading pages are refused before anything else: those cookies are not ours to see.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.base.handlers import JupyterHandler
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler
from traitlets import Unicode

from ctp.api_client import GatewayAway
from ctp.config import is_loopback
from ctp.errors import NotAllowed
from ctp.lab.door import Lent
from ctp.lab.guests import everybody

_GATEWAYS = ("ctp-access", "ctp-refresh", "__Host-ctp-access", "__Host-ctp-refresh")
_STATE_S = 600
_COOKIE_S = 900


@dataclass
class CtpUser(User):
    """A person of the gateway."""

    user_id: int = 0
    role: str = ""


class CtpIdentityProvider(IdentityProvider):
    """Let in the gateway's people."""

    public_url = Unicode("", config=True, help="Where browsers find us; empty: on this machine.")
    token = ""  # Jupyter's own shared token does not exist here
    auth_enabled = True
    login_available = True
    logout_available = True

    def __init__(self, **arguments: Any) -> None:
        """Begin to look up whoever comes, at the first who does."""
        super().__init__(**arguments)
        self.guests = everybody()
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_https(self) -> bool:
        """Tell whether browsers reach us encrypted."""
        return self.public_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """Return the name of our cookie."""
        return "__Host-ctp-lab" if self.is_https else "ctp-lab"

    async def get_user(self, handler: Any) -> CtpUser | None:
        """Return who asks; a socket is remembered, so that it ends with its session."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self.guests.keep_looking())
        if shows_foreign_cookies(handler):
            return None
        token = handler.get_cookie(self.cookie)
        lent = await self.guests.look(token) if token else None
        if lent is None:
            return None
        if isinstance(handler, WebSocketHandler):
            self.guests.remember_socket(lent, handler)
        elif lent.token != token:
            self.give_cookie(handler, lent.token)
        return CtpUser(username=lent.name, user_id=lent.user_id, role=lent.role)

    def give_cookie(self, handler: Any, token: str) -> None:
        """Give the browser our cookie."""
        handler.set_cookie(
            self.cookie, token, path="/", httponly=True, samesite="Lax", secure=self.is_https, max_age=_COOKIE_S
        )

    def is_token_authenticated(self, handler: Any) -> bool:
        """Check the form token of every request that changes something: nobody comes with a token of Jupyter's."""
        return False

    def get_handlers(self) -> list[Any]:
        """Return the pages of coming and going."""
        return [(r"/login", ToGateway), (r"/ctp/enter", FromGateway), (r"/logout", Leave)]

    def validate_security(self, app: Any, ssl_options: Any = None) -> None:
        """Nothing to warn of: there is no shared token and no password."""


def shows_foreign_cookies(handler: Any) -> bool:
    """Tell whether the browser shows us cookies of the trading pages."""
    return any(handler.get_cookie(name) for name in _GATEWAYS)


def right_name(host: str) -> str:
    """Say under which name JupyterLab is not shown cookies that are not its own."""
    parts = urlsplit(f"//{host}")
    if is_loopback(parts.hostname or ""):
        other = "127.0.0.1" if parts.hostname == "localhost" else "localhost"
        return f"open JupyterLab as http://{other}:{parts.port}: under this name it is shown cookies of other pages"
    return "JupyterLab needs a host name of its own: it is shown cookies of other pages (lab.public_url)"


class _Page(JupyterHandler):
    """A page of coming and going."""

    @property
    def provider(self) -> CtpIdentityProvider:
        """Return the identity provider."""
        provider = self.identity_provider
        assert isinstance(provider, CtpIdentityProvider)
        return provider

    def next_path(self) -> str:
        """Return the path of ours to go to; anything else becomes the first page."""
        wanted = str(self.get_argument("next", ""))
        is_ours = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted and wanted.isprintable()
        return wanted if is_ours else str(self.default_url)

    @property
    def state_cookie(self) -> str:
        """Return the name of the cookie that ties a code to this browser."""
        return f"{self.provider.cookie}-state"


class ToGateway(_Page):
    """Send somebody who is not in to the gateway."""

    @allow_unauthenticated
    async def get(self) -> None:
        """Remember the browser, then send it."""
        if shows_foreign_cookies(self):
            raise HTTPError(403, right_name(self.request.host))
        if self.current_user:
            self.redirect(self.next_path())
            return
        try:
            place = await self.provider.guests.door.place()
        except GatewayAway:
            raise HTTPError(503, "the trading pages do not answer; JupyterLab lets people in by their login there") from None
        state = secrets.token_urlsafe(24)
        self.set_cookie(
            self.state_cookie, state, path="/", httponly=True, samesite="Lax", secure=self.provider.is_https, max_age=_STATE_S
        )
        name = urlsplit(f"//{self.request.host}").hostname or ""
        other = "127.0.0.1" if name == "localhost" else "localhost"
        gateway = place.public_url or f"{place.scheme}://{other}:{place.port}"
        self.redirect(f"{gateway}/lab?{urlencode({'state': state, 'next': self.next_path()})}")


class FromGateway(_Page):
    """Let somebody in who comes back with a code."""

    @allow_unauthenticated
    async def get(self) -> None:
        """Exchange the code for our cookie."""
        expected, given = self.get_cookie(self.state_cookie) or "", str(self.get_argument("state", ""))
        self.clear_cookie(self.state_cookie, path="/")
        if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
            self.redirect(f"/login?{urlencode({'next': self.next_path()})}")  # another tab came between: begin again
            return
        try:
            lent: Lent = await self.provider.guests.enter(str(self.get_argument("code", "")))
        except NotAllowed as refusal:
            raise HTTPError(403, str(refusal)) from None
        except GatewayAway as away:
            raise HTTPError(503, str(away)) from None
        self.provider.give_cookie(self, lent.token)
        self.set_header("Cache-Control", "no-store")
        self.redirect(self.next_path())


class Leave(_Page):
    """Leave JupyterLab; the session at the gateway goes on until one logs out there."""

    @allow_unauthenticated
    async def get(self) -> None:
        """Take the cookie back and say what remains."""
        self.provider.guests.leave(self.get_cookie(self.provider.cookie) or "")
        self.clear_cookie(self.provider.cookie, path="/")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(
            "JupyterLab에서 나왔습니다. 트레이딩 화면의 로그인은 그대로이므로, 거기서 로그아웃해야 세션이 끝납니다.\n"
            "You have left JupyterLab. You are still logged in at the trading pages; log out there to end the session.\n"
        )

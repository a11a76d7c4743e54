"""JupyterLab's own questions to the gateway: who is this, and does their session live."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from ctp.api_client import GatewayAway
from ctp.errors import NotAllowed

_TIMEOUT_S = 5.0
_REFUSALS = (400, 401, 403, 404, 409)


class Lent(NamedTuple):
    """A person as the gateway knows them now, and the tokens it lends for a few minutes."""

    session: str
    user_id: int
    name: str
    role: str
    language: str
    token: str
    kernel_token: str


class Over(NamedTuple):
    """A session that has ended; may_return: the person themself may still come."""

    may_return: bool


class Place(NamedTuple):
    """Where browsers find the gateway."""

    public_url: str
    scheme: str
    port: int


class Door:
    """The gateway's door for us, on this machine."""

    def __init__(self, address: str) -> None:
        """Remember where it is. address: host:port."""
        self._base = f"http://{address}/api/v1/lab"

    async def place(self) -> Place:
        """Return where browsers find the gateway. Raises GatewayAway."""
        found = await self._ask("GET", "/where")
        return Place(str(found["public_url"]), str(found["scheme"]), int(found["port"]))

    async def enter(self, code: str) -> Lent:
        """Exchange the code a browser brought. Raises NotAllowed, saying why, and GatewayAway."""
        return _lent(await self._ask("POST", "/enter", {"code": code}))

    async def look(self, token: str) -> Lent | Over:
        """Ask about the session of a token. Raises GatewayAway."""
        try:
            found = await self._ask("POST", "/session", {}, token)
        except NotAllowed:
            return Over(may_return=True)
        return _lent(found) if found.get("state") == "live" else Over(bool(found.get("may_return")))

    async def _ask(self, method: str, path: str, body: object = None, token: str = "") -> dict[str, Any]:
        """Send one question."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        try:
            answer = await AsyncHTTPClient().fetch(
                self._base + path,
                method=method,
                headers=headers,
                body=None if body is None else json.dumps(body),
                request_timeout=_TIMEOUT_S,
                connect_timeout=_TIMEOUT_S,
            )
            return cast("dict[str, Any]", json.loads(answer.body))
        except HTTPClientError as error:
            if error.code in _REFUSALS and error.response is not None:
                raise NotAllowed(_reason(error.response.body)) from None
            raise GatewayAway(f"the gateway did not answer: {error}") from None
        except (OSError, ValueError) as error:
            raise GatewayAway(f"the gateway did not answer: {error}") from None


def _lent(found: dict[str, Any]) -> Lent:
    """Return the answer about a person."""
    return Lent(*(found[name] for name in Lent._fields))


def _reason(body: bytes) -> str:
    """Return what a refusal says."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "refused"

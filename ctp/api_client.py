"""A kernel's way to the gateway: its API on a loopback port that accepts a kernel's credential and nothing else.

Dashboards hold a handle for as long as their page is open; notebooks in JupyterLab are lent a token that is renewed in a
file while its person's session lives.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ctp.errors import CtpError, NotAllowed, NotFound

LAB_API, LAB_TOKEN_FILE = "CTP_LAB_API", "CTP_LAB_TOKEN_FILE"
_TIMEOUT_S = 10.0


class SessionEnded(CtpError):
    """The person's session is over: stop drawing, or log in again."""


class GatewayAway(CtpError):
    """The gateway did not answer; try again a little later."""


class Client:
    """One kept-alive connection to the gateway. Not for use by several threads at once."""

    def __init__(self, credential: str | Callable[[], str], address: str | None = None, scheme: str = "Handle") -> None:
        """Remember what to show at the door.

        credential: a handle, or what returns the token of now. address: `host:port`, by default the one the gateway gave
        this kernel. scheme: the kind of credential, `Handle` or `Bearer`.
        """
        self._credential, self._scheme = credential, scheme
        self._connection = http.client.HTTPConnection(address or os.environ["CTP_API"], timeout=_TIMEOUT_S)

    def get(self, path: str, **query: object) -> Any:
        """Return the JSON of a resource below /api/v1."""
        return _content(self._ask("GET", _with_query(path, query), None))

    def get_bytes(self, path: str, **query: object) -> bytes:
        """Return a resource below /api/v1 as it comes."""
        return self._ask("GET", _with_query(path, query), None)

    def post(self, path: str, body: object) -> Any:
        """Send a JSON document to a resource below /api/v1 and return the answer's."""
        return _content(self._ask("POST", path, body))

    def _ask(self, method: str, path: str, body: object) -> bytes:
        """Send one request; a connection the gateway closed meanwhile is opened again, once."""
        content = None if body is None else json.dumps(body)
        shown = self._credential if isinstance(self._credential, str) else self._credential()
        headers = {"Authorization": f"{self._scheme} {shown}", "Content-Type": "application/json"}
        for is_last in (False, True):
            try:
                self._connection.request(method, f"/api/v1{path}", content, headers)
                answer = self._connection.getresponse()
                received = answer.read()
                break
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                # A command carries its own request key, so sending it again cannot do it twice.
                if is_last:
                    raise GatewayAway(f"the gateway did not answer: {error}") from None
        _refuse(answer.status, received)
        return received


def lab_client() -> Client | None:
    """Return the client of a notebook in JupyterLab that runs apart from the services; None everywhere else."""
    address, file = os.environ.get(LAB_API), os.environ.get(LAB_TOKEN_FILE)
    if not address or not file:
        return None

    def token() -> str:
        """Read the token of now: it is renewed every few minutes, and gone when the session has ended."""
        try:
            return Path(file).read_text("ascii")
        except OSError:
            raise SessionEnded("your session has ended: log in again in the browser, this kernel keeps its variables") from None

    return Client(token, address, "Bearer")


def _with_query(path: str, query: dict[str, object]) -> str:
    """Return a path with what is given of a query."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _content(received: bytes) -> Any:
    """Return the JSON of an answer."""
    try:
        return json.loads(received) if received else None
    except ValueError:
        raise GatewayAway("the gateway answered without JSON") from None


def _refuse(status: int, received: bytes) -> None:
    """Raise what the status of an answer means, unless it is a success."""
    if status < http.client.BAD_REQUEST:
        return
    if status == http.client.UNAUTHORIZED:
        raise SessionEnded("the session has ended")
    try:
        content = json.loads(received)
    except ValueError:
        content = None
    reason = str(content.get("error", "")) if isinstance(content, dict) else ""
    if status == http.client.NOT_FOUND:
        raise NotFound(reason)
    if status >= http.client.INTERNAL_SERVER_ERROR:
        raise GatewayAway(f"the gateway answered {status}: {reason}")
    raise NotAllowed(reason)

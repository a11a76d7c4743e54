"""The kernel's only way out: the gateway's API on a loopback port that accepts handles and nothing else."""

from __future__ import annotations

import http.client
import json
import os
from typing import Any
from urllib.parse import urlencode

from ctp.errors import CtpError, NotAllowed, NotFound

_TIMEOUT_S = 10.0


class SessionEnded(CtpError):
    """The person's session is over: stop drawing."""


class GatewayAway(CtpError):
    """The gateway did not answer; try again a little later."""


class Client:
    """One kept-alive connection to the gateway. Not for use by several threads at once."""

    def __init__(self, handle: str, address: str | None = None) -> None:
        """Remember the handle; address is `host:port`, by default the one the gateway gave this kernel."""
        self._handle = handle
        self._connection = http.client.HTTPConnection(address or os.environ["CTP_API"], timeout=_TIMEOUT_S)

    def get(self, path: str, **query: object) -> Any:
        """Return the JSON of a resource below /api/v1."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(given)}" if given else path, None)

    def post(self, path: str, body: object) -> Any:
        """Send a JSON document to a resource below /api/v1 and return the answer's."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: object) -> Any:
        """Send one request; a connection the gateway closed meanwhile is opened again, once."""
        content = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Handle {self._handle}", "Content-Type": "application/json"}
        for is_last in (False, True):
            try:
                self._connection.request(method, f"/api/v1{path}", content, headers)
                answer = self._connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                # A command carries its own request key, so sending it again cannot do it twice.
                if is_last:
                    raise GatewayAway(f"the gateway did not answer: {error}") from None
        return _read(answer.status, text)


def _read(status: int, text: bytes) -> Any:
    """Return the JSON of an answer, or raise what its status means."""
    if status == http.client.UNAUTHORIZED:
        raise SessionEnded("the session has ended")
    try:
        content = json.loads(text) if text else None
    except ValueError:
        raise GatewayAway(f"the gateway answered {status} without JSON") from None
    if status < http.client.BAD_REQUEST:
        return content
    reason = content.get("error", "") if isinstance(content, dict) else ""
    if status == http.client.NOT_FOUND:
        raise NotFound(reason)
    if status >= http.client.INTERNAL_SERVER_ERROR:
        raise GatewayAway(f"the gateway answered {status}: {reason}")
    raise NotAllowed(reason)

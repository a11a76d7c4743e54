"""The part of the gateway that runs inside Voila: believe the gateway, and nobody else on this machine.

The secret comes through an inherited pipe that is read once and closed, so kernels, which inherit Voila's environment,
never hold it. This module imports Jupyter's server and is loaded by Voila alone.
"""

from __future__ import annotations

import hmac
import os
from typing import Any

from jupyter_server.auth.identity import IdentityProvider, User

from ctp.web.voila_process import PIPE_VARIABLE, SECRET_HEADER


def _read_secret() -> str:
    """Read the secret from the pipe the gateway left open for us, and close it."""
    with os.fdopen(int(os.environ.pop(PIPE_VARIABLE)), encoding="ascii") as pipe:
        return pipe.read()


class GatewayIdentityProvider(IdentityProvider):
    """Let in requests that carry the gateway's secret."""

    auth_enabled = True
    login_available = False
    logout_available = False

    def __init__(self, **arguments: Any) -> None:
        """Drop the login Voila forces on every provider, and learn the secret."""
        for name in ("login_handler_class", "token"):
            arguments.pop(name, None)
        super().__init__(token="", **arguments)
        self._secret = _read_secret()

    def get_user(self, handler: Any) -> User | None:
        """Return the gateway as user, or nobody; the header goes no further."""
        given = handler.request.headers.get(SECRET_HEADER, "")
        handler.request.headers.pop(SECRET_HEADER, None)
        return User(username="gateway") if hmac.compare_digest(given, self._secret) else None

    def is_token_authenticated(self, handler: Any) -> bool:
        """Skip the form token: the gateway has compared the Origin already."""
        return True

    def get_handlers(self) -> list[Any]:
        """Offer no login pages."""
        return []

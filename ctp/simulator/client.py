"""Ask the control port of a running simulated exchange, from another process."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ctp.errors import ConfigError, ExchangeDown, ExchangeError

TIMEOUT_S = 30.0


class ControlClient:
    """The operator's door of one simulated exchange, on loopback. One thread at a time."""

    def __init__(self, url: str, token_file: Path) -> None:
        """Take the address and the file that holds the token. Raises ConfigError when the file cannot be read."""
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        try:
            self._token = token_file.read_text().strip()
        except OSError as error:
            raise ConfigError(
                f"the simulated exchange has not left its token in {token_file} ({error.strerror});"
                " start it first: ctp simulator"
            ) from None

    def status(self) -> dict[str, Any]:
        """Return where the market stands: time, candle, phase, prices of the traded symbols."""
        return self._ask("GET", "/sim/status")

    def state(self, key: str) -> dict[str, Any]:
        """Return all that the exchange knows of an account, in the words of its replies."""
        return self._ask("GET", f"/sim/state?key={key}")

    def add_account(self, key: str, secret: str, **settings: Any) -> None:
        """Open an account; settings as in `AccountSettings`."""
        self._ask("POST", "/sim/accounts", {"key": key, "secret": secret, **settings})

    def advance(self, candles: int = 1) -> dict[str, Any]:
        """Move a stepped market; returns the status after it."""
        return self._ask("POST", "/sim/advance", {"candles": candles})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make one request. Raises ExchangeDown when nobody answers, ExchangeError with the reason of a refusal."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            answer: dict[str, Any] = json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ExchangeDown(
                f"the simulated exchange does not answer on {self._host}:{self._port} ({error}); start it: ctp simulator"
            ) from error
        finally:
            connection.close()
        if reply.status != 200:
            raise ExchangeError(f"the simulated exchange refused {path}: {answer.get('error', reply.status)}")
        return answer

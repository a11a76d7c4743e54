"""API keys: who signed a request, and whether in time.

Invariant: a request counts only when its signature covers every byte but the signature itself.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import parse_qsl

from ctp.simulator.refusals import Refusal, no_such_key

_AHEAD_MS, _DEFAULT_WINDOW_MS, _LONGEST_WINDOW_MS = 1000, 5000, 60_000


@dataclass
class Key:
    """One API key and its rights."""

    key: str
    secret: str
    can_trade_futures: bool = True
    can_trade_spot: bool = True
    can_withdraw: bool = False
    is_ip_restricted: bool = True
    is_revoked: bool = False
    listen_key: str = ""


def signature(secret: str, payload: str) -> str:
    """Return the HMAC-SHA256 of a payload in hexadecimal."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def parameters_of(payload: str) -> dict[str, str]:
    """Return the parameters of a query string or form."""
    return dict(parse_qsl(payload, keep_blank_values=True))


def find(keys: dict[str, Key], name: str | None) -> Key:
    """Return the key a request names.

    Raises Refusal: −2014 none sent, −2015 unknown or revoked.
    """
    if not name:
        raise Refusal(-2014, status=401)
    key = keys.get(name)
    if key is None or key.is_revoked:
        raise no_such_key()
    return key


def check_signed(key: Key, payload: str, parameters: dict[str, str], now_ms: int) -> None:
    """Refuse a request that is unsigned, wrongly signed, too old or from the future.

    payload: query string and body as sent, the signature last.
    """
    if not parameters.get("timestamp"):
        raise Refusal(-1102, name="timestamp")
    body, _, sent = payload.rpartition("&signature=")
    if not hmac.compare_digest(signature(key.secret, body), sent):
        raise Refusal(-1022)
    check_time(parameters, now_ms)


def check_time(parameters: dict[str, str], now_ms: int) -> None:
    """Refuse a timestamp outside its window."""
    stamp, window = parameters.get("timestamp", ""), parameters.get("recvWindow", str(_DEFAULT_WINDOW_MS))
    if not stamp.isdigit():
        raise Refusal(-1102, name="timestamp")
    if not window.isdigit() or int(window) > _LONGEST_WINDOW_MS:
        raise Refusal(-1131)
    if int(stamp) > now_ms + _AHEAD_MS:
        raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - int(stamp) > int(window):
        raise Refusal(-1021)

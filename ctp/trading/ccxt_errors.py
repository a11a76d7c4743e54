"""Turn every error of ccxt into one of ours, by what it proves.

| what happened | sending an order | asking |
|---|---|---|
| its timestamp was outside the window (−1021, −5028) | RequestExpired: it was not accepted | RequestExpired |
| the exchange refused, with a code | OrderRejected: final | ExchangeDown (nothing is known) |
| the symbol does not trade now | OrderRejected, code `halted` | ExchangeDown |
| not found (−2011, −2013) | OrderUnknown | OrderMissing |
| too many requests (429, 418, −1003, −1015) | ExchangeBusy: it was not accepted | ExchangeBusy |
| key wrong, revoked, without the right (−2014, −2015, −1022) | KeyRefused | KeyRefused |
| timeout, reset, 5xx, −1000, −1006, −1007, an answer that is no answer | OrderUnknown: ask for it | ExchangeDown |
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ctp.errors import (
    ExchangeBusy,
    ExchangeDown,
    ExchangeError,
    KeyRefused,
    OrderMissing,
    OrderRejected,
    OrderUnknown,
    RequestExpired,
)
from ctp.trading.ccxt_light import ccxt
from ctp.trading.exchange import HALTED, WOULD_MATCH, WOULD_TRIGGER

_CODE = re.compile(r'"code"\s*:\s*"?(-?\d+)')
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_SECRETS = re.compile(r"(signature|apiKey|secret|listenKey)=[^&\s\"]+", re.IGNORECASE)

KEY_CODES = frozenset({-2014, -2015, -1022, -1002})
MISSING_CODES = frozenset({-2011, -2013, -2018})
# -4116: an order with this id exists already, so ours may be it.
UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007, -1008, -4116})
HALTED_CODES = frozenset({-1122, -4108, -4140})
HALTED_WORDS = "market is closed"
BUSY_CODES = frozenset({-1003, -1015})
EXPIRED_CODES = frozenset({-1021, -5028})  # at the door, or at the matching engine
POST_ONLY_CODE = -5022
MATCH_WORDS = ("would immediately match", "could not be executed as maker")
TRIGGER_WORDS = ("would immediately trigger", "would trigger immediately", "relationship of the prices")
REFUSED = (ccxt.InsufficientFunds, ccxt.InvalidOrder, ccxt.BadRequest, ccxt.OperationRejected, ccxt.BadSymbol)
DEFAULT_SILENCE_S = 5.0
LONGEST_TEXT = 200

# What garbage in an answer's body makes of ccxt's parsers.
GARBAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def code_of(error: Exception) -> int | None:
    """Return the exchange's own code in an error, if there is one."""
    found = _CODE.search(str(error))
    return int(found.group(1)) if found else None


def text_of(error: Exception) -> str:
    """Return an error's text, short and without anything secret."""
    return _SECRETS.sub(r"\1=…", str(error))[:LONGEST_TEXT] or type(error).__name__


def silence_s(error: Exception, headers: Mapping[str, str] | None, now_ms: int) -> float:
    """Return how long to be silent after "too many requests"."""
    until = _BANNED_UNTIL.search(str(error))
    if until:
        return max(1.0, (int(until.group(1)) - now_ms) / 1000)
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after" and value.isdigit():
            return max(1.0, float(value))
    return DEFAULT_SILENCE_S


def _is_busy(error: Exception, code: int | None) -> bool:
    """Return whether the exchange asks for silence; it wraps a revoked key into the same class, so look at the code."""
    return code in BUSY_CODES or isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded)


def asking_failed(error: Exception, headers: Mapping[str, str] | None, now_ms: int) -> ExchangeError:
    """Return our error for a question that failed."""
    code, text = code_of(error), text_of(error)
    if code in KEY_CODES:
        return KeyRefused(text)
    if _is_busy(error, code):
        return ExchangeBusy(text, silence_s(error, headers, now_ms))
    if code in EXPIRED_CODES:
        return RequestExpired(text)
    if code in MISSING_CODES or isinstance(error, ccxt.OrderNotFound):
        return OrderMissing(text)
    if isinstance(error, ccxt.AuthenticationError | ccxt.PermissionDenied) and code is not None:
        return KeyRefused(text)
    return ExchangeDown(text)


def sending_failed(error: Exception, headers: Mapping[str, str] | None, now_ms: int) -> ExchangeError:
    """Return our error for an order (or a cancellation) whose request failed."""
    code, text = code_of(error), text_of(error)
    if code in KEY_CODES:
        return KeyRefused(text)
    if _is_busy(error, code):
        return ExchangeBusy(text, silence_s(error, headers, now_ms))
    if code in EXPIRED_CODES:
        return RequestExpired(text)
    if any(words in text for words in TRIGGER_WORDS):
        return OrderRejected(text, WOULD_TRIGGER)
    if code == POST_ONLY_CODE or any(words in text for words in MATCH_WORDS):
        return OrderRejected(text, WOULD_MATCH)
    if code in HALTED_CODES or HALTED_WORDS in text.lower():
        return OrderRejected(text, HALTED)
    if code in UNKNOWN_CODES or code in MISSING_CODES or isinstance(error, ccxt.DuplicateOrderId | ccxt.OrderNotFound):
        return OrderUnknown(text)
    if code is None:
        # ccxt drops the code where it knows the exchange's words; only its class is left.
        return OrderRejected(text) if isinstance(error, REFUSED) else OrderUnknown(text)
    if isinstance(error, ccxt.NetworkError | ccxt.OperationFailed):
        return OrderUnknown(text)
    return OrderRejected(text, str(code))

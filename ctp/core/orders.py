"""The life of an order, and the names of our orders. Pure.

An order's row is written before its request leaves, so that its client order id can be asked for whatever happens next.
What we know about it only grows: reports are joined, never replaced.

Invariants:
1. The same reports in any order, any number of times, lead to the same status and the same filled size.
2. A filled size never shrinks, and a final status never becomes an unfinished one.
3. "The exchange does not know it" ends an order only after its fence; before that the request may still arrive.
4. Equal (account, symbol, candle, purpose, attempt) give equal client order ids, different ones different ids.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import NamedTuple

# What an order is for.
ENTRY, EXIT, STOP, TAKE, EMERGENCY = "entry", "exit", "stop", "take", "emergency"
PURPOSES = (ENTRY, EXIT, STOP, TAKE, EMERGENCY)
PROTECTIVE = frozenset({STOP, TAKE})

# What is known about an order, least first. `not_sent` is an absence, so any sign of life outranks it.
STATUSES = (
    "planned",
    "sent",
    "unknown",
    "not_sent",
    "open",
    "partial",
    "rejected",
    "expired",
    "cancelled",
    "filled",
)
PLANNED, SENT, UNKNOWN, NOT_SENT, OPEN, PARTIAL, REJECTED, EXPIRED, CANCELLED, FILLED = STATUSES
FINAL = frozenset({NOT_SENT, REJECTED, EXPIRED, CANCELLED, FILLED})
IN_FLIGHT = frozenset({PLANNED, SENT, UNKNOWN})  # may or may not exist at the exchange
RESTING = frozenset({OPEN, PARTIAL})

OUR_PREFIX = "ctp"
CLIENT_ORDER_ID_LIMIT = 36
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RANK = {status: rank for rank, status in enumerate(STATUSES)}
_LETTER = {ENTRY: "e", EXIT: "x", STOP: "s", TAKE: "t", EMERGENCY: "m"}
_PURPOSE = {letter: purpose for purpose, letter in _LETTER.items()}


class Progress(NamedTuple):
    """What is known about an order: its status and how much of it is filled, in base units."""

    status: str
    filled: Decimal


def join(known: Progress, reported: Progress, size: Decimal) -> Progress:
    """Return what is known after a report; `size` is what was ordered."""
    filled = max(known.filled, reported.filled)
    status = max(known.status, reported.status, key=_RANK.__getitem__)
    if filled >= size > 0:
        return Progress(FILLED, filled)
    if filled > 0 and _RANK[status] < _RANK[PARTIAL]:
        status = PARTIAL
    return Progress(status, filled)


def after_missing(known: Progress, now_ms: int, fence_until_ms: int) -> Progress:
    """Return what is known after the exchange said that it does not know the order.

    now_ms, fence_until_ms: wall time. Before the fence the request may still be on its way.
    """
    if known.status in FINAL:
        return known
    if known.status in RESTING:
        return Progress(CANCELLED, known.filled)
    return Progress(NOT_SENT if now_ms > fence_until_ms else UNKNOWN, known.filled)


def client_order_id(account_id: int, symbol: str, candle_time: int, purpose: str, attempt: int) -> str:
    """Return the client order id of one attempt: at most 36 letters, digits and hyphens.

    candle_time: open time in milliseconds of the candle whose close led to the order.
    """
    name = hashlib.blake2s(symbol.encode(), digest_size=5).hexdigest()
    moment = _base36(candle_time // 1000)
    made = f"{OUR_PREFIX}{_base36(account_id)}-{name}-{moment}-{_LETTER[purpose]}{_base36(attempt)}"
    if len(made) > CLIENT_ORDER_ID_LIMIT:
        raise ValueError(f"client order id {made!r} is longer than {CLIENT_ORDER_ID_LIMIT}")
    return made


class OrderName(NamedTuple):
    """What a client order id of ours tells."""

    candle_time: int
    purpose: str
    attempt: int


def read_order_id(order_id: str, account_id: int, symbol: str) -> OrderName | None:
    """Return what a client order id says; None when it was not made for this account and symbol."""
    if not is_ours(order_id, account_id):
        return None
    parts = order_id.split("-")
    if len(parts) != 4 or parts[3][:1] not in _PURPOSE:
        return None
    try:
        told = OrderName(int(parts[2], 36) * 1000, _PURPOSE[parts[3][0]], int(parts[3][1:], 36))
    except ValueError:
        return None
    return told if client_order_id(account_id, symbol, *told) == order_id else None


def is_ours(order_id: str, account_id: int) -> bool:
    """Return whether a client order id was made for this account."""
    return order_id.startswith(f"{OUR_PREFIX}{_base36(account_id)}-")


def _base36(number: int) -> str:
    """Write a number >= 0 in digits and lower-case letters."""
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if number == 0:
            return text

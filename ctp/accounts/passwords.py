"""Passwords: what is accepted, and how one is kept.

Invariants:
1. Only bcrypt of a SHA-256 is kept, so that long passwords count whole (bcrypt alone takes 72 bytes).
2. Checking costs the same whether or not there is anything to check against.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import secrets
import unicodedata
from typing import NamedTuple

import bcrypt

from ctp.errors import InputError

COST = 12  # 2**12 rounds, about 0.2 s: run it in a thread, outside any transaction
SHORTEST, LONGEST = 12, 1024

# Long enough for the rule above and still among the first that are tried.
_COMMON_TEXT = """
    password1234 password12345 password123456 passwordpassword passw0rd1234 p@ssw0rd1234 p@ssword1234 mypassword123
    1234567890ab 123456789012 1234567890123 12345678901234 123456789abc 1234567891011 0123456789012 098765432100
    123123123123 121212121212 112233445566 123412341234 111222333444 qwertyuiop12 qwertyuiop123 qwertyuiop[] qwerty123456
    qwerty1234567 1q2w3e4r5t6y 1q2w3e4r5t6y7u 1qaz2wsx3edc 1qaz2wsx3edc4rfv qazwsxedcrfv zaq12wsxcde3 asdfghjkl123
    asdfasdfasdf abcdefghijkl abcd12345678 abc123abc123 abcabcabcabc administrator administrator1 admin1234567 adminadmin12
    changeme1234 changemechangeme letmeinletmein letmein12345 welcome12345 welcome123456 iloveyou1234 iloveyou12345
    sunshine1234 princess1234 football1234 baseball1234 superman1234 michael12345 trustno1trustno1 dragon123456
    monkey123456 master123456 shadow123456 qwer1234qwer qwer12341234 qwerasdfzxcv dkssudgktpdy tkfkdgody123 dlstkdgody12
    bitcoinbitcoin bitcoin12345 bitcoin123456 satoshinakamoto ethereum1234 cryptotrader cryptotrader1 crypto123456
    tothemoon1234 binance12345 upbit1234567 tradertrader correcthorsebatterystaple
"""
_COMMON = frozenset(_COMMON_TEXT.split())


class NewPassword(NamedTuple):
    """What is kept of a password that was found acceptable."""

    kept: str


def accept_password(password: str, name: str, cost: int = COST) -> NewPassword:
    """Check and hash a new password. Slow on purpose: call it in a thread, before the transaction that keeps it.

    name: the user's, which the password must not hold. Raises InputError, which never repeats the password.
    """
    folded = _normal(password).casefold()
    if len(folded) < SHORTEST:
        raise InputError("password", "***", f"must have at least {SHORTEST} characters")
    if len(folded) > LONGEST:
        raise InputError("password", "***", f"must have at most {LONGEST} characters")
    is_repetition = len(set(folded)) < 4
    if folded in _COMMON or is_repetition or (len(name) >= 4 and name.casefold() in folded):
        raise InputError("password", "***", "is too easy to guess: choose one that others do not use, without your name")
    return NewPassword(_hash(password, cost))


def is_password(password: str, kept: str | None, cost: int = COST) -> bool:
    """Tell whether a password is the one that is kept; slow on purpose, also when nothing is kept."""
    matches = bcrypt.checkpw(_digest(password), (kept or _nobodys(cost)).encode())
    return matches and kept is not None


def new_password() -> str:
    """Return a random password to hand to a person, easy to type: 5 groups of 4 letters and digits."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"  # no l, 1, o, 0, i
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(5))


@functools.cache
def _nobodys(cost: int) -> str:
    """Return a hash that nobody's password has, to spend the same time on unknown names."""
    return _hash(secrets.token_hex(16), cost)


def _hash(password: str, cost: int) -> str:
    """Return what is kept of a password."""
    return bcrypt.hashpw(_digest(password), bcrypt.gensalt(cost)).decode()


def _digest(password: str) -> bytes:
    """Return 44 bytes that depend on every character of the password."""
    return base64.b64encode(hashlib.sha256(_normal(password).encode()).digest())


def _normal(password: str) -> str:
    """Return one form of the characters, whatever keyboard they came from (한글 has two)."""
    return unicodedata.normalize("NFC", password)

"""Who is in, looked up at the gateway every few seconds; and the voice their kernels have there.

Invariants:
1. A session that has ended is known here within `LOOK_S` plus one answer; its websockets are closed then.
2. A token counts until it expires, also when the gateway does not answer; without answers for `GRACE_S` nobody is in.
3. Kernels speak with a token in a file of their person, renewed while one of the person's sessions lives and removed with
   the last. They go on computing after a logout; kernels of a person who may not return are ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import logging
import os
import time
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt

from ctp.api_client import LAB_API, GatewayAway
from ctp.config import home_folder
from ctp.lab.door import Door, Lent, Over

log = logging.getLogger(__name__)

LOOK_S = 2.0
GRACE_S = 30.0
RENEW_S = 300.0
SESSION_ENDED = 4401  # close code of websockets
_UNSEEN_S = 120.0  # a session without requests, sockets and kernels is not looked up any more


@dataclasses.dataclass
class Guest:
    """One session that is in."""

    lent: Lent
    looked_at: float
    seen_at: float
    lent_at: float
    sockets: weakref.WeakSet[Any] = dataclasses.field(default_factory=weakref.WeakSet)


class Guests:
    """Everybody who is in. One event loop."""

    def __init__(self, door: Door, voices: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        """Begin with nobody; what kernels of an earlier run were lent is taken back. voices: folder of their tokens."""
        self.door, self._voices, self._now_s = door, voices, now_s
        self._guests: dict[str, Guest] = {}  # by session
        self._tokens: dict[str, tuple[str, float]] = {}  # digest of a token the gateway knew -> session, expiry (wall time)
        self._asking: dict[str, asyncio.Lock] = {}
        self.owners: Callable[[], set[int]] = set  # people who have kernels
        self.on_banned: Callable[[int], Awaitable[None]] | None = None  # told of a person who may not return
        voices.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in voices.glob("*.token"):
            file.unlink()

    def voice(self, user_id: int) -> Path:
        """Return the file that holds the token of a person's kernels."""
        return self._voices / f"{user_id}.token"

    async def enter(self, code: str) -> Lent:
        """Let in whoever brought a code. Raises NotAllowed and GatewayAway."""
        lent = await self.door.enter(code)
        self._welcome(lent)
        return lent

    async def look(self, token: str) -> Lent | None:
        """Return whose token this is; None when it is not valid or its session is over."""
        known = self._tokens.get(_digest(token))
        if known is None:
            return await self._first_look(token)
        session, until = known
        if until <= time.time():
            del self._tokens[_digest(token)]
            return None
        guest = self._guests.get(session)
        if guest is not None and self._now_s() - guest.looked_at > LOOK_S:
            await self._refresh(session)
            guest = self._guests.get(session)
        if guest is None or self._now_s() - guest.looked_at > GRACE_S:
            return None
        guest.seen_at = self._now_s()
        return guest.lent

    def remember_socket(self, lent: Lent, socket: Any) -> None:
        """Close this websocket when its session ends."""
        guest = self._guests.get(lent.session)
        if guest is not None:
            guest.sockets.add(socket)

    def leave(self, token: str) -> None:
        """Forget a token: its browser has logged out of JupyterLab."""
        self._tokens.pop(_digest(token), None)

    async def keep_looking(self) -> None:
        """Look up everybody who is in, for ever."""
        while True:
            await asyncio.sleep(LOOK_S / 2)
            for session, guest in list(self._guests.items()):
                has_something = bool(guest.sockets) or guest.lent.user_id in self.owners()
                if not has_something and self._now_s() - guest.seen_at > _UNSEEN_S:
                    self._forget(session)
                elif self._now_s() - guest.looked_at > LOOK_S / 2:
                    await self._refresh(session)

    async def _first_look(self, token: str) -> Lent | None:
        """Ask about a token nobody has shown since we started."""
        try:
            found = await self.door.look(token)
        except GatewayAway:
            return None
        if isinstance(found, Over):
            return None
        self._accept(token, found.session)
        self._welcome(found)
        return found

    async def _refresh(self, session: str) -> None:
        """Look a session up; end it when it is over, or when the gateway has been silent for too long."""
        async with self._asking.setdefault(session, asyncio.Lock()):
            guest = self._guests.get(session)
            if guest is None or self._now_s() - guest.looked_at <= LOOK_S / 2:
                return
            try:
                found = await self.door.look(guest.lent.token)
            except GatewayAway:
                if self._now_s() - guest.looked_at > GRACE_S:
                    _close(guest)
                return
            if isinstance(found, Over):
                await self._end(session, found)
            else:
                self._welcome(found)

    def _welcome(self, lent: Lent) -> None:
        """Take note that a session lives, and keep the voice of its kernels fresh."""
        now = self._now_s()
        guest = self._guests.get(lent.session)
        if guest is None:
            guest = self._guests[lent.session] = Guest(lent, now, now, -RENEW_S)
        guest.looked_at = now
        if now - guest.lent_at >= RENEW_S or not self.voice(lent.user_id).exists():
            guest.lent, guest.lent_at = lent, now
            self._accept(lent.token, lent.session)
            _write_private(self.voice(lent.user_id), lent.kernel_token)

    def _accept(self, token: str, session: str) -> None:
        """Take note of a token that the gateway knew."""
        expiry = jwt.decode(token, options={"verify_signature": False})["exp"]
        self._tokens = {each: held for each, held in self._tokens.items() if held[1] > time.time()}
        self._tokens[_digest(token)] = (session, float(expiry))

    async def _end(self, session: str, over: Over) -> None:
        """End a session here."""
        guest = self._guests.pop(session)
        _close(guest)
        self._forget(session)
        user_id = guest.lent.user_id
        if not any(each.lent.user_id == user_id for each in self._guests.values()):
            self.voice(user_id).unlink(missing_ok=True)
            if not over.may_return and self.on_banned is not None:
                await self.on_banned(user_id)

    def _forget(self, session: str) -> None:
        """Drop what is known of a session."""
        self._guests.pop(session, None)
        self._asking.pop(session, None)
        self._tokens = {token: held for token, held in self._tokens.items() if held[0] != session}


@functools.cache
def everybody() -> Guests:
    """Return who is in this JupyterLab: one server, one list."""
    return Guests(Door(os.environ[LAB_API]), home_folder() / "runtime" / "voices")


def _close(guest: Guest) -> None:
    """Close the websockets of a session."""
    for socket in list(guest.sockets):
        with contextlib.suppress(Exception):  # one that is closing by itself must not keep the others open
            socket.close(SESSION_ENDED, "session ended")
    guest.sockets.clear()


def _digest(token: str) -> str:
    """Return what is kept of a token that was shown."""
    return hashlib.sha256(token.encode()).hexdigest()


def _write_private(file: Path, content: str) -> None:
    """Replace a file that only its owner may read."""
    fresh = file.with_suffix(".fresh")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as sink:
        sink.write(content)
    fresh.replace(file)

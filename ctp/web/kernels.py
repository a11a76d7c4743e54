"""Whose kernel is whose, and the end of kernels nobody looks at any more.

Invariants:
1. A kernel's owner is in the database before its id leaves the gateway. Unknown and foreign kernels look the same.
2. A kernel without a websocket for `UNWATCHED_S` after its page was sent, or whose session has ended, is ended.
3. One person holds at most `MOST_PER_SESSION` kernels; opening one more ends the one unwatched longest, or is refused.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

import sqlalchemy as sa
from aiohttp import ClientError, ClientSession

from ctp.accounts.kernels import bind_kernel, release_all_kernels, release_kernel
from ctp.clock import Clock
from ctp.storage.database import Database
from ctp.web.voila_process import Voila

log = logging.getLogger(__name__)

UNWATCHED_S = 30.0
MOST_PER_SESSION = 8


class Kernels:
    """Every kernel that draws for somebody."""

    def __init__(self, database: Database, clock: Clock, voila: Voila, client: ClientSession) -> None:
        """Begin with no kernel: those of an earlier gateway died with its Voila."""
        self._database, self._clock, self._voila, self._client = database, clock, voila, client
        self._owner: dict[str, str] = {}  # kernel id -> session id
        self._watched: dict[str, int] = {}  # kernel id -> open websockets
        self._unwatched_since: dict[str, float] = {}
        self._expected: dict[str, str] = {}  # handle of a dashboard that is being rendered -> session id
        self._ending: set[asyncio.Task[None]] = set()

    def expect(self, session_id: str) -> str:
        """Return a new handle for a dashboard about to be rendered; its kernel may use it before its id is known."""
        handle = secrets.token_urlsafe(32)
        self._expected[handle] = session_id
        return handle

    def expected_session(self, handle: str) -> str | None:
        """Return the session of a handle whose kernel is not bound yet."""
        return self._expected.get(handle)

    def forget_expected(self, handle: str) -> None:
        """End the time in which an unbound kernel may use its handle."""
        self._expected.pop(handle, None)

    async def bind(self, kernel_id: str, session_id: str, handle: str, dashboard: str) -> None:
        """Make a session the owner of a kernel, in the database first."""

        def write() -> None:
            with self._database.transaction() as connection:
                bind_kernel(connection, kernel_id, session_id, handle, dashboard, self._clock.now_ms())

        await asyncio.to_thread(write)
        self._owner[kernel_id] = session_id

    def page_sent(self, kernel_id: str) -> None:
        """Take note that a kernel's page is with its reader: from now on a websocket is expected."""
        if kernel_id in self._owner and kernel_id not in self._watched:
            self._unwatched_since.setdefault(kernel_id, self._clock.monotonic_s())

    def is_owned(self, kernel_id: str, session_id: str) -> bool:
        """Tell whether a kernel belongs to a session."""
        return self._owner.get(kernel_id) == session_id

    async def make_room(self, session_id: str) -> bool:
        """Tell whether a session may open one more dashboard; ends its longest unwatched kernel when it has too many."""
        held = [kernel for kernel, owner in self._owner.items() if owner == session_id]
        if len(held) < MOST_PER_SESSION:
            return True
        unwatched = [kernel for kernel in held if kernel in self._unwatched_since]
        if not unwatched:
            return False
        await self.end(min(unwatched, key=lambda kernel: self._unwatched_since[kernel]))
        return True

    def watch(self, kernel_id: str) -> None:
        """Count a websocket that opened."""
        self._watched[kernel_id] = self._watched.get(kernel_id, 0) + 1
        self._unwatched_since.pop(kernel_id, None)

    def unwatch(self, kernel_id: str) -> None:
        """Count a websocket that closed."""
        left = self._watched.get(kernel_id, 1) - 1
        if left > 0:
            self._watched[kernel_id] = left
            return
        self._watched.pop(kernel_id, None)
        if kernel_id in self._owner:
            self._unwatched_since[kernel_id] = self._clock.monotonic_s()

    async def end(self, kernel_id: str) -> None:
        """Forget a kernel, then let Voila end its process."""
        self._owner.pop(kernel_id, None)
        self._unwatched_since.pop(kernel_id, None)
        await self._write(lambda connection: release_kernel(connection, kernel_id))
        try:
            async with self._client.delete(
                f"{self._voila.address}/api/kernels/{kernel_id}", headers=self._voila.headers
            ) as answer:
                log.info("ended a kernel: %s", answer.status)
        except (ClientError, TimeoutError) as error:
            log.warning("could not end a kernel: %r", error)

    def end_soon(self, kernel_id: str) -> None:
        """End a kernel without waiting for it; for a request that is being cancelled."""
        task = asyncio.get_running_loop().create_task(self.end(kernel_id))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end_sessions(self, session_ids: set[str]) -> None:
        """End every kernel of sessions that are over."""
        for kernel_id in [kernel for kernel, owner in self._owner.items() if owner in session_ids]:
            await self.end(kernel_id)

    async def reap(self) -> None:
        """End the kernels nobody has looked at for too long."""
        limit = self._clock.monotonic_s() - UNWATCHED_S
        for kernel_id in [kernel for kernel, since in self._unwatched_since.items() if since <= limit]:
            await self.end(kernel_id)

    async def forget_all(self) -> None:
        """Forget every kernel: Voila has just been started and runs none of them."""
        self._owner.clear()
        self._unwatched_since.clear()
        await self._write(release_all_kernels)

    def sessions(self) -> set[str]:
        """Return the sessions that own a kernel."""
        return set(self._owner.values())

    async def _write(self, change: Callable[[sa.Connection], None]) -> None:
        """Run one change of the database in a thread."""

        def write() -> None:
            with self._database.transaction() as connection:
                change(connection)

        await asyncio.to_thread(write)

"""Only one bot trades: the lease "bot", kept alive, checked before every order.

Invariants:
1. While one bot lives, a second refuses to start.
2. A bot that could not renew its lease in time sends nothing any more, even before it notices why.
"""

from __future__ import annotations

import sqlalchemy as sa

from ctp.clock import Clock
from ctp.errors import StateConflict
from ctp.lifetime import has_ended, this_process
from ctp.storage.leases import Lease, acquire_lease, read_lease, release_lease, renew_lease
from ctp.trading.writer import Writer

NAME = "bot"
LEASE_MS = 8000
POLL_S = 0.25


class Leadership:
    """The right of this process to trade."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        """Prepare; nothing is taken yet."""
        self._writer, self._clock = writer, clock
        self._lease: Lease | None = None
        self._valid_until_s = 0.0

    def is_leader(self) -> bool:
        """Return whether the lease is certainly still ours."""
        return self._clock.monotonic_s() < self._valid_until_s

    async def take(self) -> None:
        """Take the lease; a dead bot's is waited for, a living one's raises StateConflict."""
        holder = this_process()
        started = self._clock.monotonic_s()
        while True:
            asked_s = self._clock.monotonic_s()
            lease = await self._writer.run(lambda c: _acquire(c, holder, self._clock.now_ms()))
            if lease is not None:
                self._lease = lease
                self._valid_until_s = asked_s + LEASE_MS / 1000
                return
            if self._clock.monotonic_s() - started > LEASE_MS / 1000 + 1:
                raise StateConflict("another crypto-trader-bot is trading on this database; stop it first")
            await self._clock.sleep(POLL_S)

    async def renew(self) -> None:
        """Prolong the lease; raises StateConflict when somebody else has it."""
        assert self._lease is not None
        lease, asked_s, now_ms = self._lease, self._clock.monotonic_s(), self._clock.now_ms()
        renewed = await self._writer.run(lambda c: renew_lease(c, lease, now_ms, LEASE_MS))
        if renewed is None:
            self._valid_until_s = 0.0
            raise StateConflict("another crypto-trader-bot has taken over")
        self._lease = renewed
        self._valid_until_s = asked_s + LEASE_MS / 1000

    async def give_back(self) -> None:
        """Let the next bot start at once."""
        self._valid_until_s = 0.0
        if self._lease is not None:
            lease, self._lease = self._lease, None
            await self._writer.run(lambda c: release_lease(c, lease))


def _acquire(connection: sa.Connection, holder: str, now_ms: int) -> Lease | None:
    """Take the lease, also from a process of this machine that no longer lives."""
    lease = acquire_lease(connection, NAME, holder, now_ms, LEASE_MS)
    if lease is not None:
        return lease
    held = read_lease(connection, NAME)
    if held is None or not has_ended(held.holder):
        return None
    release_lease(connection, held)
    return acquire_lease(connection, NAME, holder, now_ms, LEASE_MS)

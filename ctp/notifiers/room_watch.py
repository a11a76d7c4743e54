"""Keep the ballast, and tell when the disk runs full: whose accounts are at work, and operators.

Invariant: each shortage is told once, and its end once.
"""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from ctp.clock import Clock
from ctp.errors import StorageUnavailable
from ctp.logs import logger
from ctp.notifiers.outbox import tell_account, tell_operators
from ctp.storage.database import Database
from ctp.storage.room import Room
from ctp.storage.tables import account_states

LOOK_S = 5.0
HOUR_MS = 3_600_000

log = logger(__name__)


class RoomWatch:
    """Looks at the disk from the scheduler."""

    def __init__(self, database: Database, clock: Clock, room: Room) -> None:
        """Begin without a shortage."""
        self._database, self._clock, self._room = database, clock, room
        self._told = 0  # when the shortage that lasts was told; 0: none

    def look(self) -> None:
        """Keep the ballast and tell what is new. Raises StorageUnavailable when even that has no room; it is tried again."""
        self._room.keep()
        now_ms = self._clock.now_ms()
        if self._room.is_short and not self._told:
            self._tell("disk_full", now_ms, now_ms)
            self._told = now_ms
        elif not self._room.is_short and self._told:
            self._tell("disk_room", self._told, now_ms)
            self._told = 0

    def _tell(self, what: str, since_ms: int, now_ms: int) -> None:
        """Tell operators and the people of accounts at work; a restart within the hour tells nothing twice."""
        key, facts, urgent = f"{what}:{since_ms // HOUR_MS}", {"what": what}, what == "disk_full"
        with self._database.transaction() as connection:
            at_work = sa.select(account_states.c.account_id).where(account_states.c.status.in_(("running", "paused")))
            for account_id in connection.scalars(at_work.order_by(account_states.c.account_id)).all():
                tell_account(connection, account_id, "system_error", facts, key, now_ms, urgent=urgent)
            tell_operators(connection, "system_error", facts, key, now_ms, urgent=urgent)


async def keep_room(database: Database, clock: Clock, room: Room) -> None:
    """Watch the disk until cancelled."""
    watch = RoomWatch(database, clock, room)
    while True:
        try:
            await asyncio.to_thread(watch.look)
        except (StorageUnavailable, OSError) as error:
            log.warning("room_not_watched", error=str(error))
        await clock.sleep(LOOK_S)

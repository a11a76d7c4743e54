"""Announce a process that has gone silent, and that it is back: told by another process, because a dead one tells nothing.

The scheduler watches the bot and the web, the bot watches the scheduler.

Invariants:
1. Each silence is told once, and its end once, whatever restarts in between.
2. A process that has just started gives the others their time to start too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from ctp.clock import Clock
from ctp.errors import StorageUnavailable
from ctp.logs import logger
from ctp.notifiers.outbox import tell_account, tell_operators
from ctp.storage.database import Database
from ctp.storage.leases import read_heartbeats
from ctp.storage.tables import account_states, notices

SILENT_AFTER_MS = 30_000
WATCH_S = 5.0
_LOOK_BACK_MS = 30 * 24 * 3_600_000
_NAMES = {"bot": "bot", "backup": "scheduler", "web": "web"}  # by process: the first half of [problem] keys

log = logger(__name__)


class News(NamedTuple):
    """A silence that began or ended. beat_at names it: the last sign of life before it, milliseconds UTC."""

    is_silent: bool
    beat_at: int


class Watchdog:
    """Watches one process: bot, backup or web."""

    def __init__(self, process: str, since_ms: int) -> None:
        """Begin to watch at a wall time."""
        self.process, self._since_ms = process, since_ms
        self._silence: int | None = None  # the silence that was told and has not ended
        self._is_known = False

    @property
    def is_silent(self) -> bool:
        """Tell whether a silence was told that has not ended."""
        return self._silence is not None

    def look(self, connection: sa.Connection, now_ms: int) -> News | None:
        """Return what has to be told now; nothing about a process that never ran here."""
        beat = read_heartbeats(connection).get(self.process)
        if beat is None:
            return None
        if not self._is_known:  # another process told it, or this one before it was restarted
            self._silence, self._is_known = self._told(connection, now_ms), True
        if now_ms - max(beat.at, self._since_ms) > SILENT_AFTER_MS:
            return None if self._silence == beat.at else News(True, beat.at)
        if self._silence is not None and beat.at > self._silence:
            return News(False, self._silence)
        return None

    def tell(self, connection: sa.Connection, news: News, now_ms: int) -> None:
        """Tell operators, and for bot and scheduler the people of accounts at work too."""
        name = _NAMES[self.process]
        what = f"{name}_silent" if news.is_silent else f"{name}_back"
        key, facts = f"{what}:{news.beat_at}", {"what": what}
        if self.process != "web":
            at_work = sa.select(account_states.c.account_id).where(account_states.c.status.in_(("running", "paused")))
            for account_id in connection.scalars(at_work.order_by(account_states.c.account_id)).all():
                tell_account(connection, account_id, "system_error", facts, key, now_ms, urgent=news.is_silent)
        tell_operators(connection, "system_error", facts, key, now_ms, urgent=news.is_silent)

    def remember(self, news: News) -> None:
        """Remember what was told; call it after the commit."""
        self._silence = news.beat_at if news.is_silent else None

    def _told(self, connection: sa.Connection, now_ms: int) -> int | None:
        """Return the newest silence in the outbox whose end was not told."""
        name = _NAMES[self.process]
        keys = sa.select(notices.c.deduplication_key).where(
            notices.c.kind == "system_error", notices.c.created_at > now_ms - _LOOK_BACK_MS
        )
        found: dict[str, set[int]] = {}
        for what in (f"{name}_silent", f"{name}_back"):
            told = connection.scalars(keys.where(notices.c.deduplication_key.contains(f"{what}:", autoescape=True)))
            found[what] = {int(key.rpartition(":")[2]) for key in told}
        newest = max(found[f"{name}_silent"], default=None)
        return None if newest in found[f"{name}_back"] else newest


async def keep_watch(database: Database, clock: Clock, processes: Sequence[str]) -> None:
    """Watch processes until cancelled."""
    dogs = [Watchdog(process, clock.now_ms()) for process in processes]

    def look() -> None:
        for dog in dogs:
            with database.reading() as connection:
                news = dog.look(connection, clock.now_ms())
            if news is not None:
                with database.transaction() as connection:
                    dog.tell(connection, news, clock.now_ms())
                dog.remember(news)

    while True:
        try:
            await asyncio.to_thread(look)
        except StorageUnavailable as error:
            log.warning("watch_failed", error=str(error))
        await clock.sleep(WATCH_S)

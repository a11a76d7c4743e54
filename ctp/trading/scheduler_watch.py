"""The bot watches the scheduler: a silent one is told, and urgent notices go out without it until it is back.

Invariant: whatever goes wrong here, the bot trades on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from ctp.clock import Clock
from ctp.errors import CtpError
from ctp.lifetime import Tie
from ctp.logs import logger
from ctp.notifiers.watchdog import WATCH_S, News, Watchdog
from ctp.storage.database import Database
from ctp.trading.writer import Writer

DELIVER = (sys.executable, "-m", "ctp.notifiers.urgent")
GRACE_S = 5.0

log = logger(__name__)


class SchedulerWatch:
    """Watches crypto-trader-backup from inside the bot, without work on the bot's loop."""

    def __init__(self, database: Database, writer: Writer, clock: Clock, deliver: tuple[str, ...] = DELIVER) -> None:
        """Begin to watch. deliver: the command that sends urgent notices."""
        self._database, self._writer, self._clock, self._deliver = database, writer, clock, deliver
        self._dog = Watchdog("backup", clock.now_ms())
        self.process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(WATCH_S)
        finally:
            await self._end()

    async def look(self) -> None:
        """Tell what is new, and deliver as long as the scheduler does not."""
        try:
            news = await asyncio.to_thread(self._read)
            if news is not None:
                now_ms = self._clock.now_ms()
                await self._writer.run(lambda c: self._dog.tell(c, news, now_ms))
                self._dog.remember(news)
                log.warning("scheduler_silent" if news.is_silent else "scheduler_back", last_beat=news.beat_at)
            if not self._dog.is_silent:
                await self._end()
            elif self.process is None or self.process.returncode is not None:
                self.process = await asyncio.create_subprocess_exec(
                    *self._deliver, stdin=asyncio.subprocess.DEVNULL, preexec_fn=Tie()
                )
        except (CtpError, OSError) as error:  # no memory for a process, no room to write: trading goes on
            log.warning("watch_failed", error=str(error))

    def _read(self) -> News | None:
        """Look at the scheduler's last sign of life."""
        with self._database.reading() as connection:
            return self._dog.look(connection, self._clock.now_ms())

    async def _end(self) -> None:
        """End the delivering process, if there is one."""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE_S)
        except TimeoutError:
            process.kill()
            await process.wait()

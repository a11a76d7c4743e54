"""Deliver urgent notices while the scheduler, whose work that is, is silent: a process of its own, started by the bot.

A process and not a thread: the bot's loop stays free, and the bot carries no mail or Telegram client in its memory.
It ends with the bot, and when the bot says that the scheduler is back. Both may deliver for a moment: a delivery is
leased to one worker.
"""

from __future__ import annotations

import asyncio
import os
import signal

from ctp.clock import SystemClock
from ctp.config import Settings, load_settings
from ctp.lifetime import end_with_parent, this_process, until_stopped
from ctp.logs import configure_logging, logger
from ctp.notifiers.channels import build_worker
from ctp.storage.database import Database

log = logger(__name__)


async def deliver_urgent(settings: Settings) -> None:
    """Deliver what is urgent until cancelled."""
    database = Database(settings.database_url)
    try:
        database.check()
        await build_worker(settings, database, SystemClock(), this_process(), urgent_only=True).run()
    finally:
        database.close()


def main() -> None:
    """Run until a signal comes or the bot ends."""
    end_with_parent(os.getppid(), signal.SIGKILL)
    settings = load_settings()
    configure_logging("urgent", settings)
    try:
        asyncio.run(until_stopped(deliver_urgent(settings)))
    except Exception:  # outermost loop of the process: the bot starts another one
        log.exception("urgent_crashed")
        raise


if __name__ == "__main__":
    main()

"""crypto-trader-backup: runs the jobs, delivers notices, watches the bot, the web and the disk."""

from __future__ import annotations

import asyncio

from ctp.clock import SystemClock
from ctp.config import Settings
from ctp.lifetime import this_process
from ctp.notifiers.channels import build_worker
from ctp.notifiers.room_watch import keep_room
from ctp.notifiers.watchdog import keep_watch
from ctp.scheduler.scheduler import Scheduler
from ctp.storage.database import Database
from ctp.storage.room import Room
from services.jobs import all_jobs
from services.program import run_program


async def run(settings: Settings) -> None:
    """Work until cancelled. Raises ConfigError when the database or a setting is not this program's."""
    database = Database(settings.database_url)
    database.check()
    clock = SystemClock()
    worker = build_worker(settings, database, clock, this_process())
    if settings.heartbeat.url_file is not None:
        from ctp.scheduler.heartbeat import keep_calling, read_address

        address = read_address(settings.heartbeat)
    listener = None
    if settings.telegram.token_file is not None:
        from ctp.telegram.listener import build_listener  # loaded only where somebody has set it up

        listener = build_listener(settings, database, clock)
    scheduler = Scheduler(database, all_jobs(settings, database, clock), clock)
    try:
        await scheduler.lead()  # a second one waits here
        async with asyncio.TaskGroup() as group:
            group.create_task(scheduler.work())
            group.create_task(worker.run())
            if listener is not None:
                group.create_task(listener.run())
            group.create_task(keep_room(database, clock, Room(settings.home, settings.disk)))
            group.create_task(keep_watch(database, clock, ("bot", "web")))
            if settings.heartbeat.url_file is not None:
                group.create_task(keep_calling(database, clock, settings.heartbeat, address))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    finally:
        database.close()


if __name__ == "__main__":
    run_program("backup", run)

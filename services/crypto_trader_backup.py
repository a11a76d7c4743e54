"""crypto-trader-backup: runs the jobs, delivers notices, watches the bot and the web."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from ctp.clock import SystemClock
from ctp.config import Settings
from ctp.lifetime import this_process
from ctp.logs import bound_file
from ctp.notifiers.channels import build_worker
from ctp.notifiers.watchdog import keep_watch
from ctp.scheduler.history import prune_runs
from ctp.scheduler.schedule import daily, every
from ctp.scheduler.scheduler import Job, Scheduler
from ctp.storage.database import Database
from services.program import MOST_OUTPUT_BYTES, run_program


def jobs(settings: Settings, database: Database) -> list[Job]:
    """Return everything that is done by the clock. What only a job needs is loaded by it: a killed scheduler is back sooner."""
    zone, kept = settings.scheduler.zone, settings.retention

    def archive(now_ms: int) -> None:
        from ctp.storage.retention import archive_decisions, thin_equity

        archive_decisions(database, settings.archive, now_ms, kept.decision_days)
        thin_equity(database, now_ms, every_sample_days=kept.equity_minute_days, hourly_days=kept.equity_hour_days)

    def tidy(now_ms: int) -> None:
        from ctp.storage.retention import prune_notices, prune_sessions

        prune_notices(database, now_ms, kept.notice_days)
        prune_sessions(database, now_ms)
        with database.transaction() as connection:
            prune_runs(connection, now_ms, keep_days=kept.job_days)

    def bound_logs(_now_ms: int) -> None:
        """The services' own logs are rotated as they are written; these are PM2's."""
        pm2 = [Path(os.environ["PM2_HOME"], "pm2.log")] if "PM2_HOME" in os.environ else []
        for file in [*settings.log_folder.glob("*.log"), *pm2]:
            bound_file(file, MOST_OUTPUT_BYTES)

    return [
        Job("archive", daily(3, 30, zone), archive),
        Job("logs", every(3600), bound_logs),
        Job("tidy", daily(3, 45, zone), tidy),
    ]


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
    scheduler = Scheduler(database, jobs(settings, database), clock)
    try:
        await scheduler.lead()  # a second one waits here
        async with asyncio.TaskGroup() as group:
            group.create_task(scheduler.work())
            group.create_task(worker.run())
            if listener is not None:
                group.create_task(listener.run())
            group.create_task(keep_watch(database, clock, ("bot", "web")))
            if settings.heartbeat.url_file is not None:
                group.create_task(keep_calling(database, clock, settings.heartbeat, address))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    finally:
        database.close()


if __name__ == "__main__":
    run_program("backup", run)

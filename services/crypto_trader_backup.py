"""crypto-trader-backup: runs the jobs, delivers notices, watches the bot and the web."""

from __future__ import annotations

import asyncio

from ctp.clock import SystemClock
from ctp.config import Settings
from ctp.lifetime import this_process
from ctp.notifiers.channels import build_worker
from ctp.notifiers.watchdog import keep_watch
from ctp.scheduler.heartbeat import keep_calling, read_address
from ctp.scheduler.history import prune_runs
from ctp.scheduler.schedule import daily
from ctp.scheduler.scheduler import Job, Scheduler
from ctp.storage.database import Database
from ctp.storage.retention import archive_decisions, prune_notices, prune_sessions, thin_equity
from services.program import run_program


def jobs(settings: Settings, database: Database) -> list[Job]:
    """Return everything that is done by the clock."""
    zone, kept = settings.scheduler.zone, settings.retention

    def archive(now_ms: int) -> None:
        archive_decisions(database, settings.archive, now_ms, kept.decision_days)
        thin_equity(database, now_ms, every_sample_days=kept.equity_minute_days, hourly_days=kept.equity_hour_days)

    def tidy(now_ms: int) -> None:
        prune_notices(database, now_ms, kept.notice_days)
        prune_sessions(database, now_ms)
        with database.transaction() as connection:
            prune_runs(connection, now_ms, keep_days=kept.job_days)

    return [Job("archive", daily(3, 30, zone), archive), Job("tidy", daily(3, 45, zone), tidy)]


async def run(settings: Settings) -> None:
    """Work until cancelled. Raises ConfigError when the database or a setting is not this program's."""
    database = Database(settings.database_url)
    database.check()
    address, clock = read_address(settings.heartbeat), SystemClock()
    worker = build_worker(settings, database, clock, this_process())
    scheduler = Scheduler(database, jobs(settings, database), clock)
    try:
        await scheduler.lead()  # a second one waits here
        async with asyncio.TaskGroup() as group:
            group.create_task(scheduler.work())
            group.create_task(worker.run())
            group.create_task(keep_watch(database, clock, ("bot", "web")))
            if address:
                group.create_task(keep_calling(database, clock, settings.heartbeat, address))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    finally:
        database.close()


if __name__ == "__main__":
    run_program("backup", run)

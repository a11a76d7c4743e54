"""crypto-trader-backup: delivers notices, announces a silent bot, keeps the database small."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from ctp.clock import SystemClock
from ctp.config import Settings
from ctp.notifiers.delivery import DeliveryWorker
from ctp.notifiers.watchdog import watch_bot
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.storage.retention import archive_decisions, prune_notices, prune_sessions, thin_equity
from services.program import run_program

HEARTBEAT_S = 2
WATCH_S = 5


async def run(settings: Settings) -> None:
    """Work until cancelled. Raises ConfigError when the database is not this program's."""
    database = Database(settings.database_url)
    database.check()
    clock, kept = SystemClock(), settings.retention

    def alive() -> None:
        with database.transaction() as connection:
            beat(connection, "backup", clock.now_ms())

    def watch() -> None:
        with database.transaction() as connection:
            watch_bot(connection, clock.now_ms())

    def keep_small() -> None:
        now = clock.now_ms()
        archive_decisions(database, settings.archive, now, kept.decision_days)
        thin_equity(database, now, every_sample_days=kept.equity_minute_days, hourly_days=kept.equity_hour_days)
        prune_notices(database, now, kept.notice_days)
        prune_sessions(database, now)

    logging.getLogger("apscheduler").setLevel(logging.WARNING)  # it tells of every run of every job
    # Threads for the jobs: the event loop stays free to hear signals. A missed run is made up for once, not for each.
    scheduler = AsyncIOScheduler(job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 3600})
    scheduler.add_job(alive, "interval", seconds=HEARTBEAT_S, misfire_grace_time=HEARTBEAT_S)
    scheduler.add_job(watch, "interval", seconds=WATCH_S, misfire_grace_time=WATCH_S)
    scheduler.add_job(keep_small, "cron", hour=3, minute=30)
    await asyncio.to_thread(alive)
    scheduler.start()
    # The web channel needs no sending; others are added here as they are built.
    worker = DeliveryWorker(database, (), clock, settings.notices, f"{socket.gethostname()}:{os.getpid()}")
    try:
        await worker.run()
    finally:
        scheduler.shutdown(wait=False)
        database.close()


if __name__ == "__main__":
    run_program("backup", run)

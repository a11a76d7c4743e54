"""The bot tells that the scheduler is dead and delivers what is urgent until it is back; no process stays behind."""

from __future__ import annotations

import asyncio
import json
import sys

import psutil
import sqlalchemy as sa

from ctp.clock import ManualClock
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.storage.tables import notices, users
from ctp.trading.scheduler_watch import SchedulerWatch
from ctp.trading.writer import Writer
from tests.waiting import until

DELIVER = (sys.executable, "-c", "import time; time.sleep(600)")


def told(database: Database) -> list[str]:
    """Return what the operator was told."""
    with database.reading() as connection:
        return [json.loads(facts)["what"] for facts in connection.scalars(sa.select(notices.c.facts).order_by(notices.c.id))]


def test_a_dead_scheduler_is_told_within_a_minute_and_replaced_for_urgent_notices(database: Database) -> None:
    async def story() -> None:
        clock, writer = ManualClock(), Writer(database)
        with database.transaction() as connection:
            row = {"name": "ops", "password_hash": "x", "role": "operator", "created_at": 0}
            connection.execute(sa.insert(users).values(**row))
            beat(connection, "backup", clock.now_ms())
        watch = SchedulerWatch(database, writer, clock, DELIVER)
        await watch.look()
        assert watch.process is None
        for _ in range(11):
            clock.tick(5)
            await watch.look()
        assert told(database) == ["scheduler_silent"]
        assert watch.process is not None
        first = watch.process.pid
        watch.process.kill()
        await watch.process.wait()
        await watch.look()  # it died: another one
        assert watch.process.pid != first
        second = psutil.Process(watch.process.pid)
        with database.transaction() as connection:
            beat(connection, "backup", clock.now_ms())
        await watch.look()
        assert told(database) == ["scheduler_silent", "scheduler_back"]
        assert watch.process is None
        assert not second.is_running()
        await writer.close()

    asyncio.run(story())


def test_a_bot_that_stops_takes_the_delivering_process_with_it(database: Database) -> None:
    async def story() -> None:
        clock, writer = ManualClock(), Writer(database)
        with database.transaction() as connection:
            beat(connection, "backup", clock.now_ms() - 3_600_000)
        watch = SchedulerWatch(database, writer, clock, DELIVER)
        clock.tick(31)
        task = asyncio.create_task(watch.run())
        await until(lambda: watch.process)
        assert watch.process is not None
        child = psutil.Process(watch.process.pid)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not child.is_running()
        await writer.close()

    asyncio.run(story())


def test_a_process_that_cannot_be_started_does_not_stop_the_bot(database: Database) -> None:
    async def story() -> None:
        clock, writer = ManualClock(), Writer(database)
        with database.transaction() as connection:
            beat(connection, "backup", clock.now_ms())
        watch = SchedulerWatch(database, writer, clock, ("/no/such/program",))
        clock.tick(31)
        await watch.look()
        await watch.look()
        assert watch.process is None
        await writer.close()

    asyncio.run(story())

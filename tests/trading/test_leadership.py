"""Two bots on one database: the second refuses, a dead one is succeeded, a stalled one falls silent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.clock import ManualClock
from ctp.errors import StateConflict
from ctp.lifetime import name_process
from ctp.storage.database import Database
from ctp.storage.tables import leases
from ctp.trading.leadership import LEASE_MS, Leadership
from ctp.trading.writer import Writer


def test_a_second_bot_refuses_to_start(database: Database) -> None:
    async def run() -> None:
        clock, writer = ManualClock(), Writer(database)
        first, second = Leadership(writer, clock), Leadership(writer, clock)
        await first.take()
        with database.transaction() as connection:  # as if it ran on another machine
            connection.execute(sa.update(leases).values(holder="elsewhere:1:2"))
        taking = asyncio.create_task(second.take())
        while not taking.done():  # by our clock it gives up after a lease and a second
            await clock.advance(0.25)
            with database.transaction() as connection:  # and renewed
                connection.execute(sa.update(leases).values(expires_at=clock.now_ms() + LEASE_MS))
            await asyncio.sleep(0.005)  # the writer's thread works in real time
        with pytest.raises(StateConflict, match="another crypto-trader-bot"):
            await taking
        await writer.close()

    asyncio.run(run())


def test_a_killed_bot_of_this_machine_is_succeeded_at_once(tmp_path: Path, database: Database) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    async def run() -> None:
        writer, clock = Writer(database), ManualClock()
        now, holder = clock.now_ms(), name_process(other.pid)
        with database.transaction() as connection:
            connection.execute(
                sa.insert(leases).values(name="bot", holder=holder, token=4, expires_at=now + 60_000)
            )
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        heir = Leadership(writer, clock)
        await asyncio.wait_for(heir.take(), 60)  # the clock stands still: whoever waits for the lease waits for ever
        with database.reading() as connection:
            assert connection.execute(sa.select(leases.c.token)).scalar_one() > 4
        await heir.give_back()
        assert not heir.is_leader()
        await writer.close()

    asyncio.run(run())


def test_a_bot_that_could_not_renew_in_time_sends_nothing(database: Database) -> None:
    async def run() -> None:
        clock, writer = ManualClock(), Writer(database)
        leader = Leadership(writer, clock)
        await leader.take()
        assert leader.is_leader()
        await clock.advance(LEASE_MS / 1000 + 0.1)
        assert not leader.is_leader()
        await leader.renew()
        assert leader.is_leader()
        with database.transaction() as connection:
            connection.execute(sa.update(leases).values(holder="somebody:1:1"))
        with pytest.raises(StateConflict):
            await leader.renew()
        assert not leader.is_leader()
        await writer.close()

    asyncio.run(run())


def test_jobs_of_a_group_stand_alone_and_answer_after_the_commit(database: Database) -> None:
    async def run() -> None:
        writer = Writer(database)

        async def job(name: str, fails: bool) -> str:
            def work(connection: sa.Connection) -> str:
                connection.execute(sa.insert(leases).values(name=name, holder="h", token=1, expires_at=0))
                if fails:
                    raise ValueError(name)
                return name

            return await writer.run(work)

        found = await asyncio.gather(*(job(f"n{i}", i % 3 == 0) for i in range(12)), return_exceptions=True)
        kept = [one for one in found if isinstance(one, str)]
        with database.reading() as connection:
            names = set(connection.scalars(sa.select(leases.c.name)))
        assert names == set(kept) == {f"n{i}" for i in range(12) if i % 3}
        assert sum(isinstance(one, ValueError) for one in found) == 4
        await writer.close()

    asyncio.run(run())

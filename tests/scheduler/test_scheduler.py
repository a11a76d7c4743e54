"""Jobs run once when they are due, whatever dies, fails, blocks or runs twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from ctp.cli import app
from ctp.clock import ManualClock
from ctp.errors import StateConflict, StorageUnavailable
from ctp.lifetime import name_process
from ctp.scheduler import history
from ctp.scheduler.history import JobState, list_jobs, list_runs, prune_runs
from ctp.scheduler.schedule import daily, every
from ctp.scheduler.scheduler import LEASE_MS, Job, Scheduler
from ctp.storage.database import Database
from ctp.storage.leases import read_heartbeats
from ctp.storage.tables import leases, notices, users
from tests.waiting import until

START = 1_700_000_000_000 - 1_700_000_000_000 % 86_400_000  # midnight, UTC
DAY_S = 86_400.0


class Work:
    """Counts its runs and fails when told to."""

    def __init__(self) -> None:
        """Succeed until told otherwise."""
        self.runs: list[int] = []
        self.error: Exception | None = None

    def __call__(self, now_ms: int) -> None:
        """Run."""
        self.runs.append(now_ms)
        if self.error is not None:
            raise self.error


@pytest.fixture
def operator(database: Database) -> Database:
    """Return a database with somebody who hears of trouble."""
    with database.transaction() as connection:
        row = {"id": 1, "name": "ops", "password_hash": "x", "role": "operator", "created_at": 0}
        connection.execute(sa.insert(users).values(**row))
    return database


def nightly(work: Callable[[int], None], name: str = "nightly", limit_s: float = 60) -> Job:
    """Return a job for two o'clock."""
    return Job(name, daily(2, 0, "UTC"), work, limit_s)


def told(database: Database) -> list[str]:
    """Return what operators were told."""
    with database.reading() as connection:
        return [json.loads(facts)["what"] for facts in connection.scalars(sa.select(notices.c.facts).order_by(notices.c.id))]


def results(database: Database, job: str = "nightly") -> list[str]:
    """Return the results of a job, oldest first."""
    with database.reading() as connection:
        return [run.result for run in reversed(list_runs(connection, job))]


def state(database: Database, name: str = "nightly") -> JobState:
    """Return what is known about a job."""
    with database.reading() as connection:
        return next(job for job in list_jobs(connection) if job.name == name)


async def pass_time(scheduler: Scheduler, clock: ManualClock, seconds: float) -> None:
    """Let time pass, then let the scheduler look and its jobs end."""
    clock.tick(seconds)
    await scheduler.look()
    await scheduler.idle()


def test_a_job_runs_at_its_time_and_is_listed(operator: Database) -> None:
    async def story() -> None:
        clock, work = ManualClock(START), Work()
        scheduler = Scheduler(operator, [nightly(work)], clock)
        await scheduler.lead()
        assert state(operator).next_at == START + 7_200_000
        await pass_time(scheduler, clock, 7199)
        assert work.runs == []
        await pass_time(scheduler, clock, 1)
        await pass_time(scheduler, clock, 1)
        assert work.runs == [START + 7_200_000]
        found = state(operator)
        assert found.next_at == START + 7_200_000 + int(DAY_S * 1000)
        assert found.last is not None
        assert (found.last.result, found.last.due_at, found.failing_since) == ("done", START + 7_200_000, None)
        assert told(operator) == []

    asyncio.run(story())


def test_what_was_missed_runs_once(operator: Database) -> None:
    async def story() -> None:
        clock, work = ManualClock(START), Work()
        first = Scheduler(operator, [nightly(work)], clock, "first")
        await first.lead()
        await pass_time(first, clock, 7200)
        clock.tick(5 * DAY_S)  # nothing ran for five days
        second = Scheduler(operator, [nightly(work)], clock, "second")
        await second.lead()
        await pass_time(second, clock, 0)
        await pass_time(second, clock, 10)
        assert len(work.runs) == 2
        last = state(operator).last
        assert last is not None
        assert last.due_at == START + 7_200_000 + int(5 * DAY_S * 1000)

    asyncio.run(story())


def test_a_scheduler_that_slept_runs_what_it_missed_once(operator: Database) -> None:
    async def story() -> None:
        clock, work = ManualClock(START), Work()
        scheduler = Scheduler(operator, [Job("often", every(60), work)], clock)
        await scheduler.lead()
        await pass_time(scheduler, clock, 3600)
        await pass_time(scheduler, clock, 1)
        assert len(work.runs) == 1

    asyncio.run(story())


def test_of_two_schedulers_one_leads_and_the_other_follows_when_it_is_gone(operator: Database) -> None:
    async def story() -> None:
        clock, work = ManualClock(START), Work()
        first, second = (Scheduler(operator, [nightly(work)], clock, name) for name in ("elsewhere:1:1", "elsewhere:2:2"))
        await first.lead()
        waiting = asyncio.create_task(second.lead())
        while clock.monotonic_s() < 4:
            await clock.advance(0.5)
            await first.look()
            await asyncio.sleep(0.02)
        assert not waiting.done()
        while not waiting.done():  # the first is gone without a word
            await clock.advance(2)
            await asyncio.sleep(0.02)
        clock.tick(7200)
        await second.look()
        await second.idle()
        with pytest.raises(StateConflict):
            await first.look()
        assert len(work.runs) == 1

    asyncio.run(story())


def test_two_schedulers_that_both_believe_to_lead_run_a_job_once(operator: Database) -> None:
    """The second line of defence: a lease that was stolen, as by a clock set wrong."""

    async def story() -> None:
        clock, work = ManualClock(START), Work()
        first, second = (Scheduler(operator, [nightly(work)], clock, name) for name in ("a", "b"))
        await first.lead()
        with operator.transaction() as connection:
            connection.execute(sa.update(leases).values(expires_at=0))
        await second.lead()
        for scheduler in (first, second):
            scheduler._renewed_s = clock.monotonic_s() + 7200  # neither looks at its lease
        clock.tick(7200)
        await asyncio.gather(first.look(), second.look())
        await asyncio.gather(first.idle(), second.idle())
        assert len(work.runs) == 1
        assert results(operator) == ["done"]

    asyncio.run(story())


def test_a_lease_that_could_not_be_renewed_starts_nothing(operator: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        clock, work = ManualClock(START), Work()
        scheduler = Scheduler(operator, [nightly(work)], clock)
        await scheduler.lead()

        def full() -> None:
            raise StorageUnavailable("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(scheduler, "_renew", full)
            await pass_time(scheduler, clock, 7200)
        assert work.runs == []
        await pass_time(scheduler, clock, LEASE_MS / 1000)
        assert len(work.runs) == 1

    asyncio.run(story())


def test_a_job_never_overlaps_itself_and_holds_up_no_other(operator: Database) -> None:
    async def story() -> None:
        clock, quick, slow, gate = ManualClock(START), Work(), Work(), threading.Event()

        def block(now_ms: int) -> None:
            slow(now_ms)
            gate.wait(60)

        scheduler = Scheduler(operator, [Job("slow", every(60), block), Job("quick", every(60), quick)], clock)
        await scheduler.lead()
        for runs in (1, 2, 3):
            clock.tick(60)
            await scheduler.look()
            await until(lambda runs=runs: len(quick.runs) >= runs and "quick" not in scheduler._running)  # type: ignore[misc]
        await until(lambda: slow.runs)
        assert len(slow.runs) == 1
        assert state(operator, "slow").last.result == "running"  # type: ignore[union-attr]
        gate.set()
        await scheduler.idle()
        await pass_time(scheduler, clock, 0)
        assert len(slow.runs) == 2  # both that were missed, in one

    asyncio.run(story())


def test_a_failing_job_is_told_once_and_again_when_it_works(operator: Database) -> None:
    async def story() -> None:
        clock, work = ManualClock(START), Work()
        scheduler = Scheduler(operator, [nightly(work)], clock)
        await scheduler.lead()
        await pass_time(scheduler, clock, DAY_S)
        for error in (StorageUnavailable("no room"), ZeroDivisionError("by password=hunter22")):
            work.error = error
            await pass_time(scheduler, clock, DAY_S)
        assert told(operator) == ["job_failed"]
        failing = state(operator)
        assert failing.failing_since == START + int(2 * DAY_S * 1000)
        assert failing.last is not None
        assert failing.last.error == "ZeroDivisionError: by password=[redacted]"
        work.error = None
        for _ in range(2):
            await pass_time(scheduler, clock, DAY_S)
        assert told(operator) == ["job_failed", "job_works"]
        assert state(operator).failing_since is None
        work.error = ValueError("again")
        await pass_time(scheduler, clock, DAY_S)
        assert told(operator) == ["job_failed", "job_works", "job_failed"]

    asyncio.run(story())


def test_a_run_that_takes_too_long_is_told_once_and_may_still_end_well(operator: Database) -> None:
    async def story() -> None:
        clock, gate = ManualClock(START), threading.Event()
        scheduler = Scheduler(operator, [nightly(lambda _: bool(gate.wait(60)), limit_s=0.05)], clock)
        await scheduler.lead()
        clock.tick(7200)
        await scheduler.look()
        await until(lambda: told(operator) == ["job_slow"])
        gate.set()
        await scheduler.idle()
        assert results(operator) == ["done"]

    asyncio.run(story())


def test_a_run_that_died_is_lost_told_and_made_up_for_once(operator: Database) -> None:
    def die(database: Database, at_ms: int, holder: str) -> None:
        """Leave behind what a killed process leaves."""
        with database.transaction() as connection:
            history.claim(connection, "nightly", at_ms, at_ms, holder, at_ms)

    async def story() -> None:
        clock, work = ManualClock(START), Work()
        die(operator, START - 1000, "gone")
        scheduler = Scheduler(operator, [nightly(work)], clock, "heir")
        await scheduler.lead()
        assert results(operator) == ["lost"]
        assert told(operator) == ["job_lost"]
        await pass_time(scheduler, clock, 0)
        assert results(operator) == ["lost", "done"]
        assert told(operator) == ["job_lost", "job_works"]

    asyncio.run(story())


def test_a_job_that_kills_its_process_is_not_repeated_for_ever(operator: Database) -> None:
    async def story() -> None:
        clock, work = ManualClock(START), Work()
        for number in range(4):
            heir = Scheduler(operator, [nightly(work)], clock, f"{number}")
            with operator.transaction() as connection:
                connection.execute(sa.update(leases).values(expires_at=0))
            await heir.lead()
            if number == 0:
                clock.tick(7200)
            due = heir._due["nightly"]
            if due <= clock.now_ms():  # it starts, and takes the process with it
                with operator.transaction() as connection:
                    history.claim(connection, "nightly", due, due + 1, heir._holder, clock.now_ms())
            clock.tick(30)
        assert results(operator) == ["lost", "lost"]
        assert told(operator) == ["job_lost"]

    asyncio.run(story())


def test_a_result_that_comes_after_the_run_was_given_up_changes_nothing(operator: Database) -> None:
    with operator.transaction() as connection:
        run_id = history.claim(connection, "nightly", START, START, "gone", START)
        assert run_id is not None
        history.give_up_lost(connection, START + 1)
        assert not history.end(connection, run_id, history.DONE, START + 2)
    assert results(operator) == ["lost"]


def test_a_killed_scheduler_of_this_machine_is_succeeded_at_once(operator: Database) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = name_process(child.pid)

    async def story() -> None:
        clock = ManualClock(START)
        await Scheduler(operator, [], clock, holder).lead()
        child.kill()
        child.wait()
        await Scheduler(operator, [], clock).lead()  # without any time passing

    asyncio.run(story())
    assert child.stdin is not None
    child.stdin.close()


def test_a_graceful_stop_waits_for_a_job_and_lets_the_next_scheduler_lead(operator: Database) -> None:
    async def story() -> None:
        clock, gate, work = ManualClock(START), threading.Event(), Work()

        def finish(now_ms: int) -> None:
            gate.wait(60)
            work(now_ms)

        scheduler = Scheduler(operator, [nightly(finish)], clock, "elsewhere:1:1")
        await scheduler.lead()
        task = asyncio.create_task(scheduler.work())
        await clock.advance(7200.5)
        while not scheduler._running:
            await clock.advance(1)
            await asyncio.sleep(0.01)
        await until(lambda: results(operator))
        task.cancel()
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert results(operator) == ["done"]
        await Scheduler(operator, [], clock, "next").lead()

    asyncio.run(story())


def test_a_job_that_does_not_end_when_stopped_is_written_down_and_no_trouble(
    operator: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        clock, gate = ManualClock(START), threading.Event()
        monkeypatch.setattr("ctp.scheduler.scheduler.STOP_S", 0.05)
        scheduler = Scheduler(operator, [nightly(lambda _: bool(gate.wait(60)))], clock)
        await scheduler.lead()
        clock.tick(7200)
        await scheduler.look()
        await until(lambda: results(operator))
        await scheduler._stop()
        gate.set()
        assert results(operator) == ["stopped"]
        assert told(operator) == []

    asyncio.run(story())


def test_a_clock_that_is_set_back_does_not_stop_the_jobs(operator: Database) -> None:
    async def story() -> None:
        clock, work = ManualClock(START), Work()
        scheduler = Scheduler(operator, [Job("often", every(60), work)], clock)
        await scheduler.lead()
        clock.jump(365 * 86_400_000)  # somebody mistyped the year
        await pass_time(scheduler, clock, 0)
        clock.jump(-365 * 86_400_000)
        for _ in range(3):
            await pass_time(scheduler, clock, 60)
        assert len(work.runs) == 3  # the first look back only plans

    asyncio.run(story())


def test_history_is_pruned_but_the_last_good_run_stays(operator: Database) -> None:
    with operator.transaction() as connection:
        for number in range(20):
            run_id = history.claim(connection, "often", START + number, 0, "me", START + number * 86_400_000)
            assert run_id is not None
            history.end(connection, run_id, history.DONE if number == 0 else history.FAILED, START, "why")
        assert prune_runs(connection, START + 19 * 86_400_000, keep_days=10) == 8
        assert prune_runs(connection, START + 19 * 86_400_000, keep_days=10, keep_each=3) == 8
        left = [run.due_at - START for run in list_runs(connection, "often")]
    assert left == [19, 18, 17, 0]


def test_a_job_that_is_no_more_is_not_listed(operator: Database) -> None:
    async def story() -> None:
        clock = ManualClock(START)
        await Scheduler(operator, [nightly(Work()), nightly(Work(), "other")], clock, "a").lead()
        with operator.transaction() as connection:
            connection.execute(sa.update(leases).values(expires_at=0))
        await Scheduler(operator, [nightly(Work())], clock, "b").lead()

    asyncio.run(story())
    with operator.reading() as connection:
        assert [job.name for job in list_jobs(connection)] == ["nightly"]
        assert read_heartbeats(connection)["backup"].at == START


def test_the_command_lists_jobs(home: Path) -> None:
    ctp = CliRunner()
    ctp.invoke(app, ["db", "upgrade"])
    assert "never run" in ctp.invoke(app, ["jobs"]).stdout
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    work = Work()
    work.error = ValueError("no such file")

    async def story() -> None:
        clock = ManualClock(START)
        scheduler = Scheduler(database, [nightly(work)], clock)
        await scheduler.lead()
        await pass_time(scheduler, clock, 7200)

    asyncio.run(story())
    database.close()
    shown = ctp.invoke(app, ["jobs"]).stdout
    assert "daily at 02:00 (UTC)" in shown
    assert "failed: ValueError: no such file (failing since" in shown
    (job,) = json.loads(ctp.invoke(app, ["jobs", "--json"]).stdout)["jobs"]
    assert job["last"]["result"] == "failed"
    assert job["next_at"] == START + 7_200_000 + 86_400_000


def test_a_job_that_somebody_asks_for_starts_within_seconds_and_never_beside_itself(operator: Database) -> None:
    """It is a run like any other, and the time it is due by the clock stays."""
    wanted = {"now": False}

    async def story() -> None:
        clock, work = ManualClock(START + 1), Work()

        def run(now_ms: int) -> None:
            wanted["now"] = False
            work(now_ms)

        job = Job("nightly", daily(2, 0, "UTC"), run, is_asked=lambda _: wanted["now"])
        scheduler = Scheduler(operator, [job], clock)
        await scheduler.lead()
        await pass_time(scheduler, clock, 3)
        assert work.runs == []
        wanted["now"] = True
        await pass_time(scheduler, clock, 2)
        await pass_time(scheduler, clock, 2)
        assert len(work.runs) == 1, "asked for once, run once"
        assert state(operator).next_at == START + 7_200_000
        await pass_time(scheduler, clock, 7200)
        assert len(work.runs) == 2 and results(operator) == ["done", "done"]

    asyncio.run(story())

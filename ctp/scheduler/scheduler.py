"""Run jobs when they are due: one scheduler at a time, a thread for each run, everything written down.

Invariants:
1. Of several schedulers one leads, by lease; the others wait. One that lost its lease ends before it starts anything.
2. A job never overlaps itself. What was missed meanwhile is made up for by one run.
3. A run that died with its process is made up for once, at once; not again when that one dies too.
4. Somebody may ask for a job: it starts within seconds, and is one of its runs like any other.
5. A job that fails, blocks or overruns holds up no other job, and not the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from ctp.clock import Clock
from ctp.errors import CtpError, StateConflict, StorageUnavailable
from ctp.lifetime import has_ended, this_process
from ctp.logs import bound, logger
from ctp.scheduler import history
from ctp.scheduler.schedule import Schedule
from ctp.storage.database import Database
from ctp.storage.leases import Lease, acquire_lease, beat, read_lease, release_lease, renew_lease

LEASE_NAME, PROCESS = "scheduler", "backup"
LEASE_MS = 10_000
RENEW_S = 2.0
LOOK_S = 0.5
STOP_S = 10.0

log = logger(__name__)


class Job(NamedTuple):
    """One thing to do by the clock."""

    name: str
    schedule: Schedule
    run: Callable[[int], None]  # in a thread of its own; gets the wall time in milliseconds UTC
    limit_s: float = 3600.0  # operators hear of a run that takes longer
    is_asked: Callable[[sa.Connection], bool] | None = None  # whether somebody waits for it now; looked at with the lease


class Scheduler:
    """Leads, or waits until it may; then runs jobs until cancelled."""

    def __init__(self, database: Database, jobs: Sequence[Job], clock: Clock, holder: str = "") -> None:
        """Take the jobs; nothing is started yet."""
        assert len({job.name for job in jobs}) == len(jobs), "two jobs of one name"
        self._database, self._clock = database, clock
        self._jobs = {job.name: job for job in jobs}
        self._holder = holder or this_process()
        self._lease: Lease | None = None
        self._renewed_s = 0.0
        self._due: dict[str, int] = {}
        self._looked_ms = 0
        self._running: dict[str, asyncio.Task[None]] = {}
        self._asked: frozenset[str] = frozenset()

    async def lead(self) -> None:
        """Wait until no other scheduler leads, give up the runs that died with the last one, and plan the next ones."""
        while (lease := await asyncio.to_thread(self._acquire)) is None:
            await self._clock.sleep(RENEW_S)
        self._lease, self._renewed_s = lease, self._clock.monotonic_s()
        self._due = await asyncio.to_thread(self._plan)
        log.info("scheduler_leads", jobs=sorted(self._jobs))

    async def work(self) -> None:
        """Run what is due until cancelled; then give running jobs a moment to end. Call `lead` first."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(LOOK_S)
        finally:
            await self._stop()

    async def look(self) -> None:
        """Renew the lease and start what is due. Raises StateConflict when another scheduler has taken over."""
        if self._clock.monotonic_s() - self._renewed_s >= RENEW_S:
            try:
                await asyncio.to_thread(self._renew)
            except StorageUnavailable as error:
                log.warning("scheduler_not_renewed", error=str(error))
        if self._clock.monotonic_s() - self._renewed_s >= LEASE_MS / 1000:
            return  # another one may lead by now: start nothing until the lease is certainly ours again
        now_ms = self._clock.now_ms()
        if now_ms < self._looked_ms:  # a clock that was set back must not stop the jobs until it is where it was
            self._due = {name: min(due, self._jobs[name].schedule.next_after(now_ms)) for name, due in self._due.items()}
        self._looked_ms = now_ms
        for name in self._asked - set(self._running):
            self._due[name] = min(self._due[name], now_ms)
        self._asked = frozenset()
        for name in [name for name, due in self._due.items() if due <= now_ms and name not in self._running]:
            job = self._jobs[name]
            due = job.schedule.newest_until(now_ms, self._due[name] - 1) or self._due[name]
            self._due[name] = job.schedule.next_after(now_ms)
            task = asyncio.create_task(self._run(job, due, self._due[name]))
            self._running[name] = task
            task.add_done_callback(lambda _, name=name: self._running.pop(name))  # type: ignore[misc]

    async def idle(self) -> None:
        """Wait until nothing runs."""
        while self._running:
            await asyncio.wait(list(self._running.values()))
            await asyncio.sleep(0)

    # --- one run -------------------------------------------------------------------------------------------------

    async def _run(self, job: Job, due_at: int, next_at: int) -> None:
        """Run a job once, whatever it does."""
        try:
            run_id = await self._write(
                lambda c: history.claim(c, job.name, due_at, next_at, self._holder, self._clock.now_ms())
            )
            if run_id is None:
                return
            result, error = await self._outcome(job, run_id)
            await self._write(lambda c: history.end(c, run_id, result, self._clock.now_ms(), error))
        except StorageUnavailable as error:  # nothing can be written: the run is found as lost, or due again
            log.error("job_not_recorded", job=job.name, error=str(error))

    async def _outcome(self, job: Job, run_id: int) -> tuple[str, str]:
        """Do the work and return the result with the reason of a failure."""
        work = asyncio.ensure_future(_in_thread(job.name, lambda: job.run(self._clock.now_ms())))
        try:
            with bound(job=job.name):
                done, _ = await asyncio.wait({work}, timeout=job.limit_s)
                if not done:
                    log.warning("job_slow", limit_s=job.limit_s)
                    await self._write(lambda c: history.tell_slow(c, run_id, job.name, job.limit_s, self._clock.now_ms()))
                await work
        except asyncio.CancelledError:
            return history.STOPPED, "stopped before it was done"
        except CtpError as error:
            log.error("job_failed", job=job.name, error=str(error))
            return history.FAILED, str(error)
        except Exception as error:  # outermost loop of a job: whatever it is, the other jobs go on
            log.exception("job_crashed", job=job.name)
            return history.FAILED, f"{type(error).__name__}: {error}"
        return history.DONE, ""

    # --- leading -------------------------------------------------------------------------------------------------

    def _acquire(self) -> Lease | None:
        """Take the lease, also from a process of this machine that no longer lives."""
        with self._database.transaction() as connection:
            now_ms = self._clock.now_ms()
            lease = acquire_lease(connection, LEASE_NAME, self._holder, now_ms, LEASE_MS)
            if lease is None and (held := read_lease(connection, LEASE_NAME)) and has_ended(held.holder):
                release_lease(connection, held)
                lease = acquire_lease(connection, LEASE_NAME, self._holder, now_ms, LEASE_MS)
            if lease is not None:
                beat(connection, PROCESS, now_ms)
            return lease

    def _renew(self) -> None:
        """Prolong the lease and show that this process lives."""
        assert self._lease is not None
        asked_s = self._clock.monotonic_s()
        with self._database.transaction() as connection:
            now_ms = self._clock.now_ms()
            renewed = renew_lease(connection, self._lease, now_ms, LEASE_MS)
            if renewed is None:
                raise StateConflict("another crypto-trader-backup has taken over")
            beat(connection, PROCESS, now_ms, {"jobs": sorted(self._running)})
            asked = frozenset(name for name, job in self._jobs.items() if job.is_asked and job.is_asked(connection))
        self._lease, self._renewed_s, self._asked = renewed, asked_s, asked

    def _plan(self) -> dict[str, int]:
        """Return when each job is due next; what was missed is due now."""
        with self._database.transaction() as connection:
            now_ms = self._clock.now_ms()
            repeated = {
                run.job: now_ms
                for run in history.give_up_lost(connection, now_ms)
                if not history.was_lost_before(connection, run)
            }
            due = {}
            for name, job in self._jobs.items():
                last = history.last_due(connection, name)
                # The same for a clock that was set back while nothing ran.
                due[name] = job.schedule.next_after(now_ms if last is None else min(last, now_ms))
            due |= {name: at for name, at in repeated.items() if name in due}
            history.register(connection, {name: (str(self._jobs[name].schedule), at) for name, at in due.items()}, now_ms)
        return due

    async def _stop(self) -> None:
        """Let running jobs end, write which did not, and let the next scheduler lead at once."""
        running = list(self._running.values())
        if running:
            await asyncio.wait(running, timeout=STOP_S)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if self._lease is not None:
            lease, self._lease = self._lease, None
            with contextlib.suppress(StorageUnavailable):
                await self._write(lambda c: release_lease(c, lease))

    async def _write[T](self, work: Callable[[sa.Connection], T]) -> T:
        """Do work in a transaction, off the event loop."""

        def write() -> T:
            with self._database.transaction() as connection:
                return work(connection)

        return await asyncio.to_thread(write)


async def _in_thread(name: str, work: Callable[[], None]) -> None:
    """Run work in a thread of its own that does not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(failure: BaseException | None) -> None:
        if done.done():
            return
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)

    def call() -> None:
        failure: BaseException | None = None
        try:
            work()
        except BaseException as error:  # handed to whoever waits
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=call, name=f"job-{name}", daemon=True).start()
    await done

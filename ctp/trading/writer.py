"""One thread that writes to the database, many jobs in one commit.

A candle closes for every account at once; each account's job waits for the same commit instead of one of its own.

Invariants:
1. A job's result is returned only after the commit that holds it: what was promised is on disk.
2. A job that fails rolls back its own work alone; the others of its group are kept.
3. Jobs run in the order in which they were asked for.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.errors import CtpError
from ctp.storage.database import Database

LARGEST_GROUP = 128


class _Job(NamedTuple):
    """A piece of work and who waits for it."""

    work: Callable[[sa.Connection], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class Writer:
    """The bot's only way to write. Use from one event loop."""

    def __init__(self, database: Database) -> None:
        """Start the thread."""
        self._database = database
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ctp-writer", daemon=True)
        self._thread.start()

    async def run[T](self, work: Callable[[sa.Connection], T]) -> T:
        """Do the work inside a transaction and return its result once that is committed."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, loop, done))
        # A cancelled caller must not leave its work half known: the commit happens either way, so wait for it.
        return await asyncio.shield(done)

    async def close(self) -> None:
        """Finish what was asked for and end the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        """Work until closed."""
        ended = False
        while not ended:
            group: list[_Job] = []
            job: _Job | None = self._jobs.get()
            while job is not None:
                group.append(job)
                if len(group) == LARGEST_GROUP or self._jobs.empty():
                    break
                job = self._jobs.get()
            ended = job is None
            if group:
                self._commit(group)

    def _commit(self, group: list[_Job]) -> None:
        """Do a group of jobs in one transaction, each in a savepoint of its own."""
        results: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            with self._database.transaction() as connection:
                for job in group:
                    try:
                        with connection.begin_nested():
                            results.append((job, job.work(connection), None))
                    except (CtpError, sa.exc.SQLAlchemyError, ValueError, LookupError, AssertionError) as error:
                        results.append((job, None, error))
        except Exception as error:  # outermost loop of the thread: whoever waits is told, the thread lives on
            results = [(job, None, error) for job in group]
        for job, result, failure in results:
            job.loop.call_soon_threadsafe(_tell, job.done, result, failure)


def _tell(done: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    """Hand a result over, unless nobody waits any more."""
    if done.done():
        return
    if failure is None:
        done.set_result(result)
    else:
        done.set_exception(failure)

"""What is known about jobs: their next due time, and each run with its result.

Invariants:
1. A job and a due time make one run, whoever claims it: the row's key sees to it.
2. A run whose process ended without a result becomes `lost`; a result that comes after that changes nothing.
3. Operators hear once when a job begins to fail and once when it works again, however often it runs in between.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.logs import redact
from ctp.notifiers.outbox import tell_operators
from ctp.storage.database import insert_or
from ctp.storage.tables import job_runs, jobs

DONE, FAILED, LOST, RUNNING, STOPPED = "done", "failed", "lost", "running", "stopped"
_BAD = (FAILED, LOST)
_MOST_ERROR = 256


class JobRun(NamedTuple):
    """One run of a job. Times are milliseconds UTC; no end: it runs."""

    id: int
    job: str
    due_at: int
    started_at: int
    ended_at: int | None
    result: str  # running, done, failed, lost, stopped
    error: str | None


class JobState(NamedTuple):
    """A job as a page shows it. The schedule's words: `schedule.in_words`."""

    name: str
    schedule: str
    next_at: int | None
    last: JobRun | None  # the newest run; one that runs now included
    done_at: int | None  # when a run last ended well
    failing_since: int | None  # when the first run of the unbroken row of failures ended


def list_jobs(connection: sa.Connection) -> list[JobState]:
    """Return every job with its newest run, in the order of their names."""
    return [_state(connection, row) for row in connection.execute(sa.select(jobs).order_by(jobs.c.name))]


def list_runs(connection: sa.Connection, job: str, *, limit: int = 50) -> list[JobRun]:
    """Return the runs of a job, newest first."""
    query = sa.select(job_runs).where(job_runs.c.job == job).order_by(job_runs.c.id.desc()).limit(limit)
    return [_run(row) for row in connection.execute(query)]


def register(connection: sa.Connection, schedules: dict[str, tuple[str, int]], now_ms: int) -> None:
    """Write which jobs there are: schedule and next due time by name; others are struck off, their history stays."""
    connection.execute(sa.delete(jobs).where(jobs.c.name.not_in(schedules)))
    for name, (schedule, next_at) in schedules.items():
        row = {"schedule": schedule, "next_at": next_at, "updated_at": now_ms}
        connection.execute(
            insert_or(connection, jobs)
            .values(name=name, **row)
            .on_conflict_do_update(index_elements=[jobs.c.name], set_=row)
        )


def last_run(connection: sa.Connection, job: str) -> JobRun | None:
    """Return a job's newest run."""
    newest = connection.execute(_of(job).order_by(job_runs.c.id.desc()).limit(1)).first()
    return None if newest is None else _run(newest)


def last_due(connection: sa.Connection, job: str) -> int | None:
    """Return the newest due time that has been claimed."""
    due: int | None = connection.scalar(sa.select(sa.func.max(job_runs.c.due_at)).where(job_runs.c.job == job))
    return due


def claim(connection: sa.Connection, job: str, due_at: int, next_at: int, holder: str, now_ms: int) -> int | None:
    """Begin a run; returns its id, or None when it has been claimed before."""
    connection.execute(sa.update(jobs).where(jobs.c.name == job).values(next_at=next_at, updated_at=now_ms))
    started: int | None = connection.execute(
        insert_or(connection, job_runs)
        .values(job=job, due_at=due_at, started_at=now_ms, result=RUNNING, holder=holder)
        .on_conflict_do_nothing(index_elements=[job_runs.c.job, job_runs.c.due_at])
        .returning(job_runs.c.id)
    ).scalar()
    return started


def end(connection: sa.Connection, run_id: int, result: str, now_ms: int, error: str = "") -> bool:
    """Write how a run ended, and tell operators when that is news; False when it had been given up before."""
    row = connection.execute(sa.select(job_runs).where(job_runs.c.id == run_id)).one()
    reason = redact(error)[:_MOST_ERROR]
    ended = connection.execute(
        sa.update(job_runs)
        .where(job_runs.c.id == run_id, job_runs.c.result == RUNNING)
        .values(result=result, ended_at=now_ms, error=reason or None)
    )
    if ended.rowcount == 0:
        return False
    if result in _BAD:
        _tell(connection, f"job_{result}", row.job, _row_of_failures(connection, row.job), now_ms, error=reason)
    elif result == DONE and _was_bad(connection, row.job, run_id):
        _tell(connection, "job_works", row.job, str(run_id), now_ms)
    return True


def tell_slow(connection: sa.Connection, run: int, job: str, limit_s: float, now_ms: int) -> None:
    """Tell operators, once for a run, that it takes longer than it may."""
    _tell(connection, "job_slow", job, str(run), now_ms, limit_s=limit_s)


def give_up_lost(connection: sa.Connection, now_ms: int) -> list[JobRun]:
    """Mark every run that has no end as lost and return them; only the one scheduler that leads may ask."""
    rows = connection.execute(sa.select(job_runs).where(job_runs.c.result == RUNNING).order_by(job_runs.c.id)).all()
    for row in rows:
        end(connection, row.id, LOST, now_ms, "the process that ran it has ended")
    return [_run(row) for row in rows]


def was_lost_before(connection: sa.Connection, run: JobRun) -> bool:
    """Tell whether the run before this one was lost too."""
    before = connection.execute(_of(run.job).where(job_runs.c.id < run.id).order_by(job_runs.c.id.desc()).limit(1)).first()
    return before is not None and before.result == LOST


def prune_runs(connection: sa.Connection, now_ms: int, *, keep_days: int, keep_each: int = 500) -> int:
    """Delete old runs and those beyond a number for each job; the last that ended well stays. Returns how many."""
    gone = 0
    for job in connection.scalars(sa.select(job_runs.c.job).distinct()).all():
        newest = sa.select(job_runs.c.id).where(job_runs.c.job == job).order_by(job_runs.c.id.desc())
        oldest_kept = connection.scalar(newest.offset(keep_each - 1).limit(1)) or 0
        last_done = connection.scalar(_last_done(job)) or 0
        last = connection.scalar(newest.limit(1))
        old = sa.or_(job_runs.c.started_at < now_ms - keep_days * 86_400_000, job_runs.c.id < oldest_kept)
        kept = job_runs.c.id.not_in([last_done, last])
        gone += connection.execute(sa.delete(job_runs).where(job_runs.c.job == job, old, kept)).rowcount
    return gone


def _state(connection: sa.Connection, row: sa.Row[Any]) -> JobState:
    """Return what is known about one job."""
    last = last_run(connection, row.name)
    last_done = connection.scalar(_last_done(row.name)) or 0
    done_at = connection.scalar(sa.select(job_runs.c.ended_at).where(job_runs.c.id == last_done))
    since = connection.scalar(
        sa.select(sa.func.min(job_runs.c.ended_at)).where(
            job_runs.c.job == row.name, job_runs.c.id > last_done, job_runs.c.result.in_(_BAD)
        )
    )
    return JobState(row.name, row.schedule, row.next_at, last, done_at, since)


def _tell(connection: sa.Connection, what: str, job: str, number: str, now_ms: int, **facts: object) -> None:
    """Tell operators once; a job that failed and was lost in one row of failures is told once."""
    key = "job_failed" if what == "job_lost" else what
    tell_operators(connection, "system_error", {"what": what, "job": job, **facts}, f"{key}:{job}:{number}", now_ms)


def _row_of_failures(connection: sa.Connection, job: str) -> str:
    """Name an unbroken row of failures by the good run before it."""
    return str(connection.scalar(_last_done(job)) or 0)


def _was_bad(connection: sa.Connection, job: str, run_id: int) -> bool:
    """Tell whether the runs between the last good one and this one hold a failure."""
    last_good = connection.scalar(_last_done(job).where(job_runs.c.id < run_id)) or 0
    between = _of(job).where(job_runs.c.id > last_good, job_runs.c.id < run_id, job_runs.c.result.in_(_BAD))
    return connection.execute(between.limit(1)).first() is not None


def _of(job: str) -> sa.Select[Any]:
    """Select the runs of a job."""
    return sa.select(job_runs).where(job_runs.c.job == job)


def _last_done(job: str) -> sa.Select[Any]:
    """Select the id of the newest run that ended well."""
    return sa.select(sa.func.max(job_runs.c.id)).where(job_runs.c.job == job, job_runs.c.result == DONE)


def _run(row: sa.Row[Any]) -> JobRun:
    """Read a row."""
    return JobRun(**{name: row._mapping[name] for name in JobRun._fields})

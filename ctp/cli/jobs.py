"""`ctp jobs`: what is done by the clock, when next, and how it went."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ctp.cli.opened import opened_database
from ctp.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from ctp.scheduler.history import JobState


def jobs(as_json: Json = False) -> None:
    """List every job with its schedule, its next run, and the result of its last run."""
    from ctp.scheduler.history import list_jobs

    with opened_database() as database, database.reading() as connection:
        found = list_jobs(connection)
    if as_json:
        print_json({"jobs": found})
        return
    print_table(
        "",
        ("job", "schedule", "next run", "last run", "result", "took", "last done"),
        [_row(job) for job in found],
        empty="No job is known: the scheduler has never run here (./run up).",
    )


def _row(job: JobState) -> tuple[Any, ...]:
    """Return a job as a table row."""
    from ctp.scheduler.schedule import in_words

    last, result, took = job.last, None, None
    if last is not None:
        result = f"{last.result}: {last.error}" if last.error else last.result
        if job.failing_since is not None:
            result = f"{result} (failing since {_moment(job.failing_since)})"
        if last.ended_at is not None:
            took = f"{(last.ended_at - last.started_at) / 1000:.1f} s"
    started = None if last is None else _moment(last.started_at)
    return job.name, in_words(job.schedule, "en"), _moment(job.next_at), started, result, took, _moment(job.done_at)


def _moment(time_ms: int | None) -> str | None:
    """Return a time in this machine's zone."""
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")

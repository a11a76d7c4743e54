"""`ctp jobs`: what is done by the clock, when next, and how it went."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctp.cli.opened import opened_database
from ctp.cli.output import Json, print_json, print_table
from ctp.errors import NotFound

if TYPE_CHECKING:
    from ctp.scheduler.history import JobRun, JobState

_RUNS = 20


def jobs(
    history: Annotated[str | None, typer.Option("--history", help="One job: its last runs instead.")] = None,
    as_json: Json = False,
) -> None:
    """List every job with its schedule, its next run, and the result of its last run; or the last runs of one."""
    from ctp.scheduler.history import list_jobs, list_runs

    with opened_database() as database, database.reading() as connection:
        found = list_jobs(connection)
        runs = [] if history is None else list_runs(connection, history, limit=_RUNS)
    if history is not None:
        if history not in {job.name for job in found} and not runs:
            raise NotFound(f"no job {history!r}; there are " + ", ".join(job.name for job in found))
        _show_runs(history, runs, as_json)
        return
    if as_json:
        print_json({"jobs": found})
        return
    print_table(
        "",
        ("job", "schedule", "next run", "last run", "result", "took", "last done"),
        [_row(job) for job in found],
        empty="No job is known: the scheduler has never run here (./run up).",
    )


def _show_runs(job: str, runs: list[JobRun], as_json: bool) -> None:
    """Show the runs of one job, newest first."""
    if as_json:
        print_json({"job": job, "runs": runs})
        return
    rows = [(_moment(run.started_at), run.result, _took(run), run.error) for run in runs]
    print_table("", ("started", "result", "took", "error"), rows, empty="It has not run yet.")


def _took(run: JobRun) -> str | None:
    """Return how long a run took."""
    return None if run.ended_at is None else f"{(run.ended_at - run.started_at) / 1000:.1f} s"


def _row(job: JobState) -> tuple[Any, ...]:
    """Return a job as a table row."""
    from ctp.scheduler.schedule import in_words

    last, result, took = job.last, None, None
    if last is not None:
        result = f"{last.result}: {last.error}" if last.error else last.result
        if job.failing_since is not None:
            result = f"{result} (failing since {_moment(job.failing_since)})"
        took = _took(last)
    started = None if last is None else _moment(last.started_at)
    return job.name, in_words(job.schedule, "en"), _moment(job.next_at), started, result, took, _moment(job.done_at)


def _moment(time_ms: int | None) -> str | None:
    """Return a time in this machine's zone."""
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")

"""Whether the services are alive; for operators also the jobs, what could not be delivered, and the disk. No money."""

from __future__ import annotations

import shutil
from pathlib import Path

import sqlalchemy as sa

from ctp import i18n
from ctp.accounts.rights import allowed
from ctp.i18n import has_text, text
from ctp.notifiers.telegram_text import Line, bold
from ctp.notifiers.watchdog import SILENT_AFTER_MS
from ctp.scheduler.history import JobState, list_jobs
from ctp.storage.leases import read_heartbeats
from ctp.storage.tables import deliveries
from ctp.telegram.answer import Answer, moment
from ctp.telegram.person import Question

PROCESSES = ("bot", "backup", "web")
_GIGABYTE = 10**9


def health(question: Question, home: Path) -> Answer:
    """Say which services answer; for those who operate, how everything else stands."""
    said = [bold(question.say("health.title")), *map(Line, _processes(question))]
    if allowed(question.person.actor, "see_health"):
        said += [Line(""), bold(question.say("health.jobs"))]
        said += [Line(_job(question, job)) for job in list_jobs(question.connection)]
        said += [Line(""), Line(question.say("health.dead", count=_dead(question.connection)))]
        disk = shutil.disk_usage(home)
        free, total = (i18n.number(size / _GIGABYTE, 1) for size in (disk.free, disk.total))
        said.append(Line(question.say("health.disk", free=free, total=total)))
    return Answer(tuple(said))


def _processes(question: Question) -> list[str]:
    """Say when each service was last heard of."""
    beats, said = read_heartbeats(question.connection), []
    for process in PROCESSES:
        name, beat = question.say(f"process.{process}"), beats.get(process)
        if beat is None:
            said.append(question.say("health.never", name=name))
            continue
        silent_ms = question.now_ms - beat.at
        key = "health.alive" if silent_ms <= SILENT_AFTER_MS else "health.silent"
        said.append(question.say(key, name=name, age=i18n.duration(silent_ms, question.person.language)))
    return said


def _job(question: Question, job: JobState) -> str:
    """Say how a job's last run went."""
    language = question.person.language
    name = text(f"jobs.name.{job.name}", language) if has_text(f"jobs.name.{job.name}") else job.name
    if job.last is None:
        time = "-" if job.next_at is None else moment(question, job.next_at)
        return question.say("health.job_waiting", name=name, time=time)
    result = text(f"jobs.result.{job.last.result}", language)
    if job.failing_since is not None:
        return question.say("health.job_failing", name=name, result=result, time=moment(question, job.failing_since))
    return question.say("health.job", name=name, result=result, time=moment(question, job.last.started_at))


def _dead(connection: sa.Connection) -> int:
    """Return how many notices were given up."""
    query = sa.select(sa.func.count()).select_from(deliveries).where(deliveries.c.status == "dead")
    return connection.execute(query).scalar_one()

"""The operations page: health, backups, jobs, undeliverable notices for operators; for administrators also Close all.

Invariants:
1. To anybody else the page and its API do not exist.
2. No figure of any account is here; an operator does not even see accounts' names.
"""

from __future__ import annotations

import platform
import shutil
from typing import Any

import sqlalchemy as sa
from aiohttp import web

import ctp
from ctp.accounts.emergency import ClosableAccount, list_closable
from ctp.accounts.rights import allowed
from ctp.errors import InputError, NotFound
from ctp.i18n import has_text, text
from ctp.notifiers.channels import configured_channels
from ctp.notifiers.undeliverable import DeadLetter, dead_letters, resend_dead
from ctp.notifiers.watchdog import SILENT_AFTER_MS
from ctp.scheduler.history import JobRun, JobState, list_jobs, list_runs
from ctp.scheduler.schedule import in_words
from ctp.storage import migrations
from ctp.storage.leases import Heartbeat, read_heartbeats
from ctp.storage.tables import deliveries
from ctp.web.api import read_json
from ctp.web.backups import backups_view
from ctp.web.pages import render_page
from ctp.web.people import Visitor
from ctp.web.state import GATEWAY, VISITOR, Gateway
from ctp.web.views import EXCHANGES, command_progress

PROCESSES = ("bot", "backup", "web")
_SILENT_MS = {"telegram": 180_000}  # it listens for half a minute at a time, and pauses after trouble
_SPACE_WARNING_BYTES = 2_000_000_000
_MOST_DEAD, _MOST_COUNTED, _MOST_RUNS = 50, 500, 20
_CERTIFICATE_WARNING_MS = 14 * 86_400_000


async def operations_page(request: web.Request) -> web.Response:
    """Show the operations page; its script keeps it true."""
    gateway, visitor = request.app[GATEWAY], _operator(request)
    title = text("web.operations.title", visitor.language)
    view = await _view(gateway, visitor)
    return render_page("operations.html", gateway, visitor, here="operations", title=title, view=view)


async def operations(request: web.Request) -> web.Response:
    """Return what the operations page shows."""
    return web.json_response(await _view(request.app[GATEWAY], _operator(request)))


async def job_history(request: web.Request) -> web.Response:
    """Return the last runs of one job."""
    gateway, visitor, name = request.app[GATEWAY], _operator(request), request.match_info["job"]

    def read(connection: sa.Connection) -> list[JobRun]:
        if name not in {job.name for job in list_jobs(connection)}:
            raise NotFound("job")
        return list_runs(connection, name, limit=_MOST_RUNS)

    runs = await gateway.read(read)
    return web.json_response({"runs": [_run(run, visitor.language) for run in runs]})


async def resend(request: web.Request) -> web.Response:
    """Let undeliverable notices wait for delivery again: those of `notices` over `channel`, or `all` that are shown."""
    gateway, visitor = request.app[GATEWAY], _operator(request)
    body = await read_json(request)
    ids, channel, is_all = body.get("notices"), body.get("channel"), body.get("all") is True
    chosen: list[int] = ids if isinstance(ids, list) else []
    is_list = 0 < len(chosen) <= _MOST_COUNTED and all(type(one) is int and 0 < one < 1 << 63 for one in chosen)
    if not is_all and not (is_list and channel in ("email", "telegram")):
        raise InputError("notices", "…", text("web.error.wrong_body", visitor.language))
    now = gateway.clock.now_ms()

    def write(connection: sa.Connection) -> int:
        if is_all:
            shown = {one.notice_id for one in dead_letters(connection, visitor.actor, limit=_MOST_COUNTED)}
            return resend_dead(connection, visitor.actor, shown, now)
        return resend_dead(connection, visitor.actor, chosen, now, channel=channel)

    return web.json_response({"count": await gateway.write(write)})


def _operator(request: web.Request) -> Visitor:
    """Return the visitor if they operate this installation. Raises NotFound."""
    visitor: Visitor = request[VISITOR]
    if not visitor.may_operate:
        raise NotFound("operations")
    return visitor


async def _view(gateway: Gateway, visitor: Visitor) -> dict[str, Any]:
    """Gather the page's contents in one reading."""
    language, now = visitor.language, gateway.clock.now_ms()
    telegram = gateway.settings.telegram
    watched = [*PROCESSES, *(["telegram"] if telegram.token_file is not None and telegram.commands else [])]
    is_administrator = allowed(visitor.actor, "close_all", "none")

    def read(connection: sa.Connection) -> dict[str, Any]:
        beats = read_heartbeats(connection)
        dead = dead_letters(connection, visitor.actor, limit=_MOST_COUNTED)
        return {
            "processes": [_process(name, beats.get(name), language, now) for name in watched],
            "backups": backups_view(gateway.settings, connection, language, now),
            "jobs": [_job(job, language) for job in list_jobs(connection)],
            "dead": [_dead(one, language) for one in dead[:_MOST_DEAD]],
            "dead_count": len(dead),
            "waiting": _waiting(connection),
            "accounts": [_account(one, visitor) for one in list_closable(connection, visitor.actor)]
            if is_administrator
            else None,
        }

    disk = shutil.disk_usage(gateway.settings.home)
    certificate = gateway.certificate
    return await gateway.read(read) | {
        "disk": {"free": disk.free, "total": disk.total, "is_low": disk.free < _SPACE_WARNING_BYTES},
        "certificate": None
        if certificate is None
        else {"expires_at": certificate.expires_at, "is_near": certificate.expires_at - now < _CERTIFICATE_WARNING_MS},
        "about": _about(gateway, language),
    }


def _process(name: str, beat: Heartbeat | None, language: str, now_ms: int) -> dict[str, Any]:
    """Return how one of the three processes is."""
    age = None if beat is None else max(0, now_ms - beat.at)
    details = beat.details if beat is not None else {}
    facts = [
        text(f"web.operations.{fact}", language, value=f"{details[fact]:g}")
        for fact in ("accounts", "memory_mb", "loop_lag_ms", "sockets")
        if isinstance(details.get(fact), int | float)
    ]
    unhealthy, limit = details.get("unhealthy"), _SILENT_MS.get(name, SILENT_AFTER_MS)
    return {
        "name": name,
        "word": text(f"web.operations.{name}", language),
        "age_ms": age,
        "state": "never" if age is None else "silent" if age > limit else "unhealthy" if unhealthy else "alive",
        "facts": facts,
        "trouble": str(unhealthy) if unhealthy else "",
    }


def _job(job: JobState, language: str) -> dict[str, Any]:
    """Return a job in words."""
    key, last = f"jobs.name.{job.name}", job.last
    return {
        "id": job.name,
        "name": text(key, language) if has_text(key) else job.name,
        "schedule": in_words(job.schedule, language),
        "next_at": job.next_at,
        "started_at": last.started_at if last else None,
        "took_ms": last.ended_at - last.started_at if last and last.ended_at is not None else None,
        "result": last.result if last else "",
        "result_word": text(f"jobs.result.{last.result}", language) if last else "",
        "error": (last.error or "") if last else "",
        "done_at": job.done_at,
        "failing_since": job.failing_since,
    }


def _run(run: JobRun, language: str) -> dict[str, Any]:
    """Return one run in words."""
    return {
        "started_at": run.started_at,
        "took_ms": None if run.ended_at is None else run.ended_at - run.started_at,
        "result": run.result,
        "result_word": text(f"jobs.result.{run.result}", language),
        "error": run.error or "",
    }


def _dead(letter: DeadLetter, language: str) -> dict[str, Any]:
    """Return an undeliverable notice: for whom and why, not what it says."""
    key = f"notice.{letter.kind}.name"
    return {
        "id": letter.notice_id,
        "channel": letter.channel,
        "channel_word": text(f"web.channel.{letter.channel}", language),
        "user": letter.user_name,
        "kind": text(key if has_text(key) else "notice.unknown.title", language),
        "urgent": letter.urgent,
        "attempts": letter.attempts,
        "error": letter.error,
        "created_at": letter.created_at,
    }


def _account(account: ClosableAccount, visitor: Visitor) -> dict[str, Any]:
    """Return an account that the administrator may close."""
    language = visitor.language
    return {
        "id": account.id,
        "owner": account.owner,
        "name": account.name,
        "exchange_name": EXCHANGES.get(account.exchange, account.exchange),
        "mode": account.mode,
        "mode_word": text(f"mode.{account.mode}", language),
        "status": account.status,
        "status_word": text(f"status.{account.status}", language),
        "is_flat": account.is_flat,
        "command": None if account.asked is None else command_progress(account.asked, visitor.name, language),
    }


def _waiting(connection: sa.Connection) -> int:
    """Return how many deliveries are on their way."""
    counted = sa.select(sa.func.count()).where(deliveries.c.status.in_(("waiting", "leased")))
    return connection.execute(counted).scalar_one()


def _about(gateway: Gateway, language: str) -> list[list[str]]:
    """Return what runs here, as pairs of words."""
    channels = [text(f"web.channel.{one}", language) for one in ("web", *configured_channels(gateway.settings))]
    facts = {
        "version": ctp.__version__,
        "python": platform.python_version(),
        "database": f"{'SQLite' if gateway.database.is_sqlite else 'PostgreSQL'}, {migrations.head()}",
        "channels": ", ".join(channels),
        "dashboards": text(f"web.operations.{'ready' if gateway.voila.is_ready.is_set() else 'starting'}", language),
    }
    return [[text(f"web.operations.{name}", language), value] for name, value in facts.items()]

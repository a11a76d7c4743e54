"""How backups stand, for the operations page, the report and the doctor."""

from __future__ import annotations

import json
from typing import NamedTuple

import sqlalchemy as sa

from ctp.backup.manifest import FULL, INCREMENTAL
from ctp.backup.points import Point, list_points
from ctp.backup.target import LocalTarget
from ctp.config import Settings
from ctp.storage.tables import backup_checks, jobs

DRILL, VERIFICATION = "drill", "verification"
LATE_MS = 26 * 3_600_000
JOBS = ("backup_full", "backup_incremental")


class Check(NamedTuple):
    """The result of a verification of everything, or of a rehearsed restore."""

    at: int
    backup: str
    ok: bool
    summary: str  # one sentence in English: what was found


class BackupState(NamedTuple):
    """Times are milliseconds UTC; None: never."""

    full_at: int | None
    incremental_at: int | None
    verified_at: int | None  # when the newest backup was last read back
    points: int
    bytes: int
    damaged: tuple[str, ...]  # ids
    verification: Check | None
    drill: Check | None
    next_at: int | None
    is_late: bool  # the newest backup is older than a day and two hours, or there is none


def backup_state(settings: Settings, connection: sa.Connection, now_ms: int) -> BackupState:
    """Return how backups stand. Opens no archive and needs no key."""
    points = list_points(LocalTarget(settings.backups))
    full, incremental = _newest(points, FULL), _newest(points, INCREMENTAL)
    newest = max((one for one in (full, incremental) if one is not None), key=lambda one: one.created_at, default=None)
    next_at = connection.scalar(sa.select(sa.func.min(jobs.c.next_at)).where(jobs.c.name.in_(JOBS)))
    return BackupState(
        None if full is None else full.created_at,
        None if incremental is None else incremental.created_at,
        None if newest is None or newest.verified is None or not newest.verified.ok else newest.verified.at,
        len(points),
        sum(point.bytes for point in points),
        tuple(
            point.id for point in points if not point.is_readable or (point.verified is not None and not point.verified.ok)
        ),
        last_check(connection, VERIFICATION),
        last_check(connection, DRILL),
        next_at,
        newest is None or now_ms - newest.created_at > LATE_MS,
    )


def last_check(connection: sa.Connection, kind: str) -> Check | None:
    """Return the newest check of a kind."""
    query = sa.select(backup_checks).where(backup_checks.c.kind == kind).order_by(backup_checks.c.id.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Check(row.at, row.backup, row.ok, json.loads(row.facts).get("summary", ""))


def note_check(
    connection: sa.Connection, kind: str, backup: str, now_ms: int, ok: bool, summary: str, **facts: object
) -> None:
    """Write down the result of a check."""
    told = json.dumps({"summary": summary, **facts}, ensure_ascii=False)
    connection.execute(sa.insert(backup_checks).values(kind=kind, at=now_ms, backup=backup, ok=ok, facts=told))


def _newest(points: list[Point], kind: str) -> Point | None:
    """Return the newest backup of a kind."""
    return max((one for one in points if one.kind == kind and one.is_readable), key=lambda one: one.created_at, default=None)

"""How backups stand, for the operations page, the report and the doctor. Opens no archive and needs no key.

Invariant: nothing here tells of any account's name or money: operators read it.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.backup.manifest import CONFIGURATION, FULL, INCREMENTAL
from ctp.backup.points import Point, list_points
from ctp.backup.target import LocalTarget
from ctp.config import Settings
from ctp.logs import redact_fields
from ctp.storage.tables import backup_checks, jobs, users

DRILL, VERIFICATION, REMOTE, SHEET = "drill", "verification", "remote", "sheet"
LATE_MS = 26 * 3_600_000
DRILL_LATE_MS = 40 * 24 * 3_600_000
_JOB = "backup_"


class Check(NamedTuple):
    """The result of a check: a verification of everything, a rehearsed restore, a copy to the second place, a sheet."""

    at: int
    backup: str
    ok: bool
    summary: str  # one sentence in English: what was found
    facts: dict[str, Any]


class KindState(NamedTuple):
    """The newest backup of a kind, and when the next one is due; milliseconds UTC, None: never."""

    at: int | None
    bytes: int  # that it added
    next_at: int | None


class BackupState(NamedTuple):
    """Times are milliseconds UTC; None: never."""

    full: KindState
    incremental: KindState
    configuration: KindState
    chain: int  # backups that stand on the newest full one, itself included
    verified_at: int | None  # when the newest backup was last read back
    points: int
    bytes: int  # of all backups, files they share left out
    damaged: tuple[str, ...]  # ids
    verification: Check | None
    drill: Check | None
    remote: Check | None  # the last copy to the second place
    sheet: Check | None  # the recovery sheet; not ok: keys have changed since it was printed
    is_late: bool  # the newest backup is older than a day and two hours, or there is none so long after the first user came
    is_drill_late: bool  # the same for the monthly rehearsal, once there is something to rehearse

    @property
    def newest_at(self) -> int | None:
        """Return when the newest backup with data was made."""
        return max((kind.at for kind in (self.full, self.incremental) if kind.at is not None), default=None)

    @property
    def next_at(self) -> int | None:
        """Return when the next backup with data is due."""
        return min((kind.next_at for kind in (self.full, self.incremental) if kind.next_at is not None), default=None)

    @property
    def is_good(self) -> bool:
        """Tell whether nobody has to look."""
        checks = (self.verification, self.drill, self.remote)
        failed = any(check is not None and not check.ok for check in checks)
        return self.newest_at is not None and not (self.is_late or self.is_drill_late or self.damaged or failed)


def backup_state(settings: Settings, connection: sa.Connection, now_ms: int) -> BackupState:
    """Return how backups stand."""
    points = list_points(LocalTarget(settings.backups))
    kinds = {kind: _newest(points, kind) for kind in (FULL, INCREMENTAL, CONFIGURATION)}
    full = kinds[FULL]
    newest = max((one for one in (full, kinds[INCREMENTAL]) if one), key=lambda one: one.created_at, default=None)
    due = {row.name: row.next_at for row in connection.execute(sa.select(jobs.c.name, jobs.c.next_at))}
    since = connection.scalar(sa.select(sa.func.min(users.c.created_at)))
    first = min((one.created_at for one in points if one.kind == FULL and one.is_readable), default=now_ms)
    drill = last_check(connection, DRILL)
    full_state, incremental, configuration = (
        KindState(None if one is None else one.created_at, 0 if one is None else one.bytes, due.get(_JOB + kind))
        for kind, one in kinds.items()
    )
    return BackupState(
        full_state,
        incremental,
        configuration,
        0 if full is None else sum(1 for one in points if one.full_id == full.id),
        None if newest is None or newest.verified is None or not newest.verified.ok else newest.verified.at,
        len(points),
        sum(point.bytes for point in points),
        tuple(
            point.id for point in points if not point.is_readable or (point.verified is not None and not point.verified.ok)
        ),
        last_check(connection, VERIFICATION),
        drill,
        last_check(connection, REMOTE) if settings.backup.remote else None,
        last_check(connection, SHEET),
        since is not None and now_ms - (since if newest is None else newest.created_at) > LATE_MS,
        now_ms - (first if drill is None else drill.at) > DRILL_LATE_MS,
    )


def last_check(connection: sa.Connection, kind: str) -> Check | None:
    """Return the newest check of a kind."""
    query = sa.select(backup_checks).where(backup_checks.c.kind == kind).order_by(backup_checks.c.id.desc()).limit(1)
    row = connection.execute(query).first()
    if row is None:
        return None
    facts = json.loads(row.facts)
    return Check(row.at, row.backup, row.ok, facts.pop("summary", ""), facts)


def note_check(
    connection: sa.Connection, kind: str, backup: str, now_ms: int, ok: bool, summary: str, **facts: object
) -> None:
    """Write down the result of a check."""
    told = json.dumps(redact_fields({"summary": summary, **facts}), ensure_ascii=False)
    connection.execute(sa.insert(backup_checks).values(kind=kind, at=now_ms, backup=backup, ok=ok, facts=told))


def _newest(points: list[Point], kind: str) -> Point | None:
    """Return the newest backup of a kind."""
    return max((one for one in points if one.kind == kind and one.is_readable), key=lambda one: one.created_at, default=None)

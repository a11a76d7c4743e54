"""What is done about backups by the clock: full, incremental, settings, verification, clean-up, rehearsal.

A job that fails is told to operators by the scheduler; so each raises when a backup would not do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ctp.config import Settings
from ctp.errors import BackupDamaged, CtpError, DataDamaged
from ctp.scheduler.schedule import daily, every, monthly, weekly
from ctp.scheduler.scheduler import Job

if TYPE_CHECKING:
    from ctp.storage.database import Database

NICENESS = 10
PATIENCE_S = 900.0  # for another backup that is at work
HOUR_S = 3600


def backup_jobs(settings: Settings, database: Database) -> list[Job]:
    """Return the jobs. What they need is loaded when they run."""
    zone = settings.scheduler.zone

    def make(kind: str) -> Callable[[int], None]:
        return _gently(lambda now_ms: back_up(settings, database, kind, now_ms))

    return [
        Job("backup_full", daily(2, 0, zone), make("full")),
        Job("backup_incremental", every(4 * HOUR_S), make("incremental")),
        Job("backup_config", weekly("sun", 2, 30, zone), make("config")),
        Job("backup_verify", weekly("sun", 3, 0, zone), _gently(lambda now_ms: verify_all(settings, database, now_ms))),
        Job("backup_prune", monthly(1, 4, 0, zone), _gently(lambda now_ms: clean_up(settings, now_ms))),
        Job("backup_drill", monthly(1, 4, 30, zone), _gently(lambda now_ms: drill(settings, database, now_ms))),
        Job("backup_age", every(HOUR_S), lambda now_ms: check_age(settings, database, now_ms)),
    ]


def back_up(settings: Settings, database: Database, kind: str, now_ms: int) -> None:
    """Make a backup, and copy it to the second place."""
    from ctp.backup.create import make_backup
    from ctp.backup.target import LocalTarget

    make_backup(settings, database, LocalTarget(settings.backups), kind, now_ms, patience_s=PATIENCE_S)
    copy_away(settings, database, now_ms)


def copy_away(settings: Settings, database: Database, now_ms: int) -> list[str]:
    """Copy what the second place lacks, note how it went, and return the backups it got."""
    from ctp.backup.keys import BackupKeys
    from ctp.backup.remote import mirror, remote_target
    from ctp.backup.state import REMOTE, note_check
    from ctp.backup.target import LocalTarget

    local, problem = LocalTarget(settings.backups), ""
    copied: list[str] = []
    try:
        remote = remote_target(settings)
        if remote is None:
            return []
        with local.alone(PATIENCE_S):
            copied = mirror(local, remote, BackupKeys(settings.keys), now_ms)
    except CtpError as error:
        problem = str(error)
        raise
    finally:
        if settings.backup.remote:
            with database.transaction() as connection:
                summary = problem or f"{len(copied)} backups copied and read back there"
                note_check(connection, REMOTE, max(copied, default=""), now_ms, not problem, summary, copied=len(copied))
    return copied


def verify_all(settings: Settings, database: Database, now_ms: int) -> None:
    """Read every backup back. Raises BackupDamaged naming the first that is not whole."""
    from ctp.backup.keys import BackupKeys
    from ctp.backup.points import list_points
    from ctp.backup.state import VERIFICATION, note_check
    from ctp.backup.target import LocalTarget
    from ctp.backup.verify import check_and_note

    target, keys = LocalTarget(settings.backups), BackupKeys(settings.keys)
    found = {point.id: check_and_note(target, point.id, keys, now_ms) for point in list_points(target)}
    damaged = {name: noted.damages for name, noted in found.items() if not noted.ok}
    summary = f"{len(found)} backups read back, {len(damaged)} damaged"
    with database.transaction() as connection:
        newest = max(found, default="")
        note_check(
            connection, VERIFICATION, newest, now_ms, not damaged, summary, read=len(found), damaged=sorted(damaged)
        )
    if damaged:
        first = min(damaged)
        raise BackupDamaged(first, "what was written", damaged[first][0])


def clean_up(settings: Settings, now_ms: int) -> None:
    """Remove what retention lets go, here and in the second place."""
    from ctp.backup.keys import BackupKeys
    from ctp.backup.points import prune, prune_here
    from ctp.backup.remote import remote_target

    prune_here(settings, now_ms)
    remote = remote_target(settings)
    if remote is not None:
        prune(remote, BackupKeys(settings.keys), settings, now_ms)


def drill(settings: Settings, database: Database, now_ms: int) -> None:
    """Rehearse a restore. Raises DataDamaged when the newest backup would not do."""
    from ctp.backup.drill import rehearse

    found = rehearse(settings, database, now_ms)
    if not found.ok:
        said = "; ".join(problem.said for problem in found.problems[:3])
        raise DataDamaged(found.backup, said, "look closer with `ctp backup drill`, then make a full backup")


def check_age(settings: Settings, database: Database, now_ms: int) -> None:
    """Raise DataDamaged when backups are overdue, whatever the reason: a folder that is gone, jobs that never ran."""
    from ctp.backup.state import LATE_MS, backup_state

    with database.reading() as connection:
        state = backup_state(settings, connection, now_ms)
    hours = LATE_MS // 3_600_000
    if state.is_late:
        age = "there is none" if state.newest_at is None else f"the newest is {(now_ms - state.newest_at) // 3_600_000} hours old"
        raise DataDamaged(f"backups in {settings.backups}", f"{age}, allowed are {hours}", "make one: ctp backup full")
    if state.is_drill_late:
        raise DataDamaged(f"backups in {settings.backups}", "no restore was rehearsed for 40 days", "ctp backup drill")


def _gently(work: Callable[[int], None]) -> Callable[[int], None]:
    """Return the work with its thread at low priority: the bot trades on the same two cores."""

    def run(now_ms: int) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)  # Linux: of this thread alone
        work(now_ms)

    return run

"""The doctor looks at backups: their age, whether they can be read and restored, the second place, the recovery sheet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ctp.cli.findings import Finding
from ctp.config import Settings
from ctp.errors import CtpError

if TYPE_CHECKING:
    from ctp.backup.state import BackupState


def look_at_backups(settings: Settings, *, offline: bool = False) -> Iterator[Finding]:
    """Look at the backups of this installation; offline: not at the second place. Nothing without a database."""
    from ctp.backup.state import backup_state
    from ctp.storage.database import Database

    now_ms = time.time_ns() // 1_000_000
    try:
        database = Database(settings.database_url)
        try:
            database.check()
            with database.reading() as connection:
                state = backup_state(settings, connection, now_ms)
        finally:
            database.close()
    except CtpError:
        return  # said by whoever looks at the database
    except OSError as error:
        yield Finding("backups", "wrong", f"{settings.backups}: {error.strerror or error}", "mend the folder or its disk")
        return
    yield _age(settings, state)
    yield _checks(settings, state)
    yield _rehearsal(settings, state)
    yield from _second_place(settings, state, offline)
    yield _sheet(settings, state)


def _age(settings: Settings, state: BackupState) -> Finding:
    """Look at when the newest backup was made."""
    if state.newest_at is None:
        found = f"there is none in {settings.backups}"
        return Finding("backups", "wrong" if state.is_late else "warning", found, "ctp backup full")
    found = f"{state.points} in {settings.backups}, {state.bytes / 1e6:.1f} MB, the newest of {_day(settings, state.newest_at)}"
    if state.is_late:
        return Finding("backups", "wrong", found, "ctp jobs says why; make one: ctp backup full")
    return Finding("backups", "ok", found)


def _checks(settings: Settings, state: BackupState) -> Finding:
    """Look at whether backups were read back."""
    subject = "backups read back"
    if state.damaged:
        found = f"{len(state.damaged)} are damaged: {', '.join(state.damaged[:3])}"
        return Finding(subject, "wrong", found, "make a new one: ctp backup full; then ctp backup verify")
    if state.newest_at is not None and state.verified_at is None:
        return Finding(subject, "warning", "the newest one was never read back", "ctp backup verify")
    if state.verification is None:
        return Finding(subject, "ok", "each right after it was made; all of them every Sunday")
    return Finding(subject, "ok", f"{_day(settings, state.verification.at)}: {state.verification.summary}")


def _rehearsal(settings: Settings, state: BackupState) -> Finding:
    """Look at the last rehearsed restore."""
    subject = "restore rehearsed"
    if state.drill is None:
        return Finding(subject, "warning", "never", "ctp backup drill")
    found = f"{_day(settings, state.drill.at)}: {state.drill.summary}"
    if not state.drill.ok:
        return Finding(subject, "wrong", found, "ctp backup drill says what; then ctp backup full")
    return Finding(subject, "warning" if state.is_drill_late else "ok", found, "ctp backup drill" if state.is_drill_late else "")


def _second_place(settings: Settings, state: BackupState, offline: bool) -> Iterator[Finding]:
    """Look at the second place, and whether it can be reached."""
    from ctp.backup.manifest import SUFFIX
    from ctp.backup.remote import remote_target, shown_address

    subject = "second place"
    if not settings.backup.remote:
        remedy = "set backup.remote in ctp.toml (docs/backup.md)"
        yield Finding(subject, "warning", "none: a lost server takes its backups with it", remedy)
        return
    if state.remote is not None and not state.remote.ok:
        yield Finding(subject, "wrong", f"{_day(settings, state.remote.at)}: {state.remote.summary}"[:300], "ctp backup copy")
        return
    if offline:
        yield Finding(subject, "ok", f"{shown_address(settings)}, not asked")
        return
    try:
        target = remote_target(settings)
        names = [] if target is None else [name for name in target.names() if name.endswith(SUFFIX)]
    except CtpError as error:
        yield Finding(subject, "wrong", str(error)[:300], "mend backup.remote in ctp.toml")
        return
    if not names:
        yield Finding(subject, "warning", f"{shown_address(settings)} can be reached and holds no backup", "ctp backup copy")
    else:
        yield Finding(subject, "ok", f"{shown_address(settings)} can be reached and holds {len(names)} backups")


def _sheet(settings: Settings, state: BackupState) -> Finding:
    """Look at whether the recovery sheet was printed."""
    subject, remedy = "recovery sheet", "ctp keys sheet | lpr, and put it in a safe"
    if state.sheet is None:
        return Finding(subject, "warning", "never printed: without it a lost server is lost with its backups", remedy)
    if not state.sheet.ok:
        return Finding(subject, "warning", "out of date: keys were rotated since", remedy)
    return Finding(subject, "ok", f"printed {_day(settings, state.sheet.at)}")


def _day(settings: Settings, time_ms: int) -> str:
    """Return a time in the operator's zone."""
    return datetime.fromtimestamp(time_ms / 1000, ZoneInfo(settings.scheduler.zone)).strftime("%Y-%m-%d %H:%M")

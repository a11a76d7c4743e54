"""Put a finished SQLite file in the place of a home's database, when nobody works with it.

Invariants:
1. One rename makes the change: before it the old database is whole, after it the new one.
2. The old file lives on under another name, with everything that was committed to it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ctp.backup.durable import sync_folder
from ctp.errors import ConfigError, CtpError, DataDamaged, NotAllowed
from ctp.lifetime import has_ended
from ctp.storage.database import Database
from ctp.storage.tables import heartbeats, leases

_ALIVE_MS = 10_000  # a process beats every two seconds
_COPIES_KEPT = 3
_COMPANIONS = ("-wal", "-shm", "-journal")


def refuse_when_used(database: Database, now_ms: int) -> None:
    """Raise NotAllowed while a process holds a lease on the database or has shown life; a damaged one is nobody's."""
    if not has_schema(database):
        return
    try:
        with database.reading() as connection:
            taken = [row for row in connection.execute(leases.select()) if row.expires_at > now_ms and row.holder]
            held = [row.name for row in taken if not has_ended(row.holder)]
            alive = [row.process for row in connection.execute(heartbeats.select()) if row.at > now_ms - _ALIVE_MS]
    except DataDamaged:
        return
    if held or alive:
        names = ", ".join(sorted({*(f"crypto-trader-{name}" for name in alive), *(f"the lease {name!r}" for name in held)}))
        raise NotAllowed(f"{database.address} is in use ({names}); stop the services first: ./run down")


def has_schema(database: Database) -> bool:
    """Tell whether there is a database that this program could read; False also for a damaged one."""
    try:
        return database.revision() is not None
    except (DataDamaged, ConfigError):
        return False


def copy_aside(file: Path, folder: Path) -> Path:
    """Keep the old database under another name, without copying it; returns where.

    Raises NotAllowed when somebody has it open.
    """
    if is_readable(file):
        fold_log(file)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in (file, *(file.with_name(file.name + ending) for ending in _COMPANIONS)):
        if old.exists():
            kept = folder / old.name
            kept.unlink(missing_ok=True)
            os.link(old, kept)
    sync_folder(folder)
    return folder


def keep_last_copies(folder: Path) -> None:
    """Remove all but the newest few of the databases that restores put aside, named by their time."""
    for older in sorted(folder.iterdir())[:-_COPIES_KEPT]:
        shutil.rmtree(older)


def swap_file(new: Path, file: Path, checkpoint: Callable[[str], None]) -> None:
    """Let a new database take the old one's place."""
    with new.open("rb") as content:
        os.fsync(content.fileno())
    # A log left by the old database (a damaged one: others were folded) would be read into the new one.
    for ending in _COMPANIONS:
        file.with_name(file.name + ending).unlink(missing_ok=True)
    checkpoint("about to swap")
    new.replace(file)
    sync_folder(file.parent)
    checkpoint("swapped")


def is_readable(file: Path) -> bool:
    """Tell whether an SQLite file can be trusted to hold what was written to it."""
    database = Database(f"sqlite:///{file}")
    try:
        database.check()
    except CtpError as error:
        return not isinstance(error, DataDamaged)
    finally:
        database.close()
    return True


def fold_log(file: Path) -> None:
    """Bring everything from the write-ahead log into the file and take the log away; needs the file alone."""
    connection = sqlite3.connect(file, timeout=2.0, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
    except sqlite3.OperationalError as error:
        raise NotAllowed(f"{file} is open in another process ({error}); stop the services first: ./run down") from None
    finally:
        connection.close()
    if mode != "delete":
        raise NotAllowed(f"{file} is open in another process; stop the services first: ./run down")

"""Bring the schema up to this program's, with a way back: nothing is migrated before there is a copy of what was.

An SQLite file is copied beside itself by `Database.migrate`; a PostgreSQL database becomes a full backup first.
"""

from __future__ import annotations

from typing import NamedTuple

from ctp.backup.create import make_backup
from ctp.backup.manifest import FULL
from ctp.backup.target import LocalTarget
from ctp.config import Settings
from ctp.storage import migrations
from ctp.storage.database import Database


class Upgraded(NamedTuple):
    """What an upgrade came to. before: the old schema, None for an empty database. backup: the copy, empty without one."""

    before: str | None
    after: str
    backup: str


def upgrade_database(settings: Settings, database: Database, now_ms: int, *, with_backup: bool = True) -> Upgraded:
    """Take the missing steps, after a backup where the database is a server's.

    Raises ConfigError for a schema of a newer program, and whatever keeps the backup from being made: then nothing was
    migrated. with_backup: False for who has made a copy in another way.
    """
    before, backup = database.revision(), ""
    if before is not None and before != migrations.head() and not database.is_sqlite and with_backup:
        database.check_not_newer(before)
        target = LocalTarget(settings.backups)
        backup = make_backup(settings, database, target, FULL, now_ms, may_be_older=True).manifest.id
    database.migrate()
    return Upgraded(before, migrations.head(), backup)

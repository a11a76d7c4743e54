"""What a restore would change, found out without changing anything."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from ctp.backup.home_files import place_below
from ctp.backup.keys import BackupKeys
from ctp.backup.pieces import Archive, open_archive
from ctp.backup.restore import build_file, current_parameters
from ctp.backup.rows import read_groups
from ctp.backup.settle import RestoredAccount, check_door_to_live, read_accounts
from ctp.backup.shapes import read_shapes
from ctp.backup.swap import refuse_when_used
from ctp.backup.target import Target
from ctp.clock import SystemClock
from ctp.config import Settings
from ctp.errors import CtpError, NotAllowed
from ctp.storage import migrations
from ctp.storage.database import Database


class TableDifference(NamedTuple):
    """How a table differs between now and then."""

    table: str
    now: int  # rows; -1: there is no such table or no database
    then: int
    groups_changed: int


class Difference(NamedTuple):
    """What a restore would change, and why it would be refused now."""

    backup: str
    tables: tuple[TableDifference, ...]
    accounts: tuple[RestoredAccount, ...]
    files: tuple[str, ...]  # that would come back
    refusal: str


def compare_with_live(place: Settings, settings: Settings, target: Target, backup_id: str) -> Difference:
    """Return what restoring a backup into `place` would change.

    settings: of the home whose keys open the archive. The archive is really restored, into a scratch folder.
    """
    archive = open_archive(target, backup_id, BackupKeys(settings.keys))
    database = Database(place.database_url)
    try:
        refusal = ""
        try:
            refuse_when_used(database, SystemClock().now_ms())
        except NotAllowed as error:
            refusal = str(error)
        tables = _tables(archive, database)
        accounts, door = _accounts(archive, settings, database)
    finally:
        database.close()
    files = [file.path for file in archive.manifest.files if not place_below(place.home, file.path).exists()]
    return Difference(backup_id, tables, accounts, tuple(files), refusal or door)


def _tables(archive: Archive, database: Database) -> tuple[TableDifference, ...]:
    """Compare every table group by group."""
    manifest = archive.manifest
    stored = {table.name: table for table in manifest.tables}
    there: dict[str, tuple[int, set[bytes]]] = {}
    try:
        database.check()
        with database.reading() as connection:
            for name, shape in read_shapes(connection).items():
                rows, addresses = 0, set()
                for group in read_groups(connection, shape, manifest.revision):
                    rows += group.rows
                    addresses.add(archive.sealer.address(group.place, group.content))
                there[name] = (rows, addresses)
    except CtpError:
        there = {}
    found = []
    for name in sorted({*stored, *there}):
        now, addresses = there.get(name, (-1, set()))
        then = {group.address for group in stored[name].groups} if name in stored else set()
        rows = stored[name].rows if name in stored else 0
        found.append(TableDifference(name, now, rows, len(then ^ addresses)))
    return tuple(found)


def _accounts(archive: Archive, settings: Settings, database: Database) -> tuple[tuple[RestoredAccount, ...], str]:
    """Restore into a scratch file and return the accounts as they would come back, and why they might not."""
    with tempfile.TemporaryDirectory(dir=settings.cache) as folder:
        file = Path(folder) / "ctp.db"
        build_file(archive, file)
        made = Database(f"sqlite:///{file}")
        try:
            with made.transaction() as connection:
                migrations.upgrade(connection)
                accounts = tuple(read_accounts(connection))
                try:
                    check_door_to_live(connection, current_parameters(database), "")
                except NotAllowed as error:
                    return accounts, str(error)
        finally:
            made.close()
    return accounts, ""

"""Make a database from an archive, in an empty place, and prove that it is the one that was archived.

Invariant: whatever fails, the place is left to the caller to throw away, and nothing else was touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from ctp.backup.load import Loader, without_indexes
from ctp.backup.manifest import CONFIGURATION, StoredTable
from ctp.backup.pieces import Archive
from ctp.backup.rows import read_groups
from ctp.backup.shapes import loading_order, read_shapes
from ctp.errors import BackupDamaged, ConfigError
from ctp.storage import migrations
from ctp.storage.database import Database


def careless_database(url: str) -> Database:
    """Return a database that is quick to fill: on SQLite nothing is flushed, and references are checked at the end."""
    database = Database(url)
    if database.is_sqlite:
        event.listen(database.engine, "connect", _hurry)
    return database


def _hurry(connection: Any, _record: object) -> None:
    """Do without what a file that nobody reads yet does not need."""
    for pragma in ("foreign_keys=OFF", "synchronous=OFF", "journal_mode=MEMORY", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}").close()


def fill_database(connection: sa.Connection, archive: Archive, checkpoint: Callable[[str], None]) -> None:
    """Make the archive's schema and write its rows, inside the caller's transaction.

    Raises BackupDamaged at the first piece that is not what was stored, ConfigError for a schema of a newer program.
    """
    manifest = archive.manifest
    if manifest.revision not in migrations.known():
        raise ConfigError(
            f"{manifest.id} was made by a newer program ({manifest.program}, schema {manifest.revision});"
            " install that one to restore it"
        )
    migrations.upgrade(connection, manifest.revision)
    checkpoint("schema made")
    shapes, loader = read_shapes(connection), Loader(connection)
    stored = {table.name: table for table in manifest.tables}
    with without_indexes(connection):
        for name in loading_order(connection):
            if name in stored:
                _check_columns(stored[name], shapes[name].columns)
                for rows in archive.rows(stored[name]):
                    loader.add(shapes[name], stored[name].columns, rows)
                loader.finish(shapes[name])
                checkpoint(f"filled {name}")


def _check_columns(table: StoredTable, columns: tuple[str, ...]) -> None:
    """Refuse a table that is not the schema's."""
    if set(table.columns) != set(columns):
        raise BackupDamaged(f"table {table.name}", ", ".join(columns), ", ".join(table.columns))


def compare_database(connection: sa.Connection, archive: Archive) -> None:
    """Raise BackupDamaged unless the database holds the archive's rows and no others."""
    stored = {table.name: table for table in archive.manifest.tables}
    for name, shape in read_shapes(connection).items():
        if name not in stored:
            if archive.manifest.kind == CONFIGURATION:
                continue
            raise BackupDamaged(f"table {name}", "a table of the archive", "a table it does not have")
        expected = [(group.first, group.last, group.address) for group in stored[name].groups]
        groups = read_groups(connection, shape, archive.manifest.revision)
        found = [(one.first, one.last, archive.sealer.address(one.place, one.content)) for one in groups]
        if found != expected:
            differing = sum(1 for pair in zip(found, expected, strict=False) if pair[0] != pair[1])
            raise BackupDamaged(
                f"table {name} after restoring", f"{len(expected)} groups", f"{len(found)} groups, {differing} different"
            )

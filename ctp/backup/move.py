"""Move a database from SQLite to PostgreSQL or back, compared row by row.

Invariants:
1. The new place is filled, compared and committed in one transaction, or stays as it was: empty.
2. The old database is not written to; an SQLite file is put aside under another name, so that no process goes on with it.
3. Nobody works with either meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from ctp.backup.build import careless_database
from ctp.backup.create import pass_by
from ctp.backup.durable import UNFINISHED, sync_folder
from ctp.backup.load import Loader, without_indexes
from ctp.backup.rows import read_groups, unpack_rows
from ctp.backup.shapes import loading_order, read_shapes
from ctp.backup.swap import fold_log, refuse_when_used
from ctp.errors import InputError, NotAllowed, StateConflict
from ctp.storage import migrations
from ctp.storage.database import Database


class Moved(NamedTuple):
    """What was moved."""

    rows: dict[str, int]  # by table
    old: str  # where the old database is now
    new: str


def move_database(
    source: Database, url: str, now_ms: int, *, checkpoint: Callable[[str], None] = pass_by
) -> Moved:
    """Copy every row into the empty database at `url` and compare them.

    Raises NotAllowed while a process works with the source or when the target is not empty, InputError naming the table
    when the target cannot hold a row, StateConflict when the copy is not equal.
    """
    source.check(thorough=True)
    refuse_when_used(source, now_ms)
    target = Database(url)
    try:
        if target.address == source.address:
            raise InputError("--to", target.address, "is where the database is already")
        fill = _to_file if target.is_sqlite else _to_server
        rows = fill(source, target, checkpoint)
        target.check(thorough=True)
    finally:
        target.close()
    checkpoint("there")
    old = source.address
    if source.file is not None:
        source.close()
        fold_log(source.file)
        aside = source.file.with_name(f"{source.file.name}.moved-{now_ms}")
        source.file.rename(aside)
        sync_folder(source.file.parent)
        old = str(aside)
    checkpoint("put aside")
    return Moved(rows, old, target.address)


def _to_file(source: Database, target: Database, checkpoint: Callable[[str], None]) -> dict[str, int]:
    """Fill a new SQLite file under a name of its own, then let it take its place."""
    assert target.file is not None
    if target.file.exists():
        raise NotAllowed(f"{target.file} exists; name a new file")
    unfinished = target.file.with_name(target.file.name + UNFINISHED)
    unfinished.unlink(missing_ok=True)
    target.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    careless = careless_database(f"sqlite:///{unfinished}")
    try:
        rows = _copy(source, careless, checkpoint)
    finally:
        careless.close()
    _finish_file(unfinished, target.file)
    return rows


def _finish_file(unfinished: Path, file: Path) -> None:
    """Give a filled file its name."""
    unfinished.chmod(0o600)
    with unfinished.open("rb") as content:
        os.fsync(content.fileno())
    unfinished.replace(file)
    sync_folder(file.parent)


def _to_server(source: Database, target: Database, checkpoint: Callable[[str], None]) -> dict[str, int]:
    """Fill an empty PostgreSQL database."""
    with target.reading() as connection:
        found = sa.inspect(connection).get_table_names()
    if found:
        raise NotAllowed(f"{target.address} is not empty (it has {found[0]!r}); name an empty database")
    return _copy(source, target, checkpoint)


def _copy(source: Database, target: Database, checkpoint: Callable[[str], None]) -> dict[str, int]:
    """Write and compare every row inside one transaction of the target."""
    counts: dict[str, int] = {}
    with source.reading() as reading, target.transaction() as writing:
        migrations.upgrade(writing)
        shapes, loader = read_shapes(writing), Loader(writing)
        old = read_shapes(reading)
        checkpoint("schema made")
        with without_indexes(writing):
            for name in loading_order(writing):
                for group in read_groups(reading, old[name], ""):
                    loader.add(shapes[name], old[name].columns, unpack_rows(group.content))
                loader.finish(shapes[name])
                checkpoint(f"filled {name}")
        for name, shape in shapes.items():
            ordered = shape._replace(columns=old[name].columns)
            pairs = zip(read_groups(reading, old[name], ""), read_groups(writing, ordered, ""), strict=False)
            counts[name] = 0
            for before, after in pairs:
                if before != after:
                    raise StateConflict(f"table {name} is not equal after copying; nothing was moved")
                counts[name] += before.rows
            if _count(reading, name) != counts[name] or _count(writing, name) != counts[name]:
                raise StateConflict(f"table {name} has another number of rows after copying; nothing was moved")
        checkpoint("compared")
    return counts


def _count(connection: sa.Connection, table: str) -> int:
    """Return how many rows a table has."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one())

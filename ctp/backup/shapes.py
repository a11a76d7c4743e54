"""What the tables of a database look like, asked of the database itself: an archive may be older than this program.

Invariant: the same schema gives the same shapes on SQLite and PostgreSQL.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

_REVISION_TABLE = "alembic_version"


class TableShape(NamedTuple):
    """A table: its columns in order, which of them need care between databases, and its primary key."""

    name: str
    columns: tuple[str, ...]
    booleans: frozenset[str]
    doubles: frozenset[str]
    integers: frozenset[str]
    primary_key: tuple[str, ...]
    counts: bool  # one integer is the primary key

    @property
    def key_positions(self) -> tuple[int, ...]:
        """Return where the primary key stands in a row."""
        return tuple(self.columns.index(name) for name in self.primary_key)


def read_shapes(connection: sa.Connection) -> dict[str, TableShape]:
    """Return the shape of every table, by name, in alphabetical order."""
    inspector = sa.inspect(connection)
    found = {}
    for name in sorted(inspector.get_table_names()):
        if name == _REVISION_TABLE:
            continue
        columns = inspector.get_columns(name)
        types = {column["name"]: column["type"] for column in columns}
        key = tuple(inspector.get_pk_constraint(name)["constrained_columns"])
        found[name] = TableShape(
            name,
            tuple(types),
            frozenset(column for column, kind in types.items() if isinstance(kind, sa.Boolean)),
            frozenset(column for column, kind in types.items() if isinstance(kind, sa.Float)),
            frozenset(column for column, kind in types.items() if isinstance(kind, sa.Integer)),
            key,
            len(key) == 1 and isinstance(types[key[0]], sa.Integer),
        )
    return found


def loading_order(connection: sa.Connection) -> list[str]:
    """Return the tables so that each comes after those its rows point to."""
    return [
        name
        for name, _ in sa.inspect(connection).get_sorted_table_and_fkc_names()
        if name is not None and name != _REVISION_TABLE
    ]

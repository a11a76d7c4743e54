"""Write the rows of an archive into an empty database of the same schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa

from ctp.backup.rows import Row
from ctp.backup.shapes import TableShape
from ctp.errors import InputError


class Loader:
    """Writes rows inside the caller's transaction, through the driver."""

    def __init__(self, connection: sa.Connection) -> None:
        """Write through this connection."""
        self._is_sqlite = connection.dialect.name == "sqlite"
        raw = connection.connection.driver_connection
        assert raw is not None
        self._raw: Any = raw

    def add(self, shape: TableShape, columns: tuple[str, ...], rows: list[Row]) -> None:
        """Write rows of one table; `columns` name their values. InputError when this database cannot hold one."""
        with _naming(shape.name):
            if self._is_sqlite:
                marks = ", ".join("?" * len(columns))
                statement = f"INSERT INTO {_table(shape, columns)} VALUES ({marks})"  # noqa: S608
                self._raw.executemany(statement, rows)
                return
            with self._raw.cursor() as cursor, cursor.copy(f"COPY {_table(shape, columns)} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

    def finish(self, shape: TableShape) -> None:
        """Let the next row of a table get the number after the last; SQLite does so by itself."""
        if self._is_sqlite or not shape.counts:
            return
        key = shape.primary_key[0]
        with self._raw.cursor() as cursor:
            cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", (f'"{shape.name}"', key))
            sequence = cursor.fetchone()[0]
            if sequence is not None:
                cursor.execute(
                    f'SELECT setval(%s, COALESCE(MAX("{key}"), 1), MAX("{key}") IS NOT NULL) FROM "{shape.name}"',  # noqa: S608
                    (sequence,),
                )


@contextmanager
def without_indexes(connection: sa.Connection) -> Iterator[None]:
    """Take the indexes of an SQLite database away while rows are written, and build them at the end; faster by half."""
    if connection.dialect.name != "sqlite":
        yield
        return
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    indexes = connection.exec_driver_sql(query).all()
    for index in indexes:
        connection.exec_driver_sql(f'DROP INDEX "{index.name}"')
    yield
    for index in indexes:
        connection.exec_driver_sql(index.sql)


@contextmanager
def _naming(table: str) -> Iterator[None]:
    """Say which table a row does not fit."""
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError, sqlite3.IntegrityError, sqlite3.DataError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise InputError(f"table {table}", "a row", f"this database cannot hold it: {reason}") from error


def _table(shape: TableShape, columns: tuple[str, ...]) -> str:
    """Return the table with the columns that are written."""
    names = ", ".join(f'"{name}"' for name in columns)
    return f'"{shape.name}" ({names})'

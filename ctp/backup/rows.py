"""Read a table as groups of rows that stay the same while their rows do.

A group is a range of the primary key. Where one integer is the key, every so many numbers are a group, whatever rows
are there; elsewhere a group ends at keys that hash so. Either way a new row changes its own group and no other.

Invariant: the same rows give the same groups, byte for byte, on SQLite and PostgreSQL.
"""

from __future__ import annotations

import threading
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import msgpack
import sqlalchemy as sa

from ctp.backup.shapes import TableShape

COLD_ROWS, HOT_ROWS = 512, 64
# Tables whose rows change after they were written, or that grow in many places at once (one for each account and
# symbol): smaller groups, so that less is stored anew.
HOT = frozenset(
    {
        "account_states",
        "commands",
        "contacts",
        "deliveries",
        "equity_samples",
        "heartbeats",
        "job_runs",
        "jobs",
        "leases",
        "live_candles",
        "login_failures",
        "notices",
        "orders",
        "sessions",
    }
)
_FETCH = 1024  # rows that stay in the processor's cache from reading to packing
_MIX = 0x9E3779B97F4A7C15  # golden ratio: spreads times that are multiples of a minute
_LONGEST = 4  # times the wished rows, where keys that hash so are rare

Row = tuple[Any, ...]
_packers = threading.local()  # one for each thread: making one costs more than packing a small group


class Group(NamedTuple):
    """Some rows of a table: its primary keys run from `first` to `last`, both packed."""

    place: bytes  # table, range and schema revision; authenticated with the content
    first: bytes
    last: bytes
    rows: int
    content: bytes


def place_of(table: str, revision: str, first: bytes, last: bytes) -> bytes:
    """Return what a group is, as it is authenticated."""
    return _pack((table, revision, first, last))


def read_groups(connection: sa.Connection, shape: TableShape, revision: str) -> Iterator[Group]:
    """Yield the groups of a table in the order of its primary key. The caller holds the reading transaction."""
    size = HOT_ROWS if shape.name in HOT else COLD_ROWS
    with closing(_Cursor(connection, shape)) as cursor:
        cut = _by_number(cursor.fetch, shape, size) if shape.counts else _by_hash(cursor.fetch, shape, size)
        for rows in cut:
            first, last = _key(shape, rows[0]), _key(shape, rows[-1])
            yield Group(place_of(shape.name, revision, first, last), first, last, len(rows), pack_rows(rows))


def pack_rows(rows: list[Row]) -> bytes:
    """Return rows as bytes; numbers, texts and bytes keep their type and every bit."""
    return _pack(rows)


def unpack_rows(content: bytes) -> list[Row]:
    """Return the rows of a group."""
    found = msgpack.unpackb(content, use_list=False)
    return list(found)


def _pack(value: object) -> bytes:
    """Return a value as MessagePack."""
    packer = getattr(_packers, "packer", None)
    if packer is None:
        packer = _packers.packer = msgpack.Packer()
    return bytes(packer.pack(value))


def _key(shape: TableShape, row: Row) -> bytes:
    """Return the primary key of a row, packed."""
    return _pack(tuple([row[position] for position in shape.key_positions]))


def _by_number(fetch: Callable[[], list[Row]], shape: TableShape, size: int) -> Iterator[list[Row]]:
    """Cut at every multiple of `size`."""
    position = shape.key_positions[0]
    waiting: list[Row] = []
    while chunk := fetch():
        waiting += chunk
        done = 0
        while True:
            boundary = (waiting[done][position] // size + 1) * size
            if waiting[-1][position] < boundary:
                break
            end = bisect_left(waiting, boundary, lo=done, key=lambda row: row[position])
            yield waiting[done:end]
            done = end
        del waiting[:done]
    if waiting:
        yield waiting


def _by_hash(fetch: Callable[[], list[Row]], shape: TableShape, size: int) -> Iterator[list[Row]]:
    """Cut after keys whose hash says so."""
    ends_of = _ends_by_hash(shape, size - 1)
    waiting: list[Row] = []
    longest = size * _LONGEST
    while chunk := fetch():
        start = 0
        for end in (*ends_of(chunk), None):
            while len(waiting) + (len(chunk) if end is None else end) - start > longest or (
                end is None and len(waiting) + len(chunk) - start == longest
            ):
                cut = start + longest - len(waiting)
                yield waiting + chunk[start:cut]
                waiting, start = [], cut
            if end is not None:
                yield waiting + chunk[start:end]
                waiting, start = [], end
        waiting += chunk[start:]
    if waiting:
        yield waiting


def _ends_by_hash(shape: TableShape, mask: int) -> Callable[[list[Row]], list[int]]:
    """Return what names the ends of groups among rows; cheap where the key ends with a number, mostly a time."""
    positions = shape.key_positions
    last = positions[-1]
    if shape.primary_key[-1] in shape.integers:
        return lambda rows: [end for end, row in enumerate(rows, 1) if not (row[last] * _MIX >> 32) & mask]
    return lambda rows: [
        end
        for end, row in enumerate(rows, 1)
        if not zlib.crc32("\0".join([str(row[position]) for position in positions]).encode()) & mask
    ]


class _Cursor:
    """The driver's own cursor: rows as the database has them, without conversions that cost time."""

    def __init__(self, connection: sa.Connection, shape: TableShape) -> None:
        """Ask for the table in the order of its primary key."""
        is_sqlite = connection.dialect.name == "sqlite"
        columns = ", ".join(_asked(name, shape, is_sqlite) for name in shape.columns)
        # Texts in the order of their bytes, on both: groups must not depend on a server's language.
        collation = "" if is_sqlite or shape.counts else ' COLLATE "C"'
        types = {} if is_sqlite else _text_keys(connection, shape)
        order = ", ".join(f'"{name}"{collation if types.get(name) else ""}' for name in shape.primary_key)
        raw = connection.connection.driver_connection
        assert raw is not None
        self._cursor: Any = raw.cursor() if is_sqlite else raw.cursor(name=f"backup_{shape.name}")
        if not is_sqlite:
            self._cursor.itersize = _FETCH
        self._cursor.execute(f'SELECT {columns} FROM "{shape.name}" ORDER BY {order}')  # noqa: S608

    def fetch(self) -> list[Row]:
        """Return the next rows; none at the end."""
        found: list[Row] = self._cursor.fetchmany(_FETCH)
        return found

    def close(self) -> None:
        """Let go of the cursor."""
        self._cursor.close()


def _asked(name: str, shape: TableShape, is_sqlite: bool) -> str:
    """Return how a column is asked for, so that both databases answer alike."""
    if is_sqlite:
        return f'"{name}"'
    if name in shape.booleans:
        return f'"{name}"::int'
    # SQLite knows no negative zero.
    return f'"{name}" + 0.0::float8' if name in shape.doubles else f'"{name}"'


def _text_keys(connection: sa.Connection, shape: TableShape) -> dict[str, bool]:
    """Tell which columns of a PostgreSQL table's primary key are texts."""
    columns = sa.inspect(connection).get_columns(shape.name)
    return {column["name"]: isinstance(column["type"], sa.String) for column in columns}

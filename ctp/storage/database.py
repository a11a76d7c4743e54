"""The database: one engine, transactions, and the check that program and schema belong together.

Invariants:
1. A transaction is kept whole or not at all, and survives a power cut once it is committed (SQLite: WAL,
   `synchronous=FULL`).
2. SQLite takes its write lock when a transaction begins (`BEGIN IMMEDIATE`): writers queue, none fails half way.
3. `reading()` cannot write, and sees one moment throughout.
4. No process works on a schema that is not its own (`check`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite

from ctp.errors import ConfigError, DataDamaged, StorageUnavailable
from ctp.storage import migrations

_READ = "ctp_read"


class Database:
    """An engine for one address. Safe to share between threads; make a new one after a fork."""

    def __init__(self, url: str, *, busy_timeout_s: float = 10.0) -> None:
        """Prepare the engine; nothing is opened yet.

        url: `sqlite:///file` or `postgresql://…`. busy_timeout_s: how long a writer queues before StorageUnavailable.
        """
        address = sa.make_url(url)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        self.is_sqlite = address.get_backend_name() == "sqlite"
        if not self.is_sqlite and address.get_backend_name() != "postgresql":
            raise ConfigError(f"database.url: {address.drivername} is not supported; use sqlite or postgresql")
        self.file = Path(address.database) if self.is_sqlite and address.database else None
        if self.is_sqlite and self.file is None:
            raise ConfigError("database.url: a database in memory would be forgotten; name a file")
        self.address = address.render_as_string(hide_password=True)
        self._open = threading.local()
        if self.is_sqlite:
            self.engine = sa.create_engine(address, connect_args={"timeout": busy_timeout_s}, pool_timeout=busy_timeout_s)
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            options = f"-c lock_timeout={int(busy_timeout_s * 1000)} -c timezone=UTC"
            self.engine = sa.create_engine(
                address, connect_args={"options": options}, pool_pre_ping=True, pool_timeout=busy_timeout_s
            )

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Open a write transaction: committed at the end of the block, rolled back by any exception.

        Raises StorageUnavailable when nothing can be written now, DataDamaged when the file is broken.
        """
        if getattr(self._open, "writing", False):
            raise RuntimeError("a transaction inside a transaction: pass the connection on instead")
        self._open.writing = True
        try:
            with self._translated(), self.engine.begin() as connection:
                yield connection
        finally:
            self._open.writing = False

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads and sees one moment."""
        with self._translated(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection = connection.execution_options(**{_READ: True})
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def migrate(self) -> None:
        """Bring the schema up to this program's, creating it if need be; does nothing when it is there.

        Any number of processes may call this at once: one does the work, the others wait for it. A migration that
        fails leaves the database as it was; an SQLite file with data is also copied beside itself first.
        """
        if self.file is not None:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._translated():
            revision = self.revision()
            if revision == migrations.head():
                return
            if revision is not None:
                self.check_not_newer(revision)
                self._copy(f"before-{migrations.head()}")
        with self.transaction() as connection:
            if not self.is_sqlite:  # SQLite's transaction has locked the file already
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7203402)"))
            migrations.upgrade(connection)
        if self.file is not None:
            self.file.chmod(0o600)

    def revision(self) -> str | None:
        """Return the schema's revision; None when there is no schema yet."""
        if self.file is not None and not self.file.exists():
            return None
        with self.reading() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
            return None if revision is None else str(revision)

    def check(self, *, thorough: bool = False, may_be_older: bool = False) -> None:
        """Refuse to work on a database that is damaged, or older or newer than this program.

        thorough: also compare every index with its table and every row with the rows it points to (SQLite).
        may_be_older: for who only copies it.
        Raises ConfigError saying what to run, or DataDamaged.
        """
        revision = self.revision()
        if revision is None:
            raise ConfigError(f"{self.address}: there is no database yet; run `ctp init` or `ctp db upgrade`")
        self.check_not_newer(revision)
        if revision != migrations.head() and not may_be_older:
            raise ConfigError(
                f"{self.address}: the database is older (schema {revision}) than this program"
                f" (schema {migrations.head()}); stop the services and run `ctp db upgrade`"
            )
        if self.is_sqlite:
            self._check_file(thorough)

    def check_not_newer(self, revision: str) -> None:
        """Refuse a schema this program does not know."""
        if revision not in migrations.known():
            raise ConfigError(
                f"{self.address}: the database is newer (schema {revision}) than this program"
                f" (schema {migrations.head()}); install the newer program, nothing was changed"
            )

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _check_file(self, thorough: bool) -> None:
        """Let SQLite read the whole file and report what is broken."""
        with self.reading() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check" if thorough else "PRAGMA quick_check").scalar()
            if found != "ok":
                raise self._damaged(str(found).splitlines()[0])
            if thorough:
                orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if orphan is not None:
                    raise self._damaged(f"table {orphan[0]} row {orphan[1]} points to a missing row of {orphan[2]}")

    def _copy(self, label: str) -> None:
        """Copy an SQLite file beside itself, for the case that what follows goes wrong."""
        if self.file is None:
            return
        target = self.file.with_name(f"{self.file.name}.{label}")
        source = sqlite3.connect(self.file)
        copy = sqlite3.connect(target)
        try:
            target.chmod(0o600)
            source.backup(copy)
        finally:
            copy.close()
            source.close()

    def _damaged(self, reason: str) -> DataDamaged:
        """Say which file is broken and how to get the data back."""
        remedy = "stop the services and restore the last backup: ctp restore latest"
        return DataDamaged(str(self.file or self.address), reason, remedy)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's errors into ours, where the caller can do something about them."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            reason = str(error.orig)
            if self.is_sqlite and any(word in reason for word in ("malformed", "not a database", "file is encrypted")):
                raise self._damaged(reason) from error
            if isinstance(error, sa.exc.OperationalError) and _cannot_write_now(error, reason):
                raise StorageUnavailable(
                    f"{self.address}: {reason.strip().splitlines()[0]}; nothing was written"
                ) from error
            raise
        except sa.exc.TimeoutError as error:
            raise StorageUnavailable(f"{self.address}: every connection is busy; nothing was written") from error


def insert_or(connection: sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`, for this database's dialect."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _cannot_write_now(error: sa.exc.DBAPIError, reason: str) -> bool:
    """Tell a full disk, a lock or a lost server from a mistake in a statement."""
    if isinstance(error.orig, sqlite3.Error):
        words = ("locked", "disk is full", "disk I/O error", "unable to open", "readonly", "busy")
        return any(word in reason for word in words)
    return True  # psycopg's OperationalError is by definition not the programmer's


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Set up a fresh SQLite connection; transactions are begun by `_begin_sqlite`, not by the driver."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    """Begin a transaction: a snapshot for readers, the write lock at once for writers."""
    reads = bool(connection.get_execution_options().get(_READ))
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if reads else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

"""Transactions, durability settings, the schema check and migrations, on every database we support."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ctp.errors import ConfigError, DataDamaged, StorageUnavailable
from ctp.storage import migrations
from ctp.storage.database import Database
from ctp.storage.tables import Exact, heartbeats, metadata


def put(connection: sa.Connection, process: str, at: int = 1) -> None:
    """Write one row of the simplest table."""
    connection.execute(sa.insert(heartbeats).values(process=process, at=at, details="{}"))


def processes(database: Database) -> list[str]:
    """Read the rows that `put` wrote."""
    with database.reading() as connection:
        return list(connection.scalars(sa.select(heartbeats.c.process).order_by(heartbeats.c.process)))


def test_a_transaction_is_kept_whole(database: Database) -> None:
    """Two rows of one transaction are both there afterwards."""
    with database.transaction() as connection:
        put(connection, "bot")
        put(connection, "web")
    assert processes(database) == ["bot", "web"]


def test_an_exception_leaves_nothing_of_the_transaction(database: Database) -> None:
    """A failure after the first write takes that write back."""
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        put(connection, "bot")
        _ = 1 / 0
    assert processes(database) == []


def test_reading_refuses_to_write(database: Database) -> None:
    """The connection that read is not left unable to write."""
    with pytest.raises((sa.exc.DBAPIError, StorageUnavailable)), database.reading() as connection:
        put(connection, "bot")
    with database.transaction() as connection:  # and the connection is writable again afterwards
        put(connection, "web")
    assert processes(database) == ["web"]


def test_a_reader_sees_one_moment_while_others_write(database: Database) -> None:
    """A write committed in between stays invisible until the reader ends."""
    with database.reading() as reader:
        assert reader.scalar(sa.select(sa.func.count()).select_from(heartbeats)) == 0
        with database.transaction() as writer:
            put(writer, "bot")
        assert reader.scalar(sa.select(sa.func.count()).select_from(heartbeats)) == 0
    assert processes(database) == ["bot"]


def test_a_transaction_inside_a_transaction_is_a_programming_error(database: Database) -> None:
    """It would deadlock on SQLite and be two transactions on PostgreSQL."""
    with pytest.raises(RuntimeError, match="pass the connection"), database.transaction(), database.transaction():
        pass


def test_four_writers_lose_no_write(database: Database) -> None:
    """Threads that read and then write queue for the lock."""
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            for i in range(15):
                with database.transaction() as connection:
                    # Read, then write: with a deferred BEGIN this is what fails with "locked".
                    connection.execute(sa.select(sa.func.count()).select_from(heartbeats))
                    put(connection, f"{writer}-{i:02d}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(processes(database)) == 60


def test_a_lock_that_outlasts_the_wait_says_that_nothing_was_written(tmp_path: Path, sqlite_template: Path) -> None:
    """Another program holds the lock; once it lets go, writing works."""
    file = tmp_path / "ctp.db"
    file.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{file}", busy_timeout_s=0.05)
    blocker = sqlite3.connect(file, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match=r"locked.*nothing was written"), database.transaction() as connection:
        put(connection, "bot")
    blocker.execute("ROLLBACK")
    blocker.close()
    with database.transaction() as connection:
        put(connection, "bot")
    database.close()


def test_a_full_disk_says_that_nothing_was_written_and_reading_goes_on(tmp_path: Path, sqlite_template: Path) -> None:
    """A limit on the file's pages stands in for the full disk."""
    file = tmp_path / "ctp.db"
    file.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{file}")
    pages = sqlite3.connect(file).execute("PRAGMA page_count").fetchone()[0]
    with database.engine.connect() as connection:  # the pool hands this one connection out again
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageUnavailable, match="full"), database.transaction() as connection:
        for i in range(200):
            connection.execute(sa.insert(heartbeats).values(process=f"p{i}", at=i, details="x" * 4000))
    assert processes(database) == []
    database.close()


def test_sqlite_is_set_up_to_survive_a_power_cut(tmp_path: Path) -> None:
    """The settings are those of the design, read back from a live connection."""
    database = Database(f"sqlite:///{tmp_path / 'ctp.db'}")
    with database.transaction() as connection:
        asked = ("journal_mode", "synchronous", "foreign_keys")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
    assert found == ["wal", 2, 1]
    database.close()


def test_a_row_may_not_point_nowhere(database: Database) -> None:
    """Foreign keys are enforced on both databases."""
    with pytest.raises(sa.exc.IntegrityError), database.transaction() as connection:
        connection.execute(metadata.tables["equity_samples"].insert().values(account_id=7, time=1, equity=1, balance=1))


@pytest.mark.parametrize("text", ["0", "0.1", "-3.000", "123456789012345678901234567890.123456789", "0.00000001"])
def test_exact_decimals_lose_no_digit(database: Database, text: str) -> None:
    """The text that went in comes out."""
    with database.reading() as connection:
        back = connection.scalar(sa.select(sa.literal(Decimal(text), Exact)))
    assert format(back, "f") == text


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -123456.789])
def test_doubles_come_back_to_the_bit(database: Database, value: float) -> None:
    """Ordinary, subnormal and largest doubles."""
    candles = metadata.tables["live_candles"]
    with database.transaction() as connection:
        row = dict.fromkeys(("open", "high", "low", "close", "volume"), value)
        key = {"exchange": "binance", "market": "paper", "symbol": "BTC/USDT", "timeframe": "1h", "time": 0}
        connection.execute(sa.insert(candles).values(**key, **row, closed=True))
    with database.reading() as connection:
        assert connection.scalar(sa.select(candles.c.close)).hex() == value.hex()


def test_the_migrations_lead_to_the_tables(empty_url: str) -> None:
    """Alembic finds no difference between the tables and the sum of all steps."""
    database = Database(empty_url)
    database.migrate()
    database.check(thorough=True)
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    database.close()


def _migrate(url: str) -> None:
    """Migrate in a process of its own."""
    database = Database(url)
    database.migrate()
    database.check()
    database.close()


def test_processes_that_start_together_migrate_once(empty_url: str) -> None:
    """Three processes find no database at the same instant."""
    context = multiprocessing.get_context("spawn")
    starting = [context.Process(target=_migrate, args=(empty_url,)) for _ in range(3)]
    for process in starting:
        process.start()
    for process in starting:
        process.join()
    assert [process.exitcode for process in starting] == [0, 0, 0]


def test_no_database_says_what_to_run(empty_url: str) -> None:
    """Neither a missing file nor an empty server is a database."""
    with pytest.raises(ConfigError, match=r"ctp db upgrade"):
        Database(empty_url).check()


def test_an_older_database_says_what_to_run(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is part of the message."""
    monkeypatch.setattr(migrations, "head", lambda: "9999")
    with pytest.raises(ConfigError, match=r"older .*stop the services and run `ctp db upgrade`"):
        database.check()


def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    """Neither the check nor a migration touches it."""
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '4711'"))
    for refuse in (database.check, database.migrate):
        with pytest.raises(ConfigError, match=r"newer .*4711"):
            refuse()
    assert database.revision() == "4711"


def test_a_failed_migration_leaves_the_database_as_it_was(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure comes after the last statement of the migration."""
    database = Database(empty_url)
    whole = migrations.upgrade

    def fail_late(connection: sa.Connection) -> None:
        whole(connection)
        raise OSError("killed here")

    monkeypatch.setattr(migrations, "upgrade", fail_late)
    with pytest.raises(OSError, match="killed"):
        database.migrate()
    assert database.revision() is None
    monkeypatch.setattr(migrations, "upgrade", whole)
    database.migrate()
    database.check()
    database.close()


def test_an_sqlite_file_with_data_is_copied_before_it_is_migrated(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has the rows and is private."""
    file = tmp_path / "ctp.db"
    file.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{file}")
    with database.transaction() as connection:
        put(connection, "bot")
    monkeypatch.setattr(migrations, "head", lambda: "9999")
    monkeypatch.setattr(migrations, "upgrade", lambda connection: None)
    database.migrate()
    copy = tmp_path / "ctp.db.before-9999"
    assert processes(Database(f"sqlite:///{copy}")) == ["bot"]
    assert copy.stat().st_mode & 0o077 == 0
    database.close()


def test_a_flipped_byte_is_found_at_the_start(tmp_path: Path, sqlite_template: Path) -> None:
    """Damage in the file's header and in pages of several tables."""
    content = bytearray(sqlite_template.read_bytes())
    found = 0
    for position in (0, 100, 4096, 4096 * 3, 4096 * 7 + 1):  # headers of the file and of pages
        broken = bytearray(content)
        broken[position] ^= 0xFF
        file = tmp_path / f"broken{position}.db"
        file.write_bytes(broken)
        database = Database(f"sqlite:///{file}")
        try:
            database.check()
        except DataDamaged as error:
            found += 1
            assert str(file) in str(error) and "restore" in str(error)
        finally:
            database.close()
    assert found == 5


def test_an_unknown_kind_of_database_is_refused_with_what_is_supported() -> None:
    """The message names what would work."""
    with pytest.raises(ConfigError, match="sqlite or postgresql"):
        Database("mysql://root@localhost/x")


def test_the_address_that_is_shown_hides_the_password() -> None:
    """Addresses go into messages and logs."""
    assert "hunter2" not in Database("postgresql://u:hunter2@localhost/x").address

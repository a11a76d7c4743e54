"""The `database` fixture: each test its own, on SQLite always and on a throw-away PostgreSQL server with `--postgres`."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.storage import migrations
from ctp.storage.database import Database
from ctp.storage.tables import metadata

BACKENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file with every table, to be copied; migrating anew for each test would be slow."""
    file = tmp_path_factory.mktemp("template") / "ctp.db"
    database = Database(f"sqlite:///{file}")
    database.migrate()
    database.close()  # the last connection folds the write-ahead log into the file
    return file


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Run one PostgreSQL server for the whole session; returns its address with `{name}` for the database."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.fail("--postgres: no PostgreSQL server programs in /usr/lib/postgresql/*/bin; install the package")
    with throwaway_server(binaries) as address:
        tables = Database(new_postgres(address, "tables"))
        tables.migrate()
        tables.close()
        yield address


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Return the address of a PostgreSQL database with every table and no rows."""
    return _emptied(postgres_server.format(name="tables"))


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a database with every table and no rows."""
    if request.param == "sqlite":
        file = tmp_path / "ctp.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), file)
        return f"sqlite:///{file}"
    return _emptied(request.getfixturevalue("postgres_server").format(name="tables"))


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return new_postgres(request.getfixturevalue("postgres_server"), f"empty{next(_numbers)}")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Return a database with every table and no rows."""
    made = Database(database_url)
    yield made
    made.close()


def new_postgres(address: str, name: str) -> str:
    """Create a database on the server and return its address."""
    with _administrator(address.format(name="postgres")) as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
    return address.format(name=name)


def _emptied(address: str) -> str:
    """Take every row out of a database; creating one for each test would take a second each."""
    with _administrator(address) as connection:
        connection.execute(sa.text("SET lock_timeout = '5s'"))  # a test before this one forgot to close its database
        everything = ", ".join(f'"{name}"' for name in metadata.tables)
        connection.execute(sa.text(f"TRUNCATE {everything} RESTART IDENTITY"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :head"), {"head": migrations.head()})
    return address


@contextmanager
def _administrator(address: str) -> Iterator[sa.Connection]:
    """Connect outside any transaction."""
    url = address.replace("postgresql:", "postgresql+psycopg:")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def postgres_binaries() -> Path | None:
    """Return the newest installed server's folder of programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def throwaway_server(binaries: Path) -> Iterator[str]:
    """Run a server on a unix socket in a temporary folder; yields the address of a database for `{name}`.

    PostgreSQL refuses to run as root, so there it runs as `postgres` or `nobody`.
    """
    # Short, because a socket's path may have 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="ctp-pg-", dir="/tmp"))
    as_user: dict[str, object] = {}
    if os.getuid() == 0:
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = names.get("postgres") or names["nobody"]
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    quiet = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, **as_user}
    try:
        subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-U", "ctp", "-E", "UTF8", "--no-sync", "--auth=trust"],
            check=True,
            **quiet,
        )
        server = subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
            stderr=subprocess.DEVNULL,
            **quiet,
        )
        try:
            ready = [binaries / "pg_isready", "-h", folder, "-U", "ctp", "-t", "1"]
            for _ in range(100):
                if subprocess.run(ready, **quiet).returncode == 0:
                    break
                try:
                    server.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
                raise RuntimeError("the throw-away PostgreSQL server ended while starting")
            yield f"postgresql://ctp@/{{name}}?host={folder}"
        finally:
            server.terminate()
            server.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

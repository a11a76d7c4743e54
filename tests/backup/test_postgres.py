"""The same archive on SQLite and PostgreSQL, and moving between them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.backup.move import move_database
from ctp.backup.restore import restore_home
from ctp.backup.target import LocalTarget
from ctp.backup.upgrade import upgrade_database
from ctp.config import DatabaseSettings, Settings
from ctp.errors import InputError, NotAllowed, StorageUnavailable
from ctp.storage import migrations
from ctp.storage.database import Database
from ctp.storage.leases import acquire_lease
from ctp.storage.tables import ledger, notices, users
from tests.backup.killing import kill_at_every_point
from tests.backup.made import HOUR, NOW, addresses, append, back_up, content_of, filled_home, opened
from tests.databases import new_postgres

_numbers = itertools.count(1)
NewPlace = Callable[[], str]


@pytest.fixture
def new_place(request: pytest.FixtureRequest) -> NewPlace:
    """Return what makes an empty PostgreSQL database and gives its address."""
    server = request.getfixturevalue("postgres_server")
    return lambda: new_postgres(server, f"backup{next(_numbers)}")


def at(settings: Settings, url: str) -> Settings:
    """Return the same home with its database elsewhere."""
    return settings.model_copy(update={"database": DatabaseSettings(url=url)})


@pytest.mark.postgres
def test_an_archive_goes_to_postgresql_and_back_and_is_identical(
    tmp_path: Path, sqlite_template: Path, new_place: NewPlace
) -> None:
    """SQLite, archive, PostgreSQL, archive, SQLite: every group has the same address."""
    here = filled_home(tmp_path / "home", sqlite_template, rows=700)
    first = back_up(here)
    there = at(here, new_place())
    restore_home(there, LocalTarget(here.backups), first.id, NOW + HOUR, override="random words")
    second = back_up(there, "full", NOW + 2 * HOUR)
    with opened(there) as database:
        append(database, 0.01)
    third = back_up(there, "incremental", NOW + 3 * HOUR)
    assert third.full_id == second.id and third.own_bytes < second.own_bytes / 10
    again = at(here, f"sqlite:///{tmp_path / 'again.db'}")
    restore_home(again, LocalTarget(here.backups), second.id, NOW + HOUR, override="random words")
    fourth = back_up(again, "full", NOW + 5 * HOUR)
    settled = {"account_states", "audit_log", "commands", "sessions", "kernels", "confirmations", "heartbeats", "leases"}
    settled |= {"deliveries", "job_runs"}
    before, on_server, after = (addresses(here, made.id) for made in (first, second, fourth))
    assert {t: a for t, a in before.items() if t not in settled} == {t: a for t, a in on_server.items() if t not in settled}
    assert {t: a for t, a in on_server.items() if t != "audit_log" and t not in settled} == {
        t: a for t, a in after.items() if t != "audit_log" and t not in settled
    }
    assert len(before["ledger"]) > 1


@pytest.mark.postgres
def test_moving_there_and_back_changes_no_row(tmp_path: Path, sqlite_template: Path, new_place: NewPlace) -> None:
    """The old file is put aside, and numbers go on after the last."""
    here = filled_home(tmp_path / "home", sqlite_template, rows=700)
    url = new_place()
    with opened(here) as database:
        before = content_of(database)
        moved = move_database(database, url, NOW)
    assert moved.rows["ledger"] == 700 and not (here.home / "ctp.db").exists() and Path(moved.old).exists()
    with opened(at(here, url)) as server:
        assert content_of(server) == before
        with server.transaction() as connection:
            made = connection.execute(
                sa.insert(users).values(name="new", password_hash="x", role="viewer", created_at=0)
            ).inserted_primary_key[0]
            assert made == 6
            connection.execute(sa.delete(users).where(users.c.id == made))
        move_database(server, here.database_url, NOW)
    with opened(here) as database:
        assert content_of(database) == before


@pytest.mark.postgres
def test_moving_is_refused_while_somebody_works_or_into_a_place_with_tables(
    tmp_path: Path, sqlite_template: Path, new_place: NewPlace
) -> None:
    """Or where a row does not fit: then the new place stays empty and the old one stays."""
    here = filled_home(tmp_path / "home", sqlite_template, rows=5)
    url = new_place()
    with opened(here) as database:
        with database.transaction() as connection:
            acquire_lease(connection, "bot", "elsewhere:1:1", NOW, 8000)
        with pytest.raises(NotAllowed, match="in use"):
            move_database(database, url, NOW + 1)
        with pytest.raises(InputError, match="already"):
            move_database(database, here.database_url, NOW + HOUR)
        with database.transaction() as connection:
            connection.execute(sa.update(notices).where(notices.c.id == 1).values(kind="k" * 300))
        with pytest.raises(InputError, match=r"table notices.*cannot hold"):
            move_database(database, url, NOW + HOUR)
        empty = Database(url)
        assert empty.revision() is None
        empty.migrate()
        empty.close()
        with pytest.raises(NotAllowed, match="not empty"):
            move_database(database, url, NOW + HOUR)
    assert (here.home / "ctp.db").exists()


@pytest.mark.postgres
def test_a_restore_on_postgresql_keeps_what_was_there_as_a_backup(
    tmp_path: Path, sqlite_template: Path, new_place: NewPlace
) -> None:
    """And refuses like on SQLite; a damaged archive rolls everything back."""
    here = filled_home(tmp_path / "home", sqlite_template, rows=30)
    there = at(here, new_place())
    target = LocalTarget(here.backups)
    restore_home(there, target, back_up(here).id, NOW + HOUR, override="random words")
    old = back_up(there, "full", NOW + 2 * HOUR)
    with opened(there) as database:
        append(database, 0.5)
        before = content_of(database)
    done = restore_home(there, target, old.id, NOW + 3 * HOUR, override="random words")
    assert done.safety != old.id
    restore_home(there, target, done.safety, NOW + 4 * HOUR, override="random words")
    with opened(there) as database:
        assert content_of(database)["ledger"] == before["ledger"]


@pytest.mark.postgres
def test_a_move_killed_at_any_step_leaves_the_old_database_and_nothing_half_made(
    tmp_path: Path, sqlite_template: Path, new_place: NewPlace
) -> None:
    """Until the old file is put aside at the very end; then the new place is complete."""
    here = filled_home(tmp_path / "home", sqlite_template, rows=5)
    with opened(here) as database:
        before = content_of(database)
    saved = (here.home / "ctp.db").read_bytes()
    url = ""

    def reset() -> None:
        nonlocal url
        if not url or Database(url).revision() is not None:
            url = new_place()
        (here.home / "ctp.db").write_bytes(saved)

    def work(checkpoint):  # type: ignore[no-untyped-def]
        with opened(here) as database:
            move_database(database, url, NOW, checkpoint=checkpoint)

    for point in kill_at_every_point(work, reset=reset):
        there = Database(url)
        if point in ("there", "put aside"):
            assert content_of(there) == before, point
        else:
            assert there.revision() is None, point
        there.close()
        if point != "put aside":
            with opened(here) as database:
                assert content_of(database) == before, point


@pytest.mark.postgres
def test_a_restore_on_postgresql_killed_at_any_step_leaves_the_old_rows_or_the_new_ones(
    tmp_path: Path, sqlite_template: Path, new_place: NewPlace
) -> None:
    """The change is one commit: only after it the new rows are seen."""
    here = filled_home(tmp_path / "home", sqlite_template, rows=3)
    there = at(here, new_place())
    target = LocalTarget(here.backups)
    made = back_up(here)
    restore_home(there, target, made.id, NOW, override="random words")
    with opened(there) as database:
        append(database, 1.0)
        before = content_of(database)["ledger"]
    passed = []

    def work(checkpoint):  # type: ignore[no-untyped-def]
        few = lambda name: checkpoint(name) if not name.startswith("filled") or name == "filled ledger" else None  # noqa: E731
        restore_home(there, target, made.id, NOW + HOUR, override="random words", checkpoint=few)

    for point in kill_at_every_point(work, reset=lambda: None):
        passed.append(point)
        with opened(there) as database:
            assert (content_of(database)["ledger"] == before) == (point != "swapped"), point
    assert passed[-2:] == ["settled", "swapped"]


def test_from_file_to_file_works_like_to_a_server(tmp_path: Path, sqlite_template: Path) -> None:
    """The same way without a server; a file that exists is not written over."""
    here = filled_home(tmp_path / "home", sqlite_template, rows=100)
    url = f"sqlite:///{tmp_path / 'elsewhere' / 'ctp.db'}"
    with opened(here) as database:
        before = content_of(database)
        move_database(database, url, NOW)
        there = Database(url)
        assert content_of(there) == before
        with there.reading() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(ledger)).scalar() == 100
        with pytest.raises(NotAllowed, match="exists"):
            move_database(there, f"sqlite:///{here.home / f'ctp.db.moved-{NOW}'}", NOW)
        there.close()


@pytest.mark.postgres
def test_an_older_database_on_a_server_becomes_a_backup_before_it_is_migrated(tmp_path: Path, new_place: NewPlace) -> None:
    """The backup holds the old schema with its rows, and an empty database of that schema can be made of it again."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    settings = Settings(home=home, database=DatabaseSettings(url=new_place()))
    _older_database(settings, "0003")
    database = Database(settings.database_url)
    try:
        done = upgrade_database(settings, database, NOW)
        assert (done.before, done.after, database.revision()) == ("0003", migrations.head(), migrations.head())
        with database.reading() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(users)) == 1
        assert upgrade_database(settings, database, NOW + 1).backup == "", "nothing to do, nothing to copy"
    finally:
        database.close()
    back = at(settings, new_place())
    restore_home(back, LocalTarget(settings.backups), done.backup, NOW + HOUR, override="random words")
    again = Database(back.database_url)
    try:
        with again.reading() as connection:
            assert connection.scalars(sa.select(users.c.name)).all() == ["minsu"]
    finally:
        again.close()


@pytest.mark.postgres
def test_without_a_backup_a_server_is_not_migrated(
    tmp_path: Path, new_place: NewPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that cannot be made stops the upgrade with nothing changed; who has a copy may go on without."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    settings = Settings(home=home, database=DatabaseSettings(url=new_place()))
    _older_database(settings, "0003")

    def full(*_: object, **__: object) -> None:
        raise StorageUnavailable("no room")

    database = Database(settings.database_url)
    try:
        with monkeypatch.context() as broken:
            broken.setattr("ctp.backup.upgrade.make_backup", full)
            with pytest.raises(StorageUnavailable):
                upgrade_database(settings, database, NOW)
            assert database.revision() == "0003"
            assert upgrade_database(settings, database, NOW, with_backup=False).backup == ""
        assert database.revision() == migrations.head()
    finally:
        database.close()


def test_a_file_is_copied_beside_itself_and_needs_no_backup(tmp_path: Path) -> None:
    """SQLite keeps its own way; an empty database is simply made."""
    settings = Settings(home=tmp_path)
    _older_database(settings, "0003")
    database = Database(settings.database_url)
    try:
        done = upgrade_database(settings, database, NOW)
        assert (done.before, done.backup) == ("0003", "")
        assert (tmp_path / f"ctp.db.before-{migrations.head()}").is_file()
    finally:
        database.close()
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.db'}")
    try:
        assert upgrade_database(settings, fresh, NOW).before is None
    finally:
        fresh.close()


def _older_database(settings: Settings, revision: str) -> None:
    """Make a database of an older schema with one person."""
    database = Database(settings.database_url)
    try:
        with database.transaction() as connection:
            migrations.upgrade(connection, revision)
            person = {"name": "minsu", "password_hash": "x", "role": "trader", "language": "ko", "zone": "UTC", "theme": "dark"}
            looks = {"rise_colour": "red", "must_change_password": False, "report_at": 480, "created_at": 0}
            connection.execute(sa.insert(users).values(**person, **looks, weekly_report=True, monthly_report=True))
    finally:
        database.close()

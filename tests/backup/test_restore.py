"""Restoring a home: into an empty place, over a living one, and when it must be refused."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.rights import machine
from ctp.backup.comparing import compare_with_live
from ctp.backup.keys import BackupKeys
from ctp.backup.restore import restore_home, settings_for
from ctp.backup.target import LocalTarget
from ctp.errors import BackupDamaged, ConfigError, NotAllowed
from ctp.storage.database import Database
from ctp.storage.leases import acquire_lease, beat
from ctp.storage.tables import (
    account_states,
    accounts,
    audit_log,
    commands,
    deliveries,
    ledger,
    parameter_versions,
    sessions,
    users,
)
from tests.backup.made import HOUR, NOW, append, back_up, content_of, filled_home, home_at, opened

UNCHANGED = ("ledger", "orders", "trades", "decisions", "users", "accounts", "parameter_versions", "equity_samples")


@pytest.fixture
def lived(tmp_path: Path, sqlite_template: Path) -> Path:
    """Return the folder of a home with two accounts that trade."""
    settings = home_at(tmp_path / "home")
    (settings.home / "ctp.db").write_bytes(sqlite_template.read_bytes())
    database = Database(settings.database_url)
    with database.transaction() as connection:
        connection.execute(sa.insert(users).values(id=1, name="minsu", password_hash="x", role="trader", created_at=0))
        for number, mode, status in ((1, "paper", "running"), (2, "live", "stopped"), (3, "paper", "paused")):
            connection.execute(
                sa.insert(accounts).values(
                    id=number,
                    user_id=1,
                    name=f"account {number}",
                    exchange="binanceusdm",
                    mode=mode,
                    symbols='["BTC/USDT:USDT"]',
                    timeframe="1h",
                    quote="USDT",
                    created_at=0,
                )
            )
            connection.execute(
                sa.insert(account_states).values(account_id=number, status=status, core_state="{}", updated_at=0)
            )
        connection.execute(sa.insert(commands).values(id=1, account_id=1, kind="start", door="web", asked_at=1))
        connection.execute(
            sa.insert(sessions).values(id="s", user_id=1, refresh_hash="h", created_at=0, seen_at=0, expires_at=NOW * 2)
        )
        put_parameters(connection, 1, 1)
    database.close()
    return settings.home


def put_parameters(connection: sa.Connection, account_id: int, version: int, risk: float = 0.01, **audit: object) -> None:
    """Write a parameter version, with the audit row that goes with it."""
    connection.execute(
        sa.insert(parameter_versions).values(
            account_id=account_id,
            version=version,
            override=str(audit.get("override", "")),
            strategy="rsi_mean_reversion",
            strategy_parameters="{}",
            risk_parameters=json.dumps({"risk_per_trade": risk}),
            reason="test",
            created_at=0,
        )
    )
    record(connection, machine("cli"), "parameters.append", f"account:{account_id}", 0, version=version, **audit)


def test_a_lost_server_comes_back_on_an_empty_folder(tmp_path: Path, sqlite_template: Path) -> None:
    """Only the archives and the key file were saved elsewhere."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=300)
    with opened(settings) as database:
        before = content_of(database)
    made = back_up(settings)
    bare = home_at_empty(tmp_path / "bare", settings.keys)
    done = restore_home(bare, LocalTarget(settings.backups), made.id, NOW + HOUR, override="random words")
    with opened(bare) as database:
        after = content_of(database)
        database.check(thorough=True)
    assert {table: after[table] for table in UNCHANGED} == {table: before[table] for table in UNCHANGED}
    for path in ("candles/binance/BTC_USDT/1h/2026-01.parquet", "reports/5/2026-01-02.html", "ctp.toml"):
        assert (bare.home / path).read_bytes() == (settings.home / path).read_bytes()
    assert done.files == 5 and done.files_lost == () and done.safety == ""
    assert (bare.home / "ctp.db").stat().st_mode & 0o077 == 0


def home_at_empty(folder: Path, keys: Path):  # type: ignore[no-untyped-def]
    """Return the settings of an empty home that has the backup keys."""
    settings = home_at(folder)
    for name in ("candles", "reports", "archive"):
        for file in sorted((folder / name).rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
    (folder / "ctp.toml").unlink()
    (settings.keys / "backup.keys").write_bytes((keys / "backup.keys").read_bytes())
    (settings.keys / "backup.keys").chmod(0o600)
    return settings


def test_a_living_home_goes_back_paused_with_everything_forgotten_that_must_not_come_alive(lived: Path) -> None:
    """Accounts, commands, sessions, leases, unsent messages; what was there before is kept."""
    settings = home_at(lived)
    made = back_up(settings)
    database = Database(settings.database_url)
    with database.transaction() as connection:
        connection.execute(sa.insert(users).values(id=9, name="late", password_hash="x", role="viewer", created_at=0))
    database.close()
    (settings.home / "ctp.toml").write_text("[web]\nport = 8700\n")
    done = restore_home(settings, LocalTarget(settings.backups), made.id, NOW + HOUR)
    with database.reading() as connection:
        states = connection.execute(sa.select(account_states).order_by(account_states.c.account_id)).all()
        assert [(row.status, row.status_reason) for row in states] == [
            ("paused", "restored"),
            ("stopped", "restored"),
            ("paused", "restored"),
        ]
        command = connection.execute(sa.select(commands)).one()
        assert command.done_at == NOW + HOUR and "restored" in command.result
        assert connection.execute(sa.select(sessions.c.revoked_reason)).scalar() == "restored"
        assert connection.scalars(sa.select(users.c.name)).all() == ["minsu"]
        assert connection.scalars(sa.select(audit_log.c.action)).all()[-1] == "backup.restore"
        assert connection.execute(sa.select(deliveries).where(deliveries.c.status == "waiting")).all() == []
    assert (settings.home / "ctp.toml").read_text() == "[web]\nport = 8700\n"
    database.close()
    kept = Database(f"sqlite:///{Path(done.safety) / 'ctp.db'}")
    with kept.reading() as connection:
        assert connection.scalars(sa.select(users.c.name).order_by(users.c.id)).all() == ["minsu", "late"]
    assert not (settings.home / "restoring").exists()


def test_it_is_refused_while_the_bot_holds_its_lease_or_any_service_lives(lived: Path) -> None:
    """Nothing changes, and the message says what to do."""
    settings = home_at(lived)
    made = back_up(settings)
    database = Database(settings.database_url)
    before = content_of(database)
    for claim in (
        lambda c: acquire_lease(c, "bot", "host:1:1", NOW, 8000),
        lambda c: beat(c, "web", NOW),
    ):
        with database.transaction() as connection:
            claim(connection)
        with pytest.raises(NotAllowed, match=r"in use.*\./run down"):
            restore_home(settings, LocalTarget(settings.backups), made.id, NOW + 1)
        with database.transaction() as connection:
            connection.execute(sa.text("DELETE FROM leases"))
            connection.execute(sa.text("DELETE FROM heartbeats"))
    assert content_of(database) == before


def test_it_is_refused_while_somebody_has_the_file_open(lived: Path) -> None:
    """A reader without lease or heartbeat counts as well."""
    settings = home_at(lived)
    made = back_up(settings)
    other = sqlite3.connect(settings.home / "ctp.db")
    other.execute("BEGIN")
    other.execute("SELECT * FROM users").fetchall()
    with pytest.raises(NotAllowed, match="open in another process"):
        restore_home(settings, LocalTarget(settings.backups), made.id, NOW + HOUR)
    other.close()
    restore_home(settings, LocalTarget(settings.backups), made.id, NOW + HOUR)


def test_parameters_past_todays_ceilings_come_back_named_and_not_tradeable(lived: Path) -> None:
    """They were stored by a program that allowed more."""
    settings = home_at(lived)
    with opened(settings) as database, database.transaction() as connection:
        put_parameters(connection, 1, 2, risk=0.05)
    made = back_up(settings)
    done = restore_home(settings, LocalTarget(settings.backups), made.id, NOW + HOUR)
    assert "risk_per_trade" in done.accounts[0].problem
    with opened(settings) as database, database.reading() as connection:
        reason = connection.scalar(sa.select(account_states.c.status_reason).where(account_states.c.account_id == 1))
        assert reason is not None and reason.startswith("restored: ") and "risk_per_trade" in reason


def test_a_live_account_does_not_go_back_to_other_parameters_without_grounds(lived: Path) -> None:
    """On the living server a new override is needed; on a bare one the override of then counts."""
    settings = home_at(lived)
    target, database = LocalTarget(settings.backups), Database(settings.database_url)
    with database.transaction() as connection:
        put_parameters(connection, 2, 1, override="tested for a month")
    old = back_up(settings)
    with database.transaction() as connection:
        put_parameters(connection, 2, 2, risk=0.005, override="less risk")
    new = back_up(settings, "full", NOW + HOUR)
    database.close()
    before = content_of(database)
    database.close()
    with pytest.raises(NotAllowed, match=r"account 2.*version 1.*--override"):
        restore_home(settings, target, old.id, NOW + 2 * HOUR)
    assert content_of(database) == before
    database.close()
    restore_home(settings, target, new.id, NOW + 2 * HOUR)
    restore_home(settings, target, old.id, NOW + 3 * HOUR, override="going back on purpose")
    with database.reading() as connection:
        details = connection.scalars(sa.select(audit_log.c.details).where(audit_log.c.action == "backup.restore")).all()
        assert "going back on purpose" in details[-1]
    bare = home_at_empty(settings.home.parent / "bare", settings.keys)
    assert restore_home(bare, target, old.id, NOW + HOUR).accounts[1].parameter_version == 1


def test_a_damaged_database_is_replaced_and_kept_aside(lived: Path) -> None:
    """Byte flips, half a file, an empty file: each is what a restore is for."""
    settings = home_at(lived)
    made = back_up(settings)
    file = settings.home / "ctp.db"
    for broken in (b"\0" * 5000, b"SQLite format 3\0", file.read_bytes()[: file.stat().st_size // 2]):
        file.write_bytes(broken)
        done = restore_home(settings, LocalTarget(settings.backups), made.id, NOW + HOUR)
        assert (Path(done.safety) / "ctp.db").read_bytes() == broken
        with opened(settings) as database:
            database.check(thorough=True)


def test_a_damaged_archive_changes_nothing(lived: Path) -> None:
    """The damage is found while the new database is built."""
    settings = home_at(lived)
    made = back_up(settings)
    pack = settings.backups / f"{made.id}.pack"
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
    before = (settings.home / "ctp.db").read_bytes()
    with pytest.raises(BackupDamaged, match=made.id):
        restore_home(settings, LocalTarget(settings.backups), made.id, NOW + HOUR)
    assert (settings.home / "ctp.db").read_bytes() == before


def test_a_damaged_candle_file_is_named_and_the_rest_comes_back(tmp_path: Path, sqlite_template: Path) -> None:
    """Candles can be downloaded again; the ledger cannot."""
    settings = home_at(tmp_path / "home")
    (settings.home / "ctp.db").write_bytes(sqlite_template.read_bytes())
    made = back_up(settings)
    victim = next(file for file in made.files if file.path.endswith("2026-01.parquet"))
    stored = settings.backups / "objects" / victim.address.hex()
    stored.write_bytes(stored.read_bytes()[:-1])
    bare = home_at_empty(tmp_path / "bare", settings.keys)
    done = restore_home(bare, LocalTarget(settings.backups), made.id, NOW + HOUR)
    assert done.files_lost == (victim.path,) and done.files == 4


def test_a_dry_run_says_what_would_change_and_changes_nothing(lived: Path) -> None:
    """Tables with rows then and now, accounts, files; and why it would be refused."""
    settings = home_at(lived)
    made = back_up(settings)
    database = Database(settings.database_url)
    append(database, 0.0)
    with database.transaction() as connection:
        beat(connection, "bot", 2**60)
    before = content_of(database)
    found = compare_with_live(settings, settings, LocalTarget(settings.backups), made.id)
    assert {one.table: (one.now, one.then) for one in found.tables if one.groups_changed} == {
        "ledger": (1, 0),
        "heartbeats": (1, 0),
    }
    assert [account.name for account in found.accounts] == ["account 1", "account 2", "account 3"]
    assert "in use" in found.refusal and found.files == ()
    assert content_of(database) == before


def test_settings_without_history_do_not_replace_a_database(lived: Path) -> None:
    """They restore into a new folder; a living one is told what to use instead."""
    settings = home_at(lived)
    made = back_up(settings, "config")
    assert {table.name for table in made.tables}.isdisjoint({"ledger", "orders", "sessions"})
    with pytest.raises(NotAllowed, match="config rollback"):
        restore_home(settings, LocalTarget(settings.backups), made.id, NOW + HOUR)
    new = settings_for(settings, settings.home.parent / "new")
    done = restore_home(new, LocalTarget(settings.backups), made.id, NOW + HOUR, keys_folder=settings.keys)
    assert [account.name for account in done.accounts] == ["account 1", "account 2", "account 3"]
    with opened(new) as database, database.reading() as connection:
        assert connection.execute(sa.select(ledger)).all() == []


def test_an_archive_of_an_older_program_is_migrated_and_a_newer_ones_refused(
    lived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are compared at their own schema, before any step."""
    from ctp.storage import migrations

    settings = home_at(lived)
    old = Database(f"sqlite:///{settings.home.parent / 'old.db'}")
    with old.transaction() as connection:
        migrations.upgrade(connection, "0001")
        connection.execute(
            sa.text(
                "INSERT INTO users (id, name, password_hash, role, language, zone, theme, rise_colour,"
                " must_change_password, created_at)"
                " VALUES (1, 'old', 'x', 'trader', 'ko', 'Asia/Seoul', 'dark', 'red', 0, 0)"
            )
        )
    from ctp.backup.create import make_backup

    with pytest.raises(ConfigError, match="is older"):
        make_backup(settings, old, LocalTarget(settings.backups), "full", NOW)
    made = make_backup(settings, old, LocalTarget(settings.backups), "full", NOW, may_be_older=True).manifest
    assert made.revision == "0001"
    restore_home(settings, LocalTarget(settings.backups), made.id, NOW + HOUR)
    with opened(settings) as database, database.reading() as connection:
        assert connection.execute(sa.select(users.c.name, users.c.report_at)).all() == [("old", 480)]
    monkeypatch.setattr(migrations, "known", lambda: frozenset({"0002"}))
    with pytest.raises(ConfigError, match="newer program"):
        restore_home(settings_for(settings, settings.home.parent / "new"), LocalTarget(settings.backups), made.id, NOW,
                     keys_folder=settings.keys)


def test_the_key_file_alone_opens_archives_elsewhere(tmp_path: Path, sqlite_template: Path) -> None:
    """Without it the message says what is missing, and where to get it."""
    settings = filled_home(tmp_path / "home", sqlite_template)
    made = back_up(settings)
    (tmp_path / "other" / "keys").mkdir(parents=True, mode=0o700)
    other = home_at(tmp_path / "other")
    BackupKeys(other.keys).create()
    with pytest.raises(ConfigError, match="recovery sheet"):
        restore_home(other, LocalTarget(settings.backups), made.id, NOW)

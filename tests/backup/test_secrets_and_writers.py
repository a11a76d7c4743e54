"""What must not be in an archive, and what goes on while one is made."""

from __future__ import annotations

import errno
import logging
import threading
import time
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.passwords import accept_password
from ctp.accounts.rights import machine
from ctp.accounts.tokens import TokenSigner
from ctp.accounts.trading_accounts import NewAccount, create_account
from ctp.accounts.users import add_user
from ctp.accounts.vault import ExchangeKey, KeyPermissions, Vault
from ctp.accounts.visible import Visible
from ctp.backup import create
from ctp.backup.configuration import note_file
from ctp.backup.create import make_backup
from ctp.backup.keys import BackupKeys
from ctp.backup.pieces import open_archive
from ctp.backup.points import list_points
from ctp.backup.restore import build_file
from ctp.backup.state import note_check
from ctp.backup.target import LocalTarget
from ctp.backup.user_export import export_user
from ctp.backup.verify import verify_backup
from ctp.config import Settings
from ctp.errors import StorageUnavailable
from ctp.logs import logger, start_logging
from ctp.notifiers.outbox import tell_user
from ctp.reports.backups import installed_sections
from ctp.reports.extract import extract, read_scope, reader_of
from ctp.reports.periods import period_of
from ctp.scheduler import history
from ctp.storage.database import Database
from ctp.storage.tables import audit_log, users
from tests.backup.made import HOUR, NOW, back_up, home_at, opened
from tests.reports.world import NOW as MADE
from tests.reports.world import Trading, add_account, make_world

ME = machine("cli")
CANARIES = {
    "exchange key": "CANARYkey0001abcdef",
    "exchange secret": "CANARYsecret0002abcdef",
    "password": "CANARY password 0003",
    "telegram": "123456789:CANARYtoken0004abcdefghijklmnopqrs",
    "log": "CANARYlog0005",
}


@pytest.fixture
def lived(tmp_path: Path, sqlite_template: Path) -> Settings:
    """Return a home with a secret in every place that has some."""
    settings = home_at(tmp_path / "home")
    (settings.home / "ctp.db").write_bytes(sqlite_template.read_bytes())
    with opened(settings) as database, database.transaction() as connection:
        owner = add_user(connection, ME, "minsu", accept_password(CANARIES["password"], "minsu"), "trader", NOW)
        wanted = NewAccount("rsi", "binanceusdm", "paper", ("BTC/USDT:USDT",), "1h")
        account = create_account(connection, ME, owner.id, wanted, NOW)
        key = ExchangeKey(CANARIES["exchange key"], CANARIES["exchange secret"])
        Vault(settings.keys).store(connection, ME, account.id, key, KeyPermissions(), NOW)
        note_file(settings.home, connection, NOW)
    (settings.keys / "telegram-token").write_text(CANARIES["telegram"])
    (settings.log_folder / "bot.jsonl").write_text(CANARIES["log"])
    (settings.cache / "something").write_text(CANARIES["log"])
    return settings


def test_no_planted_secret_is_in_an_archive_closed_or_opened_nor_in_an_export(lived: Settings, tmp_path: Path) -> None:
    """Opened, an archive has the ciphertext of exchange keys and no key file."""
    TokenSigner.from_folder(lived.keys)  # makes the key that signs sessions
    made = [back_up(lived), back_up(lived, "incremental", NOW + HOUR), back_up(lived, "config", NOW + HOUR)]
    seen = [file.read_bytes() for file in lived.backups.rglob("*") if file.is_file()]
    keys = BackupKeys(lived.keys)
    for one in made:
        archive = open_archive(LocalTarget(lived.backups), one.id, keys)
        for table in one.tables:
            seen += [repr(rows).encode() for rows in archive.rows(table)]
        seen += [archive.file(file) for file in one.files]
    with opened(lived) as database:
        export_user(lived, database, ME, "minsu", tmp_path / "minsu.zip", NOW, passphrase="long enough words")
    with zipfile.ZipFile(tmp_path / "minsu.zip") as export:
        seen += [export.read(name) for name in export.namelist()]
    files = {file.name: file.read_bytes().strip() for file in lived.keys.iterdir()}
    assert len(files) >= 3
    for content in seen:
        for what, secret in CANARIES.items():
            assert secret.encode() not in content, what
        for name, secret_file in files.items():
            assert secret_file not in content, name


def test_secrets_that_errors_repeat_reach_no_log_notice_report_export_or_archive(tmp_path: Path) -> None:
    """An exchange, a mail server and a job that quote a key, a password and a token back at us, everywhere they can."""
    (tmp_path / "home").mkdir()
    world = make_world(tmp_path / "home")
    settings, database = world.settings, world.database
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, MADE // HOUR * HOUR - 3 * 24 * HOUR, seed=5)
    trading.run(MADE // HOUR * HOUR, 8)
    trading.save()
    key = ExchangeKey(CANARIES["exchange key"], CANARIES["exchange secret"])
    said = f"-2015 {key.api_key} signed with {key.secret}; bot {CANARIES['telegram']}"
    with database.transaction() as connection:
        Vault(settings.keys).store(connection, ME, account, key, KeyPermissions(), NOW)
        tell_user(connection, world.user("alice"), "system_error", {"reason": said}, "leak", MADE, account, urgent=True)
        history.register(connection, {"reports": ("every 60 s", NOW)}, NOW)
        run = history.claim(connection, "reports", NOW, NOW + 1, "here", NOW)
        assert run is not None
        history.end(connection, run, history.FAILED, NOW, said)
        note_check(connection, "remote", "", NOW, False, said, problems=[said])
        record(connection, ME, "key.refused", f"account:{account}", NOW, reason=said)
    start_logging("bot", settings.log_folder, level="DEBUG", console=False)
    try:
        logger("ctp.test").error("exchange_refused", answer=said, nested={"why": [said]})
        logging.getLogger("ccxt").error("signed %s", said)
    finally:
        start_logging("bot", None, console=False, level="WARNING")
    (tmp_path / "extract").mkdir()
    with database.reading() as connection:
        actor, reader = reader_of(connection, world.user("alice"))
        scope = read_scope(Visible(connection, actor), account)
        period = period_of("daily", date(2026, 5, 1), scope.zone)
        sections = installed_sections(settings, world.clock)
        extract(connection, settings, scope, reader, period, sections, tmp_path / "extract", MADE)
    export_user(settings, database, ME, "alice", tmp_path / "alice.zip", NOW)
    made = make_backup(settings, database, LocalTarget(settings.backups), "full", NOW).manifest
    archive = open_archive(LocalTarget(settings.backups), made.id, BackupKeys(settings.keys))
    seen = {f"archive, {table.name}": repr(list(archive.rows(table))).encode() for table in made.tables}
    for folder in (settings.log_folder, tmp_path / "extract"):
        seen |= {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with zipfile.ZipFile(tmp_path / "alice.zip") as export:
        seen |= {f"export, {name}": export.read(name) for name in export.namelist()}
    assert b"exchange_refused" in b"".join(seen.values()) and b"-2015" in b"".join(seen.values())
    for place, content in seen.items():
        for what in ("exchange key", "exchange secret", "telegram"):
            assert CANARIES[what].encode() not in content, (place, what)
    database.close()


def test_writers_go_on_during_a_backup_and_the_archive_is_of_one_moment(
    lived: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer commits between any two tables; what it wrote together is in the archive together."""
    stop, written = threading.Event(), []
    read = create.read_groups

    def slowly(connection: sa.Connection, shape: Any, revision: str) -> Any:
        before = len(written)
        while len(written) <= before and not stop.is_set():
            time.sleep(0.001)  # the writer gets its commit in while we hold our reading transaction
        return read(connection, shape, revision)

    def write() -> None:
        with opened(lived) as database:
            while not stop.is_set():
                with database.transaction() as connection:
                    number = len(written) + 100
                    row = {"id": number, "name": f"u{number}", "password_hash": "x", "role": "viewer", "created_at": 0}
                    connection.execute(sa.insert(users).values(row))
                    deed = {"at": 0, "door": "test", "action": "pair", "subject": str(number)}
                    connection.execute(sa.insert(audit_log).values(deed))
                written.append(number)

    monkeypatch.setattr(create, "read_groups", slowly)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        made = back_up(lived)
    finally:
        stop.set()
        thread.join()
    assert len(written) >= len(made.tables) - 1
    archive = open_archive(LocalTarget(lived.backups), made.id, BackupKeys(lived.keys))
    build_file(archive, tmp_path / "again.db")
    database = Database(f"sqlite:///{tmp_path / 'again.db'}")
    with database.reading() as connection:
        people = connection.scalars(sa.select(users.c.id).where(users.c.id >= 100).order_by(users.c.id)).all()
        deeds = connection.scalars(sa.select(audit_log.c.subject).where(audit_log.c.action == "pair")).all()
        assert [str(one) for one in people] == sorted(deeds, key=int)
        assert len(people) < len(written)
    database.close()


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(lived: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier backups stay whole, and the room that was taken is given back."""
    first = back_up(lived)
    before = sorted(file.name for file in lived.backups.rglob("*"))

    class Full:
        def __init__(self, sink: object) -> None:
            self.count = 0

        def write(self, content: bytes) -> int:
            self.count += 1
            if self.count > 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            return len(content)

    monkeypatch.setattr(create, "SteadySink", Full)
    with pytest.raises(StorageUnavailable, match="No space left on device; earlier backups are whole"):
        back_up(lived, "full", NOW + HOUR)
    assert sorted(file.name for file in lived.backups.rglob("*")) == before
    target = LocalTarget(lived.backups)
    assert [one.id for one in list_points(target)] == [first.id]
    assert verify_backup(target, first.id, BackupKeys(lived.keys)) == []

"""What must not be in an archive, and what goes on while one is made."""

from __future__ import annotations

import errno
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.accounts.passwords import accept_password
from ctp.accounts.rights import machine
from ctp.accounts.tokens import TokenSigner
from ctp.accounts.trading_accounts import NewAccount, create_account
from ctp.accounts.users import add_user
from ctp.accounts.vault import ExchangeKey, KeyPermissions, Vault
from ctp.backup import create
from ctp.backup.configuration import note_file
from ctp.backup.keys import BackupKeys
from ctp.backup.pieces import open_archive
from ctp.backup.points import list_points
from ctp.backup.restore import build_file
from ctp.backup.target import LocalTarget
from ctp.backup.user_export import export_user
from ctp.backup.verify import verify_backup
from ctp.config import Settings
from ctp.errors import StorageUnavailable
from ctp.storage.database import Database
from ctp.storage.tables import audit_log, users
from tests.backup.made import HOUR, NOW, back_up, home_at, opened

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

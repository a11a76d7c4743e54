"""Making archives: what is in them, what is stored twice, what is found when a bit is wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.backup.keys import BackupKeys
from ctp.backup.manifest import SUFFIX
from ctp.backup.pieces import PACK_SUFFIX, open_archive
from ctp.backup.restore import build_file
from ctp.backup.target import LocalTarget
from ctp.backup.verify import read_verified, verify_backup
from ctp.errors import BackupDamaged, ConfigError, StateConflict
from ctp.storage.database import Database
from ctp.storage.tables import ledger, orders
from tests.backup.made import HOUR, NOW, addresses, append, back_up, content_of, filled_home


def test_a_restored_database_equals_the_archived_one_to_the_bit(tmp_path: Path, sqlite_template: Path) -> None:
    """Every table, with doubles, decimals, bytes, empty values and texts in any script."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=700)
    made = back_up(settings)
    assert all(table.rows for table in made.tables)
    archive = open_archive(LocalTarget(settings.backups), made.id, BackupKeys(settings.keys))
    build_file(archive, tmp_path / "again.db")
    before, after = Database(settings.database_url), Database(f"sqlite:///{tmp_path / 'again.db'}")
    assert content_of(after) == content_of(before)
    after.check(thorough=True)
    with before.reading() as one, after.reading() as other:
        query = sa.select(orders).order_by(orders.c.id)
        assert one.execute(query).all() == other.execute(query).all()


def test_an_incremental_backup_stores_only_what_changed(tmp_path: Path, sqlite_template: Path) -> None:
    """A few appended rows cost a few groups; restoring needs no other incremental one."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=60, many=3000)
    full = back_up(settings)
    database = Database(settings.database_url)
    append(database, 0.01)
    second = back_up(settings, "incremental", NOW + HOUR)
    append(database, 0.01, seed=3)
    third = back_up(settings, "incremental", NOW + 2 * HOUR)
    assert second.full_id == third.full_id == full.id
    assert second.own_bytes < full.own_bytes / 10, (second.own_bytes, full.own_bytes)
    (settings.backups / (second.id + SUFFIX)).unlink()
    (settings.backups / (second.id + PACK_SUFFIX)).unlink()
    target, keys = LocalTarget(settings.backups), BackupKeys(settings.keys)
    assert verify_backup(target, third.id, keys) == []
    build_file(open_archive(target, third.id, keys), tmp_path / "again.db")
    assert content_of(Database(f"sqlite:///{tmp_path / 'again.db'}")) == content_of(database)


def test_an_incremental_backup_without_a_full_one_of_the_day_becomes_a_full_one(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Also when that one is damaged, or from yesterday."""
    settings = filled_home(tmp_path / "home", sqlite_template)
    first = back_up(settings, "incremental")
    assert first.kind == "full"
    assert back_up(settings, "incremental", NOW + 24 * HOUR).kind == "full"
    today = back_up(settings, "full", NOW + 48 * HOUR)
    (settings.backups / (today.id + PACK_SUFFIX)).write_bytes(b"cut")
    assert back_up(settings, "incremental", NOW + 49 * HOUR).kind == "full"


def test_a_row_that_changes_changes_its_own_group_alone(tmp_path: Path, sqlite_template: Path) -> None:
    """With a number as key and with a text as key; a row put between two others as well."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=60, many=3000)
    before = addresses(settings, back_up(settings).id)
    database = Database(settings.database_url)
    with database.transaction() as connection:
        connection.execute(sa.update(ledger).where(ledger.c.id == 1000).values(reason="changed"))
        middle = connection.execute(sa.select(orders).order_by(orders.c.id).offset(1500).limit(1)).mappings().one()
        connection.execute(sa.insert(orders).values({**middle, "id": middle["id"] + "!"}))
    after = addresses(settings, back_up(settings, "incremental", NOW + HOUR).id)
    for table, most in (("ledger", 2), ("orders", 4)):
        assert 0 < len(set(before[table]) ^ set(after[table])) <= most, table
    assert {table for table in before if before[table] != after[table]} == {"ledger", "orders"}


def test_files_are_kept_once_for_all_backups_and_healed_when_their_copy_is_damaged(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Candles and reports under their address; the next full backup replaces a damaged copy."""
    settings = filled_home(tmp_path / "home", sqlite_template)
    first = back_up(settings)
    objects = settings.backups / "objects"
    stored = {file.name: file.read_bytes() for file in objects.iterdir()}
    assert len(stored) == 3
    second = back_up(settings, "full", NOW + HOUR)
    assert {file.name: file.read_bytes() for file in objects.iterdir()} == stored
    victim = next(objects.iterdir())
    victim.write_bytes(b"\0" + victim.read_bytes()[1:])
    target, keys = LocalTarget(settings.backups), BackupKeys(settings.keys)
    for made in (first, second):
        assert [damage.file for damage in verify_backup(target, made.id, keys)] == [f"objects/{victim.name}"]
    back_up(settings, "full", NOW + 2 * HOUR)
    assert verify_backup(target, first.id, keys) == []


@pytest.mark.parametrize("faults", [2_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_every_flipped_bit_and_every_cut_is_found_and_other_backups_still_restore(
    tmp_path: Path, sqlite_template: Path, faults: int
) -> None:
    """Single faults over all files of the newest backups; the older chain stays whole."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=5)
    older = back_up(settings, "full", NOW - 24 * HOUR)
    for file in (settings.home / "candles").rglob("*.*"):
        file.write_bytes(file.read_bytes() + b"grown")  # files of its own for the newer chain
    full = back_up(settings)
    append(Database(settings.database_url), 0.5)
    newest = back_up(settings, "incremental", NOW + HOUR)
    target, keys = LocalTarget(settings.backups), BackupKeys(settings.keys)
    assert verify_backup(target, newest.id, keys) == []
    shared = {f.address.hex() for f in older.files}
    files = [settings.backups / (made.id + end) for made in (full, newest) for end in (PACK_SUFFIX, SUFFIX)]
    files += [file for file in sorted((settings.backups / "objects").iterdir()) if file.name not in shared]
    chance = random.Random(20260131)
    checks = {file: full.id if full.id in file.name else newest.id for file in files}
    found = 0
    per_file = faults // len(files)
    for file in files:
        whole = file.read_bytes()
        judge = _judge(settings.backups, checks[file], keys, file)
        for number in range(per_file):
            if number % 10 == 0:
                broken = whole[: chance.randrange(len(whole))]
            else:
                position = chance.randrange(len(whole) * 8)
                broken = bytearray(whole)
                broken[position // 8] ^= 1 << position % 8
            found += judge(bytes(broken))
        assert not judge(whole)
    assert found == per_file * len(files)
    assert verify_backup(target, older.id, keys) == []


class _Memory(LocalTarget):
    """The archive with one file replaced, without writing it ten thousand times."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self.name, self.content = name, b""

    def size(self, name: str) -> int | None:
        return len(self.content) if name == self.name else super().size(name)

    def read(self, name: str) -> bytes:
        return self.content if name == self.name else super().read(name)

    def read_part(self, name: str, offset: int, length: int) -> bytes:
        if name == self.name:
            return self.content[offset : offset + length]
        return super().read_part(name, offset, length)


def _judge(folder: Path, backup_id: str, keys: BackupKeys, file: Path):  # type: ignore[no-untyped-def]
    """Return what tells whether a backup is found damaged with other bytes in one of its files."""
    target = _Memory(folder, file.relative_to(folder).as_posix())

    def is_found(content: bytes) -> bool:
        target.content = content
        try:
            return bool(verify_backup(target, backup_id, keys))
        except ConfigError as error:
            assert "backup key" in str(error) or "newer program" in str(error)  # the name of the key was hit
            return True

    return is_found


def test_a_manifest_under_another_name_is_refused(tmp_path: Path, sqlite_template: Path) -> None:
    """Nobody can pass an old backup off as today's."""
    settings = filled_home(tmp_path / "home", sqlite_template)
    old, new = back_up(settings), back_up(settings, "full", NOW + HOUR)
    folder = settings.backups
    (folder / (old.id + SUFFIX)).rename(folder / (new.id + SUFFIX))
    with pytest.raises(BackupDamaged, match=old.id):
        open_archive(LocalTarget(folder), new.id, BackupKeys(settings.keys))


def test_an_archive_without_its_key_says_which_key_is_missing(tmp_path: Path, sqlite_template: Path) -> None:
    """And an older archive still opens after a rotation."""
    settings = filled_home(tmp_path / "home", sqlite_template)
    made = back_up(settings)
    keys, target = BackupKeys(settings.keys), LocalTarget(settings.backups)
    keys.rotate()
    assert verify_backup(target, made.id, keys) == []
    newer = back_up(settings, "full", NOW + HOUR)
    assert newer.key_id != made.key_id
    keys.write(keys.all()[:1])
    with pytest.raises(ConfigError, match=rf"backup key {made.key_id}.*ctp keys enter"):
        open_archive(target, made.id, keys)


def test_two_backups_at_once_are_refused(tmp_path: Path, sqlite_template: Path) -> None:
    """The second says that another is at work."""
    settings = filled_home(tmp_path / "home", sqlite_template)
    with LocalTarget(settings.backups).alone(), pytest.raises(StateConflict, match="another backup"):
        back_up(settings)


def test_nothing_secret_stands_in_an_archive(tmp_path: Path, sqlite_template: Path) -> None:
    """Neither rows in the clear nor any key file, and the files are private."""
    settings = filled_home(tmp_path / "home", sqlite_template)
    (settings.keys / "fernet.keys").write_text("CANARY-fernet")
    (settings.home / "logs").mkdir()
    (settings.home / "logs" / "bot.jsonl").write_text("CANARY-log")
    made = back_up(settings)
    assert {file.path for file in made.files}.isdisjoint({"keys/fernet.keys", "keys/backup.keys", "logs/bot.jsonl"})
    for file in settings.backups.rglob("*"):
        if file.is_file():
            assert file.stat().st_mode & 0o077 == 0
            content = file.read_bytes()
            assert b"CANARY" not in content and BackupKeys(settings.keys).newest().secret not in content
            assert file.name.endswith((SUFFIX, ".verified")) or b"BTC_USDT" not in content
    assert b"BTC_USDT" not in (settings.backups / (made.id + SUFFIX)).read_bytes()


def test_a_backup_that_was_made_is_noted_as_read_back(tmp_path: Path, sqlite_template: Path) -> None:
    """The note is what clean-up goes by."""
    settings = filled_home(tmp_path / "home", sqlite_template)
    noted = read_verified(LocalTarget(settings.backups), back_up(settings).id)
    assert noted is not None and noted.ok and not noted.thorough

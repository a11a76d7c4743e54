"""SIGKILL at every step of backup, clean-up and restore: the previous state is valid, and the next run heals."""

from __future__ import annotations

import shutil
from pathlib import Path

from ctp.backup.durable import UNFINISHED
from ctp.backup.keys import BackupKeys
from ctp.backup.pieces import open_archive
from ctp.backup.points import list_points, prune_here
from ctp.backup.restore import build_file, restore_home
from ctp.backup.target import LocalTarget
from ctp.backup.verify import check_and_note, verify_backup
from ctp.storage.database import Database
from tests.backup.killing import kill_at_every_point
from tests.backup.made import HOUR, NOW, append, back_up, content_of, filled_home, opened

DAY = 24 * HOUR


def test_a_backup_killed_at_any_step_leaves_the_earlier_ones_whole_and_the_next_heals(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Full and incremental; what was left over is swept up."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=30)
    target, keys = LocalTarget(settings.backups), BackupKeys(settings.keys)
    first = back_up(settings)
    with opened(settings) as database:
        append(database, 0.5)
    saved = tmp_path / "saved"
    shutil.copytree(settings.backups, saved)

    def reset() -> None:
        shutil.rmtree(settings.backups)
        shutil.copytree(saved, settings.backups, dirs_exist_ok=True)
        (settings.home / "candles" / "new.parquet").write_bytes(b"new candles")

    for kind in ("full", "incremental"):
        points = []
        for point in kill_at_every_point(lambda c, k=kind: back_up(settings, k, NOW + HOUR, checkpoint=c), reset=reset):
            points.append(point)
            assert all(verify_backup(target, one.id, keys) == [] for one in list_points(target)), point
            assert first.id in [one.id for one in list_points(target)]
            healed = back_up(settings, kind, NOW + 2 * HOUR)
            assert verify_backup(target, healed.id, keys) == []
            assert not list(settings.backups.rglob(f"*{UNFINISHED}"))
            prune_here(settings, NOW + 2 * HOUR)
            packs = {name.removesuffix(".pack") for name in target.names() if name.endswith(".pack")}
            assert packs == {one.id for one in list_points(target)}, point
        assert {"pack opened", "tables written", "pack named", "named", "verified"} <= set(points)


def test_a_clean_up_killed_at_any_step_leaves_only_whole_backups(tmp_path: Path, sqlite_template: Path) -> None:
    """Every backup that is still listed can be verified, and the next clean-up finishes."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=5, daily=1, weekly=0, monthly=0)
    target, keys = LocalTarget(settings.backups), BackupKeys(settings.keys)
    for day in range(3):
        (settings.home / "candles" / "growing.parquet").write_bytes(b"candles" * (day + 1))
        back_up(settings, "full", NOW + day * DAY)
        back_up(settings, "incremental", NOW + day * DAY + HOUR)
    for one in list_points(target):
        check_and_note(target, one.id, keys, NOW)
    saved = tmp_path / "saved"
    shutil.copytree(settings.backups, saved)

    def reset() -> None:
        shutil.rmtree(settings.backups)
        shutil.copytree(saved, settings.backups, dirs_exist_ok=True)

    def work(checkpoint):  # type: ignore[no-untyped-def]
        return prune_here(settings, NOW + 2 * DAY + HOUR, checkpoint=checkpoint)

    expected = None
    for point in kill_at_every_point(work, reset=reset):
        assert all(verify_backup(target, one.id, keys) == [] for one in list_points(target)), point
        work(lambda _: None)
        left = sorted(file.name for file in settings.backups.rglob("*"))
        expected = expected or left
        assert left == expected, point
    assert expected is not None and len([name for name in expected if name.endswith(".manifest")]) == 2


def test_a_restore_killed_at_any_step_leaves_the_old_database_or_the_new_one(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Never something between, and doing it again succeeds."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=10)
    target = LocalTarget(settings.backups)
    made = back_up(settings)
    with opened(settings) as database:
        append(database, 1.0)
        old = content_of(database)
    saved = (settings.home / "ctp.db").read_bytes()
    build_file(open_archive(target, made.id, BackupKeys(settings.keys)), tmp_path / "new.db")
    archived = Database(f"sqlite:///{tmp_path / 'new.db'}")
    new = content_of(archived)
    archived.close()

    def reset() -> None:
        for ending in ("-wal", "-shm"):
            (settings.home / f"ctp.db{ending}").unlink(missing_ok=True)
        (settings.home / "ctp.db").write_bytes(saved)

    def work(checkpoint):  # type: ignore[no-untyped-def]
        return restore_home(settings, target, made.id, NOW + HOUR, override="random words", checkpoint=checkpoint)

    points = []
    for point in kill_at_every_point(work, reset=reset):
        points.append(point)
        # While tables are filled only a file in a folder of its own grows: one of them is enough to see the next run heal.
        if point.startswith("filled ") and point != "filled ledger":
            log = settings.home / "ctp.db-wal"
            assert (settings.home / "ctp.db").read_bytes() == saved, point
            assert not log.exists() or log.stat().st_size == 0, point
            continue
        with opened(settings) as database:
            database.check(thorough=True)
            found = content_of(database)
        if point == "swapped":
            assert found["ledger"] == new["ledger"] != old["ledger"]
        else:
            assert found == old, point
        work(lambda _: None)
        with opened(settings) as database:
            assert content_of(database)["ledger"] == new["ledger"]
        assert not (settings.home / "restoring").exists()
    assert points[-3:] == ["copied aside", "about to swap", "swapped"]

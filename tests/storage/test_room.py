"""The ballast is made with room to spare, given up when the disk runs full, and nothing flaps meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from ctp.config import DiskSettings
from ctp.storage.room import Room

MB = 1_000_000
SETTINGS = DiskSettings(short_mb=100, ballast_mb=20)


class Disk:
    """A disk that says what it is told to; a ballast on it takes its share."""

    def __init__(self, home: Path, free_mb: int) -> None:
        """Begin with room."""
        self.home, self.free_mb = home, free_mb

    def __call__(self, _path: Path) -> Usage:
        """Return the room."""
        held = 20 if (self.home / "ballast").exists() else 0
        return Usage((self.free_mb - held) * MB)


class Usage(NamedTuple):
    """What is asked for."""

    free: int


def test_the_ballast_holds_real_blocks_and_is_made_once(tmp_path: Path) -> None:
    """A hollow file would free nothing."""
    room = Room(tmp_path, SETTINGS)
    assert not room.keep() and not room.is_short
    status = room.ballast.stat()
    assert (status.st_size, status.st_mode & 0o777) == (20 * MB, 0o600) and status.st_blocks * 512 >= 20 * MB
    before = status.st_mtime_ns
    room.keep()
    assert room.ballast.stat().st_mtime_ns == before
    assert shutil.disk_usage(tmp_path).free > 0 and list(tmp_path.iterdir()) == [room.ballast]


def test_a_full_disk_takes_the_ballast_and_stops_entries_until_there_is_clearly_room(tmp_path: Path) -> None:
    """Freeing the ballast itself does not end the shortage."""
    disk = Disk(tmp_path, 1000)
    room = Room(tmp_path, SETTINGS, disk)
    room.keep()
    disk.free_mb = 119  # 99 beside the ballast
    assert room.keep() and room.is_short and not room.ballast.exists()
    assert not room.keep() and room.is_short, "given up once"
    disk.free_mb = 219
    assert not room.keep() and room.is_short and not room.ballast.exists()
    disk.free_mb = 221
    room.keep()
    assert not room.is_short and room.ballast.exists()
    disk.free_mb = 500
    assert not room.keep() and not room.is_short


def test_what_one_process_gives_up_the_other_notices(tmp_path: Path) -> None:
    """The bot looks, the scheduler keeps; whoever is first, both stop entries."""
    disk = Disk(tmp_path, 1000)
    scheduler, bot = Room(tmp_path, SETTINGS, disk), Room(tmp_path, SETTINGS, disk)
    scheduler.keep()
    bot.look()
    disk.free_mb = 110
    assert scheduler.keep()
    assert not bot.look() and bot.is_short
    disk.free_mb = 1000
    scheduler.keep()
    bot.look()
    assert not bot.is_short and not scheduler.is_short
    disk.free_mb = 110
    assert bot.look() and bot.is_short, "the bot alone gives it up too"
    scheduler.keep()
    assert scheduler.is_short and not scheduler.ballast.exists()


def test_a_person_may_delete_the_ballast_and_a_small_disk_trades_without_one(tmp_path: Path) -> None:
    """With room it comes back; a disk that never had room for it is not short for that."""
    disk = Disk(tmp_path, 1000)
    room = Room(tmp_path, SETTINGS, disk)
    room.keep()
    room.ballast.unlink()
    room.keep()
    assert room.ballast.exists() and not room.is_short
    small = tmp_path / "small"
    small.mkdir()
    narrow = Room(small, SETTINGS, Disk(small, 150))
    narrow.keep()
    assert not narrow.ballast.exists() and not narrow.is_short
    none = Room(small, DiskSettings(ballast_mb=0, short_mb=100), Disk(small, 99))
    assert not none.keep() and none.is_short and not none.ballast.exists()

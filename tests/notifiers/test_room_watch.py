"""A disk that runs full is told once to operators and to people whose accounts are at work; so is its end."""

from __future__ import annotations

import json
from pathlib import Path

import sqlalchemy as sa

from ctp.clock import ManualClock
from ctp.config import DiskSettings
from ctp.notifiers.room_watch import RoomWatch
from ctp.storage import tables
from ctp.storage.database import Database
from ctp.storage.room import Room
from tests.accounts.people import NOW, set_scene
from tests.storage.test_room import Disk


def test_a_shortage_and_its_end_are_told_once(database: Database, tmp_path: Path) -> None:
    scene = set_scene(database)
    with database.transaction() as connection:
        row = {"account_id": scene.minsus, "status": "running", "core_state": "{}", "updated_at": NOW}
        connection.execute(sa.insert(tables.account_states).values(row))
    disk, clock = Disk(tmp_path, 1000), ManualClock(NOW)
    settings = DiskSettings(short_mb=100, ballast_mb=20)

    def told() -> list[tuple[str, str, bool]]:
        with database.reading() as connection:
            rows = connection.execute(
                sa.select(tables.notices.c.facts, tables.users.c.name, tables.notices.c.urgent)
                .join(tables.users, tables.users.c.id == tables.notices.c.user_id)
                .order_by(tables.notices.c.id)
            )
            return [(json.loads(row.facts)["what"], row.name, row.urgent) for row in rows]

    watch = RoomWatch(database, clock, Room(tmp_path, settings, disk))
    watch.look()
    assert told() == []
    disk.free_mb = 90
    for _ in range(3):
        watch.look()
        clock.tick(5)
    full = [("disk_full", name, True) for name in ("minsu", "olaf", "ada")]
    assert sorted(told()) == sorted(full)
    again = RoomWatch(database, clock, Room(tmp_path, settings, disk))  # restarted meanwhile
    again.look()
    assert len(told()) == 3
    disk.free_mb = 1000
    clock.tick(60)
    again.look()
    again.look()
    room = [("disk_room", name, False) for name in ("minsu", "olaf", "ada")]
    assert sorted(told()) == sorted(full + room)

"""A world in which alice has traded an account for ten weeks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctp.accounts.visible import Visible
from ctp.reports.extract import extract, read_scope, reader_of
from ctp.reports.extracted import EVIDENCE, Extract, read_extract
from ctp.reports.periods import period_of
from ctp.reports.sections import DEFAULT_SECTIONS
from ctp.storage.database import Database
from tests.reports.world import HOUR, World, make_world

Extracting = Callable[..., Extract]


@pytest.fixture
def world(tmp_path: Path, database: Database) -> World:
    """Return a home with people and no account."""
    home = tmp_path / "home"
    home.mkdir()
    return make_world(home, database)


@pytest.fixture
def extracted(world: World, tmp_path: Path) -> Extracting:
    """Return a function that extracts a period: (account, reader, kind, day) -> Extract."""
    numbers = iter(range(1000))

    def take(account_id: int, reader: str, kind: str, day: Any, sections: Any = DEFAULT_SECTIONS) -> Extract:
        folder = tmp_path / f"extract{next(numbers)}"
        folder.mkdir()
        with world.database.reading() as connection:
            actor, person = reader_of(connection, world.user(reader))
            scope = read_scope(Visible(connection, actor), account_id)
            period = period_of(kind, day, scope.zone)
            extract(connection, world.settings, scope, person, period, sections, folder, world.clock.now_ms())
        (folder / EVIDENCE).write_text('{"state": "none"}')
        return read_extract(folder)

    return take


__all__ = ["HOUR", "Extracting"]

"""A silent process is announced once, by another one, and so is its return."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from ctp.notifiers.watchdog import SILENT_AFTER_MS, Watchdog
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.storage.tables import account_states, accounts, notices, users

NOW = 1_700_000_000_000
OPERATOR, TRADER = 1, 2


@pytest.fixture
def installation(database: Database) -> Database:
    """Return a database with an operator, and a trader with one running and one stopped account."""
    with database.transaction() as connection:
        for number, (name, role) in enumerate((("ops", "operator"), ("minsu", "trader")), 1):
            row = {"id": number, "name": name, "password_hash": "x", "role": role, "created_at": 0}
            connection.execute(sa.insert(users).values(**row))
        for number, status in enumerate(("running", "stopped"), 1):
            row = {"id": number, "user_id": TRADER, "name": status, "exchange": "binance", "mode": "paper", "quote": "USDT"}
            row |= {"symbols": '["BTC/USDT"]', "timeframe": "1h", "created_at": 0}
            connection.execute(sa.insert(accounts).values(**row))
            state = {"account_id": number, "status": status, "core_state": "{}", "updated_at": 0}
            connection.execute(sa.insert(account_states).values(**state))
    return database


def told(database: Database) -> list[tuple[int, str, bool]]:
    """Return who was told what, and whether it was urgent."""
    with database.reading() as connection:
        rows = connection.execute(sa.select(notices).order_by(notices.c.id)).all()
    return [(row.user_id, json.loads(row.facts)["what"], row.urgent) for row in rows]


def watch(database: Database, dog: Watchdog, now_ms: int) -> None:
    """Let a watchdog look once."""
    with database.reading() as connection:
        news = dog.look(connection, now_ms)
    if news is not None:
        with database.transaction() as connection:
            dog.tell(connection, news, now_ms)
        dog.remember(news)


def live(database: Database, process: str, at_ms: int) -> None:
    """Give a sign of life."""
    with database.transaction() as connection:
        beat(connection, process, at_ms)


@pytest.mark.parametrize(("process", "name"), [("bot", "bot"), ("backup", "scheduler")])
def test_a_silence_and_its_end_are_told_once_each(process: str, name: str, installation: Database) -> None:
    """The owner of the running account and the operator hear of it; repetition is no news, a second silence is."""
    dog = Watchdog(process, 0)
    watch(installation, dog, NOW)
    assert told(installation) == []  # never ran
    live(installation, process, NOW)
    watch(installation, dog, NOW + SILENT_AFTER_MS)
    assert told(installation) == []
    for late in (1, 5000, 10_000):
        watch(installation, dog, NOW + SILENT_AFTER_MS + late)
    silent = [(TRADER, f"{name}_silent", True), (OPERATOR, f"{name}_silent", True)]
    assert told(installation) == silent
    assert dog.is_silent
    live(installation, process, NOW + 60_000)
    for late in (0, 5000):
        watch(installation, dog, NOW + 60_000 + late)
    back = [(TRADER, f"{name}_back", False), (OPERATOR, f"{name}_back", False)]
    assert told(installation) == silent + back
    assert not dog.is_silent
    watch(installation, dog, NOW + 200_000)
    assert told(installation) == silent + back + silent


def test_silent_web_pages_concern_operators_alone(installation: Database) -> None:
    live(installation, "web", NOW)
    watch(installation, Watchdog("web", 0), NOW + 60_000)
    assert told(installation) == [(OPERATOR, "web_silent", True)]


def test_a_restarted_watcher_tells_nothing_twice_and_still_tells_the_end(installation: Database) -> None:
    live(installation, "bot", NOW)
    watch(installation, Watchdog("bot", 0), NOW + 60_000)
    before = told(installation)
    again = Watchdog("bot", 0)
    watch(installation, again, NOW + 70_000)
    assert again.is_silent
    assert told(installation) == before
    live(installation, "bot", NOW + 80_000)
    watch(installation, Watchdog("bot", 0), NOW + 81_000)
    after = told(installation)
    assert [what for _, what, _ in after[len(before) :]] == ["bot_back", "bot_back"]
    watch(installation, Watchdog("bot", 0), NOW + 82_000)
    assert told(installation) == after


def test_a_watcher_that_has_just_started_gives_the_others_time(installation: Database) -> None:
    """After a reboot everybody has been silent for hours; that is no news until they fail to come up."""
    live(installation, "bot", NOW - 10 * 3_600_000)
    dog = Watchdog("bot", NOW)
    watch(installation, dog, NOW + SILENT_AFTER_MS)
    assert told(installation) == []
    watch(installation, dog, NOW + SILENT_AFTER_MS + 1)
    assert [what for _, what, _ in told(installation)] == ["bot_silent", "bot_silent"]

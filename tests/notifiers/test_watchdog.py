"""A silent bot is announced once, by somebody else, and so is its return."""

from __future__ import annotations

import json

import sqlalchemy as sa

from ctp.notifiers.watchdog import SILENT_AFTER_MS, watch_bot
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.storage.tables import account_states, accounts, notices, users

NOW = 1_700_000_000_000


def installation(database: Database) -> None:
    """Make an operator, and a trader with one running and one stopped account."""
    with database.transaction() as connection:
        for number, (name, role) in enumerate((("ops", "operator"), ("minsu", "trader")), 1):
            row = {"id": number, "name": name, "password_hash": "x", "role": role, "created_at": 0}
            connection.execute(sa.insert(users).values(**row))
        for number, status in enumerate(("running", "stopped"), 1):
            row = {"id": number, "user_id": 2, "name": status, "exchange": "binance", "mode": "paper", "quote": "USDT"}
            row |= {"symbols": '["BTC/USDT"]', "timeframe": "1h", "created_at": 0}
            connection.execute(sa.insert(accounts).values(**row))
            state = {"account_id": number, "status": status, "core_state": "{}", "updated_at": 0}
            connection.execute(sa.insert(account_states).values(**state))


def told(database: Database) -> list[tuple[int, str, bool]]:
    """Return who was told what, and whether it was urgent."""
    with database.reading() as connection:
        rows = connection.execute(sa.select(notices).order_by(notices.c.id)).all()
    return [(row.user_id, json.loads(row.facts)["what"], row.urgent) for row in rows]


def watch(database: Database, now_ms: int) -> None:
    """Let the watchdog look once."""
    with database.transaction() as connection:
        watch_bot(connection, now_ms)


def test_a_silence_and_its_end_are_told_once_each(database: Database) -> None:
    """The owner of the running account and the operator hear of it; repetition is no news, a second silence is."""
    installation(database)
    watch(database, NOW)
    assert told(database) == []  # never ran
    with database.transaction() as connection:
        beat(connection, "bot", NOW)
    watch(database, NOW + SILENT_AFTER_MS)
    assert told(database) == []
    for late in (1, 5000, 10_000):
        watch(database, NOW + SILENT_AFTER_MS + late)
    silent = [(2, "bot_silent", True), (1, "bot_silent", True)]
    assert told(database) == silent
    with database.transaction() as connection:
        beat(connection, "bot", NOW + 60_000)
    for late in (0, 5000):
        watch(database, NOW + 60_000 + late)
    back = [(2, "bot_back", False), (1, "bot_back", False)]
    assert told(database) == silent + back
    watch(database, NOW + 200_000)
    assert told(database) == silent + back + silent

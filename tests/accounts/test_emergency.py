"""Closing what one does not see, and the times of notices, on every database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from ctp.accounts.emergency import list_closable
from ctp.accounts.notice_times import NoticeTimes, read_notice_times, set_notice_times
from ctp.accounts.trading_accounts import ask_command
from ctp.errors import InputError, NotAllowed, NotFound
from ctp.storage import tables
from ctp.storage.database import Database
from tests.accounts.people import NOW, SHELL, set_scene


def test_only_an_administrator_gets_the_list_with_their_own_last_command(database: Database) -> None:
    """An account that never started is flat and stopped; the owner's commands are not in it."""
    scene = set_scene(database)
    with database.transaction() as connection:
        for name in ("minsu", "alice", "vera", "quinn", "olaf"):
            with pytest.raises(NotAllowed):
                list_closable(connection, scene.actors()[name])
        ask_command(connection, scene.minsu, scene.minsus, "close_all", NOW)
        assert [one.asked for one in list_closable(connection, scene.ada)] == [None, None]
        for now in (NOW, NOW + 1):
            asked = ask_command(connection, scene.ada, scene.minsus, "close_all", now)
        row = {"status": "running", "core_state": '{"positions": [{"symbol": "BTC/USDT:USDT"}]}', "updated_at": NOW}
        connection.execute(sa.insert(tables.account_states).values(account_id=scene.minsus, **row))
        found = {one.owner: one for one in list_closable(connection, scene.ada)}
        assert (found["alice"].status, found["alice"].is_flat, found["alice"].asked) == ("stopped", True, None)
        assert (found["minsu"].status, found["minsu"].is_flat) == ("running", False)
        assert found["minsu"].asked == asked
        closed = sa.update(tables.accounts).where(tables.accounts.c.id == scene.alices).values(closed_at=NOW)
        connection.execute(closed)
        assert [one.owner for one in list_closable(connection, scene.ada)] == ["minsu"]


@pytest.mark.parametrize(
    "wrong", [{"quiet_from": 1440}, {"quiet_from": -1}, {"quiet_until": None}, {"quiet_until": 60}, {"report_at": 1440}]
)
def test_times_are_the_actors_own_and_make_sense(database: Database, wrong: dict[str, int | None]) -> None:
    """Nothing is kept of what does not; the machine has no times, and nobody has none."""
    scene = set_scene(database)
    good = NoticeTimes(60, 420, 510, False, True)
    with database.transaction() as connection:
        set_notice_times(connection, scene.minsu, good, NOW)
        with pytest.raises(InputError):
            set_notice_times(connection, scene.minsu, good._replace(**wrong), NOW)
        assert read_notice_times(connection, scene.minsu.user_id or 0) == good
        assert read_notice_times(connection, scene.alice.user_id or 0) == NoticeTimes(None, None, 480, True, True)
        with pytest.raises(NotAllowed):
            set_notice_times(connection, SHELL, good, NOW)
        with pytest.raises(NotFound):
            read_notice_times(connection, 999_999)

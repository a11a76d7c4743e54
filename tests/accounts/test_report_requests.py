"""Who may ask for a report now, how often, and what becomes of a request."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from ctp.accounts.report_requests import (
    FAILED,
    MOST_AN_HOUR,
    MOST_ATTEMPTS,
    WAITING,
    ask_report,
    end_request,
    is_waited_for,
    my_requests,
    prune_requests,
    take_request,
)
from ctp.accounts.rights import Actor
from ctp.accounts.trading_accounts import share_account, unshare_account
from ctp.errors import InputError, NotAllowed, NotFound, StateConflict
from ctp.storage import tables
from ctp.storage.database import Database
from tests.accounts.people import NOW, SHELL, Scene, set_scene

HOUR = 3_600_000


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people whose accounts have started."""
    scene = set_scene(database)
    with database.transaction() as connection:
        for account in (scene.minsus, scene.alices):
            row = {"account_id": account, "status": "running", "core_state": "{}", "updated_at": NOW}
            connection.execute(sa.insert(tables.account_states).values(row))
    return scene


def test_only_who_sees_an_account_may_ask_and_for_themselves(database: Database, scene: Scene) -> None:
    """Everybody else finds no such account; nothing is written for them."""
    with database.transaction() as connection:
        share_account(connection, SHELL, scene.minsus, scene.vera.user_id or 0, "viewer", NOW)
        made = ask_report(connection, scene.vera, scene.minsus, "daily", NOW)
        assert made.user_id == scene.vera.user_id
        for stranger in (scene.alice, scene.quinn, scene.olaf, scene.ada):
            with pytest.raises(NotFound):
                ask_report(connection, stranger, scene.minsus, "daily", NOW)
        with pytest.raises(NotAllowed):
            ask_report(connection, SHELL, scene.minsus, "daily", NOW)
        assert my_requests(connection, scene.minsu, 0) == []
        assert [one.id for one in my_requests(connection, scene.vera, 0)] == [made.id]
        unshare_account(connection, SHELL, scene.minsus, scene.vera.user_id or 0, NOW)
        assert my_requests(connection, scene.vera, 0) == [], "not of an account they no longer see"
        deeds = connection.scalars(sa.select(tables.audit_log.c.action)).all()
        assert deeds.count("report.ask") == 1


def test_a_second_press_is_the_same_request_and_an_hour_has_its_limit(database: Database, scene: Scene) -> None:
    """Each person has their own limit; after an hour there is room again."""

    def ask(actor: Actor, account: int, number: int, now: int) -> int:
        with database.transaction() as connection:
            return ask_report(connection, actor, account, "daily", now, day=f"2023-01-{number + 1:02}").id

    assert ask(scene.minsu, scene.minsus, 0, NOW) == ask(scene.minsu, scene.minsus, 0, NOW + 1)
    for number in range(1, MOST_AN_HOUR):
        ask(scene.minsu, scene.minsus, number, NOW)
    with pytest.raises(NotAllowed, match="in an hour"):
        ask(scene.minsu, scene.minsus, 20, NOW)
    ask(scene.alice, scene.alices, 20, NOW)
    ask(scene.minsu, scene.minsus, 20, NOW + HOUR)


def test_what_makes_no_sense_is_refused(database: Database, scene: Scene) -> None:
    """Kinds, days, and an account that never started."""
    with database.transaction() as connection:
        for kind, day in (("hourly", ""), ("daily", "yesterday"), ("daily", "20230101"), ("daily", "2023-02-30")):
            with pytest.raises(InputError):
                ask_report(connection, scene.minsu, scene.minsus, kind, NOW, day=day)
        connection.execute(sa.delete(tables.account_states))
        with pytest.raises(StateConflict, match="never started"):
            ask_report(connection, scene.minsu, scene.minsus, "daily", NOW)
        assert not is_waited_for(connection)


def test_requests_are_taken_oldest_first_and_fail_after_their_makers_died(database: Database, scene: Scene) -> None:
    """An attempt is counted before it begins, so that what kills its maker does not do so for ever."""
    with database.transaction() as connection:
        first = ask_report(connection, scene.minsu, scene.minsus, "daily", NOW)
        second = ask_report(connection, scene.alice, scene.alices, "weekly", NOW)
    for _ in range(MOST_ATTEMPTS):
        with database.transaction() as connection:
            taken = take_request(connection, NOW)
            assert taken is not None and taken.id == first.id
    with database.transaction() as connection:
        taken = take_request(connection, NOW + 5)
        assert taken is not None and taken.id == second.id
        (gone,) = my_requests(connection, scene.minsu, 0)
        assert (gone.result, gone.ended_at) == (FAILED, NOW + 5)
        end_request(connection, first.id, "done", NOW + 9)
        assert my_requests(connection, scene.minsu, 0)[0].result == FAILED, "an end is final"
        assert my_requests(connection, scene.alice, 0)[0].result == WAITING and is_waited_for(connection)
        end_request(connection, second.id, "refused", NOW + 9, reason="because")
        assert not is_waited_for(connection) and take_request(connection, NOW) is None
        assert prune_requests(connection, NOW + 6) == 1

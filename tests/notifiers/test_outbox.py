"""Notices live and die with their transaction, once for each person, on the channels they chose."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
import sqlalchemy as sa

from ctp.accounts.trading_accounts import append_parameters, share_account
from ctp.errors import InputError
from ctp.logs import REDACTED
from ctp.notifiers.kinds import CHANNELS, KINDS, read_choices, set_choice
from ctp.notifiers.outbox import tell_account, tell_operators, tell_user
from ctp.notifiers.web import mark_read, newer_notices, newest_notice_id, recent_notices, unread_count
from ctp.storage.database import Database
from ctp.storage.tables import account_states, deliveries, notices
from tests.accounts.people import NOW, Scene, reach, set_scene


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people and two accounts."""
    return set_scene(database)


def ids(*actors: object) -> list[int]:
    """Return user ids."""
    return [actor.user_id for actor in actors]  # type: ignore[attr-defined]


def readers(connection: sa.Connection) -> list[int]:
    """Return to whom the notices are, in order."""
    return list(connection.scalars(sa.select(notices.c.user_id).order_by(notices.c.id)))


def test_a_notice_shares_the_fate_of_its_transaction(database: Database, scene: Scene) -> None:
    """Rolled back, it was never told."""
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        tell_account(connection, scene.minsus, "trade_executed", {}, "fill:1", NOW)
        _ = 1 / 0
    with database.reading() as connection:
        assert readers(connection) == []


def test_telling_twice_is_telling_once(database: Database, scene: Scene) -> None:
    """Per account: another account may use the same key."""
    with database.transaction() as connection:
        assert tell_account(connection, scene.minsus, "trade_executed", {}, "fill:1", NOW) == 1
        assert tell_account(connection, scene.minsus, "trade_executed", {"x": 1}, "fill:1", NOW + 1) == 0
        assert tell_account(connection, scene.alices, "trade_executed", {}, "fill:1", NOW) == 1
        assert readers(connection) == ids(scene.minsu, scene.alice)


def test_those_who_trade_an_account_together_are_told_and_lookers_on_are_not(database: Database, scene: Scene) -> None:
    """The share decides."""
    with database.transaction() as connection:
        share_account(connection, scene.minsu, scene.minsus, scene.quinn.user_id or 0, "trader", NOW)
        share_account(connection, scene.minsu, scene.minsus, scene.vera.user_id or 0, "viewer", NOW)
        assert tell_account(connection, scene.minsus, "system_error", {"what": "leverage"}, "x", NOW) == 2
        assert set(readers(connection)) == set(ids(scene.minsu, scene.quinn))


def test_what_concerns_the_installation_goes_to_operators_and_administrators(database: Database, scene: Scene) -> None:
    """And once each, however often the watchdog looks."""
    with database.transaction() as connection:
        assert tell_operators(connection, "system_error", {"what": "bot_silent"}, "silent:1", NOW, urgent=True) == 2
        assert tell_operators(connection, "system_error", {"what": "bot_silent"}, "silent:1", NOW + 1) == 0
        assert set(readers(connection)) == set(ids(scene.olaf, scene.ada))


def test_the_account_s_name_mode_and_today_s_limit_are_added(database: Database, scene: Scene) -> None:
    """So that no caller can forget whether money is real; what is not a number is left out."""
    with database.transaction() as connection:
        append_parameters(
            connection, scene.minsu, scene.minsus, "rsi_mean_reversion", {}, {"daily_loss_limit": 0.02}, "less", NOW
        )
        connection.execute(
            sa.insert(account_states).values(
                account_id=scene.minsus,
                status="running",
                core_state="{}",
                equity=990.0,
                day_start_equity=1000.0,
                updated_at=NOW,
            )
        )
        tell_account(
            connection,
            scene.minsus,
            "trade_executed",
            {"size": Decimal("0.10"), "nothing": None, "r": math.nan},
            "k",
            NOW,
        )
        (notice,) = recent_notices(connection, scene.minsu.user_id)
    assert notice.facts == {
        "account": "main",
        "mode": "paper",
        "exchange": "binanceusdm",
        "quote": "USDT",
        "day_pnl": -10.0,
        "day_limit": 20.0,
        "size": "0.10",
        "nothing": None,
    }


def test_no_secret_is_kept_in_a_notice(database: Database, scene: Scene) -> None:
    """An exchange's error may repeat a signed address."""
    facts = {"error": "GET /order?signature=abcdef0123456789", "secret": 5, "nested": {"apiKey": "xyz"}}
    with database.transaction() as connection:
        tell_account(connection, scene.minsus, "system_error", facts, "k", NOW)
        (kept,) = connection.scalars(sa.select(notices.c.facts))
    found = json.loads(kept)
    assert "abcdef" not in kept and "xyz" not in kept and found["secret"] == REDACTED


def test_channels_are_the_reader_s_choice(database: Database, scene: Scene) -> None:
    """The web is on at first; an urgent notice reaches it even when it was turned off."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        choices = read_choices(connection, minsu)
        assert choices == {(kind, channel): channel == "web" for kind in KINDS for channel in CHANNELS}
        set_choice(connection, minsu, "system_error", "web", False)
        set_choice(connection, minsu, "system_error", "telegram", True)
        set_choice(connection, minsu, "system_error", "email", True)  # of no consequence: there is no address
        reach(connection, scene.minsu, "telegram")
        for key, urgent in (("a", False), ("b", True)):
            tell_user(connection, minsu, "system_error", {}, key, NOW, urgent=urgent)
        rows = connection.execute(
            sa.select(notices.c.deduplication_key, deliveries.c.channel, deliveries.c.status)
            .join(notices, notices.c.id == deliveries.c.notice_id)
            .order_by(notices.c.id, deliveries.c.channel)
        )
        assert [tuple(row) for row in rows] == [
            ("a", "telegram", "waiting"),
            ("b", "telegram", "waiting"),
            ("b", "web", "delivered"),
        ]
        assert [notice.urgent for notice in recent_notices(connection, minsu)] == [True]
        for wrong in (("gossip", "web"), ("system_error", "pigeon")):
            with pytest.raises(InputError):
                set_choice(connection, minsu, *wrong, True)


def test_who_wants_closings_hears_of_stops_too_and_once(database: Database, scene: Scene) -> None:
    """A stop that was hit is one notice, on the channels of either kind."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        for channel in ("email", "telegram"):
            reach(connection, scene.minsu, channel)
        set_choice(connection, minsu, "position_closed", "email", True)
        set_choice(connection, minsu, "stop_loss_hit", "telegram", True)
        set_choice(connection, minsu, "stop_loss_hit", "web", False)
        tell_user(connection, minsu, "stop_loss_hit", {}, "closed:1", NOW)
        tell_user(connection, minsu, "take_profit_hit", {}, "closed:2", NOW)
        query = sa.select(deliveries.c.channel).order_by(deliveries.c.notice_id, deliveries.c.channel)
        assert list(connection.scalars(query)) == ["email", "telegram", "web", "email", "web"]


def test_a_disabled_person_is_not_told(database: Database, scene: Scene) -> None:
    """Their account goes on; nobody reads."""
    from ctp.accounts.users import disable_user

    with database.transaction() as connection:
        disable_user(connection, scene.ada, scene.minsu.user_id or 0, NOW)
        assert tell_account(connection, scene.minsus, "trade_executed", {}, "k", NOW) == 0


def test_read_and_unread_are_ones_own(database: Database, scene: Scene) -> None:
    """Nobody marks or counts another person's notices."""
    minsu, alice = scene.minsu.user_id, scene.alice.user_id
    with database.transaction() as connection:
        for i in range(3):
            tell_account(connection, scene.minsus, "trade_executed", {}, f"k{i}", NOW + i)
        tell_account(connection, scene.alices, "trade_executed", {}, "k", NOW)
        mine = [notice.id for notice in recent_notices(connection, minsu)]
        assert mine == sorted(mine, reverse=True) and len(mine) == 3
        assert [notice.id for notice in recent_notices(connection, minsu, before_id=mine[0], limit=1)] == [mine[1]]
        assert mark_read(connection, alice, NOW, mine) == 0
        assert unread_count(connection, minsu) == 3
        assert mark_read(connection, minsu, NOW + 9, mine[:1]) == 1
        assert (unread_count(connection, minsu), unread_count(connection, alice)) == (2, 1)
        assert recent_notices(connection, minsu)[0].read_at == NOW + 9
        assert mark_read(connection, minsu, NOW + 9) == 2
        assert unread_count(connection, minsu) == 0


def test_open_pages_get_what_is_new_in_order(database: Database, scene: Scene) -> None:
    """Only for the people who have a page open."""
    with database.transaction() as connection:
        tell_account(connection, scene.minsus, "trade_executed", {}, "old", NOW)
        last = newest_notice_id(connection)
        for i in range(2):
            tell_account(connection, scene.minsus, "trade_executed", {}, f"new{i}", NOW)
            tell_account(connection, scene.alices, "trade_executed", {}, f"new{i}", NOW)
        fresh = newer_notices(connection, {scene.minsu.user_id or 0}, last)
        assert [notice.user_id for notice in fresh] == ids(scene.minsu, scene.minsu)
        assert [notice.id for notice in fresh] == sorted(notice.id for notice in fresh)
        assert newer_notices(connection, set(), 0) == []

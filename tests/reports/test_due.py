"""Who waits for which report."""

from __future__ import annotations

from datetime import date
from typing import Any

import sqlalchemy as sa

from ctp.accounts.rights import machine
from ctp.accounts.trading_accounts import share_account
from ctp.reports.due import DueReport, due_reports
from ctp.storage.tables import account_states, reports, users
from tests.reports.world import DAY, HOUR, NOW, Trading, World, add_account

NEWEST = NOW // HOUR * HOUR
MINUTE = 60_000


def traded(world: World, name: str = "a", days: int = 45, **wanted: Any) -> int:
    """Return an account that decided on every candle until now."""
    account = add_account(world, "alice", name, **wanted)
    trading = Trading(world, account, NEWEST - days * DAY)
    trading.run(NEWEST, 2)
    trading.save()
    return account


def due(world: World, now_ms: int = NOW) -> list[DueReport]:
    """Return what is due."""
    with world.database.reading() as connection:
        return due_reports(connection, now_ms)


def choose(world: World, name: str, **values: Any) -> None:
    """Change a person's choices."""
    with world.database.transaction() as connection:
        connection.execute(sa.update(users).where(users.c.name == name).values(**values))


def write(world: World, one: DueReport, status: str = "done", created_at: int = NOW) -> None:
    """Write a report's row."""
    with world.database.transaction() as connection:
        connection.execute(
            sa.insert(reports).values(
                account_id=one.account_id, user_id=one.user_id, kind=one.kind, period=one.period, language="en",
                status=status, created_at=created_at,
            )
        )  # fmt: skip


def test_yesterday_the_last_week_and_the_last_month_are_due_after_an_absence(world: World) -> None:
    account, alice = traded(world), world.user("alice")
    assert due(world) == [
        DueReport(account, alice, "daily", "2026-05-01"),
        DueReport(account, alice, "monthly", "2026-04-01"),
        DueReport(account, alice, "weekly", "2026-04-20"),
    ]


def test_a_report_that_has_a_row_is_not_due_again_failed_or_not(world: World) -> None:
    traded(world)
    for one, status in zip(due(world), ("done", "failed", "done"), strict=True):
        write(world, one, status)
    assert due(world) == []
    assert [one.period for one in due(world, NOW + DAY)] == ["2026-05-02"]


def test_missed_days_are_made_up_for_by_the_newest_alone(world: World) -> None:
    account, alice = traded(world), world.user("alice")
    choose(world, "alice", weekly_report=False, monthly_report=False)
    write(world, DueReport(account, alice, "daily", "2026-04-26"))
    assert [one.period for one in due(world)] == ["2026-05-01"]


def test_before_the_hour_the_day_is_not_due_yet(world: World) -> None:
    account, alice = traded(world), world.user("alice")
    choose(world, "alice", report_at=10 * 60, weekly_report=False, monthly_report=False)
    write(world, DueReport(account, alice, "daily", "2026-04-30"))
    assert due(world) == []
    assert due(world, NOW + 29 * MINUTE) == []  # 09:59 in Seoul
    assert [one.period for one in due(world, NOW + 30 * MINUTE)] == ["2026-05-01"]


def test_the_readers_own_zone_sets_the_hour(world: World) -> None:
    account, alice = traded(world), world.user("alice")
    choose(world, "alice", zone="Europe/Berlin", weekly_report=False, monthly_report=False)
    write(world, DueReport(account, alice, "daily", "2026-04-30"))
    assert due(world) == []  # it is half past two in Berlin
    assert [one.period for one in due(world, NOW + 6 * HOUR)] == ["2026-05-01"]


def test_weekly_and_monthly_reports_can_be_switched_off(world: World) -> None:
    traded(world)
    choose(world, "alice", weekly_report=False, monthly_report=False)
    assert [one.kind for one in due(world)] == ["daily"]


def test_an_account_that_never_started_has_nothing_due(world: World) -> None:
    add_account(world, "alice", "a")
    assert due(world) == []


def test_an_account_started_today_has_no_report_on_yesterday(world: World) -> None:
    traded(world, days=0)
    assert due(world) == []


def test_an_account_that_was_stopped_all_the_while_is_left_in_peace(world: World) -> None:
    account = traded(world)
    with world.database.transaction() as connection:
        stopped = sa.update(account_states).where(account_states.c.account_id == account)
        connection.execute(stopped.values(status="stopped", core_state='{"positions": [], "markets": {}}'))
    assert [one.kind for one in due(world, NOW + 9 * DAY)] == []
    assert "monthly" in [one.kind for one in due(world)]  # it traded in April


def test_those_who_trade_an_account_with_its_owner_get_reports_and_those_who_look_do_not(world: World) -> None:
    account = traded(world)
    minsu, otto = world.user("minsu"), world.user("otto")
    with world.database.transaction() as connection:
        share_account(connection, machine("cli"), account, minsu, "trader", NOW)
    assert {one.user_id for one in due(world)} == {world.user("alice"), minsu}
    assert otto not in {one.user_id for one in due(world)}
    with world.database.transaction() as connection:
        share_account(connection, machine("cli"), account, minsu, "viewer", NOW)
    assert {one.user_id for one in due(world)} == {world.user("alice")}


def test_somebody_who_was_disabled_gets_nothing(world: World) -> None:
    traded(world)
    choose(world, "alice", disabled_at=NOW)
    assert due(world) == []


def test_a_market_with_a_time_of_its_own_is_reported_on_once_a_day_of_ours(world: World) -> None:
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, NEWEST - 400 * DAY, lag_ms=360 * DAY)
    trading.run(NEWEST - 360 * DAY, 2)
    trading.save()
    choose(world, "alice", weekly_report=False, monthly_report=False)
    (one,) = due(world)
    assert date.fromisoformat(one.period) < date(2025, 6, 1)
    write(world, one)
    trading.run(NEWEST - 350 * DAY, 2)  # ten of its days later, on the same day of ours
    trading.save()
    assert due(world) == []
    assert len(due(world, NOW + DAY)) == 1

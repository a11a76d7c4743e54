"""The bot on PostgreSQL: the journeys that depend most on what a database promises, the same as on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys import test_candle, test_stop
from tests.parity import test_bot_backtest
from tests.trading import test_daily_lock, test_faults, test_kill

pytestmark = pytest.mark.postgres


@pytest.fixture
def folder(postgres_url: str, tmp_path: Path) -> Path:
    """Return the folder of a rig whose database is on the PostgreSQL server."""
    (tmp_path / "database.txt").write_text(postgres_url)
    return tmp_path


def test_killed_at_every_point_and_again_while_recovering(folder: Path) -> None:
    test_kill.test_killed_at_every_point_and_again_while_recovering("usdm", folder)


def test_a_candle_becomes_a_protected_position(folder: Path) -> None:
    test_candle.test_a_candle_becomes_a_protected_position(folder)


def test_close_leaves_nothing_but_the_owners_own_coins(folder: Path) -> None:
    test_stop.test_close_leaves_nothing_but_the_owners_own_coins("spot", "stop_close", "stopped", folder)


def test_random_faults_leave_the_truth_in_the_database(folder: Path) -> None:
    test_faults.test_random_faults_leave_the_truth_in_the_database(0, folder)


def test_the_lock_of_a_day_survives_a_restart(folder: Path) -> None:
    test_daily_lock.test_a_breach_inside_a_candle_locks_the_day_at_once_and_until_the_next("close", folder)


def test_the_bot_equals_the_backtest_to_the_bit(folder: Path) -> None:
    test_bot_backtest.test_the_bot_equals_the_backtest_to_the_bit("spot, trailing, no take", folder)

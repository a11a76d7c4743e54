"""Figures on curves small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ctp.research.metrics import (
    daily_returns,
    drawdown,
    iso_time,
    monthly_returns,
    profit_factor,
    sharpe,
    sortino,
)

HOUR = 3_600_000
DAY = 24 * HOUR
MIDNIGHT_SEOUL = 1_672_498_800_000  # 2023-01-01T00:00+09:00


def test_a_close_at_midnight_belongs_to_the_new_day() -> None:
    time = MIDNIGHT_SEOUL + np.array([0, 12, 24, 36]) * HOUR
    equity = np.array([100.0, 110.0, 90.0, 99.0])
    assert daily_returns(time, equity, 9.0) == [90.0 / 100.0 - 1.0, 99.0 / 90.0 - 1.0]


def test_a_last_day_of_one_decision_has_no_return() -> None:
    time = MIDNIGHT_SEOUL + np.array([0, 12, 24]) * HOUR
    assert daily_returns(time, np.array([100.0, 110.0, 90.0]), 9.0) == [90.0 / 100.0 - 1.0]


def test_partial_months_are_marked() -> None:
    time = MIDNIGHT_SEOUL + np.arange(0, 70) * DAY
    months = monthly_returns(time, np.linspace(100.0, 170.0, 70), 9.0, DAY)
    assert [(month.name, month.is_full) for month in months] == [
        ("2023-01", True),
        ("2023-02", True),
        ("2023-03", False),
    ]


def test_drawdown_runs_from_its_peak_to_the_first_close_back_at_it() -> None:
    time = np.arange(6) * DAY
    assert drawdown(time, np.array([100.0, 120.0, 90.0, 119.0, 120.0, 130.0])) == (0.25, 3.0)
    assert drawdown(time, np.array([100.0, 120.0, 90.0, 100.0, 110.0, 119.0])) == (0.25, 4.0)
    assert drawdown(time, np.linspace(1.0, 2.0, 6)) == (0.0, 0.0)


def test_ratios_by_hand() -> None:
    daily = [0.01, -0.02, 0.03]
    centre = 0.02 / 3
    deviation = math.sqrt(((0.01 - centre) ** 2 + (-0.02 - centre) ** 2 + (0.03 - centre) ** 2) / 2)
    assert sharpe(daily) == pytest.approx(centre / deviation * math.sqrt(365))
    assert sortino(daily) == pytest.approx(centre / math.sqrt(0.0004 / 3) * math.sqrt(365))
    assert sharpe([0.01]) is None
    assert sharpe([0.01, 0.01]) is None
    assert profit_factor([1.0, 2.0]) == math.inf
    assert profit_factor([3.0, -2.0]) == 1.5
    assert profit_factor([]) is None


def test_times_read_as_iso() -> None:
    assert iso_time(MIDNIGHT_SEOUL) == "2022-12-31T15:00:00Z"
    assert iso_time(MIDNIGHT_SEOUL + 5) == "2022-12-31T15:00:00.005Z"

"""Where a position is protected: rounding towards the entry, brackets, and a trailing stop that never moves back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctp.core.stops import (
    bankruptcy_price,
    bracket_at,
    liquidation_price,
    stop_loss_ticks,
    take_profit_ticks,
    trailing_stop_ticks,
)
from ctp.core.trader import trail
from ctp.core.types import LONG, NAN, SHORT
from tests.core.examples import market, position


@pytest.mark.parametrize(
    ("side", "entry", "stop", "take"),
    [
        (LONG, 100.0, 980, 1040),  # on a tick already
        (LONG, 100.03, 981, 1040),  # 98.0294 up, 104.0312 down: both towards the entry
        (SHORT, 100.0, 1020, 960),
        (SHORT, 100.03, 1020, 961),  # 102.0306 down, 96.0288 up
    ],
)
def test_stop_and_take_are_rounded_to_a_tick_towards_the_entry(side: int, entry: float, stop: int, take: int) -> None:
    assert stop_loss_ticks(market(), side, entry, 0.02) == stop
    assert take_profit_ticks(market(), side, entry, 0.04) == take


def test_a_take_profit_of_zero_is_none() -> None:
    assert take_profit_ticks(market(), LONG, 100.0, 0.0) == 0


def test_a_trailing_stop_is_rounded_towards_the_market() -> None:
    assert trailing_stop_ticks(market(), LONG, 100.03, 0.01) == 991  # 99.0297 up
    assert trailing_stop_ticks(market(), SHORT, 100.03, 0.01) == 1010  # 101.0303 down


TIERS = market(
    bracket_floor=(0.0, 1_000.0, 10_000.0),
    bracket_rate=(0.004, 0.01, 0.05),
    bracket_amount=(0.0, 6.0, 406.0),
    bracket_leverage=(10.0, 5.0, 2.0),
)


@pytest.mark.parametrize(
    ("notional", "index"), [(0.0, 0), (999.99, 0), (1_000.0, 1), (9_999.0, 1), (10_000.0, 2), (1e12, 2)]
)
def test_a_bracket_holds_from_its_floor_on(notional: float, index: int) -> None:
    assert bracket_at(TIERS, notional) == index


def test_liquidation_follows_the_bracket_at_the_entry_notional() -> None:
    size, entry = 50.0, 100.0  # 5,000: rate 1 %, amount 6
    margin = size * entry / 5.0
    long, short = (liquidation_price(TIERS, side, size, entry, margin) for side in (LONG, SHORT))
    assert long == (5_000.0 - 1_000.0 - 6.0) / (50.0 * 0.99)
    assert short == (5_000.0 + 1_000.0 + 6.0) / (50.0 * 1.01)
    # At the liquidation price what is left of the margin is the maintenance margin.
    assert margin + size * (long - entry) == pytest.approx(size * long * 0.01 - 6.0)
    assert margin - size * (short - entry) == pytest.approx(size * short * 0.01 - 6.0)


def test_spot_is_never_liquidated() -> None:
    assert math.isnan(liquidation_price(market(is_perpetual=0), LONG, 1.0, 100.0, 100.0))


def test_the_margin_is_gone_at_the_bankruptcy_price() -> None:
    assert bankruptcy_price(LONG, 100.0, 4.0) == 75.0
    assert bankruptcy_price(SHORT, 100.0, 4.0) == 125.0


@given(
    side=st.sampled_from([LONG, SHORT]),
    closes=st.lists(st.floats(10.0, 1_000.0), min_size=1, max_size=30),
    width=st.floats(0.001, 0.5),
)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_trailing_stop_never_moves_back(side: int, closes: list[float], width: float) -> None:
    first = 980 if side == LONG else 1020
    held = position(side=side, stop_ticks=first, first_stop_ticks=first, best_close=NAN)
    for count, close in enumerate(closes, 1):
        moved = trail(market(), held, close, width)
        assert (moved.stop_ticks - held.stop_ticks) * side >= 0
        best = max(closes[:count]) if side == LONG else min(closes[:count])
        assert moved.best_close == best
        wanted = trailing_stop_ticks(market(), side, best, width)
        assert moved.stop_ticks == (max(first, wanted) if side == LONG else min(first, wanted))
        assert moved._replace(stop_ticks=0, best_close=0.0) == held._replace(stop_ticks=0, best_close=0.0)
        held = moved


def test_without_a_trailing_width_the_stop_stays() -> None:
    assert trail(market(), position(), 500.0, 0.0) == position()

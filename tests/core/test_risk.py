"""How much may be risked and when trading stops: sizes by hand, every refusal, the day, the locks, the streak."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctp.core.book import gross_profit
from ctp.core.fills import entry_price, exit_price, taker_fee
from ctp.core.risk import MAX_RISK_PER_TRADE, add_plan, add_position, mark_account, size_entry, streak_factor
from ctp.core.steps import price_of, size_of
from ctp.core.stops import stop_loss_ticks
from ctp.core.types import (
    ALLOWED,
    BELOW_MINIMUM,
    DAILY_LOSS_LOCK,
    LIQUIDATION_TOO_NEAR,
    LONG,
    NO_BOUND,
    NO_MARGIN,
    SHORT,
    Account,
    Exposure,
    Market,
)
from tests.core.examples import HOUR_MS, NOTHING_OPEN, account, market, plan, position, risk

DAY_MS = 24 * HOUR_MS


def sized(
    *, numbers: Any = None, rules: Market | None = None, money: Account | None = None, used: Exposure = NOTHING_OPEN,
    side: int = LONG, close: float = 100.0, width: float = 0.02,
) -> Any:  # fmt: skip
    """Size an entry; everything has a plain default."""
    return size_entry(numbers or risk(), rules or market(), money or account(), used, side, close, width)


# --- the size, by hand ------------------------------------------------------------------------------------------------


def test_the_owners_formula_makes_the_size() -> None:
    """1 % of 10,000 with a 2 % stop is a notional of 5,000, at leverage 3 a margin of 1,666.67."""
    found = sized()
    assert (found.refusal, found.lots, found.leverage) == (ALLOWED, 50_000, 3.0)
    assert found.wanted == pytest.approx(5_000.0)
    assert found.budget == pytest.approx(300.0)
    assert found.room == pytest.approx(5_000.0)


@pytest.mark.parametrize(
    ("changes", "wanted", "notional"),
    [
        # 2 % of equity at most, fees and slippage included: 200 ÷ (0.02 + 2 × 0.001 + 2 × 0.0005)
        ({"numbers": risk(risk_per_trade=0.02), "rules": market(fee_rate=0.001, slippage=0.0005)}, 200 / 0.023, 200 / 0.023),
        # half of equity as margin: 10,000 × 0.5 × 1
        ({"numbers": risk(leverage=1, risk_per_trade=0.015)}, 5_000.0, 5_000.0),
        # the day's budget: 3 % less the 2.5 % already lost leaves 50
        ({"money": account(balance=9_750.0, equity=9_750.0)}, 97.5 / 0.02, 50.0 / 0.02),
        # what other positions would lose at their stops comes out of the same budget
        ({"used": Exposure(1, 100.0, -150.0, 100.0)}, 5_000.0, 50.0 / 0.02),
        # the margin of others leaves 500 × 3
        ({"used": Exposure(1, 4_500.0, 0.0, 0.0)}, 5_000.0, 1_500.0),
        # free balance bounds the room although equity is higher: (2,000 − 1,200) × 3
        ({"money": account(balance=2_000.0), "used": Exposure(1, 1_200.0, 8_000.0, 0.0)}, 5_000.0, 2_400.0),
        # so does a wallet that no longer covers the balance
        ({"used": Exposure(1, 1_200.0, 0.0, 0.0, 2_000.0)}, 5_000.0, 2_400.0),
        # three losses in a row halve it, four quarter it, more stay at the floor
        ({"money": account(losses=3)}, 2_500.0, 2_500.0),
        ({"money": account(losses=4)}, 1_250.0, 1_250.0),
        ({"money": account(losses=40)}, 1_250.0, 1_250.0),
    ],
)
def test_what_makes_a_size_smaller(changes: dict[str, Any], wanted: float, notional: float) -> None:
    found = sized(**changes)
    assert found.refusal == ALLOWED
    assert found.wanted == pytest.approx(wanted)
    assert found.notional == pytest.approx(notional)
    assert found.lots == pytest.approx(notional / 100.0 * 1000, abs=1)


def test_leverage_stays_within_the_bracket_at_the_wanted_notional() -> None:
    tiers = market(
        bracket_floor=(0.0, 4_000.0), bracket_rate=(0.01, 0.01), bracket_amount=(0.0, 0.0), bracket_leverage=(20.0, 2.0)
    )
    assert sized(numbers=risk(leverage=10, risk_per_trade=0.007), rules=tiers).leverage == 10.0  # 3,500
    assert sized(numbers=risk(leverage=10), rules=tiers).leverage == 2.0  # 5,000
    # The bracket is looked up before budget and margin shrink the notional.
    spent = account(balance=9_750.0, equity=9_750.0)
    assert sized(numbers=risk(leverage=10), rules=tiers, money=spent).leverage == 2.0


def test_lots_are_rounded_down() -> None:
    assert sized(rules=market(lot_divisor=1), close=300.0).lots == 16  # 16.67


# --- refusals by size -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"money": account(balance=9_700.0, equity=9_700.0)}, DAILY_LOSS_LOCK),  # nothing is left of the day
        ({"money": account(balance=9_720.0, equity=9_720.0)}, DAILY_LOSS_LOCK),  # 20 left: 1,000 of 4,860, under a quarter
        ({"used": Exposure(1, 5_000.0, 0.0, 0.0)}, NO_MARGIN),
        ({"used": Exposure(1, 4_700.0, 0.0, 0.0)}, NO_MARGIN),  # 900 of 5,000
        ({"used": Exposure(1, 1_200.0, 0.0, 0.0, 1_500.0)}, NO_MARGIN),  # 900 of 5,000 are in the wallet
        ({"used": Exposure(1, 0.0, 0.0, 0.0, -10.0)}, NO_MARGIN),  # others' losses have used up the wallet
        ({"used": Exposure(1, 5_000.0, -300.0, 0.0)}, DAILY_LOSS_LOCK),  # both used up: the day is named
        ({"numbers": risk(risk_per_trade=0)}, DAILY_LOSS_LOCK),  # nothing is wanted
        ({"rules": market(min_notional=5_000.0)}, BELOW_MINIMUM),  # 50 × 98 at the stop is 4,900
        ({"rules": market(lot_multiple=60, lot_divisor=1)}, BELOW_MINIMUM),  # less than one lot
        ({"rules": market(min_notional=5_000.0), "side": SHORT}, ALLOWED),  # a short is worth least at the close
        ({"numbers": risk(leverage=10, risk_per_trade=0.02), "width": 0.09}, LIQUIDATION_TOO_NEAR),
        ({"numbers": risk(leverage=10, risk_per_trade=0.02), "width": 0.09, "side": SHORT}, LIQUIDATION_TOO_NEAR),
        ({"numbers": risk(leverage=10, risk_per_trade=0.02, liquidation_buffer=0), "width": 0.09}, ALLOWED),
        ({"numbers": risk(leverage=10, risk_per_trade=0.02), "width": 0.07}, ALLOWED),
    ],
)
def test_what_refuses_a_size(changes: dict[str, Any], refusal: int) -> None:
    found = sized(**changes)
    assert found.refusal == refusal
    assert (found.lots > 0) == (refusal == ALLOWED)


def test_a_quarter_of_what_was_wanted_is_traded_and_less_is_not() -> None:
    # 3 % × 10,000 − loss so far = budget; wanted is 1 % of equity; a quarter of it is budget = 0.25 % of equity.
    def money(loss: float) -> Account:
        return account(balance=10_000.0 - loss, equity=10_000.0, day_start_equity=10_000.0)

    assert sized(money=money(275.0)).refusal == ALLOWED
    assert sized(money=money(275.01)).refusal == DAILY_LOSS_LOCK


# --- streak, day, locks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "factor"), [(0, 1.0), (2, 1.0), (3, 0.5), (4, 0.25), (5, 0.25), (100, 0.25)]
)
def test_the_risk_shrinks_from_the_third_loss_in_a_row(losses: int, factor: float) -> None:
    assert streak_factor(risk(), losses) == factor


def test_the_streak_factor_is_multiplied_not_raised() -> None:
    assert streak_factor(risk(shrink=0.7, shrink_floor=0), 5) == 0.7 * 0.7 * 0.7


MIDNIGHT_SEOUL = 15 * HOUR_MS  # 00:00 at +09:00


@pytest.mark.parametrize(
    ("close_time", "day"), [(MIDNIGHT_SEOUL - 1, 0), (MIDNIGHT_SEOUL, 1), (MIDNIGHT_SEOUL + DAY_MS - 1, 1)]
)
def test_a_close_at_midnight_of_the_risk_zone_belongs_to_the_new_day(close_time: int, day: int) -> None:
    assert mark_account(risk(), account(), 10_000.0, close_time).day == day


def test_a_new_day_starts_from_its_first_equity_and_lifts_the_daily_lock_only() -> None:
    locked = account(daily_locked=1, drawdown_locked=1, day_start_equity=12_000.0)
    same = mark_account(risk(max_drawdown=1), locked, 11_900.0, MIDNIGHT_SEOUL - 1)
    assert (same.day_start_equity, same.daily_locked, same.drawdown_locked) == (12_000.0, 1, 1)
    new = mark_account(risk(max_drawdown=1), locked, 11_000.0, MIDNIGHT_SEOUL)
    assert (new.day_start_equity, new.daily_locked, new.drawdown_locked) == (11_000.0, 0, 1)


@pytest.mark.parametrize(("equity", "locked"), [(9_700.01, 0), (9_700.0, 1), (9_000.0, 1)])
def test_the_daily_lock_engages_at_the_limit_itself_and_stays(equity: float, locked: int) -> None:
    found = mark_account(risk(), account(), equity, HOUR_MS)
    assert found.daily_locked == locked
    assert mark_account(risk(), found, 10_500.0, 2 * HOUR_MS).daily_locked == locked


@pytest.mark.parametrize(
    ("max_drawdown", "equity", "locked"), [(0.2, 8_000.01, 0), (0.2, 8_000.0, 1), (1, 1.0, 0), (1, -5.0, 0)]
)
def test_the_drawdown_lock_engages_at_its_limit_and_1_switches_it_off(max_drawdown: float, equity: float, locked: int) -> None:
    found = mark_account(risk(max_drawdown=max_drawdown), account(), equity, MIDNIGHT_SEOUL)
    assert found.drawdown_locked == locked
    assert found.peak == 10_000.0


def test_the_first_decision_sets_day_and_peak() -> None:
    fresh = account(is_started=0, peak=99_999.0, day_start_equity=99_999.0, day=1)
    found = mark_account(risk(), fresh, 9_000.0, MIDNIGHT_SEOUL)
    assert (found.peak, found.day_start_equity, found.is_started, found.drawdown_locked) == (9_000.0, 9_000.0, 1, 0)


def test_what_is_open_and_planned_counts_as_if_stopped_now() -> None:
    costly = market(fee_rate=0.001, slippage=0.01)
    used = add_position(costly, position(), NOTHING_OPEN)
    price = 98.0 * (1 - 0.01)
    assert used == Exposure(1, 100.0 / 3.0, (price - 100.0) - 0.001 * price, 0.0)
    used = add_plan(costly, plan(loss_width=0.042), used)
    assert (used.slots, used.margin, used.planned_loss) == (2, 100.0 / 3.0 + 100.0 / 3.0, 100.0 * 0.042)


# --- properties -------------------------------------------------------------------------------------------------------

MARKETS = st.builds(
    lambda fee, slippage, floor_rate, tick, lot: market(
        fee_rate=fee, slippage=slippage, tick_divisor=tick, lot_divisor=lot, min_notional=0.0, bracket_rate=(floor_rate,)
    ),
    st.floats(0.0, 0.01),
    st.floats(0.0, 0.01),
    st.floats(0.0, 0.05),
    st.sampled_from([10, 1000, 100_000_000]),
    st.sampled_from([1, 1000, 100_000_000]),
)
RISKS = st.builds(
    risk,
    risk_per_trade=st.floats(0.001, 0.02),
    leverage=st.floats(1.0, 10.0),
    daily_loss_limit=st.floats(0.005, 0.03),
    max_margin_fraction=st.floats(0.1, 0.9),
    shrink=st.floats(0.0, 1.0),
    liquidation_buffer=st.floats(0.0, 0.4),
)


@given(
    numbers=RISKS,
    rules=MARKETS,
    side=st.sampled_from([LONG, SHORT]),
    equity=st.floats(100.0, 1e7),
    balance=st.floats(0.8, 1.2),
    day_start=st.floats(0.99, 1.02),
    margin=st.floats(0.0, 0.2),
    stopped_out=st.floats(-0.02, 0.05),
    planned_loss=st.floats(0.0, 0.01),
    cover=st.floats(-0.1, 1.5) | st.just(NO_BOUND),
    close=st.floats(0.5, 100_000.0),
    width=st.floats(0.002, 0.2),
    losses=st.integers(0, 10),
)
@settings(deadline=None, derandomize=True, max_examples=1_500)
def test_no_input_makes_a_trade_risk_more_than_its_ceiling_or_the_day_more_than_its_limit(
    numbers: Any, rules: Market, side: int, equity: float, balance: float, day_start: float, margin: float,
    stopped_out: float, planned_loss: float, cover: float, close: float, width: float, losses: int,
) -> None:  # fmt: skip
    """A trade that fills at the close and at its stop, both fees and both slippages paid."""
    money = account(balance=balance * equity, equity=equity, day_start_equity=day_start * equity, losses=losses)
    used = Exposure(1, margin * equity, stopped_out * equity, planned_loss * equity, cover * equity)
    found = sized(numbers=numbers, rules=rules, money=money, used=used, side=side, close=close, width=width)
    if found.refusal != ALLOWED:
        assert found.lots == 0
        return
    size = size_of(rules, found.lots)
    one_lot = 2e-9 * size_of(rules, 1)  # what rounding to lots forgives
    nearly = 1 + 1e-12

    planned = (size - one_lot) * close * found.loss_width
    assert planned <= MAX_RISK_PER_TRADE * equity * nearly
    worst = money.balance + used.stopped_out - used.planned_loss - planned
    floor = (1 - numbers.daily_loss_limit) * money.day_start_equity
    assert worst >= floor - 1e-12 * (abs(money.balance) + money.day_start_equity + equity)
    # size is margin: what is put up stays within the room
    room = min(numbers.max_margin_fraction * equity, money.balance, used.cover) - used.margin
    assert (size - one_lot) * close / found.leverage <= room * nearly + 1e-12 * equity

    # What the stopped trade costs in the end. On a short the exit fee is paid on a price above the entry, which
    # the definition's loss width leaves out: up to fee × (stop width + slippage) of the notional.
    entry = entry_price(rules, side, close)
    stop = price_of(rules, stop_loss_ticks(rules, side, entry, width))
    out = exit_price(rules, side, stop)
    cost = -gross_profit(side, size, entry, out) + taker_fee(rules, size, entry) + taker_fee(rules, size, out)
    left_out = 0.0 if side == LONG else rules.fee_rate * (width + rules.slippage) + rules.slippage * width
    left_out += 2 * (rules.slippage + rules.fee_rate) * rules.slippage
    assert cost <= MAX_RISK_PER_TRADE * equity * nearly + size * close * left_out + one_lot * close

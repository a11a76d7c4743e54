"""The close of a candle: which decision comes first, what it refuses, and that a refusal leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest

from ctp.core.book import book_entry, book_exit, book_funding, funding_payment
from ctp.core.strategies import RsiMeanReversion
from ctp.core.trader import close_candles, decide, start_account, start_trader
from ctp.core.types import (
    ALLOWED,
    CLOCK_DRIFT,
    COOLDOWN,
    DAILY_LOSS,
    DAILY_LOSS_LOCK,
    DRAWDOWN_LOCK,
    ENTER,
    EXCHANGE_UNAVAILABLE,
    EXIT,
    EXIT_SIGNAL,
    FLAT,
    GAP_IN_DATA,
    HOLD,
    LIQUIDATION,
    LONG,
    MAX_OPEN_POSITIONS,
    NO_CANDLE,
    NO_MARGIN,
    NO_PLAN,
    NO_POSITION,
    NO_SIGNAL,
    PAUSED,
    REFUSALS,
    REFUSED,
    SHORT,
    STALE_CANDLE,
    STOP_LOSS,
    TRAILING_STOP,
    WARMING_UP,
    Account,
    Candle,
    Exposure,
    Signal,
    TraderState,
)
from tests.core.examples import HOUR_MS, NOTHING_OPEN, account, market, plan, position, risk, strategy

BUY = Signal(1, LONG, 0, 0, 0.02, 0)


def state(**changes: Any) -> TraderState:
    """Return a warm symbol that wants to buy at 100."""
    plain = start_trader(strategy(warm_up=0))
    return plain._replace(signal=BUY, seen=100, time=HOUR_MS, close=100.0)._replace(**changes)


def decided(
    symbol: TraderState, *, money: Account | None = None, used: Exposure = NOTHING_OPEN, gate: int = ALLOWED, **risks: Any
) -> tuple[TraderState, Any]:
    """Decide for one symbol."""
    return decide(strategy(warm_up=50), risk(**risks), market(), symbol, money or account(), used, gate)


def test_an_entry_signal_plans_a_market_order_of_the_sized_lots() -> None:
    after, intent = decided(state())
    assert (intent.outcome, intent.side, intent.lots, intent.refusal) == (ENTER, LONG, 50_000, ALLOWED)
    assert (after.plan.action, after.plan.lots, after.plan.stop_width, after.plan.close) == (ENTER, 50_000, 0.02, 100.0)


WORST = {"seen": 49, "after_gap": 1, "cooldown": 1}
LOCKS = {"daily_locked": 1, "drawdown_locked": 1}


@pytest.mark.parametrize(
    ("gate", "symbol", "money", "slots", "refusal"),
    [
        # Every later reason holds as well; the first that applies is named.
        (PAUSED, WORST, LOCKS, 3, PAUSED),
        (EXCHANGE_UNAVAILABLE, WORST, LOCKS, 3, EXCHANGE_UNAVAILABLE),
        (CLOCK_DRIFT, WORST, LOCKS, 3, CLOCK_DRIFT),
        (STALE_CANDLE, WORST, LOCKS, 3, STALE_CANDLE),
        (ALLOWED, WORST, LOCKS, 3, WARMING_UP),
        (ALLOWED, {**WORST, "seen": 50}, LOCKS, 3, GAP_IN_DATA),
        (ALLOWED, {"cooldown": 1}, LOCKS, 3, COOLDOWN),
        (ALLOWED, {}, LOCKS, 3, DAILY_LOSS_LOCK),
        (ALLOWED, {}, {"drawdown_locked": 1}, 3, DRAWDOWN_LOCK),
        (ALLOWED, {}, {}, 3, MAX_OPEN_POSITIONS),
        (ALLOWED, {}, {}, 2, NO_MARGIN),
    ],
)
def test_the_first_reason_that_applies_refuses(
    gate: int, symbol: dict[str, int], money: dict[str, int], slots: int, refusal: int
) -> None:
    used = Exposure(slots, 5_000.0, 0.0, 0.0)
    before = state(**symbol)
    after, intent = decided(before, money=account(**money), used=used, gate=gate)
    assert (intent.outcome, REFUSALS[intent.refusal]) == (REFUSED, REFUSALS[refusal])
    # No trace: nothing planned, nothing counted, but the candle has used up one close of the cooldown.
    assert after == before._replace(plan=NO_PLAN, cooldown=max(0, before.cooldown - 1))
    assert intent.lots == 0


def test_refusals_are_named_in_the_order_in_which_they_are_tried() -> None:
    assert REFUSALS[1:] == (
        "paused", "exchange_unavailable", "clock_drift", "stale_candle", "warming_up", "gap_in_data", "cooldown",
        "daily_loss_lock", "drawdown_lock", "max_open_positions", "no_margin", "below_minimum", "liquidation_too_near",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signal", "side", "locked", "on_daily_loss", "outcome", "reason"),
    [
        (Signal(1, FLAT, 0, 0, 0.02, 0), LONG, 0, "lock", HOLD, 0),
        (Signal(1, FLAT, 1, 0, 0.02, 0), LONG, 0, "lock", EXIT, EXIT_SIGNAL),
        (Signal(1, FLAT, 1, 0, 0.02, 0), SHORT, 0, "lock", HOLD, 0),
        (Signal(1, FLAT, 0, 1, 0.02, 0), SHORT, 0, "lock", EXIT, EXIT_SIGNAL),
        (Signal(1, FLAT, 0, 0, 0.02, 0), LONG, 1, "lock", HOLD, 0),  # the lock alone only stops entries
        (Signal(1, FLAT, 0, 0, 0.02, 0), LONG, 1, "close", EXIT, DAILY_LOSS),
        (Signal(1, FLAT, 1, 0, 0.02, 0), LONG, 1, "close", EXIT, DAILY_LOSS),  # wins over the signal
        (Signal(1, LONG, 0, 0, 0.02, 0), LONG, 0, "lock", HOLD, 0),  # no adding
        (Signal(1, SHORT, 1, 0, 0.02, 0), LONG, 0, "lock", EXIT, EXIT_SIGNAL),  # no reversal in one decision
    ],
)
def test_what_happens_to_an_open_position(
    signal: Signal, side: int, locked: int, on_daily_loss: str, outcome: int, reason: int
) -> None:
    held = state(signal=signal, position=position(side=side))
    after, intent = decided(held, money=account(daily_locked=locked), on_daily_loss=on_daily_loss)
    assert (intent.outcome, intent.reason, after.plan.reason) == (outcome, reason, reason)
    assert after.position == held.position
    assert after.plan.action in (NO_SIGNAL, EXIT)


def test_an_exit_is_planned_even_while_entries_are_refused_from_outside() -> None:
    held = state(signal=Signal(1, FLAT, 1, 0, 0.02, 0), position=position())
    for gate in (PAUSED, EXCHANGE_UNAVAILABLE, CLOCK_DRIFT, STALE_CANDLE):
        assert decided(held, gate=gate)[1].outcome == EXIT


# --- whole closes -----------------------------------------------------------------------------------------------------


def closes(
    symbols: list[TraderState], money: Account, candles: list[Candle | None], *, time: int, **risks: Any
) -> tuple[list[TraderState], Account, list[Any]]:
    """Close one candle time for an account whose strategy never has a signal of its own."""
    quiet = strategy(warm_up=1, volume_factor=0, period=2)
    count = len(symbols)
    return close_candles(
        quiet, risk(**risks), [market()] * count, symbols, money, candles, [int(each is not None) for each in candles],
        [ALLOWED] * count, [None] * count, HOUR_MS, time + HOUR_MS,
    )  # fmt: skip


def fresh(count: int) -> list[TraderState]:
    """Return symbols before their first candle."""
    return [start_trader(strategy(warm_up=1, volume_factor=0, period=2)) for _ in range(count)]


def flat_candle(time: int, price: float) -> Candle:
    """Return a candle that stood still."""
    return Candle(time, price, price, price, price, 1.0)


def test_the_account_decides_first_when_its_first_symbol_is_warm() -> None:
    symbols, money = fresh(2), start_account(1_000.0)
    for step in range(1, 4):
        late = flat_candle(step * HOUR_MS, 5.0) if step > 2 else None
        symbols, money, intents = closes(symbols, money, [flat_candle(step * HOUR_MS, 7.0), late], time=step * HOUR_MS)
        assert money.is_started == (step == 3)  # RSI of period 2 is defined at the third close
    assert intents[1].outcome in (NO_SIGNAL, REFUSED)
    assert (money.equity, money.peak, money.day_start_equity) == (1_000.0, 1_000.0, 1_000.0)


def test_a_symbol_without_a_candle_is_marked_at_its_last_close_and_the_record_says_so() -> None:
    symbols, money = fresh(2), start_account(1_000.0)
    for step in range(1, 4):
        both: list[Candle | None] = [flat_candle(step * HOUR_MS, 7.0), flat_candle(step * HOUR_MS, 100.0)]
        symbols, money, _ = closes(symbols, money, both, time=step * HOUR_MS)
    symbols[1] = symbols[1]._replace(position=position(entry_price=90.0), close=100.0)
    kept = symbols[1]
    symbols, money, intents = closes(symbols, money, [flat_candle(4 * HOUR_MS, 7.0), None], time=4 * HOUR_MS)
    assert intents[1].outcome == NO_CANDLE
    assert symbols[1] == kept
    assert money.equity == 1_000.0 + (100.0 - 90.0)


def test_a_candle_after_a_gap_is_known_as_one_and_the_next_is_not() -> None:
    symbols, money = fresh(1), start_account(1_000.0)
    for time, after_gap in ((1, 0), (2, 0), (4, 1), (5, 0)):
        symbols, money, _ = closes(symbols, money, [flat_candle(time * HOUR_MS, 7.0)], time=time * HOUR_MS)
        assert symbols[0].after_gap == after_gap


def test_the_warm_up_is_28_periods_unless_given() -> None:
    assert RsiMeanReversion(period=5).values().warm_up == 140
    assert RsiMeanReversion(period=5, warm_up=3).values().warm_up == 3


# --- booking ----------------------------------------------------------------------------------------------------------


def test_the_balance_changes_by_entry_fee_funding_then_gross_less_exit_fee() -> None:
    costly = market(fee_rate=0.001)
    held, money = book_entry(costly, NO_POSITION, account(), plan(), 0.04, 1000, 100.1, 100.0, 0.1001, HOUR_MS)
    assert money.balance == 10_000.0 - 0.1001
    assert (held.entry_price, held.lots, held.margin) == (100.1, 1000, 100.1 / 3.0)
    assert (held.first_stop_ticks, held.take_ticks) == (981, 1041)  # 98.098 up, 104.104 down
    held, money = book_funding(held, money, funding_payment(costly, held, 101.0, 0.0005))
    assert money.balance == 10_000.0 - 0.1001 - 1.0 * 101.0 * 0.0005
    assert held.funding == -101.0 * 0.0005
    before = money.balance
    held, money, trade = book_exit(costly, held, money, 1000, 103.0, 103.0, 0.103, EXIT_SIGNAL, 2 * HOUR_MS)
    gross = 103.0 - 100.1
    assert money.balance == before + (gross - 0.103)
    assert trade.pnl == gross - (0.1001 + 0.103) + -101.0 * 0.0005
    assert trade.r_multiple == trade.pnl / abs(100.1 - 98.1)
    assert (held, money.losses) == (NO_POSITION, 0)


def test_shorts_receive_what_longs_pay() -> None:
    assert funding_payment(market(), position(), 100.0, 0.001) == 0.1
    assert funding_payment(market(), position(side=SHORT), 100.0, 0.001) == -0.1


@pytest.mark.parametrize(("price", "losses"), [(100.1, 0), (100.0, 6), (99.0, 6)])
def test_a_win_resets_the_streak_and_anything_else_lengthens_it(price: float, losses: int) -> None:
    held = position()
    money = book_exit(market(), held, account(losses=5), 1000, price, price, 0.0, EXIT_SIGNAL, HOUR_MS)[1]
    assert money.losses == losses


@pytest.mark.parametrize(("reason", "named"), [(STOP_LOSS, TRAILING_STOP), (LIQUIDATION, LIQUIDATION)])
def test_a_stop_that_moved_is_booked_as_a_trailing_stop(reason: int, named: int) -> None:
    held = position(stop_ticks=990)
    assert book_exit(market(), held, account(), 1000, 99.0, 99.0, 0.0, reason, HOUR_MS)[2].reason == named

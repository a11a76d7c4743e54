"""Limit entries: what a candle does to one, and that every engine agrees on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from ctp.core.fills import is_limit_filled, rest_of_candle
from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs
from ctp.core.stops import entry_limit_ticks
from ctp.core.strategies import DonchianBreakout
from ctp.core.types import ENTER, FLAT, LONG, SHORT, STOP_LOSS, TAKE_PROFIT
from ctp.market.candles import Candles
from ctp.research.backtest import backtest
from ctp.research.bar_loop import trade_candle
from ctp.research.detail import AMBIGUOUS, CLEAR, RESOLVED, Detail
from ctp.research.detail_candles import NO_DETAIL
from ctp.research.sweep import sweep
from tests.core.examples import HOUR_MS, account, candle, market, plan, strategy
from tests.parity.cases import history_of, random_case
from tests.parity.compare import differences, run_oracle
from tests.parity.engines import run_compiled, run_plain
from tests.research.test_detail import walk

QUARTER = HOUR_MS // 4


@pytest.mark.parametrize(
    ("side", "close", "offset", "ticks"),
    [
        (LONG, 100.0, 0.001, 999),
        (LONG, 100.0, 0.0013, 998),  # 99.87: down, away from the market
        (SHORT, 100.0, 0.001, 1001),
        (SHORT, 100.0, 0.0013, 1002),  # 100.13: up
        (LONG, 0.1, 0.2, 0),  # no price is left
    ],
)
def test_the_limit_lies_a_tick_away_from_the_market(side: int, close: float, offset: float, ticks: int) -> None:
    assert entry_limit_ticks(market(), side, close, offset) == ticks


@pytest.mark.parametrize(
    ("side", "one", "is_filled"),
    [
        (LONG, candle(100.0, 101.0, 98.9, 100.0), True),
        (LONG, candle(100.0, 101.0, 99.0, 100.0), False),  # touched, not traded through
        (LONG, candle(99.0, 101.0, 98.0, 100.0), False),  # would have met the market: refused as post-only
        (LONG, candle(98.0, 101.0, 97.0, 100.0), False),
        (SHORT, candle(98.0, 99.1, 97.0, 98.0), True),
        (SHORT, candle(98.0, 99.0, 97.0, 98.0), False),
        (SHORT, candle(99.0, 100.0, 97.0, 98.0), False),
    ],
)
def test_a_limit_entry_fills_only_if_it_rested_and_was_traded_through(side: int, one: Any, is_filled: bool) -> None:
    assert is_limit_filled(side, 99.0, one) is is_filled


def entered(one: Any, detail: Detail = NO_DETAIL, side: int = LONG, ticks: int = 990, **changes: Any) -> tuple[Any, ...]:
    """Return (position side, fill price, exit reason, exit price, entry fee, verdict) after the candle of a limit entry."""
    from ctp.core.trader import start_trader

    numbers = strategy(take_profit=0.02, stop_loss=0.02, **changes)
    planned = plan(side=side, limit_ticks=ticks, close=99.0, stop_width=0.02)
    state = start_trader(numbers)._replace(plan=planned, time=one.time - HOUR_MS, close=100.0)
    costly = market(maker_fee_rate=0.001, fee_rate=0.002)
    after, money, trade, _, unfilled, verdict = trade_candle(
        numbers, costly, state, account(), one, HOUR_MS, detail, 0
    )
    assert after.plan.action != ENTER
    if unfilled:
        return (after.position.side, "unfilled")
    if trade.side == FLAT:
        return after.position.side, after.position.entry_price, 0, None, after.position.fee, verdict
    return FLAT, trade.entry_price, trade.reason, trade.exit_price, money.balance, verdict


def test_it_fills_at_its_price_with_the_makers_fee_and_without_slippage() -> None:
    assert entered(candle(100.0, 100.5, 98.0, 99.5)) == (LONG, 99.0, 0, None, 0.001 * 1.0 * 99.0, CLEAR)
    assert entered(candle(100.0, 101.0, 99.0, 99.5)) == (FLAT, "unfilled")


def test_its_stop_is_in_force_in_its_own_candle() -> None:
    """99 less 2 % is 97.02, rounded towards the entry: 97.1."""
    side, price, reason, left, _, verdict = entered(candle(100.0, 100.5, 97.1, 99.0))
    assert (side, price, reason, left, verdict) == (FLAT, 99.0, STOP_LOSS, 97.1, CLEAR)


def test_its_take_profit_fills_in_its_own_candle_only_where_the_close_proves_it() -> None:
    """99 and 2 % are 100.98, rounded towards the entry: 100.9. The high may have come first; the close did not."""
    assert entered(candle(100.0, 101.5, 98.5, 100.0))[:3] == (LONG, 99.0, 0)
    side, price, reason, left, _, _ = entered(candle(100.0, 101.5, 98.5, 101.0))
    assert (side, price, reason, left) == (FLAT, 99.0, TAKE_PROFIT, 100.9)


def inside(*fine: tuple[float, float, float, float]) -> Detail:
    """Return the quarters of the candle at one o'clock: open, high, low, close."""
    time = [HOUR_MS + QUARTER * place for place in range(len(fine))]
    return Detail([0, len(fine)], time, *([one[place] for one in fine] for place in range(4)), QUARTER)


def test_finer_candles_say_whether_the_take_profit_came_after_the_entry() -> None:
    one = candle(100.0, 101.5, 98.5, 100.0)
    down, up, calm = (100.0, 100.2, 98.5, 98.8), (98.8, 101.5, 98.8, 100.0), (100.0, 100.1, 99.9, 100.0)
    high = (100.0, 101.5, 100.0, 100.0)
    after = entered(one, inside(down, up, calm, calm))
    assert after[:4] == (FLAT, 99.0, TAKE_PROFIT, 100.9) and after[5] == RESOLVED
    before = entered(one, inside(high, down, calm, calm))
    assert before[:3] == (LONG, 99.0, 0) and before[5] == RESOLVED
    assert entered(one)[5] == AMBIGUOUS


def test_the_rest_of_a_candle_is_mirrored_for_a_short_entry() -> None:
    rest = rest_of_candle(SHORT, 101.0, candle(100.0, 102.0, 98.0, 99.0))
    assert (rest.open, rest.high, rest.low, rest.close) == (101.0, 102.0, 99.0, 99.0)


def test_plain_python_and_the_oracle_agree_where_every_entry_is_a_limit() -> None:
    filled = unfilled = 0
    for seed in range(40):
        case = random_case(seed, length=160)
        case = dataclasses.replace(case, strategy={**case.strategy, "limit_offset": (0.001, 0.004, 0.01)[seed % 3]})
        history = history_of(case)
        expected = run_oracle(case, history)
        assert differences(run_plain(case, history), expected) == [], f"seed {seed}"
        filled += len(expected.closed)
        unfilled += expected.unfilled
    assert filled > 50 and unfilled > 50


def test_the_compiled_loop_and_the_oracle_agree_where_every_entry_is_a_limit() -> None:
    for seed in range(60):
        case = random_case(seed, length=200)
        case = dataclasses.replace(
            case, symbols=1, names=case.names[:1], costs=case.costs[:1], markets=case.markets[:1],
            strategy={**case.strategy, "limit_offset": 0.003},
        )  # fmt: skip
        history = history_of(case)
        assert differences(run_compiled(case, history), run_oracle(case, history)) == [], f"seed {seed}"


STRATEGY = DonchianBreakout(
    entry_window=4, exit_window=6, direction="both", stop_atr=0, stop_loss=0.02, take_profit=0.02, warm_up=40,
    limit_offset=0.003,
)  # fmt: skip
COSTS = Costs(fee=0.0005, maker_fee=0.0002, slippage=0.0003)


def run(candles: Candles, **more: Any) -> Any:
    """Run the strategy with limit entries."""
    return backtest(STRATEGY, DynamicRiskManager(max_drawdown=1), candles, costs=COSTS, is_trial=False, **more)


def test_a_sweep_with_limit_entries_takes_the_bar_loop_for_them_alone_says_so_and_agrees() -> None:
    _, coarse = walk(5, 900)
    grid = sweep(
        STRATEGY, DynamicRiskManager(max_drawdown=1), coarse, costs=COSTS, limit_offset=[0, 0.003], quiet=True
    )
    assert any("limit entries fill inside a candle" in note for note in grid.notes)
    expected = run(coarse)
    row = grid.table[grid.table["limit_offset"] == 0.003].iloc[0]
    assert row["total_return"] == expected.figures["total_return"] and row["fees"] == expected.figures["fees"]
    assert expected.unfilled_entries > 10 and len(expected.closed_trades) > 20
    assert expected.to_dict()["unfilled_entries"] == expected.unfilled_entries


def test_vectorbt_reaches_the_same_equity_with_the_makers_fee() -> None:
    _, coarse = walk(5, 900)
    result = run(coarse)
    found = result.to_vectorbt().value()
    at_decisions = np.asarray(found)[-len(result.equity_values) :]
    assert np.allclose(at_decisions, result.equity_values, rtol=1e-9)


def test_with_finer_candles_a_limit_entry_loses_nothing_but_its_doubt() -> None:
    fine, coarse = walk(5, 900)
    alone, refined = run(coarse), run(coarse, detail=fine)
    assert refined.ambiguity.touched > 0 and refined.ambiguity.resolved > 0
    assert refined.unfilled_entries > 0
    same = run(coarse, detail=coarse)
    assert same.trade_records == alone.trade_records

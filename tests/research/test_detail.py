"""Finer candles say which came first, stop or take-profit; without them, and where they cannot, the stop did."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctp.core.fills import protective_fill
from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs
from ctp.core.strategies import DonchianBreakout
from ctp.core.types import SHORT, STOP_LOSS, TAKE_PROFIT, TRAILING_STOP
from ctp.errors import InputError, NotFound
from ctp.market.candles import Candles
from ctp.research.backtest import backtest
from ctp.research.detail import AMBIGUOUS, CLEAR, MISSING, RESOLVED, Ambiguity, Detail, look_inside
from ctp.research.result import BacktestResult
from ctp.research.sweep import sweep
from tests.core.examples import HOUR_MS, candle, market, position

QUARTER = HOUR_MS // 4
BOTH = candle(100.0, 105.0, 97.0, 101.0)  # 1.0 long from 100, stop 98, take 104
COSTS = Costs(fee=0.0004, slippage=0.0003)


def inside(*fine: tuple[float, float, float], at: tuple[int, ...] = (0, 1, 2, 3)) -> Detail:
    """Return quarter hours inside the candle at one o'clock: (open, high, low) each."""
    time = [HOUR_MS + QUARTER * place for place in at]
    columns = [[one[place] for one in fine] for place in range(3)]
    return Detail([0, len(fine)], time, *columns, columns[0], QUARTER)


def looked(detail: Detail, one: Any = BOTH, **changes: Any) -> tuple[int, float, int]:
    """Return (reason, reference price, verdict) of a candle."""
    held = position(**changes)
    coarse = protective_fill(market(), held, one, False)
    fill, verdict = look_inside(market(), held, one, coarse, detail, 0, HOUR_MS)
    return fill.reason, fill.reference, verdict


CALM, UP, DOWN = (100.0, 101.0, 99.0), (101.0, 105.0, 100.0), (99.0, 100.0, 97.0)


@pytest.mark.parametrize(
    ("fine", "expected"),
    [
        ([CALM, UP, DOWN, CALM], (TAKE_PROFIT, 104.0, RESOLVED)),
        ([CALM, DOWN, UP, CALM], (STOP_LOSS, 98.0, RESOLVED)),
        ([CALM, (104.5, 105.0, 103.0), DOWN, CALM], (TAKE_PROFIT, 104.5, RESOLVED)),  # opened beyond the take
        ([CALM, (97.4, 99.0, 97.0), UP, CALM], (STOP_LOSS, 97.4, RESOLVED)),  # opened beyond the stop
        ([CALM, (100.0, 104.0, 98.0), CALM, CALM], (STOP_LOSS, 98.0, AMBIGUOUS)),  # touches both itself
        ([CALM, CALM, CALM, CALM], (STOP_LOSS, 98.0, AMBIGUOUS)),  # the two series contradict each other
    ],
    ids=["take first", "stop first", "gap over the take", "gap under the stop", "both again", "neither"],
)
def test_the_finer_candles_decide_in_their_order(fine: Any, expected: Any) -> None:
    assert looked(inside(*fine)) == expected


def test_a_short_position_is_mirrored() -> None:
    held: dict[str, Any] = {"side": SHORT, "stop_ticks": 1020, "first_stop_ticks": 1020, "take_ticks": 960}
    one = candle(100.0, 103.0, 95.0, 99.0)
    first_down = inside((100.0, 101.0, 96.0), (97.0, 103.0, 97.0), CALM, CALM)
    assert looked(first_down, one, **held) == (TAKE_PROFIT, 96.0, RESOLVED)
    first_up = inside((100.0, 102.0, 99.0), (100.0, 100.0, 95.0), CALM, CALM)
    assert looked(first_up, one, **held) == (STOP_LOSS, 102.0, RESOLVED)


def test_a_trailing_stop_is_asked_about_too() -> None:
    assert looked(inside(CALM, UP, DOWN, CALM), first_stop_ticks=970) == (TAKE_PROFIT, 104.0, RESOLVED)
    assert looked(inside(CALM, DOWN, UP, CALM), first_stop_ticks=970) == (TRAILING_STOP, 98.0, RESOLVED)


def test_a_missing_finer_candle_before_the_answer_leaves_the_coarse_rule() -> None:
    assert looked(inside(CALM, UP, CALM, at=(0, 2, 3))) == (STOP_LOSS, 98.0, MISSING)
    assert looked(inside(CALM, UP, CALM, at=(0, 1, 3))) == (TAKE_PROFIT, 104.0, RESOLVED)  # it is not needed
    assert looked(inside()) == (STOP_LOSS, 98.0, MISSING)


def test_what_is_clear_is_not_looked_into() -> None:
    only_stop, only_take = candle(100.0, 103.0, 97.0, 99.0), candle(100.0, 105.0, 99.0, 104.0)
    wrong = inside(UP, UP, UP, UP)
    assert looked(wrong, only_stop) == (STOP_LOSS, 98.0, CLEAR)
    assert looked(inside(DOWN, DOWN, DOWN, DOWN), only_take) == (TAKE_PROFIT, 104.0, CLEAR)
    assert looked(wrong, BOTH, take_ticks=0) == (STOP_LOSS, 98.0, CLEAR)


def test_liquidation_stays_what_the_coarse_candle_says() -> None:
    """A finer candle that opens beyond the liquidation price on last prices is a stop still: the mark price decides."""
    crash = inside(CALM, (90.0, 91.0, 89.0), UP, CALM)
    one = candle(100.0, 105.0, 89.0, 101.0, mark_open=100.0, mark_high=101.0, mark_low=97.0)
    assert looked(crash, one, liquidation_price=95.0) == (STOP_LOSS, 90.0, RESOLVED)


# --- whole runs -------------------------------------------------------------------------------------------------------


def walk(seed: int, hours: int = 1500) -> tuple[Candles, Candles]:
    """Return quarter hours of a random walk, and the hours they make."""
    chance = np.random.default_rng(seed)
    count = hours * 4
    close = 100 * np.exp(np.cumsum(0.006 * chance.standard_normal(count)))
    opened = np.concatenate(([100.0], close[:-1])) * (1 + 0.002 * chance.standard_normal(count))
    high = np.maximum(opened, close) * (1 + 0.003 * np.abs(chance.standard_normal(count)))
    low = np.minimum(opened, close) * (1 - 0.003 * np.abs(chance.standard_normal(count)))
    time = np.arange(count, dtype=np.int64) * QUARTER + 1_600_000_000_000 // HOUR_MS * HOUR_MS
    fine = Candles.checked("BTC/USDT:USDT", "15m", "binanceusdm", time, opened, high, low, close, np.ones(count))
    table = [column.reshape(hours, 4) for column in (opened, high, low, close)]
    coarse = Candles.checked(
        "BTC/USDT:USDT", "1h", "binanceusdm", time[::4].copy(), table[0][:, 0].copy(), table[1].max(axis=1),
        table[2].min(axis=1), table[3][:, 3].copy(), np.full(hours, 4.0),
    )  # fmt: skip
    return fine, coarse


STRATEGY = DonchianBreakout(
    entry_window=4, exit_window=30, direction="both", stop_atr=0, stop_loss=0.008, take_profit=0.009, warm_up=40
)


def run(coarse: Candles, detail: Any = ()) -> BacktestResult:
    """Run the strategy whose stop and take lie within an hour's reach."""
    return backtest(STRATEGY, DynamicRiskManager(max_drawdown=1), coarse, costs=COSTS, detail=detail)


def without(candles: Candles, rows: np.ndarray) -> Candles:
    """Return candles with some left out."""
    keep = np.ones(len(candles), bool)
    keep[rows] = False
    names = ("time", "open", "high", "low", "close", "volume")
    return dataclasses.replace(candles, **{name: getattr(candles, name)[keep] for name in names})


def by_hand(trade: dict[str, Any], fine: Candles) -> str:
    """Return how a trade that ended in some hour ended by its quarters, read without any of our kernels."""
    first = int(np.searchsorted(fine.time, trade["exit_time"]))
    for row in range(first, first + 4):
        low, high = fine.low[row], fine.high[row]
        stops = low <= trade["stop_price"] if trade["side"] == "long" else high >= trade["stop_price"]
        takes = high >= trade["take_price"] if trade["side"] == "long" else low <= trade["take_price"]
        if stops:
            return "stop_loss"
        if takes:
            return "take_profit"
    return "neither"


def test_every_protective_exit_is_the_one_that_the_quarters_show() -> None:
    fine, coarse = walk(1)
    result = run(coarse, fine)
    exits = [one for one in result.closed_trades if one["exit_reason"] in ("stop_loss", "take_profit")]
    assert len(exits) > 100
    assert [one["exit_reason"] for one in exits] == [by_hand(one, fine) for one in exits]
    found = result.ambiguity
    assert found.touched > 10 and found.missing == 0 and 0 < found.resolved <= found.touched
    alone = run(coarse)
    assert alone.ambiguity.touched > 10 and alone.ambiguity.resolved == 0
    assert alone.closed_trades != result.closed_trades
    assert any("count as stopped" in note for note in alone.notes)
    assert any(f"resolved {found.resolved}" in note for note in result.notes)
    assert result.to_dict()["ambiguity"]["touched"] == found.touched


@pytest.mark.parametrize("seed", range(4))
def test_with_the_same_candles_as_detail_nothing_changes_to_the_bit(seed: int) -> None:
    _, coarse = walk(seed, 700)
    alone, same = run(coarse), run(coarse, coarse)
    assert same.trade_records == alone.trade_records
    assert same.equity_values.tolist() == alone.equity_values.tolist()
    assert same.ambiguity == alone.ambiguity


def test_missing_finer_candles_fall_back_to_the_coarse_rule_and_are_counted() -> None:
    fine, coarse = walk(1)
    nothing = without(fine, np.arange(4, len(fine)))
    alone, lacking = run(coarse), run(coarse, nothing)
    assert lacking.trade_records == alone.trade_records
    assert lacking.ambiguity == Ambiguity(alone.ambiguity.touched, 0, alone.ambiguity.touched)
    half = run(coarse, without(fine, np.arange(len(fine) // 2, len(fine))))
    assert 0 < half.ambiguity.missing < half.ambiguity.touched and half.ambiguity.resolved > 0


def test_a_sweep_with_detail_takes_the_bar_loop_says_so_and_agrees() -> None:
    fine, coarse = walk(2, 600)
    risk = DynamicRiskManager(max_drawdown=1)
    grid = sweep(STRATEGY, risk, coarse, costs=COSTS, detail=fine, take_profit=[0.009, 0.02], quiet=True)
    assert any("finer candles decide" in note for note in grid.notes)
    expected = run(coarse, fine).figures
    assert grid.table["total_return"].iloc[0] == expected["total_return"]
    assert grid.table["trades"].iloc[0] == expected["trades"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"symbol": "ETH/USDT:USDT"}, "ETH/USDT:USDT"),
        ({"timeframe": "4h"}, "must divide 1h"),
        ({"exchange": "bybit"}, "must be candles of binanceusdm"),
    ],
)
def test_detail_that_does_not_fit_is_named(change: dict[str, str], said: str) -> None:
    fine, coarse = walk(3, 60)
    with pytest.raises(InputError, match=said):
        run(coarse, dataclasses.replace(fine, **change))


def test_a_timeframe_is_loaded_from_the_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctp.market.history import candle_store

    fine, coarse = walk(1)
    with pytest.raises(NotFound):
        run(coarse, "15m")
    candle_store().append(fine)
    monkeypatch.setattr("ctp.research.compiled.home_folder", lambda: Path(__file__).parents[2] / "var" / "tests")
    assert run(coarse, "15m").trade_records == run(coarse, fine).trade_records

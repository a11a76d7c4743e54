"""A whole validation: what it says of markets whose truth is known, and what it looks at to say so."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import ctp
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import RsiMeanReversion, find
from ctp.errors import InputError
from ctp.research.backtest import prepare, run_bar_loop
from ctp.research.delayed import delayed
from ctp.research.sweep_result import SweepResult
from ctp.research.validation.outcome import Validation
from ctp.research.validation.slices import piece, warmed
from ctp.research.validation.surroundings import neighbourhood, plateau
from ctp.research.validation.walk_forward import ANCHORED, ROLLING, spans
from tests.research.markets import market

AXES: dict[str, Any] = {"period": [7, 10, 14], "oversold": [25, 30, 35], "overbought": [60, 70], "stop_loss": [0.02, 0.04]}


@cache
def swept(seed: int, planted: float, count: int = 8_000) -> SweepResult:
    """Return a sweep over a market, once for all tests."""
    return ctp.sweep(candles=market(seed, count, planted=planted), quiet=True, **AXES)


@cache
def validated(seed: int, planted: float) -> Validation:
    """Return its validation, once for all tests."""
    return ctp.validate(swept(seed, planted), seed=7, quiet=True)


def test_a_random_walk_is_red_and_a_planted_edge_is_green() -> None:
    walk, edge = validated(1, 0.0), validated(1, 0.03)
    assert (walk.verdict, edge.verdict) == ("red", "green")
    assert [reason.colour for reason in walk.strongest] == ["red"] * 3
    assert walk.deflated.probability is not None and walk.deflated.probability < 0.9
    assert edge.deflated.probability is not None and edge.deflated.probability > 0.95
    assert edge.anchored.total_return > 0.0 > walk.anchored.total_return


def test_the_same_seed_gives_the_same_verdict_to_the_bit_and_another_candle_another_fingerprint() -> None:
    first, again = validated(1, 0.0), ctp.validate(swept(1, 0.0), seed=7, quiet=True, workers=1)
    assert first.to_dict() == again.to_dict() and len(first.fingerprint) == 64
    grid = swept(1, 0.0)
    candles = grid.prepared.candles[0]
    moved = dataclasses.replace(candles, volume=np.append(candles.volume[:-1], 2.0 * candles.volume[-1]))
    other = ctp.validate(ctp.sweep(candles=moved, quiet=True, **AXES), seed=7, quiet=True)
    assert other.data_hash != first.data_hash and other.fingerprint != first.fingerprint


def test_the_document_is_json_and_reads_in_both_languages() -> None:
    found = validated(1, 0.03)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["verdict"] == "green" and document["strategy"]["period"] == found.strategy.to_dict()["period"]
    assert all(reason["ko"] and reason["en"] for reason in document["reasons"])
    for language, word in (("en", "Walk-forward"), ("ko", "전진 분석")):
        report = found.report(language)
        assert word in str(report) and word in report._repr_html_()
    with pytest.raises(InputError, match="language"):
        found.report("fr")
    assert len(found.plot().data) >= 4


def test_the_verdict_is_about_exactly_the_parameters_of_the_best() -> None:
    grid, found = swept(1, 0.03), validated(1, 0.03)
    best = grid.best
    assert found.is_of(best.strategy, best.risk) and found.figures["sharpe"] == best.figures["sharpe"]
    assert not found.is_of(best.strategy.with_values({"period": 99}), best.risk)
    other = ctp.validate(grid, number=3, quiet=True)
    assert other.is_of(*grid.parameters(3)) and other.chosen_by == "given"


def test_folds_choose_on_the_past_alone() -> None:
    """Candles after a fold's training may change as they like: what it chose stays."""
    grid, found = swept(1, 0.03), validated(1, 0.03)
    candles = grid.prepared.candles[0]
    cut = found.anchored.folds[2].test_start
    changed = market(99, len(candles))
    later = candles.time >= cut
    columns = {
        name: np.where(later, getattr(changed, name), getattr(candles, name))
        for name in ("open", "high", "low", "close", "volume")
    }
    other = ctp.validate(ctp.sweep(candles=dataclasses.replace(candles, **columns), quiet=True, **AXES), seed=7, quiet=True)
    for kind in ("anchored", "rolling"):
        mine, theirs = getattr(found, kind).folds, getattr(other, kind).folds
        assert [fold.parameters for fold in mine[:3]] == [fold.parameters for fold in theirs[:3]]
        assert [fold.test_return for fold in mine[:2]] == [fold.test_return for fold in theirs[:2]]
        assert mine[4].test_return != theirs[4].test_return


def test_a_fold_is_the_backtest_of_its_candles_from_its_first_close() -> None:
    grid, found = swept(1, 0.03), validated(1, 0.03)
    fold = found.anchored.folds[1]
    assert fold.number is not None
    strategy, risk = grid.parameters(fold.number)
    candles = grid.prepared.candles[0]
    before = int(np.searchsorted(candles.time, fold.test_start))
    shown = ctp.backtest(warmed(strategy, before + 1), risk, candles.between(None, fold.test_end))
    assert int(shown.time[0]) == fold.test_start + candles.length_ms
    assert shown.figures["total_return"] == fold.test_return
    assert shown.figures["sharpe"] == pytest.approx(fold.test_sharpe, rel=1e-12)
    assert len(shown.closed_trades) == fold.trades


def test_spans_follow_each_other_without_a_hole() -> None:
    for kind in (ANCHORED, ROLLING):
        found = spans(kind, 500, 10_503, 6)
        assert found[-1].end == 10_503
        assert all(before.end == after.test for before, after in pairwise(found))
    assert {span.train for span in spans(ANCHORED, 500, 10_503, 6)} == {500}
    assert len({span.test - span.train for span in spans(ROLLING, 500, 10_503, 6)}) == 1


def test_a_piece_holds_its_candles_funding_and_marks_and_nothing_after() -> None:
    candles = market(2, 600)
    later = dataclasses.replace(market(3, 500), symbol="ETH/USDT", time=candles.time[100:].copy())
    ready = prepare(None, None, [candles, later], None, None, (), (), 10_000.0)
    cut = piece(ready, 50, 300)
    assert len(cut.times) == 250 and cut.columns.offset.tolist() == [0, 250, 450]
    assert [len(each) for each in cut.candles] == [250, 200]
    assert cut.columns.close[:250].tolist() == candles.close[50:300].tolist()
    assert cut.columns.time.max() == ready.times[299]


def test_delay_moves_every_decision_by_one_candle_and_changes_nothing_else() -> None:
    """Without volume rules or stops in reach, each entry comes exactly one candle later."""
    candles = market(4, 3_000)
    strategy = RsiMeanReversion(
        volume_factor=0, stop_loss=0.2, take_profit=0, oversold=40, overbought=55, entry_mode="cross"
    )
    ready = prepare(strategy, DynamicRiskManager(max_drawdown=1, daily_loss_limit=0.03), candles, None, None, (), (), 10_000.0)
    usual = run_bar_loop(ready, ready.strategy, ready.risk)
    late = run_bar_loop(ready, ready.strategy, ready.risk, delayed(find("rsi_mean_reversion")))
    hour = candles.length_ms
    on_time = [(trade["entry_time"] + hour, trade["exit_time"] + hour) for trade in usual.closed_trades]
    assert len(on_time) > 30
    assert [(trade["entry_time"], trade["exit_time"]) for trade in late.closed_trades] == on_time


def test_dearer_trading_leaves_less() -> None:
    stresses = {stress.name: stress.total_return for stress in validated(1, 0.03).stresses}
    usual = validated(1, 0.03).anchored.total_return
    assert stresses["all"] < min(stresses["fees"], stresses["slippage"]) and max(stresses["fees"], stresses["slippage"]) < usual


def test_a_single_backtest_is_judged_among_its_neighbours() -> None:
    result = ctp.backtest(RsiMeanReversion(oversold=35, overbought=60), candles=market(1, 6_000, planted=0.025))
    found = ctp.validate(result, quiet=True)
    assert found.is_of(result.strategy, result.risk) and found.deflated.trials == 1
    assert found.combinations > 50 and found.plateau.neighbours == found.combinations - 1
    assert set(neighbourhood(result.strategy)) == {"period", "oversold", "overbought", "volume_factor", "stop_loss"}


def test_a_lonely_peak_is_no_plateau() -> None:
    grid = swept(1, 0.0)
    figures = grid.figures.copy()
    sharpe = list(grid.table.columns).index("sharpe") - len(grid.grid.axes)
    figures[:, sharpe] = 0.1
    figures[10, sharpe] = 5.0
    assert plateau(grid.grid, figures, 10).score == pytest.approx(0.02)
    figures[:, sharpe] = 4.0
    figures[10, sharpe] = 5.0
    assert plateau(grid.grid, figures, 10).score == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: ctp.validate(swept(1, 0.0), folds=1), "folds"),
        (lambda: ctp.validate(swept(1, 0.0), by="luck"), "by"),
        (lambda: ctp.validate(swept(1, 0.0), number=36), "number"),
        (lambda: ctp.validate(market(1, 10)), "grid_or_result"),
        (lambda: ctp.validate(ctp.backtest(candles=market(1, 900))), "candles"),
        (lambda: ctp.validate(ctp.backtest(candles=market(1, 200))), "candles"),
    ],
)
def test_what_cannot_be_validated_is_refused_by_name(call: Any, field: str) -> None:
    with pytest.raises(InputError) as refused:
        call()
    assert refused.value.field == field

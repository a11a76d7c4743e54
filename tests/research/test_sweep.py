"""A sweep as people use it: axes, rows, the best, its notes, and what it refuses before anything runs."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

import ctp
from ctp.errors import InputError
from ctp.market.candles import Candles
from ctp.research.event_figures import FIGURES
from tests.research.conftest import generated_candles

AXES: dict[str, Any] = {"period": range(5, 9), "oversold": [30, 40], "stop_loss": [0.01, 0.02]}


def test_each_row_is_the_backtest_of_its_parameters(candles: Candles) -> None:
    grid = ctp.sweep(candles=candles, quiet=True, **AXES)
    assert len(grid) == len(grid.table) == 16
    for number in (0, 7, 15):
        found = grid.backtest(number).figures
        assert {name: found[name] for name in FIGURES} == {
            name: None if np.isnan(value) else value for name, value in grid.table.loc[number, list(FIGURES)].items()
        }
    row = grid.table.loc[7]
    assert (row["period"], row["oversold"], row["stop_loss"]) == (6, 40.0, 0.02)


def test_the_best_stand_first_and_undefined_ones_last(candles: Candles) -> None:
    grid = ctp.sweep(candles=candles, quiet=True, oversold=[1, 30, 40], period=[14])
    assert grid.table["trades"].min() == 0, "one combination should never trade"
    assert grid.top("total_return", 3)["total_return"].tolist() == sorted(grid.table["total_return"], reverse=True)
    assert grid.top("sharpe", 3).index[-1] == 0
    assert grid.top("max_drawdown", 1)["max_drawdown"].item() == grid.table["max_drawdown"].min()
    assert grid.best.figures["sharpe"] == grid.table["sharpe"].max()


def test_an_account_of_several_symbols_takes_the_bar_loop_and_says_so() -> None:
    both = [generated_candles(symbol, 800, seed) for seed, symbol in enumerate(("BTC/USDT", "ETH/USDT"))]
    grid = ctp.sweep(candles=both, quiet=True, period=[7, 14])
    assert grid.table["sharpe"].tolist() == [grid.backtest(number).figures["sharpe"] for number in (0, 1)]
    assert "2 by the bar loop: several symbols share the account" in grid.notes


def test_closing_out_on_a_daily_loss_takes_the_bar_loop_for_those_rows_only(candles: Candles) -> None:
    grid = ctp.sweep(candles=candles, quiet=True, on_daily_loss=["lock", "close"], period=[7])
    assert grid.engines.tolist() == ["events", "positions close on a daily loss"]
    assert grid.table["fees"].tolist() == [grid.backtest(number).figures["fees"] for number in (0, 1)]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"period": [7, 1]}, "axis period = 1: must be a whole number from 2 to 200"),
        ({"leverage": [1, 2]}, "axis leverage = 2.0: must be 1.0 on a spot market"),
        ({"risk.risk_per_trade": [0.05]}, "axis risk_per_trade = 0.05"),
        ({"oversold": [30, 80], "overbought": [70, 75]}, "axis oversold = 80.0: is impossible in every combination"),
        ({"window": [1]}, "axis window = '': unknown; there are strategy.period"),
        ({"period": []}, "axis period = 'nothing': must have at least one value"),
        ({"period": [7, 7.0]}, "axis period = 7.0: is given twice"),
        ({"period": (each for each in (7, 1))}, "axis period = 1: must be a whole number"),
        ({"period": (each for each in ())}, "axis period = 'nothing'"),
        ({"period": itertools.count(2)}, "axis period = 201: must be a whole number"),
        ({"period": itertools.repeat(7)}, "axis period = 7: is given twice"),
        ({"period": 7.5}, "axis period = 7.5: must be a whole number"),
        ({"period": [True]}, "axis period = True: must be a whole number"),
        ({"period": [np.bool_(True)]}, "axis period = True: must be a whole number"),
        ({"period": [None]}, "axis period = 'None': must be a whole number"),
        ({"period": [[7, 14]]}, "axis period = '[7, 14]': must be a whole number"),
        ({"period": np.array([[7, 14]])}, "axis period = 'array([ 7, 14])': must be a whole number"),
        ({"period": [10**400]}, "must be a whole number"),
        ({"period": "many"}, "axis period = 'many': must be a whole number"),
        ({"stop_loss": [0.01, float("nan")]}, "axis stop_loss = nan: must be a number"),
        ({"stop_loss": [float("inf")]}, "axis stop_loss = inf: must be a number"),
        ({"stop_loss": np.array([0.01, -np.inf])}, "axis stop_loss = -inf: must be a number"),
        ({"stop_loss": [2]}, "axis stop_loss = 2: must be a number from 0.002 to 0.2"),
        ({"direction": ["long", "up"]}, "axis direction = 'up': must be one of long, short, both"),
        ({"direction": ["short"]}, "axis direction = 'short': must be long on a spot market"),
        ({"direction": [np.array(["long", "short"])]}, "axis direction = \"array(["),
        ({"period": [7], "strategy.period": [9]}, "axis strategy.period = '': is given twice"),
        ({7: [7]}, "axis 7 = '': unknown"),
        ([7, 14], "grid = 'list': must name axes"),
    ],
)
def test_an_impossible_grid_is_refused_by_name_before_anything_runs(candles: Candles, axes: Any, message: str) -> None:
    with pytest.raises(InputError) as refused:
        ctp.sweep(candles=candles, grid=axes, quiet=True)
    assert message in str(refused.value)


def test_numbers_of_numpy_and_generators_are_values_like_others(candles: Candles) -> None:
    plain = ctp.sweep(candles=candles, quiet=True, period=[5, 6], stop_loss=[0.01, 0.02])
    given = ctp.sweep(
        candles=candles, quiet=True, period=(np.int32(each) for each in (5, 6)), stop_loss=np.array([0.01, 0.02])
    )
    assert given.table.equals(plain.table)


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "2"])
def test_a_number_of_threads_that_is_none_is_refused(candles: Candles, workers: Any) -> None:
    with pytest.raises(InputError, match="workers = "):
        ctp.sweep(candles=candles, quiet=True, period=[7], workers=workers)


def test_contradictions_are_left_out_and_counted(candles: Candles) -> None:
    grid = ctp.sweep(candles=candles, quiet=True, oversold=[30, 60], overbought=[50, 70])
    assert grid.table[["oversold", "overbought"]].values.tolist() == [[30, 50], [30, 70], [60, 70]]
    assert "1 combinations contradict themselves and were left out" in grid.notes


def test_plots_and_document_hold_every_axis(candles: Candles) -> None:
    grid = ctp.sweep(candles=candles, quiet=True, **AXES)
    assert np.array(grid.heatmap("period", "oversold").data[0].z).shape == (2, 4)
    assert [each.label for each in grid.parallel("total_return").data[0].dimensions] == [*AXES, "total_return"]
    document = json.loads(json.dumps(grid.to_dict("sharpe", 2), allow_nan=False))
    assert document["combinations"] == 16 and len(document["top"]) == 2
    with pytest.raises(InputError, match="must be one of the axes"):
        grid.heatmap("period", "window")

"""Searching a space that is too large to grid: the same seed tries the same, ranges hold, rows are backtests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ctp
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import RsiMeanReversion
from ctp.errors import InputError
from ctp.market.candles import Candles
from ctp.research.event_figures import FIGURES
from ctp.research.search import Range, random_grid, space_of, tpe_grid

SPACE: dict[str, Any] = {
    "period": ctp.between(5, 40),
    "oversold": ctp.between(10, 60),
    "overbought": [50.0, 60.0, 70.0],
    "stop_loss": ctp.between(0.005, 0.1, log=True),
    "entry_mode": ["level", "cross"],
}


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_the_same_seed_tries_the_same_and_each_row_is_a_backtest(candles: Candles, search: str) -> None:
    first = ctp.sweep(candles=candles, quiet=True, search=search, trials=60, seed=4, **SPACE)
    again = ctp.sweep(candles=candles, quiet=True, search=search, trials=60, seed=4, workers=1, grid=SPACE)
    other = ctp.sweep(candles=candles, quiet=True, search=search, trials=60, seed=5, **SPACE)
    assert first.table.equals(again.table) and not first.table.equals(other.table)
    assert len(first) == 60 and not first.table.duplicated(list(SPACE)).any()
    table = first.table
    assert table["period"].between(5, 40).all() and table["period"].dtype.kind == "i"
    assert table["stop_loss"].between(0.005, 0.1).all() and set(table["overbought"]) <= {50.0, 60.0, 70.0}
    assert (table["oversold"] < table["overbought"]).all()
    for number in (0, 59):
        found = first.backtest(number).figures
        assert [found[name] for name in FIGURES] == [None if np.isnan(value) else value for value in first.figures[number]]
    assert any("60 combinations of the space were tried" in note for note in first.notes)


def test_a_range_by_order_of_magnitude_is_drawn_so() -> None:
    values = np.array(Range(0.001, 0.1, True, False).at(np.random.default_rng(1).random(4_000)))
    assert abs((values < 0.01).mean() - 0.5) < 0.03
    counts = np.bincount(Range(1, 3, False, True).at(np.random.default_rng(1).random(3_000)))[1:]
    assert counts.min() > 900, "each whole number should be as likely as the others"


def test_a_small_space_ends_the_search_early(candles: Candles) -> None:
    found = ctp.sweep(candles=candles, quiet=True, search="random", trials=500, period=[5, 6], oversold=[30, 40])
    assert len(found) == 4
    assert len(ctp.sweep(candles=candles, quiet=True, search="tpe", trials=50, period=[5, 6], oversold=[30, 40])) == 4


def test_tpe_finds_a_better_place_than_chance_on_a_known_hill() -> None:
    space = space_of(
        RsiMeanReversion(), DynamicRiskManager(), {"stop_loss": ctp.between(0.01, 0.2), "take_profit": ctp.between(0.0, 1.0)},
        is_perpetual=False,
    )  # fmt: skip

    def hill(grid: Any) -> np.ndarray:
        columns = [np.array(grid.axes[name])[grid.places[name]] for name in ("stop_loss", "take_profit")]
        return -(((columns[0] - 0.15) / 0.19) ** 2 + (columns[1] - 0.3) ** 2)[:, None]

    _, tried = tpe_grid(space, 160, 1, 0, False, lambda grid, begin: hill(grid))
    drawn = [hill(random_grid(space, 160, seed)).max() for seed in range(5)]
    assert len(tried) == 160
    assert tried.max() > np.median(drawn)
    assert np.median(tried[-60:]) > 3 * np.median(tried[:40]) / 4, "later tries should be nearer to the top"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"search": "luck", "period": [7]}, "search = 'luck': must be one of random, tpe"),
        ({"search": "random", "trials": 0, "period": [7]}, "trials = 0"),
        ({"search": "tpe", "trials": 2.5, "period": [7]}, "trials = 2.5"),
        ({"trials": 5, "period": [7]}, "trials = 5: is for search"),
        ({"search": "random", "period": ctp.between(1, 40)}, "axis period = 1: must be a whole number from 2 to 200"),
        ({"search": "random", "period": ctp.between(40, 5)}, "axis period = '40..5': must begin below its end"),
        ({"search": "random", "stop_loss": ctp.between(0.01, float("nan"))}, "axis stop_loss = nan"),
        ({"search": "random", "direction": ctp.between(0, 1)}, "axis direction = '0..1': has no range"),
        ({"search": "tpe", "volume_factor": ctp.between(0, 2, log=True)}, "axis volume_factor = 0.0: must be above 0"),
        ({"search": "random"}, "must have at least one axis"),
        ({"search": "random", "oversold": [80], "overbought": [70]}, "no combination that was drawn is possible"),
        ({"search": "tpe", "by": "luck", "period": [7]}, "by = 'luck': must be one of"),
        ({"period": ctp.between(5, 40)}, "is a range: give values to try"),
    ],
)
def test_an_impossible_search_is_refused_by_name(candles: Candles, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        ctp.sweep(candles=candles, quiet=True, **asked)
    assert message in str(refused.value)

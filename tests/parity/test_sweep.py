"""The fast sweep equals the bar loop to the bit, in every figure of every combination that is looked at."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import RsiMeanReversion
from ctp.errors import InputError
from ctp.research.backtest import Prepared, prepare, run_bar_loop
from ctp.research.event_figures import FIGURES
from ctp.research.grid import Grid, full_grid
from ctp.research.sweep import LIQUIDATION_IN_REACH, run_grid, split_values
from ctp.research.sweep_result import EVENTS
from tests.parity.cases import Case, History, history_of, random_case
from tests.parity.engines import costs_of, rules_of
from tests.parity.test_real_candles import case_of, perpetuals, spots

SEEDS = range(40)
LOOKED_AT = 12  # combinations of each seed that the bar loop repeats


def one_symbol(seed: int) -> tuple[Case, History]:
    """Return a random account of a single symbol whose grid the event engine may take."""
    case = random_case(seed, 400)
    case = dataclasses.replace(case, symbols=1, names=case.names[:1], costs=case.costs[:1], markets=case.markets[:1])
    return case, history_of(case)


def prepared(case: Case, history: History) -> Prepared:
    """Return the inputs of a case as engines take them."""
    return prepare(
        RsiMeanReversion(**{**case.strategy, "limit_offset": 0.0}),
        DynamicRiskManager(**{**case.risk, "on_daily_loss": "lock"}),
        list(history.candles.values()),
        costs_of(case.costs[0]),
        rules_of(case.markets[0]),
        list(history.mark.values()),
        list(history.funding.values()),
        case.equity,
    )


def random_axes(seed: int, is_perpetual: bool) -> dict[str, Any]:
    """Draw five axes of two values each from the values that random accounts have."""
    chance = random.Random(seed)
    drawn: dict[str, list[Any]] = {}
    for other in range(seed * 100 + 1, seed * 100 + 60):
        case = random_case(other)
        for name, value in {**case.strategy, **case.risk}.items():
            if value is not None and name not in ("on_daily_loss", "limit_offset") and value not in drawn.setdefault(name, []):
                drawn[name].append(value)
    for name, only in (("leverage", 1.0), ("direction", "long")):
        if not is_perpetual:
            drawn[name] = [only]
    names = chance.sample(sorted(drawn), 5)
    return {name: chance.sample(drawn[name], min(2, len(drawn[name]))) for name in names}


def differences(ready: Prepared, grid: Grid, figures: np.ndarray, engines: np.ndarray, numbers: Any) -> list[str]:
    """Return every figure in which a combination by events differs from its bar loop."""
    found = []
    for number in numbers:
        strategy, risk = split_values(ready.strategy, ready.risk, grid.values(int(number)))
        right = run_bar_loop(ready, strategy, risk).figures
        for place, name in enumerate(FIGURES):
            expected = np.nan if right[name] is None else float(right[name])
            if not np.array_equal(figures[number, place], expected, equal_nan=True):
                found.append(f"{grid.values(int(number))} {name}: {figures[number, place]!r}, bar loop {expected!r}")
    return found


def test_random_grids_on_nasty_markets_equal_the_bar_loop() -> None:
    trades = walked = liquidated = 0
    for seed in SEEDS:
        case, history = one_symbol(seed)
        ready = prepared(case, history)
        try:
            grid = full_grid(ready.strategy, ready.risk, random_axes(seed, case.is_perpetual), is_perpetual=case.is_perpetual)
        except InputError:
            continue  # an axis that contradicts the drawn parameters everywhere
        figures, engines = run_grid(ready, grid, workers=2)
        chance = np.random.default_rng(seed)
        numbers = chance.choice(grid.total, min(LOOKED_AT, grid.total), replace=False)
        assert differences(ready, grid, figures, engines, numbers) == [], f"seed {seed}"
        trades += int(figures[engines == EVENTS, FIGURES.index("trades")].sum())
        walked += int((engines == EVENTS).sum())
        liquidated += int((engines == LIQUIDATION_IN_REACH).sum())
    assert trades > 2_000 and walked > 500, "too few trades to prove anything"
    assert liquidated > 0, "no liquidation came in reach: the way back to the bar loop was not tried"


@pytest.mark.parametrize(("make", "symbol"), [(perpetuals, "BTC/USDT:USDT"), (spots, "BTC/USDT")])
def test_recorded_candles_equal_the_bar_loop(shared_data: Path, make: Any, symbol: str) -> None:
    history, markets = make(shared_data, (symbol,))
    ready = prepared(case_of(history, markets, {}, {"max_drawdown": 1.0}), history)
    axes: dict[str, Any] = {
        "period": [7, 14],
        "oversold": [30, 40],
        "stop_loss": [0.01, 0.03],
        "stop_atr": [0, 2],
        "trailing_stop": [0, 0.02],
        "take_profit": [0, 0.04],
        "max_drawdown": [0.2, 1],
        "risk_per_trade": [0.01, 0.02],
    }
    if ready.markets[0].is_perpetual:
        axes |= {"direction": ["long", "both"], "leverage": [1, 10]}
    grid = full_grid(ready.strategy, ready.risk, axes, is_perpetual=bool(ready.markets[0].is_perpetual))
    figures, engines = run_grid(ready, grid, workers=2)
    numbers = np.random.default_rng(1).choice(grid.total, 40, replace=False)
    assert differences(ready, grid, figures, engines, numbers) == []
    assert figures[:, FIGURES.index("trades")].sum() > 5_000


def test_a_long_series_walked_in_segments_equals_the_bar_loop() -> None:
    risk = {"max_drawdown": 1.0, "risk_per_trade": 0.005}
    strategy = {"oversold": 40.0, "overbought": 60.0, "volume_factor": 0.0}
    case = dataclasses.replace(
        one_symbol(3)[0], length=40_000, gap_chance=0.001, jump_chance=0.0, volatility=0.01, strategy=strategy, risk=risk
    )
    ready = prepared(case, history_of(case))
    grid = full_grid(ready.strategy, ready.risk, {"period": [5, 9], "stop_loss": [0.02, 0.05]}, is_perpetual=case.is_perpetual)
    figures, engines = run_grid(ready, grid, workers=1)
    assert differences(ready, grid, figures, engines, range(grid.total)) == []
    assert figures[:, FIGURES.index("trades")].max() > 200

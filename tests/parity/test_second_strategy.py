"""A strategy that came through the registry alone: plain Python, bar loop, event engine and bot agree to the bit."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import DonchianBreakout
from ctp.errors import InputError
from ctp.research.backtest import prepare, run_bar_loop
from ctp.research.event_figures import FIGURES
from ctp.research.grid import full_grid
from ctp.research.result import BacktestResult
from ctp.research.sweep import run_grid
from ctp.research.sweep_result import EVENTS
from tests.parity.engines import costs_of, rules_of, run_compiled, run_plain
from tests.parity.test_bot_backtest import PERPETUALS, SPOT, _columns, compare
from tests.parity.test_real_candles import case_of, perpetuals, spots
from tests.parity.test_sweep import differences, one_symbol


def drawn(seed: int, is_perpetual: bool) -> dict[str, Any]:
    """Draw parameters of the Donchian breakout."""
    chance = random.Random(seed)
    return {
        "entry_window": chance.choice((1, 2, 5, 12, 30)),
        "exit_window": chance.choice((1, 3, 8, 40)),
        "volume_window": chance.randint(1, 22),
        "volume_factor": chance.choice((0.0, 0.0, 0.6, 1.1)),
        "trend_window": chance.choice((0, 0, 1, 20)),
        "direction": chance.choice(("long", "short", "both")) if is_perpetual else "long",
        "stop_loss": chance.choice((0.002, 0.01, 0.05)),
        "stop_atr": chance.choice((0.0, 0.7, 2.0)),
        "take_profit": chance.choice((0.0, 0.01, 0.05)),
        "trailing_stop": chance.choice((0.0, 0.01, 0.05)),
        "limit_offset": chance.choice((0.0, 0.0, 0.002)),
        "cooldown": chance.choice((0, 0, 3)),
        "warm_up": chance.choice((None, 0, 30)),
    }


def trades_and_equity(result: BacktestResult) -> tuple[Any, ...]:
    """Return everything that a run decided."""
    return repr(result.closed_trades), result.equity_values.tolist(), dict(result.refusals)


def test_plain_python_and_the_compiled_loop_agree_on_random_accounts() -> None:
    trades = 0
    for seed in range(60):
        case, history = one_symbol(seed)  # one: each number of symbols compiles anew
        case = dataclasses.replace(case, strategy=drawn(seed, case.is_perpetual))
        plain, compiled = (run(case, history, DonchianBreakout) for run in (run_plain, run_compiled))
        assert trades_and_equity(plain) == trades_and_equity(compiled), f"seed {seed}"
        trades += len(compiled.closed_trades)
    assert trades > 300, "too few trades to prove anything"


def test_its_sweep_by_events_equals_the_bar_loop_on_random_accounts() -> None:
    trades = 0
    for seed in range(25):
        case, history = one_symbol(seed)
        ready = prepare(
            DonchianBreakout(**drawn(seed, case.is_perpetual)),
            DynamicRiskManager(**{**case.risk, "on_daily_loss": "lock"}),
            list(history.candles.values()),
            costs_of(case.costs[0]),
            rules_of(case.markets[0]),
            list(history.mark.values()),
            list(history.funding.values()),
            case.equity,
        )
        chance = random.Random(seed)
        values = [drawn(other, case.is_perpetual) for other in range(1000, 1030)]
        names = chance.sample([name for name in values[0] if name != "warm_up"], 5)
        axes = {name: list(dict.fromkeys(one[name] for one in values))[:2] for name in names}
        try:
            grid = full_grid(ready.strategy, ready.risk, axes, is_perpetual=case.is_perpetual)
        except InputError:
            continue
        figures, engines = run_grid(ready, grid, workers=2)
        assert differences(ready, grid, figures, engines, range(0, grid.total, 3)) == [], f"seed {seed}"
        trades += int(figures[engines == EVENTS, FIGURES.index("trades")].sum())
    assert trades > 2_000, "too few trades to prove anything"


@pytest.mark.parametrize(("make", "symbol"), [(perpetuals, "BTC/USDT:USDT"), (spots, "BTC/USDT")])
def test_its_sweep_equals_the_bar_loop_on_recorded_candles(shared_data: Path, make: Any, symbol: str) -> None:
    history, markets = make(shared_data, (symbol,))
    case = case_of(history, markets, {}, {"max_drawdown": 1.0})
    direction = ["long", "both"] if ":" in symbol else ["long"]
    ready = prepare(
        DonchianBreakout(), DynamicRiskManager(**case.risk), list(history.candles.values()), costs_of(case.costs[0]),
        rules_of(case.markets[0]), list(history.mark.values()), list(history.funding.values()), case.equity,
    )  # fmt: skip
    grid = full_grid(
        ready.strategy,
        ready.risk,
        {"entry_window": [10, 20, 55], "exit_window": [10, 20], "stop_atr": [0, 3], "trend_window": [0, 100],
         "volume_factor": [0, 1], "direction": direction},
        is_perpetual=":" in symbol,
    )  # fmt: skip
    figures, engines = run_grid(ready, grid, workers=2)
    numbers = np.random.default_rng(1).choice(grid.total, 16, replace=False)
    assert differences(ready, grid, figures, engines, numbers) == []
    assert figures[:, FIGURES.index("trades")].sum() > 2_000


@pytest.mark.parametrize(
    ("symbols", "strategy"),
    [
        (PERPETUALS, {"direction": "both", "entry_window": 8, "exit_window": 4, "stop_atr": 1.5, "take_profit": 0.03}),
        (SPOT, {"entry_window": 6, "exit_window": 5, "stop_atr": 0, "stop_loss": 0.02, "volume_factor": 0.6}),
    ],
    ids=["perpetual, both directions", "spot"],
)
def test_the_bot_trades_it_as_the_backtest_does(symbols: Any, strategy: dict[str, Any], tmp_path: Path) -> None:
    strategy = {**strategy, "warm_up": 60}
    rows = _columns(dict(list(symbols.items())[:1]), 100 + 120 + 2)
    result, journal = asyncio.run(
        compare(tmp_path, rows, strategy, {"max_drawdown": 1}, 120, strategy_name="donchian_breakout")
    )
    assert isinstance(result.strategy, DonchianBreakout)
    assert {"inside_channel", "entry_signal"} <= {row.reason for row in journal}


def test_it_trades_what_its_definition_says() -> None:
    """Entries and exits of a single account against a channel computed anew from slices."""
    case, history = one_symbol(11)
    candles = next(iter(history.candles.values()))
    strategy = DonchianBreakout(entry_window=9, exit_window=4, stop_atr=0, stop_loss=0.2, warm_up=0)
    ready = prepare(
        strategy, DynamicRiskManager(max_drawdown=1, daily_loss_limit=0.03), [candles], costs_of(case.costs[0]), None, (), (), 1e6
    )
    result = run_bar_loop(ready, ready.strategy, ready.risk)
    row_of = {time: row for row, time in enumerate(candles.time.tolist())}
    left = [trade for trade in result.closed_trades if trade["exit_reason"] == "exit_signal"]
    assert len(left) > 5
    for trade in left:
        entry, leave = row_of[trade["entry_time"]] - 1, row_of[trade["exit_time"]] - 1
        assert candles.close[entry] > candles.high[entry - 9 : entry].max()
        assert candles.close[leave] < candles.low[leave - 4 : leave].min()
        for row in range(entry + 1, leave):
            assert candles.close[row] >= candles.low[row - 4 : row].min()

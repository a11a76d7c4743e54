"""How fast a sweep is, beside vectorbt on the same candles and grid.

    python benchmarks/sweep.py [COMBINATIONS] [CANDLES]

Ours does the full risk layer and all nineteen figures; vectorbt simulates and computes total return, drawdown, Sharpe,
trades, win rate and profit factor on a sample of the grid, and its time is scaled to the whole. Rounds alternate; times
swing on a shared machine, ratios hardly do.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import talib
from backtest import minutes

import ctp
from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs
from ctp.market.candles import Candles
from ctp.research.event_figures import FIGURES
from ctp.research.sweep_result import SweepResult

ROUNDS = 5
SAMPLE = 50  # combinations of vectorbt in one chunk, as many as a user's memory takes well
COSTS = Costs(fee=0.0005, slippage=0.0002)
GRIDS: dict[int, dict[str, Any]] = {
    1_000: {
        "period": [7, 10, 14, 21, 28], "oversold": [20.0, 25.0, 30.0, 35.0], "overbought": [60.0, 65.0, 70.0, 75.0, 80.0],
        "stop_loss": [0.01, 0.02, 0.03, 0.04, 0.05], "take_profit": [0.03, 0.06],
    },
    10_000: {
        "period": [5, 7, 9, 11, 14, 17, 21, 25, 30, 40], "volume_factor": [0.0, 1.0],
        "oversold": [20.0, 22.5, 25.0, 30.0, 35.0], "overbought": [60.0, 65.0, 70.0, 75.0, 80.0],
        "stop_loss": [0.01, 0.02, 0.03, 0.04, 0.05], "take_profit": [0.02, 0.04, 0.06, 0.08],
    },
    1_000_000: {
        "period": list(range(4, 54)), "volume_factor": [0.0, 1.0], "oversold": np.linspace(15, 40, 10).tolist(),
        "overbought": np.linspace(55, 85, 10).tolist(), "stop_loss": np.linspace(0.005, 0.06, 10).tolist(),
        "take_profit": np.linspace(0.01, 0.12, 10).tolist(),
    },
}  # fmt: skip


def ours(candles: Candles, axes: dict[str, Any]) -> SweepResult:
    """Run the whole public sweep."""
    return ctp.sweep(risk=DynamicRiskManager(max_drawdown=1), candles=candles, grid=axes, costs=COSTS, quiet=True)


def vectorbt_chunk(candles: Candles, grid: SweepResult) -> Callable[[], Any]:
    """Return vectorbt's simulation and six figures of a sample of the combinations, signals made beforehand."""
    warnings.filterwarnings("ignore")
    import vectorbt

    index = pd.to_datetime(candles.time, unit="ms", utc=True)
    chosen = np.random.default_rng(1).choice(len(grid), min(SAMPLE, len(grid)), replace=False)
    rows = grid.table.iloc[chosen]
    mean = pd.Series(candles.volume).rolling(20).mean().shift(1).to_numpy()
    entries, exits = [], []
    for row in rows.itertuples():
        rsi = talib.RSI(candles.close, int(row.period))
        rises = candles.volume > getattr(row, "volume_factor", 1.0) * mean
        entries.append((rsi <= row.oversold) & (rises | (getattr(row, "volume_factor", 1.0) == 0)))
        exits.append(rsi >= row.overbought)
    opens, high, low, close = (pd.Series(getattr(candles, name), index=index) for name in ("open", "high", "low", "close"))
    wanted = ("total_return", "max_drawdown", "sharpe_ratio")

    def run() -> Any:
        portfolio = vectorbt.Portfolio.from_signals(
            close, pd.DataFrame(np.array(entries).T, index=index), pd.DataFrame(np.array(exits).T, index=index), open=opens,
            high=high, low=low, sl_stop=rows["stop_loss"].to_numpy(), tp_stop=rows["take_profit"].to_numpy(),
            fees=COSTS.fee, slippage=COSTS.slippage, init_cash=10_000.0, freq="1min",
        )  # fmt: skip
        figures = [getattr(portfolio, name)() for name in wanted]
        return [*figures, portfolio.trades.count(), portfolio.trades.win_rate(), portfolio.trades.profit_factor()]

    return run


def seconds(call: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> None:
    """Print times and ratios."""
    combinations = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    candles = minutes(int(sys.argv[2]) if len(sys.argv) > 2 else 50_000)
    candles = Candles("BTC/USDT", "1m", "binance", *(getattr(candles, name) for name in
                      ("time", "open", "high", "low", "close", "volume")))  # fmt: skip
    axes = GRIDS[combinations]
    first = seconds(lambda: ours(candles, {"period": [14]}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    grid = ours(candles, axes)
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    theirs = vectorbt_chunk(candles, grid)
    theirs()
    rounds = ROUNDS if combinations <= 10_000 else 1
    mine, other = [], []
    for _ in range(rounds):
        mine.append(seconds(lambda: ours(candles, axes)))
        other.append(seconds(theirs))
    fast = statistics.median(mine)
    slow = statistics.median(other) / min(SAMPLE, combinations) * combinations
    trades = grid.figures[:, FIGURES.index("trades")].mean()
    print(f"first sweep in this process {first:.2f} s; {combinations:,} combinations × {len(candles):,} candles: {fast:.3f} s,")
    print(f"  {combinations * len(candles) / fast / 1e9:.2f} G candle-combinations/s, {trades:.0f} trades each, +{added:.0f} MB")
    print(f"  vectorbt, scaled from {min(SAMPLE, combinations)}: {slow:.1f} s; ratio {slow / fast:,.0f}x")


if __name__ == "__main__":
    main()

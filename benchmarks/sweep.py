"""How fast a sweep is, beside vectorbt and raptorbt on the same candles and grid.

    python -m benchmarks.sweep [--rows ROW,ROW] [--json]          (or python benchmarks/sweep.py)

Ours does the full risk layer and all nineteen figures. vectorbt simulates a sample of the grid and computes those thirteen of
the figures that it has (with only six of them: told beside), raptorbt what its batch gives; signals are made beforehand, their
time is scaled to the whole grid. Rounds alternate and the fastest counts: times swing on a shared machine, ratios hardly do.
Every row prints what was measured, what is needed and whether that holds; exit code 1 when one does not.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import ctp  # noqa: E402
from benchmarks.backtest import minutes  # noqa: E402
from ctp.core.risk import DynamicRiskManager  # noqa: E402
from ctp.core.rules import Bracket, Costs, MarketRules  # noqa: E402
from ctp.market.candles import Candles, FundingRates  # noqa: E402
from ctp.research.event_figures import FIGURES  # noqa: E402
from ctp.research.sweep_result import SweepResult  # noqa: E402

ROUNDS = 7
VECTORBT_SAMPLE, RAPTORBT_SAMPLE = 50, 400  # as many in one chunk as a user's memory takes well
COSTS = Costs(fee=0.0005, slippage=0.0002)
TENTHS = np.linspace(0.0, 1.0, 10)
GRIDS: dict[int, dict[str, Any]] = {
    10_000: {
        "period": [5, 7, 9, 11, 14, 17, 21, 25, 30, 40], "volume_factor": [0.0, 1.0],
        "oversold": [20.0, 22.5, 25.0, 30.0, 35.0], "overbought": [60.0, 65.0, 70.0, 75.0, 80.0],
        "stop_loss": [0.01, 0.02, 0.03, 0.04, 0.05], "take_profit": [0.02, 0.04, 0.06, 0.08],
    },
    1_000_000: {
        "period": list(range(4, 54)), "volume_factor": [0.0, 1.0], "oversold": (15 + 25 * TENTHS).tolist(),
        "overbought": (55 + 30 * TENTHS).tolist(), "stop_loss": (0.005 + 0.055 * TENTHS).tolist(),
        "take_profit": (0.01 + 0.11 * TENTHS).tolist(),
    },
}  # fmt: skip
# The same grid, with stops of 1 to 5 % as multiples of a minute's range, and both directions.
EVERYTHING: dict[str, Any] = {
    **{name: values for name, values in GRIDS[10_000].items() if name != "stop_loss"},
    "stop_atr": [0.0, 10.0, 20.0, 30.0, 40.0],
}
MARKET = MarketRules(
    is_perpetual=True, tick=Decimal("0.1"), lot=Decimal("0.001"), min_notional=5.0,
    brackets=(Bracket(0.0, 0.004, 0.0, 125.0), Bracket(50_000.0, 0.005, 50.0, 100.0), Bracket(250_000.0, 0.01, 1_300.0, 50.0)),
)  # fmt: skip


class Row(NamedTuple):
    """One line of the table."""

    name: str
    measured: float
    need: str
    is_ok: bool
    told: str


def spot(count: int) -> Candles:
    """Return that many generated minutes of a spot market."""
    made = minutes(count)
    return Candles("BTC/USDT", "1m", "binance", made.time, made.open, made.high, made.low, made.close, made.volume)


def ours(candles: Candles, axes: dict[str, Any], **more: Any) -> SweepResult:
    """Run the whole public sweep. A drawdown lock would end the work early, so there is none."""
    return ctp.sweep(risk=DynamicRiskManager(max_drawdown=1), candles=candles, grid=axes, costs=COSTS, quiet=True, **more)


def everything(count: int) -> Callable[[], SweepResult]:
    """Return a sweep with every feature: funding, mark prices, lots, minimums, brackets, ATR stops, both directions."""
    candles = minutes(count)
    chance = np.random.default_rng(3)
    times = np.arange(candles.time[0], candles.time[-1], 8 * 3_600_000)
    funding = FundingRates(candles.symbol, candles.exchange, times, chance.normal(0.0001, 0.0002, len(times)))
    shift = 1.0 + chance.normal(0.0, 0.0002, count)
    mark = Candles(
        candles.symbol, "1m", candles.exchange, candles.time, candles.open * shift, candles.high * shift, candles.low * shift,
        candles.close * shift, candles.volume,
    )  # fmt: skip
    strategy = ctp.RsiMeanReversion(direction="both")
    return lambda: ours(candles, EVERYTHING, strategy=strategy, rules=MARKET, funding=funding, mark=mark)


def signals(candles: Candles, grid: SweepResult, sample: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return a sample of the combinations with their entries and exits, one column each."""
    import talib

    chosen = np.random.default_rng(1).choice(len(grid), min(sample, len(grid)), replace=False)
    rows = grid.table.iloc[chosen]
    mean = pd.Series(candles.volume).rolling(20).mean().shift(1).to_numpy()
    entries, exits = [], []
    for row in rows.itertuples():
        rsi = talib.RSI(candles.close, int(row.period))
        entries.append((rsi <= row.oversold) & ((candles.volume > mean) | (row.volume_factor == 0)))
        exits.append(rsi >= row.overbought)
    return rows, np.array(entries).T, np.array(exits).T


def vectorbt_sample(candles: Candles, grid: SweepResult, *, is_short: bool = False) -> Callable[[], Any]:
    """Return vectorbt's simulation of a sample and the figures that it shares with ours; is_short: only six of them."""
    warnings.filterwarnings("ignore")
    import vectorbt

    rows, entries, exits = signals(candles, grid, VECTORBT_SAMPLE)
    index = pd.to_datetime(candles.time, unit="ms", utc=True)
    opens, high, low, close = (pd.Series(getattr(candles, name), index=index) for name in ("open", "high", "low", "close"))

    def run() -> Any:
        portfolio = vectorbt.Portfolio.from_signals(
            close, pd.DataFrame(entries, index=index), pd.DataFrame(exits, index=index), open=opens, high=high, low=low,
            sl_stop=rows["stop_loss"].to_numpy(), tp_stop=rows["take_profit"].to_numpy(), fees=COSTS.fee,
            slippage=COSTS.slippage, init_cash=10_000.0, freq="1min",
        )  # fmt: skip
        trades = portfolio.trades
        figures = [portfolio.total_return(), portfolio.max_drawdown(), portfolio.sharpe_ratio()]
        figures += [trades.count(), trades.win_rate(), trades.profit_factor()]
        if not is_short:
            figures += [portfolio.annualized_return(), portfolio.sortino_ratio(), portfolio.calmar_ratio()]
            figures += [portfolio.drawdowns.max_duration(), trades.expectancy(), portfolio.position_coverage()]
            figures += [portfolio.orders.fees.sum()]
        return figures

    return run


def raptorbt_sample(candles: Candles, grid: SweepResult) -> Callable[[], Any]:
    """Return raptorbt's batch of a sample, with the same six figures."""
    os.environ["RAPTORBT_NO_VERSION_CHECK"] = "1"
    try:
        import raptorbt
    except ImportError:
        sys.exit('raptorbt is missing: pip install "ctp[benchmark]" (or raptorbt==0.13.4)')
    rows, entries, exits = signals(candles, grid, RAPTORBT_SAMPLE)
    items = []
    for place, row in enumerate(rows.itertuples()):
        config = raptorbt.BacktestConfig(
            initial_capital=10_000.0, fees=COSTS.fee, slippage=COSTS.slippage, fill_timing="next_bar_open"
        )
        config.set_fixed_stop(row.stop_loss)
        config.set_fixed_target(row.take_profit)
        columns = (np.ascontiguousarray(column[:, place]) for column in (entries, exits))
        items.append(raptorbt.BatchSingleItem(str(place), *columns, config=config))
    times = candles.time * 1_000_000

    def run() -> Any:
        prices = (candles.open, candles.high, candles.low, candles.close, candles.volume)
        found = []
        for begin in range(0, len(items), 100):
            for _, result in raptorbt.batch_single_backtest(times, *prices, items[begin : begin + 100]):
                six = result.metrics
                found.append((
                    six.total_return_pct, six.max_drawdown_pct, six.sharpe_ratio, six.total_trades, six.win_rate_pct,
                    six.profit_factor,
                ))  # fmt: skip
        return found

    return run


def seconds(call: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


@cache
def beside_peers() -> dict[str, float]:
    """Return the fastest of alternating rounds, in seconds for 10,000 combinations × 50,000 candles."""
    candles = spot(50_000)
    grid = ours(candles, GRIDS[10_000])
    full = everything(50_000)
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(candles, GRIDS[10_000]), "everything": full,
        "vectorbt": vectorbt_sample(candles, grid), "six": vectorbt_sample(candles, grid, is_short=True),
        "raptorbt": raptorbt_sample(candles, grid),
    }  # fmt: skip
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            times[name].append(seconds(call))
    fastest = {name: min(taken) for name, taken in times.items()}
    for name in ("vectorbt", "six"):
        fastest[name] *= 10_000 / VECTORBT_SAMPLE
    fastest["raptorbt"] *= 10_000 / RAPTORBT_SAMPLE
    for name, result in (("trades", grid), ("both", full())):
        fastest[name] = float(result.figures[:, FIGURES.index("trades")].mean())
    return fastest


def peers() -> Iterator[Row]:
    """Measure 10,000 combinations × 50,000 candles beside both peers."""
    found = beside_peers()
    speed = f"{5e8 / found['ours'] / 1e9:.1f} G candle-combinations/s, {found['trades']:.0f} trades each"
    told = f"{found['ours'] * 1e3:.0f} ms, {speed}; six figures {found['six'] / found['ours']:,.0f}x"
    for name, need in (("vectorbt", 2_000.0), ("raptorbt", 150.0)):
        ratio = found[name] / found["ours"]
        yield Row(f"10,000 × 50,000 beside {name}", ratio, f">= {need:,.0f}x", ratio >= need, f"{told}; {found[name]:.1f} s")


def features() -> Iterator[Row]:
    """Measure the same with every feature on."""
    found = beside_peers()
    ratio = found["vectorbt"] / found["everything"]
    told = f"{found['everything'] * 1e3:.0f} ms, {found['both']:.0f} trades each"
    yield Row("every feature on, beside vectorbt", ratio, ">= 500x", ratio >= 500.0, told)


def million() -> Iterator[Row]:
    """Measure a million combinations in a process of its own, whose memory nobody else has used."""
    found = json.loads(in_child("million_in_child()").stdout)
    told = f"{found['seconds']:.2f} s, {5e10 / found['seconds'] / 1e9:.1f} G candle-combinations/s"
    yield Row("1,000,000 × 50,000, memory added", found["added_mb"], "<= 500 MB", found["added_mb"] <= 500.0, told)


def million_in_child() -> None:
    """Print what a million combinations take."""
    candles = spot(50_000)
    ours(candles, {"period": [14]})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = seconds(lambda: ours(candles, GRIDS[1_000_000]))
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": spent, "added_mb": added}))


def long() -> Iterator[Row]:
    """Measure a million candles beside fifty thousand."""
    short, many = spot(50_000), spot(1_000_000)
    ours(many, {"period": [14]})
    pairs = [[seconds(lambda: ours(each, GRIDS[10_000])) for each in (short, many)] for _ in range(2)]  # noqa: B023
    fast, slow = (min(column) for column in zip(*pairs, strict=True))
    share = (1_000_000 / slow) / (50_000 / fast)
    yield Row("10,000 × 1,000,000, share of the speed", share, ">= 0.5", share >= 0.5, f"{slow:.2f} s")


def fresh() -> Iterator[Row]:
    """Measure the first sweep of a fresh process, import included, with and without compiled code."""
    with tempfile.TemporaryDirectory() as home:
        cold = json.loads(in_child("first_in_child()", home=home, is_watched=True).stdout)
        warm = min((json.loads(in_child("first_in_child()", home=home).stdout) for _ in range(3)), key=lambda one: one["sweep"])
    is_ok = cold["sweep"] <= 12.0 and "Compiling" in cold["said"]
    yield Row("first sweep, cold", cold["sweep"], "<= 12 s, says so", is_ok, f"import {cold['import']:.2f} s")
    yield Row("first sweep, warm", warm["sweep"], "<= 1.5 s", warm["sweep"] <= 1.5, f"import {warm['import']:.2f} s")


def first_in_child() -> None:
    """Print how long the first sweep takes."""
    begin = time.perf_counter()
    ours(spot(50_000), {"period": [7, 14]})
    print(json.dumps({"sweep": time.perf_counter() - begin, "import": IMPORTED_S}))


def in_child(call: str, *, home: str | None = None, is_watched: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a function of this file in a fresh process; is_watched: its stderr is a terminal, and what it says comes along."""
    code = (
        "import time; begin = time.perf_counter(); import benchmarks.sweep as sweep, ctp.research.sweep; "
        f"sweep.IMPORTED_S = time.perf_counter() - begin; sweep.{call}"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"CTP_HOME": home} if home else {})
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    leader, follower = pty.openpty() if is_watched else (-1, -1)
    errors = follower if is_watched else None
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, check=True
    )
    if is_watched:
        os.close(follower)
        said = os.read(leader, 4096).decode(errors="replace")
        os.close(leader)
        done.stdout = json.dumps({**json.loads(done.stdout), "said": said})
    return done


IMPORTED_S = 0.0  # set by `in_child`


def dask() -> Iterator[Row]:
    """Measure a million combinations on two local Dask workers beside two threads, then kill one in the middle."""
    import signal
    import threading

    from distributed import Client, LocalCluster

    candles, axes = spot(50_000), GRIDS[1_000_000]
    ours(candles, {"period": [14]})
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        ours(candles, GRIDS[10_000], dask=client)
        calls = (lambda: ours(candles, axes, workers=2), lambda: ours(candles, axes, dask=client))
        pairs = [[seconds(call) for call in calls] for _ in range(2)]
        here, there = (min(column) for column in zip(*pairs, strict=True))
        told = f"{there:.2f} s and {here:.2f} s"
        yield Row("Dask beside threads, 1,000,000", there / here, "<= 1.3", there <= 1.3 * here, told)
        right = ours(candles, axes, workers=2).figures
        victim = next(iter(client.run(os.getpid).values()))
        killer = threading.Timer(there / 2, os.kill, (victim, signal.SIGKILL))
        killer.start()
        found = ours(candles, axes, dask=client).figures
        killer.cancel()
        is_same = bool(np.array_equal(found, right, equal_nan=True))
        yield Row("Dask with a worker killed: same result", float(is_same), "= 1", is_same, f"after {there / 2:.1f} s")


ROWS: dict[str, Callable[[], Iterator[Row]]] = {
    "peers": peers, "features": features, "million": million, "long": long, "fresh": fresh, "dask": dask,
}  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"which to measure: {', '.join(ROWS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON document in the end")
    asked = parser.parse_args()
    rows = []
    for name in asked.rows.split(","):
        for row in ROWS[name]():
            rows.append(row)
            mark = "ok" if row.is_ok else "MISSED"
            print(f"{row.name:42} {row.measured:10,.2f}   need {row.need:16} {mark:7} {row.told}", flush=True)
    if asked.json:
        print(json.dumps([row._asdict() for row in rows]))
    return 0 if all(row.is_ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Does the fast sweep equal the bar loop to the bit? Random combinations on every recorded candle file, all figures.

    python -m benchmarks.equality [--combinations 10000] [--candles 3000] [--seed 1] [--data ../shared/data] [--json]

For each file, slices of it are swept by random grids over all parameters of strategy and risk, with the file's own market rules,
marks and funding where they are beside it; every combination is repeated by the bar loop, and every figure compared. Prints
counts for each file; exit code 1 with the first differences when there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ctp.core.risk import DynamicRiskManager  # noqa: E402
from ctp.core.rules import Bracket, Costs, MarketRules  # noqa: E402
from ctp.core.strategies import RsiMeanReversion  # noqa: E402
from ctp.errors import InputError  # noqa: E402
from ctp.market.candles import Candles, FundingRates  # noqa: E402
from ctp.market.series import timeframe_ms  # noqa: E402
from ctp.research.backtest import Prepared, prepare, run_bar_loop  # noqa: E402
from ctp.research.event_figures import FIGURES  # noqa: E402
from ctp.research.grid import full_grid  # noqa: E402
from ctp.research.sweep import run_grid, split_values  # noqa: E402

EACH = 250  # combinations of one slice
BRACKETS = (Bracket(0.0, 0.004, 0.0, 125.0), Bracket(20_000.0, 0.02, 320.0, 5.0))
# Values that trade often, at the bounds, and beyond where anything happens.
VALUES: dict[str, list[Any]] = {
    "period": [2, 3, 5, 7, 14, 30, 60], "oversold": [1.0, 20.0, 30.0, 40.0, 49.0], "overbought": [50.0, 55.0, 60.0, 70.0, 99.0],
    "entry_mode": ["level", "cross"], "volume_window": [1, 5, 20, 100], "volume_factor": [0.0, 0.5, 1.0, 2.0],
    "stop_loss": [0.002, 0.005, 0.01, 0.02, 0.05, 0.2], "stop_atr": [0.0, 0.0, 1.0, 3.0], "take_profit": [0.0, 0.005, 0.02, 0.08],
    "trailing_stop": [0.0, 0.0, 0.01, 0.04], "direction": ["long", "short", "both"], "trend_window": [0, 0, 20, 200],
    "signal": ["reversion", "momentum"], "cooldown": [0, 0, 3, 50], "warm_up": [0, 50, 500],
    "risk_per_trade": [0.0, 0.002, 0.01, 0.02], "leverage": [1.0, 2.0, 5.0, 10.0], "daily_loss_limit": [0.0, 0.005, 0.02, 0.03],
    "loss_streak": [1, 2, 3, 10], "shrink": [0.0, 0.5, 0.9, 1.0], "shrink_floor": [0.0, 0.25, 1.0],
    "max_margin_fraction": [0.05, 0.5, 0.9], "max_drawdown": [0.02, 0.1, 0.2, 1.0, 1.0], "liquidation_buffer": [0.0, 0.2, 0.9],
    "zone_offset": [-14.0, -3.5, 0.0, 5.75, 9.0, 14.0],
}  # fmt: skip


class Outcome(NamedTuple):
    """What comparing one slice found."""

    file: str
    combinations: int
    trades: int
    engines: dict[str, int]
    differences: list[str]


def read(file: Path) -> dict[str, Any]:
    """Return the columns of a recorded file, sorted, without doubles."""
    frame = pd.read_parquet(file)
    frame = frame.rename(columns={name: name.lower() for name in frame.columns})
    time = next(name for name in ("time", "ts", "timestamp", "open_time", "date") if name in frame.columns)
    stamps = frame[time]
    if not pd.api.types.is_integer_dtype(stamps):
        stamps = pd.to_datetime(stamps, utc=True).dt.as_unit("ms").astype("int64")
    frame = frame.assign(time=stamps.to_numpy(np.int64)).drop_duplicates("time").sort_values("time")
    return {name: frame[name].to_numpy() for name in frame.columns if name in (*PRICES, "time", "volume", "rate", "funding_rate")}


PRICES = ("open", "high", "low", "close")


def slice_of(file: Path, count: int, chance: random.Random) -> tuple[Candles, list[Candles], list[FundingRates]]:
    """Return some candles of a file with the marks and funding of the same stretch."""
    exchange, pair, timeframe = file.stem.removeprefix("dirty_").split("_")[:3]
    quote = next(each for each in ("USDT", "KRW", "USD") if pair.endswith(each))
    symbol = f"{pair.removesuffix(quote)}/{quote}" + (f":{quote}" if exchange == "binanceusdm" else "")
    columns = read(file)
    whole = np.logical_and.reduce([np.isfinite(columns[name]) & (columns[name] > 0.0) for name in PRICES])
    whole &= (columns["high"] >= columns["low"]) & np.isfinite(columns["volume"]) & (columns["volume"] >= 0.0)
    columns = {name: column[whole] for name, column in columns.items()}
    begin = chance.randrange(max(1, len(columns["time"]) - count))
    rows = slice(begin, begin + count)
    columns = {name: np.ascontiguousarray(column[rows], column.dtype) for name, column in columns.items()}
    prices = [columns[name].astype(np.float64) for name in PRICES]
    candles = Candles(symbol, timeframe, exchange, columns["time"], *prices, columns["volume"].astype(np.float64))
    first, last = int(columns["time"][0]), int(columns["time"][-1]) + timeframe_ms(timeframe)
    marks, rates = [], []
    beside = file.with_name(f"{exchange}_{pair}_{timeframe}_mark.parquet")
    if beside.is_file():
        mark = read(beside)
        inside = (mark["time"] >= first) & (mark["time"] < last)
        values = [np.ascontiguousarray(mark[name][inside], np.float64) for name in PRICES]
        marks.append(Candles(symbol, timeframe, exchange, mark["time"][inside], *values, np.zeros(int(inside.sum()))))
    paid = file.with_name(f"{exchange}_{pair}_funding.parquet")
    if paid.is_file():
        funding = read(paid)
        inside = (funding["time"] >= first) & (funding["time"] < last)
        rate = funding.get("rate", funding.get("funding_rate"))
        rates.append(FundingRates(symbol, exchange, funding["time"][inside], np.ascontiguousarray(rate[inside], np.float64)))
    return candles, marks, rates


def ready_for(file: Path, count: int, chance: random.Random) -> Prepared:
    """Return a slice with random costs, rules and start capital."""
    candles, marks, rates = slice_of(file, count, chance)
    is_perpetual = ":" in candles.symbol
    rules = MarketRules(
        is_perpetual=is_perpetual,
        tick=Decimal(chance.choice(["0.00000001", "0.01", "0.1", "1"])),
        lot=Decimal(chance.choice(["0.00000001", "0.001", "0.01"])),
        min_notional=chance.choice([0.0, 5.0, 100.0]),
        **({"brackets": BRACKETS} if is_perpetual and chance.random() < 0.5 else {}),
    )
    costs = Costs(fee=chance.choice([0.0, 0.0005, 0.002]), slippage=chance.choice([0.0, 0.0002, 0.001]))
    equity = chance.choice([100.0, 10_000.0, 5_000_000.0])
    return prepare(
        RsiMeanReversion(oversold=1.0, overbought=99.0), DynamicRiskManager(), candles, costs, rules, marks, rates, equity
    )


def axes_for(chance: random.Random, is_perpetual: bool) -> dict[str, list[Any]]:
    """Draw eight axes; together they have some hundreds of combinations."""
    known = {name: values for name, values in VALUES.items() if is_perpetual or name not in ("leverage", "direction")}
    names = {"period", "oversold", "overbought", "stop_loss", *chance.sample(sorted(known), 4)}
    return {name: chance.sample(sorted(set(known[name]), key=str), min(2, len(set(known[name])))) for name in sorted(names)}


def compare(job: tuple[str, int, int, int]) -> Outcome:
    """Sweep a slice by both engines and compare every figure."""
    file, candles, combinations, seed = job
    chance = random.Random(f"{seed} {Path(file).name}")
    ready = ready_for(Path(file), candles, chance)
    is_perpetual = bool(ready.markets[0].is_perpetual)
    while True:
        try:
            grid = full_grid(ready.strategy, ready.risk, axes_for(chance, is_perpetual), is_perpetual=is_perpetual)
            break
        except InputError:
            continue  # the drawn values contradict each other everywhere
    if grid.total > combinations:
        grid = grid.chosen(np.sort(np.random.default_rng(seed).choice(grid.total, combinations, replace=False)))
    figures, engines = run_grid(ready, grid, workers=1)
    differences = []
    for number in range(grid.total):
        strategy, risk = split_values(ready.strategy, ready.risk, grid.values(number))
        right = run_bar_loop(ready, strategy, risk).figures
        for place, name in enumerate(FIGURES):
            expected = np.nan if right[name] is None else float(right[name])
            if not np.array_equal(figures[number, place], expected, equal_nan=True):
                found = figures[number, place]
                differences.append(f"seed {seed}: {grid.values(number)} {name}: {found!r}, bar loop {expected!r}")
    trades = int(np.nansum(figures[:, FIGURES.index("trades")]))
    return Outcome(Path(file).name, grid.total, trades, dict(Counter(engines.tolist())), differences)


def main() -> int:
    """Compare and print counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--combinations", type=int, default=10_000, help="on each file")
    parser.add_argument("--candles", type=int, default=3_000, help="in a slice")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    folder = Path(os.environ.get("CTP_SHARED", ROOT.parent / "shared")) / "data"
    parser.add_argument("--data", type=Path, default=folder)
    parser.add_argument("--json", action="store_true", help="print one JSON document in the end")
    asked = parser.parse_args()
    files = [file for file in sorted(asked.data.glob("*.parquet")) if not file.stem.endswith(("mark", "funding"))]
    if not files:
        sys.exit(f"no candle files in {asked.data}: name their folder with --data")
    found = []
    with ProcessPoolExecutor(asked.workers) as processes:
        for file in files:
            outcomes: list[Outcome] = []
            while (left := asked.combinations - sum(each.combinations for each in outcomes)) > 0:
                seeds = range(len(outcomes), len(outcomes) + -(-left // EACH))
                given = [(str(file), asked.candles, EACH, asked.seed * 1_000_000 + seed) for seed in seeds]
                outcomes += processes.map(compare, given)
            engines: Counter[str] = sum((Counter(each.engines) for each in outcomes), Counter())
            wrong = [line for each in outcomes for line in each.differences]
            row = {
                "file": file.name, "combinations": sum(each.combinations for each in outcomes),
                "trades": sum(each.trades for each in outcomes), "engines": dict(engines), "differences": len(wrong),
            }  # fmt: skip
            found.append(row)
            print(f"{file.name:40} {row['combinations']:8,} combinations {row['trades']:12,} trades {len(wrong):6} differences  "
                  f"{dict(engines)}", flush=True)  # fmt: skip
            for line in wrong[:3]:
                print(f"    {line}")
    if asked.json:
        print(json.dumps(found))
    return 1 if any(row["differences"] for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())

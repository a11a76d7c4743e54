"""How fast one backtest and one live decision are, and how that compares with vectorbt on the same machine.

    python benchmarks/backtest.py [CANDLES]

A million one-minute candles of one symbol with everything on: volume filter, stop, take-profit, sizing, streak, day and
locks; against vectorbt's `Portfolio.from_signals` simulation alone (no sizing, no limits, no figures) on the entries and
exits of the same rules. Rounds alternate, medians are compared: times swing on a shared machine, ratios hardly do.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import talib

from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs, MarketRules
from ctp.core.strategies import RsiMeanReversion
from ctp.core.trader import close_candles, start_account, start_trader
from ctp.core.types import ALLOWED, ENTER, NO_PLAN, Candle
from ctp.market.candles import Candles
from ctp.research.backtest import backtest

MINUTE_MS = 60_000
START_MS = 1_577_836_800_000  # 2020-01-01
ROUNDS = 5
LIVE_CANDLES = 20_000
WANTED_RATIO, WANTED_LIVE_US = 15.0, 50.0
STRATEGY = RsiMeanReversion()
RISK = DynamicRiskManager(max_drawdown=1)  # a drawdown lock would end the work early
COSTS = Costs(fee=0.0002, slippage=0.0)


def minutes(count: int) -> Candles:
    """Return seeded one-minute candles with fat tails and clustered volatility, without drift."""
    chance = np.random.default_rng(7)
    calm = np.repeat(np.exp(chance.normal(0.0, 0.5, count // 240 + 1)), 240)[:count]
    close = 30_000.0 * np.exp(np.cumsum(0.0007 * calm * chance.standard_t(4, count)))
    opens = np.concatenate(([30_000.0], close[:-1]))
    reach = np.abs(0.0004 * calm * chance.standard_normal((2, count)))
    high, low = np.maximum(opens, close) * (1 + reach[0]), np.minimum(opens, close) * (1 - reach[1])
    volume = np.exp(chance.normal(0.0, 1.0, count))
    stamps = START_MS + np.arange(count, dtype=np.int64) * MINUTE_MS
    return Candles("BTC/USDT:USDT", "1m", "binanceusdm", stamps, opens, high, low, close, volume)


def ours(candles: Candles) -> Any:
    """Run the whole public backtest."""
    return backtest(STRATEGY, RISK, candles, costs=COSTS, rules=MarketRules(is_perpetual=True))


def theirs(candles: Candles) -> Callable[[], Any]:
    """Prepare the same entries and exits, and return vectorbt's simulation of them."""
    warnings.filterwarnings("ignore")
    import vectorbt

    index = pd.to_datetime(candles.time, unit="ms", utc=True)
    opens, high, low, close = (pd.Series(getattr(candles, name), index=index) for name in ("open", "high", "low", "close"))
    rsi = talib.RSI(candles.close, STRATEGY.period)
    mean = pd.Series(candles.volume).rolling(STRATEGY.volume_window).mean().shift(1).to_numpy()
    entries = pd.Series((rsi <= STRATEGY.oversold) & (candles.volume > STRATEGY.volume_factor * mean), index=index)
    exits = pd.Series(rsi >= STRATEGY.overbought, index=index)
    return lambda: vectorbt.Portfolio.from_signals(
        close, entries, exits, open=opens, high=high, low=low, sl_stop=STRATEGY.stop_loss, tp_stop=STRATEGY.take_profit,
        fees=COSTS.fee, init_cash=10_000.0, freq="1min",
    )  # fmt: skip


def seconds(call: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def live_microseconds(candles: Candles) -> tuple[float, float]:
    """Return how long a plain close takes the bot, without I/O: (median of all, median of those that plan an entry)."""
    strategy, risk = STRATEGY.values(), RISK.for_market(is_perpetual=True).values()
    markets = [MarketRules(is_perpetual=True).market(COSTS)]
    states, account = [start_trader(strategy)], start_account(10_000.0)
    every, entries = [], []
    columns = (candles.time, candles.open, candles.high, candles.low, candles.close, candles.volume)
    for row in zip(*(column[:LIVE_CANDLES].tolist() for column in columns), strict=True):
        candle = Candle(*row)
        begin = time.perf_counter_ns()
        states, account, intents = close_candles(
            strategy, risk, markets, states, account, [candle], [1], [ALLOWED], [None], MINUTE_MS, candle.time + MINUTE_MS
        )
        spent = (time.perf_counter_ns() - begin) / 1_000
        every.append(spent)
        if intents[0].outcome == ENTER:  # nobody fills it: the next candle decides afresh
            entries.append(spent)
            states = [states[0]._replace(plan=NO_PLAN)]
    return statistics.median(every), statistics.median(entries)


def main() -> int:
    """Print the measurements; exit 1 when a goal is missed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    candles = minutes(count)
    simulate = theirs(candles)
    result, portfolio = ours(candles), simulate()  # compiles both
    rounds = [(seconds(lambda: ours(candles)), seconds(simulate)) for _ in range(ROUNDS)]
    mine, other = (statistics.median(column) for column in zip(*rounds, strict=True))
    every_us, entry_us = live_microseconds(candles)
    ratio = other / mine
    trades = (len(result.trade_records), portfolio.trades.count())
    print(f"candles                     {count:,}")
    for name, spent, closed in zip(("ctp.backtest", "vectorbt simulation alone"), (mine, other), trades, strict=True):
        print(f"{name:27} {spent * 1e3:9.1f} ms   {spent / count * 1e9:7.1f} ns a candle   {closed:,} trades")
    print(f"ratio                       {ratio:9.1f}x     at least {WANTED_RATIO:g}x wanted")
    print(f"live close                  {every_us:9.1f} µs")
    print(f"live close with an entry    {entry_us:9.1f} µs    at most {WANTED_LIVE_US:g} µs wanted")
    return 0 if ratio >= WANTED_RATIO and entry_us <= WANTED_LIVE_US else 1


if __name__ == "__main__":
    sys.exit(main())

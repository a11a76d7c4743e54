"""The bot over the simulated exchange equals the backtest, to the bit, in every trade and every equity sample."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctp.core.strategies import DEFAULT_STRATEGY
from ctp.market.candles import Candles, FundingRates
from ctp.research.backtest import backtest
from ctp.research.result import BacktestResult
from ctp.storage.tables import decisions, equity_samples
from ctp.trading.replay import read_replay
from tests.trading.rig import HOUR, START, Rig, trading_rig, walk

COLUMNS = (
    "symbol", "side", "entry_time", "entry_price", "exit_time", "exit_price", "size", "leverage", "margin",
    "stop_price", "take_price", "fee", "funding", "pnl", "r_multiple", "exit_reason",
)  # fmt: skip
CANDLES = {"perpetual, both directions, trailing": 300, "spot, stop and take as a pair": 300}
FEWER_CANDLES = 120
HISTORY = 100
PERPETUALS = {"BTC/USDT:USDT": (60_000.0, 0.1), "ETH/USDT:USDT": (3_000.0, 0.01)}
SPOT = {"BTC/USDT": (60_000.0, 0.01), "ETH/USDT": (3_000.0, 0.01)}
WARM_UP = {"period": 7, "warm_up": 60, "volume_factor": 0.8}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "perpetual, both directions, trailing": (
        PERPETUALS,
        {"oversold": 35, "overbought": 65, "direction": "both", "stop_loss": 0.015, "take_profit": 0.02,
         "trailing_stop": 0.02, "cooldown": 3, **WARM_UP},
        {"leverage": 5, "max_drawdown": 1},
    ),
    "perpetual, long, high leverage, daily loss closes": (
        PERPETUALS,
        {"oversold": 45, "overbought": 70, "stop_loss": 0.03, "take_profit": 0, **WARM_UP},
        {"leverage": 10, "on_daily_loss": "close", "risk_per_trade": 0.02, "max_drawdown": 1},
    ),
    "spot, stop and take as a pair": (
        SPOT,
        {"oversold": 40, "overbought": 60, "stop_loss": 0.012, "take_profit": 0.015, **WARM_UP},
        {"max_drawdown": 1},
    ),
    "spot, trailing, no take": (
        SPOT,
        {"oversold": 40, "overbought": 75, "stop_atr": 1.5, "take_profit": 0, "trailing_stop": 0.015, **WARM_UP},
        {"max_drawdown": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_bot_equals_the_backtest_to_the_bit(name: str, tmp_path: Path) -> None:
    symbols, strategy, risk = CASES[name]
    count = CANDLES.get(name, FEWER_CANDLES)
    asyncio.run(compare(tmp_path, _columns(symbols, HISTORY + count + 2), strategy, risk, count))


def _columns(symbols: dict[str, tuple[float, float]], candles: int) -> dict[str, dict[str, Any]]:
    made: dict[str, dict[str, Any]] = {}
    for seed, (symbol, (price, tick)) in enumerate(symbols.items()):
        rows: dict[str, Any] = dict(walk(seed + 5, candles, price, tick=tick))
        if ":" in symbol:
            chance = np.random.default_rng(seed)
            noise = 1 + chance.normal(0, 0.0005, candles)
            rows["mark"] = {"ts": rows["ts"]} | {one: rows[one] * noise for one in ("open", "high", "low", "close")}
            times = START + np.arange(0, candles * HOUR, 8 * HOUR) + chance.integers(0, 900)
            rows["funding"] = {"ts": times, "rate": chance.normal(0.0001, 0.0003, len(times))}
        made[symbol] = rows
    return made


async def compare(
    folder: Path,
    columns: dict[str, dict[str, Any]],
    strategy: dict[str, Any],
    risk: dict[str, Any],
    count: int,
    *,
    timeframe: str = "1h",
    least_trades: int = 5,
    capital: Decimal = Decimal("9876.5"),
    strategy_name: str = DEFAULT_STRATEGY,
) -> tuple[BacktestResult, list[Any]]:
    """Trade recorded candles and assert that a backtest is equal; returns it with the rows of the decision journal."""
    exchange = "binanceusdm" if ":" in next(iter(columns)) else "binance"
    wealth = capital + 100
    async with trading_rig(folder, columns, history=HISTORY, timeframe=timeframe) as rig:
        account = rig.add_account(
            list(columns), exchange=exchange, strategy=strategy, risk=risk, capital=capital, wallet=wealth,
            strategy_name=strategy_name, spot=(("USDT", wealth), ("BTC", Decimal(1))),
        )  # fmt: skip
        await rig.start_bot()
        assert await rig.command(account, "start") == "done"
        await rig.advance([account], count)
        await rig.stop_bot()
        return _check(rig, account, columns, timeframe, least_trades), rig.rows(decisions, order=decisions.c.id)


def _check(
    rig: Rig, account: int, columns: dict[str, dict[str, Any]], timeframe: str, least_trades: int
) -> BacktestResult:
    with rig.database.reading() as connection:
        replay = read_replay(connection, account)
    last = max(row.candle_time for row in rig.rows(decisions, decisions.c.account_id == account))
    candles, marks, rates = [], [], []
    for symbol, rows in columns.items():
        part = (rows["ts"] >= replay.first_times[symbol]) & (rows["ts"] <= last)
        cut = {name: rows[name][part] for name in ("open", "high", "low", "close", "volume")}
        candles.append(Candles.checked(symbol, timeframe, replay.exchange, rows["ts"][part], **cut))
        if "mark" in rows:
            cut = {name: rows["mark"][name][part] for name in ("open", "high", "low", "close")}
            zero = np.zeros(int(part.sum()))
            marks.append(Candles(symbol, timeframe, replay.exchange, rows["ts"][part], **cut, volume=zero, kind="mark"))
            funding = rows["funding"]
            rates.append(FundingRates.checked(symbol, replay.exchange, funding["ts"], funding["rate"]))
    result = backtest(
        replay.strategy, replay.risk, candles, costs=replay.costs, rules=replay.rules, mark=marks, funding=rates,
        equity=replay.capital,
    )  # fmt: skip
    expected = [{name: one[name] for name in COLUMNS} for one in result.closed_trades]
    # What was decided at the last close has filled at the exchange already; for the backtest the data ends there.
    rows = [row for row in rig.trades(account) if row.exit_time <= last]
    found = [{name: getattr(row, name) for name in COLUMNS} for row in rows]
    order = lambda one: (one["exit_time"], one["symbol"], one["entry_time"])  # noqa: E731
    for ours, theirs in zip(sorted(found, key=order), sorted(expected, key=order), strict=False):
        assert ours == theirs
    assert len(found) == len(expected)
    assert len(expected) >= least_trades
    samples = rig.rows(equity_samples, equity_samples.c.account_id == account, order=equity_samples.c.time)
    curve = result.equity
    assert [row.time for row in samples] == [int(time.timestamp() * 1000) for time in curve.index]
    assert [row.equity for row in samples] == list(curve)
    return result

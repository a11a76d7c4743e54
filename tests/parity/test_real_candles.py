"""Recorded candles of real exchanges: the backtest equals the oracle there too."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ctp.market.candles import Candles, FundingRates
from tests.parity import oracle_values as plain
from tests.parity.cases import Case, History
from tests.parity.compare import ORACLE_COLUMNS, differences, run_oracle
from tests.parity.engines import run_compiled

COINS = {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT", "BTC/USDT:USDT": "BTCUSDT", "ETH/USDT:USDT": "ETHUSDT"}
ROWS = 6_000
PERPETUAL = plain.Market(True, Fraction(1, 10), Fraction(1, 1000), 5.0)
SPOT = plain.Market(False, Fraction(1, 100), Fraction(1, 100_000), 10.0, (plain.Bracket(0.0, 0.01, 0.0, 125.0),))


def candles_of(file: Path, symbol: str, exchange: str, timeframe: str, kind: Any = "candles", end: int | None = None) -> Candles:
    """Return the last rows of a recorded file that open before `end`."""
    frame = pd.read_parquet(file)
    frame = frame[frame["ts"] < end] if end else frame
    frame = frame.tail(ROWS)
    columns = (frame[name].to_numpy() for name in ("ts", "open", "high", "low", "close", "volume"))
    return Candles.checked(symbol, timeframe, exchange, *columns, kind=kind)


def brackets_of(data: Path, symbol: str) -> tuple[plain.Bracket, ...]:
    """Return the recorded leverage brackets of a perpetual."""
    tiers = json.loads((data / "binanceusdm_leverage_tiers.json").read_text())["tiers"][symbol]
    return tuple(
        plain.Bracket(tier["minNotional"], tier["maintenanceMarginRate"], float(tier["info"]["cum"]), tier["maxLeverage"])
        for tier in tiers
    )


def perpetuals(data: Path, symbols: tuple[str, ...]) -> tuple[History, tuple[plain.Market, ...]]:
    """Return hours of perpetuals with mark prices, funding and their recorded brackets."""
    history = History({}, {}, {})
    markets = []
    for symbol in symbols:
        stem = f"binanceusdm_{COINS[symbol]}"
        end = 1_655_600_000_000  # the June 2022 fall
        history.candles[symbol] = candles_of(data / f"{stem}_1h.parquet", symbol, "binanceusdm", "1h", end=end)
        history.mark[symbol] = candles_of(data / f"{stem}_1h_mark.parquet", symbol, "binanceusdm", "1h", "mark", end=end)
        rates = pd.read_parquet(data / f"{stem}_funding.parquet")
        history.funding[symbol] = FundingRates(symbol, "binanceusdm", rates["ts"].to_numpy(), rates["rate"].to_numpy())
        markets.append(dataclasses.replace(PERPETUAL, brackets=brackets_of(data, symbol)))
    return history, tuple(markets)


def spots(data: Path, symbols: tuple[str, ...]) -> tuple[History, tuple[plain.Market, ...]]:
    """Return hours of spot markets, with the exchange's outages in them."""
    end = 1_551_000_000_000  # 2018 had most outages
    found = {
        symbol: candles_of(data / f"binance_{COINS[symbol]}_1h.parquet", symbol, "binance", "1h", end=end) for symbol in symbols
    }
    return History(found, {}, {}), tuple(SPOT for _ in symbols)


def case_of(history: History, markets: tuple[plain.Market, ...], strategy: dict[str, Any], risk: dict[str, Any]) -> Case:
    """Return the account over recorded candles."""
    return Case(
        seed=0, timeframe="1h", is_perpetual=markets[0].perpetual, symbols=len(markets), length=ROWS, volatility=0.0,
        jump_chance=0.0, gap_chance=0.0, has_mark=bool(history.mark), has_funding=bool(history.funding), equity=10_000.0,
        strategy=strategy, risk=risk, costs=tuple(plain.Costs(0.0005, 0.0002) for _ in markets), markets=markets,
        names=tuple(history.candles),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "symbols", "strategy", "risk", "trades"),
    [
        (perpetuals, ("BTC/USDT:USDT",), {}, {}, 30),
        (
            perpetuals,
            ("BTC/USDT:USDT", "ETH/USDT:USDT"),
            {"direction": "both", "stop_atr": 2.0, "trailing_stop": 0.03, "trend_window": 200, "cooldown": 3},
            {"leverage": 10, "on_daily_loss": "close", "max_drawdown": 1},
            15,
        ),
        (
            perpetuals,
            ("BTC/USDT:USDT", "ETH/USDT:USDT"),
            {"direction": "short", "signal": "momentum", "entry_mode": "cross", "period": 7, "take_profit": 0.0},
            {"leverage": 5, "max_drawdown": 1},
            30,
        ),
        (spots, ("BTC/USDT", "ETH/USDT"), {"period": 5, "warm_up": 0, "volume_factor": 0}, {"max_drawdown": 1}, 100),
    ],
)
def test_backtest_of_recorded_candles_equals_the_oracle(
    shared_data: Path, make: Any, symbols: tuple[str, ...], strategy: dict[str, Any], risk: dict[str, Any], trades: int
) -> None:
    history, markets = make(shared_data, symbols)
    case = case_of(history, markets, strategy, risk)
    expected = run_oracle(case, history)
    found = run_compiled(case, history)
    assert differences(found, expected) == []
    assert len(expected.closed) >= trades, "too few trades to prove anything"
    assert np.isfinite(found.equity_values).all()


def test_the_trade_list_on_disk_is_the_oracles_too(shared_data: Path, tmp_path: Path) -> None:
    history, markets = perpetuals(shared_data, ("BTC/USDT:USDT", "ETH/USDT:USDT"))
    case = case_of(history, markets, {"direction": "both", "period": 7, "take_profit": 0.0}, {"max_drawdown": 1})
    expected = run_oracle(case, history)
    run_compiled(case, history).write_trades(tmp_path / "trades.csv")
    with (tmp_path / "trades.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    trades = [*expected.closed, *expected.open]
    assert len(rows) == len(trades) > 30
    for row, trade in zip(rows, trades, strict=True):
        assert list(row) == [name for name in ORACLE_COLUMNS if name not in ("slippage", "entry_equity")]
        for name, text in row.items():
            value = ORACLE_COLUMNS[name](trade)
            if value is None:
                assert text == ""
            elif name.endswith("_time"):
                assert dt.datetime.fromisoformat(text).timestamp() * 1000 == value
            else:
                assert (text if isinstance(value, str) else float(text)) == value

"""`ctp.backtest` from the outside: what it returns, what it refuses, what it leaves on disk."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

import ctp
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import RsiMeanReversion
from ctp.errors import InputError
from ctp.market.candles import Candles
from ctp.research.result import TRADE_COLUMNS
from tests.research.conftest import generated_candles, generated_funding


def test_trades_pnl_and_equity_explain_each_other(candles: Candles) -> None:
    result = ctp.backtest(candles=candles)
    closed = result.closed_trades
    assert len(closed) > 10
    balance = 10_000.0 + sum(trade["pnl"] for trade in closed)
    still_open = [trade for trade in result.trade_records if trade["exit_reason"] is None]
    for trade in still_open:
        balance += trade["size"] * (float(candles.close[-1]) - trade["entry_price"]) - trade["fee"]
    assert balance == pytest.approx(float(result.equity_values[-1]), abs=1e-6)


def test_every_figure_is_there_and_ready_for_json(candles: Candles) -> None:
    result = ctp.backtest(candles=candles)
    text = json.dumps(result.to_dict(), allow_nan=False)
    figures = json.loads(text)["figures"]
    for name in ("total_return", "cagr", "max_drawdown", "sharpe", "sortino", "calmar", "win_rate", "profit_factor",
                 "expectancy_r", "exposure", "fees", "funding", "slippage", "largest_loss", "worst_day", "monthly_returns"):
        assert name in figures
    assert figures["largest_loss"] <= 0.02


def test_trade_list_on_disk_has_the_named_columns_and_all_digits(candles: Candles, tmp_path: Path) -> None:
    result = ctp.backtest(candles=candles)
    result.write_trades(tmp_path / "trades.csv")
    result.write_equity(tmp_path / "equity.csv")
    with (tmp_path / "trades.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == TRADE_COLUMNS
    assert [float(row["entry_price"]) for row in rows] == [trade["entry_price"] for trade in result.trade_records]
    assert rows[0]["entry_time"].endswith("Z")
    assert len((tmp_path / "equity.csv").read_text().splitlines()) == len(result.time) + 1


def test_two_symbols_share_one_account() -> None:
    two = [generated_candles("BTC/USDT", seed=1), generated_candles("ETH/USDT", seed=2)]
    result = ctp.backtest(candles=two)
    assert {trade["symbol"] for trade in result.closed_trades} == {"BTC/USDT", "ETH/USDT"}
    exits = [trade["exit_time"] for trade in result.closed_trades]
    assert exits == sorted(exits)


def test_funding_is_booked_when_given_and_named_when_missing() -> None:
    candles = generated_candles("BTC/USDT:USDT")
    with_rates = ctp.backtest(candles=candles, funding=generated_funding(candles))
    without = ctp.backtest(candles=candles)
    assert with_rates.figures["funding"] != 0.0
    assert without.figures["funding"] == 0.0
    assert any("funding" in note for note in without.notes)


def test_vectorbt_reaches_the_same_equity_from_the_finished_orders() -> None:
    candles = generated_candles("BTC/USDT:USDT", seed=3)
    strategy, risk = RsiMeanReversion(direction="both"), DynamicRiskManager(leverage=5, max_drawdown=1)
    result = ctp.backtest(strategy, risk, candles, funding=generated_funding(candles))
    portfolio = result.to_vectorbt()
    value = portfolio.value()
    value = value[value.index.isin(result.equity.index)]
    assert np.abs(value.to_numpy() - result.equity_values).max() < 1e-9 * 10_000.0
    assert portfolio.trades.count() == len(result.trade_records)


def test_the_result_says_when_the_drawdown_lock_ended_entries(candles: Candles) -> None:
    locked = ctp.backtest(risk=DynamicRiskManager(max_drawdown=0.01), candles=candles)
    assert any("drawdown lock" in note for note in locked.notes)
    assert max(trade["entry_time"] for trade in locked.trade_records) < int(candles.time[-1]) // 2 + int(candles.time[0]) // 2
    free = ctp.backtest(risk=DynamicRiskManager(max_drawdown=1), candles=candles)
    assert not any("drawdown lock" in note for note in free.notes)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("leverage", lambda candles: DynamicRiskManager(leverage=11)),
        ("risk_per_trade", lambda candles: DynamicRiskManager(risk_per_trade=0.05)),
        ("daily_loss_limit", lambda candles: DynamicRiskManager(daily_loss_limit=0.031)),
        ("oversold", lambda candles: RsiMeanReversion(oversold=80)),
        ("period", lambda candles: RsiMeanReversion(period=1)),
        ("stop_loss", lambda candles: RsiMeanReversion(stop_loss=math.nan)),
        ("leverage", lambda candles: ctp.backtest(risk=DynamicRiskManager(leverage=3), candles=candles)),
        ("direction", lambda candles: ctp.backtest(RsiMeanReversion(direction="short"), candles=candles)),
        ("equity", lambda candles: ctp.backtest(candles=candles, equity=0.0)),
        ("candles", lambda candles: ctp.backtest(candles=[])),
        ("candles", lambda candles: ctp.backtest(candles=[candles, candles])),
    ],
)
def test_a_wrong_value_is_refused_by_name(field: str, call: object, candles: Candles) -> None:
    with pytest.raises(InputError) as refused:
        call(candles)  # type: ignore[operator]
    assert refused.value.field == field

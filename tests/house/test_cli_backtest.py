"""`ctp backtest`: bad input names the field, the value and the bound and writes nothing; good input writes what it says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from ctp.cli import app
from ctp.cli.app import exit_code
from ctp.errors import CtpError
from ctp.market.candles import Candles
from ctp.market.history import candle_store
from tests.compiled import share_compiled_code

HOUR = 3_600_000
RUN = ("backtest", "--exchange", "binance", "--symbol", "BTC/USDT", "--timeframe", "1h")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with 1,500 candles of a random walk."""
    home = tmp_path_factory.mktemp("home")
    share_compiled_code(home)
    chance = np.random.default_rng(7)
    close = 20_000 * np.exp(np.cumsum(chance.normal(0, 0.006, 1500)))
    open_ = np.concatenate(([20_000.0], close[:-1]))
    spread = 1 + abs(chance.normal(0, 0.002, 1500))
    candles = Candles.checked(
        "BTC/USDT", "1h", "binance", np.arange(1500) * HOUR + 460_000 * HOUR,
        open_, np.maximum(open_, close) * spread, np.minimum(open_, close) / spread, close, chance.lognormal(3, 1, 1500),
    )  # fmt: skip
    candle_store(home).append(candles)
    return home


@pytest.fixture
def ctp(stored: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Return the command line in that home."""
    monkeypatch.setenv("CTP_HOME", str(stored))
    return CliRunner()


def refusal(result: Result) -> tuple[int, str]:
    """Return the exit code and the sentence of an expected error."""
    assert isinstance(result.exception, CtpError), result.output
    return exit_code(result.exception), str(result.exception)


def test_trades_figures_and_files_agree(ctp: CliRunner, tmp_path: Path) -> None:
    """The JSON counts what the CSV lists."""
    trades, equity = tmp_path / "trades.csv", tmp_path / "equity.csv"
    files = ("--trades", str(trades), "--equity", str(equity))
    done = ctp.invoke(app, [*RUN, "--set", "strategy.volume_factor=0", *files, "--json"])
    assert done.exit_code == 0, done.exception
    document = json.loads(done.stdout)
    rows = list(csv.DictReader(trades.open()))
    assert len([row for row in rows if row["exit_reason"]]) == document["figures"]["trades"] > 0
    assert len(list(csv.reader(equity.open()))) == document["decisions"] + 1
    assert document["strategy"]["volume_factor"] == 0


def test_a_person_reads_the_target_beside_what_was_measured(ctp: CliRunner) -> None:
    """No promise without the measured months."""
    done = ctp.invoke(app, [*RUN])
    assert done.exit_code == 0, done.exception
    assert "5-10 % a month is a target, not a promise" in done.stdout


@pytest.mark.parametrize(
    ("assignment", "field", "bound"),
    [
        ("risk.risk_per_trade=0.05", "risk_per_trade", "0.02"),
        ("risk.daily_loss_limit=0.04", "daily_loss_limit", "0.03"),
        ("risk.leverage=11", "leverage", "10"),
        ("strategy.period=1", "period", "2"),
        ("strategy.perod=14", "perod", "period"),
        ("costs.fee=-1", "fee", "0"),
        ("costs.fees=0.1", "costs.fees", "costs.fee"),
        ("costs.funding=maybe", "costs.funding", "on or off"),
        ("market.tick=0.03", "tick", "whole number"),
        ("market.tick=abc", "market.tick", "number"),
        ("equity=0", "equity", "above 0"),
        ("period=14", "period", "strategy."),
        ("strategy.period", "strategy.period", "name=value"),
    ],
)
def test_a_wrong_value_names_field_value_and_bound(
    ctp: CliRunner, tmp_path: Path, assignment: str, field: str, bound: str
) -> None:
    """Exit code 2, a sentence with all three, and no file."""
    trades = tmp_path / "trades.csv"
    code, sentence = refusal(ctp.invoke(app, [*RUN, "--set", assignment, "--trades", str(trades)]))
    assert code == 2
    assert field in sentence
    assert bound in sentence
    assert not trades.exists()


def test_a_symbol_without_candles_says_how_to_get_them(ctp: CliRunner) -> None:
    """Exit code 2 with the command to run."""
    code, sentence = refusal(ctp.invoke(app, [*RUN[:4], "DOGE/USDT", *RUN[5:]]))
    assert code == 2
    assert "ctp data download" in sentence


def test_a_folder_that_does_not_exist_is_refused_before_the_run(ctp: CliRunner, tmp_path: Path) -> None:
    """Nobody waits for a run whose result cannot be written."""
    code, sentence = refusal(ctp.invoke(app, [*RUN, "--trades", str(tmp_path / "none/trades.csv")]))
    assert code == 2
    assert "--trades" in sentence


SWEEP = ("sweep", *RUN[1:])


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        (("--grid", "strategy.period=7,1"), "axis period", "1"),
        (("--grid", "strategy.stop_loss=0.01,nan"), "axis stop_loss", "nan"),
        (("--grid", "strategy.stop_loss=inf"), "axis stop_loss", "inf"),
        (("--grid", "strategy.period=7,seven"), "axis period", "seven"),
        (("--grid", "strategy.period=7,7"), "axis period", "given twice"),
        (("--grid", "strategy.period=7,,9"), "axis period", "''"),
        (("--grid", "strategy.period="), "--grid", "name=values"),
        (("--grid", "strategy.perod=7"), "axis strategy.perod", "strategy.period"),
        (("--grid", "risk.risk_per_trade=0.01,0.05"), "axis risk_per_trade", "0.05"),
        (("--grid", "strategy.period=5..40"), "axis period", "search"),
        (("--search", "random", "--grid", "strategy.period=5..x"), "--grid strategy.period", "LOW..HIGH"),
        (("--search", "random", "--grid", "strategy.stop_loss=0.01..0.5"), "axis stop_loss", "0.5"),
        (("--search", "luck", "--grid", "strategy.period=7"), "search", "random, tpe"),
        (("--trials", "5", "--grid", "strategy.period=7"), "trials", "search"),
        (("--by", "luck", "--grid", "strategy.period=7"), "by", "sharpe"),
    ],
)
def test_an_impossible_sweep_names_axis_and_value_and_runs_nothing(
    ctp: CliRunner, tmp_path: Path, arguments: tuple[str, ...], field: str, words: str
) -> None:
    """The message names axis and value, and no file appears."""
    code, sentence = refusal(ctp.invoke(app, [*SWEEP, *arguments, "--out", str(tmp_path / "out")]))
    assert code == 2 and sentence.startswith(field) and words in sentence
    assert not (tmp_path / "out").exists()


def test_a_search_keeps_its_results_and_is_the_same_again(ctp: CliRunner, tmp_path: Path) -> None:
    """`--search` with ranges, into a folder that pandas reads."""
    asked = ("--search", "tpe", "--trials", "40", "--seed", "1", "--out", str(tmp_path / "out"), "--json")
    grid = ("--grid", "strategy.period=5..40", "--grid", "strategy.stop_loss=0.005..0.1:log")
    first, again = (ctp.invoke(app, [*SWEEP, *asked, *grid]) for _ in range(2))
    assert first.exit_code == 0, first.exception
    assert json.loads(first.stdout)["combinations"] == 40
    assert again.stdout == first.stdout
    assert sorted(pd.read_parquet(tmp_path / "out")["number"]) == list(range(40))


def test_a_sweep_prints_the_best_rows_and_writes_them_all(ctp: CliRunner, tmp_path: Path) -> None:
    """Its rows are the backtest's figures."""
    table = tmp_path / "table.parquet"
    grid = ("--grid", "strategy.period=7:10", "--grid", "strategy.stop_loss=0.01:0.03:0.01", "--grid", "risk.max_drawdown=1")
    done = ctp.invoke(app, [*SWEEP, *grid, "--top", "2", "--table", str(table), "--json"])
    assert done.exit_code == 0, done.exception
    document = json.loads(done.stdout)
    assert document["axes"] == {"period": [7, 8, 9], "stop_loss": [0.01, 0.02], "max_drawdown": [1.0]}
    best = document["top"][0]
    sets = [f"--set=strategy.period={best['period']}", f"--set=strategy.stop_loss={best['stop_loss']}"]
    alone = json.loads(ctp.invoke(app, [*RUN, *sets, "--set=risk.max_drawdown=1", "--json"]).stdout)
    assert {name: best[name] for name in ("sharpe", "trades", "fees")} == {
        name: alone["figures"][name] for name in ("sharpe", "trades", "fees")
    }
    assert len(pd.read_parquet(table)) == document["combinations"] == 6
    told = ctp.invoke(app, [*SWEEP, *grid])
    assert told.exit_code == 0 and "Best 6 of 6 by sharpe" in told.output and "validate it" in told.output


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ("strategy.period", "--grid = 'strategy.period': must be name=values"),
        ("strategy.period=5:x", "--grid strategy.period = '5:x': must be BEGIN:END"),
        ("strategy.period=9:5", "--grid strategy.period = '9:5': must be BEGIN:END"),
        ("strategy.period=1:5", "axis period = 1: must be a whole number from 2 to 200"),
        ("risk.leverage=11", "axis leverage = 11: must be a number from 1 to 10"),
        ("strategy.size=1", "axis strategy.size = '': unknown"),
    ],
)
def test_an_impossible_grid_names_axis_and_value(ctp: CliRunner, grid: str, sentence: str) -> None:
    """Nothing runs."""
    code, said = refusal(ctp.invoke(app, [*SWEEP, "--grid", grid]))
    assert code == 2 and sentence in said

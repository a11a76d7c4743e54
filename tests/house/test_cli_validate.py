"""`ctp validate` and `ctp check` on the command line: verdict, document, ledger, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ctp.cli.app import app
from ctp.errors import InputError
from ctp.market.history import candle_store
from ctp.storage.database import Database
from tests.compiled import share_compiled_code
from tests.research.markets import market

ON = ("--exchange", "binance", "--symbol", "BTC/USDT", "--timeframe", "1h")
GRID = ("--grid", "strategy.oversold=25:41:5", "--grid", "strategy.overbought=60,70")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with a database and a random walk of 3,000 hours."""
    home = tmp_path_factory.mktemp("home")
    share_compiled_code(home)
    candle_store(home).append(market(1, 3_000))
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    database.migrate()
    database.close()
    return home


@pytest.fixture
def ctp(stored: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Return the command line in that home."""
    monkeypatch.setenv("CTP_HOME", str(stored))
    return CliRunner()


def test_a_random_walk_is_red_in_the_document_with_its_trials_counted(ctp: CliRunner) -> None:
    done = ctp.invoke(app, ["validate", *ON, *GRID, "--folds", "3", "--json"])
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert found["verdict"] == "red" and found["combinations"] == 8
    assert found["deflated"]["from_ledger"] and found["deflated"]["trials"] >= 8
    assert len(found["reasons"]) >= 3 and len(found["anchored"]["folds"]) == 3
    assert found["promotion"]["validation"]["verdict"] == "red"


def test_a_person_reads_the_verdict_in_korean(ctp: CliRunner) -> None:
    done = ctp.invoke(app, ["validate", *ON, *GRID, "--folds", "3", "--language", "ko"])
    assert done.exit_code == 0, done.exception
    assert done.stdout.startswith("■ 적색") and "전진 분석" in done.stdout and "약속이 아닙니다" in done.stdout


def test_the_house_strategy_passes_its_check(ctp: CliRunner) -> None:
    done = ctp.invoke(app, ["check", *ON, "--cuts", "2", "--json"])
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert found["is_passed"] and found["warm_up"] < found["declared"] == 392
    said = ctp.invoke(app, ["check", *ON, "--cuts", "2", "--set", "strategy.warm_up=50"])
    assert "Set warm_up =" in said.stdout


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["validate", *ON, "--language", "fr"], "--language"),
        (["validate", *ON, *GRID, "--folds", "1"], "folds"),
        (["validate", *ON, "--grid", "strategy.period=1"], "axis period"),
        (["validate", *ON, "--end", "2021-01-20"], "candles"),
        (["check", "--exchange", "binance", "--symbol", "BTC/USDT,ETH/USDT", "--timeframe", "1h"], "--symbol"),
        (["check", *ON, "--cuts", "0"], "cuts"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(ctp: CliRunner, words: list[str], field: str) -> None:
    done = ctp.invoke(app, words)
    assert isinstance(done.exception, InputError), done.output
    assert done.exception.field == field

"""`ctp data`: what a person types, what they read, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ctp.cli import app
from ctp.errors import InputError

SERIES = ("--exchange", "binance", "--symbol", "BTC/USDT", "--timeframe", "1h")


def csv(folder: Path, *closes: str) -> Path:
    """Write hourly candles with these closes."""
    lines = [f"{1_600_000_000_000 // 3_600_000 * 3_600_000 + i * 3_600_000},9,30,5,{c},1" for i, c in enumerate(closes)]
    file = folder / "candles.csv"
    file.write_text("ts,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
    return file


def test_imported_candles_are_listed_and_verified(home: Path, tmp_path: Path) -> None:
    """Import, list and verify agree on the number of rows."""
    ctp = CliRunner()
    done = ctp.invoke(app, ["data", "import", str(csv(tmp_path, "10", "11", "12")), *SERIES, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["added"] == 3
    assert json.loads(ctp.invoke(app, ["data", "list", "--json"]).stdout)[0]["rows"] == 3
    assert "binance BTC/USDT 1h" in ctp.invoke(app, ["data", "verify"]).stdout


def test_one_bad_candle_writes_nothing(home: Path, tmp_path: Path) -> None:
    """The error names the row; the store stays empty."""
    ctp = CliRunner()
    refused = ctp.invoke(app, ["data", "import", str(csv(tmp_path, "10", "nan", "12")), *SERIES])
    assert isinstance(refused.exception, InputError)
    assert "row 2" in str(refused.exception)
    assert json.loads(ctp.invoke(app, ["data", "list", "--json"]).stdout) == []


@pytest.mark.parametrize("words", [("data", "list"), ("data", "verify")])
def test_an_empty_store_says_what_to_do(home: Path, words: tuple[str, ...]) -> None:
    """No table without rows: a sentence."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0
    assert "No market history is stored" in result.stdout


def test_a_download_from_an_unknown_exchange_is_wrong_use(home: Path) -> None:
    """Nothing is asked and nothing is stored."""
    words = ["data", "download", "--exchange", "nosuch", *SERIES[2:], "--since", "2023-01-01"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, InputError)
    assert "nosuch" in str(result.exception)
    assert not (home / "candles").exists()

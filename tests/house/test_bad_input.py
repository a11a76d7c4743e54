"""Bad input gets a message that names the field, the value and the bound, exit code 2, and nothing written.

Every case goes through the real entry point of the command line or of a service, and the whole home is compared with
what it was before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cryptography.fernet import Fernet

from tests.house.typed import Typed, environment, typed

PASSWORD = "correct horse battery 9"
IMPORT = ("--exchange", "binance", "--symbol", "BTC/USDT", "--timeframe", "1h")
ADD = ("account", "add", "new", "--user", "minsu", "--mode", "paper", "--timeframe", "1h")
HOUR = 3_600_000


def candles(count: int = 400) -> pd.DataFrame:
    """Return hourly candles of a seeded walk."""
    chance = np.random.default_rng(3)
    close = 20_000 * np.exp(np.cumsum(chance.normal(0, 0.005, count)))
    opened = np.concatenate(([20_000.0], close[:-1]))
    return pd.DataFrame(
        {
            "ts": 460_000 * HOUR + np.arange(count) * HOUR,
            "open": opened,
            "high": np.maximum(opened, close) * 1.001,
            "low": np.minimum(opened, close) * 0.999,
            "close": close,
            "volume": chance.lognormal(3, 1, count),
        }
    )


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a home with people, an account that has a key, candles, and a simulated exchange that runs."""
    home = tmp_path_factory.mktemp("furnished") / "home"
    exchange = None
    try:
        secret = f"{PASSWORD}\n"
        assert typed(home, "init", "--name", "boss", "--password-stdin", stdin=secret).code == 0
        assert typed(home, "user", "add", "minsu", "--role", "trader", "--password-stdin", stdin=secret).code == 0
        command = [sys.executable, "-m", "ctp", "simulator", "--port", "0", "--control-port", "0", "--speed", "0", "--json"]
        exchange = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(home))
        assert exchange.stdout is not None
        assert exchange.stdout.readline()
        words = ("--exchange", "binanceusdm", "--symbols", "BTC/USDT:USDT")
        assert typed(home, "account", "add", "rsi", *ADD[3:], *words).code == 0
        file = home.parent / "good.parquet"
        candles().to_parquet(file)
        assert typed(home, "data", "import", str(file), *IMPORT).code == 0
        yield home
    finally:
        if exchange is not None:
            exchange.terminate()
            exchange.wait(timeout=60)


@pytest.fixture
def own_home(furnished: Path, tmp_path: Path) -> Path:
    """Return a copy of the home, for a test that breaks it."""
    shutil.copytree(furnished, tmp_path / "home")
    return tmp_path / "home"


def contents(home: Path) -> dict[str, str]:
    """Return a fingerprint of all that a home holds: every row of the database, every byte of every other file."""
    found = {}
    for file in sorted(path for path in home.rglob("*") if path.is_file()):
        if not file.name.startswith("ctp.db") and "simulator" not in file.parts:
            found[str(file.relative_to(home))] = hashlib.sha256(file.read_bytes()).hexdigest()
    with closing(sqlite3.connect(home / "ctp.db")) as database:
        found["ctp.db"] = hashlib.sha256("\n".join(database.iterdump()).encode()).hexdigest()
    return found


def refused(home: Path, *words: str, stdin: str = "", code: int = 2) -> str:
    """Type a command that must be refused without a trace in the home; return its one sentence."""
    before = contents(home)
    done: Typed = typed(home, *words, stdin=stdin)
    assert (done.code, done.output) == (code, ""), done
    assert len(done.errors.splitlines()) == 1, done.errors
    assert contents(home) == before, "something was written"
    return done.errors


@pytest.mark.parametrize("command", ["start", "pause", "stop", "close-all", "unlock", "status"])
def test_a_command_for_an_unknown_account_is_refused(furnished: Path, command: str) -> None:
    sentence = refused(furnished, command, "--account", "nobody/none")
    assert "account" in sentence
    assert "nobody/none" in sentence
    assert "ctp account list" in sentence


def test_an_account_number_that_does_not_exist_is_refused(furnished: Path) -> None:
    assert "999" in refused(furnished, "start", "--account", "999")


@pytest.mark.parametrize(
    ("exchange", "symbols"), [("binanceusdm", "BTC/USDT:USDT,NOPE/USDT:USDT"), ("binance", "NOPE/USDT")]
)
def test_a_symbol_the_exchange_does_not_list_is_refused(furnished: Path, exchange: str, symbols: str) -> None:
    sentence = refused(furnished, *ADD, "--exchange", exchange, "--symbols", symbols)
    assert "symbols" in sentence
    assert "NOPE/USDT" in sentence
    assert f"{exchange} does not list it" in sentence


@pytest.mark.parametrize(
    ("assignment", "field", "value", "bound"),
    [
        ("risk.leverage=11", "leverage", "11", "1 to 10"),
        ("risk.risk_per_trade=0.05", "risk_per_trade", "0.05", "0.02"),
        ("risk.daily_loss_limit=0.05", "daily_loss_limit", "0.05", "0.03"),
        ("strategy.period=1000", "period", "1000", "200"),
    ],
)
def test_a_value_past_its_bound_is_refused(
    furnished: Path, tmp_path: Path, assignment: str, field: str, value: str, bound: str
) -> None:
    trades = tmp_path / "trades.csv"
    sentence = refused(furnished, "backtest", *IMPORT, "--set", assignment, "--trades", str(trades))
    assert field in sentence
    assert value in sentence
    assert bound in sentence
    assert not trades.exists()


def _no_bytes(file: Path) -> Path:
    file.write_bytes(b"")
    return file


def _header_alone(file: Path) -> Path:
    file.write_text("ts,open,high,low,close,volume\n")
    return file


def _no_rows(file: Path) -> Path:
    candles().iloc[:0].to_parquet(file)
    return file


@pytest.mark.parametrize(
    ("name", "make"),
    [("empty.csv", _no_bytes), ("header.csv", _header_alone), ("empty.parquet", _no_bytes), ("rows.parquet", _no_rows)],
)
def test_an_empty_candle_file_is_refused(
    furnished: Path, tmp_path: Path, name: str, make: Callable[[Path], Path]
) -> None:
    sentence = refused(furnished, "data", "import", str(make(tmp_path / name)), *IMPORT)
    assert name in sentence
    assert "empty" in sentence or "no rows" in sentence


@pytest.mark.parametrize("name", ["one_nan.csv", "one_nan.parquet"])
def test_a_candle_file_with_one_nan_is_refused_by_row_and_column(furnished: Path, tmp_path: Path, name: str) -> None:
    rows = candles()
    rows.loc[6, "close"] = float("nan")
    file = tmp_path / name
    if name.endswith(".csv"):
        rows.to_csv(file, index=False)
    else:
        rows.to_parquet(file)
    sentence = refused(furnished, "data", "import", str(file), *IMPORT)
    assert name in sentence
    assert "row 7" in sentence
    assert "close" in sentence
    assert "nan" in sentence.lower()


@pytest.mark.parametrize("damage", ["cut", "flipped", "not parquet"])
def test_a_corrupt_parquet_file_is_refused(furnished: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "corrupt.parquet"
    candles().to_parquet(file)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[40:900] = bytes(byte ^ 0xFF for byte in content[40:900])
    else:
        content = bytearray(b"these are not the bytes of a table")
    file.write_bytes(content)
    assert "corrupt.parquet" in refused(furnished, "data", "import", str(file), *IMPORT)


def test_a_corrupt_month_of_the_store_is_refused(own_home: Path) -> None:
    (month, *_) = sorted((own_home / "candles").rglob("*.parquet"))
    month.write_bytes(month.read_bytes()[:200])
    sentence = refused(own_home, "backtest", *IMPORT)
    assert month.name in sentence


def test_a_database_newer_than_the_program_is_refused(own_home: Path) -> None:
    with closing(sqlite3.connect(own_home / "ctp.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    for words in (("status",), ("start", "--account", "rsi"), ("db", "upgrade"), ("db", "check")):
        sentence = refused(own_home, *words)
        assert "9999" in sentence
        assert "install the newer program" in sentence
    assert "9999" in _service_refuses(own_home, "bot")


def test_a_wrong_fernet_key_is_refused_and_kept_as_it_is(own_home: Path) -> None:
    file = own_home / "keys" / "fernet.keys"
    file.write_text(Fernet.generate_key().decode() + "\n")
    key = json.dumps({"apiKey": "a" * 20, "secret": "b" * 20})
    for words, stdin in (
        (("keys", "rotate"), ""),
        (("key", "add", "--account", "rsi", "--stdin"), key),
        ((*ADD, "--exchange", "binance", "--symbols", "BTC/USDT"), ""),
    ):
        sentence = refused(own_home, *words, stdin=stdin)
        assert str(file) in sentence
        assert "Put the right file back" in sentence
        assert "b" * 20 not in sentence
    assert "Put the right file back" in _service_refuses(own_home, "bot")


def test_a_fernet_file_that_is_none_is_refused(own_home: Path) -> None:
    (own_home / "keys" / "fernet.keys").write_text("not a key\n")
    assert "not a file of Fernet keys" in refused(own_home, "keys", "rotate")


def _service_refuses(home: Path, name: str) -> str:
    """Start a service that must refuse its configuration for good, with exit code 78, and leave the data alone."""
    before = {name: mark for name, mark in contents(home).items() if not name.startswith("logs/")}
    command = [sys.executable, "-m", f"services.crypto_trader_{name}"]
    done = subprocess.run(
        command, env=environment(home), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 78, done
    after = {name: mark for name, mark in contents(home).items() if not name.startswith("logs/")}
    assert after == before
    return done.stderr.splitlines()[-1]


def test_a_taken_port_is_refused_by_name(furnished: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        sentence = refused(furnished, "simulator", "--port", port, "--control-port", "0", "--speed", "0")
    assert f"port {port} is taken" in sentence
    assert "--port" in sentence

"""From an empty home to a paper account that was told to start, as a person would type it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctp.config import load_settings
from ctp.simulator.client import ControlClient

PASSWORD = "correct horse battery 9"


def ctp(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, so that exit codes and stderr are the real ones."""
    return subprocess.run([sys.executable, "-m", "ctp", *words], input=stdin, capture_output=True, text=True, check=False)


def document(*words: str, stdin: str = "") -> Any:
    """Return the JSON a command prints."""
    done = ctp(*words, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a home with an administrator, a trader, and a simulated exchange that runs."""
    folder = tmp_path_factory.mktemp("home")
    simulator = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CTP_HOME", str(folder))
        try:
            document("init", "--name", "boss", "--language", "en", "--password-stdin", stdin=f"{PASSWORD}\n")
            document("user", "add", "minsu", "--role", "trader", "--password-stdin", stdin=f"{PASSWORD}\n")
            command = [sys.executable, "-m", "ctp", "simulator", "--port", "0", "--control-port", "0", "--speed", "0", "--json"]
            simulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert simulator.stdout is not None
            assert json.loads(simulator.stdout.readline())["port"] > 0
            yield folder
        finally:
            if simulator is not None:
                simulator.terminate()
                simulator.wait(timeout=60)


ADD = ("account", "add", "rsi", "--user", "minsu", "--exchange", "binanceusdm", "--mode", "paper", "--timeframe", "1m")


def test_a_paper_account_has_money_and_can_be_told_to_start(home: Path) -> None:
    """The simulated exchange knows the account; the command waits for the bot."""
    account = document(*ADD, "--symbols", "BTC/USDT:USDT,ETH/USDT:USDT", "--capital", "2500")
    assert account["mode"] == "paper"
    endpoint = load_settings().paper
    assert endpoint.market == "generated"
    assert endpoint.control_token_file is not None
    status = ControlClient(endpoint.control_url, endpoint.control_token_file).status()
    assert "BTC/USDT:USDT" in status["prices"]
    asked = document("start", "--account", "rsi")
    assert (asked["kind"], asked["acknowledged_at"]) == ("start", None)
    waited = ctp("start", "--account", "rsi", "--wait", "0.3")
    assert waited.returncode == 1
    assert "ctp doctor" in waited.stderr
    shown = ctp("status")
    assert "SIMULATED" in shown.stdout
    assert "never started" in shown.stdout
    assert document("status")["accounts"][0]["status"] is None


def test_nothing_secret_is_listed(home: Path) -> None:
    """Lists show people and accounts, no hash and no key."""
    users = ctp("user", "list", "--json").stdout
    assert "password" not in users.replace("must_change_password", "")
    assert {user["name"] for user in json.loads(users)} == {"boss", "minsu"}


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ([*ADD, "--symbols", "DOGE/USDT:USDT"], 2, "DOGE/USDT:USDT"),
        ([*ADD, "--symbols", "BTC/USDT"], 2, "BTC/USDT:USDT"),
        (["start", "--account", "nobody"], 2, "nobody"),
        (["status", "--account", "nobody"], 2, "nobody"),
        (["user", "role", "minsu", "king"], 2, "must be one of"),
        (["user", "disable", "boss"], 1, "last administrator"),
        (["init", "--password-stdin"], 1, "set up already"),
        (["key", "add", "--account", "rsi"], 2, "--stdin"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(home: Path, words: list[str], code: int, sentence: str) -> None:
    """No traceback for what a person can do wrong."""
    done = ctp(*words)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_short_password_is_refused_without_repeating_it(home: Path) -> None:
    """The sentence says how long it must be."""
    done = ctp("user", "add", "alice", "--role", "trader", "--password-stdin", stdin="hunter2\n")
    assert done.returncode == 2
    assert "12 characters" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_key_that_is_no_key_is_refused_without_repeating_it(home: Path) -> None:
    """What was typed may be half a secret."""
    done = ctp("key", "add", "--account", "rsi", "--stdin", stdin='{"apiKey": "s3cr3t"}')
    assert done.returncode == 2
    assert "s3cr3t" not in done.stderr


def key_of(home: Path, key: str, *, can_withdraw: bool, secret: str = "s" * 40) -> subprocess.CompletedProcess[str]:
    """Open an account at the simulated exchange and enter its key here."""
    endpoint = load_settings().paper
    assert endpoint.control_token_file is not None
    control = ControlClient(endpoint.control_url, endpoint.control_token_file)
    control.add_account(key, "s" * 40, can_withdraw=can_withdraw)
    return ctp("key", "add", "--account", "rsi", "--stdin", "--json", stdin=json.dumps({"apiKey": key, "secret": secret}))


def test_a_key_that_may_withdraw_is_refused_by_a_safety_rule(home: Path) -> None:
    """The exchange is asked before anything is kept: exit code 3."""
    done = key_of(home, "withdrawing-key-0001", can_withdraw=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert "withdraw" in done.stderr
    kept = key_of(home, "trading-key-00000001", can_withdraw=False)
    assert json.loads(kept.stdout) == {"account": "rsi", "stored": True, "may_withdraw": False}


def test_a_key_the_exchange_does_not_accept_is_not_kept(home: Path) -> None:
    """A typing error in the secret shows at once, not at the first order: a refusal, exit code 3."""
    done = key_of(home, "mistyped-key-0000001", can_withdraw=False, secret="x" * 40)
    assert (done.returncode, done.stdout) == (3, "")
    assert "x" * 40 not in done.stderr

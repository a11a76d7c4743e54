"""Promotion, history and the way back, as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from ctp.accounts.promotion import Proposal
from ctp.accounts.sources import source_hash
from ctp.accounts.trading_accounts import Evidence, create_account
from ctp.cli.app import app
from ctp.config import load_settings
from ctp.errors import CtpError, InputError, NotAllowed, NotFound
from ctp.storage.database import Database
from ctp.storage.tables import code_pins
from tests.accounts.people import NOW, SHELL, new_account, set_scene

RSI = "rsi_mean_reversion"


@pytest.fixture
def home_with_accounts(home: Path, sqlite_template: Path) -> Path:
    """Return a home in which quinn has a paper account `try` and a live one `real`."""
    (home / "ctp.db").write_bytes(sqlite_template.read_bytes())
    database = Database(load_settings().database_url)
    quinn = set_scene(database).quinn
    with database.transaction() as connection:
        for name, mode in (("try", "paper"), ("real", "live")):
            create_account(connection, SHELL, quinn.user_id or 0, new_account(name, mode=mode), NOW)
    database.close()
    return home


def ctp(*words: str) -> Any:
    """Run a command in this process; an expected error is raised."""
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and isinstance(done.exception, CtpError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def found(home: Path, verdict: str | None, **strategy: Any) -> str:
    """Write what `ctp validate --json` prints; returns the file's name."""
    evidence = Evidence("d" * 64, verdict, verdict and "f" * 64, {"reasons": ["measured"]})
    proposal = Proposal(RSI, strategy, {}, source_hash(RSI), evidence)
    file = home / "found.json"
    file.write_text(json.dumps({"verdict": verdict, "promotion": proposal.to_plain()}))
    return str(file)


def test_from_a_file_to_paper_to_live_and_back(home_with_accounts: Path) -> None:
    home = home_with_accounts
    said = ctp("promote", "--account", "try", "--to", "paper", "--from", found(home, "green", stop_loss=0.1))
    assert "quinn/try (SIMULATED) trades with version 1" in said and "Stop-loss: 2% → 10%" in said
    said = ctp("promote", "--account", "quinn/real", "--to", "live", "--from-account", "try")
    assert "quinn/real (LIVE)" in said and "verdict green" in said
    ctp("promote", "--account", "try", "--to", "paper", "--from", found(home, "red", stop_loss=0.05))
    with pytest.raises(NotAllowed, match="red may go to paper only"):
        ctp("promote", "--account", "real", "--to", "live", "--from-account", "try", "--override", "I know better")
    made = json.loads(ctp("revert", "--account", "try", "--version", "1", "--reason", "calmer", "--json"))
    assert (made["version"], made["verdict"], made["difference"]) == (3, "green", ["Stop-loss: 5% → 10%"])
    history = json.loads(ctp("parameters", "--account", "try", "--json"))
    assert [one["version"] for one in history] == [3, 2, 1] and history[0]["in_use"]
    assert "손절 폭: 5% → 10%" in ctp("parameters", "--account", "try", "--language", "ko")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("promote", "--account", "try", "--to", "paper"), InputError),
        (("promote", "--account", "try", "--to", "live", "--from-account", "try"), NotFound),
        (("promote", "--account", "nobody", "--to", "paper", "--from-account", "try"), NotFound),
        (("promote", "--account", "try", "--to", "paper", "--from", "/nowhere.json"), InputError),
        (("revert", "--account", "try", "--version", "1"), NotFound),
        (("parameters", "--account", "try", "--last", "0"), InputError),
        (("parameters", "--account", "try", "--language", "fr"), InputError),
    ],
)
def test_wrong_use_says_what_and_changes_nothing(
    words: tuple[str, ...], error: type[CtpError], home_with_accounts: Path
) -> None:
    with pytest.raises(error):
        ctp(*words)
    assert "defaults" in ctp("parameters", "--account", "try")


def test_a_file_that_is_no_result_is_refused(home_with_accounts: Path) -> None:
    file = home_with_accounts / "odd.json"
    for text in ("[]", "{}", '{"promotion": 5}', "no json"):
        file.write_text(text)
        with pytest.raises(InputError):
            ctp("promote", "--account", "try", "--to", "paper", "--from", str(file))


def test_status_and_why_say_what_holds_entries(home_with_accounts: Path) -> None:
    database = Database(load_settings().database_url)
    one = {
        "symbol": "BTC/USDT:USDT", "candle_time": NOW, "outcome": "enter", "reason": "entry_signal",
        "new_outcome": "no_signal", "new_reason": "rsi_level", "numbers": {},
    }  # fmt: skip
    accounts = {row["account"]: row for row in json.loads(ctp("status", "--json"))["accounts"]}
    assert accounts["quinn/real"]["hold"] == "not_accepted" and accounts["quinn/try"]["hold"] == ""
    with database.transaction() as connection:
        values = {"version": 0, "source_hash": "0" * 64, "pinned_at": 0, "state": "changed", "found_hash": source_hash(RSI)}
        figures = {"compared": 40, "differing": 1, "differences": json.dumps([one])}
        connection.execute(sa.insert(code_pins).values(account_id=accounts["quinn/try"]["id"], **values, **figures))
    database.close()
    for said in (ctp("status", "--account", "try"), ctp("why", "--account", "try")):
        assert "1 of 40 decisions differ" in said and "BTC/USDT perpetual: then Entry, now No signal" in said

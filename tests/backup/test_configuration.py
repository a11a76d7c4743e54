"""The configuration's history: who changed what and why, and the way back."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from ctp.accounts.configuration import list_versions, stored_settings
from ctp.accounts.passwords import accept_password
from ctp.accounts.rights import machine
from ctp.accounts.trading_accounts import (
    NewAccount,
    append_parameters,
    create_account,
    set_capital,
    share_account,
    unshare_account,
)
from ctp.accounts.users import add_user
from ctp.backup.configuration import difference, note_file, roll_back
from ctp.cli.app import app
from ctp.config import load_settings
from ctp.errors import ConfigError, InputError, NotAllowed
from ctp.storage.database import Database
from ctp.storage.tables import accounts, parameter_versions
from tests.backup.made import NOW

ME = machine("cli")


@pytest.fixture
def lived(home: Path, sqlite_template: Path) -> Database:
    """Return the database of a home with a paper and a live account, and a ctp.toml."""
    (home / "ctp.db").write_bytes(sqlite_template.read_bytes())
    (home / "ctp.toml").write_text("[web]\nport = 8600\n")
    database = Database(load_settings().database_url)
    with database.transaction() as connection:
        note_file(home, connection, NOW, "first start")
        user = add_user(connection, ME, "minsu", accept_password("correct horse battery", "minsu"), "trader", NOW)
        for name, mode in (("one", "paper"), ("two", "live")):
            wanted = NewAccount(name, "binanceusdm", mode, ("BTC/USDT:USDT",), "1h", Decimal(1000))
            made = create_account(connection, ME, user.id, wanted, NOW)
            risk = {"risk_per_trade": 0.01}
            append_parameters(connection, ME, made.id, "rsi_mean_reversion", {}, risk, "start", NOW, override="tested")
    return database


def said(database: Database) -> list[tuple[str, str]]:
    """Return author and reason of every version, oldest first."""
    with database.reading() as connection:
        return [(one.author, one.reason) for one in reversed(list_versions(connection))]


def test_every_change_of_file_and_stored_settings_is_a_version_with_author_and_reason(home: Path, lived: Database) -> None:
    """Through the program and behind its back; what is not changed is no version."""
    with lived.transaction() as connection:
        set_capital(connection, ME, 1, Decimal(2000), NOW + 1)
        append_parameters(connection, ME, 1, "rsi_mean_reversion", {}, {"risk_per_trade": 0.005}, "calmer", NOW + 2)
    (home / "ctp.toml").write_text("[web]\nport = 8700\n")
    for _ in range(2):
        with lived.transaction() as connection:
            note_file(home, connection, NOW + 3)
    told = said(lived)
    assert told[0][1] == "first start" and told[0][0] != "cli"
    assert [reason for author, reason in told if author == "cli"][-3:] == ["start", "account.capital account:1", "calmer"]
    assert told[-1][1] == "ctp.toml was changed outside the program"
    with lived.reading() as connection:
        newest, before, *_ = list_versions(connection)
    assert difference(before, newest)[2:] == ["@@ -1,2 +1,2 @@", " [web]", "-port = 8600", "+port = 8700"]
    assert sorted(file.name for file in (home / "configuration").iterdir()) == ["1.toml", f"{newest.id}.toml"]


def test_going_back_is_a_version_of_its_own_and_passes_todays_ceilings(home: Path, lived: Database) -> None:
    """File, parameters and capital; nothing changes when one of them does not pass."""
    with lived.reading() as connection:
        good = list_versions(connection)[0].id
    with lived.transaction() as connection:
        set_capital(connection, ME, 1, Decimal(2000), NOW + 1)
        append_parameters(connection, ME, 1, "rsi_mean_reversion", {}, {"risk_per_trade": 0.005}, "calmer", NOW + 2)
    (home / "ctp.toml").write_text("[web]\nport = 8700\n")
    with lived.transaction() as connection:
        note_file(home, connection, NOW + 3)
    done = roll_back(home, lived, good, NOW + 4, reason="was better")
    assert len(done) == 3 and "port = 8600" in (home / "ctp.toml").read_text()
    with lived.reading() as connection:
        newest = list_versions(connection)[0]
        assert connection.scalar(sa.select(accounts.c.capital).where(accounts.c.id == 1)) == Decimal(1000)
        versions = connection.scalars(sa.select(parameter_versions.c.version).where(parameter_versions.c.account_id == 1))
        assert versions.all() == [1, 2, 3]
    assert (newest.reason, newest.file) == ("was better", "[web]\nport = 8600\n")
    with lived.transaction() as connection:
        row = connection.execute(sa.text("SELECT stored FROM configuration_versions WHERE id = :id"), {"id": good})
        stored = json.loads(row.scalar_one())
        stored["accounts"]["1"]["parameters"]["risk_parameters"]["risk_per_trade"] = 0.05
        changed = {"id": good, "stored": json.dumps(stored)}
        connection.execute(sa.text("UPDATE configuration_versions SET stored = :stored WHERE id = :id"), changed)
    (home / "ctp.toml").write_text("[web]\nport = 8800\n")
    with pytest.raises(InputError, match="risk_per_trade"):
        roll_back(home, lived, good, NOW + 5)
    assert "8800" in (home / "ctp.toml").read_text()


def test_a_live_account_goes_back_only_with_an_override(home: Path, lived: Database) -> None:
    """The override is kept in the audit log."""
    with lived.reading() as connection:
        good = list_versions(connection)[0].id
    with lived.transaction() as connection:
        risk = {"risk_per_trade": 0.005}
        append_parameters(connection, ME, 2, "rsi_mean_reversion", {}, risk, "calmer", NOW, override="less risk")
    with pytest.raises(NotAllowed, match="override"):
        roll_back(home, lived, good, NOW + 1)
    roll_back(home, lived, good, NOW + 1, override="it did well for a month")


def test_a_broken_configuration_refuses_to_start_and_prints_the_way_back(home: Path, lived: Database) -> None:
    """The command it prints works although nothing else does."""
    for broken in ("[web]\nport = 99999\n", "not toml at all", "[wbe]\nport = 1\n"):
        (home / "ctp.toml").write_text(broken)
        with pytest.raises(ConfigError, match=r"ctp config rollback 1"):
            load_settings()
        result = CliRunner().invoke(app, ["config", "rollback", "1"])
        assert result.exit_code == 0, (result.output, result.exception)
        assert load_settings().web.port == 8600


def test_the_commands_show_history_and_differences(home: Path, lived: Database) -> None:
    """As tables and as JSON."""
    (home / "ctp.toml").write_text("[web]\nport = 8700\n")
    result = CliRunner().invoke(app, ["config", "history", "--json"])
    versions = json.loads(result.output)
    assert versions[0]["reason"] == "ctp.toml was changed outside the program"
    assert "password" not in json.dumps(versions)
    shown = CliRunner().invoke(app, ["config", "diff", "1"])
    assert "+port = 8700" in shown.output and shown.exit_code == 0


def test_going_back_leaves_rights_and_shares_alone_and_says_so(home: Path, lived: Database) -> None:
    """Whoever lost a right does not get it back by a rollback."""
    with lived.transaction() as connection:
        viewer = add_user(connection, ME, "vera", accept_password("a long password", "vera"), "viewer", NOW)
        share_account(connection, ME, 1, viewer.id, "viewer", NOW)
    with lived.reading() as connection:
        shared = list_versions(connection)[0].id
    with lived.transaction() as connection:
        unshare_account(connection, ME, 1, viewer.id, NOW)
        set_capital(connection, ME, 1, Decimal(2000), NOW + 1)
    done = roll_back(home, lived, shared, NOW + 2)
    assert any("capital 1000" in one for one in done)
    assert any("left alone" in one and "shared_with stays {} (then {'vera': 'viewer'})" in one for one in done)
    with lived.reading() as connection:
        assert stored_settings(connection)["accounts"]["1"]["shared_with"] == {}

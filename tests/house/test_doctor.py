"""`ctp doctor` finds what was broken on purpose and says how to mend it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from ctp.cli import app
from ctp.cli.doctor import examine
from ctp.cli.doctor_machine import look_at_machine
from ctp.cli.doctor_outside import _all, _mail, look_outside
from ctp.cli.findings import Finding
from ctp.config import Settings, load_settings
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.storage.tables import accounts, users
from tests.notifiers.mail_server import PASSWORD, USER, mail_server

BACKUPS = ("backups", "backups read back", "restore rehearsed", "second place", "recovery sheet")


def verdicts() -> dict[str, str]:
    """Return each subject's verdict in this home."""
    return {finding.subject: finding.verdict for finding in examine(load_settings(), offline=True)}


def finding(subject: str) -> Finding:
    """Return what is found about one subject, outside included."""
    return next(one for one in examine(load_settings()) if one.subject == subject)


@contextmanager
def opened(home: Path) -> Iterator[sa.Connection]:
    """Write to the database of a home."""
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    with database.transaction() as connection:
        yield connection
    database.close()


def test_a_fresh_home_says_to_run_init(home: Path) -> None:
    """Without a database the doctor exits 1 and names the command."""
    result = CliRunner().invoke(app, ["doctor", "--json", "--offline"])
    assert result.exit_code == 1
    database = next(f for f in json.loads(result.stdout)["findings"] if f["subject"] == "database")
    assert database["verdict"] == "wrong"
    assert "ctp init" in database["remedy"]


def test_a_database_makes_the_doctor_look_at_the_services(home: Path) -> None:
    """Services that never ran are a warning, not a failure."""
    assert CliRunner().invoke(app, ["db", "upgrade"]).exit_code == 0
    found = verdicts()
    assert found["database"] == "ok"
    assert found["crypto-trader-bot"] == "warning"
    assert CliRunner().invoke(app, ["doctor", "--offline"]).exit_code == 0


def test_a_key_others_can_read_is_wrong(home: Path) -> None:
    """The remedy is the command to paste."""
    (home / "keys").mkdir(mode=0o700)
    key = home / "keys/fernet.keys"
    key.write_text("x")
    key.chmod(0o644)
    (home / "keys/checking.pem").write_text("-----BEGIN PUBLIC KEY-----\n")  # everybody may read that
    finding = next(f for f in examine(load_settings(), offline=True) if f.subject == "keys")
    assert finding.verdict == "wrong"
    assert finding.remedy == f"chmod go-rwx {key}"


def test_a_newer_database_is_refused_and_untouched(home: Path) -> None:
    """An old program must not work on a schema it does not know."""
    ctp = CliRunner()
    ctp.invoke(app, ["db", "upgrade"])
    database = Database(load_settings().database_url)
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    before = (home / "ctp.db").read_bytes()
    for command in ("check", "upgrade"):
        assert "newer" in str(ctp.invoke(app, ["db", command]).exception)
    assert (home / "ctp.db").read_bytes() == before


def test_an_exchange_that_does_not_answer_is_wrong(home: Path) -> None:
    """An account's exchange is asked for its time; a port where nobody listens is no answer."""
    CliRunner().invoke(app, ["db", "upgrade"])
    with opened(home) as connection:
        row = {"id": 1, "name": "minsu", "password_hash": "x", "role": "trader", "created_at": 0}
        connection.execute(sa.insert(users).values(**row))
        row = {"id": 1, "user_id": 1, "name": "rsi", "exchange": "binance", "mode": "paper", "quote": "USDT"}
        connection.execute(sa.insert(accounts).values(**row, symbols="[]", timeframe="1h", created_at=0))
    assert "needs a simulated exchange" in finding("binance (paper)").found
    from ctp.simulator import certificates

    authority = certificates.ensure(home / "certificates").authority
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and deaf
        (home / "ctp.toml").write_text(f'[paper]\nport = {nobody.getsockname()[1]}\nca_file = "{authority}"\n')
        found = finding("binance (paper)")
    assert (found.verdict, found.found) == ("wrong", "does not answer: ExchangeNotAvailable")
    assert "ctp simulator" in found.remedy


@pytest.mark.parametrize(("password", "verdict"), [(PASSWORD, "ok"), ("wrong one", "wrong")])
def test_the_mail_server_is_asked_whether_it_takes_our_password(password: str, verdict: str, home: Path) -> None:
    (home / "password").write_text(password)
    (home / "password").chmod(0o600)

    async def story() -> Finding:
        async with mail_server(password=True) as server:
            email = f'host = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\nsender = "a@example.com"\n'
            named = f'username = "{USER}"\npassword_file = "{home / "password"}"\n'
            (home / "ctp.toml").write_text(f"[email]\n{email}{named}")
            (found,) = await _all([_mail(load_settings())])
            return found

    found = asyncio.run(story())
    assert found.verdict == verdict
    assert password not in found.found


def test_a_telegram_that_does_not_answer_is_wrong_and_the_token_stays_secret(home: Path) -> None:
    token = "123456789:AAFakeFakeFakeFakeFakeFakeFakeFake12"
    (home / "token").write_text(token)
    (home / "token").chmod(0o600)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        (home / "ctp.toml").write_text(
            f'[telegram]\ntoken_file = "{home / "token"}"\napi_url = "http://127.0.0.1:{port}"\n'
        )
        found = next(one for one in look_outside(load_settings()) if one.subject == "Telegram")
    assert found.verdict == "wrong"
    assert token not in found.found


def test_a_file_that_settings_name_and_that_is_missing_is_wrong(home: Path) -> None:
    (home / "ctp.toml").write_text(f'[heartbeat]\nurl_file = "{home / "address"}"\n')
    assert finding("heartbeat").verdict == "wrong"
    assert "address" in finding("keys").found


def test_files_that_other_users_can_read_are_shown_with_the_command_that_hides_them(home: Path) -> None:
    home.chmod(0o755)
    (home / "ctp.toml").write_text("")
    (home / "ctp.toml").chmod(0o644)
    found = finding("files")
    assert (found.verdict, found.remedy) == ("warning", f"chmod 700 {home}")
    home.chmod(0o700)
    assert finding("files").verdict == "ok"


def test_a_port_that_another_program_took_is_shown(home: Path) -> None:
    CliRunner().invoke(app, ["db", "upgrade"])
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        (home / "ctp.toml").write_text(f"[web]\nport = {port}\n")
        assert "another program" in finding(f"port {port}").found
        with opened(home) as connection:
            beat(connection, "web", int(time.time() * 1000))
        assert finding(f"port {port}").verdict == "ok"


def test_a_clock_that_runs_behind_the_last_sign_of_life_is_wrong(home: Path) -> None:
    CliRunner().invoke(app, ["db", "upgrade"])
    with opened(home) as connection:
        beat(connection, "bot", int(time.time() * 1000) + 3_600_000)
    assert finding("clock").verdict == "wrong"


def test_secrets_in_the_environment_are_named_and_not_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "hunter22")
    found = finding("environment")
    assert "MAIL_PASSWORD" in found.found
    assert "hunter22" not in found.found + found.remedy


def test_other_packages_than_the_tested_ones_are_shown(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = "rich==0.0.1 \\\n    --hash=sha256:00\nnever-heard-of==1.0\ncolorama==1 ; sys_platform == 'win32' \\\n"
    (tmp_path / "requirements.lock").write_text(lock)
    monkeypatch.setattr("ctp.cli.doctor_machine.PROJECT", tmp_path)
    found = next(one for one in look_at_machine(Settings(home=home)) if one.subject == "packages")
    assert "rich" in found.found
    assert "never-heard-of missing" in found.found
    assert "colorama" not in found.found


def test_a_ballast_is_asked_for(home: Path) -> None:
    """Made by the scheduler; one whose blocks are not really reserved helps nobody."""
    assert finding("ballast").verdict == "warning"
    with (home / "ballast").open("wb") as hollow:
        hollow.truncate(50_000_000)
    assert finding("ballast").verdict == "warning"
    (home / "ballast").write_bytes(bytes(1_000_000))
    assert finding("ballast").verdict == "ok"


def test_the_doctor_looks_at_backups_and_says_what_is_missing(home: Path, tmp_path: Path) -> None:
    """From nothing to a good one, then late, out of reach and with keys that changed."""
    ctp = CliRunner()
    assert ctp.invoke(app, ["init", "--password-stdin"], input="a long password here\n").exit_code == 0
    assert [finding(one).verdict for one in BACKUPS] == ["warning", "ok", "warning", "warning", "warning"]
    for command in (["backup", "full"], ["backup", "drill"], ["keys", "sheet"]):
        assert ctp.invoke(app, command).exit_code == 0, command
    (home / "ctp.toml").write_text(f'[backup]\nremote = "file://{tmp_path}/second"\n')
    assert ctp.invoke(app, ["backup", "copy"]).exit_code == 0
    assert [finding(one).verdict for one in BACKUPS] == ["ok"] * 5
    assert "holds 1 backups" in finding("second place").found
    assert ctp.invoke(app, ["keys", "rotate"]).exit_code == 0
    assert finding("recovery sheet").verdict == "warning"
    for file in (home / "backups").glob("*.pack"):
        file.write_bytes(b"cut")
    assert ctp.invoke(app, ["backup", "verify"]).exit_code == 1
    assert finding("backups read back").verdict == "wrong" and "ctp backup full" in finding("backups read back").remedy
    for file in (home / "backups").iterdir():
        file.unlink() if file.is_file() else None
    with opened(home) as connection:
        connection.execute(sa.update(users).values(created_at=0))
    assert finding("backups").verdict == "wrong"

"""`ctp doctor` finds what was broken on purpose and says how to mend it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from ctp.cli import app
from ctp.cli.doctor import examine
from ctp.config import load_settings
from ctp.storage.database import Database


def verdicts() -> dict[str, str]:
    """Return each subject's verdict in this home."""
    return {finding.subject: finding.verdict for finding in examine(load_settings())}


def test_a_fresh_home_says_to_run_init(home: Path) -> None:
    """Without a database the doctor exits 1 and names the command."""
    result = CliRunner().invoke(app, ["doctor", "--json"])
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
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0


def test_a_key_others_can_read_is_wrong(home: Path) -> None:
    """The remedy is the command to paste."""
    (home / "keys").mkdir(mode=0o700)
    key = home / "keys/fernet.keys"
    key.write_text("x")
    key.chmod(0o644)
    (home / "keys/checking.pem").write_text("-----BEGIN PUBLIC KEY-----\n")  # everybody may read that
    finding = next(f for f in examine(load_settings()) if f.subject == "keys")
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

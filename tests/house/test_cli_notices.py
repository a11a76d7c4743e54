"""`ctp notices` shows what was given up, and sends it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from ctp.cli import app
from ctp.config import load_settings
from ctp.errors import NotFound
from ctp.notifiers.outbox import tell_user
from ctp.storage.database import Database
from ctp.storage.tables import deliveries, notice_settings
from tests.accounts.people import NOW, reach, set_scene


def run(*words: str) -> str:
    """Run a command; returns what it printed. Its errors pass through."""
    return CliRunner().invoke(app, words, catch_exceptions=False).stdout


def test_what_was_given_up_is_listed_and_waits_again(home: Path) -> None:
    """With the reason and without what it said; what cannot be sent is one sentence."""
    database = Database(load_settings().database_url)
    try:
        database.migrate()
        scene = set_scene(database)
        assert run("notices", "dead") == "Nothing was given up.\n"
        with database.transaction() as connection:
            reach(connection, scene.minsu, "email")
            wish = {"user_id": scene.minsu.user_id, "kind": "system_error", "channel": "email", "enabled": True}
            connection.execute(sa.insert(notice_settings).values(wish))
            tell_user(connection, scene.minsu.user_id or 0, "system_error", {"what": "other", "figure": 123456}, "k", NOW)
            mails = sa.update(deliveries).where(deliveries.c.channel == "email")
            connection.execute(mails.values(status="dead", attempts=1, error="554 looks like spam"))
        (letter,) = json.loads(run("notices", "dead", "--json"))["dead"]
        assert (letter["user_name"], letter["channel"], letter["error"]) == ("minsu", "email", "554 looks like spam")
        shown = run("notices", "dead")
        assert "554 looks like spam" in shown and "123456" not in shown
        number = str(letter["notice_id"])
        assert json.loads(run("notices", "resend", number, "--channel", "email", "--json")) == {"waiting": 1}
        assert run("notices", "dead") == "Nothing was given up.\n"
        with pytest.raises(NotFound, match="ctp notices dead"):
            run("notices", "resend", number)
    finally:
        database.close()

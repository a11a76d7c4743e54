"""`ctp report` makes reports, says where they are, and mistakes are one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ctp.cli.app import app
from ctp.errors import InputError, NotFound
from ctp.reports import make as making
from tests.reports.world import DAY, HOUR, Trading, World, add_account, make_world

RUNNER = CliRunner()


@pytest.fixture
def world(home: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a home in which the newest complete day is yesterday, and a child that makes pages at once."""
    import time

    now = time.time_ns() // 1_000_000
    made = make_world(home, now_ms=now)
    account = add_account(made, "alice", "a")
    newest = now // HOUR * HOUR
    trading = Trading(made, account, newest - 3 * DAY)
    trading.run(newest, 4)
    trading.save()
    add_account(made, "minsu", "never")

    def stand_in(module: str, arguments: Any, *, scratch: Path, **_: Any) -> None:
        if module == "ctp.reports.evidence":
            Path(arguments[1]).write_text('{"state": "none"}')
            return
        for name, content in (
            ("report.html", "<p>"),
            ("chart.png", "png"),
            ("summary.json", '{"findings": [], "trades": 1}'),
        ):
            (scratch / name).write_text(content)

    monkeypatch.setattr(making, "run_module", stand_in)
    return made


def run(*arguments: str) -> Any:
    """Run a command; an error of ours is raised."""
    found = RUNNER.invoke(app, ["report", *arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found


def test_without_an_account_every_account_that_has_started_gets_one(world: World) -> None:
    (row,) = json.loads(run("daily", "--json").stdout)
    assert (row["account_id"], row["kind"], row["status"]) == (1, "daily", "done")
    assert Path(row["file"]).is_file() and Path(row["chart"]).is_file()
    assert row["user_id"] == world.user("alice")


def test_a_person_is_told_where_the_page_is(world: World) -> None:
    printed = run("daily", "--account", "alice/a").stdout
    assert printed.startswith("daily report ")
    assert Path(printed.rpartition(": ")[2].strip()).is_file()


def test_what_is_due_can_be_listed(world: World) -> None:
    listed = json.loads(run("due", "--json").stdout)
    assert all(one["account_id"] == 1 for one in listed)


def test_mistakes_name_what_is_wrong(world: World) -> None:
    for arguments, error in (
        (("daily", "--account", "nobody/x"), NotFound),
        (("daily", "--account", "alice/a", "--day", "yesterday"), InputError),
        (("daily", "--account", "alice/a", "--day", "2999-01-01"), InputError),
        (("daily", "--account", "alice/a", "--reader", "minsu"), NotFound),
    ):
        with pytest.raises(error):
            RUNNER.invoke(app, ["report", *arguments], catch_exceptions=False)

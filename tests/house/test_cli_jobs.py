"""`ctp jobs` shows what is done by the clock, and the history of one job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctp.config import load_settings
from ctp.errors import NotFound
from ctp.scheduler import history
from ctp.storage.database import Database
from tests.house.test_cli_notices import run


def test_the_last_twenty_runs_of_a_job_are_listed_with_result_and_duration(home: Path) -> None:
    """Newest first; a job that never ran says so; one that does not exist is named with those that do."""
    database = Database(load_settings().database_url)
    try:
        database.migrate()
        with database.transaction() as connection:
            history.register(connection, {"tidy": ("daily 03:45 UTC", 10), "logs": ("every 3600 s", 10)}, 0)
            for number in range(25):
                made = history.claim(connection, "tidy", number, number, "here", number * 1000)
                assert made is not None
                result = history.FAILED if number == 24 else history.DONE
                history.end(connection, made, result, number * 1000 + 1500, "no room" if number == 24 else "")
        found = json.loads(run("jobs", "--history", "tidy", "--json"))
        assert found["job"] == "tidy" and len(found["runs"]) == 20
        assert [run["due_at"] for run in found["runs"]] == list(range(24, 4, -1))
        shown = run("jobs", "--history", "tidy")
        assert "1.5 s" in shown and "no room" in shown and shown.count("done") == 19
        assert run("jobs", "--history", "logs") == "It has not run yet.\n"
        with pytest.raises(NotFound, match="logs, tidy"):
            run("jobs", "--history", "nothing")
    finally:
        database.close()

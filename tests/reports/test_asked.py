"""Reports that somebody asked for now: made, told, refused with a reason, and made once whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ctp.accounts.report_requests import ask_report, my_requests
from ctp.config import PROJECT
from ctp.errors import StorageUnavailable
from ctp.reports import make as making
from ctp.reports import make_asked
from ctp.reports.child import Failure
from ctp.reports.sections import DEFAULT_SECTIONS
from ctp.storage.tables import notices, report_requests, reports
from tests.reports.test_make import actor, rendered, told, traded  # noqa: F401
from tests.reports.world import World, make_world

DAY = "2026-05-01"


def ask(world: World, account: int, reader: str = "alice", kind: str = "daily", day: str = "") -> int:
    """Ask for a report; returns the request."""
    with world.database.transaction() as connection:
        return ask_report(connection, actor(world, reader), account, kind, world.clock.now_ms(), day=day).id


def make(world: World) -> int:
    """Make what was asked for."""
    return make_asked(world.settings, world.database, world.clock, DEFAULT_SECTIONS)


def outcome(world: World, request: int) -> tuple[str, str]:
    """Return what came of a request."""
    (row,) = world.rows(report_requests, report_requests.c.id == request)
    return row.result, row.reason


def test_what_is_asked_for_is_made_and_told_also_when_it_was_there_already(world: World, rendered: list[Path]) -> None:  # noqa: F811
    """Without a day it is the last period that has ended; each request has its answer."""
    account = traded(world)
    first = ask(world, account)
    assert make(world) == 1 and make(world) == 0
    assert outcome(world, first) == ("done", "")
    (row,) = world.rows(reports)
    assert (row.status, row.period, row.kind) == ("done", DAY, "daily")
    ask(world, account)
    make(world)
    assert len(world.rows(reports)) == 1
    assert [kind for kind, _ in told(world, "alice")].count("daily_report") == 2
    with world.database.reading() as connection:
        assert {one.report_id for one in my_requests(connection, actor(world, "alice"), 0)} == {row.id}


def test_what_cannot_be_made_says_why_and_holds_up_nobody(
    world: World,
    rendered: list[Path],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A day that has not ended is refused; a page that fails is told by the report itself; the next is made."""
    account = traded(world)
    early, fine = ask(world, account, day="2026-05-02"), ask(world, account, kind="weekly")
    assert make(world) == 2
    assert outcome(world, fine) == ("done", "")
    result, reason = outcome(world, early)
    assert result == "refused" and "has not ended yet" in reason
    monkeypatch.setattr(making, "run_module", lambda *_, **__: Failure("no memory", "its last words"))
    broken = ask(world, account, day="2026-04-30")
    make(world)
    assert outcome(world, broken) == ("failed", "")
    assert told(world, "alice")[-1][1]["what"] == "report_failed"
    assert any(facts.get("what") == "report_failed" for _, facts in told(world, "otto"))


def test_without_room_a_request_waits_and_is_given_up_after_its_attempts(
    world: World,
    rendered: list[Path],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job fails, which operators are told; the request is tried again and then has failed, visibly."""
    request = ask(world, traded(world))

    def full(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("no room")

    monkeypatch.setattr("ctp.reports.asked.make_report", full)
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            make(world)
        assert outcome(world, request)[0] == "waiting"
    assert make(world) == 0
    assert outcome(world, request)[0] == "failed"


def test_killed_at_any_point_a_report_is_whole_or_absent_and_is_made_once_afterwards(tmp_path: Path) -> None:
    """Really killed, in a process of its own: between any two of its files, its row and its notice."""
    home = tmp_path / "home"
    home.mkdir()
    world = make_world(home)
    account = traded(world)
    reader = world.user("alice")
    world.database.close()
    command = [sys.executable, "-m", "tests.reports.killing", str(home), str(account), str(reader)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    ended = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=240, check=True)
    seen = {line["point"]: line for line in map(json.loads, ended.stdout.splitlines())}
    assert list(seen) == ["extracted", "rendered", "page", "chart", "row", "notice", "committed", "end"]
    for point in ("extracted", "rendered", "page", "chart", "row", "notice"):
        assert (seen[point]["signal"], seen[point]["rows"], seen[point]["told"]) == (signal.SIGKILL, [], 0), point
    for point in ("committed", "end"):
        ((status, file, chart),) = seen[point]["rows"]
        assert status == "done" and seen[point]["told"] == 1, point
        if point == "end":
            assert (home / "reports" / file).is_file() and (home / "reports" / chart).is_file()
    assert seen["committed"]["signal"] == signal.SIGKILL and seen["end"]["signal"] == 0
    assert len(world.rows(notices, notices.c.kind == "daily_report")) == 1

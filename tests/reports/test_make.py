"""A report is made whole or not at all, tells its reader, and tells operators when it could not be made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ctp.accounts.rights import Actor
from ctp.accounts.visible import Visible
from ctp.config import ReportSettings
from ctp.errors import InputError, NotFound, StorageUnavailable
from ctp.reports import make as making
from ctp.reports import make_report
from ctp.reports.child import Failure, run_module
from ctp.reports.make import ReportRow
from ctp.reports.render import loads
from ctp.storage.tables import notices, reports, users
from tests.reports.world import DAY, HOUR, NOW, Trading, World, add_account

NEWEST = NOW // HOUR * HOUR
HOSTILE = "<script>alert(1)<b> $x$ \" src='x' {name}"


def traded(world: World, name: str = "a", owner: str = "alice", **wanted: Any) -> int:
    """Return an account with a month of trading."""
    account = add_account(world, owner, name, **wanted)
    trading = Trading(world, account, NEWEST - 33 * DAY, seed=5)
    trading.run(NEWEST, 8)
    trading.save()
    return account


def make(world: World, account: int, reader: str = "alice", kind: str = "daily", day: str = "2026-05-01") -> ReportRow:
    """Make a report."""
    return make_report(world.settings, world.database, account, world.user(reader), kind, day, world.clock)


def actor(world: World, name: str) -> Actor:
    """Return a person who looks."""
    (row,) = world.rows(users, users.c.name == name)
    return Actor(row.id, row.name, row.role, None, "web")


def told(world: World, reader: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what a person was told."""
    rows = world.rows(notices, notices.c.user_id == world.user(reader))
    return [(row.kind, json.loads(row.facts)) for row in rows]


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let the child be a stand-in that leaves the three files at once; returns the scratch folders it was given."""
    seen: list[Path] = []

    def stand_in(module: str, arguments: Any, *, scratch: Path, **_: Any) -> Failure | None:
        seen.append(scratch)
        if module == "ctp.reports.evidence":
            Path(arguments[1]).write_text('{"state": "none"}')
            return None
        (scratch / "report.html").write_text("<p>page</p>")
        (scratch / "chart.png").write_bytes(b"png")
        figures = {"pnl": "1.25", "equity": "10001.25", "trades": 1, "wins": 1, "month_return": 0.01, "findings": []}
        (scratch / "summary.json").write_text(json.dumps(figures))
        return None

    monkeypatch.setattr(making, "run_module", stand_in)
    return seen


def test_a_hostile_name_in_korean_and_english_stays_text_and_nothing_is_loaded(world: World) -> None:
    account = traded(world, HOSTILE, "minsu")
    row = make(world, account, "minsu")
    assert row.status == "done"
    assert Path(row.file).name.startswith("SIMULATED-daily-2026-05-01-")
    page, chart = (world.settings.reports / name for name in (row.file, row.chart))
    text = page.read_text("utf-8")
    assert "일일 보고서" in text and "모의" in text
    assert "&lt;script&gt;alert(1)&lt;b&gt; $x$" in text
    assert "<script" not in text and "<b> " not in text
    assert loads(text) == ""
    assert "Traceback" not in text
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert {file.stat().st_mode & 0o777 for file in (page, chart)} == {0o600}
    (kind, facts) = told(world, "minsu")[-1]
    assert kind == "daily_report"
    assert facts["pnl"] == row.summary["pnl"]
    assert facts["chart"] == row.chart and facts["report_id"] == row.id
    expected = {"account", "mode", "exchange", "quote", "kind", "day", "equity", "trades", "wins", "month_return", "target_low",
                "target_high", "largest_loss_fraction", "worst_day_fraction"}  # fmt: skip
    assert expected <= facts.keys()


def test_a_failing_notebook_is_reported_to_its_reader_and_its_traceback_to_operators_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "123456789:AAbbCCddEEffGGhhIIjjKKllMMnnOOppQQr"
    broken = Failure("exit code 1", f"Traceback (most recent call last):\nZeroDivisionError: token {secret}")
    monkeypatch.setattr(making, "run_module", lambda module, *_, **__: None if "evidence" in module else broken)
    monkeypatch.setattr(making, "_evidence", lambda *_: {"state": "none"})
    account = traded(world)
    row = make(world, account)
    assert (row.status, row.file) == ("failed", "")
    assert [one.status for one in world.rows(reports)] == ["failed"]
    (kind, facts) = told(world, "alice")[-1]
    assert (kind, facts["what"], facts["day"]) == ("system_error", "report_failed", "2026-05-01")
    assert "traceback" not in facts and "reason" not in facts
    (kind, facts) = told(world, "otto")[-1]
    assert kind == "system_error"
    assert "ZeroDivisionError" in facts["traceback"]
    assert secret not in json.dumps(facts)
    assert "pnl" not in facts and facts["account_id"] == account


def test_a_cell_that_raises_fails_the_report_with_its_traceback(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = traded(world)
    whole = making.extract

    def without_a_table(*arguments: Any) -> None:
        whole(*arguments)
        (arguments[6] / "ledger.parquet").write_bytes(b"no table")

    monkeypatch.setattr(making, "extract", without_a_table)
    assert make(world, account).status == "failed"
    assert "DataDamaged" in told(world, "otto")[-1][1]["traceback"]
    assert not list((world.settings.reports).rglob("*.html"))


def test_rows_that_cannot_be_extracted_are_a_failed_report_and_end_nothing_else(
    world: World, rendered: list[Path]
) -> None:
    class Broken:
        name = "drift"

        def tell(self, *_: Any) -> Any:
            raise ZeroDivisionError("a bug of another room")

    account = traded(world)
    arguments = (world.settings, world.database, account, world.user("alice"), "daily", "2026-05-01", world.clock)
    assert make_report(*arguments, (Broken(),)).status == "failed"
    assert "a bug of another room" in told(world, "otto")[-1][1]["traceback"]
    assert rendered == []


def test_without_room_on_the_disk_nothing_is_written_and_the_next_run_makes_it(
    world: World, rendered: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = traded(world)
    whole = making.write_whole

    def full(file: Path, content: bytes) -> None:
        if file.suffix == ".png":
            raise OSError(28, "No space left on device")
        whole(file, content)

    monkeypatch.setattr(making, "write_whole", full)
    with pytest.raises(StorageUnavailable, match="No space left"):
        make(world, account)
    assert world.rows(reports) == [] and told(world, "alice") == []
    monkeypatch.setattr(making, "write_whole", whole)
    assert make(world, account).status == "done"


def test_made_again_a_report_replaces_the_old_one_and_tells_nobody_twice(world: World, rendered: list[Path]) -> None:
    account = traded(world)
    first = make(world, account)
    world.clock.jump(60_000)
    second = make(world, account)
    assert second.id == first.id and second.file != first.file
    assert len(world.rows(reports)) == 1
    found = sorted(file.name for file in (world.settings.reports / str(account)).glob("[!.]*"))
    assert found == sorted(Path(name).name for name in (second.file, second.chart))
    assert [kind for kind, _ in told(world, "alice")] == ["daily_report"]
    assert all(not folder.exists() for folder in rendered)


def test_a_failure_leaves_the_good_report_that_was_made_before(
    world: World, rendered: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = traded(world)
    good = make(world, account)
    monkeypatch.setattr(making, "run_module", lambda *_, **__: Failure("exit code 1", ""))
    assert make(world, account).status == "failed"
    (row,) = world.rows(reports)
    assert (row.status, row.file) == ("done", good.file)


def test_killed_before_the_row_is_written_nothing_is_there_and_the_next_run_makes_it(
    world: World, rendered: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = traded(world)
    write_row = making._write_row

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "_write_row", killed)
    with pytest.raises(KeyboardInterrupt):
        make(world, account)
    assert world.rows(reports) == []
    assert told(world, "alice") == []
    monkeypatch.setattr(making, "_write_row", write_row)
    world.clock.jump(1000)
    made = make(world, account)
    left = [file.name for file in (world.settings.reports / str(account)).glob("*.html")]
    assert left == [Path(made.file).name]  # what the killed run left is gone


def test_what_a_killed_maker_left_behind_is_cleared_once_nobody_can_work_there(
    world: World, rendered: list[Path]
) -> None:
    old, fresh = (world.settings.cache / f"report-{name}" for name in ("old", "fresh"))
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "ledger.parquet").write_bytes(b"rows of an account")
    os.utime(old, (time.time() - 5 * 3600,) * 2)
    make(world, traded(world))
    assert not old.exists() and fresh.exists()


def test_a_day_that_has_not_ended_has_no_report(world: World, rendered: list[Path]) -> None:
    account = traded(world)
    with pytest.raises(InputError, match="has not ended"):
        make(world, account, day="2026-05-02")
    with pytest.raises(InputError, match="has not ended"):
        make(world, account, kind="weekly", day="2026-05-01")
    assert world.rows(reports) == []


def test_nobody_gets_a_report_on_an_account_they_do_not_see(world: World, rendered: list[Path]) -> None:
    account = traded(world)
    row = make(world, account)
    for name in ("minsu", "otto"):
        with pytest.raises(NotFound):
            make(world, account, name)
        with world.database.reading() as connection:
            assert Visible(connection, actor(world, name)).reports() == []
    with world.database.reading() as connection:
        assert [one.id for one in Visible(connection, actor(world, "alice")).reports()] == [row.id]


# --- the child ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs some code as a module in a child, and gives (failure, what it printed)."""
    import ctp.reports.child as child

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(child, "PROJECT", tmp_path)

    def run(code: str, time_limit_s: float = 60, memory_mb: int = 1024) -> tuple[Failure | None, str]:
        (tmp_path / "some_module.py").write_text(code)
        failure = run_module("some_module", [], scratch=scratch, time_limit_s=time_limit_s, memory_mb=memory_mb)
        return failure, (scratch / "child.log").read_text()

    return run


def test_the_child_is_told_no_setting_and_no_secret(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTP__DATABASE__URL", "postgresql://ctp@db/ctp")
    monkeypatch.setenv("CTP_CONFIG", "/etc/ctp.toml")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-value")
    failure, printed = module("import os, json; print(json.dumps(dict(os.environ)))")
    assert failure is None
    environment = json.loads(printed)
    assert not [name for name in environment if name.startswith("CTP_") and name != "CTP_HOME"]
    assert "hidden-value" not in printed and "postgresql" not in printed
    assert environment["CTP_HOME"] == environment["HOME"]


def test_the_child_is_nice_and_bounded(module: Any) -> None:
    failure, printed = module("import os; print(os.nice(0), open('/proc/self/oom_score_adj').read())")
    assert failure is None
    assert printed.split() == [str(min(19, os.nice(0) + 10)), "500"]
    failure, printed = module("x = bytearray(3 * 1024 ** 3)")
    assert failure is not None and failure.reason == "exit code 1"
    assert "MemoryError" in failure.report


def test_a_child_that_takes_too_long_is_ended_with_its_children(module: Any) -> None:
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(p.pid, flush=True)\ntime.sleep(600)"
    )
    failure, printed = module(code, time_limit_s=3)
    assert failure is not None and failure.reason == "not done within 3 s"
    deadline = time.monotonic() + 60
    while Path(f"/proc/{printed.strip()}").exists() and "Z" not in _state(int(printed)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_kernel_of_a_notebook_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'ctp.reports.kernel', '-f', sys.argv[1]], start_new_session=True)\n"
        "print(p.pid, flush=True)\ntime.sleep(600)"
    )
    environment = os.environ | {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "connection.json")], stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    kernel = int(parent.stdout.readline())
    deadline = time.monotonic() + 120
    while not (tmp_path / "connection.json").exists():  # then it runs, and is tied
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    while Path(f"/proc/{kernel}").exists() and "Z" not in _state(kernel):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _state(pid: int) -> str:
    """Return the state letter of a process; a zombie that nobody reaps counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_limits_too_small_to_work_in_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal"):
        ReportSettings(memory_mb=10)

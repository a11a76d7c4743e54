"""The jobs of this installation: each runs on a fresh database, and each has a name in both languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctp.clock import ManualClock
from ctp.config import load_settings
from ctp.i18n import text
from ctp.reports import make as making
from ctp.reports.child import Failure
from ctp.storage.database import Database
from ctp.storage.tables import reports
from services.jobs import all_jobs
from services.program import MOST_OUTPUT_BYTES
from tests.reports.world import DAY, HOUR, NOW, Trading, add_account, make_world


def test_every_job_runs_on_a_fresh_database_and_twice(home: Path, database: Database) -> None:
    clock = ManualClock()
    for job in all_jobs(load_settings(), database, clock):
        for _ in range(2):
            job.run(clock.now_ms())


def test_every_job_has_a_name_in_both_languages(home: Path, database: Database) -> None:
    for job in all_jobs(load_settings(), database, ManualClock()):
        for language in ("ko", "en"):
            assert text(f"jobs.name.{job.name}", language) != job.name


def test_what_pm2_wrote_is_bounded(home: Path, database: Database) -> None:
    settings = load_settings()
    grown = settings.log_folder / "bot.error.log"
    grown.write_bytes(b"Traceback\n" * (MOST_OUTPUT_BYTES // 10 + 1))
    (job,) = (job for job in all_jobs(settings, database, ManualClock()) if job.name == "logs")
    job.run(0)
    assert grown.stat().st_size == 0


def test_a_due_report_is_tried_once_even_when_it_cannot_be_made(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows say which failed; the others are made all the same, and the job itself has done its work."""
    monkeypatch.setattr(making, "run_module", lambda *_, **__: Failure("no memory", "the end of its words"))
    world = make_world(home, database)
    for name in ("first", "second"):
        trading = Trading(world, add_account(world, "alice", name), NOW // HOUR * HOUR - 3 * DAY)
        trading.run(NOW // HOUR * HOUR, 8)
        trading.save()
    (job,) = (job for job in all_jobs(world.settings, database, world.clock) if job.name == "reports")
    job.run(NOW)
    tried = world.rows(reports)
    assert {row.account_id for row in tried} == {1, 2}
    assert {row.status for row in tried} == {"failed"}
    job.run(NOW)
    assert world.rows(reports) == tried

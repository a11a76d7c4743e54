"""The jobs of this installation: each runs on a fresh database, and each has a name in both languages."""

from __future__ import annotations

from pathlib import Path

from ctp.clock import ManualClock
from ctp.config import load_settings
from ctp.i18n import text
from ctp.storage.database import Database
from services.jobs import all_jobs
from services.program import MOST_OUTPUT_BYTES


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

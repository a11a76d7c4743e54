"""Everything that is done by the clock, with its times: wiring only.

What only a job needs is loaded by the job: a scheduler that was killed is back sooner, and smaller.
"""

from __future__ import annotations

import os
from pathlib import Path

from ctp.accounts.report_requests import is_waited_for, prune_requests
from ctp.backup.jobs import backup_jobs
from ctp.clock import Clock
from ctp.config import Settings
from ctp.errors import CtpError
from ctp.logs import bound_file, logger
from ctp.scheduler.history import prune_runs
from ctp.scheduler.schedule import daily, every
from ctp.scheduler.scheduler import Job
from ctp.storage.database import Database
from services.program import MOST_OUTPUT_BYTES

log = logger(__name__)


def all_jobs(settings: Settings, database: Database, clock: Clock) -> list[Job]:
    """Return every job. Each must be harmless when it runs twice."""
    zone, kept = settings.scheduler.zone, settings.retention

    def archive(now_ms: int) -> None:
        from ctp.storage.retention import archive_decisions, thin_equity

        archive_decisions(database, settings.archive, now_ms, kept.decision_days)
        thin_equity(database, now_ms, every_sample_days=kept.equity_minute_days, hourly_days=kept.equity_hour_days)

    def configuration(now_ms: int) -> None:
        from ctp.backup.configuration import note_file
        from ctp.config import load_settings

        load_settings()  # only what works is noted
        with database.transaction() as connection:
            note_file(settings.home, connection, now_ms)

    def logs(_now_ms: int) -> None:
        """The services' own logs are rotated as they are written; these are PM2's."""
        pm2 = [Path(os.environ["PM2_HOME"], "pm2.log")] if "PM2_HOME" in os.environ else []
        for file in [*settings.log_folder.glob("*.log"), *pm2]:
            bound_file(file, MOST_OUTPUT_BYTES)

    def reports(now_ms: int) -> None:
        from ctp.reports import due_reports, make_asked, make_report
        from ctp.reports.backups import installed_sections

        sections = installed_sections(settings, clock)
        make_asked(settings, database, clock, sections)
        with database.reading() as connection:
            due = due_reports(connection, now_ms)
        for one in due:
            make_asked(settings, database, clock, sections)  # whoever asked meanwhile does not wait for all of these
            try:
                make_report(settings, database, one.account_id, one.user_id, one.kind, one.period, clock, sections)
            except CtpError as error:  # the account or its reader went away meanwhile; the others still want theirs
                log.warning("report_not_made", account=one.account_id, user=one.user_id, error=str(error))

    def tidy(now_ms: int) -> None:
        from ctp.storage.retention import prune_notices, prune_sessions

        prune_notices(database, now_ms, kept.notice_days)
        prune_sessions(database, now_ms)
        with database.transaction() as connection:
            prune_runs(connection, now_ms, keep_days=kept.job_days)
            prune_requests(connection, now_ms - kept.job_days * 86_400_000)

    return [
        *backup_jobs(settings, database),
        Job("archive", daily(3, 30, zone), archive),
        Job("configuration", every(300), configuration),
        Job("logs", every(3600), logs),
        Job("reports", every(60), reports, is_asked=is_waited_for),
        Job("tidy", daily(3, 45, zone), tidy),
    ]

"""How backups stand, as a part of the report."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from ctp.backup.state import backup_state
from ctp.clock import Clock
from ctp.config import Settings
from ctp.reports.periods import Period
from ctp.reports.sections import BACKUPS, DRIFT, Section, Told, Unavailable


def installed_sections(settings: Settings, clock: Clock) -> tuple[Section, ...]:
    """Return what other rooms tell in every report of this installation."""
    return Unavailable(DRIFT), BackupSection(settings, clock)


class BackupSection:
    """Tells when the last backup was made and read back, and how the last rehearsed restore went."""

    name = BACKUPS

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Look at the backups of this home."""
        self._settings, self._clock = settings, clock

    def tell(self, connection: sa.Connection, account_id: int, period: Period) -> Told:
        """Return how backups stand; they concern the installation, so every account is told the same."""
        found = backup_state(self._settings, connection, self._clock.now_ms())
        drilled = None if found.drill is None else found.drill.at
        facts = {"made": self._time(found.newest_at), "verified": self._time(found.verified_at), "drilled": self._time(drilled)}
        if found.newest_at is None:
            return Told("attention", "report.backups.none")
        if not found.is_good:
            return Told("attention", "report.backups.attention", facts | {"damaged": len(found.damaged)})
        return Told("good", "report.backups.good", facts)

    def _time(self, time_ms: int | None) -> str:
        """Return a time in the zone of the schedule."""
        if time_ms is None:
            return "-"
        zone = ZoneInfo(self._settings.scheduler.zone)
        return datetime.fromtimestamp(time_ms / 1000, zone).strftime("%Y-%m-%d %H:%M")

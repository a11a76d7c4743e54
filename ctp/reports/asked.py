"""Make the reports that somebody asked for, one after the other, oldest first."""

from __future__ import annotations

from collections.abc import Sequence

from ctp.accounts.report_requests import DONE, FAILED, REFUSED, ReportRequest, end_request, take_request
from ctp.accounts.visible import Visible
from ctp.clock import Clock
from ctp.config import Settings
from ctp.errors import CtpError, StorageUnavailable
from ctp.logs import logger
from ctp.reports.due import market_now
from ctp.reports.extract import read_scope, reader_of
from ctp.reports.make import make_report
from ctp.reports.periods import newest_complete
from ctp.reports.sections import Section
from ctp.storage.database import Database

log = logger(__name__)


def make_asked(settings: Settings, database: Database, clock: Clock, sections: Sequence[Section]) -> int:
    """Make what waits, until nothing does; returns how many requests ended.

    A request that is refused says why; one whose report failed was told to its reader and to operators by `make_report`.
    Raises StorageUnavailable when there is no room: it waits for the next attempt.
    """
    ended = 0
    while True:
        with database.transaction() as connection:
            request = take_request(connection, clock.now_ms())
        if request is None:
            return ended
        ended += 1
        try:
            day = request.day or _last_complete(database, request, clock.now_ms())
            row = make_report(
                settings, database, request.account_id, request.user_id, request.kind, day, clock, sections, asked=request.id
            )
        except StorageUnavailable:
            raise
        except CtpError as error:
            log.warning("report_refused", request=request.id, error=str(error))
            _end(database, request, REFUSED, clock, reason=str(error))
        else:
            _end(database, request, DONE if row.status == "done" else FAILED, clock, report_id=row.id)


def _last_complete(database: Database, request: ReportRequest, now_ms: int) -> str:
    """Return a day of the newest period that has ended, by the account's own market."""
    with database.reading() as connection:
        actor, _ = reader_of(connection, request.user_id)
        scope = read_scope(Visible(connection, actor), request.account_id)
        return newest_complete(request.kind, market_now(connection, scope.account, now_ms), scope.zone).name


def _end(
    database: Database, request: ReportRequest, result: str, clock: Clock, *, reason: str = "", report_id: int | None = None
) -> None:
    """Write down what came of a request."""
    with database.transaction() as connection:
        end_request(connection, request.id, result, clock.now_ms(), reason=reason, report_id=report_id)

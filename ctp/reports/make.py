"""Make a report: extract, compute, render in child processes, then put file, chart, row and notice in place at once.

Invariants:
1. A row exists exactly if its files do: the files are there before the row is committed, and a report whose making was
   killed at any instant leaves no row and is made by the next run.
2. What fails is written down and told too: to its reader that there is none, to operators why; trading never notices.
3. What a reader gets was extracted through their own eyes, and names no other account.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.visible import Visible
from ctp.clock import Clock
from ctp.config import Settings
from ctp.core.strategies import DEFAULT_STRATEGY
from ctp.errors import CtpError, InputError, StorageUnavailable
from ctp.logs import logger, redact
from ctp.notifiers.outbox import tell_operators, tell_user
from ctp.reports.child import Failure, run_module
from ctp.reports.due import market_now
from ctp.reports.evidence import kept, request_of
from ctp.reports.evidence_state import FAILED, NONE
from ctp.reports.extract import Scope, extract, read_scope, reader_of
from ctp.reports.extracted import CHART, EVIDENCE, SUMMARY
from ctp.reports.files import make_folder, write_whole
from ctp.reports.periods import Period, parse_day, period_of
from ctp.reports.render import PAGE
from ctp.reports.sections import DEFAULT_SECTIONS, Section
from ctp.storage.database import Database, insert_or
from ctp.storage.tables import reports

DONE, FAILURE = "done", "failed"
_TOLD_OPERATORS = 3000  # characters of a traceback in a notice; the log has all of it
_SCRATCH = "report-"
_LEFT_BEHIND_S = 4 * 3600  # longer than the longest limits together: nobody works there any more
log = logger(__name__)


class ReportRow(NamedTuple):
    """A row of `reports`; file and chart are below `CTP_HOME/reports`, empty for one that failed."""

    id: int
    account_id: int
    user_id: int
    kind: str
    period: str
    language: str
    status: str
    file: str
    chart: str
    summary: dict[str, Any]
    created_at: int


class _Order(NamedTuple):
    """What is to be made."""

    scope: Scope
    reader: sa.Row[Any]
    period: Period
    now_ms: int
    asked: int = 0  # the request that wants it; 0: the clock does

    @property
    def told_as(self) -> str:
        """Return what tells its notices apart: who asks is answered, also for a report that was told before."""
        period = f"{self.period.kind}:{self.period.name}"
        return f"{period}:{self.asked}" if self.asked else period

    @property
    def stem(self) -> str:
        """Return the name its files share; it says whether the money is real."""
        mode = "LIVE" if self.scope.account.mode == "live" else "SIMULATED"
        period = self.period
        return f"{mode}-{period.kind}-{period.name}-{self.reader.id}-{self.reader.language}-{self.now_ms}"


def make_report(
    settings: Settings,
    database: Database,
    account_id: int,
    user_id: int,
    kind: str,
    day: str | date,
    clock: Clock,
    sections: Sequence[Section] = DEFAULT_SECTIONS,
    *,
    asked: int = 0,
) -> ReportRow:
    """Make the report of one kind on the period that holds a day, for one reader; returns its row.

    day: a day of the account's risk zone. A report that was made before is made again and replaces the old one; its
    notice is not told twice, unless somebody `asked` (the request's number). One that cannot be made is a row with
    status `failed`, unless there is a good one already.
    Raises NotFound when the reader does not see the account, InputError when the period has not ended, StorageUnavailable
    when there is no room; in all these cases nothing was written.
    """
    _clear_left_behind(settings.cache)
    try:
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=settings.cache) as folder:
            scratch = Path(folder)
            order, failure = _begin(
                settings, database, account_id, user_id, kind, day, clock.now_ms(), sections, scratch / "extract"
            )
            order = order._replace(asked=asked)
            failure = failure or _render(settings, order, scratch)
            if failure is not None:
                return _fail(database, order, failure, clock.now_ms())
            return _put_in_place(settings, database, order, scratch, clock.now_ms())
    except OSError as error:
        raise StorageUnavailable(f"the report was not made: {error}; make room, and it is made again") from error


def _clear_left_behind(cache: Path) -> None:
    """Remove the scratch folders of makers that were killed: they hold rows of an account."""
    for folder in cache.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):  # another maker clears it, or it has just ended by itself
            if time.time() - folder.stat().st_mtime > _LEFT_BEHIND_S:
                shutil.rmtree(folder)


def _begin(
    settings: Settings,
    database: Database,
    account_id: int,
    user_id: int,
    kind: str,
    day: str | date,
    now_ms: int,
    sections: Sequence[Section],
    folder: Path,
) -> tuple[_Order, Failure | None]:
    """Check what is asked for, and extract it in the same reading; also returns why that failed."""
    wanted = parse_day(day) if isinstance(day, str) else day
    folder.mkdir(mode=0o700)
    with database.reading() as connection:
        actor, reader = reader_of(connection, user_id)
        scope = read_scope(Visible(connection, actor), account_id)
        period = period_of(kind, wanted, scope.zone)
        if period.end_ms > market_now(connection, scope.account, now_ms):
            raise InputError(
                "day", wanted.isoformat(), f"the {kind} period from {period.first} to {period.last} has not ended yet"
            )
        order = _Order(scope, reader, period, now_ms)
        try:
            extract(connection, settings, scope, reader, period, sections, folder, now_ms)
        except (CtpError, OSError):
            raise
        except Exception:  # a report is a program of its own: whatever goes wrong in it is told, and ends nothing else
            return order, Failure("the account's rows could not be extracted", redact(traceback.format_exc()))
    return order, None


def _render(settings: Settings, order: _Order, scratch: Path) -> Failure | None:
    """Add past months to the extract and let the child make the page; returns why it could not."""
    limits = settings.reporting
    write_whole(scratch / "extract" / EVIDENCE, json.dumps(_evidence(settings, order.scope, scratch)).encode())
    # The font list of matplotlib takes seconds to make, and is the same for everybody.
    fonts = {"MPLCONFIGDIR": str(settings.folder("cache/matplotlib"))}
    arguments = [str(scratch), order.reader.language, order.period.name]
    return run_module(
        "ctp.reports.render",
        arguments,
        scratch=scratch,
        time_limit_s=limits.time_limit_s,
        memory_mb=limits.memory_mb,
        environment=fonts,
    )


def _evidence(settings: Settings, scope: Scope, scratch: Path) -> dict[str, Any]:
    """Return what the account's parameters did in past months; a report without it is still a report."""
    if not scope.core.get("markets"):
        return {"state": NONE}
    version = scope.versions[0] if scope.versions else None
    state = scope.state
    request = request_of(
        scope.account.exchange,
        scope.account.timeframe,
        version.strategy if version else DEFAULT_STRATEGY,
        version.strategy_parameters if version else {},
        scope.risk,
        scope.core["markets"],
        float((state.equity if state else None) or 0.0),
    )
    known = kept(settings.cache, request)
    if known is not None:
        return known
    asked, answer = scratch / "request.json", scratch / "answer.json"
    write_whole(asked, json.dumps(request).encode())
    failure = run_module(
        "ctp.reports.evidence",
        [str(asked), str(answer), str(settings.cache)],
        scratch=scratch,
        time_limit_s=settings.reporting.evidence_time_limit_s,
        memory_mb=settings.reporting.memory_mb,
        environment={"CTP_HOME": str(settings.home)},
    )
    if failure is not None:
        log.warning("report_evidence_failed", account_id=scope.account.id, reason=failure.reason, report=failure.report)
        return {"state": FAILED}
    found: dict[str, Any] = json.loads(answer.read_text("utf-8"))
    return found


def _put_in_place(settings: Settings, database: Database, order: _Order, scratch: Path, now_ms: int) -> ReportRow:
    """Move the files to their place, then write row and notice in one transaction."""
    folder = settings.reports / str(order.scope.account.id)
    make_folder(folder)
    names = {PAGE: f"{order.stem}.html", CHART: f"{order.stem}.png"}
    summary = json.loads((scratch / SUMMARY).read_text("utf-8"))
    files = [f"{order.scope.account.id}/{name}" for name in names.values()]
    with (folder / ".lock").open("wb") as lock:  # two who make the same report must not clear away each other's files
        fcntl.flock(lock, fcntl.LOCK_EX)
        for made, name in names.items():
            write_whole(folder / name, (scratch / made).read_bytes())
        with database.transaction() as connection:
            row = _write_row(connection, order, DONE, files[0], files[1], summary, now_ms)
            _tell(connection, order, row, now_ms)
        _forget_older(folder, order, keep=names.values())
    return row


def _write_row(
    connection: sa.Connection, order: _Order, status: str, file: str, chart: str, summary: dict[str, Any], now_ms: int
) -> ReportRow:
    """Write the report's row, over an older one of the same period."""
    values = {
        "account_id": order.scope.account.id,
        "user_id": order.reader.id,
        "kind": order.period.kind,
        "period": order.period.name,
        "language": order.reader.language,
        "status": status,
        "file": file,
        "chart": chart,
        "summary": json.dumps(summary, ensure_ascii=False),
        "created_at": now_ms,
    }
    key = [reports.c[name] for name in ("account_id", "user_id", "kind", "period")]
    statement = insert_or(connection, reports).values(values)
    changed = {name: values[name] for name in ("language", "status", "file", "chart", "summary", "created_at")}
    report_id = connection.execute(
        statement.on_conflict_do_update(index_elements=key, set_=changed).returning(reports.c.id)
    ).scalar_one()
    return ReportRow(**{**values, "id": report_id, "summary": summary})


def _tell(connection: sa.Connection, order: _Order, row: ReportRow, now_ms: int) -> None:
    """Tell the reader that the report is there, with the figures that fit a message."""
    account, period = order.scope.account, order.period
    facts = {
        **_about(order),
        **{name: value for name, value in row.summary.items() if name not in ("mode", "findings")},
        "attention": len(row.summary["findings"]),
        "last_day": period.last.isoformat(),
        "chart": row.chart,
        "report_id": row.id,
    }
    key = f"{account.id}:report:{order.told_as}"
    tell_user(connection, order.reader.id, "daily_report", facts, key, now_ms, account.id)


def _about(order: _Order) -> dict[str, Any]:
    """Return whose report it is, on what."""
    account, period = order.scope.account, order.period
    return {
        "account": account.name,
        "mode": account.mode,
        "exchange": account.exchange,
        "quote": account.quote,
        "kind": period.kind,
        "day": period.name,
    }


def _fail(database: Database, order: _Order, failure: Failure, now_ms: int) -> ReportRow:
    """Write down that there is no report, and tell the reader and the operators; a good one made before stays."""
    account, period = order.scope.account, order.period
    log.error(
        "report_failed", account_id=account.id, user_id=order.reader.id, kind=period.kind, period=period.name,
        reason=failure.reason, report=failure.report,
    )  # fmt: skip
    key = f"report_failed:{account.id}:{order.reader.id}:{order.told_as}"
    with database.transaction() as connection:
        mine = sa.and_(
            reports.c.account_id == account.id,
            reports.c.user_id == order.reader.id,
            reports.c.kind == period.kind,
            reports.c.period == period.name,
        )
        good = connection.execute(sa.select(reports).where(mine, reports.c.status == DONE)).first()
        row = read_row(good) if good is not None else _write_row(connection, order, FAILURE, "", "", {}, now_ms)
        facts = {"what": "report_failed", **_about(order)}
        tell_user(connection, order.reader.id, "system_error", facts, key, now_ms, account.id)
        # Operators see health, never money: the traceback names lines of ours, the account by its number only.
        told = {
            "what": "report_failed",
            "kind": period.kind,
            "day": period.name,
            "account_id": account.id,
            "reason": failure.reason,
            "traceback": failure.report[-_TOLD_OPERATORS:],
        }
        tell_operators(connection, "system_error", told, f"{key}:operators", now_ms)
    return row._replace(status=FAILURE)


def _forget_older(folder: Path, order: _Order, keep: Iterable[str]) -> None:
    """Remove the files of older reports on the same period; what a killed run left goes with them."""
    kept_names = frozenset(keep)
    common = order.stem.rpartition("-")[0].rpartition("-")[0]  # without language and time
    for file in folder.glob(f"{common}-*"):
        if file.name not in kept_names:
            file.unlink(missing_ok=True)


def read_row(row: sa.Row[Any]) -> ReportRow:
    """Read a row of `reports`."""
    return ReportRow(**{**row._mapping, "summary": json.loads(row.summary)})

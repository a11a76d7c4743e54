"""`ctp report`: make a daily, weekly or monthly report now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctp.cli.opened import opened_database, shell_owner
from ctp.cli.output import Json, print_json, working
from ctp.errors import NotFound, StateConflict

if TYPE_CHECKING:
    from ctp.reports.due import DueReport
    from ctp.storage.database import Database

app = typer.Typer(help="Make reports: result, reasons, risk used, what went wrong.", no_args_is_help=True)

Account = Annotated[
    str | None, typer.Option("--account", help="One account instead of every account that has started.")
]
Day = Annotated[
    str | None, typer.Option("--day", help="A day of the period, as 2026-05-01; without it the last complete period.")
]
Reader = Annotated[str | None, typer.Option("--reader", help="For whom, in their language; without it the owner.")]


@app.command(epilog="Example: ctp report daily --account minsu/rsi --day 2026-05-01")
def daily(account: Account = None, day: Day = None, reader: Reader = None, as_json: Json = False) -> None:
    """Make the report of one day of the account's risk zone."""
    _make("daily", account, day, reader, as_json)


@app.command(epilog="Example: ctp report weekly --account rsi --json")
def weekly(account: Account = None, day: Day = None, reader: Reader = None, as_json: Json = False) -> None:
    """Make the report of one week, Monday to Sunday."""
    _make("weekly", account, day, reader, as_json)


@app.command(epilog="Example: ctp report monthly --account rsi --day 2026-04-30")
def monthly(account: Account = None, day: Day = None, reader: Reader = None, as_json: Json = False) -> None:
    """Make the report of one calendar month."""
    _make("monthly", account, day, reader, as_json)


@app.command(epilog="Example: ctp report due --json")
def due(as_json: Json = False) -> None:
    """List the reports that are due and not made; the scheduler makes them."""
    from ctp.cli.opened import now_ms
    from ctp.cli.output import print_table
    from ctp.reports import due_reports

    with opened_database() as database, database.reading() as connection:
        found = due_reports(connection, now_ms())
    if as_json:
        print_json(found)
    else:
        print_table("", ("account", "reader", "kind", "period"), found, empty="No report is due.")


def _make(kind: str, account: str | None, day: str | None, reader: str | None, as_json: bool) -> None:
    """Make the reports and say where they are; exit code 1 when one could not be made."""
    from ctp.clock import SystemClock
    from ctp.config import load_settings
    from ctp.reports import make_report
    from ctp.reports.backups import installed_sections

    settings, clock, made = load_settings(), SystemClock(), []
    sections = installed_sections(settings, clock)
    with opened_database() as database:
        for one in _wanted(database, kind, account, day, reader):
            with working("Making the report", quiet=as_json):
                made.append(
                    make_report(
                        settings, database, one.account_id, one.user_id, one.kind, one.period, clock, sections
                    )
                )
    if as_json:
        print_json([_shown(settings.reports, row) for row in made])
    else:
        for row in made:
            where = settings.reports / row.file if row.status == "done" else "failed; the log of this command says why"
            typer.echo(f"{row.kind} report {row.period}, account {row.account_id}: {where}")
    if any(row.status != "done" for row in made):
        raise StateConflict("not every report could be made; administrators and operators were told why")


def _wanted(database: Database, kind: str, account: str | None, day: str | None, reader: str | None) -> list[DueReport]:
    """Return what is to be made: the accounts that were named or have started, each for its reader."""
    from ctp.accounts.users import find_user
    from ctp.accounts.visible import Visible
    from ctp.cli.opened import now_ms
    from ctp.reports.due import DueReport, market_now
    from ctp.reports.extract import read_scope
    from ctp.reports.periods import newest_complete, parse_day, period_of

    found = []
    with database.reading() as connection:
        visible = Visible(connection, shell_owner())
        chosen = [visible.find_account(account)] if account is not None else visible.accounts()
        reader_id = None if reader is None else find_user(connection, reader).id
        for each in chosen:
            scope = read_scope(visible, each.id)
            if account is None and not scope.core:
                continue
            if day is None:
                period = newest_complete(kind, market_now(connection, each, now_ms()), scope.zone)
            else:
                period = period_of(kind, parse_day(day), scope.zone)
            found.append(DueReport(each.id, each.user_id if reader_id is None else reader_id, period.kind, period.name))
    if not found:
        raise NotFound("no account has started yet; start one: ctp start --account NAME")
    return found


def _shown(folder: Any, row: Any) -> dict[str, Any]:
    """Return a report for programs, with whole paths."""
    paths = {name: str(folder / getattr(row, name)) if getattr(row, name) else None for name in ("file", "chart")}
    return {**row._asdict(), **paths}

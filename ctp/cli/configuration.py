"""`ctp config`: what was configured when, by whom and why, and the way back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from ctp.cli.opened import now_ms, opened_database
from ctp.cli.output import Json, print_json, print_table
from ctp.config import home_folder, load_settings
from ctp.errors import ConfigError

app = typer.Typer(help="The configuration's history: ctp.toml and stored settings.", no_args_is_help=True)


@app.command(epilog="Example: ctp config history")
def history(last: Annotated[int, typer.Option(help="How many versions.")] = 20, as_json: Json = False) -> None:
    """List the versions of the configuration, newest first."""
    from ctp.accounts.configuration import list_versions
    from ctp.backup.configuration import note_file

    settings = load_settings()
    with opened_database() as database:
        with database.transaction() as connection:
            note_file(settings.home, connection, now_ms())
        with database.reading() as connection:
            found = list_versions(connection, limit=last)
    if as_json:
        print_json(found)
        return
    zone = ZoneInfo(settings.scheduler.zone)
    rows = [
        (one.id, datetime.fromtimestamp(one.at / 1000, zone).strftime("%Y-%m-%d %H:%M:%S"), one.author, one.door, one.reason)
        for one in found
    ]
    print_table("", ("version", "when", "who", "through", "why"), rows, empty="Nothing was configured yet.")


@app.command(epilog="Example: ctp config diff 3 5")
def diff(
    before: Annotated[int, typer.Argument(help="A version.")],
    after: Annotated[int, typer.Argument(help="A later one; 0: the newest.")] = 0,
    as_json: Json = False,
) -> None:
    """Show what differs between two versions."""
    from ctp.accounts.configuration import list_versions, read_version
    from ctp.backup.configuration import difference, note_file

    settings = load_settings()
    with opened_database() as database:
        with database.transaction() as connection:
            note_file(settings.home, connection, now_ms())
        with database.reading() as connection:
            one = read_version(connection, before)
            other = read_version(connection, after) if after else list_versions(connection, limit=1)[0]
    lines = difference(one, other)
    if as_json:
        print_json({"before": one.id, "after": other.id, "lines": lines})
    else:
        typer.echo("\n".join(lines) if lines else f"Versions {one.id} and {other.id} are equal.")


@app.command(epilog='Example: ctp config rollback 3 --reason "the new port is taken"')
def rollback(
    version: Annotated[int, typer.Argument(help="The version to go back to.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    override: Annotated[str, typer.Option(help="Why live accounts may take these parameters; logged.")] = "",
    as_json: Json = False,
) -> None:
    """Go back to an earlier configuration, which becomes the newest version; also while a broken one refuses to start."""
    from ctp.backup.configuration import mend_file, note_file, roll_back
    from ctp.storage.database import Database

    home = home_folder()
    mended = False
    try:
        settings = load_settings()
    except ConfigError:
        settings, mended = mend_file(home, version), True
    database = Database(settings.database_url)
    try:
        database.check()
        if not mended:
            with database.transaction() as connection:
                note_file(home, connection, now_ms())
        done = roll_back(home, database, version, now_ms(), reason=reason, override=override)
    finally:
        database.close()
    done = (["ctp.toml is mended"] if mended else []) + done
    if as_json:
        print_json({"version": version, "done": done})
        return
    for one in done or ["Everything is as in that version already."]:
        typer.echo(one)
    typer.echo("Restart the services to use it: ./run up")

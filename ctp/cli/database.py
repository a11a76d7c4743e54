"""`ctp db`: bring the schema up to date, check it, move everything to another database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctp.cli.opened import now_ms
from ctp.cli.output import Json, print_json, working
from ctp.config import DatabaseSettings, load_settings

app = typer.Typer(help="The database: schema and health.", no_args_is_help=True)


@app.command(epilog="Example: ctp db upgrade")
def upgrade(
    without_backup: Annotated[
        bool, typer.Option("--without-backup", help="PostgreSQL: migrate without a backup, because you have made a copy.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the schema up to this program's, creating it if need be.

    Before that an SQLite file is copied beside itself, and a PostgreSQL database becomes a full backup.
    """
    from ctp.backup.upgrade import upgrade_database
    from ctp.storage.database import Database

    settings = load_settings()
    database = Database(settings.database_url)
    try:
        with working("Upgrading", quiet=as_json):
            done = upgrade_database(settings, database, now_ms(), with_backup=not without_backup)
    finally:
        database.close()
    if as_json:
        print_json({"database": database.address, **done._asdict()})
        return
    was = "" if done.before == done.after else f" (was {done.before or 'empty'})"
    typer.echo(f"{database.address}: schema {done.after}{was}")
    if done.backup:
        typer.echo(f"What was before is the backup {done.backup}; docs/runbook.md says how to go back to it.")


@app.command(epilog="Example: ctp db check --thorough")
def check(
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Also compare every index with its table and every reference.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that the database is whole and belongs to this program; exit 2 with what to do when not."""
    from ctp.storage.database import Database

    database = Database(load_settings().database_url)
    try:
        database.check(thorough=thorough)
        revision = database.revision()
    finally:
        database.close()
    if as_json:
        print_json({"database": database.address, "schema": revision, "ok": True})
    else:
        typer.echo(f"{database.address}: whole, schema {revision}")


@app.command(epilog='Example: ctp db move --to "postgresql://ctp@db.example.com/ctp" --password-file /etc/ctp/database-password')
def move(
    to: Annotated[str, typer.Option("--to", help="Address of an empty database, without a password.")],
    password_file: Annotated[Path | None, typer.Option(help="File (0600) that holds its password.")] = None,
    as_json: Json = False,
) -> None:
    """Move everything to another database, SQLite or PostgreSQL, compared row by row. The services must be stopped."""
    from ctp.backup.move import move_database
    from ctp.storage.database import Database

    settings = load_settings()
    wanted = DatabaseSettings(url=to, password_file=password_file)
    source = Database(settings.database_url)
    try:
        with working("Moving", quiet=as_json):
            moved = move_database(source, settings.model_copy(update={"database": wanted}).database_url, now_ms())
    finally:
        source.close()
    if as_json:
        print_json(moved)
        return
    typer.echo(f"{sum(moved.rows.values()):,} rows of {len(moved.rows)} tables are in {moved.new}, each compared.")
    typer.echo(f"The old database is kept: {moved.old}")
    lines = [f'url = "{to}"'] + ([f'password_file = "{password_file}"'] if password_file else [])
    typer.echo("Now put this into ctp.toml, then start the services:\n\n[database]\n" + "\n".join(lines))

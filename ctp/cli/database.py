"""`ctp db`: bring the schema up to date, and check it."""

from __future__ import annotations

from typing import Annotated

import typer

from ctp.cli.output import Json, print_json
from ctp.config import load_settings

app = typer.Typer(help="The database: schema and health.", no_args_is_help=True)


@app.command(epilog="Example: ctp db upgrade")
def upgrade(as_json: Json = False) -> None:
    """Bring the schema up to this program's, creating it if need be; an SQLite file is copied beside itself first."""
    from ctp.storage.database import Database

    database = Database(load_settings().database_url)
    try:
        before = database.revision()
        database.migrate()
        after = database.revision()
    finally:
        database.close()
    if as_json:
        print_json({"database": database.address, "before": before, "after": after})
    else:
        typer.echo(f"{database.address}: schema {after}" + ("" if before == after else f" (was {before or 'empty'})"))


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

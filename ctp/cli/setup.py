"""`ctp init` and `ctp keys`: the first administrator, the database, the key files."""

from __future__ import annotations

from typing import Annotated

import typer

from ctp.cli.opened import now_ms, opened_database, shell_owner
from ctp.cli.output import Json, print_json, read_secret_line
from ctp.cli.users import PasswordStdin
from ctp.config import load_settings
from ctp.errors import StateConflict

keys = typer.Typer(help="The key files that open stored secrets.", no_args_is_help=True)


def init(
    name: Annotated[str, typer.Option(help="The first administrator's name.")] = "admin",
    language: Annotated[str, typer.Option(help="ko or en.")] = "ko",
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Make the database, the key files and the first administrator; does nothing twice."""
    from ctp.accounts.passwords import accept_password
    from ctp.accounts.users import add_user, list_users
    from ctp.accounts.vault import Vault
    from ctp.backup.keys import BackupKeys
    from ctp.storage.database import Database

    settings = load_settings()
    database = Database(settings.database_url)
    try:
        database.migrate()
        Vault(settings.keys).create()
        BackupKeys(settings.keys).create()
        with database.reading() as connection:
            if list_users(connection, shell_owner()):
                raise StateConflict(f"{settings.home} is set up already; add people with: ctp user add --help")
        password = accept_password(read_secret_line(f"Password for {name}", from_stdin=password_stdin), name)
        with database.transaction() as connection:
            user = add_user(connection, shell_owner(), name, password, "admin", now_ms(), language=language)
    finally:
        database.close()
    if as_json:
        print_json({"home": str(settings.home), "admin": user.name})
    else:
        typer.echo(f"{settings.home} is ready and {user.name} may log in. Start everything: ./run up")


@keys.command(epilog="Example: ctp keys rotate")
def rotate(as_json: Json = False) -> None:
    """Encrypt every stored exchange key anew under a fresh key, verify each, and keep the old key for old backups."""
    from ctp.accounts.vault import Vault

    with opened_database() as database:
        count = Vault(load_settings().keys).rotate(database, shell_owner(), now_ms())
    if as_json:
        print_json({"rotated": count})
    else:
        typer.echo(f"{count} exchange keys are encrypted anew and verified.")

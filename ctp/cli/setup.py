"""`ctp init` and `ctp keys`: the first administrator, the database, the key files."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from ctp.cli.opened import now_ms, opened_database, shell_owner
from ctp.cli.output import Json, print_json, read_secret_line
from ctp.cli.users import PasswordStdin
from ctp.config import load_settings
from ctp.errors import CtpError, StateConflict

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
    from ctp.backup.upgrade import upgrade_database
    from ctp.storage.database import Database

    settings = load_settings()
    database = Database(settings.database_url)
    try:
        upgrade_database(settings, database, now_ms())
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


@keys.command(epilog="Example: ctp keys rotate --backup")
def rotate(
    backup: Annotated[bool, typer.Option("--backup", help="Also make a new backup key; older archives keep theirs.")] = False,
    as_json: Json = False,
) -> None:
    """Encrypt every stored exchange key anew under a fresh key, verify each, and keep the old key for old backups."""
    from ctp.accounts.vault import Vault
    from ctp.backup.keys import BackupKeys

    settings = load_settings()
    with opened_database() as database:
        count = Vault(settings.keys).rotate(database, shell_owner(), now_ms())
    fresh = ""
    if backup:
        keys = BackupKeys(settings.keys)
        keys.create()
        fresh = keys.rotate().id
    _note_sheet(False, "keys were rotated; print a new sheet")
    if as_json:
        print_json({"rotated": count, "backup_key": fresh or None})
        return
    typer.echo(f"{count} exchange keys are encrypted anew and verified.")
    if fresh:
        typer.echo(f"The next full backup is sealed with the new key {fresh}; older ones open with theirs.")
    typer.echo("The recovery sheet is out of date: ctp keys sheet")


@keys.command(epilog="Example: ctp keys sheet | lpr")
def sheet(as_json: Json = False) -> None:
    """Print the recovery sheet: every key, and how to restore on a bare machine. Keep it in a safe, not in a file."""
    from ctp.backup.keys import BackupKeys
    from ctp.backup.sheet import recovery_sheet

    settings = load_settings()
    BackupKeys(settings.keys).create()
    text = recovery_sheet(settings, now_ms())
    if as_json:
        print_json({"sheet": text})
    else:
        typer.echo(text, nl=False)
    _note_sheet(True, "printed")


def _note_sheet(is_current: bool, summary: str) -> None:
    """Write down that the sheet was printed, or has gone out of date; nothing on a bare machine without a database."""
    from ctp.backup.state import SHEET, note_check

    with suppress(CtpError), opened_database() as database, database.transaction() as connection:
        note_check(connection, SHEET, "", now_ms(), is_current, summary)


@keys.command(epilog="Example: ctp keys enter < sheet.txt")
def enter(as_json: Json = False) -> None:
    """Make the key files from the lines of a recovery sheet on stdin; an empty line ends them."""
    import sys

    from ctp.backup.sheet import enter_sheet

    lines = []
    if sys.stdin.isatty():
        typer.echo("Type or paste the lines B1: ... and F1: ..., then an empty line.", err=True)
        while (line := sys.stdin.readline()).strip():
            lines.append(line)
    else:
        lines = sys.stdin.readlines()
    backup_keys, fernet_keys = enter_sheet(load_settings(), "".join(lines))
    if as_json:
        print_json({"backup_keys": backup_keys, "exchange_key_keys": fernet_keys})
    else:
        typer.echo(f"{backup_keys} backup keys and {fernet_keys} keys of exchange keys are in place.")

"""`ctp export` and `ctp import`: one person's data, out and in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp.cli.opened import now_ms, opened_database, shell_owner
from ctp.cli.output import Json, print_facts, print_json, working
from ctp.config import load_settings

if TYPE_CHECKING:
    from ctp.accounts.passwords import NewPassword

PassphraseStdin = Annotated[
    bool, typer.Option("--passphrase-stdin", help="Read a passphrase from stdin and include the exchange keys, sealed.")
]


def export(
    user: Annotated[str, typer.Argument(help="Whose data.")],
    file: Annotated[Path, typer.Argument(help="A new ZIP file.")],
    passphrase_stdin: PassphraseStdin = False,
    as_json: Json = False,
) -> None:
    """Write a person's data into a ZIP: JSON for a server, CSV for people; nobody else's, and no password."""
    from ctp.backup.user_export import export_user

    passphrase = _line() if passphrase_stdin else ""
    settings = load_settings()
    with opened_database() as database, working("Exporting", quiet=as_json):
        counts = export_user(settings, database, shell_owner(), user, file, now_ms(), passphrase=passphrase)
    if as_json:
        print_json({"file": str(file), "rows": counts})
        return
    print_facts({name: count for name, count in counts.items() if name != "profile"}, title=f"{file}, readable by you alone:")


def import_(
    file: Annotated[Path, typer.Argument(help="A ZIP that `ctp export` wrote.")],
    user: Annotated[str, typer.Option("--as", help="The person's name here; empty: as in the file.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and change nothing.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password of a person who is new here from stdin.")
    ] = False,
    passphrase_stdin: Annotated[
        bool, typer.Option("--passphrase-stdin", help="Read the passphrase of the exchange keys from stdin (after the password).")
    ] = False,
    override: Annotated[str, typer.Option(help="Why live accounts may trade with these parameters; logged.")] = "",
    as_json: Json = False,
) -> None:
    """Take a person's data in, all of it or nothing; the accounts come in paused and wait for Start."""
    from ctp.accounts.passwords import accept_password
    from ctp.accounts.vault import Vault
    from ctp.backup.user_import import import_user

    given = _line() if password_stdin else ""
    passphrase = _line() if passphrase_stdin else ""

    def password(name: str) -> NewPassword:
        return accept_password(given, name)

    settings = load_settings()
    with opened_database() as database, working("Importing", quiet=as_json):
        done = import_user(
            database,
            Vault(settings.keys),
            shell_owner(),
            file,
            now_ms(),
            name=user,
            password=password if password_stdin else None,
            passphrase=passphrase,
            override=override,
            dry_run=dry_run,
        )
    if as_json:
        print_json({**done._asdict(), "dry_run": dry_run})
        return
    facts = {f"account {name}": f"number {number}, paused" for name, number in done.accounts.items()}
    title = f"{done.user}: would be imported, nothing was changed." if dry_run else f"{done.user}: imported."
    print_facts({**facts, **done.rows, "exchange keys": done.keys}, title=title)


def _line() -> str:
    """Read a secret from stdin."""
    return sys.stdin.readline().rstrip("\r\n")

"""`ctp user`: people who may log in."""

from __future__ import annotations

from typing import Annotated

import typer

from ctp.cli.opened import now_ms, opened_database, shell_owner
from ctp.cli.output import Json, print_json, print_table, read_secret_line

app = typer.Typer(help="People who may log in, and what they may do.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The name they log in with.")]
Role = Annotated[str, typer.Option(help="viewer, trader, quant, operator or admin.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking for it.")
]


@app.command(epilog="Example: echo 'a long pass phrase' | ctp user add minsu --role trader --language ko --password-stdin")
def add(
    name: Name,
    role: Role,
    language: Annotated[str, typer.Option(help="ko or en: every page, message and report.")] = "ko",
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Add a person; passwords have at least 12 characters."""
    from ctp.accounts.passwords import accept_password
    from ctp.accounts.users import add_user

    with opened_database() as database:
        password = accept_password(read_secret_line(f"Password for {name}", from_stdin=password_stdin), name)
        with database.transaction() as connection:
            user = add_user(connection, shell_owner(), name, password, role, now_ms(), language=language)
    if as_json:
        print_json({"id": user.id, "name": user.name, "role": user.role, "language": user.language})
    else:
        typer.echo(f"{user.name} ({user.role}) may log in.")


@app.command("list", epilog="Example: ctp user list --json")
def list_(as_json: Json = False) -> None:
    """List everybody, with role and state."""
    from ctp.accounts.users import list_users

    with opened_database() as database, database.reading() as connection:
        users = list_users(connection, shell_owner())
    if as_json:
        print_json([user._asdict() for user in users])
        return
    print_table(
        "",
        ("name", "role", "language", "state"),
        [(u.name, u.role, u.language, "disabled" if u.disabled_at else "active") for u in users],
        empty="Nobody may log in yet. Add the first administrator: ctp init",
    )


@app.command(epilog="Example: ctp user disable minsu")
def disable(name: Name, as_json: Json = False) -> None:
    """Take a person's access away at once; their accounts go on as they are."""
    from ctp.accounts.users import disable_user, find_user

    with opened_database() as database, database.transaction() as connection:
        user = disable_user(connection, shell_owner(), find_user(connection, name).id, now_ms())
    if as_json:
        print_json({"name": user.name, "disabled_at": user.disabled_at})
    else:
        typer.echo(f"{user.name} is logged out and may not log in. Their accounts go on; see: ctp account list")


@app.command(epilog="Example: ctp user role minsu quant")
def role(
    name: Name,
    to: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, trader, quant, operator or admin.")],
    as_json: Json = False,
) -> None:
    """Give a person another role; it counts from their next request on."""
    from ctp.accounts.users import find_user, set_role

    with opened_database() as database, database.transaction() as connection:
        user = set_role(connection, shell_owner(), find_user(connection, name).id, to, now_ms())
    if as_json:
        print_json({"name": user.name, "role": user.role})
    else:
        typer.echo(f"{user.name} is now {user.role}.")

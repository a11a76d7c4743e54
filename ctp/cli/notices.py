"""`ctp notices`: what could not be delivered, and sending it again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from ctp.cli.opened import now_ms, opened_database, shell_owner
from ctp.cli.output import Json, print_json, print_table
from ctp.errors import NotFound

app = typer.Typer(help="Notices that could not be delivered, and sending them again.", no_args_is_help=True)


@app.command(epilog="Example: ctp notices dead --json")
def dead(
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.")] = 200, as_json: Json = False
) -> None:
    """List notices that were given up, each with the reason; all of them are on their reader's web page."""
    from ctp.notifiers.undeliverable import dead_letters

    with opened_database() as database, database.reading() as connection:
        letters = dead_letters(connection, shell_owner(), limit=limit)
    if as_json:
        print_json({"dead": [letter._asdict() for letter in letters]})
        return
    print_table(
        "",
        ("notice", "told", "user", "channel", "kind", "attempts", "reason"),
        [
            (
                letter.notice_id,
                datetime.fromtimestamp(letter.created_at / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
                letter.user_name,
                letter.channel,
                letter.kind,
                letter.attempts,
                letter.error,
            )
            for letter in letters
        ],
        empty="Nothing was given up.",
    )


@app.command(epilog="Example: ctp notices resend 4711 4712 --channel email")
def resend(
    notices: Annotated[list[int], typer.Argument(metavar="NOTICE…", help="Their numbers, from: ctp notices dead")],
    channel: Annotated[str | None, typer.Option(help="email or telegram; without it, wherever they were given up.")] = None,
    as_json: Json = False,
) -> None:
    """Let given-up notices wait for delivery again, with all their attempts."""
    from ctp.notifiers.undeliverable import resend_dead

    with opened_database() as database, database.transaction() as connection:
        count = resend_dead(connection, shell_owner(), notices, now_ms(), channel=channel)
    if count == 0:
        raise NotFound("none of these was given up, or their readers have no usable address; see: ctp notices dead")
    if as_json:
        print_json({"waiting": count})
    else:
        typer.echo(f"{count} wait for delivery again; the scheduler sends them.")

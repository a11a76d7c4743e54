"""Commands to the bot: start, pause, stop, close, unlock. These only ask and, if told to, wait; the bot acknowledges."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ctp.cli.accounts import AccountOption
from ctp.cli.opened import now_ms, opened_database, shell_owner
from ctp.cli.output import Json, print_json
from ctp.errors import StateConflict

Wait = Annotated[float, typer.Option("--wait", metavar="SECONDS", help="Wait for the bot to be done; 0 only asks.")]
POLL_S = 0.2

SENTENCES = {
    "start": "start trading",
    "pause": "take no new entries; exits go on",
    "stop_keep": "stop; open positions keep their stops",
    "stop_close": "stop and close its positions",
    "close_all": "close every position now",
    "exit_symbol": "close one position now",
    "unlock": "lift the drawdown lock",
}


def start(account: AccountOption, wait: Wait = 0, as_json: Json = False) -> None:
    """Let an account trade."""
    _ask(account, "start", wait, as_json)


def pause(account: AccountOption, wait: Wait = 0, as_json: Json = False) -> None:
    """Take no new entries; exits and protective orders go on."""
    _ask(account, "pause", wait, as_json)


def stop(
    account: AccountOption,
    close: Annotated[bool, typer.Option("--close/--keep", help="Close open positions, or keep them with their stops.")] = False,
    wait: Wait = 0,
    as_json: Json = False,
) -> None:
    """Stop an account: no entries, working orders cancelled, positions kept with their stops or closed."""
    _ask(account, "stop_close" if close else "stop_keep", wait, as_json)


def close_all(account: AccountOption, wait: Wait = 0, as_json: Json = False) -> None:
    """Close every position of an account at the market and pause it."""
    _ask(account, "close_all", wait, as_json)


def close(
    account: AccountOption,
    symbol: Annotated[str, typer.Option(help="Whose position is closed.")],
    wait: Wait = 0,
    as_json: Json = False,
) -> None:
    """Close the position of one symbol at the market; the account trades on."""
    _ask(account, "exit_symbol", wait, as_json, {"symbol": symbol})


def unlock(account: AccountOption, wait: Wait = 0, as_json: Json = False) -> None:
    """Lift the drawdown lock; it is measured from today's equity again."""
    _ask(account, "unlock", wait, as_json)


def _ask(
    account: str, kind: str, wait_s: float, as_json: bool, arguments: dict[str, str] | None = None
) -> None:
    """Write the command, wait for the bot if told to, and say how far it came."""
    from ctp.accounts.trading_accounts import ask_command
    from ctp.accounts.visible import Visible

    with opened_database() as database:
        with database.transaction() as connection:
            found = Visible(connection, shell_owner()).find_account(account)
            command = ask_command(connection, shell_owner(), found.id, kind, now_ms(), arguments=arguments)
        deadline = time.monotonic() + wait_s
        while command.done_at is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
            with database.reading() as connection:
                command = Visible(connection, shell_owner()).command(command.id)
    if as_json:
        print_json(command)
    elif command.done_at is not None:
        typer.echo(f"{found.owner}/{found.name}: {command.result or 'done'}.")
    elif command.acknowledged_at is not None:
        typer.echo(f"{found.owner}/{found.name}: acknowledged: {SENTENCES[kind]}.")
    else:
        typer.echo(f"{found.owner}/{found.name}: asked to {SENTENCES[kind]}. See how far it is: ctp status")
    if wait_s > 0 and command.done_at is None:
        raise StateConflict(f"not done within {wait_s:g} s; a bot that is down obeys when it starts (ctp doctor)")

"""`ctp promote` and `ctp revert`: other parameters for an account, with what speaks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctp.cli.accounts import AccountOption
from ctp.cli.opened import now_ms, opened_database, shell_owner
from ctp.cli.output import Json, print_json
from ctp.errors import InputError

if TYPE_CHECKING:
    from ctp.accounts.promotion import Proposal
    from ctp.accounts.visible import AccountView, ParameterVersion

Override = Annotated[str, typer.Option(help="Why a live account may take them without a green verdict; logged.")]
Reason = Annotated[str, typer.Option(help="Why, for those who read the history.")]


def promote(
    account: AccountOption,
    to: Annotated[str, typer.Option(help="paper or live: the account's own mode, said aloud.")],
    file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="What `ctp validate --json` or `ctp backtest --json` printed.")
    ] = None,
    other: Annotated[
        str | None, typer.Option("--from-account", help="An account whose parameters are taken: paper to live, or itself again.")
    ] = None,
    override: Override = "",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Make validated parameters those of an account, pinned to the sources that decide, the data and the verdict.

    Red may go to paper only; a live account needs green, or an override that says why. `--from-account` with the account
    itself accepts its parameters for the sources of now, after an upgrade that decides differently.
    """
    from ctp.accounts.promotion import promote as promote_account
    from ctp.accounts.promotion import proposal_of
    from ctp.accounts.visible import Visible

    if (file is None) == (other is None):
        raise InputError("--from", None, "name either a file or, with --from-account, an account")
    with opened_database() as database, database.transaction() as connection:
        visible = Visible(connection, shell_owner())
        found = visible.find_account(account)
        before = visible.parameter_versions(found.id, limit=1)
        proposal = _read(file) if file is not None else proposal_of(visible, visible.find_account(str(other)).id)
        made = promote_account(
            connection, shell_owner(), found.id, proposal, to, now_ms(), reason=reason, override=override
        )
    _print(found, before[0] if before else None, made, as_json)


def revert(
    account: AccountOption,
    version: Annotated[int, typer.Option(help="Which version comes back; `ctp parameters` lists them.")],
    override: Override = "",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Go back to earlier parameters; they become the newest version, and the door to live holds for them too."""
    from ctp.accounts.trading_accounts import revert_parameters
    from ctp.accounts.visible import Visible

    with opened_database() as database, database.transaction() as connection:
        visible = Visible(connection, shell_owner())
        found = visible.find_account(account)
        before = visible.parameter_versions(found.id, limit=1)
        made = revert_parameters(
            connection, shell_owner(), found.id, version, now_ms(), reason=reason, override=override
        )
    _print(found, before[0] if before else None, made, as_json)


def parameters(
    account: AccountOption,
    last: Annotated[int, typer.Option(help="How many versions, the newest first.")] = 10,
    language: Annotated[str, typer.Option(help="ko or en.")] = "en",
    as_json: Json = False,
) -> None:
    """Show the history of an account's parameters: who changed what, when, why, and on what grounds."""
    from ctp.accounts.parameter_history import read_history
    from ctp.accounts.visible import Visible
    from ctp.i18n import LANGUAGES
    from ctp.market.validation import iso

    if language not in LANGUAGES:
        raise InputError("--language", language, "must be one of " + ", ".join(LANGUAGES))
    if last < 1:
        raise InputError("--last", last, "must be at least 1")
    with opened_database() as database, database.reading() as connection:
        visible = Visible(connection, shell_owner())
        found = visible.find_account(account)
        history = read_history(visible, found.id, limit=last)
    if as_json:
        print_json([one.to_plain(language) for one in history])
        return
    if not history:
        typer.echo(f"{found.owner}/{found.name} trades with the defaults; nobody has changed them.")
    for one in history:
        typer.echo(f"version {one.version}{' (in use)' if one.in_use else ''}, {iso(one.created_at)}, {one.author}: {one.reason}")
        typer.echo(f"  {one.grounds(language)}")
        for line in one.difference(language):
            typer.echo(f"  {line}")


def _read(file: Path) -> Proposal:
    """Return what a validation or a backtest, printed as JSON, proposes."""
    from ctp.accounts.promotion import read_proposal

    try:
        plain = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("--from", str(file), f"cannot be read: {error}") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("promotion"), dict):
        raise InputError("--from", str(file), "holds no parameters; make it with ctp validate --json or ctp backtest --json")
    found: dict[str, Any] = plain["promotion"]
    return read_proposal(found)


def _print(account: AccountView, before: ParameterVersion | None, made: ParameterVersion, as_json: bool) -> None:
    """Print what became of a change."""
    from ctp.accounts.parameter_history import difference_in_words

    lines = difference_in_words(before, made, "en")
    if as_json:
        print_json({"account": account.name, "id": account.id, "mode": account.mode, **made._asdict(), "difference": lines})
        return
    mode = "LIVE" if account.mode == "live" else "SIMULATED"
    grounds = f"verdict {made.verdict}" if made.verdict else "no verdict"
    name = f"{account.owner}/{account.name} ({mode})"
    typer.echo(f"{name} trades with version {made.version} from its next decision on; {grounds}.")
    for line in lines:
        typer.echo(f"  {line}")

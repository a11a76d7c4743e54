"""`ctp why`: the decision journal in words."""

from __future__ import annotations

from typing import Annotated

import typer

from ctp.cli.accounts import AccountOption
from ctp.cli.opened import opened_database, shell_owner
from ctp.cli.output import Json, print_json, print_table
from ctp.errors import InputError


def why(
    account: AccountOption,
    symbol: Annotated[str | None, typer.Option(help="One symbol instead of all of them.")] = None,
    last: Annotated[int, typer.Option(help="How many decisions, the newest first.")] = 10,
    language: Annotated[str, typer.Option(help="ko or en.")] = "en",
    as_json: Json = False,
) -> None:
    """Say why an account did or did not trade: the rule and its numbers, one record for each closed candle."""
    from ctp.accounts.code_words import read_code_state
    from ctp.accounts.visible import Visible
    from ctp.i18n import LANGUAGES
    from ctp.market.validation import iso
    from ctp.trading.why import why as words

    if language not in LANGUAGES:
        raise InputError("--language", language, "must be one of " + ", ".join(LANGUAGES))
    if last < 1:
        raise InputError("--last", last, "must be at least 1")
    with opened_database() as database, database.reading() as connection:
        visible = Visible(connection, shell_owner())
        found = visible.find_account(account)
        if symbol is not None and symbol not in found.symbols:
            raise InputError("--symbol", symbol, f"{found.name} trades {', '.join(found.symbols)}")
        decisions = visible.decisions(found.id, symbol=symbol, limit=last)
        code = read_code_state(visible, found.id)
    told = [words(one.outcome, one.reason, one.numbers, language, found.quote, one.strategy) for one in decisions]
    if as_json:
        print_json([{**one._asdict(), "words": sentence} for one, sentence in zip(decisions, told, strict=True)])
        return
    if code.hold:
        for line in (code.words(language), *code.differences(language)):
            typer.echo(line)
    print_table(
        "",
        ("candle", "symbol", "why"),
        [(iso(one.candle_time), one.symbol, sentence) for one, sentence in zip(decisions, told, strict=True)],
        empty=f"{found.owner}/{found.name} has not decided on any candle yet; start it: ctp start --account {found.name}",
    )

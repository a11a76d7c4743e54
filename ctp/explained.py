"""What an error means to a person, in their language. Errors themselves are English, for logs and the command line.

Invariants:
1. Every refusal that can reach a page or a chat has its sentence here; a test reads the rooms' sources for those that do not.
2. What a person typed comes back as text, shortened; a secret never does.
"""

from __future__ import annotations

import re

from ctp.errors import CtpError, InputError
from ctp.i18n import has_text, text

_MOST_SHOWN = 60
_HIDDEN = ("", "…", "***")
_INPUT = re.compile(r"(\w+) = (.{1,200}?): (.+)", re.DOTALL)  # an InputError's own words

# A bound, or the whole message of a refusal -> its text in the table `input.bound`; named groups are the text's facts.
# `value` and `field` are given too. The first that matches counts.
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), key)
    for pattern, key in (
        # --- values
        (r"must be one of (?P<choices>.+)", "one_of"),
        (r"must be (?P<first>[a-z]+) or (?P<second>[a-z]+)", "one_of_two"),
        (r"must be a whole number from (?P<low>\S+) to (?P<high>\S+), or 0 for off", "whole_from_to_or_off"),
        (r"must be a whole number from (?P<low>\S+) to (?P<high>\S+)", "whole_from_to"),
        (r"must be a whole number of at least (?P<low>\S+)", "whole_at_least"),
        (r"must be a number strictly between (?P<low>\S+) and (?P<high>\S+), or 0 for off", "strictly_between_or_off"),
        (r"must be a number strictly between (?P<low>\S+) and (?P<high>\S+)", "strictly_between"),
        (r"must be a number from (?P<low>\S+) to (?P<high>\S+), or 0 for off", "number_from_to_or_off"),
        (r"must be a number from (?P<low>\S+) to (?P<high>\S+)", "number_from_to"),
        (r"must be a number of at least (?P<low>\S+)", "at_least"),
        (r"must be (?P<low>[\d.]+) or more", "at_least"),
        (r"must be at least (?P<low>\S+)", "at_least"),
        (r"must be (?:a number )?above (?P<low>\S+)", "above"),
        (r"must be a whole number", "whole"),
        (r"must be a number", "number"),
        (r"must be up to (?P<most>\d+) numbers", "up_to_numbers"),
        (r"must be 1 … 28, the days that each month has", "day_of_month"),
        (r"must be (?P<low>[\d.]+) to (?P<high>[\d.]+) minutes after midnight", "minutes_of_day"),
        (r"must be (?P<low>[\d.]+) to (?P<high>[\d.]+)", "number_from_to"),
        (r"must be HH:MM, from 00:00 to 23:59", "time_of_day"),
        (r"must be a fraction from 0 to below 0\.1 \(.+\)", "small_fraction"),
        (r"must be a whole number or 1 ÷ a whole number, like 0\.1 or 0\.05", "whole_or_part"),
        (r"must start at 0 and ascend", "ascending"),
        (r"must be below overbought = (?P<high>\S+)", "below_overbought"),
        (r"must be below 1 when shorting: a price cannot fall further", "below_one_short"),
        (r"must be (?P<only>1|long) on a spot market", "only_on_spot"),
        (r"must not be empty", "not_empty"),
        (r"must differ from quiet_from", "quiet_same"),
        (r"quiet hours need a beginning and an end", "quiet_half"),
        (r"must be a time zone such as Asia/Seoul", "zone"),
        (r"must be a day such as 2026-05-01", "day"),
        (r"must be a period and a number", "unreadable"),
        (r"must be an e-mail address such as name@example\.com", "email"),
        (r"(?:must (?:have|be) )?(?P<low>\d+) to (?P<high>\d+) (?:letters and digits|characters)", "length"),
        (r"unknown; \w+ has (?P<choices>.+)", "unknown_field"),
        # --- people and passwords
        (r"must be 2 to 64 letters, digits, dots, dashes or underscores", "user_name"),
        (r"there is a user of this name already", "user_name_taken"),
        (r"must have at least (?P<count>\d+) characters", "too_short"),
        (r"must have at most (?P<count>\d+) characters", "too_long"),
        (r"is too easy to guess: choose one that others do not use, without your name", "guessable"),
        (r"this is the last administrator; make another one first", "last_administrator"),
        (r"(?P<name>.+) is this very session's; let another administrator do it", "own_user"),
        # --- accounts
        (r"(?P<owner>.+) has an account of this name already", "account_name_taken"),
        (r"must be 1 to 64 characters without / and not just a number", "account_name"),
        (r"owns this account", "owns_account"),
        (r"say in a few words why, for those who read the history", "say_why"),
        (r"name at least one symbol, each once", "symbols_once"),
        (r"must look like BTC/USDT, or BTC/USDT:USDT for a perpetual", "symbol_form"),
        (r"(?P<exchange>\S+) trades symbols such as (?P<example>\S+)", "symbols_of_exchange"),
        (r"(?P<exchange>\S+) does not list it", "not_listed"),
        (r"is not listed on (?P<exchange>\S+)", "not_listed"),
        (r"an account trades spot or perpetuals, all in one quote currency", "one_market"),
        (r"(?P<account>.+) trades (?P<symbols>\S.*)", "trades_symbols"),
        (r"(?P<command>\S+) does not take them", "no_arguments"),
        (r"several have this name; say which: (?P<names>.+)", "several_accounts"),
        (r"account (?P<account>.+) is closed", "account_closed"),
        (r"(?P<owner>.+) is (?P<role>\w+) and cannot own a trading account", "cannot_own"),
        (r"(?P<name>.+) may make accounts for themselves only", "own_accounts_only"),
        (r"(?P<name>.+) is \w+: operators see health figures, not accounts", "operators_see_no_accounts"),
        # --- parameters and the door to live
        (r"the live account .+: their verdict is red, .+", "live_red"),
        (r"the live account .+: their verdict is amber: .+", "live_amber"),
        (r"the live account .+: nobody has validated them: .+", "live_needs_verdict"),
        (r"the live account .+ does not (?:take these|start with its) parameters: (?P<reason>.+)", "live_refused"),
        (r"the green verdict is about (?P<market>.+); validate on what .+", "verdict_elsewhere"),
        (r"these parameters were found with other sources .+", "other_sources"),
        (r"account (?P<account>\S+) is (?P<mode>\w+), and its mode never changes", "mode_never_changes"),
        (r"there is no (?P<mode>\w+) account to promote to; .+", "no_account_of_mode"),
        (r"say which of your (?P<mode>\w+) accounts: (?P<names>.+)", "several_accounts"),
        (r"was typed into a notebook: put it into a file of its own first", "strategy_in_notebook"),
        (r"must be a registry name", "registry_name"),
        (r"must be a list of at most (?P<most>\d+)", "list_of"),
        (r"must be 1 to (?P<most>\d+) symbols", "list_of"),
        (r"must be at most (?P<count>\d+) characters", "too_long"),
        (r"must be an object", "unreadable"),
        (r"must be milliseconds", "unreadable"),
        (r"must be 64 hexadecimal digits", "unreadable"),
        (r"unknown; a promotion has (?P<choices>.+)", "unknown_field"),
        (r"request_key .+ was used for another command", "request_key_used"),
        (r"this (?:exchange )?key may withdraw money; .+", "key_may_withdraw"),
        (r"a pair protects a long spot position with two trigger prices", "pair_on_spot"),
        (r"(?P<count>\d+) people use this installation, and JupyterLab runs as the user of the services: .+", "lab_not_apart"),
        # --- what the bot answers to a command
        (r"there is no (?P<quote>\S+) to trade with: the balance is (?P<balance>\S+)", "no_balance"),
        (r"(?P<symbol>\S+): the exchange knows whole leverages only, not (?P<leverage>\S+)", "whole_leverage"),
        (r"the account is in hedge mode; switch it to one-way mode at the exchange", "hedge_mode"),
        (
            r"(?P<symbol>\S+): asked for isolated (?P<wanted>\S+)x, the exchange has (?P<margin>\S+) (?P<leverage>\S+)x",
            "other_leverage",
        ),
        # --- rights, codes, reports
        (r"(?P<name>.+) \((?P<role>\w+)\) may not: .+", "role_may_not"),
        (r"(?P<count>\d+) codes were mailed within an hour; try again later", "too_many_codes"),
        (r"(?P<count>\d+) test messages were sent within an hour; try again later", "too_many_tests"),
        (r"(?P<channel>\w+): there is no confirmed address", "no_address"),
        (r"this chat may not command any more", "chat_disconnected"),
        (r"at most (?P<count>\d+) reports are made for a person in an hour; try again later", "too_many_reports"),
        (r"account (?P<account>.+) has never started: there is nothing to report", "nothing_to_report"),
        (r"the \w+ period from (?P<first>\S+) to (?P<last>\S+) has not ended yet", "period_not_ended"),
    )
)


def explained(error: CtpError, language: str) -> str:
    """Return what an error says, in a person's language; what nobody has translated stays as it is."""
    message = error.bound if isinstance(error, InputError) else str(error)
    for pattern, key in _WORDS:
        found = pattern.fullmatch(message)
        if found is not None:
            facts = {name: _fact(name, said, language) for name, said in found.groupdict().items()}
            message = text(f"input.bound.{key}", language, **facts)
            break
    if not isinstance(error, InputError):
        return message
    field = field_name(error.field, language)
    value = " ".join(str(error.value).split())
    shown = value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…"
    if shown in _HIDDEN:
        return text("input.without_value", language, field=field, bound=message)
    return text("input.with_value", language, field=field, value=shown, bound=message)


def retold(message: str, language: str) -> str:
    """Return in a person's language what an error said when it was written down as text."""
    found = _INPUT.fullmatch(message)
    if found is not None and key_of(found[3]) is not None:
        return explained(InputError(found[1], found[2].strip("'"), found[3]), language)
    return explained(CtpError(message), language)


def key_of(message: str) -> str | None:
    """Return the key of a bound's or refusal's sentence; None when nobody has translated it."""
    return next((key for pattern, key in _WORDS if pattern.fullmatch(message)), None)


def field_name(field: str, language: str) -> str:
    """Return what people call a field."""
    key = f"input.field.{field.rpartition('.')[2]}"
    return text(key, language) if has_text(key) else field


def _fact(name: str, said: str, language: str) -> str:
    """Return a fact of a sentence; modes, roles and channels have names of their own in each language."""
    tables = {"mode": "mode", "role": "role", "channel": "web.channel"}
    key = f"{tables.get(name, '')}.{said}"
    return text(key, language) if name in tables and has_text(key) else said

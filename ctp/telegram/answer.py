"""What is answered: lines, buttons, a picture; and the lines that several answers share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ctp import i18n
from ctp.accounts.readings import Reading
from ctp.accounts.visible import AccountView
from ctp.i18n import text
from ctp.notifiers.telegram_api import Button, Keyboard
from ctp.notifiers.telegram_text import Line, bold
from ctp.notifiers.watchdog import SILENT_AFTER_MS
from ctp.storage.leases import read_heartbeats
from ctp.telegram.person import Question

_DATA_BYTES = 64
_MOST_BUTTONS = 40


class Answer(NamedTuple):
    """One answer, not yet formatted."""

    lines: tuple[Line, ...]
    keyboard: Keyboard = ()
    picture: str = ""  # file name below the folder of reports


def words(*said: str) -> Answer:
    """Return an answer of plain lines."""
    return Answer(tuple(Line(one) for one in said))


def money(amount: float, reading: Reading, question: Question, *, signed: bool = False) -> str:
    """Return an amount in an account's quote currency."""
    return i18n.money(amount, reading.account.quote, question.person.language, signed=signed)


def title(question: Question, account: AccountView) -> str:
    """Return an account's name with its mode, and with its owner where that is somebody else."""
    mode = text(f"mode.{account.mode}", question.person.language)
    name = account.name if account.relation == "owner" else f"{account.owner}/{account.name}"
    return f"[{mode}] {name}"


def head(question: Question, reading: Reading, what: str = "") -> list[Line]:
    """Return the first lines of an answer about an account: which it is, and whether the bot keeps its figures fresh."""
    status = text(f"status.{reading.status}", question.person.language)
    first = bold(f"{title(question, reading.account)} · {what or status}")
    trouble = bot_trouble(question)
    return [first, Line(trouble)] if trouble else [first]


def bot_trouble(question: Question) -> str:
    """Return what is wrong with the trading bot; empty when it answers."""
    silent_ms = silence(question)
    if silent_ms is None:
        return question.say("bot_never")
    if silent_ms > SILENT_AFTER_MS:
        return question.say("bot_silent", age=i18n.duration(silent_ms, question.person.language))
    return ""


def wait_for_bot(question: Question) -> str:
    """Say that a command will wait for the trading bot; empty when it answers."""
    silent_ms = silence(question)
    if silent_ms is None:
        return question.say("step.never")
    if silent_ms > SILENT_AFTER_MS:
        return question.say("step.silent", age=i18n.duration(silent_ms, question.person.language))
    return ""


def silence(question: Question) -> int | None:
    """Return how long ago the trading bot was last heard of; None when it never was."""
    beat = read_heartbeats(question.connection).get("bot")
    return None if beat is None else question.now_ms - beat.at


def moment(question: Question, time_ms: int, form: str = "%m-%d %H:%M") -> str:
    """Return a time in the person's zone. form: of `strftime`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(ZoneInfo(question.person.zone)).strftime(form)


def choose_account(question: Question, accounts: Sequence[AccountView], name: str, rest: str, said: str) -> Answer:
    """Ask which account is meant, with a button for each."""
    return Answer((Line(said),), account_buttons(question, accounts, name, rest))


def account_buttons(question: Question, accounts: Iterable[AccountView], name: str, rest: str) -> Keyboard:
    """Return a button for each account that asks the same of it."""
    rows = []
    for account in list(accounts)[:_MOST_BUTTONS]:
        data = f"a:{name}:{account.id}:{question.person.sender}:"
        fits = rest if len((data + rest).encode()) <= _DATA_BYTES else ""
        rows.append([Button(title(question, account), data + fits)])
    return rows


def symbol_buttons(question: Question, account: AccountView, symbols: Iterable[str]) -> Keyboard:
    """Return a button for each symbol whose position may be closed."""
    rows = []
    for symbol in symbols:
        data = f"s:{account.id}:{question.person.sender}:{symbol}"
        if len(data.encode()) <= _DATA_BYTES:
            rows.append([Button(i18n.symbol_name(symbol, question.person.language), data)])
    return rows

"""Commands to the trading bot: which are asked for at once, which need a confirmation, and the asking itself.

Invariants:
1. A command is asked for by `ctp.accounts.ask_command` under the update's own key: the same update twice is one command,
   and the right to it is checked in the transaction that asks.
2. Start of real money, closing positions and lifting a lock are confirmed first.
3. Whoever asked is told how it goes on, also after a restart: the row for that is written with the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ctp import i18n
from ctp.accounts.readings import read_account
from ctp.accounts.report_requests import ask_report
from ctp.accounts.trading_accounts import CommandRight, account_to_command, ask_command
from ctp.accounts.visible import AccountView
from ctp.i18n import text
from ctp.notifiers.telegram_api import Button
from ctp.notifiers.telegram_text import Line, bold
from ctp.notifiers.watchdog import SILENT_AFTER_MS
from ctp.storage.database import insert_or
from ctp.storage.leases import read_heartbeats
from ctp.storage.tables import commands, telegram_answers
from ctp.telegram.answer import Answer, symbol_buttons, title, wait_for_bot, words
from ctp.telegram.confirming import CONFIRM_MS, offer
from ctp.telegram.person import Question

CLOSE, KEEP, ALL, NOW = ("close", "청산"), ("keep", "유지"), ("all", "전체"), ("now", "지금")
KINDS = {"start": "start", "pause": "pause", "unlock": "unlock", "closeall": "close_all"}


def action_of(name: str) -> CommandRight:
    """Return the right that a command needs."""
    return "close_all" if name == "closeall" else "command"


def command(
    question: Question, name: str, account: AccountView, rest: str, message_id: int | None
) -> Answer | None:
    """Do what a command asks of an account: ask the bot, or ask back. None: the person will be told how it goes.

    message_id: the message whose button was pressed, which then shows how it goes; None: a new one.
    """
    if name == "forceexit":
        return _force_exit(question, account, rest)
    kind = KINDS.get(name, "stop_keep")
    if name == "stop" and rest.lower() in CLOSE:
        kind = "stop_close"
    if kind == "unlock" and not _is_locked(question, account):
        return words(question.say("locks.not_locked", account=title(question, account)))
    if kind in ("stop_close", "close_all", "unlock") or (kind == "start" and account.mode == "live"):
        return confirm(question, kind, account, {})
    ask(question, kind, account.id, {}, message_id)
    return None


def make_now(question: Question, account: AccountView) -> Answer:
    """Ask for the newest daily report; the notice about it is the answer."""
    ask_report(question.connection, question.person.actor, account.id, "daily", question.now_ms)
    said = [bold(title(question, account)), Line(question.say("report.asked"))]
    beat = read_heartbeats(question.connection).get("backup")
    if beat is None or question.now_ms - beat.at > SILENT_AFTER_MS:
        said.append(Line(question.say("report.silent")))
    return Answer(tuple(said))


def confirm(question: Question, kind: str, account: AccountView, arguments: dict[str, Any]) -> Answer:
    """Ask back, with a button that does it."""
    language = question.person.language
    word = text(f"command.{kind}", language)
    symbol = i18n.symbol_name(str(arguments.get("symbol", "")), language)
    said = [bold(f"{title(question, account)} · {word}"), Line(question.say(f"confirm.{kind}", symbol=symbol))]
    if kind in ("stop_close", "close_all") and account.relation != "none":
        names = ", ".join(i18n.symbol_name(one, language) for one in _held(question, account))
        said.append(Line(question.say("confirm.open", positions=names) if names else question.say("status.flat")))
    trouble = wait_for_bot(question)
    if trouble:
        said.append(Line(trouble))
    said.append(Line(question.say("confirm.seconds", seconds=CONFIRM_MS // 1000)))
    token = offer(question, kind, account.id, arguments)
    yes, no = question.say("confirm.yes", command=word), question.say("confirm.no")
    return Answer(tuple(said), ((Button(yes, f"y:{token}"),), (Button(no, f"n:{token}"),)))


def ask(question: Question, kind: str, account_id: int, arguments: dict[str, Any], message_id: int | None) -> None:
    """Ask the bot, and note where to tell how it goes."""
    connection, person, is_again = question.connection, question.person, was_asked(question)
    asked = ask_command(
        connection,
        person.actor,
        account_id,
        kind,
        question.now_ms,
        request_key=question.request_key,
        arguments=arguments,
    )
    if is_again and asked.done_at is not None:
        return  # everything was told the first time
    connection.execute(
        insert_or(connection, telegram_answers)
        .values(
            command_id=asked.id,
            user_id=person.user_id,
            chat=person.chat,
            message_id=message_id,
            shown="",
            created_at=question.now_ms,
        )
        .on_conflict_do_nothing(index_elements=[telegram_answers.c.command_id])
    )


def was_asked(question: Question) -> bool:
    """Tell whether this very update has asked for a command before."""
    query = sa.select(commands.c.id).where(commands.c.request_key == question.request_key)
    return question.connection.execute(query).first() is not None


def account_meant(question: Question, name: str, account_id: int) -> AccountView:
    """Return an account for a command. Raises NotFound, NotAllowed."""
    return account_to_command(question.connection, question.person.actor, account_id, action_of(name))


def find_symbol(account: AccountView, written: str) -> str | None:
    """Return the symbol of an account that somebody means: whole, without what it settles in, or its coin alone."""
    wanted = written.casefold()
    for forms in (lambda one: (one,), lambda one: (one.partition(":")[0], one.partition("/")[0])):
        found = [one for one in account.symbols if wanted in [form.casefold() for form in forms(one)]]
        if len(found) == 1:
            return found[0]
    return None


def _force_exit(question: Question, account: AccountView, rest: str) -> Answer:
    """Close one position, or ask which."""
    if rest.lower() in ALL:
        return confirm(question, "close_all", account, {})
    held, name = _held(question, account), title(question, account)
    if rest:
        symbol = find_symbol(account, rest)
        if symbol is None:
            return words(question.say("no_such_symbol", account=title(question, account), symbol=rest))
        if symbol in held:
            return confirm(question, "exit_symbol", account, {"symbol": symbol})
        return words(question.say("nothing_open", account=name))
    if not held:
        return words(question.say("nothing_open", account=name))
    asked_back = Line(question.say("which_symbol", account=name))
    return Answer((asked_back,), symbol_buttons(question, account, held))


def _is_locked(question: Question, account: AccountView) -> bool:
    """Tell whether there is a lock to lift."""
    state = question.visible.state(account.id)
    return state is not None and state.drawdown_locked


def _held(question: Question, account: AccountView) -> Sequence[str]:
    """Return the symbols with an open position, as far as the person may see them."""
    return [one["symbol"] for one in read_account(question.visible, account.id).positions]

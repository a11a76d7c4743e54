"""What follows from what a person does in a chat. Works on the database and returns what is to be said; sends nothing.

Invariants:
1. Strangers get one constant answer, seldom; it is the same for a wrong code, a removed contact and a disabled user.
2. Answers go to the chat that the person has connected, and to no other.
3. Every command of a known person is in the audit log, whether it was obeyed or not.
4. What was asked long ago, while nobody listened, is not done any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from ctp import i18n
from ctp.accounts.audit import record
from ctp.accounts.readings import read_account
from ctp.accounts.trading_accounts import accounts_to_command
from ctp.accounts.users import set_preferences
from ctp.accounts.visible import AccountView
from ctp.clock import Clock
from ctp.errors import InputError, NotAllowed, NotFound, StateConflict
from ctp.explained import explained, key_of
from ctp.i18n import LANGUAGES, text
from ctp.notifiers.contacts import claim_by_code, move_address, unblock_contact
from ctp.notifiers.telegram_api import Button, Heard, Keyboard, Me
from ctp.notifiers.telegram_text import Line, Rendered, bold, render
from ctp.storage.database import Database
from ctp.telegram.allowance import Allowance
from ctp.telegram.answer import Answer, account_buttons, choose_account, title, words
from ctp.telegram.catalogue import COMMANDING, NAMES, READING, Asked, commands_of, menu, read_command
from ctp.telegram.commanding import (
    ALL,
    CLOSE,
    KEEP,
    NOW,
    account_meant,
    action_of,
    ask,
    command,
    find_symbol,
    make_now,
    was_asked,
)
from ctp.telegram.confirming import CONFIRM_MS, look_up, use
from ctp.telegram.health import health
from ctp.telegram.person import CHANNEL, Person, Question, find_person
from ctp.telegram.reading import READERS, overview

TOO_LATE_MS = 300_000
MINUTE_MS = 60_000
MESSAGES_A_MINUTE = 30
CODES_A_MINUTE = 5
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 -]{6,10}[A-Za-z0-9]")
# What stands in the data of a button, by its first letter; a: choose an account, s: a symbol, l: a language.
_FIELDS = {"a": ("name", "account", "sender", "rest"), "s": ("account", "sender", "rest"), "l": ("sender", "rest")}
_COUNT = re.compile(r"(?:^| )([0-9]{1,4})$|^([0-9]{1,4}) ")


class Reply(NamedTuple):
    """Something to say in a chat."""

    chat: str
    text: Rendered
    keyboard: Keyboard = ()
    edits: int = 0  # the message to change; 0: a new one
    picture: str = ""
    press_id: str = ""  # the button to answer; with `alert`, in these words instead of a message
    alert: str = ""


class Heeded(NamedTuple):
    """What to say, and whether the trading bot was asked for something."""

    replies: tuple[Reply, ...] = ()
    has_asked: bool = False


class Conversation:
    """Talks with everybody. Remembers nothing between messages but how often somebody was answered."""

    def __init__(self, database: Database, clock: Clock, home: Path, me: Me) -> None:
        """Speak as this bot."""
        self._database, self._clock, self._home, self._me = database, clock, home, me
        self._strangers, self._codes = Allowance(1, MINUTE_MS), Allowance(CODES_A_MINUTE, MINUTE_MS)
        self._messages, self._warned = Allowance(MESSAGES_A_MINUTE, MINUTE_MS), Allowance(1, MINUTE_MS)

    def hear(self, heard: Heard) -> Heeded:
        """Do what follows from one update."""
        now_ms = self._clock.now_ms()
        if heard.moved_to:
            with self._database.transaction() as connection:
                move_address(connection, CHANNEL, heard.chat, heard.moved_to, now_ms)
            return Heeded()
        if not heard.sender:
            return Heeded()
        asked = None if heard.press_id else read_command(heard.text, self._me.username)
        if not heard.press_id and asked is None and not heard.is_private:
            return Heeded()  # people talking with each other
        with self._database.reading() as connection:
            person = find_person(connection, heard.sender)
        if person is None or person.chat != heard.chat:
            return self._from_elsewhere(heard, asked, person, now_ms)
        if not self._messages.take(heard.sender, now_ms):
            is_new = self._warned.take(heard.sender, now_ms)
            return self._only(heard, text("telegram.too_fast", person.language)) if is_new else Heeded()
        if person.must_change_password:
            return self._only(heard, text("telegram.must_change_password", person.language))
        if asked is not None and asked.name == "start" and self._is_code(person, asked.rest):
            paired = self._pair(heard, asked.rest, now_ms)
            if paired is not None:
                return paired
        try:
            return self._known(heard, asked, person, now_ms)
        except (NotFound, NotAllowed, InputError, StateConflict) as error:
            if not isinstance(error, InputError) and key_of(str(error)) in (None, "role_may_not"):
                return self._only(heard, text("telegram.may_not", person.language))
            reason = explained(error, person.language)
            return self._only(heard, text("telegram.failed", person.language, reason=reason))

    # --- people we do not know, or not here ------------------------------------------------------------------------

    def _from_elsewhere(self, heard: Heard, asked: Asked | None, person: Person | None, now_ms: int) -> Heeded:
        """Pair who sends a code; answer everybody else with the same words, seldom, and not in groups."""
        if asked is not None and asked.name == "start" and asked.rest and self._codes.take(heard.sender, now_ms):
            paired = self._pair(heard, asked.rest, now_ms)
            if paired is not None:
                return paired
        if heard.press_id:
            return Heeded((Reply(heard.chat, Rendered("", ""), press_id=heard.press_id),))
        if not heard.is_private or not self._strangers.take(heard.sender, now_ms):
            return Heeded()
        if person is not None:
            return self._only(heard, text("telegram.elsewhere", person.language))
        said = [Line(text("telegram.stranger", language)) for language in LANGUAGES]
        return Heeded((Reply(heard.chat, render(said)),))

    def _pair(self, heard: Heard, code: str, now_ms: int) -> Heeded | None:
        """Connect a chat by its one-time code; None when the code is wrong."""
        with self._database.transaction() as connection:
            if claim_by_code(connection, CHANNEL, code, heard.chat, heard.sender, now_ms) is None:
                return None
            person = find_person(connection, heard.sender)
        assert person is not None
        return self._only(heard, text("telegram.connected", person.language, name=person.actor.name))

    def _is_code(self, person: Person, rest: str) -> bool:
        """Tell whether what follows /start is a code rather than the name of an account."""
        if not _CODE.fullmatch(rest):
            return False
        with self._database.reading() as connection:
            question = Question(connection, person, 0, "")
            return not _named(question.visible.accounts(), rest)

    # --- people we know --------------------------------------------------------------------------------------------

    def _known(self, heard: Heard, asked: Asked | None, person: Person, now_ms: int) -> Heeded:
        """Answer a person in their own chat."""
        if heard.press_id:
            return self._pressed(heard, person, now_ms)
        if asked is None or asked.name not in NAMES:
            return self._only(heard, text("telegram.unknown", person.language))
        if asked.name not in commands_of(person.actor):
            self._record(person, heard, asked.name, None, now_ms, refused=True)
            return self._only(heard, text("telegram.may_not", person.language))
        if asked.name in COMMANDING and now_ms - heard.at > TOO_LATE_MS:
            age = i18n.duration(now_ms - heard.at, person.language)
            self._record(person, heard, asked.name, None, now_ms, refused=True)
            return self._only(heard, text("telegram.too_late", person.language, age=age))
        if asked.name == "lang":
            return self._language(heard, person, asked.rest.lower(), now_ms)
        if asked.name in ("health", "help"):
            self._record(person, heard, asked.name, None, now_ms)
            with self._database.reading() as connection:
                question = self._question(connection, person, heard, now_ms)
                return _reply(heard, health(question, self._home) if asked.name == "health" else _help(question))
        return self._about_account(heard, person, asked, None, now_ms)

    def _about_account(
        self, heard: Heard, person: Person, asked: Asked, account_id: int | None, now_ms: int
    ) -> Heeded:
        """Answer a question about an account, or pass a command on; ask which account when that is not clear."""
        name = asked.name
        with self._database.reading() as connection:
            question = self._question(connection, person, heard, now_ms)
            accounts = _accounts(question, name)
            if not accounts:
                answer: Answer | None = words(question.say("no_account"))
                chosen, rest, count = None, "", None
            elif account_id is not None:
                chosen = next((one for one in accounts if one.id == account_id), None)
                if chosen is None:
                    chosen = _unseen(question, name, account_id)
                rest, count = _split_count(name, asked.rest)
                answer = None
            else:
                chosen, rest, count, answer = _choose(question, accounts, name, asked.rest)
            is_wanted_now = chosen is not None and name == "report" and rest.lower() in NOW
            if chosen is not None and name in READING and not is_wanted_now:
                symbol = find_symbol(chosen, rest) if rest else None
                if rest and symbol is None:
                    answer = words(question.say("no_such_symbol", account=title(question, chosen), symbol=rest))
                else:
                    answer = READERS[name](question, read_account(question.visible, chosen.id), symbol, count)
                if account_id is not None and len(accounts) > 1:
                    answer = answer._replace(keyboard=account_buttons(question, accounts, name, asked.rest))
        self._record(person, heard, name, chosen, now_ms)
        if answer is not None or chosen is None:
            return _reply(heard, answer or words())
        with self._database.transaction() as connection:
            question = self._question(connection, self._still(connection, person), heard, now_ms)
            if is_wanted_now:
                return _reply(heard, make_now(question, question.visible.account(chosen.id)))
            meant = account_meant(question, name, chosen.id)
            answer = command(question, name, meant, rest, heard.message_id if heard.press_id else None)
        if answer is None:
            return Heeded(self._quiet(heard), True)
        return _reply(heard, answer)

    def _pressed(self, heard: Heard, person: Person, now_ms: int) -> Heeded:
        """Do what a button stands for."""
        kind, _, data = heard.data.partition(":")
        if kind in ("y", "n"):
            return self._confirmed(heard, person, data, kind == "y", now_ms)
        fields = _FIELDS.get(kind, ("sender",))
        given = dict(zip(fields, data.split(":", len(fields) - 1), strict=False))
        name = given.get("name") or {"s": "forceexit", "l": "lang"}.get(kind, "")
        account_id, sender, rest = (given.get(field, "") for field in ("account", "sender", "rest"))
        if sender != heard.sender:
            return self._alert(heard, text("telegram.not_yours", person.language))
        if name == "lang":
            return self._language(heard, person, rest, now_ms)
        if name not in commands_of(person.actor) or not account_id.isdecimal() or len(account_id) > 18:
            return self._alert(heard, text("telegram.may_not", person.language))
        if name in COMMANDING and now_ms - heard.at > TOO_LATE_MS:
            age = i18n.duration(now_ms - heard.at, person.language)
            return self._alert(heard, text("telegram.too_late", person.language, age=age))
        return self._about_account(heard, person, Asked(name, rest), int(account_id), now_ms)

    def _confirmed(self, heard: Heard, person: Person, token: str, is_yes: bool, now_ms: int) -> Heeded:
        """Do what was confirmed, or say why not."""
        with self._database.transaction() as connection:
            question = self._question(connection, self._still(connection, person), heard, now_ms)
            meant, refusal = look_up(question, token), use(question, token)
            if meant is None or refusal == "foreign":
                return self._alert(heard, question.say("not_yours"))
            if refusal == "used" and is_yes and was_asked(question):
                refusal = None  # the same press, delivered once more
            if refusal == "used":
                return self._alert(heard, question.say("confirm.used"))
            subject = f"account:{meant.account_id}"
            outcome = refusal or ("confirmed" if is_yes else "cancelled")
            details = {"command": meant.kind, "outcome": outcome, "update": heard.update_id}
            record(connection, question.person.actor, "telegram.confirm", subject, now_ms, **details)
            if is_yes and refusal is None:
                ask(question, meant.kind, meant.account_id, meant.arguments, heard.message_id)
                return Heeded(self._quiet(heard), True)
            said = question.say(f"confirm.{refusal or 'cancelled'}", seconds=CONFIRM_MS // 1000)
        return _reply(heard, words(said))

    def _language(self, heard: Heard, person: Person, wanted: str, now_ms: int) -> Heeded:
        """Change the person's language, or ask which."""
        if wanted not in LANGUAGES:
            buttons = [[Button(name, f"l:{heard.sender}:{code}")] for code, name in (("ko", "한국어"), ("en", "English"))]
            asked_back = Line(text("telegram.language", person.language))
            return _reply(heard, Answer((asked_back,), buttons))
        with self._database.transaction() as connection:
            still = self._still(connection, person)
            set_preferences(connection, still.actor, language=wanted)
            record(connection, still.actor, "telegram.lang", f"user:{still.user_id}", now_ms, language=wanted)
        return _reply(heard, words(text("telegram.language_set", wanted)))

    # --- small things ----------------------------------------------------------------------------------------------

    def _question(self, connection: sa.Connection, person: Person, heard: Heard, now_ms: int) -> Question:
        """Return what a person asks, under the key of its update."""
        return Question(connection, person, now_ms, f"telegram:{self._me.id}:{heard.update_id}")

    def _still(self, connection: sa.Connection, person: Person) -> Person:
        """Return the person as they are in this transaction. Raises NotAllowed when they have just been shut out."""
        still = find_person(connection, person.sender)
        if still is None or still.chat != person.chat or still.must_change_password:
            raise NotAllowed("this chat may not command any more")
        return still

    def _record(
        self, person: Person, heard: Heard, name: str, account: AccountView | None, now_ms: int, **details: object
    ) -> None:
        """Write a command into the audit log; and take note that the chat is alive."""
        subject = f"user:{person.user_id}" if account is None else f"account:{account.id}"
        with self._database.transaction() as connection:
            record(connection, person.actor, f"telegram.{name}", subject, now_ms, update=heard.update_id, **details)
            unblock_contact(connection, person.user_id, CHANNEL, now_ms)

    def _only(self, heard: Heard, said: str) -> Heeded:
        """Say one thing: below a message, or in a box over the button that was pressed."""
        if heard.press_id:
            return self._alert(heard, said)
        return Heeded((Reply(heard.chat, render([Line(said)])),))

    def _alert(self, heard: Heard, said: str) -> Heeded:
        """Say something to whoever pressed a button, and to nobody else in the chat."""
        return Heeded((Reply(heard.chat, Rendered("", ""), press_id=heard.press_id, alert=said),))

    def _quiet(self, heard: Heard) -> tuple[Reply, ...]:
        """Return what a pressed button needs when its message will be changed by others."""
        return (Reply(heard.chat, Rendered("", ""), press_id=heard.press_id),) if heard.press_id else ()


def _reply(heard: Heard, answer: Answer) -> Heeded:
    """Return an answer as a new message, or in place of the one whose button was pressed."""
    edits = heard.message_id if heard.press_id and not answer.picture else 0
    text_ = render(answer.lines)
    return Heeded((Reply(heard.chat, text_, answer.keyboard, edits, answer.picture, heard.press_id),))


def _help(question: Question) -> Answer:
    """List the commands that this person has."""
    mine = commands_of(question.person.actor)
    said = [bold(question.say("help.title"))]
    said += [Line(f"/{name} – {about}") for name, about in menu(question.person.language) if name in mine]
    if len(question.visible.accounts()) > 1:
        said.append(Line(question.say("help.account")))
    return Answer(tuple(said))


def _accounts(question: Question, name: str) -> Sequence[AccountView]:
    """Return the accounts that a command can be about."""
    if name in READING:
        return question.visible.accounts()
    return accounts_to_command(question.connection, question.person.actor, action_of(name))


def _choose(
    question: Question, accounts: Sequence[AccountView], name: str, rest: str
) -> tuple[AccountView | None, str, int | None, Answer | None]:
    """Return the account that is meant with the rest of what was written; or what to ask back."""
    left, count = (rest, None) if _named(accounts, rest) else _split_count(name, rest)
    first, _, after = left.partition(" ")
    before, _, last = left.rpartition(" ")
    for named, other in ((left, ""), (after, first), (before, last)):
        found = _named(accounts, named) if named else []
        found = [one for one in found if not other or _takes(name, one, other)]
        if len(found) == 1:
            return found[0], other, count, None
        if found:
            return None, "", None, choose_account(question, found, name, other, question.say("which_account"))
    if len(accounts) == 1 and (not left or name in ("why", "forceexit") or _takes(name, accounts[0], left)):
        return accounts[0], left, count, None
    if not left and name == "status":
        said = overview(question, [read_account(question.visible, one.id) for one in accounts])
        return None, "", None, Answer(tuple(said), account_buttons(question, accounts, name, ""))
    if not left or any(_takes(name, one, left) for one in accounts):
        return None, "", None, choose_account(question, accounts, name, rest, question.say("which_account"))
    seen = _named(question.visible.accounts(), left)
    if seen:
        return None, "", None, words(question.say("not_allowed", account=title(question, seen[0])))
    return None, "", None, choose_account(question, accounts, name, "", question.say("no_such_account", name=left))


def _takes(name: str, account: AccountView, word: str) -> bool:
    """Tell whether a command about an account takes this word."""
    if name == "stop":
        return word.lower() in CLOSE + KEEP
    if (name == "forceexit" and word.lower() in ALL) or (name == "report" and word.lower() in NOW):
        return True
    return name in ("why", "forceexit") and find_symbol(account, word) is not None


def _named(accounts: Sequence[AccountView], written: str) -> list[AccountView]:
    """Return the accounts that somebody means by a name: `name` or `owner/name`; a number says how many, not which."""
    wanted = written.casefold()
    return [one for one in accounts if wanted in (one.name.casefold(), f"{one.owner}/{one.name}".casefold())]


def _split_count(name: str, rest: str) -> tuple[str, int | None]:
    """Take a number at the beginning or the end off, where a command takes one."""
    found = _COUNT.search(rest) if name in READING else None
    if found is None:
        return rest, None
    return (rest[: found.start()] + rest[found.end() :]).strip(), max(1, int(found[1] or found[2]))


def _unseen(question: Question, name: str, account_id: int) -> AccountView:
    """Return an account whose button was pressed after it went out of sight. Raises NotFound, NotAllowed."""
    return question.visible.account(account_id) if name in READING else account_meant(question, name, account_id)

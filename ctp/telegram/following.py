"""Tell people how far their commands have come: asked, taken up, flat or done, by changing one message.

Invariants:
1. What has to be told is in the database: a restart, or Telegram being away, delays it and loses nothing.
2. A chat that is not the person's any more is told nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp import i18n
from ctp.accounts.visible import CommandView, Visible
from ctp.clock import Clock
from ctp.errors import AddressRefused, DeliveryError, NotFound
from ctp.i18n import text
from ctp.logs import logger
from ctp.notifiers.telegram_api import BotApi
from ctp.notifiers.telegram_text import Line, Rendered, bold, render
from ctp.storage.database import Database
from ctp.storage.tables import accounts, telegram_answers
from ctp.telegram.answer import moment, title, wait_for_bot
from ctp.telegram.person import Question, person_in
from ctp.trading.results import problem_of

LOOK_S = 0.5
REST_S = 2.0  # when nothing is being followed
GIVE_UP_MS = 24 * 3_600_000
CLOSING = ("stop_close", "close_all", "exit_symbol")

log = logger(__name__)


class News(NamedTuple):
    """A message that has to be sent or changed."""

    command_id: int
    chat: str
    message_id: int | None
    stage: str  # asked, silent, acknowledged, done
    text: Rendered


class Follower:
    """Follows every command that was asked for by Telegram until its end has been told."""

    def __init__(self, database: Database, api: BotApi, clock: Clock) -> None:
        """Tell through this bot."""
        self._database, self._api, self._clock = database, api, clock
        self._asked = asyncio.Event()

    def look_now(self) -> None:
        """Look at once: a command has just been asked for."""
        self._asked.set()

    async def run(self) -> None:
        """Tell for ever; ends by cancellation."""
        while True:
            self._asked.clear()
            try:
                is_busy = await self.tell()
            except Exception:  # outermost loop: the next look tells what this one did not
                log.exception("commands_not_told")
                is_busy = False
            sleeper = asyncio.create_task(self._clock.sleep(LOOK_S if is_busy else REST_S))
            called = asyncio.create_task(self._asked.wait())
            try:
                await asyncio.wait((sleeper, called), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeper.cancel()
                called.cancel()

    async def tell(self) -> bool:
        """Tell what is new; returns whether anything is still being followed."""
        following, news = await asyncio.to_thread(self._news)
        for one in news:
            try:
                message_id = await self._say(one)
            except DeliveryError as error:
                log.warning("command_not_told", command_id=one.command_id, error=str(error))
                if isinstance(error, AddressRefused) or (error.permanent and one.message_id is None):
                    await asyncio.to_thread(self._forget, one.command_id)
                elif error.permanent:  # that message cannot be changed any more: a new one says it
                    await asyncio.to_thread(self._note, one._replace(stage=""), None)
                else:
                    await self._clock.sleep(min(error.retry_after_s or REST_S, 60.0))
            else:
                await asyncio.to_thread(self._note, one, message_id)
        return following

    async def _say(self, news: News) -> int:
        """Send or change a message; returns its id."""
        if news.message_id is None:
            return await self._api.send(news.chat, news.text)
        await self._api.edit(news.chat, news.message_id, news.text)
        return news.message_id

    def _news(self) -> tuple[bool, list[News]]:
        """Return whether anything is followed, and what has to be told now."""
        now_ms, found, gone = self._clock.now_ms(), [], []
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(telegram_answers).order_by(telegram_answers.c.command_id)).all()
            for row in rows:
                person = person_in(connection, row.user_id, row.chat)
                if person is None or now_ms - row.created_at > GIVE_UP_MS:
                    gone.append(row.command_id)
                    continue
                question = Question(connection, person, now_ms, "")
                try:
                    command = Visible(connection, person.actor).command(row.command_id)
                except NotFound:
                    gone.append(row.command_id)
                    continue
                stage = _stage(question, command)
                if stage != row.shown:
                    words = render(_words(question, command, stage))
                    found.append(News(row.command_id, row.chat, row.message_id, stage, words))
        for command_id in gone:
            self._forget(command_id)
        return bool(rows), found

    def _note(self, news: News, message_id: int | None) -> None:
        """Write down what was told; the end is followed no further."""
        if news.stage == "done":
            self._forget(news.command_id)
            return
        values: dict[str, Any] = {"message_id": message_id, "shown": news.stage}
        with self._database.transaction() as connection:
            this = telegram_answers.c.command_id == news.command_id
            connection.execute(sa.update(telegram_answers).where(this).values(**values))

    def _forget(self, command_id: int) -> None:
        """Follow a command no further."""
        with self._database.transaction() as connection:
            connection.execute(sa.delete(telegram_answers).where(telegram_answers.c.command_id == command_id))


def _stage(question: Question, command: CommandView) -> str:
    """Return how far a command has come."""
    if command.done_at is not None:
        return "done"
    if command.acknowledged_at is not None:
        return "acknowledged"
    return "silent" if wait_for_bot(question) else "asked"


def _words(question: Question, command: CommandView, stage: str) -> list[Line]:
    """Return what the message says."""
    language = question.person.language
    time = "%H:%M:%S"
    said = [
        bold(f"{_account(question, command.account_id)} · {_name(command, language)}"),
        Line(question.say("step.asked", time=moment(question, command.asked_at, time))),
    ]
    if stage == "asked":
        said.append(Line(question.say("step.waiting")))
    if stage == "silent":
        said.append(Line(wait_for_bot(question)))
    if command.acknowledged_at is not None:
        said.append(Line(question.say("step.acknowledged", time=moment(question, command.acknowledged_at, time))))
    if stage == "acknowledged":
        said.append(Line(question.say("step.closing" if command.kind in CLOSING else "step.working")))
    if command.done_at is not None:
        problem = problem_of(command.result, language)
        key = "step.flat" if command.kind in CLOSING else "step.done"
        done = question.say(key, time=moment(question, command.done_at, time))
        said.append(Line(done if problem is None else question.say("step.failed", problem=problem)))
        if problem is None and command.kind == "stop_keep":
            said.append(Line(question.say("step.hint_stop")))
    return said


def _account(question: Question, account_id: int) -> str:
    """Return an account's mode and name; an administrator does not see those whose positions they close."""
    try:
        return title(question, question.visible.account(account_id))
    except NotFound:
        row = question.connection.execute(sa.select(accounts).where(accounts.c.id == account_id)).one()
        return f"[{text(f'mode.{row.mode}', question.person.language)}] {row.name}"


def _name(command: CommandView, language: str) -> str:
    """Return a command in words, with the symbol it is about."""
    word = text(f"command.{command.kind}", language)
    symbol = command.arguments.get("symbol")
    return f"{word} ({i18n.symbol_name(str(symbol), language)})" if symbol else word

"""Listen to Telegram, for ever: updates in their order, answers beside them, trouble told once.

Invariants:
1. An update is confirmed only after what follows from it is in the database; a crash in between delivers it again, and
   its key makes it the same command.
2. Nothing that Telegram or a message does ends the listening. A message that cannot be dealt with is logged and passed.
3. Answers in one chat keep their order; a slow chat holds up no other.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ctp.clock import Clock
from ctp.config import Settings
from ctp.errors import ChannelRefused, DeliveryError, StateConflict, StorageUnavailable
from ctp.i18n import LANGUAGES
from ctp.logs import bound, logger
from ctp.notifiers.channels import build_bot_api
from ctp.notifiers.outbox import tell_operators
from ctp.notifiers.telegram_api import BotApi, Heard, Me
from ctp.notifiers.trouble import tell_channel_down, tell_channel_up
from ctp.storage.database import Database
from ctp.storage.leases import beat, read_heartbeats
from ctp.telegram.catalogue import menu
from ctp.telegram.conversation import Conversation, Reply
from ctp.telegram.following import Follower

POLL_S = 25.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
ANSWER_TRIES = 4
LONGEST_WAIT_S = 60.0
_DAY_MS = 86_400_000
_PROCESS = "telegram"

log = logger(__name__)


def build_listener(settings: Settings, database: Database, clock: Clock) -> Listener | None:
    """Return what listens; None when the operator has not set Telegram up, or wants no commands by it."""
    if settings.telegram.token_file is None or not settings.telegram.commands:
        return None
    return Listener(database, build_bot_api(settings), clock, settings.folder(""), settings.reports)


class Listener:
    """Hears what people say to the bot and answers."""

    def __init__(self, database: Database, api: BotApi, clock: Clock, home: Path, reports: Path) -> None:
        """Listen through this bot. home: whose disk /health measures; reports: where pictures come from."""
        self._database, self._api, self._clock = database, api, clock
        self._home, self._reports = home, reports
        self._follower = Follower(database, api, clock)
        self._last: dict[str, asyncio.Task[None]] = {}  # the newest answer of each chat
        self._pause_s = FIRST_PAUSE_S
        self._offset = 0
        self._may_be_down = True  # as far as operators were told, perhaps before a restart

    async def run(self) -> None:
        """Listen, answer, and tell how commands go; ends by cancellation."""
        follower = asyncio.create_task(self._follower.run())
        try:
            await self._listen()
        finally:
            tasks = [follower, *self._last.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._api.close()

    async def _listen(self) -> None:
        """Ask for updates again and again, longer apart while that fails."""
        conversation: Conversation | None = None
        me = Me(0, "")
        while True:
            try:
                if conversation is None:
                    me = await self._introduce()
                    conversation = Conversation(self._database, self._clock, self._home, me)
                for heard in await self._api.updates(self._offset, POLL_S):
                    await self._heed(conversation, heard)
                    self._offset = heard.update_id + 1
                await asyncio.to_thread(self._works, me)
                self._pause_s = FIRST_PAUSE_S
            except (StateConflict, ChannelRefused, DeliveryError, StorageUnavailable) as error:
                await self._trouble(error)
            except Exception:  # outermost loop: delivery and jobs live in this process too
                log.exception("listening_failed")
                await self._clock.sleep(LONGEST_PAUSE_S)

    async def _introduce(self) -> Me:
        """Find out who we are and where we were, and set the menu."""
        me = await self._api.me()
        for language in ("", *LANGUAGES):
            await self._api.set_commands(menu(language or "en"), language)
        self._offset = await asyncio.to_thread(self._last_offset, me)
        return me

    async def _heed(self, conversation: Conversation, heard: Heard) -> None:
        """Do what follows from one update, and answer in the background."""
        with bound(update_id=heard.update_id):
            try:
                heeded = await asyncio.to_thread(conversation.hear, heard)
            except StorageUnavailable:
                raise  # not confirmed: it comes again
            except Exception:  # outermost loop: one message must not keep all others from being heard
                log.exception("message_not_heeded")
                return
            for reply in heeded.replies:
                self._answer(reply)
            if heeded.has_asked:
                self._follower.look_now()

    def _answer(self, reply: Reply) -> None:
        """Say something after what was said in this chat before."""
        before = self._last.get(reply.chat)
        task = asyncio.create_task(self._say(reply, before))
        self._last[reply.chat] = task
        task.add_done_callback(lambda done: self._said(reply.chat, done))

    def _said(self, chat: str, done: asyncio.Task[None]) -> None:
        """Forget an answer that was given, and log why one was not."""
        if self._last.get(chat) is done:
            del self._last[chat]
        if not done.cancelled() and done.exception() is not None:
            log.error("answer_failed", error=repr(done.exception()))

    async def _say(self, reply: Reply, before: asyncio.Task[None] | None) -> None:
        """Give one answer, patiently; an answer that cannot be given is dropped, its asker can ask again."""
        if before is not None:
            await asyncio.wait((before,))
        if reply.press_id:
            await self._try(self._api.answer_press, reply.press_id, reply.alert, alert=bool(reply.alert))
        if not reply.text.markdown:
            return
        picture = (self._reports / reply.picture).resolve() if reply.picture else None
        if picture is not None and picture.is_relative_to(self._reports.resolve()) and picture.is_file():
            if await self._try(self._api.send_photo, reply.chat, picture, reply.text):
                return
        elif reply.edits and await self._try(self._api.edit, reply.chat, reply.edits, reply.text, reply.keyboard):
            return
        await self._try(self._api.send, reply.chat, reply.text, reply.keyboard)

    async def _try(self, call: Any, *arguments: Any, **options: Any) -> bool:
        """Make a call, again when Telegram asks for patience or is away; returns whether it succeeded."""
        for attempt in range(ANSWER_TRIES):
            try:
                await call(*arguments, **options)
            except DeliveryError as error:
                if error.permanent or attempt == ANSWER_TRIES - 1:
                    log.warning("answer_not_given", error=str(error))
                    return False
                await self._clock.sleep(min(LONGEST_WAIT_S, error.retry_after_s or 2.0**attempt))
            else:
                return True
        return False

    async def _trouble(self, error: StateConflict | DeliveryError | StorageUnavailable) -> None:
        """Log and tell what keeps us from hearing, and wait before trying again."""
        log.warning("telegram_not_heard", error=str(error))
        pause_s = self._pause_s
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        if isinstance(error, DeliveryError) and error.retry_after_s is not None:
            pause_s = max(pause_s, min(LONGEST_PAUSE_S, error.retry_after_s))
        if isinstance(error, (StateConflict, ChannelRefused)):
            await asyncio.to_thread(self._tell, error)
        await self._clock.sleep(pause_s)

    def _tell(self, error: StateConflict | ChannelRefused) -> None:
        """Tell operators, once for each trouble."""
        now_ms = self._clock.now_ms()
        try:
            with self._database.transaction() as connection:
                if isinstance(error, ChannelRefused):
                    self._may_be_down = True
                    tell_channel_down(connection, _PROCESS, str(error), now_ms)
                else:
                    key = f"telegram_conflict:{now_ms // _DAY_MS}"
                    tell_operators(connection, "system_error", {"what": "telegram_conflict"}, key, now_ms)
        except StorageUnavailable as failure:
            log.warning("trouble_not_told", error=str(failure))

    def _works(self, me: Me) -> None:
        """Write that we hear, who we are, and up to where we have heard."""
        now_ms = self._clock.now_ms()
        with self._database.transaction() as connection:
            beat(connection, _PROCESS, now_ms, {"bot": me.id, "username": me.username, "offset": self._offset})
            if self._may_be_down:
                tell_channel_up(connection, _PROCESS, now_ms)
        self._may_be_down = False

    def _last_offset(self, me: Me) -> int:
        """Return up to where this bot's updates were heard before a restart; 0 for another bot."""
        with self._database.reading() as connection:
            known = read_heartbeats(connection).get(_PROCESS)
        if known is None or known.details.get("bot") != me.id:
            return 0
        return int(known.details.get("offset", 0))

"""The Telegram Bot API as the rest of ctp uses it: a few calls, their answers as values, their refusals as our errors.

Underneath is python-telegram-bot, loaded only when somebody has set Telegram up. Its address can be a Bot API server of
one's own.

Invariants:
1. The token is in no error, log line or answer: Telegram's addresses contain it, so texts are redacted where they leave.
2. A text that Telegram cannot read as MarkdownV2 is sent again as plain text, never lost.
"""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ctp.errors import AddressRefused, ChannelRefused, DeliveryError, StateConflict
from ctp.logs import redact, register_secret
from ctp.notifiers.telegram_text import LABEL_UNITS, Rendered, shorten

if TYPE_CHECKING:
    import telegram
    from telegram.request import BaseRequest

ANSWER_S = 20.0
POLL_MARGIN_S = 10.0
UNREACHABLE_S = 30.0
_NOT_CONNECTED = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # of httpx: nothing was sent
_UNREADABLE = "can't parse entities"
_GONE = ("chat not found", "user is deactivated", "peer_id_invalid", "bot was kicked", "group chat was deactivated")
_UNCHANGED = "message is not modified"


class Button(NamedTuple):
    """A button below a message. data: what comes back when it is pressed, at most 64 bytes."""

    label: str
    data: str


Keyboard = Sequence[Sequence[Button]]


class Heard(NamedTuple):
    """Something a person did in a chat with the bot: wrote, or pressed a button."""

    update_id: int
    chat: str
    is_private: bool
    sender: str  # empty: nobody in particular, such as a channel or an anonymous administrator
    text: str
    at: int  # wall time at Telegram, milliseconds; of a button, that of the message it hangs on
    press_id: str  # of a pressed button; else empty
    data: str
    message_id: int
    moved_to: str  # the group's new chat id, when it has become another; else empty


class Me(NamedTuple):
    """Who the bot is."""

    id: int
    username: str


class BotApi:
    """One bot. Bound to the event loop that uses it first; close it there."""

    def __init__(self, token: str, address: str) -> None:
        """Speak for a bot.

        address: `https://api.telegram.org`, or a Bot API server of one's own.
        """
        register_secret(token)
        self._token, self._address = token, address.rstrip("/")
        self._made: telegram.Bot | None = None
        self._connections: list[BaseRequest] = []
        self._moved: dict[int | str, int] = {}  # groups that have become another chat

    async def me(self) -> Me:
        """Ask who we are."""
        found = await self._call("get_me")
        return Me(found.id, found.username or "")

    async def send(self, chat: str, text: Rendered, keyboard: Keyboard = ()) -> int:
        """Send a message; returns its id."""
        options = {"chat_id": _chat(chat), "reply_markup": _markup(keyboard), **_no_preview()}
        sent = await self._readable("send_message", text, "text", options)
        return int(sent.message_id)

    async def send_photo(self, chat: str, picture: Path, caption: Rendered) -> int:
        """Send a picture with words below it; returns the message's id."""
        options = {"chat_id": _chat(chat), "photo": picture}
        sent = await self._readable("send_photo", caption, "caption", options)
        return int(sent.message_id)

    async def edit(self, chat: str, message_id: int, text: Rendered, keyboard: Keyboard = ()) -> None:
        """Change a message of ours; one that says this already stays as it is."""
        options = {"chat_id": _chat(chat), "message_id": message_id, "reply_markup": _markup(keyboard), **_no_preview()}
        try:
            await self._readable("edit_message_text", text, "text", options)
        except DeliveryError as error:
            if _UNCHANGED not in str(error).lower():
                raise

    async def answer_press(self, press_id: str, words: str = "", *, alert: bool = False) -> None:
        """Tell Telegram that a pressed button was heard; with words, show them to whoever pressed it."""
        await self._call("answer_callback_query", callback_query_id=press_id, text=words or None, show_alert=alert)

    async def set_commands(self, commands: Sequence[tuple[str, str]], language: str) -> None:
        """Set what the bot's menu lists. language: empty for everybody whose language has no menu of its own."""
        await self._call("set_my_commands", commands=list(commands), language_code=language or None)

    async def updates(self, offset: int, wait_s: float) -> list[Heard]:
        """Wait for what people do, from `offset` on; asking from a later one confirms those before.

        Raises StateConflict when another program reads for this bot too.
        """
        found = await self._call(
            "get_updates",
            offset=offset,
            timeout=datetime.timedelta(seconds=wait_s),
            read_timeout=wait_s + POLL_MARGIN_S,
            allowed_updates=["message", "callback_query"],
        )
        return [_heard(update) for update in found]

    async def close(self) -> None:
        """Close every connection."""
        connections, self._connections, self._made = self._connections, [], None
        for connection in connections:
            await connection.shutdown()

    async def _readable(self, method: str, text: Rendered, field: str, options: dict[str, Any]) -> Any:
        """Send formatted text, or the same without format when Telegram cannot read it."""
        try:
            return await self._call(method, **{field: text.markdown}, parse_mode="MarkdownV2", **options)
        except DeliveryError as error:
            if _UNREADABLE not in str(error).lower():
                raise
            logging.getLogger(__name__).error("telegram could not read our formatting: %s", error)
        return await self._call(method, **{field: text.plain}, **options)

    async def _call(self, method: str, **options: Any) -> Any:
        """Make a call; its refusal becomes one of our errors, without the token."""
        from telegram import error as told

        bot, chat = self._bot(), options.get("chat_id")
        options.setdefault("read_timeout", ANSWER_S)
        if chat in self._moved:
            options["chat_id"] = self._moved[chat]
        try:
            return await getattr(bot, method)(**options)
        except told.RetryAfter as error:
            wait = error.retry_after
            seconds = wait.total_seconds() if isinstance(wait, datetime.timedelta) else float(wait)
            raise DeliveryError(f"Telegram asks to wait {seconds:g} s", permanent=False, retry_after_s=seconds) from None
        except told.ChatMigrated as error:
            if chat is None or chat in self._moved:
                raise DeliveryError(f"Telegram: {error.message}", permanent=False) from None
            self._moved[chat] = error.new_chat_id
            return await self._call(method, **{**options, "chat_id": chat})
        except told.InvalidToken as error:
            raise ChannelRefused(f"Telegram refuses the bot's token: {redact(error.message)}") from None
        except told.Conflict as error:
            raise StateConflict(f"another program reads this bot's messages: {redact(error.message)}") from None
        except told.Forbidden as error:
            raise AddressRefused(redact(error.message)) from None
        except told.BadRequest as error:
            reason = redact(error.message)
            if any(words in reason.lower() for words in _GONE):
                raise AddressRefused(reason) from None
            raise DeliveryError(reason, permanent=True) from None
        except told.TelegramError as error:
            if type(error.__cause__).__name__ in _NOT_CONNECTED:
                raise ChannelRefused("Telegram cannot be reached", UNREACHABLE_S) from None
            # Timeouts, lost connections, 5xx: what became of it is not known.
            raise DeliveryError(f"Telegram: {redact(error.message)[:200]}", permanent=False) from None

    def _bot(self) -> telegram.Bot:
        """Return the library's bot, made when it is first needed."""
        if self._made is None:
            # Otherwise the library warns, with every 429, that `retry_after` will one day be a timedelta.
            os.environ.setdefault("PTB_TIMEDELTA", "true")
            from telegram import Bot
            from telegram.request import HTTPXRequest

            # httpx logs every address it calls, and the library what it could not read: both would hold secrets.
            for name in ("httpx", "httpcore"):
                logging.getLogger(name).setLevel(logging.WARNING)
            logging.getLogger("telegram").setLevel(logging.CRITICAL)
            waiting, asking = HTTPXRequest(connection_pool_size=1), HTTPXRequest(connection_pool_size=8)
            self._connections = [waiting, asking]
            self._made = Bot(
                self._token,
                base_url=f"{self._address}/bot",
                base_file_url=f"{self._address}/file/bot",
                request=asking,
                get_updates_request=waiting,
            )
        return self._made


def _chat(chat: str) -> int | str:
    """Return a chat id as the API takes it."""
    return int(chat) if chat.lstrip("-").isdecimal() else chat


def _no_preview() -> dict[str, Any]:
    """Return the option that keeps a name that looks like an address from being fetched and shown."""
    from telegram import LinkPreviewOptions

    return {"link_preview_options": LinkPreviewOptions(is_disabled=True)}


def _markup(keyboard: Keyboard) -> Any:
    """Return buttons as the library wants them; None takes them away."""
    from telegram import InlineKeyboardButton, InlineKeyboardMarkup

    if not keyboard:
        return None
    return InlineKeyboardMarkup(
        [
            [InlineKeyboardButton(shorten(one.label, LABEL_UNITS), callback_data=one.data) for one in row]
            for row in keyboard
        ]
    )


def _heard(update: telegram.Update) -> Heard:
    """Return what a person did, as far as it concerns us."""
    press, message = update.callback_query, update.message
    if press is not None:
        message = press.message  # type: ignore[assignment]
    who = press.from_user if press is not None else (message.from_user if message is not None else None)
    speaks_for_itself = who is not None and not who.is_bot and (press is not None or _is_a_person(message))
    moved = getattr(message, "migrate_to_chat_id", None)
    date = getattr(message, "date", None)
    return Heard(
        update.update_id,
        str(message.chat.id) if message is not None else "",
        message is not None and message.chat.type == "private",
        str(who.id) if who is not None and speaks_for_itself else "",
        (getattr(message, "text", None) or "") if press is None else "",
        int(date.timestamp() * 1000) if date is not None else 0,
        press.id if press is not None else "",
        (press.data or "") if press is not None else "",
        message.message_id if message is not None else 0,
        str(moved) if moved else "",
    )


def _is_a_person(message: telegram.Message | None) -> bool:
    """Tell whether a message comes from its sender, not from a channel or group in whose name they write."""
    return message is not None and message.sender_chat is None

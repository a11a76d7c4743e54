"""A Bot API on loopback, as strict as Telegram's: it refuses what Telegram refuses, in Telegram's words.

It can be told to fail: `fail("sendMessage", Fault(502))` makes the next such call fail, `times` of them in a row.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from aiohttp import web

from tests.telegram_bot.entities import Unreadable, read_markdown

TOKEN = "987654321:AAcanaryCanaryCanaryCanaryCanary_cana"
BOT_ID, USERNAME = 987654321, "ctp_test_bot"
MESSAGE_UNITS, CAPTION_UNITS = 4096, 1024


class Fault(NamedTuple):
    """How a call fails: an HTTP status, or `drop` (not taken) or `drop_after` (taken, but nobody is told)."""

    status: int = 0
    description: str = ""
    parameters: dict[str, Any] | None = None
    connection: str = ""


class Sent(NamedTuple):
    """A message as its readers see it."""

    id: int
    chat: str
    text: str
    entities: tuple[tuple[str, str], ...]
    buttons: tuple[tuple[str, str], ...]  # label, data
    photo: bytes


class Refused(Exception):
    """The API answers with an error."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        """Carry what it says."""
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


class BotApiServer:
    """The server, what it was sent, and what people do to the bot."""

    def __init__(self, *, enforce_limits: bool = False) -> None:
        """Know everybody; refuse nobody until told."""
        self.messages: dict[int, Sent] = {}
        self.edits: list[Sent] = []
        self.presses: dict[str, tuple[str, bool]] = {}  # press id -> words shown, as an alert or not
        self.menus: dict[str, list[tuple[str, str]]] = {}
        self.calls: collections.Counter[str] = collections.Counter()
        self.blocked: set[str] = set()
        self.missing: set[str] = set()
        self.moved: dict[str, int] = {}
        self.token = TOKEN
        self.faults_made = 0
        self.port = 0
        self._enforces = enforce_limits
        self._sent_at: dict[str, collections.deque[float]] = collections.defaultdict(collections.deque)
        self._faults: dict[str, collections.deque[Fault]] = collections.defaultdict(collections.deque)
        self._updates: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._reader = 0
        self._message_ids, self._update_ids = itertools.count(100), itertools.count(5_000)

    @property
    def address(self) -> str:
        """Return what `BotApi` takes."""
        return f"http://127.0.0.1:{self.port}"

    def fail(self, method: str, fault: Fault, times: int = 1) -> None:
        """Let the next calls of a method fail."""
        self._faults[method].extend([fault] * times)

    def stop_failing(self) -> None:
        """Forget every failure that was to come."""
        self._faults.clear()

    def texts(self, chat: str = "") -> list[str]:
        """Return what was sent, in order, to one chat or to all."""
        return [one.text for one in self.messages.values() if chat in ("", one.chat)]

    # --- what people do --------------------------------------------------------------------------------------------

    def write(
        self, sender: int, text: str, *, chat: int | None = None, at: float | None = None, **changes: Any
    ) -> int:
        """Let a person write; returns the update's id. chat: a group's id, else their own."""
        message = {
            "message_id": next(self._message_ids),
            "date": int(time.time() if at is None else at),
            "chat": _chat_of(sender, chat),
            "from": {"id": sender, "is_bot": False, "first_name": "P"},
            "text": text,
        }
        return self._happen({"message": {**message, **changes}})

    def press(self, sender: int, message: Sent, data: str, *, at: float | None = None) -> int:
        """Let a person press a button below a message of the bot; returns the update's id, `press_id` is the same."""
        number = next(self._update_ids)
        chat = int(message.chat)
        shown = {
            "message_id": message.id,
            "date": int(time.time() if at is None else at),
            "chat": _chat_of(sender, None if chat > 0 else chat),
            "from": {"id": BOT_ID, "is_bot": True, "first_name": "ctp"},
            "text": message.text,
        }
        press = {
            "id": str(number),
            "from": {"id": sender, "is_bot": False, "first_name": "P"},
            "message": shown,
            "chat_instance": "1",
            "data": data,
        }
        return self._happen({"callback_query": press}, number)

    def redeliver(self, update: dict[str, Any]) -> None:
        """Deliver an update once more, as after an answer that was lost."""
        self._updates.append(update)
        self._updates.sort(key=lambda one: one["update_id"])
        self._news.set()

    def _happen(self, what: dict[str, Any], number: int | None = None) -> int:
        """Append an update."""
        update = {"update_id": next(self._update_ids) if number is None else number, **what}
        self._updates.append(update)
        self._news.set()
        return int(update["update_id"])

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """Return the updates that nobody has confirmed."""
        return list(self._updates)

    # --- the API ---------------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        method = request.match_info["method"]
        self.calls[method] += 1
        fault = self._faults[method].popleft() if self._faults[method] else None
        self.faults_made += fault is not None
        if fault is not None and fault.connection == "drop":
            return _abort(request)
        if fault is not None and fault.status:
            if not fault.description:
                return web.Response(status=fault.status, text="<html>upstream</html>", content_type="text/html")
            return _error(fault.status, fault.description, fault.parameters or {})
        if request.match_info["token"] != self.token:
            return _error(401, "Unauthorized", {})
        call = getattr(self, f"_{_snake(method)}", None)
        if call is None:
            return _error(404, "Not Found", {})
        try:
            result = await call(await _fields(request))
        except Refused as refused:
            return _error(refused.code, refused.description, refused.parameters)
        except Unreadable as error:
            return _error(400, f"Bad Request: {error}", {})
        if fault is not None and fault.connection == "drop_after":
            return _abort(request)
        return web.json_response({"ok": True, "result": result})

    async def _get_me(self, _fields: dict[str, Any]) -> dict[str, Any]:
        return {"id": BOT_ID, "is_bot": True, "first_name": "ctp", "username": USERNAME}

    async def _send_message(self, fields: dict[str, Any]) -> dict[str, Any]:
        chat = self._reachable(fields)
        text, entities = _read(fields, "text", MESSAGE_UNITS)
        if not text.strip():
            raise Refused(400, "Bad Request: message text is empty")
        return self._keep(chat, text, entities, _buttons(fields), b"")

    async def _send_photo(self, fields: dict[str, Any]) -> dict[str, Any]:
        chat = self._reachable(fields)
        text, entities = _read(fields, "caption", CAPTION_UNITS)
        photo = fields.get("photo")
        if isinstance(photo, str):  # the library names the part that carries the file
            photo = fields.get(photo.removeprefix("attach://"))
        if not isinstance(photo, bytes) or not photo.startswith(b"\x89PNG"):
            raise Refused(400, "Bad Request: IMAGE_PROCESS_FAILED")
        return self._keep(chat, text, entities, _buttons(fields), photo)

    async def _edit_message_text(self, fields: dict[str, Any]) -> dict[str, Any]:
        chat = self._reachable(fields)
        old = self.messages.get(int(fields["message_id"]))
        if old is None or old.chat != chat:
            raise Refused(400, "Bad Request: message to edit not found")
        text, entities = _read(fields, "text", MESSAGE_UNITS)
        new = old._replace(text=text, entities=entities, buttons=_buttons(fields))
        if new == old:
            raise Refused(
                400,
                "Bad Request: message is not modified: specified new message content and reply markup are exactly the"
                " same as a current content and reply markup of the message",
            )
        self.messages[old.id] = new
        self.edits.append(new)
        return _shown(new)

    async def _answer_callback_query(self, fields: dict[str, Any]) -> bool:
        words = str(fields.get("text") or "")
        if len(words) > 200:
            raise Refused(400, "Bad Request: MESSAGE_TOO_LONG")
        number = str(fields["callback_query_id"])
        if not number.isdecimal():
            raise Refused(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
        self.presses[number] = (words, str(fields.get("show_alert")).lower() == "true")
        return True

    async def _set_my_commands(self, fields: dict[str, Any]) -> bool:
        listed = [(one["command"], one["description"]) for one in _json(fields["commands"])]
        for name, description in listed:
            if not (1 <= len(name) <= 32 and name == name.lower() and name.replace("_", "").isalnum()):
                raise Refused(400, "Bad Request: BOT_COMMAND_INVALID")
            if not 1 <= len(description) <= 256:
                raise Refused(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
        if len(listed) > 100:
            raise Refused(400, "Bad Request: BOT_COMMANDS_TOO_MUCH")
        self.menus[str(fields.get("language_code") or "")] = listed
        return True

    async def _get_updates(self, fields: dict[str, Any]) -> list[dict[str, Any]]:
        """Wait for updates from `offset` on; a second reader ends the first one's wait, as at Telegram."""
        self._reader += 1
        mine, offset = self._reader, int(fields.get("offset") or 0)
        self._updates = [one for one in self._updates if one["update_id"] >= offset]
        allowed = set(_json(fields.get("allowed_updates") or "[]")) or {"message", "callback_query"}
        deadline = time.monotonic() + float(fields.get("timeout") or 0)
        while True:
            if self._reader != mine:
                raise Refused(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                )
            found = [one for one in self._updates if allowed & one.keys()]
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found[:100]
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 0.5)):
                    await self._news.wait()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _reachable(self, fields: dict[str, Any]) -> str:
        """Return the chat, if the bot can write there now."""
        chat = str(fields.get("chat_id", ""))
        if chat in self.moved:
            raise Refused(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=self.moved[chat],
            )
        if chat in self.missing or not chat.lstrip("-").isdecimal():
            raise Refused(400, "Bad Request: chat not found")
        if chat in self.blocked:
            raise Refused(403, "Forbidden: bot was blocked by the user")
        if self._enforces:
            self._count(chat)
        return chat

    def _count(self, chat: str) -> None:
        """Refuse more than 30 messages a second, and more than 20 a minute in a group."""
        now = time.monotonic()
        for name, window_s, most in (("", 1.0, 30), (chat, 60.0, 20) if chat.startswith("-") else (chat, 1.0, 4)):
            past = self._sent_at[name]
            while past and past[0] <= now - window_s:
                past.popleft()
            if len(past) >= most:
                wait = max(1, int(past[0] + window_s - now) + 1)
                raise Refused(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
        for name in ("", chat):
            self._sent_at[name].append(now)

    def _keep(
        self, chat: str, text: str, entities: tuple[Any, ...], buttons: tuple[Any, ...], photo: bytes
    ) -> dict[str, Any]:
        """Remember a message."""
        sent = Sent(next(self._message_ids), chat, text, entities, buttons, photo)
        self.messages[sent.id] = sent
        return _shown(sent)


@contextlib.asynccontextmanager
async def bot_api(*, server: BotApiServer | None = None, **options: Any) -> AsyncIterator[BotApiServer]:
    """Run a Bot API on loopback; `server` may be one that knows more."""
    server = server or BotApiServer(**options)
    app = web.Application()
    app.router.add_route("*", "/bot{token}/{method}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


def _chat_of(sender: int, chat: int | None) -> dict[str, Any]:
    """Return a chat: the sender's own, or a group."""
    if chat is None or chat == sender:
        return {"id": sender, "type": "private", "first_name": "P"}
    return {"id": chat, "type": "supergroup", "title": "G"}


def _shown(sent: Sent) -> dict[str, Any]:
    """Return a message as the API shows it."""
    chat = int(sent.chat)
    text = {"caption": sent.text} if sent.photo else {"text": sent.text}
    return {
        "message_id": sent.id,
        "date": int(time.time()),
        "chat": _chat_of(chat, chat if chat < 0 else None),
        "from": {"id": BOT_ID, "is_bot": True, "first_name": "ctp"},
        **text,
    }


async def _fields(request: web.Request) -> dict[str, Any]:
    """Return the fields of a call, in whatever way they came; a file as its bytes."""
    if request.content_type == "application/json":
        return dict(await request.json())
    fields: dict[str, Any] = dict(request.query)
    for name, value in (await request.post()).items():
        fields[name] = value.file.read() if isinstance(value, web.FileField) else value
    return fields


def _read(fields: dict[str, Any], name: str, limit: int) -> tuple[str, tuple[Any, ...]]:
    """Return a text as its readers see it, and its formatting."""
    given = str(fields.get(name) or "")
    mode = fields.get("parse_mode")
    if mode not in (None, "", "MarkdownV2"):
        raise Refused(400, "Bad Request: unsupported parse_mode")
    text, entities = read_markdown(given) if mode else (given, ())
    if len(text.encode("utf-16-le")) // 2 > limit:
        kind = "message" if name == "text" else "message caption"
        raise Refused(400, f"Bad Request: {kind} is too long")
    return text, entities


def _buttons(fields: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the buttons below a message, if Telegram would take them."""
    markup = _json(fields.get("reply_markup") or "{}")
    buttons = [one for row in markup.get("inline_keyboard", []) for one in row]
    if len(buttons) > 100:
        raise Refused(400, "Bad Request: reply markup is too long")
    for one in buttons:
        if not one.get("text") or not 1 <= len(one.get("callback_data", "").encode()) <= 64:
            raise Refused(400, "Bad Request: BUTTON_DATA_INVALID")
    return tuple((one["text"], one["callback_data"]) for one in buttons)


def _json(value: Any) -> Any:
    """Return a value that forms carry as JSON."""
    return json.loads(value) if isinstance(value, str) else value


def _snake(method: str) -> str:
    """Return `sendMessage` as `send_message`."""
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in method)


def _error(code: int, description: str, parameters: dict[str, Any]) -> web.Response:
    """Answer with an error."""
    body = {"ok": False, "error_code": code, "description": description}
    return web.json_response(body | ({"parameters": parameters} if parameters else {}), status=code)


def _abort(request: web.Request) -> web.Response:
    """Cut the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()

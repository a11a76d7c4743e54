"""The Bot API through the real client, against a server as strict as Telegram's."""

from __future__ import annotations

import asyncio
import io
import logging
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ctp.errors import AddressRefused, ChannelRefused, CtpError, DeliveryError, StateConflict
from ctp.logs import start_logging
from ctp.notifiers.telegram_api import BotApi, Button, Me
from ctp.notifiers.telegram_text import Rendered, bold, lines, render
from tests.telegram_bot.bot_api import BOT_ID, TOKEN, USERNAME, BotApiServer, Fault, bot_api

TEXT = render([bold("[SIMULATED] BTC/USDT +1.5%"), *lines("a_b*c")])
PICTURE = b"\x89PNG\r\n\x1a\n" + b"0" * 64


def talk(scene: Callable[[BotApi, BotApiServer], Awaitable[None]], token: str = TOKEN) -> None:
    """Play a scene with a bot and its server."""

    async def play() -> None:
        async with bot_api() as server:
            api = BotApi(token, server.address)
            try:
                await scene(api, server)
            finally:
                await api.close()

    asyncio.run(play())


def test_a_message_arrives_formatted_with_its_buttons() -> None:
    async def scene(api: BotApi, server: BotApiServer) -> None:
        number = await api.send("7", TEXT, [[Button("Yes", "y:1"), Button("No", "n:1")]])
        sent = server.messages[number]
        assert (sent.chat, sent.text) == ("7", "[SIMULATED] BTC/USDT +1.5%\na_b*c")
        assert sent.entities == (("Bold", "[SIMULATED] BTC/USDT +1.5%"),)
        assert sent.buttons == (("Yes", "y:1"), ("No", "n:1"))
        await api.edit("7", number, render(lines("done")))
        assert (server.messages[number].text, server.messages[number].buttons) == ("done", ())
        await api.edit("7", number, render(lines("done")))  # saying the same again is no failure
        assert await api.me() == Me(BOT_ID, USERNAME)

    talk(scene)


def test_a_text_that_telegram_cannot_read_is_sent_plain() -> None:
    async def scene(api: BotApi, server: BotApiServer) -> None:
        await api.send("7", Rendered("1.5 is not escaped", "1.5 is not escaped"))
        assert server.texts() == ["1.5 is not escaped"]
        assert server.calls["sendMessage"] == 2

    talk(scene)


def test_a_picture_arrives_with_its_caption(tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(PICTURE)

    async def scene(api: BotApi, server: BotApiServer) -> None:
        sent = server.messages[await api.send_photo("7", tmp_path / "chart.png", TEXT)]
        assert (sent.photo, sent.text) == (PICTURE, TEXT.plain)

    talk(scene)


def test_a_group_that_became_another_chat_is_followed() -> None:
    async def scene(api: BotApi, server: BotApiServer) -> None:
        server.moved["-55"] = -10055
        first, second = await api.send("-55", TEXT), await api.send("-55", TEXT)
        assert [server.messages[number].chat for number in (first, second)] == ["-10055", "-10055"]
        assert server.calls["sendMessage"] == 3  # once at the old address, and never again

    talk(scene)


REFUSALS = [
    (Fault(401, "Unauthorized"), ChannelRefused, False, 300.0),
    (Fault(404, "Not Found"), ChannelRefused, False, 300.0),
    (Fault(403, "Forbidden: bot was blocked by the user"), AddressRefused, True, None),
    (Fault(403, "Forbidden: user is deactivated"), AddressRefused, True, None),
    (Fault(400, "Bad Request: chat not found"), AddressRefused, True, None),
    (Fault(400, "Bad Request: message is too long"), DeliveryError, True, None),
    (Fault(409, "Conflict: terminated by other getUpdates request"), StateConflict, None, None),
    (Fault(429, "Too Many Requests: retry after 7", {"retry_after": 7}), DeliveryError, False, 7.0),
    (Fault(500, "Internal Server Error"), DeliveryError, False, None),
    (Fault(502), DeliveryError, False, None),
    (Fault(connection="drop"), DeliveryError, False, None),
    (Fault(connection="drop_after"), DeliveryError, False, None),
]


@pytest.mark.parametrize(("fault", "kind", "permanent", "retry_after_s"), REFUSALS, ids=lambda value: str(value)[:40])
def test_each_refusal_is_the_error_that_says_what_to_do(
    fault: Fault, kind: type[CtpError], permanent: bool | None, retry_after_s: float | None
) -> None:
    async def scene(api: BotApi, server: BotApiServer) -> None:
        server.fail("sendMessage", fault)
        with pytest.raises(kind) as raised:
            await api.send("7", TEXT)
        assert type(raised.value) is kind
        if isinstance(raised.value, DeliveryError):
            assert (raised.value.permanent, raised.value.retry_after_s) == (permanent, retry_after_s)

    talk(scene)


def test_the_token_reaches_no_error_and_no_log(tmp_path: Path) -> None:
    """The addresses of Telegram contain it: every failure, logged with its traceback at the lowest level."""
    stream = io.StringIO()
    start_logging("test", tmp_path, level="DEBUG", stream=stream)
    log = logging.getLogger("test.canary")
    shown = []
    bare = "canaryCanary"

    async def scene(api: BotApi, server: BotApiServer) -> None:
        for fault, *_ in REFUSALS:
            server.fail("sendMessage", fault)
            try:
                await api.send("7", TEXT)
            except CtpError as error:
                shown.append("".join(traceback.format_exception(error)))
                log.exception("failed")
        server.fail("sendMessage", Fault(500, f"oops /bot{TOKEN}/sendMessage"))
        with pytest.raises(DeliveryError) as raised:
            await api.send("7", TEXT)
        shown.append(str(raised.value))
        port, server.port = server.port, 1
        nowhere = BotApi(TOKEN, f"http://127.0.0.1:{server.port}")
        with pytest.raises(ChannelRefused) as raised:  # nothing was sent, so nothing is counted
            await nowhere.send("7", TEXT)
        shown.append("".join(traceback.format_exception(raised.value)))
        log.error("unreachable", exc_info=raised.value)
        await nowhere.close()
        server.port = port

    try:
        talk(scene)
        kept = (tmp_path / "test.jsonl").read_text("utf-8") + stream.getvalue()
    finally:
        start_logging("test", None, console=False)
    assert "failed" in kept
    assert bare not in kept
    assert not [text for text in shown if bare in text]


def test_what_people_do_is_heard_once_confirmed_and_kept_until_then() -> None:
    async def scene(api: BotApi, server: BotApiServer) -> None:
        first = server.write(42, "/status", at=1_700_000_000)
        server.write(43, "hello", chat=-900)
        heard = await api.updates(0, 0)
        assert [(one.sender, one.chat, one.is_private, one.text) for one in heard] == [
            ("42", "42", True, "/status"),
            ("43", "-900", False, "hello"),
        ]
        assert heard[0].at == 1_700_000_000_000
        assert await api.updates(0, 0) == heard  # nothing was confirmed
        assert [one.update_id for one in await api.updates(first + 1, 0)] == [first + 1]
        message = server.messages[await api.send("42", TEXT, [[Button("Yes", "y:1")]])]
        press = server.press(42, message, "y:1")
        (pressed,) = await api.updates(first + 2, 0)
        assert (pressed.press_id, pressed.data, pressed.sender, pressed.message_id) == (
            str(press),
            "y:1",
            "42",
            message.id,
        )
        await api.answer_press(pressed.press_id, "expired", alert=True)
        assert server.presses[str(press)] == ("expired", True)

    talk(scene)


def test_nobody_in_particular_is_no_sender() -> None:
    """A channel, an administrator who hides, another bot: their words have no author."""

    async def scene(api: BotApi, server: BotApiServer) -> None:
        group = {"id": -900, "type": "supergroup", "title": "G"}
        server.write(1087968824, "/status", chat=-900, sender_chat=group)
        server.write(44, "/status", chat=-900, **{"from": {"id": 44, "is_bot": True, "first_name": "x"}})
        server.write(45, "", chat=-900, migrate_to_chat_id=-100900)
        heard = await api.updates(0, 0)
        assert [one.sender for one in heard] == ["", "", "45"]
        assert heard[2].moved_to == "-100900"

    talk(scene)


def test_a_second_reader_is_told_apart_from_a_failure() -> None:
    async def scene(api: BotApi, server: BotApiServer) -> None:
        first = asyncio.create_task(api.updates(0, 20))
        while server.calls["getUpdates"] == 0:  # noqa: ASYNC110
            await asyncio.sleep(0)
        other = BotApi(TOKEN, server.address)
        await other.updates(0, 0)
        with pytest.raises(StateConflict):
            await first
        await other.close()

    talk(scene)


def test_the_menu_is_set_for_each_language() -> None:
    async def scene(api: BotApi, server: BotApiServer) -> None:
        await api.set_commands([("status", "what is open")], "")
        await api.set_commands([("status", "보유 현황")], "ko")
        assert server.menus == {"": [("status", "what is open")], "ko": [("status", "보유 현황")]}

    talk(scene)

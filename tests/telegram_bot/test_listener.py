"""Listening and following over a real connection: once, in order, whatever Telegram does and whoever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.clock import ManualClock
from ctp.config import Settings, TelegramSettings
from ctp.notifiers.contacts import remove_contact
from ctp.notifiers.telegram_api import BotApi
from ctp.storage import tables
from ctp.storage.database import Database
from ctp.storage.leases import beat, read_heartbeats
from ctp.telegram.catalogue import NAMES
from ctp.telegram.listener import Listener, build_listener
from tests.accounts.people import NOW
from tests.telegram_bot.bot_api import TOKEN, BotApiServer, Fault, Sent, bot_api
from tests.telegram_bot.scene import SENDERS, Stage
from tests.telegram_bot.test_api import PICTURE

ALICE, MINSU = int(SENDERS["alice"]), int(SENDERS["minsu"])
SECOND = NOW // 1000
PATIENCE_S = 60.0


class QuickClock(ManualClock):
    """Shows the time that was set, and waits a hundredth of what is asked."""

    async def sleep(self, seconds: float) -> None:
        """Wait a little."""
        await asyncio.sleep(max(0.0, seconds) / 100)


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fails with its name."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(what) from None


class Play:
    """A stage with a Bot API and something that listens to it."""

    def __init__(self, stage: Stage, server: BotApiServer) -> None:
        """Listen to nobody yet."""
        self.stage, self.server = stage, server
        self.clock = QuickClock(NOW)

    @contextlib.asynccontextmanager
    async def listening(self, database: Database | None = None) -> AsyncIterator[Listener]:
        """Listen for as long as the block lasts."""
        api = BotApi(TOKEN, self.server.address)
        folder = self.stage.home
        listener = Listener(database or self.stage.database, api, self.clock, folder, folder)
        task = asyncio.create_task(listener.run())
        try:
            yield listener
            assert not task.done(), "it must never end by itself"
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def message(self, chat: int, number: int = 1) -> Sent:
        """Wait for the messages of a chat and return the newest."""
        await until(lambda: len(self.messages(chat)) >= number, f"{number} messages in {chat}")
        assert len(self.messages(chat)) == number
        return self.messages(chat)[-1]

    def messages(self, chat: int) -> list[Sent]:
        """Return the messages of a chat, as they read now."""
        return [one for one in self.server.messages.values() if one.chat == str(chat)]

    async def reads(self, chat: int, last_line: str) -> str:
        """Wait until the newest message of a chat ends like this; returns it."""
        await until(
            lambda: bool(self.messages(chat)) and self.messages(chat)[-1].text.split("\n")[-1].startswith(last_line),
            f"{last_line!r} in {[one.text for one in self.messages(chat)]}",
        )
        return self.messages(chat)[-1].text

    def bot(self, **values: Any) -> None:
        """Let the trading bot write to the newest command."""
        with self.stage.database.transaction() as connection:
            newest = sa.select(sa.func.max(tables.commands.c.id)).scalar_subquery()
            connection.execute(sa.update(tables.commands).where(tables.commands.c.id == newest).values(**values))

    def followed(self) -> int:
        """Return how many commands are being followed."""
        with self.stage.database.reading() as connection:
            return len(connection.execute(sa.select(tables.telegram_answers)).all())

    def told(self, what: str) -> int:
        """Return how often the operator was told of a trouble."""
        with self.stage.database.reading() as connection:
            rows = connection.scalars(
                sa.select(tables.notices.c.facts).where(tables.notices.c.user_id == self.stage.id_of("olaf"))
            )
            return sum(json.loads(row).get("what") == what for row in rows)


@pytest.fixture
def stage(database: Database, tmp_path: Path) -> Stage:
    """Return connected people; alice has an account with a past."""
    made = Stage(database, tmp_path)
    made.give_history(made.people.alices)
    return made


def play(stage: Stage, scene: Callable[[Play], Awaitable[None]]) -> None:
    """Play a scene."""

    async def run() -> None:
        async with bot_api() as server:
            await scene(Play(stage, server))

    asyncio.run(run())


# --- listening --------------------------------------------------------------------------------------------------------


def test_it_introduces_itself_with_its_menu_and_answers(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        async with play.listening():
            play.server.write(ALICE, "/balance", at=SECOND)
            play.server.write(MINSU, "/locks@ctp_test_bot", at=SECOND)
            assert (await play.message(ALICE)).text.startswith("[SIMULATED] main · Balance")
            assert (await play.message(MINSU)).text.startswith("[모의] main · 잠금")
            assert {language: [name for name, _ in menu] for language, menu in play.server.menus.items()} == {
                "": list(NAMES),
                "ko": list(NAMES),
                "en": list(NAMES),
            }
            await until(lambda: _offset(stage) > 0, "noted")
            with stage.database.reading() as connection:
                assert read_heartbeats(connection)["telegram"].details["username"] == "ctp_test_bot"

    play(stage, scene)


def test_after_a_restart_nothing_is_answered_twice(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        async with play.listening():
            number = play.server.write(ALICE, "/balance", at=SECOND)
            await play.message(ALICE)
            await until(lambda: play.server.waiting == [] or _offset(stage) > number, "noted")
        async with play.listening():
            play.server.write(MINSU, "/balance", at=SECOND)
            await play.message(MINSU)
        assert len(play.messages(ALICE)) == 1

    play(stage, scene)


def _offset(stage: Stage) -> int:
    """Return up to where updates were heard; 0 while that was not noted."""
    with stage.database.reading() as connection:
        known = read_heartbeats(connection).get("telegram")
    return 0 if known is None else int(known.details["offset"])


TROUBLES = [
    (Fault(409, "Conflict: terminated by other getUpdates request"), "telegram_conflict"),
    (Fault(401, "Unauthorized"), "telegram_down"),
    (Fault(502), ""),
    (Fault(429, "Too Many Requests: retry after 3", {"retry_after": 3}), ""),
    (Fault(connection="drop"), ""),
    (Fault(connection="drop_after"), ""),
]


@pytest.mark.parametrize(("fault", "what"), TROUBLES, ids=[str(row[0])[:30] for row in TROUBLES])
def test_it_goes_on_listening_whatever_telegram_says_and_operators_are_told_once(
    stage: Stage, fault: Fault, what: str
) -> None:
    async def scene(play: Play) -> None:
        play.server.fail("getMe", fault)
        play.server.fail("getUpdates", fault, times=4)
        play.server.write(ALICE, "/balance", at=SECOND)
        async with play.listening():
            assert (await play.message(ALICE)).text.startswith("[SIMULATED] main")
            assert play.server.calls["getUpdates"] >= 5
            if what:
                assert play.told(what) == 1
            if what == "telegram_down":
                await until(lambda: play.told("telegram_up") == 1, "operators hear that it works again")

    play(stage, scene)


def test_a_message_that_breaks_us_keeps_nobody_else_from_being_heard(stage: Stage) -> None:
    with stage.database.transaction() as connection:  # a zone of a newer program
        this = tables.users.c.id == stage.id_of("alice")
        connection.execute(sa.update(tables.users).where(this).values(zone="Moon/Tycho"))

    async def scene(play: Play) -> None:
        async with play.listening():
            play.server.write(ALICE, "/trades", at=SECOND)
            play.server.write(MINSU, "/balance", at=SECOND)
            await play.message(MINSU)
        assert play.messages(ALICE) == []

    play(stage, scene)


def test_without_a_database_a_message_waits(stage: Stage, database_url: str) -> None:
    if not stage.database.is_sqlite:
        return  # locks look otherwise there; what follows is the same

    async def scene(play: Play) -> None:
        impatient = Database(database_url, busy_timeout_s=0.05)
        async with play.listening(impatient):
            await until(lambda: play.server.calls["getUpdates"] > 0, "listening")
            with stage.database.transaction():
                play.server.write(ALICE, "/pause", at=SECOND)
                before = play.server.calls["getUpdates"]
                await until(lambda: play.server.calls["getUpdates"] > before + 2, "asked for it again")
                assert play.server.waiting
            await until(lambda: len(stage.commands()) == 1, "obeyed once it can be")
        impatient.close()

    play(stage, scene)


def test_an_answer_waits_as_long_as_telegram_asks(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        play.server.fail("sendMessage", Fault(429, "Too Many Requests: retry after 2", {"retry_after": 2}))
        play.server.fail("sendMessage", Fault(500, "Internal Server Error"))
        async with play.listening():
            play.server.write(ALICE, "/balance", at=SECOND)
            play.server.write(ALICE, "/locks", at=SECOND)
            await play.message(ALICE, 2)
        assert [one.text.split("\n")[0] for one in play.messages(ALICE)] == [
            "[SIMULATED] main · Balance",
            "[SIMULATED] main · Locks",
        ]

    play(stage, scene)


def test_a_report_s_chart_is_sent_as_a_picture(stage: Stage) -> None:
    (stage.home / "x.png").write_bytes(PICTURE)
    with stage.database.transaction() as connection:
        connection.execute(
            sa.insert(tables.reports).values(
                account_id=stage.people.alices,
                user_id=stage.id_of("alice"),
                kind="daily",
                period="2023-11-13",
                language="en",
                status="done",
                chart="x.png",
                summary='{"pnl": 12.5}',
                created_at=NOW,
            )
        )

    async def scene(play: Play) -> None:
        async with play.listening():
            play.server.write(ALICE, "/report", at=SECOND)
            sent = await play.message(ALICE)
            assert (sent.photo, sent.text.split("\n")[1]) == (PICTURE, "P&L +12.50 USDT")

    play(stage, scene)


# --- following --------------------------------------------------------------------------------------------------------


def test_one_message_tells_how_a_command_goes(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        async with play.listening():
            play.server.write(MINSU, "/stop", at=SECOND)
            assert await play.reads(MINSU, "… 봇의 접수를") == (
                "[모의] main · 정지 (포지션 유지)\n✓ 요청 07:13:20\n… 봇의 접수를 기다리는 중"
            )
            play.bot(acknowledged_at=NOW + 1_000)
            await play.reads(MINSU, "… 실행하는 중")
            play.bot(done_at=NOW + 2_000, result="done")
            assert await play.reads(MINSU, "포지션은 거래소의") == (
                "[모의] main · 정지 (포지션 유지)\n✓ 요청 07:13:20\n✓ 접수 07:13:21\n✓ 완료 07:13:22\n"
                "포지션은 거래소의 손절 주문과 함께 그대로 둡니다. 포지션까지 청산하려면 /stop close 또는 /closeall"
            )
            await until(lambda: play.followed() == 0, "followed no further")
            assert len(play.messages(MINSU)) == 1

    play(stage, scene)


def test_the_message_that_was_confirmed_becomes_the_one_that_tells(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        async with play.listening():
            play.server.write(ALICE, "/closeall", at=SECOND)
            asked = await play.message(ALICE)
            press = play.server.press(ALICE, asked, asked.buttons[0][1], at=SECOND)
            await play.reads(ALICE, "… the bot has not taken")
            play.bot(acknowledged_at=NOW + 1_000)
            await play.reads(ALICE, "… closing")
            play.bot(done_at=NOW + 5_000, result="done")
            assert await play.reads(ALICE, "✓ flat") == (
                "[SIMULATED] main · Close all\n✓ asked 07:13:20\n✓ taken up 07:13:21\n✓ flat 07:13:25"
            )
            (only,) = play.messages(ALICE)
            assert (only.id, only.buttons) == (asked.id, ())
            assert play.server.presses[str(press)] == ("", False)

    play(stage, scene)


def test_a_command_that_fails_says_why(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        async with play.listening():
            play.server.write(ALICE, "/start", at=SECOND)
            await play.reads(ALICE, "… the bot")
            play.bot(acknowledged_at=NOW, done_at=NOW, result="this key may withdraw money; enter one without that right")
            await play.reads(ALICE, "✕ It did not work: This exchange key may withdraw money")

    play(stage, scene)


def test_a_dead_bot_is_said_to_be_dead_and_its_return_is_seen(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        with stage.database.transaction() as connection:
            beat(connection, "bot", NOW - 45_000)
        async with play.listening():
            play.server.write(ALICE, "/pause", at=SECOND)
            await play.reads(ALICE, "The trading bot has not answered for 45 s. It obeys as soon as it is back")
            with stage.database.transaction() as connection:
                beat(connection, "bot", NOW)
            await play.reads(ALICE, "… the bot has not taken it up yet")

    play(stage, scene)


def test_killed_between_the_command_and_its_answer_it_tells_after_a_restart_and_asks_once(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        play.server.fail("sendMessage", Fault(500, "Internal Server Error"), times=10_000)
        async with play.listening():
            number = play.server.write(ALICE, "/stop", at=SECOND)
            update = play.server.waiting[0]
            await until(lambda: len(stage.commands()) == 1, "asked for")
        play.server.stop_failing()
        with stage.database.transaction() as connection:  # nor was it noted how far we had heard
            connection.execute(sa.delete(tables.heartbeats).where(tables.heartbeats.c.process == "telegram"))
        if not play.server.waiting:
            play.server.redeliver(update)
        async with play.listening():
            await play.reads(ALICE, "… the bot has not taken")
            play.bot(acknowledged_at=NOW, done_at=NOW, result="done")
            await play.reads(ALICE, "Positions stay")
            await until(lambda: play.server.waiting == [] or _offset(stage) > number, "heard again")
        assert len(stage.commands()) == len(play.messages(ALICE)) == 1

    play(stage, scene)


def test_a_message_that_was_deleted_is_told_anew(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        async with play.listening():
            play.server.write(ALICE, "/pause", at=SECOND)
            first = await play.message(ALICE)
            await until(lambda: play.followed() == 1, "followed")
            del play.server.messages[first.id]
            play.bot(acknowledged_at=NOW, done_at=NOW, result="done")
            assert (await play.reads(ALICE, "✓ done")).startswith("[SIMULATED] main · Pause")

    play(stage, scene)


def test_a_chat_that_was_given_up_is_told_nothing_more(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        async with play.listening():
            play.server.write(ALICE, "/pause", at=SECOND)
            await play.reads(ALICE, "… the bot")
            with stage.database.transaction() as connection:
                remove_contact(connection, stage.people.alice, "telegram", NOW)
            play.bot(acknowledged_at=NOW, done_at=NOW, result="done")
            await until(lambda: play.followed() == 0, "followed no further")
        assert play.messages(ALICE)[-1].text.endswith("taken it up yet")

    play(stage, scene)


def test_who_blocks_the_bot_is_not_told_for_ever(stage: Stage) -> None:
    async def scene(play: Play) -> None:
        play.server.blocked.add(str(ALICE))
        async with play.listening():
            play.server.write(ALICE, "/pause", at=SECOND)
            await until(lambda: len(stage.commands()) == 1 and play.followed() == 0, "obeyed, and told to nobody")

    play(stage, scene)


def test_nothing_listens_unless_the_operator_has_set_it_up(stage: Stage, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    for telegram, is_on in (
        (TelegramSettings(), False),
        (TelegramSettings(token_file=token, commands=False), False),
        (TelegramSettings(token_file=token), True),
    ):
        settings = Settings(home=tmp_path, telegram=telegram)
        assert (build_listener(settings, stage.database, ManualClock()) is not None) == is_on

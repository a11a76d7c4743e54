"""From the outbox to a chat: the worker, the channel and a Bot API together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa

from ctp.config import Settings, TelegramSettings
from ctp.notifiers.channels import build_worker
from ctp.notifiers.delivery import DeliveryWorker
from ctp.notifiers.kinds import set_choice
from ctp.notifiers.outbox import tell_account
from ctp.storage import tables
from ctp.storage.database import Database
from tests.accounts.people import NOW
from tests.telegram_bot.bot_api import TOKEN, BotApiServer, Fault, bot_api
from tests.telegram_bot.scene import BTC, SENDERS, Stage

OPENED = {"symbol": BTC, "side": "long", "size": 0.05, "price": 60_000.0, "stop": 58_800.0}


@pytest.fixture
def stage(database: Database, tmp_path: object) -> Stage:
    """Return people with connected chats; alice hears of openings by Telegram."""
    made = Stage(database, tmp_path)  # type: ignore[arg-type]
    with database.transaction() as connection:
        for kind in ("position_opened", "system_error"):
            set_choice(connection, made.id_of("alice"), kind, "telegram", True)
    return made


def deliver(stage: Stage, scene: Callable[[DeliveryWorker, BotApiServer], Awaitable[None]]) -> None:
    """Play a scene with a worker and a Bot API."""
    token = stage.home / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)

    async def play() -> None:
        async with bot_api() as server:
            telegram = TelegramSettings(token_file=token, api_url=server.address)
            settings = Settings(home=stage.home, telegram=telegram)
            await scene(build_worker(settings, stage.database, stage.clock, "one"), server)

    asyncio.run(play())


def tell(stage: Stage, *keys: str) -> None:
    """Tell alice that positions were opened."""
    with stage.database.transaction() as connection:
        for key in keys:
            tell_account(connection, stage.people.alices, "position_opened", OPENED, key, NOW)


def rows(stage: Stage) -> list[tuple[str, int]]:
    """Return how the deliveries by Telegram stand: status and attempts."""
    query = sa.select(tables.deliveries.c.status, tables.deliveries.c.attempts)
    query = query.where(tables.deliveries.c.channel == "telegram").order_by(tables.deliveries.c.notice_id)
    with stage.database.reading() as connection:
        return [(row.status, row.attempts) for row in connection.execute(query)]


def troubles(stage: Stage, who: str) -> list[str]:
    """Return which troubles somebody was told of."""
    query = sa.select(tables.notices.c.facts).where(
        tables.notices.c.user_id == stage.id_of(who), tables.notices.c.kind == "system_error"
    )
    with stage.database.reading() as connection:
        return [json.loads(facts)["what"] for facts in connection.scalars(query.order_by(tables.notices.c.id))]


def test_a_notice_reaches_the_chat(stage: Stage) -> None:
    async def scene(worker: DeliveryWorker, server: BotApiServer) -> None:
        tell(stage, "a")
        await worker.deliver_due()
        (text,) = server.texts(SENDERS["alice"])
        assert text.startswith("[SIMULATED] BTC/USDT perpetual long opened\n")
        assert rows(stage) == [("delivered", 1)]

    deliver(stage, scene)


def test_who_blocked_the_bot_is_told_elsewhere_and_not_tried_again(stage: Stage) -> None:
    async def scene(worker: DeliveryWorker, server: BotApiServer) -> None:
        server.blocked.add(SENDERS["alice"])
        tell(stage, "a", "b")
        await worker.deliver_due()
        server.blocked.clear()
        await worker.deliver_due()
        assert {status for status, _ in rows(stage)} == {"dead"}
        assert server.calls["sendMessage"] == 1
        assert troubles(stage, "alice") == ["telegram_blocked"]

    deliver(stage, scene)


def test_a_refused_token_costs_nothing_but_time(stage: Stage) -> None:
    async def scene(worker: DeliveryWorker, server: BotApiServer) -> None:
        server.token = "another"
        tell(stage, "a", "b")
        for _ in range(5):
            await worker.deliver_due()
            stage.clock.tick(3600)
        assert {status for status, _ in rows(stage)} == {"waiting"}
        assert troubles(stage, "olaf") == ["telegram_down"]
        server.token = TOKEN
        for _ in range(3):
            await worker.deliver_due()
            stage.clock.tick(3600)
        assert [status for status, _ in rows(stage)] == ["delivered", "delivered"]
        assert troubles(stage, "olaf") == ["telegram_down", "telegram_up"]

    deliver(stage, scene)


def test_what_telegram_cannot_take_now_comes_later_and_once(stage: Stage) -> None:
    async def scene(worker: DeliveryWorker, server: BotApiServer) -> None:
        server.fail("sendMessage", Fault(429, "Too Many Requests: retry after 40", {"retry_after": 40}))
        server.fail("sendMessage", Fault(502))
        tell(stage, "a")
        for _ in range(4):
            await worker.deliver_due()
            assert len(server.texts()) == (rows(stage)[0][0] == "delivered")
            stage.clock.tick(60)
        assert len(server.texts()) == 1

    deliver(stage, scene)

"""Notices over Telegram: every kind reads as it should, reports come with their chart, refusals say what to do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ctp.config import Settings, TelegramSettings
from ctp.errors import AddressRefused, ConfigError, DeliveryError
from ctp.notifiers.channels import build_notifiers, configured_channels
from ctp.notifiers.messages import Message, compose
from ctp.notifiers.notifier import Recipient
from ctp.notifiers.telegram import TelegramNotifier, in_words
from ctp.notifiers.telegram_api import BotApi
from tests.notifiers.test_messages import AT, GOLDEN
from tests.telegram_bot.bot_api import TOKEN, BotApiServer, Fault, bot_api
from tests.telegram_bot.entities import read_markdown
from tests.telegram_bot.test_api import PICTURE

MINSU = Recipient(1, "minsu", "ko", "Asia/Seoul", "7")
MESSAGE = Message("[모의] BTC/USDT +1.5%", ("손익 +15.00 USDT", "계좌 main_1 (binanceusdm)"), "시각 12:00", "paper")


def play(tmp_path: Path, scene: Callable[[TelegramNotifier, BotApiServer], Awaitable[None]]) -> None:
    """Play a scene with the channel and a server."""

    async def run() -> None:
        async with bot_api() as server:
            api = BotApi(TOKEN, server.address)
            try:
                await scene(TelegramNotifier(api, tmp_path), server)
            finally:
                await api.close()

    asyncio.run(run())


@pytest.mark.parametrize(("kind", "facts", "korean", "english"), GOLDEN, ids=[row[0] for row in GOLDEN])
@pytest.mark.parametrize("language", ["ko", "en"])
def test_every_kind_reads_as_it_should(
    kind: str, facts: dict[str, Any], korean: str, english: str, language: str
) -> None:
    """As on every channel, with the title in bold and nothing else formatted."""
    rendered = in_words(compose(kind, facts, language, "Asia/Seoul", AT), 4096)
    read = read_markdown(rendered.markdown)
    golden = korean if language == "ko" else english
    assert read.text == rendered.plain == golden
    assert read.entities == (("Bold", golden.split("\n")[0]),)


HOSTILE = "x](http://evil) *_~`>#+-=|{}.!\\ ||spoiler|| <b>&\u202e\n/closeall"


@pytest.mark.parametrize("kind", [row[0] for row in GOLDEN])
def test_hostile_names_format_nothing(kind: str) -> None:
    facts = next(row[1] for row in GOLDEN if row[0] == kind)
    hostile = {name: HOSTILE if isinstance(value, str) else value for name, value in facts.items()}
    hostile |= {"mode": facts.get("mode", "")}
    read = read_markdown(in_words(compose(kind, hostile, "en", "UTC", AT), 4096).markdown)
    assert [name for name, _ in read.entities] == ["Bold"]
    assert not any(line.startswith("/") for line in read.text.split("\n"))  # no command to press


def test_a_notice_goes_to_the_reader_s_chat(tmp_path: Path) -> None:
    async def scene(channel: TelegramNotifier, server: BotApiServer) -> None:
        await channel.send(MINSU, MESSAGE, 1)
        assert server.texts("7") == [MESSAGE.plain()]

    play(tmp_path, scene)


def test_a_report_comes_with_its_chart_and_fits_a_caption(tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(PICTURE)
    long = MESSAGE._replace(image="chart.png", lines=tuple(f"줄 {number} 😀" for number in range(300)))

    async def scene(channel: TelegramNotifier, server: BotApiServer) -> None:
        await channel.send(MINSU, long, 1)
        (sent,) = server.messages.values()
        assert sent.photo == PICTURE
        assert sent.text.startswith(MESSAGE.title)
        assert sent.text.endswith(f"…\n{MESSAGE.when}")

    play(tmp_path, scene)


@pytest.mark.parametrize("image", ["gone.png", "../outside.png", "not-a-picture.png"])
def test_a_report_whose_chart_cannot_be_sent_comes_without(tmp_path: Path, image: str) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    (tmp_path / "outside.png").write_bytes(PICTURE)
    (folder / "not-a-picture.png").write_text("text")

    async def scene(channel: TelegramNotifier, server: BotApiServer) -> None:
        await channel.send(MINSU, MESSAGE._replace(image=image), 1)
        (sent,) = server.messages.values()
        assert (sent.photo, sent.text) == (b"", MESSAGE.plain())

    play(folder, scene)


def test_who_blocked_the_bot_is_refused_for_good_also_with_a_chart(tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(PICTURE)

    async def scene(channel: TelegramNotifier, server: BotApiServer) -> None:
        server.blocked.add("7")
        for image in ("", "chart.png"):
            with pytest.raises(AddressRefused):
                await channel.send(MINSU, MESSAGE._replace(image=image), 1)
        assert not server.messages

    play(tmp_path, scene)


def test_a_wait_that_telegram_asks_for_is_handed_on(tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(PICTURE)

    async def scene(channel: TelegramNotifier, server: BotApiServer) -> None:
        server.fail("sendPhoto", Fault(429, "Too Many Requests: retry after 9", {"retry_after": 9}))
        with pytest.raises(DeliveryError) as raised:
            await channel.send(MINSU, MESSAGE._replace(image="chart.png"), 1)
        assert (raised.value.permanent, raised.value.retry_after_s) == (False, 9.0)
        assert not server.messages

    play(tmp_path, scene)


def test_the_channel_is_built_from_a_token_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "token"
    settings = Settings(home=tmp_path, telegram=TelegramSettings(token_file=file))
    assert configured_channels(Settings(home=tmp_path)) == []
    assert configured_channels(settings) == ["telegram"]
    with pytest.raises(ConfigError, match=r"telegram\.token_file: cannot read"):
        build_notifiers(settings)
    file.write_text(TOKEN + "\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        build_notifiers(settings)
    file.chmod(0o600)
    assert [one.channel for one in build_notifiers(settings)] == ["telegram"]
    file.write_text("secret of something else")
    os.utime(file)
    with pytest.raises(ConfigError, match="no bot token") as raised:
        build_notifiers(settings)
    assert "something else" not in str(raised.value)


@pytest.mark.parametrize("address", ["http://api.example.com", "ftp://x", "api.telegram.org", "https://u:p@host"])
def test_an_address_that_would_show_the_token_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="api_url"):
        TelegramSettings(api_url=address)
    assert TelegramSettings(api_url="http://127.0.0.1:8081").api_url

"""The address outside the server is called while trading is healthy, and only then; it never appears in a log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ctp.clock import ManualClock
from ctp.config import HeartbeatSettings
from ctp.errors import ConfigError
from ctp.logs import start_logging
from ctp.scheduler.heartbeat import keep_calling, read_address
from ctp.storage.database import Database
from ctp.storage.leases import beat
from tests.waiting import until

SECRET = "5fd1c2d7-9f1e-4a55-beef-0c9a8b7d6e5f"


class Outside:
    """A service that raises the alarm when it is not called."""

    def __init__(self) -> None:
        """Answer well until told otherwise."""
        self.calls: list[str] = []
        self.status = 200
        self.address = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Take a call."""
        self.calls.append(request.path.replace(SECRET, "SECRET"))
        return web.Response(status=self.status)


@asynccontextmanager
async def outside() -> AsyncIterator[Outside]:
    """Run the service on a port of its own."""
    service = Outside()
    application = web.Application()
    application.router.add_get("/{rest:.*}", service.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service.address = f"http://127.0.0.1:{runner.addresses[0][1]}/{SECRET}"
        yield service
    finally:
        await runner.cleanup()


def bot_beats(database: Database, at_ms: int, **details: Any) -> None:
    """Let the bot give a sign of life."""
    with database.transaction() as connection:
        beat(connection, "bot", at_ms, details)


async def next_round(clock: ManualClock) -> None:
    """Let the caller take its next turn and finish it; it looks and calls outside this loop."""
    await clock.advance(60)
    await until(lambda: clock._sleepers)


async def story(database: Database, tell_failure: bool) -> list[str]:
    """Let trading be healthy, then not, then silent, then healthy again; return the calls, one list of a round each."""
    clock, rounds, seen = ManualClock(), [], 0
    async with outside() as service:
        settings = HeartbeatSettings(every_s=60, tell_failure=tell_failure)
        bot_beats(database, clock.now_ms(), unhealthy="")
        task = asyncio.create_task(keep_calling(database, clock, settings, service.address))
        await until(lambda: clock._sleepers)
        for said in ("", None, "an exchange cannot be reached", None, None, ""):
            rounds.append(" ".join(service.calls[seen:]))
            seen = len(service.calls)
            if said is not None:
                bot_beats(database, clock.now_ms() + 60_000, unhealthy=said)
            await next_round(clock)
        rounds.append(" ".join(service.calls[seen:]))
        service.status = 404
        bot_beats(database, clock.now_ms() + 60_000, unhealthy="")
        await next_round(clock)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return rounds


def test_the_address_is_called_only_while_trading_is_healthy(database: Database, tmp_path: Path) -> None:
    start_logging("backup", tmp_path, console=False)
    try:
        (tmp_path / "address").write_text(f"https://example.invalid/{SECRET}\n")
        (tmp_path / "address").chmod(0o600)
        read_address(HeartbeatSettings(url_file=tmp_path / "address"))
        assert asyncio.run(story(database, False)) == ["/SECRET", "/SECRET", "", "", "", "", "/SECRET"]
        log = (tmp_path / "backup.jsonl").read_text()
        assert "an exchange cannot be reached" in log
        assert "the bot is silent" in log
        assert "heartbeat_refused" in log
        assert SECRET not in log
    finally:
        start_logging("backup", None, console=False)


def test_a_failure_is_told_at_once_when_that_was_chosen(database: Database) -> None:
    calls = asyncio.run(story(database, True))
    assert calls == ["/SECRET", "/SECRET", *["/SECRET/fail"] * 4, "/SECRET"]


def test_an_address_that_cannot_be_reached_is_asked_again(database: Database) -> None:
    async def run() -> None:
        clock = ManualClock()
        bot_beats(database, clock.now_ms(), unhealthy="")
        async with outside() as service:
            address = service.address
        task = asyncio.create_task(keep_calling(database, clock, HeartbeatSettings(), address))
        await until(lambda: clock._sleepers)
        await next_round(clock)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_a_file_others_can_read_or_that_holds_no_address_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "address"
    file.write_text("https://hc.example/1")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_address(HeartbeatSettings(url_file=file))
    file.chmod(0o600)
    file.write_text("hc.example/1")
    with pytest.raises(ConfigError, match="https://"):
        read_address(HeartbeatSettings(url_file=file))
    assert read_address(HeartbeatSettings()) == ""

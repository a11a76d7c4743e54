"""Bot and scheduler, as processes, with a mail server: whoever dies, people have a mail about it within a minute."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.accounts.vault import Vault
from ctp.config import load_settings
from ctp.i18n import text
from ctp.lifetime import Tie
from ctp.notifiers.kinds import set_choice
from ctp.storage.database import Database
from ctp.storage.tables import account_states
from services.children import child_environment, service_program
from tests.accounts.people import reach, set_scene
from tests.journeys.processes import processes_of
from tests.notifiers.mail_server import MailServer, mail_server
from tests.waiting import until

PATIENCE_S = 180.0  # it takes 40 s or less; a busy machine may take longer, so the time is printed and not judged


@pytest.mark.timeout(600)
def test_bot_and_scheduler_announce_each_others_death_and_return_by_mail(home: Path) -> None:
    asyncio.run(_journey(home))


async def _journey(home: Path) -> None:
    """Kill one after the other; each time the other one tells, and tells again when it is back."""
    async with mail_server() as server:
        (home / "ctp.toml").write_text(
            f'[email]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\nsender = "ctp@example.com"\n'
        )
        settings = load_settings()
        database = Database(settings.database_url)
        database.migrate()
        Vault(settings.keys).create()
        scene = set_scene(database)
        with database.transaction() as connection:
            for who in (scene.minsu, scene.olaf):
                reach(connection, who, "email")
                set_choice(connection, who.user_id, "system_error", "email", True)
            row = {"account_id": scene.minsus, "status": "running", "core_state": "[]", "updated_at": 0}
            connection.execute(sa.insert(account_states).values(**row))
        stage = _Stage(home, server)
        try:
            for name in ("bot", "backup"):
                await stage.start(name)
            for dead, name in (("backup", "scheduler"), ("bot", "bot")):
                await stage.kill(dead)
                await stage.until_mailed(f"{name}_silent")
                await stage.start(dead)
                await stage.until_mailed(f"{name}_back")
        finally:
            await stage.stop()
            database.close()
    assert not processes_of(home)


class _Stage:
    """Two services that nobody restarts, and the mail people got."""

    def __init__(self, home: Path, server: MailServer) -> None:
        """Start nothing yet."""
        self._home, self._server = home, server
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str) -> None:
        """Start a service and wait until it works."""
        program = service_program(self._home, name, child_environment(self._home))
        program.log_file.parent.mkdir(exist_ok=True)
        started_ms = time.time_ns() // 1_000_000
        with program.log_file.open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                *program.arguments, env=dict(program.environment), stdout=log, stderr=log, preexec_fn=Tie()
            )
        await self._until(lambda: self._beats().get(name, 0) > started_ms, f"{name} works")

    async def kill(self, name: str) -> None:
        """Kill a service and leave it dead."""
        process = self._running.pop(name)
        process.kill()
        await process.wait()

    async def until_mailed(self, what: str) -> None:
        """Wait until both people have a mail about it, and say how long it took."""
        title, started = text(f"problem.{what}.title", "ko"), time.monotonic()
        await self._until(lambda: sum(title in str(one["Subject"]) for one in self._server.taken) >= 2, f"mail: {what}")
        print(f"{what}: {time.monotonic() - started:.1f} s")

    async def stop(self) -> None:
        """Stop what runs."""
        for process in self._running.values():
            process.terminate()
            await process.wait()

    def _beats(self) -> dict[str, int]:
        """Return the last sign of life of each service."""
        with contextlib.closing(sqlite3.connect(self._home / "ctp.db", timeout=10)) as database:
            return dict(database.execute("SELECT process, at FROM heartbeats").fetchall())

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds; fails with its name."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await until(holds)
        except TimeoutError:
            _print_logs(self._home)
            raise AssertionError(f"not within {PATIENCE_S:g} s: {what}") from None


def _print_logs(home: Path) -> None:
    """Print the last lines of every log, for a failing test."""
    for file in sorted((home / "logs").glob("*")):
        print(file.name, *file.read_text(errors="replace").splitlines()[-12:], sep="\n  ")

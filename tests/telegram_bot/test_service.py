"""The scheduler's program really listens, and its token stays where it is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from ctp.storage.database import Database
from ctp.storage.leases import read_heartbeats
from tests.conftest import ROOT
from tests.telegram_bot.bot_api import TOKEN, Fault, bot_api
from tests.telegram_bot.scene import SENDERS, Stage
from tests.telegram_bot.test_listener import until


def test_crypto_trader_backup_answers_and_tells_nobody_its_token(home: Path, tmp_path: Path) -> None:
    """A canary: every word that the program writes, in its log, on its screen and into its database, at DEBUG."""
    file, told = tmp_path / "token", tmp_path / "output"
    file.write_text(TOKEN)
    file.chmod(0o600)
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    database.migrate()
    Stage(database, home)

    async def scene() -> None:
        async with bot_api() as server:
            environment = {
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "PYTHONPATH": str(ROOT),
                "CTP_HOME": str(home),
                "CTP__TELEGRAM__TOKEN_FILE": str(file),
                "CTP__TELEGRAM__API_URL": server.address,
                "CTP__LOGS__LEVEL": "DEBUG",
            }
            for fault in (Fault(502), Fault(connection="drop"), Fault(500, f"at /bot{TOKEN}/getMe")):
                server.fail("getMe", fault)
            server.write(int(SENDERS["alice"]), "/help")
            with told.open("wb") as output:
                program = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "services.crypto_trader_backup",
                    cwd=ROOT,
                    env=environment,
                    stdout=output,
                    stderr=output,
                )
            try:
                await until(lambda: bool(server.texts(SENDERS["alice"])), "an answer")
                await until(lambda: _listens(database), "it wrote that it listens")
                assert server.texts(SENDERS["alice"])[0].startswith("Commands\n/status")
            finally:
                program.send_signal(signal.SIGINT)
                code = await program.wait()
            assert code == 0

    asyncio.run(scene())
    database.close()
    written = [told, *(path for path in home.rglob("*") if path.is_file())]
    assert any("telegram_not_heard" in path.read_text("utf-8", "replace") for path in written)
    secret = TOKEN.partition(":")[2].encode()
    assert [str(path) for path in written if secret in path.read_bytes()] == []


def _listens(database: Database) -> bool:
    """Tell whether the program has written that it hears."""
    with database.reading() as connection:
        return "telegram" in read_heartbeats(connection)

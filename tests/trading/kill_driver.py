"""Runs bots that are killed: reads one line of JSON for each, forks, and tells how the child ended.

The child really dies by SIGKILL, at the checkpoint it was told. Forking from a process that has imported
everything makes a bot start in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from ctp.clock import SystemClock
from ctp.config import PaperSettings, Settings, TradingSettings
from ctp.lifetime import end_with_parent
from ctp.storage.database import Database
from ctp.trading.bot import Bot
from ctp.trading.leadership import Leadership
from ctp.trading.writer import Writer
from tests.trading.rig import FakeVault, database_of


class Killer:
    """Kills this process at the first checkpoint of a name."""

    def __init__(self, kill_at: str, passed: Path) -> None:
        """Take the checkpoint to die at ("": none, "*": the first there is) and the file that lists those passed."""
        self.kill_at, self.passed = kill_at, passed

    def __call__(self, label: str) -> None:
        """Pass a checkpoint, or die there."""
        with self.passed.open("a") as file:
            file.write(f"{label}\n")
        if self.kill_at in (label, "*"):
            os.kill(os.getpid(), signal.SIGKILL)


async def work(order: dict[str, object]) -> None:
    """Run one bot until it is killed or terminated."""
    folder = Path(str(order["folder"]))
    settings = Settings(
        home=folder / "home",
        trading=TradingSettings(command_poll_s=0.05, recv_window_ms=300, reconcile_every_s=1.0),
        paper=PaperSettings(port=int(str(order["port"])), ca_file=Path(str(order["ca_file"]))),
    )
    database = Database(database_of(folder))
    clock = SystemClock()
    writer = Writer(database)
    leadership = Leadership(writer, clock)
    await leadership.take()
    killer = Killer(str(order["kill_at"]), folder / "passed.txt")
    await Bot(settings, clock, database, writer, leadership, FakeVault(), killer).work()  # type: ignore[arg-type]


def main() -> None:
    """Serve until standard input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            end_with_parent(None, signal.SIGKILL)
            sys.stdin.close()
            sys.stdout = sys.stderr
            asyncio.run(work(order))
            os._exit(0)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}), flush=True)


if __name__ == "__main__":
    main()

"""SIGKILL at every point where the process may die: nothing is forgotten, doubled or left without a stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trading.rig import PATIENCE_S, Rig, trading_rig
from tests.trading.test_faults import BUSY, SPOT, USDM
from tests.trading.truth import check_truth

ROOT = Path(__file__).resolve().parent.parent.parent
POINTS = {
    "usdm": ["decided", "entry before post", "entry answered", "recorded", "planned", "stop before post",
             "stop answered", "exit answered"],
    "spot": ["entry answered", "pair before post", "pair answered", "exit before post"],
}  # fmt: skip


class KilledBots:
    """Bots in a process of their own, started one after the other."""

    def __init__(self, rig: Rig, driver: asyncio.subprocess.Process) -> None:
        """Take a rig and a running driver."""
        self.rig, self.driver = rig, driver
        self._ending: asyncio.Task[int] | None = None  # what ended the bot: its signal, 0 for none
        self._bot: int | None = None  # a handle of its process, which no other process can inherit

    async def start(self, kill_at: str) -> None:
        """Start a bot that dies at a checkpoint (empty: never); the one before has ended."""
        assert self.driver.stdin is not None
        assert self._ending is None, "two bots at a time"
        order = {
            "folder": str(self.rig.folder), "port": self.rig.exchange.port, "ca_file": self.rig.exchange.ca_file,
            "kill_at": kill_at,
        }  # fmt: skip
        self.driver.stdin.write(json.dumps(order).encode() + b"\n")
        pid = int((await self._answer())["pid"])
        with contextlib.suppress(ProcessLookupError):  # it has died at its checkpoint already
            self._bot = os.pidfd_open(pid)
        self._ending = asyncio.create_task(self._end())

    @property
    def has_ended(self) -> bool:
        """Return whether the bot has died."""
        return self._ending is None or self._ending.done()

    async def kill(self) -> int:
        """Kill the bot, unless it has died by itself; returns the signal that ended it."""
        if self._bot is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._bot, signal.SIGKILL)
        return await self.wait()

    async def wait(self) -> int:
        """Wait for the bot's end; returns the signal that ended it."""
        assert self._ending is not None
        ended_by = await asyncio.wait_for(self._ending, PATIENCE_S)
        if self._bot is not None:
            os.close(self._bot)
        self._ending = self._bot = None
        return ended_by

    async def _end(self) -> int:
        return int((await self._answer())["signal"])

    async def _answer(self) -> dict[str, Any]:
        assert self.driver.stdout is not None
        line = await self.driver.stdout.readline()
        assert line, "the driver has ended"
        return dict(json.loads(line))

    async def close(self) -> None:
        """End the driver, and with it the bot."""
        self.driver.kill()
        await self.driver.wait()
        if self._ending is not None:
            await asyncio.gather(self._ending, return_exceptions=True)
        if self._bot is not None:
            os.close(self._bot)


async def _drive(rig: Rig) -> KilledBots:
    driver = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.trading.kill_driver", stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return KilledBots(rig, driver)


@pytest.mark.parametrize("venue", ["usdm", "spot"])
def test_killed_at_every_point_and_again_while_recovering(venue: str, tmp_path: Path) -> None:
    async def journey() -> None:
        columns = USDM if venue == "usdm" else SPOT
        async with trading_rig(tmp_path, columns, history=100) as rig:
            exchange = "binanceusdm" if venue == "usdm" else "binance"
            account = rig.add_account(list(columns), exchange=exchange, strategy=BUSY, risk={"max_drawdown": 1})
            bots = await _drive(rig)
            try:
                await _journey(rig, bots, account, POINTS[venue])
            finally:
                await bots.close()

    asyncio.run(journey())


async def _journey(rig: Rig, bots: KilledBots, account: int, points: list[str]) -> None:
    await bots.start("")
    assert await rig.command(account, "start") == "done"
    for number, point in enumerate(points):
        assert await bots.kill() == signal.SIGKILL
        await bots.start(point)
        time, lived = 0, True
        while lived:
            time = int(rig.exchange.status()["candle"])  # type: ignore[call-overload]
            await rig.exchange.advance()
            lived = await _settles(rig, bots, account, time)
        assert await bots.wait() == signal.SIGKILL
        if number % 3 == 0:  # recovery itself is killed, too
            await bots.start("*")
            await _settles(rig, bots, account, time)
            assert await bots.kill() == signal.SIGKILL
        await bots.start("")
        await rig.until(lambda t=time: rig.is_settled(account, t), f"settled after a kill at {point!r}")
        check_truth(rig, account)
        await rig.advance([account], 1)
        check_truth(rig, account)
    assert set(points) <= set((rig.folder / "passed.txt").read_text().splitlines())


async def _settles(rig: Rig, bots: KilledBots, account: int, time: int) -> bool:
    """Wait until the bot has settled the candle; returns False when it died before that."""
    await rig.until(lambda: bots.has_ended or rig.is_settled(account, time), f"candle {time} settled, or the bot dead")
    return not bots.has_ended

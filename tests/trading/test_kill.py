"""SIGKILL at every point where the process may die: nothing is forgotten, doubled or left without a stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trading.rig import Rig, trading_rig
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

    async def start(self, kill_at: str) -> int:
        """Start a bot that dies at a checkpoint (empty: never); returns its process id."""
        assert self.driver.stdin is not None
        order = {
            "folder": str(self.rig.folder), "port": self.rig.exchange.port, "ca_file": self.rig.exchange.ca_file,
            "kill_at": kill_at,
        }  # fmt: skip
        self.driver.stdin.write(json.dumps(order).encode() + b"\n")
        return int((await self._answer())["pid"])

    async def ended(self, timeout_s: float) -> int | None:
        """Return the signal that ended the bot, None while it lives on."""
        try:
            return int((await asyncio.wait_for(self._answer(), timeout_s))["signal"])
        except TimeoutError:
            return None

    async def _answer(self) -> dict[str, Any]:
        assert self.driver.stdout is not None
        line = await self.driver.stdout.readline()
        assert line, "the driver has ended"
        return dict(json.loads(line))


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
                bots.driver.kill()
                await bots.driver.wait()

    asyncio.run(journey())


async def _journey(rig: Rig, bots: KilledBots, account: int, points: list[str]) -> None:
    pid = await bots.start("")
    assert await rig.command(account, "start") == "done"
    for number, point in enumerate(points):
        os.kill(pid, signal.SIGKILL)
        assert await bots.ended(5) == signal.SIGKILL
        await bots.start(point)
        time, lived = 0, True
        while lived:
            time = int(rig.exchange.status()["candle"])  # type: ignore[call-overload]
            await rig.exchange.advance()
            lived = await _settles(rig, bots, account, time)
        if number % 3 == 0:  # recovery itself is killed, too
            pid = await bots.start("*")
            if await _settles(rig, bots, account, time):
                os.kill(pid, signal.SIGKILL)
                await bots.ended(5)
        pid = await bots.start("")
        await rig.until(lambda t=time: rig.is_settled(account, t), f"settled after a kill at {point!r}")
        check_truth(rig, account)
        await rig.advance([account], 1)
        check_truth(rig, account)
    assert set(points) <= set((rig.folder / "passed.txt").read_text().splitlines())


async def _settles(rig: Rig, bots: KilledBots, account: int, time: int) -> bool:
    """Wait until the bot has settled the candle; returns False when it died before that."""
    ended = asyncio.ensure_future(bots.ended(30))
    while not rig.is_settled(account, time):
        if ended.done():
            return False
        await asyncio.sleep(0.01)
    ended.cancel()
    await asyncio.gather(ended, return_exceptions=True)
    return True

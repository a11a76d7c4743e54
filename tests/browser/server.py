"""A seeded gateway with a stand-in for the bot, by itself: `python -m tests.browser.server HOME [plain] [channels]`.

Prints one line of JSON with its port. The stand-in beats, moves the newest candle, and obeys commands step by step. Close
all always fails with it, except an administrator's. It is dead while HOME/bot-is-dead exists, acknowledges nothing while
HOME/bot-is-deaf does, and finishes nothing while HOME/bot-is-slow does: so a page can be watched at every step, however
slow the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from ctp.clock import SystemClock
from ctp.lifetime import end_with_parent
from ctp.storage import tables
from ctp.storage.leases import beat
from ctp.web.gateway import running
from tests.web.seed import COST, World, make_world, set_up_channels

STATUS_AFTER = {
    "start": "running",
    "pause": "paused",
    "stop_keep": "stopped",
    "stop_close": "stopped",
    "close_all": "paused",
}


async def main(home: Path, options: set[str]) -> None:
    """Serve until the parent ends. options: `plain` leaves the dashboards out, `channels` sets e-mail and Telegram up."""
    world = make_world(home, int(time.time() * 1000))
    with_voila = "plain" not in options
    clock = SystemClock()
    async with running(world.settings, clock, cost=COST, with_voila=with_voila, pool_size=2, nice=0) as (gateway, port):
        if with_voila:
            await asyncio.wait_for(gateway.voila.is_ready.wait(), 120)
        if "channels" in options:
            set_up_channels(gateway)
        print(
            json.dumps({"port": port, "voila": gateway.voila.process.pid if gateway.voila.process else 0}), flush=True
        )
        while True:
            if not (home / "bot-is-dead").exists():
                await asyncio.to_thread(act, world, random.Random(), home)
            await asyncio.sleep(0.2)


def act(world: World, chance: random.Random, home: Path) -> None:
    """Do what a bot does to the tables that pages read."""
    now = int(time.time() * 1000)
    candle, state, command = tables.live_candles.c, tables.account_states.c, tables.commands.c
    with world.database.transaction() as connection:
        roles = sa.select(tables.users.c.id).where(tables.users.c.role == "admin")
        administrators = set(connection.scalars(roles))
        beat(connection, "bot", now)
        moved = sa.update(tables.live_candles).where(candle.closed.is_(False), candle.symbol == "BTC/USDT:USDT")
        connection.execute(moved.values(close=candle.close * (1 + chance.gauss(0, 0.0005))))
        for row in connection.execute(sa.select(tables.commands).where(command.done_at.is_(None))).all():
            this = sa.update(tables.commands).where(command.id == row.id)
            if row.acknowledged_at is None and not (home / "bot-is-deaf").exists():
                connection.execute(this.values(acknowledged_at=now))
            elif row.acknowledged_at is not None and not (home / "bot-is-slow").exists():
                has_failed = row.kind == "close_all" and row.asked_by not in administrators
                connection.execute(this.values(done_at=now, result="no market data" if has_failed else "done"))
                if has_failed:
                    continue
                account = sa.update(tables.account_states).where(state.account_id == row.account_id)
                connection.execute(account.values(status=STATUS_AFTER.get(row.kind, "running")))
                if row.kind in ("stop_close", "close_all"):
                    connection.execute(account.values(core_state='{"positions": []}'))


if __name__ == "__main__":
    end_with_parent(os.getppid())
    asyncio.run(main(Path(sys.argv[1]), set(sys.argv[2:])))

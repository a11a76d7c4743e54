"""A disk without room: nothing is begun any more, what is open is protected and ended."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

from ctp.config import DiskSettings
from ctp.storage.tables import orders
from tests.trading.rig import Rig, trading_rig
from tests.trading.test_faults import USDM
from tests.trading.test_wallet import EAGER, RISK
from tests.trading.truth import position_sizes


def filled_entries(rig: Rig) -> int:
    """Return how many entries have filled."""
    return len(rig.rows(orders, orders.c.purpose == "entry", orders.c.status == "filled"))


def test_without_room_on_the_disk_nothing_is_entered_and_what_is_open_ends(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            rig.settings.home.mkdir()
            account = rig.add_account(list(USDM), strategy=EAGER, risk=RISK, capital=Decimal(9_900))
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            while not position_sizes(rig, account):
                await rig.advance([account])
            await rig.stop_bot()
            full = DiskSettings(short_mb=1_000_000_000)
            rig.settings = rig.settings.model_copy(update={"disk": full})
            await rig.start_bot()
            entered = filled_entries(rig)
            for _ in range(40):
                if not position_sizes(rig, account):
                    break
                await rig.advance([account])
            assert not position_sizes(rig, account), "exits go on"
            await rig.advance([account], 3)
            assert filled_entries(rig) == entered
            dropped = rig.rows(orders, orders.c.purpose == "entry", orders.c.status == "not_sent")
            assert dropped and {row.error for row in dropped} == {"entries were stopped"}
            await rig.stop_bot()

    asyncio.run(journey())

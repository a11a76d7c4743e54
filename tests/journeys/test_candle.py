"""Journey: closed candle, decision, commit, send, fill, ledger, protective orders."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.trading.rig import trading_rig, walk


def test_a_candle_becomes_a_protected_position(tmp_path: Path) -> None:
    asyncio.run(_candle(tmp_path))


async def _candle(folder: Path) -> None:
    columns = {"BTC/USDT:USDT": walk(1, 560, 60_000.0, tick=0.1)}
    async with trading_rig(folder, columns, history=450) as rig:
        account = rig.add_account(["BTC/USDT:USDT"], strategy={"volume_factor": 0, "oversold": 45, "overbought": 60})
        await rig.start_bot()
        assert await rig.command(account, "start") == "done"
        await rig.advance([account], 100)
        for trade in rig.trades(account):
            print(trade)
        assert len(rig.trades(account)) > 3

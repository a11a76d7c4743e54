"""Leverage and margin mode stand ready before an entry needs them, and after somebody changed them by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ctp.storage.tables import orders
from tests.trading.rig import trading_rig
from tests.trading.test_faults import BUSY, USDM

CONFIGURATION = "GET /fapi/v1/symbolConfig"


def test_an_entry_finds_its_symbol_ready_and_asks_nothing(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = rig.add_account(list(USDM), strategy=BUSY, risk={"leverage": 7, "max_drawdown": 1})
            theirs = rig.exchange.engine.futures.accounts[f"key{account}"]
            is_ready = lambda: (theirs.leverage("BTCUSDT"), theirs.margin_type("BTCUSDT")) == (7, "isolated")  # noqa: E731
            changed = rig.settings.trading.model_copy(update={"reconcile_every_s": 0.3})
            rig.settings = rig.settings.model_copy(update={"trading": changed})
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            await rig.until(is_ready, "set before any signal")

            theirs.leverages["BTCUSDT"] = 20
            await rig.until(is_ready, "set again after somebody changed it")

            # The bot checks what it has set, then looks at everything again and again: once it has looked, it is done.
            rig.exchange.fault("delay_before", match=CONFIGURATION, delay_ms=0, count=3)
            await rig.until(lambda: len(rig.exchange.faults.struck) == 3, "looked again")

            # An entry that has to ask names its symbol; the look at everything does not.
            asked = {"match": CONFIGURATION, "parameters": {"symbol": "BTCUSDT"}}
            rig.exchange.fault("delay_before", **asked, delay_ms=0, count=10_000)
            before = len(rig.exchange.faults.struck)
            while not rig.rows(orders, orders.c.purpose == "entry"):
                await rig.advance([account])
            assert rig.rows(orders, orders.c.purpose == "entry")[0].status == "filled"
            assert len(rig.exchange.faults.struck) == before, "asked while a signal waited"

    asyncio.run(journey())

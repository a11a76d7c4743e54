"""An entry that fills only after the next candle has closed is one entry: the decision in between must know of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ctp.storage.tables import decisions, orders
from tests.journeys.test_stop import HOLDER
from tests.trading.rig import trading_rig
from tests.trading.test_faults import SPOT, USDM
from tests.trading.truth import check_truth, position_sizes


@pytest.mark.parametrize("venue", ["usdm", "spot"])
def test_an_entry_that_travels_beyond_the_next_close_is_not_followed_by_a_second_one(venue: str, tmp_path: Path) -> None:
    async def journey() -> None:
        columns, exchange = (USDM, "binanceusdm") if venue == "usdm" else (SPOT, "binance")
        async with trading_rig(tmp_path, columns, history=100) as rig:
            account = rig.add_account(list(columns), exchange=exchange, strategy=HOLDER)
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            match = "POST /fapi/v1/order" if venue == "usdm" else "POST /api/v3/order"
            rig.exchange.fault("delay_before", match=match, delay_ms=500)
            await rig.exchange.advance()
            await rig.until(lambda: bool(rig.exchange.faults.struck), "the entry is on its way")
            time = int(rig.exchange.status()["candle"])  # type: ignore[call-overload]
            await rig.exchange.advance()  # the entry arrives in the candle after this one
            await rig.until(lambda: rig.is_settled(account, time), "settled")
            entries = rig.rows(orders, orders.c.purpose == "entry")
            assert [row.status for row in entries] == ["filled"]
            assert rig.rows(decisions, order=decisions.c.candle_time)[-1].reason == "exchange_unavailable"
            await rig.advance([account], 2)
            assert len(rig.rows(orders, orders.c.purpose == "entry")) == 1
            assert position_sizes(rig, account)
            check_truth(rig, account)

    asyncio.run(journey())

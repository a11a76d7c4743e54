"""Scripted faults of the exchange: whatever breaks, the invariants hold once it works again."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.trading.rig import Rig, trading_rig, walk
from tests.trading.truth import await_truth

USDM, SPOT = {"BTC/USDT:USDT": walk(1, 560, 60_000.0, tick=0.1)}, {"BTC/USDT": walk(1, 560, 60_000.0, tick=0.01)}
BUSY = {"volume_factor": 0, "oversold": 50, "overbought": 51, "warm_up": 60, "stop_loss": 0.008, "take_profit": 0.01}
POSTS = {"usdm": ["POST /fapi/v1/order", "POST /fapi/v1/algoOrder"], "spot": ["POST /api/v3/order", "POST /api/v3/orderList/oco"]}
OTHERS = {
    "usdm": ["GET /fapi/v1/order", "GET /fapi/v1/algoOrder", "GET /fapi/v1/userTrades", "DELETE /fapi/v1/algoOrder",
             "GET /fapi/v3/positionRisk", "GET /fapi/v1/openAlgoOrders", "GET /fapi/v1/klines"],
    "spot": ["GET /api/v3/order", "GET /api/v3/myTrades", "DELETE /api/v3/order", "GET /api/v3/openOrders"],
}  # fmt: skip
FAULTS: list[dict[str, Any]] = [
    {"action": "drop_before"},
    {"action": "drop_after"},
    {"action": "status_after", "status": 503, "code": -1007},
    {"action": "status_after", "status": 503, "code": -1000, "message": "Unknown error, please check your request"},
    {"action": "status", "status": 502, "body": "<html>bad gateway</html>", "content_type": "text/html"},
    {"action": "status", "status": 200, "body": "<html>", "content_type": "text/html"},
    {"action": "truncate"},
    {"action": "garbage"},
    {"action": "null"},
    {"action": "delay_after", "delay_ms": 1500},
    {"action": "delay_before", "delay_ms": 700},
    {"action": "error", "status": 429, "code": -1003, "message": "Too many requests", "headers": {"Retry-After": "1"}},
    {"action": "error", "status": 400, "code": -1001, "message": "Internal error"},
]


async def _run(rig: Rig, account: int) -> None:
    rig.settings = rig.settings.model_copy(
        update={"trading": rig.settings.trading.model_copy(update={"recv_window_ms": 300, "reconcile_every_s": 1.0})}
    )
    await rig.start_bot()
    assert await rig.command(account, "start") == "done"


@pytest.mark.parametrize("venue", ["usdm", "spot"])
def test_every_fault_of_a_sending_request_leaves_the_truth_in_the_database(venue: str, tmp_path: Path) -> None:
    async def journey() -> None:
        columns = USDM if venue == "usdm" else SPOT
        async with trading_rig(tmp_path, columns, history=100) as rig:
            exchange = "binanceusdm" if venue == "usdm" else "binance"
            account = rig.add_account(list(columns), exchange=exchange, strategy=BUSY, risk={"max_drawdown": 1})
            await _run(rig, account)
            for fault in FAULTS:
                for match in POSTS[venue]:
                    struck = len(rig.exchange.faults.struck)
                    rig.exchange.fault(**fault, match=match)
                    while len(rig.exchange.faults.struck) == struck:
                        await rig.advance([account])
                        await await_truth(rig, account)
                    await rig.advance([account])
                    await await_truth(rig, account)
            assert len(rig.trades(account)) > 5

    asyncio.run(journey())


@pytest.mark.parametrize("seed", range(int(os.environ.get("SEEDS", "4"))))
def test_random_faults_leave_the_truth_in_the_database(seed: int, tmp_path: Path) -> None:
    async def journey() -> None:
        chance = random.Random(seed)
        venue = ["usdm", "spot"][seed % 2]
        columns = USDM if venue == "usdm" else SPOT
        async with trading_rig(tmp_path, columns, history=100, seed=seed) as rig:
            exchange = "binanceusdm" if venue == "usdm" else "binance"
            strategy = BUSY | {"stop_loss": 0.004, "take_profit": 0.005}
            account = rig.add_account(list(columns), exchange=exchange, strategy=strategy, risk={"max_drawdown": 1})
            await _run(rig, account)
            while len(rig.exchange.faults.struck) < 12:
                for _ in range(chance.randint(1, 4)):
                    match = chance.choice(POSTS[venue] + OTHERS[venue])
                    rig.exchange.fault(
                        **chance.choice(FAULTS), match=match, count=chance.randint(1, 2), skip=chance.randint(0, 2),
                        probability=0.7,
                    )  # fmt: skip
                await rig.advance([account], 3)
                rig.exchange.faults.clear()
                await await_truth(rig, account)

    asyncio.run(journey())

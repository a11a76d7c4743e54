"""A wallet that no longer covers the account says so and bounds new entries; one that covers it changes nothing."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest

from ctp.storage.tables import decisions, notices
from tests.trading.rig import Rig, trading_rig
from tests.trading.test_faults import SPOT, USDM
from tests.trading.truth import position_sizes

# Enters whenever it is flat, and wants nine tenths of the equity.
EAGER = {"volume_factor": 0, "oversold": 98, "overbought": 99, "warm_up": 60, "stop_loss": 0.01, "take_profit": 0.004}
RISK = {"risk_per_trade": 0.02, "leverage": 1, "max_margin_fraction": 0.9, "max_drawdown": 1}


def entries(rig: Rig) -> list[dict[str, float]]:
    """Return the numbers of every planned entry."""
    rows = rig.rows(decisions, decisions.c.outcome == "enter", order=decisions.c.id)
    return [json.loads(row.numbers) for row in rows]


def told(rig: Rig) -> list[dict[str, object]]:
    """Return what was told about the wallet."""
    facts = [json.loads(row.facts) for row in rig.rows(notices, notices.c.kind == "system_error")]
    return [one for one in facts if one["what"] == "wallet_short"]


async def next_entry(rig: Rig, account: int) -> dict[str, float]:
    """Move on until another entry was planned and has filled; returns its numbers."""
    count = len(entries(rig))
    for _ in range(40):
        await rig.advance([account])
        if len(entries(rig)) > count:
            await rig.advance([account])
            return entries(rig)[count]
    raise AssertionError("no entry")


async def reconciled(rig: Rig, venue: str) -> None:
    """Wait until the wallet was read anew, twice to be sure that the first reading had not begun before."""
    struck = rig.exchange.faults.struck
    before = len(struck)
    match = "GET /fapi/v3/account" if venue == "usdm" else "GET /api/v3/account"
    rig.exchange.fault("delay_before", match=match, delay_ms=0, count=3)
    await rig.until(lambda: len(struck) >= before + 3, "the wallet was read")


@pytest.mark.parametrize("venue", ["usdm", "spot"])
def test_a_wallet_that_runs_short_bounds_entries_until_it_is_filled_again(venue: str, tmp_path: Path) -> None:
    async def journey() -> None:
        columns, exchange = (USDM, "binanceusdm") if venue == "usdm" else (SPOT, "binance")
        async with trading_rig(tmp_path, columns, history=100) as rig:
            changed = rig.settings.trading.model_copy(update={"reconcile_every_s": 0.3})
            rig.settings = rig.settings.model_copy(update={"trading": changed})
            account = rig.add_account(list(columns), exchange=exchange, strategy=EAGER, risk=RISK, capital=Decimal(9_900))
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            free = await next_entry(rig, account)
            assert "cover" not in free and free["room"] == pytest.approx(0.9 * free["equity"])
            assert not told(rig)

            while position_sizes(rig, account):
                await rig.advance([account])
            rig.exchange.deposit(f"key{account}", "USDT", Decimal(-6_000), venue=venue)
            await rig.until(lambda: bool(told(rig)), "the owner is told")
            await reconciled(rig, venue)
            bound = await next_entry(rig, account)
            assert bound["room"] == pytest.approx(bound["cover"])
            assert bound["cover"] == pytest.approx(bound["equity"] + 100 - 6_000, abs=20)
            assert bound["notional"] == pytest.approx(bound["room"]), "the exchange would have refused more"

            rig.exchange.deposit(f"key{account}", "USDT", Decimal(6_000), venue=venue)
            await reconciled(rig, venue)
            again = await next_entry(rig, account)
            assert "cover" not in again and again["room"] == pytest.approx(0.9 * again["equity"])
            assert len(told(rig)) == 1, "told once a day"

    asyncio.run(journey())

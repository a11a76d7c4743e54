"""Limit entries at the exchange: taken back in time, protected as far as they fill, never made twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ctp.storage.tables import decisions, orders, trades
from tests.parity.test_bot_limit_entries import OFTEN
from tests.trading.rig import Rig, trading_rig, walk
from tests.trading.truth import check_truth, position_sizes

USDM = {"BTC/USDT:USDT": walk(5, 180, 60_000.0, tick=0.1)}
SPOT = {"BTC/USDT": walk(5, 180, 60_000.0, tick=0.01)}
# The limit is so far away that nothing reaches it, unless a test moves the price there.
FAR = {**OFTEN, "limit_offset": 0.1, "stop_loss": 0.05, "take_profit": 0, "oversold": 60, "overbought": 90, "warm_up": 0}


@contextlib.asynccontextmanager
async def resting(folder: Path, venue: str, checkpoint: Any = None) -> AsyncIterator[tuple[Rig, int]]:
    """Yield a rig whose account has just let a limit entry rest."""
    columns, exchange = (USDM, "binanceusdm") if venue == "usdm" else (SPOT, "binance")
    async with trading_rig(folder, columns, history=100) as rig:
        account = rig.add_account(list(columns), exchange=exchange, strategy=FAR, risk={"max_drawdown": 1})
        await (rig.start_bot() if checkpoint is None else rig.start_bot(checkpoint))
        assert await rig.command(account, "start") == "done"
        for _ in range(30):
            await rig.advance([account])
            if working(rig, account):
                break
        assert len(working(rig, account)) == 1
        yield rig, account


def working(rig: Rig, account: int) -> list[dict[str, Any]]:
    """Return the limit orders that work at the exchange."""
    truth = rig.exchange.state(f"key{account}")
    told = [one for venue in ("usdm", "spot") for one in truth[venue]["orders"]]
    return [one for one in told if one["type"].startswith("LIMIT") and one["status"] in ("NEW", "PARTIALLY_FILLED")]


def price_of(rig: Rig, account: int) -> float:
    """Return the price of the order that rests."""
    return float(working(rig, account)[0]["price"])


def entries(rig: Rig) -> list[Any]:
    """Return the rows of all entries, oldest first."""
    return rig.rows(orders, orders.c.purpose == "entry", order=orders.c.candle_time)


@pytest.mark.parametrize("venue", ["usdm", "spot"])
def test_an_entry_rests_for_one_candle_as_post_only_and_is_replaced_at_the_next_close(venue: str, tmp_path: Path) -> None:
    async def journey() -> None:
        async with resting(tmp_path, venue) as (rig, account):
            first = working(rig, account)[0]
            assert first["type"] == "LIMIT_MAKER" or first["timeInForce"] == "GTX"
            row = entries(rig)[-1]
            assert (row.type, row.status, row.filled) == ("limit", "open", 0)
            told = rig.rows(decisions, decisions.c.outcome == "enter")[-1]
            assert '"limit"' in told.numbers
            await rig.advance([account])
            assert first["clientOrderId"] not in {one["clientOrderId"] for one in working(rig, account)}
            assert entries(rig)[0].status == "cancelled"
            assert len(working(rig, account)) <= 1

    asyncio.run(journey())


@pytest.mark.parametrize("command", ["pause", "stop_keep", "close_all"])
def test_a_command_takes_the_entry_back(command: str, tmp_path: Path) -> None:
    async def journey() -> None:
        async with resting(tmp_path, "usdm") as (rig, account):
            assert await rig.command(account, command) == "done"
            assert working(rig, account) == []
            assert entries(rig)[-1].status == "cancelled"
            check_truth(rig, account)

    asyncio.run(journey())


@pytest.mark.parametrize("venue", ["usdm", "spot"])
def test_a_graceful_stop_takes_the_entry_back(venue: str, tmp_path: Path) -> None:
    async def journey() -> None:
        async with resting(tmp_path, venue) as (rig, account):
            await rig.stop_bot()
            assert working(rig, account) == []

    asyncio.run(journey())


@pytest.mark.parametrize("venue", ["usdm", "spot"])
def test_an_entry_that_fills_while_the_bot_is_dead_is_protected_when_it_is_back(venue: str, tmp_path: Path) -> None:
    async def journey() -> None:
        async with resting(tmp_path, venue) as (rig, account):
            await kill(rig)
            symbol = next(iter(USDM if venue == "usdm" else SPOT))
            await rig.exchange.set_price(symbol, price_of(rig, account) * 0.999)
            assert working(rig, account) == []
            await rig.start_bot()
            await rig.until(lambda: bool(position_sizes(rig, account)), "the position is known")
            await rig.until(lambda: rig.is_protected(account), "the position is protected")
            assert entries(rig)[-1].status == "filled"
            check_truth(rig, account)

    asyncio.run(journey())


async def kill(rig: Rig) -> None:
    """End the bot as a power cut would: nothing it has at the exchange is touched."""
    assert rig.bot is not None
    from ctp.trading.worker import Worker

    stopped = Worker._take_back_entries

    async def not_any_more(self: Worker) -> None:
        """Do nothing."""

    Worker._take_back_entries = not_any_more  # type: ignore[method-assign]
    try:
        await rig.stop_bot()
    finally:
        Worker._take_back_entries = stopped  # type: ignore[method-assign]


def test_what_fills_of_an_entry_is_protected_and_the_rest_is_taken_back_at_the_close(tmp_path: Path) -> None:
    async def journey() -> None:
        async with resting(tmp_path, "usdm") as (rig, account):
            rig.exchange.partial_fill(0.4, "unfilled")
            wanted = Decimal(working(rig, account)[0]["origQty"])
            await rig.exchange.set_price(next(iter(USDM)), price_of(rig, account) * 0.999)
            await rig.until(lambda: bool(position_sizes(rig, account)), "a part is known")
            await rig.until(lambda: rig.is_protected(account), "the part is protected")
            size = position_sizes(rig, account)["BTC/USDT:USDT"]
            assert 0 < size < wanted
            await rig.advance([account])
            assert working(rig, account) == []
            assert entries(rig)[0].filled in (size, wanted)
            if position_sizes(rig, account):
                check_truth(rig, account)

    asyncio.run(journey())


def test_an_entry_that_cannot_be_cancelled_is_not_followed_by_a_second_one(tmp_path: Path) -> None:
    async def journey() -> None:
        async with resting(tmp_path, "usdm") as (rig, account):
            first = working(rig, account)[0]["clientOrderId"]
            rig.exchange.fault("status", match="DELETE /fapi/v1/order", status=502, count=3)
            await rig.exchange.advance()
            time = int(rig.exchange.status()["candle"]) - 3_600_000  # type: ignore[call-overload]
            decided = lambda: any(row.candle_time >= time for row in rig.rows(decisions))  # noqa: E731
            await rig.until(decided, "decided")
            assert [row.id for row in entries(rig)] == [first]
            assert rig.rows(decisions, order=decisions.c.candle_time)[-1].reason in ("exchange_unavailable", "rsi_level")
            await rig.until(lambda: working(rig, account) == [], "taken back once the exchange answers")

    asyncio.run(journey())


def test_an_entry_that_would_meet_the_market_is_no_trouble_and_no_trade(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = rig.add_account(list(USDM), strategy={**FAR, "limit_offset": 0.0001}, risk={"max_drawdown": 1})
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            rig.exchange.fault("error", match="POST /fapi/v1/order", code=-5022, count=1)
            for _ in range(30):
                await rig.advance([account])
                if entries(rig):
                    break
            assert entries(rig)[0].status == "rejected" and entries(rig)[0].error == "would_match"
            assert rig.rows(trades) == []

    asyncio.run(journey())


@pytest.mark.parametrize("label", ["entry cancelled", "entry before post", "entry answered"])
def test_a_crash_around_an_entry_leaves_one_order_or_none(label: str, tmp_path: Path) -> None:
    """The account recovers from the database and the exchange, and goes on."""
    struck: list[str] = []

    def crash(where: str) -> None:
        """Fail once at that point."""
        if where == label and not struck:
            struck.append(where)
            raise RuntimeError(f"crash at {where}")

    async def journey() -> None:
        columns = USDM
        async with trading_rig(tmp_path, columns, history=100) as rig:
            account = rig.add_account(list(columns), strategy=FAR, risk={"max_drawdown": 1})
            await rig.start_bot(crash)
            assert await rig.command(account, "start") == "done"
            for _ in range(20):
                await rig.advance([account])
                assert len(working(rig, account)) <= 1
                if struck and len(entries(rig)) > 1:
                    break
            assert struck
            await rig.stop_bot()
            known = {row.id for row in entries(rig)}
            told = [one for one in rig.exchange.state(f"key{account}")["usdm"]["orders"] if one["type"] == "LIMIT"]
            assert {one["clientOrderId"] for one in told} <= known
            assert len(told) == len({one["clientOrderId"] for one in told})
            assert working(rig, account) == []

    asyncio.run(journey())

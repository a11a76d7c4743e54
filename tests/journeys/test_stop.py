"""Journey: a person's command is asked, acknowledged within a second, done when it is true."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.storage.tables import account_states, commands, decisions, orders, trades
from ctp.trading.settled import is_settled
from tests.trading.rig import Rig, trading_rig
from tests.trading.test_faults import SPOT, USDM
from tests.trading.truth import check_truth, position_sizes

# Enters at once, and neither stop nor take is near.
HOLDER = {"volume_factor": 0, "oversold": 98, "overbought": 99, "warm_up": 60, "stop_loss": 0.2, "take_profit": 0.5}
VENUES = pytest.mark.parametrize("venue", ["usdm", "spot"])


async def _holding(rig: Rig, venue: str) -> int:
    """Start an account and let it open a position."""
    columns, exchange = (USDM, "binanceusdm") if venue == "usdm" else (SPOT, "binance")
    account = rig.add_account(list(columns), exchange=exchange, strategy=HOLDER)
    await rig.start_bot()
    assert await rig.command(account, "start") == "done"
    await rig.advance([account], 2)
    assert position_sizes(rig, account)
    return account


def _status(rig: Rig, account: int) -> str:
    return str(rig.one(account_states, account_states.c.account_id == account).status)


@VENUES
@pytest.mark.parametrize(("kind", "status"), [("stop_close", "stopped"), ("close_all", "paused")])
def test_close_leaves_nothing_but_the_owners_own_coins(venue: str, kind: str, status: str, tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM if venue == "usdm" else SPOT, history=100) as rig:
            account = await _holding(rig, venue)
            assert await rig.command(account, kind) == "done"
            assert position_sizes(rig, account) == {}
            check_truth(rig, account)
            assert _status(rig, account) == status
            assert [row.exit_reason for row in rig.trades(account)] == ["force_exit"]
            await rig.advance([account], 3)
            assert position_sizes(rig, account) == {}
            last = rig.rows(decisions, decisions.c.account_id == account, order=decisions.c.id)[-1]
            assert (last.outcome, last.reason) == ("refused", "paused")

    asyncio.run(journey())


@VENUES
def test_closing_one_symbol_leaves_the_others_and_the_account_trading(venue: str, tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM if venue == "usdm" else SPOT, history=100) as rig:
            account = await _holding(rig, venue)
            held = position_sizes(rig, account)
            symbol = min(held)
            assert await rig.command(account, "exit_symbol", symbol=symbol) == "done"
            assert position_sizes(rig, account) == {name: size for name, size in held.items() if name != symbol}
            check_truth(rig, account)
            assert _status(rig, account) == "running"
            assert [(row.symbol, row.exit_reason) for row in rig.trades(account)] == [(symbol, "force_exit")]
            assert "does not trade" in await rig.command(account, "exit_symbol", symbol="XMR/USDT")
            await rig.advance([account], 2)  # the rule enters again: the account was not paused
            assert symbol in position_sizes(rig, account)

    asyncio.run(journey())


def test_a_position_opened_after_closing_was_asked_for_is_not_closed(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = await _holding(rig, "usdm")
            held = position_sizes(rig, account)
            with rig.database.transaction() as connection:  # asked before the position was there, read only now
                connection.execute(
                    sa.insert(commands).values(
                        account_id=account,
                        kind="exit_symbol",
                        arguments=json.dumps({"symbol": min(held)}),
                        door="test",
                        asked_at=0,
                    )
                )
            await rig.until(
                lambda: rig.rows(commands, commands.c.kind == "exit_symbol")[-1].done_at is not None, "done"
            )
            assert position_sizes(rig, account) == held
            assert rig.trades(account) == []

    asyncio.run(journey())


@VENUES
def test_stop_keep_keeps_the_position_with_its_stop_and_start_takes_it_up_again(venue: str, tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM if venue == "usdm" else SPOT, history=100) as rig:
            account = await _holding(rig, venue)
            held = position_sizes(rig, account)
            assert await rig.command(account, "stop_keep") == "done"
            await rig.advance([account], 3)
            assert position_sizes(rig, account) == held
            check_truth(rig, account)
            assert await rig.command(account, "start") == "done"
            assert _status(rig, account) == "running"

    asyncio.run(journey())


def test_pressed_during_a_send_it_is_acknowledged_at_once_and_no_second_entry_leaves(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = rig.add_account(list(USDM), strategy=HOLDER)
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            rig.exchange.fault("delay_after", match="POST /fapi/v1/order", delay_ms=6000)
            time = int(rig.exchange.status()["candle"])  # type: ignore[call-overload]
            await rig.exchange.advance()
            await rig.until(lambda: bool(rig.exchange.faults.struck), "the entry is on its way")
            number = rig.ask(account, "stop_close")
            await rig.until(
                lambda: rig.one(commands, commands.c.id == number).acknowledged_at is not None, "acknowledged"
            )
            entry = rig.one(orders, orders.c.account_id == account, orders.c.purpose == "entry")
            assert entry.status == "planned", "acknowledged while the entry is still being sent"
            await rig.until(lambda: rig.one(commands, commands.c.id == number).done_at is not None, "flat")
            assert is_settled_now(rig, account, time)
            check_truth(rig, account)
            assert position_sizes(rig, account) == {}
            entries = rig.rows(orders, orders.c.account_id == account, orders.c.purpose == "entry")
            assert len(entries) == 1

    asyncio.run(journey())


def is_settled_now(rig: Rig, account: int, time: int) -> bool:
    """Return whether the account is done with a candle."""
    with rig.database.reading() as connection:
        return is_settled(connection, account, time)


def test_a_dead_bot_obeys_when_it_starts(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = await _holding(rig, "usdm")
            await rig.stop_bot()
            number = rig.ask(account, "close_all")
            await rig.start_bot()
            await rig.until(lambda: rig.one(commands, commands.c.id == number).done_at is not None, "closed")
            assert position_sizes(rig, account) == {}
            check_truth(rig, account)
            assert len(rig.rows(trades, trades.c.account_id == account)) == 1

    asyncio.run(journey())


def test_a_stop_asked_after_a_start_wins(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = rig.add_account(list(USDM), strategy=HOLDER)
            numbers = [rig.ask(account, kind) for kind in ("start", "pause")]
            await rig.start_bot()
            for number in numbers:
                await rig.until(lambda n=number: rig.one(commands, commands.c.id == n).done_at is not None, "done")
            assert _status(rig, account) == "paused"

    asyncio.run(journey())


def test_a_key_that_may_withdraw_never_starts(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = rig.add_account(list(USDM))
            rig.exchange.change_key(f"key{account}", can_withdraw=True)
            await rig.start_bot()
            assert "may withdraw" in await rig.command(account, "start")
            assert _status(rig, account) == "stopped"

    asyncio.run(journey())


def test_without_money_a_start_says_so(tmp_path: Path) -> None:
    async def journey() -> None:
        async with trading_rig(tmp_path, SPOT, history=100) as rig:
            account = rig.add_account(list(SPOT), exchange="binance", spot=(("BTC", Decimal(1)),))
            await rig.start_bot()
            assert "no USDT to trade with" in await rig.command(account, "start")
            assert _status(rig, account) == "stopped"

    asyncio.run(journey())

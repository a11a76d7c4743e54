"""A position is protected whatever happens to its orders, its streams or its owner's other hands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ctp.storage.tables import account_states, decisions, heartbeats, ledger, notices, orders
from tests.journeys.test_stop import HOLDER
from tests.trading.rig import Rig, trading_rig
from tests.trading.test_faults import SPOT, USDM
from tests.trading.truth import check_truth, position_sizes

Journey = Callable[[Rig, int], Awaitable[None]]
IN_TIME = {"protection_deadline_s": 2.0}  # as shipped; other tests wait longer, so that a busy machine is no fault
VENUES = pytest.mark.parametrize("venue", ["usdm", "spot"])


def play(
    folder: Path,
    venue: str,
    journey: Journey,
    *,
    holding: bool = True,
    trading: Mapping[str, float] = MappingProxyType({}),
    **settings: Any,
) -> None:
    """Run a journey of an account that holds a position (or is about to).

    trading, settings: other settings of the bot and of the exchange.
    """

    async def run() -> None:
        columns, exchange = (USDM, "binanceusdm") if venue == "usdm" else (SPOT, "binance")
        async with trading_rig(folder, columns, history=100, **settings) as rig:
            update = {"recv_window_ms": 400, "reconcile_every_s": 0.5, **trading}
            changed = rig.settings.trading.model_copy(update=update)
            rig.settings = rig.settings.model_copy(update={"trading": changed})
            account = rig.add_account(list(columns), exchange=exchange, strategy=HOLDER)
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            if holding:
                await rig.advance([account], 2)
                assert position_sizes(rig, account)
            await journey(rig, account)

    asyncio.run(run())


def told(rig: Rig) -> list[str]:
    """Return what people were told is wrong."""
    return [json.loads(row.facts)["what"] for row in rig.rows(notices, notices.c.kind == "system_error")]


def live(rig: Rig, venue: str, account: int) -> list[dict[str, Any]]:
    """Return the protective orders that rest at the exchange."""
    state = rig.exchange.state(f"key{account}")[venue]
    if venue == "usdm":
        return [row for row in state["conditional"] if row["algoStatus"] == "NEW"]
    return [row for row in state["orders"] if row["status"] == "NEW"]


@VENUES
def test_a_stop_that_cannot_be_placed_makes_the_position_leave_the_market(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        match = "POST /fapi/v1/algoOrder" if venue == "usdm" else "POST /api/v3/orderList/oco"
        rig.exchange.fault("error", match=match, status=400, code=-4045, message="Reach max stop order limit.", count=99)
        await rig.advance([account], 1)
        await rig.until(lambda: bool(rig.trades(account)), "left the market")
        assert [row.exit_reason for row in rig.trades(account)] == ["emergency_exit"]
        assert "stop_failed" in told(rig)
        check_truth(rig, account)

    play(tmp_path, venue, journey, holding=False, trading=IN_TIME)


@VENUES
def test_a_stop_cancelled_by_somebody_is_placed_again(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        first = rig.rows(orders, orders.c.purpose == "stop", orders.c.status == "open")[0]
        engine = rig.exchange.engine
        if venue == "usdm":
            from ctp.simulator.futures_rest import FuturesRest

            FuturesRest(engine.futures).routes["DELETE /fapi/v1/algoOrder"](
                engine.futures.accounts[f"key{account}"], {"clientAlgoId": first.id}
            )
        else:
            from ctp.simulator.spot_rest import SpotRest

            SpotRest(engine.spot).routes["DELETE /api/v3/order"](
                engine.spot.accounts[f"key{account}"], {"symbol": "BTCUSDT", "origClientOrderId": first.id}
            )
        again = lambda: [  # noqa: E731
            row for row in rig.rows(orders, orders.c.purpose == "stop", orders.c.status == "open") if row.id != first.id
        ]
        await rig.until(lambda: bool(again()), "a new stop rests")
        await rig.until(lambda: len(live(rig, venue, account)) == 2, "stop and take rest")
        check_truth(rig, account)

    play(tmp_path, venue, journey)


def test_a_position_closed_by_its_owner_is_booked_as_closed_outside(tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        from ctp.simulator.futures_rest import FuturesRest

        size = abs(position_sizes(rig, account)["BTC/USDT:USDT"])
        engine = rig.exchange.engine
        FuturesRest(engine.futures).routes["POST /fapi/v1/order"](
            engine.futures.accounts[f"key{account}"],
            {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": str(size), "reduceOnly": "true",
             "newClientOrderId": "web_12345"},
        )  # fmt: skip
        await rig.until(lambda: bool(rig.trades(account)), "booked")
        assert [row.exit_reason for row in rig.trades(account)] == ["closed_outside"]
        await rig.until(lambda: not live(rig, "usdm", account), "no orphan stop")
        check_truth(rig, account)

    play(tmp_path, "usdm", journey)


def test_an_order_and_a_position_of_somebody_else_are_announced_and_left_alone(tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        from ctp.simulator.futures_rest import FuturesRest

        engine = rig.exchange.engine
        place = FuturesRest(engine.futures).routes["POST /fapi/v1/order"]
        owner = engine.futures.accounts[f"key{account}"]
        place(owner, {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", "newClientOrderId": "web_1"})
        price = f"{engine.futures.instruments['BTCUSDT'].price * 0.97:.1f}"
        place(owner, {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": price,
                      "timeInForce": "GTC", "newClientOrderId": "web_2"})  # fmt: skip
        ours = position_sizes(rig, account)
        await rig.until(lambda: {"foreign_position", "foreign_order"} <= set(told(rig)), "announced")
        assert position_sizes(rig, account) == ours
        assert any(row["clientOrderId"] == "web_2" and row["status"] == "NEW"
                   for row in rig.exchange.state(f"key{account}")["usdm"]["orders"])  # fmt: skip

    play(tmp_path, "usdm", journey)


@pytest.mark.parametrize("trouble", ["drop", "duplicate", "reverse", "abort", "expire"])
def test_whatever_the_account_stream_does_a_stop_that_filled_is_booked_once(trouble: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        await rig.exchange.socket_trouble(trouble, "user")
        price = rig.exchange.instrument("BTC/USDT:USDT").price
        await rig.exchange.set_price("BTC/USDT:USDT", price * 0.7)
        await rig.until(lambda: bool(rig.trades(account)), "booked")
        assert len(rig.trades(account)) == 1
        assert rig.trades(account)[0].exit_reason == "stop_loss"
        await rig.until(lambda: not live(rig, "usdm", account), "no orphan")
        check_truth(rig, account)

    play(tmp_path, "usdm", journey)


@pytest.mark.parametrize("trouble", ["abort", "disconnect"])
def test_candles_missed_while_the_market_stream_is_broken_are_fetched(trouble: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        await rig.exchange.socket_trouble(trouble, "market")
        await rig.advance([account], 3)
        times = [row.candle_time for row in rig.rows(decisions, order=decisions.c.candle_time)]
        assert times == list(range(times[0], times[-1] + 1, 3_600_000))

    play(tmp_path, "usdm", journey)


def test_candles_missed_while_the_bot_was_down_are_decided_on_and_their_entries_are_stale(tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        await rig.stop_bot()
        time = int(rig.exchange.status()["candle"]) + 4 * 3_600_000  # type: ignore[call-overload]
        await rig.exchange.advance(5)
        await rig.start_bot()
        await rig.until(lambda: rig.is_settled(account, time), "caught up")
        found = rig.rows(decisions, order=decisions.c.candle_time)
        assert [row.reason for row in found[-5:]] == ["stale_candle"] * 4 + ["entry_signal"]
        check_truth(rig, account)

    play(tmp_path, "usdm", journey, holding=False)


def test_with_the_clock_off_by_more_than_a_second_no_entry_leaves(tmp_path: Path) -> None:
    async def run() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            rig.exchange.skew_clock(-5000)
            account = rig.add_account(list(USDM), strategy=HOLDER)
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            await rig.advance([account], 1)
            assert [row.reason for row in rig.rows(decisions)] == ["clock_drift"]

    asyncio.run(run())


def test_a_revoked_key_blocks_this_account_alone(tmp_path: Path) -> None:
    async def run() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            changed = rig.settings.trading.model_copy(update={"reconcile_every_s": 0.3})
            rig.settings = rig.settings.model_copy(update={"trading": changed})
            first, second = (rig.add_account(list(USDM), strategy=HOLDER) for _ in range(2))
            await rig.start_bot()
            for account in (first, second):
                assert await rig.command(account, "start") == "done"
            rig.exchange.change_key(f"key{first}", is_revoked=True)
            status = lambda account: rig.one(account_states, account_states.c.account_id == account).status  # noqa: E731
            await rig.until(lambda: status(first) == "blocked", "blocked")
            await rig.advance([second], 2)
            assert position_sizes(rig, second)
            assert not position_sizes(rig, first)
            assert "key_refused" in told(rig)

    asyncio.run(run())


@VENUES
def test_an_entry_filled_in_parts_is_protected_at_every_size(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        await rig.advance([account], 3)
        check_truth(rig, account)
        fills = rig.rows(ledger, ledger.c.kind == "fill", ledger.c.reason == "entry_signal")
        assert len(fills) > 1

    play(tmp_path, venue, journey, holding=False, fill_mode="book", partial=1.0)


@pytest.mark.parametrize("action", ["status", "garbage", "drop_after"])
@pytest.mark.parametrize("match", ["GET /api/v3/myTrades", "GET /api/v3/order", "DELETE /api/v3/order"])
def test_a_sale_after_a_stop_whose_fate_is_unknown_never_takes_the_owners_coins(
    action: str, match: str, tmp_path: Path
) -> None:
    async def journey(rig: Rig, account: int) -> None:
        await rig.exchange.socket_trouble("drop", "api")
        rig.exchange.fault(action, match=match, count=4)
        price = rig.exchange.instrument("BTC/USDT").price
        await rig.exchange.set_price("BTC/USDT", price * 0.7)
        assert await rig.command(account, "close_all") == "done"
        assert len(rig.trades(account)) == 1
        check_truth(rig, account)

    play(tmp_path, "spot", journey)


def test_the_bot_tells_that_it_lives(tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        assert rig.one(heartbeats, heartbeats.c.process == "bot").at > 0

    play(tmp_path, "usdm", journey, holding=False)

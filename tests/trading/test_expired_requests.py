"""A request refused for its timestamp (−1021) was not accepted: it is signed anew and sent again, in time or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctp.storage.tables import decisions, orders
from tests.trading.rig import Rig
from tests.trading.test_protection import IN_TIME, VENUES, live, play, told
from tests.trading.truth import check_truth, position_sizes

EXPIRED: dict[str, Any] = {
    "action": "error", "status": 400, "code": -1021,
    "message": "Timestamp for this request is outside of the recvWindow.",
}  # fmt: skip
PROTECTION = {"usdm": "POST /fapi/v1/algoOrder", "spot": "POST /api/v3/orderList/oco"}
MARKET_ORDER = {"usdm": "POST /fapi/v1/order", "spot": "POST /api/v3/order"}
CANCEL = {"usdm": "DELETE /fapi/v1/algoOrder", "spot": "DELETE /api/v3/order"}
FOR_EVER = 100_000
GIVEN_UP_WAITING = "no answer within"  # in the log: long before ccxt's own ten seconds


def of_purpose(rig: Rig, *purposes: str) -> list[Any]:
    """Return our orders of these purposes."""
    return rig.rows(orders, orders.c.purpose.in_(purposes))


@VENUES
def test_a_stop_refused_once_for_its_timestamp_rests_and_nothing_is_closed(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        fault = rig.exchange.fault(**EXPIRED, match=PROTECTION[venue])
        await rig.advance([account], 2)
        assert fault.count == 0
        assert position_sizes(rig, account)
        assert len(live(rig, venue, account)) == 2
        assert not of_purpose(rig, "exit", "emergency")
        assert not told(rig)
        check_truth(rig, account)

    play(tmp_path, venue, journey, holding=False)


@VENUES
def test_a_stop_refused_for_ever_makes_the_position_leave_the_market(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        rig.exchange.fault(**EXPIRED, match=PROTECTION[venue], count=FOR_EVER)
        await rig.advance([account], 1)
        await rig.until(lambda: bool(rig.trades(account)), "left the market")
        rig.exchange.faults.clear()
        assert [row.exit_reason for row in rig.trades(account)] == ["emergency_exit"]
        assert told(rig).count("stop_failed") == 1
        refused = of_purpose(rig, "stop")
        assert len(refused) == 1, "signed anew, it is the same order"
        assert refused[0].fence_until > refused[0].planned_at
        check_truth(rig, account)

    play(tmp_path, venue, journey, holding=False, trading=IN_TIME)


@VENUES
def test_an_exit_refused_once_for_its_timestamp_leaves_at_once(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        fault = rig.exchange.fault(**EXPIRED, match=MARKET_ORDER[venue])
        assert await rig.command(account, "close_all") == "done"
        assert fault.count == 0
        assert [row.exit_reason for row in rig.trades(account)] == ["force_exit"]
        assert [row.status for row in of_purpose(rig, "exit")] == ["filled"]
        assert not told(rig)
        check_truth(rig, account)

    play(tmp_path, venue, journey)


@VENUES
def test_an_exit_refused_again_and_again_stays_due_until_it_gets_through(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        rig.exchange.fault(**EXPIRED, match=MARKET_ORDER[venue], count=7)
        assert await rig.command(account, "close_all") == "done"
        assert len(rig.trades(account)) == 1
        assert told(rig).count("exit_rejected") == 1, "its owner is told, once"
        check_truth(rig, account)

    play(tmp_path, venue, journey)


@VENUES
def test_an_entry_refused_once_for_its_timestamp_is_sent_again_while_it_is_fresh(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        fault = rig.exchange.fault(**EXPIRED, match=MARKET_ORDER[venue])
        await rig.advance([account], 2)
        assert fault.count == 0
        assert [row.status for row in of_purpose(rig, "entry")] == ["filled"]
        check_truth(rig, account)

    play(tmp_path, venue, journey, holding=False)


@VENUES
def test_an_entry_refused_for_ever_is_given_up(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        rig.exchange.fault(**EXPIRED, match=MARKET_ORDER[venue], count=FOR_EVER)
        await rig.advance([account], 1)
        rig.exchange.faults.clear()
        entries = of_purpose(rig, "entry")
        assert [row.status for row in entries] == ["not_sent"]
        check_truth(rig, account)
        await rig.advance([account], 1)
        assert len(of_purpose(rig, "entry")) == 2, "the next candle decides anew"

    play(tmp_path, venue, journey, holding=False)


@VENUES
def test_a_cancellation_refused_once_for_its_timestamp_is_repeated(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        fault = rig.exchange.fault(**EXPIRED, match=CANCEL[venue])
        assert await rig.command(account, "close_all") == "done"
        assert fault.count == 0
        assert not live(rig, venue, account)
        check_truth(rig, account)

    play(tmp_path, venue, journey)


@VENUES
@pytest.mark.parametrize("ahead_ms", [-4000, 4000])
def test_a_clock_that_jumped_is_measured_before_the_next_order_leaves(venue: str, ahead_ms: int, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        rig.exchange.skew_clock(ahead_ms)  # every request signed with the old lead is refused now
        assert await rig.command(account, "close_all") == "done"
        assert [row.exit_reason for row in rig.trades(account)] == ["force_exit"]
        assert not told(rig)
        assert await rig.command(account, "start") == "done"
        await rig.advance([account], 1)
        newest = rig.rows(decisions, order=decisions.c.candle_time)[-1]
        assert newest.reason == "clock_drift", "a clock that far off still stops entries"
        assert not position_sizes(rig, account)
        check_truth(rig, account)

    play(tmp_path, venue, journey)


@VENUES
def test_a_stop_whose_answer_hangs_is_looked_up_within_the_deadline(
    venue: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def journey(rig: Rig, account: int) -> None:
        rig.exchange.fault("delay_after", match=PROTECTION[venue], delay_ms=3_600_000)
        await rig.advance([account], 2)
        assert position_sizes(rig, account)
        assert not of_purpose(rig, "exit", "emergency")
        check_truth(rig, account)

    play(tmp_path, venue, journey, holding=False)
    assert GIVEN_UP_WAITING in capsys.readouterr().out


@VENUES
def test_a_stop_that_got_lost_is_placed_again(venue: str, tmp_path: Path) -> None:
    async def journey(rig: Rig, account: int) -> None:
        rig.exchange.fault("delay_before", match=PROTECTION[venue], delay_ms=3_600_000)
        await rig.advance([account], 2)
        assert position_sizes(rig, account)
        assert {"not_sent", "open"} == {row.status for row in of_purpose(rig, "stop")}
        assert not of_purpose(rig, "exit", "emergency")
        check_truth(rig, account)

    play(tmp_path, venue, journey, holding=False)


@VENUES
def test_a_stop_that_gets_lost_again_and_again_is_replaced_by_an_exit(
    venue: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def journey(rig: Rig, account: int) -> None:
        rig.exchange.fault("delay_before", match=PROTECTION[venue], delay_ms=3_600_000, count=FOR_EVER)
        await rig.advance([account], 1)
        await rig.until(lambda: bool(rig.trades(account)), "left the market")
        assert [row.exit_reason for row in rig.trades(account)] == ["emergency_exit"]
        assert not live(rig, venue, account)
        check_truth(rig, account)

    play(tmp_path, venue, journey, holding=False, trading=IN_TIME)
    assert GIVEN_UP_WAITING in capsys.readouterr().out

"""Candle-exact fills: tables of cases worked out by hand from the trading semantics, compared to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from ctp.simulator.engine import Engine
from ctp.simulator.fills import CandleExact
from ctp.simulator.futures_account import FuturesAccount
from ctp.simulator.instrument import Instrument
from ctp.simulator.market import Costs
from ctp.simulator.orders import Order, Trigger
from ctp.simulator.refusals import Refusal
from ctp.simulator.requests import spot_order, usdm_order, usdm_trigger
from tests.simulator.conftest import HOUR, ROW, START, feed_of

BTC = "BTC/USDT:USDT"
SLIP = 0.0002
BEFORE: ROW = (100.0, 101.0, 99.0, 100.0)
CLOSE_SIDE = {"BUY": "SELL", "SELL": "BUY"}


class Desk:
    """One account at one symbol, driven without a server."""

    def __init__(
        self, rows: Sequence[ROW | None], *, leverage: int = 3, mark: Sequence[ROW] | None = None,
        funding: Sequence[tuple[int, float]] | None = None, slippage: float = SLIP,
    ) -> None:  # fmt: skip
        """Stand at the open of the second candle; the first is history."""
        feed = feed_of(
            {BTC: [BEFORE, *rows]}, mark={BTC: [BEFORE, *mark]} if mark else None,
            funding={BTC: funding} if funding else None,
        )  # fmt: skip
        self.engine = Engine(feed, CandleExact(slippage), Costs(), history=1)
        self.engine.add_account("key", Decimal(10_000), {}, "quote", may_withdraw=False)
        self.account: FuturesAccount = self.engine.futures.accounts["key"]
        self.account.leverages["BTCUSDT"], self.account.margin_types["BTCUSDT"] = leverage, "isolated"

    @property
    def instrument(self) -> Instrument:
        """Return the traded instrument."""
        return self.engine.futures.instruments["BTCUSDT"]

    def market(self, side: str, size: str = "1", *, reduce_only: bool = False) -> Order:
        """Send a market order."""
        sent = {"symbol": "BTCUSDT", "side": side, "type": "MARKET", "quantity": size}
        request = usdm_order(sent | {"reduceOnly": str(reduce_only).lower()}, self.instrument)
        return self.engine.futures.submit(self.account, self.instrument, request)

    def protect(self, side: str, kind: str, level: float, size: str = "1") -> Trigger:
        """Send a reduce-only conditional market order."""
        sent = {
            "algoType": "CONDITIONAL", "side": side, "type": kind, "quantity": size, "triggerPrice": f"{level:.1f}",
            "reduceOnly": "true",
        }  # fmt: skip
        return self.engine.futures.submit_trigger(self.account, self.instrument, usdm_trigger(sent, self.instrument))

    def exit_price(self) -> float | None:
        """Return the price of the second trade, if there is one."""
        return self.account.trades[1].price if len(self.account.trades) > 1 else None


def test_a_market_order_after_a_close_fills_at_the_next_open_with_slippage() -> None:
    desk = Desk([BEFORE, (103.7, 105.0, 103.0, 104.0)])
    desk.engine.step()
    buy = desk.market("BUY", "1.3")
    assert buy.average == 103.7 * (1.0 + SLIP)
    sell = desk.market("SELL", "1.3", reduce_only=True)
    assert sell.average == 103.7 * (1.0 - SLIP)
    assert [trade.time for trade in desk.account.trades] == [START + 2 * HOUR] * 2
    assert desk.account.trades[0].fee == 0.0005 * 1.3 * (103.7 * (1.0 + SLIP))


# entry side, stop or None, take or None, the candle after the entry candle, unslipped exit, what it was
CASES = [
    ("BUY", 98.0, 104.0, (100.0, 103.9, 98.1, 101.0), None),
    ("BUY", 98.0, 104.0, (100.0, 103.9, 98.0, 101.0), 98.0),
    ("BUY", 98.0, 104.0, (95.0, 99.0, 94.0, 96.0), 95.0),
    ("BUY", 98.0, 104.0, (100.0, 104.0, 99.0, 101.0), 104.0),
    ("BUY", 98.0, 104.0, (106.0, 107.0, 105.0, 106.0), 106.0),
    ("BUY", 98.0, 104.0, (100.0, 110.0, 90.0, 100.0), 98.0),
    ("BUY", 98.0, 104.0, (106.0, 107.0, 97.0, 106.0), 98.0),
    ("SELL", 102.0, 96.0, (100.0, 101.9, 96.1, 101.0), None),
    ("SELL", 102.0, 96.0, (100.0, 102.0, 99.0, 101.0), 102.0),
    ("SELL", 102.0, 96.0, (105.0, 106.0, 104.0, 105.0), 105.0),
    ("SELL", 102.0, 96.0, (100.0, 101.0, 96.0, 97.0), 96.0),
    ("SELL", 102.0, 96.0, (94.0, 95.0, 93.0, 94.0), 94.0),
    ("SELL", 102.0, 96.0, (100.0, 110.0, 90.0, 100.0), 102.0),
]


@pytest.mark.parametrize(("side", "stop", "take", "candle", "expected"), CASES)
def test_stop_and_take_fill_as_the_candle_says(
    side: str, stop: float, take: float, candle: ROW, expected: float | None
) -> None:
    desk = Desk([(100.0, 100.5, 99.5, 100.0), candle, BEFORE])
    desk.market(side)
    desk.protect(CLOSE_SIDE[side], "STOP_MARKET", stop)
    desk.protect(CLOSE_SIDE[side], "TAKE_PROFIT_MARKET", take)
    desk.engine.step()
    assert desk.exit_price() is None, "the entry candle touched nothing"
    desk.engine.step()
    if expected is None:
        assert desk.exit_price() is None
        assert desk.account.positions["BTCUSDT"].lots != 0
        return
    worse = expected * (1.0 - SLIP) if side == "BUY" else expected * (1.0 + SLIP)
    assert desk.exit_price() == worse
    assert desk.account.trades[1].time == START + 2 * HOUR
    assert desk.account.positions["BTCUSDT"].lots == 0


def test_the_entry_candle_can_stop_the_position_out() -> None:
    desk = Desk([(100.0, 100.5, 97.0, 99.0), BEFORE])
    desk.market("BUY")
    desk.protect("SELL", "STOP_MARKET", 98.0)
    desk.engine.step()
    assert desk.exit_price() == 98.0 * (1.0 - SLIP)
    assert desk.account.trades[1].time == START + HOUR


def test_only_one_protective_order_fills_and_its_sibling_rests() -> None:
    desk = Desk([(100.0, 110.0, 90.0, 100.0), (100.0, 110.0, 90.0, 100.0), BEFORE])
    desk.market("BUY")
    desk.protect("SELL", "STOP_MARKET", 98.0)
    take = desk.protect("SELL", "TAKE_PROFIT_MARKET", 104.0)
    desk.engine.step()
    desk.engine.step()
    assert len(desk.account.trades) == 2
    assert take.status == "NEW"


def liquidation_price(sign: int, entry: float, leverage: int, rate: float = 0.004, amount: float = 0.0) -> float:
    """Return the liquidation price of one coin, as the semantics write it."""
    margin = 1.0 * entry / leverage
    if sign > 0:
        return (1.0 * entry - margin - amount) / (1.0 * (1.0 - rate))
    return (1.0 * entry + margin + amount) / (1.0 * (1.0 + rate))


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_liquidation_takes_the_margin_and_a_fee_at_the_bankruptcy_price(side: str) -> None:
    sign = 1 if side == "BUY" else -1
    entry = 100.0 * (1.0 + sign * SLIP)
    limit = liquidation_price(sign, entry, 10)
    rows: list[ROW] = [(100.0, 100.5, 99.5, 100.0)]
    rows.append((100.0, 100.0, limit, 95.0) if sign > 0 else (100.0, limit, 100.0, 105.0))
    desk = Desk([*rows, BEFORE], leverage=10)
    desk.market(side)
    before = desk.account.wallet
    desk.engine.step()
    margins = desk.engine.futures.margins(desk.account)
    assert margins.liquidation_price("BTCUSDT") == limit
    desk.engine.step()
    price = entry * (1.0 - 1.0 / 10) if sign > 0 else entry * (1.0 + 1.0 / 10)
    trade = desk.account.trades[1]
    assert (trade.price, trade.fee) == (price, 0.0125 * 1.0 * price)
    assert trade.realized == (1.0 * (price - entry) if sign > 0 else -(1.0 * (price - entry)))
    assert desk.account.wallet == before + Decimal(repr(trade.realized)) - Decimal(repr(trade.fee))
    assert [line.kind for line in desk.account.income if line.trade_id == str(trade.id)] == [
        "REALIZED_PNL", "INSURANCE_CLEAR",
    ]  # fmt: skip


def test_the_published_liquidation_price_of_an_isolated_long_comes_out() -> None:
    """Ten times leverage at 60000, maintenance rate 0.4 %: 54216.87."""
    desk = Desk([(60000.0, 60001.0, 59999.0, 60000.0), BEFORE], leverage=10, slippage=0.0)
    desk.market("BUY", "0.1")
    assert round(desk.engine.futures.margins(desk.account).liquidation_price("BTCUSDT"), 2) == 54216.87


def test_a_cross_position_is_held_by_the_whole_wallet() -> None:
    desk = Desk([BEFORE, (100.0, 100.0, 55.0, 60.0), (60.0, 60.0, 50.0, 55.0), BEFORE], leverage=20, slippage=0.0)
    desk.account.margin_types["BTCUSDT"] = "cross"
    desk.account.wallet = Decimal("1000")
    desk.market("BUY", "21")
    desk.engine.step()
    desk.engine.step()
    wallet = 1000.0 - 0.0005 * 21.0 * 100.0
    limit = (21.0 * 100.0 - wallet) / (21.0 * (1.0 - 0.004))
    assert 50.0 < limit < 55.0 and desk.exit_price() is None, "one isolated margin would long be gone"
    assert desk.engine.futures.margins(desk.account).liquidation_price("BTCUSDT") == pytest.approx(limit, abs=1e-9)
    desk.engine.step()
    assert desk.exit_price() == pytest.approx(limit, abs=1e-9)
    assert desk.account.wallet >= -15, "what is left pays the liquidation fee"


def test_one_tick_short_of_the_liquidation_price_nothing_happens() -> None:
    limit = liquidation_price(1, 100.0 * (1.0 + SLIP), 10)
    desk = Desk([BEFORE, (100.0, 100.0, limit + 1e-9, 95.0), BEFORE], leverage=10)
    desk.market("BUY")
    desk.engine.step()
    desk.engine.step()
    assert desk.account.positions["BTCUSDT"].lots > 0


def test_the_stop_comes_before_liquidation_inside_a_candle() -> None:
    desk = Desk([BEFORE, (100.0, 100.0, 50.0, 60.0), BEFORE], leverage=10)
    desk.market("BUY")
    desk.protect("SELL", "STOP_MARKET", 95.0)
    desk.engine.step()
    desk.engine.step()
    assert desk.exit_price() == 95.0 * (1.0 - SLIP)


def test_an_open_beyond_the_liquidation_price_liquidates_before_the_stop() -> None:
    desk = Desk([BEFORE, (80.0, 81.0, 79.0, 80.0), BEFORE], leverage=10)
    entry = desk.market("BUY").average
    desk.protect("SELL", "STOP_MARKET", 95.0)
    desk.engine.step()
    desk.engine.step()
    assert desk.exit_price() == entry * (1.0 - 1.0 / 10)


def test_on_the_entry_candle_the_stop_still_comes_first() -> None:
    """A mark price that opens beyond liquidation counts only from the next candle on."""
    desk = Desk([(100.0, 100.5, 94.0, 100.0), BEFORE], leverage=10, mark=[(80.0, 101.0, 79.0, 100.0), BEFORE])
    desk.market("BUY")
    desk.protect("SELL", "STOP_MARKET", 95.0)
    desk.engine.step()
    assert desk.exit_price() == 95.0 * (1.0 - SLIP)


def test_an_exit_order_at_the_open_comes_before_liquidation_at_that_open() -> None:
    desk = Desk([BEFORE, (80.0, 81.0, 79.0, 80.0), BEFORE], leverage=10)
    desk.market("BUY")
    desk.engine.step()
    assert desk.market("SELL", reduce_only=True).average == 80.0 * (1.0 - SLIP)


def test_liquidation_looks_at_the_mark_price_and_stops_at_the_last() -> None:
    mark = [(100.0, 101.0, 99.0, 100.0), (100.0, 101.0, 50.0, 100.0), BEFORE]
    desk = Desk([(100.0, 101.0, 99.0, 100.0), (100.0, 101.0, 99.0, 100.0), BEFORE], leverage=10, mark=mark)
    entry = desk.market("BUY").average
    desk.protect("SELL", "STOP_MARKET", 95.0)
    desk.engine.step()
    desk.engine.step()
    assert desk.exit_price() == entry * (1.0 - 1.0 / 10)


@pytest.mark.parametrize(("side", "rate"), [("BUY", 0.0001), ("SELL", 0.0001), ("BUY", -0.0003)])
def test_funding_is_size_times_mark_times_rate(side: str, rate: float) -> None:
    mark = [(100.0, 101.0, 99.0, 100.0), (100.7, 101.0, 99.0, 100.0)]
    rows: list[ROW] = [(100.0, 101.0, 99.0, 100.3), (100.5, 101.0, 99.0, 100.0), BEFORE]
    desk = Desk(rows, mark=mark, funding=[(1, 9.0), (2, rate), (3, rate)])
    desk.market(side, "1.7")
    desk.engine.step()
    desk.engine.step()
    lines = [line for line in desk.account.income if line.kind == "FUNDING_FEE"]
    sign = -1.0 if side == "BUY" else 1.0
    assert [line.time for line in lines] == [START + 2 * HOUR, START + 3 * HOUR]
    assert lines[0].amount == sign * (1.7 * 100.7 * rate), "mark open of the candle"
    assert lines[1].amount == sign * (1.7 * 100.0 * rate), "no mark candle: close of the candle before"


def test_a_position_opened_at_the_open_does_not_pay_the_funding_of_that_open() -> None:
    desk = Desk([BEFORE, BEFORE, BEFORE], funding=[(2, 0.001)])
    desk.engine.step()
    desk.market("BUY")
    desk.engine.step()
    assert not [line for line in desk.account.income if line.kind == "FUNDING_FEE"]


def test_nobody_trades_in_a_recorded_gap_and_the_stop_meets_the_next_candle() -> None:
    desk = Desk([BEFORE, None, None, (90.0, 91.0, 89.0, 90.0), BEFORE])
    desk.market("BUY")
    desk.protect("SELL", "STOP_MARKET", 98.0)
    desk.engine.step()
    with pytest.raises(Refusal, match="-1122"):
        desk.market("BUY")
    desk.engine.step()
    assert desk.engine.time == START + 4 * HOUR
    desk.engine.step()
    assert desk.exit_price() == 90.0 * (1.0 - SLIP)


def test_after_the_last_candle_nothing_fills() -> None:
    desk = Desk([BEFORE])
    assert desk.engine.step() is False
    with pytest.raises(Refusal):
        desk.market("BUY")


def test_a_trailing_stop_placed_at_an_open_that_has_passed_it_fills_at_that_open() -> None:
    desk = Desk([BEFORE, (97.0, 98.0, 96.0, 97.0), BEFORE])
    desk.market("BUY")
    desk.engine.step()
    desk.protect("SELL", "STOP_MARKET", 98.0)
    desk.engine.step()
    assert desk.exit_price() == 97.0 * (1.0 - SLIP)


def test_a_late_order_fills_at_the_path_price_and_only_later_prices_stop_it() -> None:
    desk = Desk([(100.0, 110.0, 90.0, 105.0), BEFORE], slippage=0.0)
    for step in range(6):
        desk.engine.walk(0.5 + step / 20, step, 9)
    assert desk.instrument.price == 110.0, "the path goes to the low first, then to the high"
    assert desk.market("BUY").average == 110.0
    desk.protect("SELL", "STOP_MARKET", 107.0)
    for step in range(6, 9):
        desk.engine.walk(0.8, step, 9)
    assert desk.exit_price() == 107.0
    assert desk.account.trades[1].time == START + HOUR


def test_symbols_are_served_in_alphabetical_order() -> None:
    feed = feed_of({name: [BEFORE, BEFORE, BEFORE] for name in ("XRP/USDT", "BTC/USDT:USDT", "ADA/USDT")})
    engine = Engine(feed, CandleExact(), Costs(), history=1)
    assert [instrument.symbol for instrument in engine.instruments] == ["ADA/USDT", "BTC/USDT:USDT", "XRP/USDT"]


@pytest.mark.parametrize(
    ("candle", "expected"),
    [
        ((100.0, 103.0, 99.0, 100.0), None),
        ((100.0, 103.0, 98.0, 100.0), 98.0 * (1.0 - SLIP)),
        ((97.0, 103.0, 96.0, 100.0), 97.0 * (1.0 - SLIP)),
        ((100.0, 104.0, 99.0, 100.0), 104.0 * (1.0 - SLIP)),
        ((105.0, 106.0, 97.0, 100.0), 98.0 * (1.0 - SLIP)),
    ],
)
def test_a_spot_list_fills_like_a_perpetual_stop_and_take(candle: ROW, expected: float | None) -> None:
    feed = feed_of({"BTC/USDT": [BEFORE, BEFORE, candle, BEFORE]})
    engine = Engine(feed, CandleExact(SLIP), Costs(), history=1)
    engine.add_account("key", Decimal(0), {"USDT": Decimal(1000)}, "quote", may_withdraw=False)
    account, instrument = engine.spot.accounts["key"], engine.spot.instruments["BTCUSDT"]
    buy = {"side": "BUY", "type": "MARKET", "quantity": "2"}
    entry = engine.spot.submit(account, instrument, spot_order(buy, instrument))
    assert entry.average == 100.0 * (1.0 + SLIP)
    sell = {"side": "SELL", "quantity": "2"}
    take = spot_order(sell | {"type": "TAKE_PROFIT", "stopPrice": "104"}, instrument)
    stop = spot_order(sell | {"type": "STOP_LOSS", "stopPrice": "98"}, instrument)
    orders = engine.spot.submit_list(account, instrument, take, stop, "list")
    engine.step()
    engine.step()
    if expected is None:
        assert [order.status for order in orders] == ["NEW", "NEW"]
        return
    assert account.trades[1].price == expected
    assert sorted(order.status for order in orders) == ["EXPIRED", "FILLED"]
    assert account.balance("BTC").free == account.balance("BTC").locked == 0
    fees = 0.001 * 2.0 * entry.average, 0.001 * 2.0 * expected
    assert tuple(trade.fee for trade in account.trades) == fees

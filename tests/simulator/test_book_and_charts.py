"""The synthetic book, candles of longer timeframes, the recorded feed, and the listing."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ctp.simulator import charts
from ctp.simulator.engine import Engine
from ctp.simulator.feed import RecordedFeed, recording
from ctp.simulator.fills import Book, CandleExact
from ctp.simulator.listing import Listing
from ctp.simulator.market import Costs
from ctp.simulator.requests import usdm_order, usdm_trigger
from ctp.simulator.rules import Grid, perpetuals, rules_of, spots
from ctp.simulator.wire import Wire, plain
from tests.simulator.conftest import HOUR, ROW, START, feed_of

BTC = "BTC/USDT:USDT"
WILD: list[ROW | None] = [(60000.0, 61000.0 + 37 * i, 59000.0 - 11 * i, 60000.0 + 100 * (i % 3)) for i in range(80)]


def book_engine(seed: int, partial: float = 0.8) -> Engine:
    """Return an engine in book mode with one account."""
    engine = Engine(feed_of({BTC: WILD}), Book(0.0004, partial, seed), Costs(), history=1)
    engine.add_account("key", Decimal(1_000_000), {}, "quote", may_withdraw=False)
    return engine


def test_book_fills_cross_the_spread_on_tick_and_in_parts() -> None:
    engine = book_engine(1)
    account, instrument = engine.futures.accounts["key"], engine.futures.instruments["BTCUSDT"]
    counts = set()
    for number in range(40):
        side = "BUY" if number % 2 == 0 else "SELL"
        request = usdm_order({"side": side, "type": "MARKET", "quantity": "0.500"}, instrument)
        order = engine.futures.submit(account, instrument, request)
        trades = [trade for trade in account.trades if trade.order_id == order.id]
        counts.add(len(trades))
        assert sum(trade.lots for trade in trades) == 500 and order.status == "FILLED"
        for trade in trades:
            assert round(trade.price * 10) / 10 == trade.price
            assert trade.price > 60000.0 if side == "BUY" else trade.price < 60000.0
    assert counts == {1, 2, 3}


def test_the_same_seed_gives_the_same_fills() -> None:
    outcomes = []
    for seed in (5, 5, 6):
        engine = book_engine(seed)
        account, instrument = engine.futures.accounts["key"], engine.futures.instruments["BTCUSDT"]
        for _ in range(5):
            sent = {"side": "BUY", "type": "MARKET", "quantity": "0.300"}
            engine.futures.submit(account, instrument, usdm_order(sent, instrument))
            engine.step()
        outcomes.append([(trade.lots, trade.price) for trade in account.trades])
    assert outcomes[0] == outcomes[1] != outcomes[2]


def test_in_the_book_a_stop_fills_near_its_level_during_the_candle() -> None:
    engine = book_engine(2, partial=0.0)
    account, instrument = engine.futures.accounts["key"], engine.futures.instruments["BTCUSDT"]
    buy = {"side": "BUY", "type": "MARKET", "quantity": "0.100"}
    engine.futures.submit(account, instrument, usdm_order(buy, instrument))
    stop = {
        "algoType": "CONDITIONAL", "side": "SELL", "type": "STOP_MARKET", "quantity": "0.100",
        "triggerPrice": "59500.0", "reduceOnly": "true",
    }  # fmt: skip
    engine.futures.submit_trigger(account, instrument, usdm_trigger(stop, instrument))
    engine.step()
    assert account.position("BTCUSDT").lots == 0
    trade = account.trades[1]
    assert 59400.0 < trade.price <= 59500.0
    assert START + HOUR < trade.time < START + 2 * HOUR, "market time passes inside a candle"


def test_a_trailing_stop_follows_the_best_price() -> None:
    engine = book_engine(3, partial=0.0)
    account, instrument = engine.futures.accounts["key"], engine.futures.instruments["BTCUSDT"]
    buy = {"side": "BUY", "type": "MARKET", "quantity": "0.100"}
    engine.futures.submit(account, instrument, usdm_order(buy, instrument))
    trail = {
        "algoType": "CONDITIONAL", "side": "SELL", "type": "TRAILING_STOP_MARKET", "quantity": "0.100",
        "callbackRate": "1", "reduceOnly": "true",
    }  # fmt: skip
    trigger = engine.futures.submit_trigger(account, instrument, usdm_trigger(trail, instrument))
    for price in (60500.0, 61000.0, 60500.0):
        engine.jump(instrument, price)
        assert trigger.status == "NEW"
    engine.jump(instrument, 60000.0)
    assert trigger.status == "FINISHED"
    assert abs(account.trades[1].price - 61000.0 * 0.99) < 30


def test_longer_candles_are_made_of_shorter_ones_and_never_show_the_future() -> None:
    engine = Engine(feed_of({BTC: WILD}), CandleExact(), Costs(), history=50)
    instrument = engine.futures.instruments["BTCUSDT"]
    frame = pd.DataFrame(WILD, columns=["open", "high", "low", "close"])
    frame["time"] = START + HOUR * np.arange(len(frame))
    frame["volume"] = 10.0 + np.arange(len(frame))
    for step in range(20):
        now = 50 + step
        past = frame[:now]
        for interval, hours in (("1h", 1), ("4h", 4), ("1d", 24), ("1w", 168)):
            span = hours * HOUR
            shift = charts._FIRST_MONDAY_MS if interval == "1w" else 0
            grouped = past.groupby((past["time"] - shift) // span * span + shift)
            expected = grouped.agg({"open": "first", "high": "max", "low": "min", "close": "last"})
            ours = charts.history(engine.feed, instrument, span, engine.market.now, None, None, 1500)
            closed = [row for row in ours if row.time + span <= START + now * HOUR]
            assert [row[:5] for row in closed] == [
                (int(time), *values) for time, values in
                zip(expected.index[: len(closed)], expected.to_numpy()[: len(closed)].tolist(), strict=True)
            ]  # fmt: skip
            assert ours[-1].close == 60000.0, "the forming candle stands at the open of the hour"
            assert ours[-1].time == charts.bucket(START + now * HOUR, span)
        engine.step()


@pytest.mark.parametrize(("start", "end", "limit", "expected"), [
    (10, None, 3, [10, 11, 12]), (None, 12, 2, [11, 12]), (48, None, 10, [48, 49, 50]), (10, 11, 500, [10, 11]),
    (None, None, 2, [49, 50]), (60, None, 5, []), (20, None, 4, [23, 24, 25, 26]),
])  # fmt: skip
def test_klines_are_cut_as_the_exchange_cuts_them(
    start: int | None, end: int | None, limit: int, expected: list[int]
) -> None:
    rows = [None if hour in (20, 21, 22) else row for hour, row in enumerate(WILD)]
    engine = Engine(feed_of({BTC: rows}), CandleExact(), Costs(), start_ms=START + 50 * HOUR)
    moment = [None if hour is None else START + hour * HOUR for hour in (start, end)]
    found = charts.history(engine.feed, engine.futures.instruments["BTCUSDT"], HOUR, engine.market.now, *moment, limit)
    assert [(row.time - START) // HOUR for row in found] == expected


def test_a_gap_does_not_shorten_the_number_of_candles_asked_for() -> None:
    rows = [None if hour in range(30, 45) else row for hour, row in enumerate(WILD)]
    engine = Engine(feed_of({BTC: rows}), CandleExact(), Costs(), start_ms=START + 50 * HOUR)
    found = charts.history(engine.feed, engine.futures.instruments["BTCUSDT"], HOUR, engine.market.now, None, None, 20)
    assert len(found) == 20


def test_a_recording_that_is_not_in_order_names_its_row() -> None:
    columns = {name: [1.0, 1.0, 1.0] for name in ("open", "high", "low", "close", "volume")}
    with pytest.raises(ValueError, match="row 2"):
        recording({"ts": [1, 3, 2], **columns})
    with pytest.raises(ValueError, match="row 1: high"):
        recording({"ts": [1, 2, 3], **columns, "high": [1.0, float("nan"), 1.0]})
    with pytest.raises(ValueError, match="at least one"):
        RecordedFeed({}, HOUR)


def test_real_candles_replay_to_the_bit(shared_data: Path) -> None:
    frame = pd.read_parquet(shared_data / "binanceusdm_BTCUSDT_1h.parquet").tail(400)
    funding = pd.read_parquet(shared_data / "binanceusdm_BTCUSDT_funding.parquet")
    feed = RecordedFeed({BTC: recording(frame, funding=funding)}, HOUR)
    engine = Engine(feed, CandleExact(), Costs(), history=100)
    instrument, wire = engine.futures.instruments["BTCUSDT"], engine.market.wire
    while engine.step():
        pass
    rows = [charts.row(candle, instrument, HOUR, wire) for candle in
            charts.history(feed, instrument, HOUR, engine.market.now, None, None, 1500)]  # fmt: skip
    sent = [[float(text) for text in row[1:6]] for row in rows]  # type: ignore[arg-type]
    assert sent == frame[["open", "high", "low", "close", "volume"]].to_numpy().tolist()
    assert len(feed.funding(BTC, int(frame["ts"].iloc[0]), int(frame["ts"].iloc[-1]))) == 49


@pytest.mark.parametrize("number", [0.1 + 0.2, 1e-9, 1.5e17, 123456.789, 5e-324, 60000.0])
def test_exact_numbers_survive_the_wire_without_an_exponent(number: float) -> None:
    assert float(plain(number)) == number and "e" not in plain(number)


def test_book_numbers_have_the_decimals_of_the_exchange() -> None:
    rules, wire = rules_of(BTC), Wire(False)
    assert (wire.price(rules, 60000.1), wire.size(rules, 1500), wire.money(0.5)) == ("60000.10", "1.500", "0.50000000")


@pytest.mark.parametrize("step", ["0.1", "0.05", "0.0025", "1", "10", "0.00001"])
def test_steps_turn_into_the_nearest_double_of_their_text(step: str) -> None:
    grid = Grid.of(step)
    for steps in (1, 3, 7, 123, 99_999):
        assert grid.value(steps) == float(grid.text(steps)) == float(Decimal(step) * steps)
        assert grid.steps_of(Decimal(grid.text(steps))) == steps


def test_the_listing_has_real_size_rules_and_no_doubles() -> None:
    for venue, rules, least in (("usdm", list(perpetuals()), 600), ("spot", list(spots()), 3000)):
        listing = Listing(venue, [])
        assert len(listing) == len(rules) >= least, "every symbol id is listed once"
        body: dict[str, Any] = json.loads(listing.body(5))
        assert body["serverTime"] == 5 and len(body["symbols"]) == len(rules)
        for one in rules:
            assert one.reference_price > 10 * one.tick.value(1), f"{one.id} has a tick its price can live on"
            assert one.lot.value(one.market_max_lots) * one.reference_price > one.min_notional


def test_brackets_make_the_maintenance_margin_continuous(shared_data: Path) -> None:
    recorded = json.loads((shared_data / "binanceusdm_leverage_tiers.json").read_text())["tiers"][BTC]
    rules = rules_of(BTC)
    for lower, upper in pairwise(rules.brackets):
        assert lower.cap == upper.floor
        assert abs(lower.cap * lower.rate - lower.amount - (upper.floor * upper.rate - upper.amount)) < 1e-6
    for ours, theirs in zip(rules.brackets, recorded, strict=True):
        assert (ours.floor, ours.cap, ours.rate, ours.max_leverage) == (
            theirs["minNotional"], theirs["maxNotional"], theirs["maintenanceMarginRate"], theirs["maxLeverage"],
        )  # fmt: skip
        assert ours.amount == float(theirs["info"]["cum"])


def test_a_symbol_that_is_not_listed_can_still_be_replayed() -> None:
    assert rules_of("NEWCOIN/USDT:USDT").id == "NEWCOINUSDT"
    with pytest.raises(ValueError, match="neither"):
        rules_of("BTCUSDT")

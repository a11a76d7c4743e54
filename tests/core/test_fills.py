"""What one candle does to an order: prices, which order wins, and fees."""

from __future__ import annotations

import pytest

from ctp.core.fills import NO_FILL, entry_price, exit_fee, exit_price, protective_fill, taker_fee
from ctp.core.types import (
    LIQUIDATION,
    LONG,
    SHORT,
    STILL_OPEN,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAILING_STOP,
    Candle,
    Position,
)
from tests.core.examples import candle, market, position

SHORT_POSITION = position(side=SHORT, stop_ticks=1020, first_stop_ticks=1020, take_ticks=960)


@pytest.mark.parametrize(
    ("now", "reason", "price"),
    [
        (candle(100.0, 103.9, 98.1, 101.0), STILL_OPEN, None),  # neither reached
        (candle(100.0, 101.0, 98.0, 101.0), STOP_LOSS, 98.0),  # touched
        (candle(100.0, 101.0, 97.0, 97.5), STOP_LOSS, 98.0),  # run through
        (candle(95.0, 96.0, 90.0, 91.0), STOP_LOSS, 95.0),  # gapped through: fills at the open
        (candle(100.0, 104.0, 99.0, 103.0), TAKE_PROFIT, 104.0),  # touched
        (candle(100.0, 106.0, 99.0, 105.0), TAKE_PROFIT, 104.0),
        (candle(105.0, 106.0, 103.0, 105.0), TAKE_PROFIT, 105.0),  # gapped through: fills at the open
        (candle(100.0, 104.0, 98.0, 101.0), STOP_LOSS, 98.0),  # both touched: the stop
        (candle(105.0, 106.0, 98.0, 101.0), STOP_LOSS, 98.0),  # even when it opened beyond the take-profit
    ],
)
def test_long_protection(now: Candle, reason: int, price: float | None) -> None:
    fill = protective_fill(market(), position(), now, False)
    assert fill.reason == reason
    assert price is None or (fill.price, fill.reference) == (price, price)


@pytest.mark.parametrize(
    ("now", "reason", "price"),
    [
        (candle(100.0, 101.9, 96.1, 99.0), STILL_OPEN, None),
        (candle(100.0, 102.0, 99.0, 99.0), STOP_LOSS, 102.0),
        (candle(105.0, 110.0, 104.0, 109.0), STOP_LOSS, 105.0),
        (candle(100.0, 101.0, 96.0, 97.0), TAKE_PROFIT, 96.0),
        (candle(95.0, 96.0, 94.0, 95.0), TAKE_PROFIT, 95.0),
        (candle(100.0, 102.0, 96.0, 99.0), STOP_LOSS, 102.0),
    ],
)
def test_short_protection_mirrors_the_long(now: Candle, reason: int, price: float | None) -> None:
    fill = protective_fill(market(), SHORT_POSITION, now, False)
    assert fill.reason == reason
    assert price is None or fill.price == price


def test_without_a_take_profit_nothing_is_taken() -> None:
    assert protective_fill(market(), position(take_ticks=0), candle(100.0, 200.0, 99.0, 150.0), False) == NO_FILL


def test_a_stop_that_has_moved_is_a_trailing_stop() -> None:
    fill = protective_fill(market(), position(stop_ticks=990), candle(100.0, 101.0, 98.5, 99.0), False)
    assert (fill.reason, fill.price) == (TRAILING_STOP, 99.0)


@pytest.mark.parametrize(
    ("held", "price"), [(position(), 98.0 * (1 - 0.01)), (SHORT_POSITION, 102.0 * (1 + 0.01))]
)
def test_slippage_makes_every_protective_fill_worse(held: Position, price: float) -> None:
    fill = protective_fill(market(slippage=0.01), held, candle(100.0, 103.0, 97.0, 100.0), False)
    assert fill.price == price
    assert fill.reference in (98.0, 102.0)


LIQUIDATED = position(stop_ticks=980, liquidation_price=70.0)


@pytest.mark.parametrize(
    ("held", "now", "is_entry", "reason"),
    [
        # Last and mark reach both: the stop lies nearer and fills first.
        (LIQUIDATED, candle(100.0, 101.0, 60.0, 65.0), False, STOP_LOSS),
        # Only the mark reached the liquidation price: last never touched the stop.
        (LIQUIDATED, candle(100.0, 101.0, 99.0, 100.0, mark_open=99.0, mark_high=100.0, mark_low=70.0), False, LIQUIDATION),
        # The mark stayed away although last fell through: no liquidation, the stop.
        (LIQUIDATED, candle(65.0, 66.0, 60.0, 65.0, mark_open=99.0, mark_high=99.0, mark_low=99.0), False, STOP_LOSS),
        # The open is already beyond: liquidation before the stop …
        (LIQUIDATED, candle(70.0, 75.0, 65.0, 70.0), False, LIQUIDATION),
        (LIQUIDATED, candle(100.0, 101.0, 97.0, 98.0, mark_open=70.0, mark_high=75.0, mark_low=70.0), False, LIQUIDATION),
        # … but not on the entry candle.
        (LIQUIDATED, candle(70.0, 75.0, 65.0, 70.0), True, STOP_LOSS),
        # Liquidation comes before the take-profit.
        (LIQUIDATED, candle(100.0, 110.0, 99.0, 100.0, mark_open=99.0, mark_high=100.0, mark_low=69.0), False, LIQUIDATION),
        (SHORT_POSITION._replace(liquidation_price=130.0), candle(131.0, 132.0, 130.0, 131.0), False, LIQUIDATION),
        (SHORT_POSITION._replace(liquidation_price=130.0), candle(131.0, 132.0, 130.0, 131.0), True, STOP_LOSS),
    ],
)
def test_liquidation_and_stop_in_one_candle(held: Position, now: Candle, is_entry: bool, reason: int) -> None:
    assert protective_fill(market(), held, now, is_entry).reason == reason


@pytest.mark.parametrize(("side", "price"), [(LONG, 75.0), (SHORT, 125.0)])
def test_a_liquidation_fills_where_the_margin_is_gone_without_slippage(side: int, price: float) -> None:
    held = position(side=side, leverage=4.0, liquidation_price=76.0 if side == LONG else 124.0)
    now = candle(76.0, 76.0, 76.0, 76.0) if side == LONG else candle(124.0, 124.0, 124.0, 124.0)
    fill = protective_fill(market(slippage=0.01), held, now, False)
    assert (fill.reason, fill.price, fill.reference) == (LIQUIDATION, price, price)


def test_buyers_pay_the_slippage_and_sellers_lose_it() -> None:
    costly = market(slippage=0.001)
    assert entry_price(costly, LONG, 100.0) == exit_price(costly, SHORT, 100.0) == 100.0 * (1 + 0.001)
    assert entry_price(costly, SHORT, 100.0) == exit_price(costly, LONG, 100.0) == 100.0 * (1 - 0.001)


def test_a_liquidation_pays_its_own_fee_in_place_of_the_takers() -> None:
    costly = market(fee_rate=0.001)
    assert taker_fee(costly, 2.0, 50.0) == exit_fee(costly, 2.0, 50.0, STOP_LOSS) == 0.001 * 2.0 * 50.0
    assert exit_fee(costly, 2.0, 50.0, LIQUIDATION) == 0.0125 * 2.0 * 50.0

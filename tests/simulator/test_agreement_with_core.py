"""The exchange's own fills against the trading core's, on random candles, to the bit.

Neither side knows the other; where they differ, one of them misreads the semantics.
"""

from __future__ import annotations

from decimal import Decimal

import hypothesis.strategies as st
from hypothesis import given, settings

from ctp.core import fills
from ctp.core.stops import liquidation_price
from ctp.core.types import LIQUIDATION, LONG, NAN, SHORT, STILL_OPEN, Candle, Market, Position
from ctp.simulator.rules import rules_of
from tests.simulator.conftest import ROW
from tests.simulator.test_candle_exact import CLOSE_SIDE, SLIP, Desk

RULES = rules_of("BTC/USDT:USDT")
CORE = Market(
    1, 10, 1, 1000, 100.0, 1, 0.0005, SLIP, 0.0125,
    tuple(bracket.floor for bracket in RULES.brackets), tuple(bracket.rate for bracket in RULES.brackets),
    tuple(bracket.amount for bracket in RULES.brackets), tuple(float(b.max_leverage) for b in RULES.brackets),
)  # fmt: skip
FLAT: ROW = (100.0, 100.0, 100.0, 100.0)

price = st.integers(8000, 12000).map(lambda hundredths: hundredths / 100)
row = st.tuples(price, price, price, price).map(lambda p: (p[0], max(p), min(p), p[3]))


@settings(max_examples=300, deadline=None)
@given(
    row, st.one_of(st.none(), row), st.sampled_from([LONG, SHORT]), st.integers(2000, 9000), st.sampled_from([1, 3, 8, 10]),
    st.integers(2, 150), st.one_of(st.just(0), st.integers(2, 150)), st.booleans(),
)  # fmt: skip
def test_protective_fills_agree(
    candle: ROW, mark: ROW | None, side: int, lots: int, leverage: int, stop_away: int, take_away: int, later: bool
) -> None:
    """stop_away, take_away: ticks from the entry; later: the candle after the entry candle, else that one itself."""
    entry_row = FLAT if later else candle
    marks = None if mark is None else ([FLAT, mark, FLAT] if later else [mark, FLAT])
    desk = Desk([entry_row, candle, FLAT] if later else [entry_row, FLAT], leverage=leverage, mark=marks)
    way = "BUY" if side == LONG else "SELL"
    size = f"{lots / 1000:.3f}"
    entry = desk.market(way, size).average
    base = round(entry_row[0] * 10)
    stop, take = base - side * stop_away, base + side * take_away
    desk.protect(CLOSE_SIDE[way], "STOP_MARKET", stop / 10, size)
    if take_away:
        desk.protect(CLOSE_SIDE[way], "TAKE_PROFIT_MARKET", take / 10, size)
    for _ in range(2 if later else 1):
        desk.engine.step()

    margin = lots / 1000 * entry / leverage
    limit = liquidation_price(CORE, side, lots / 1000, entry, margin)
    position = Position(
        side, lots, entry, 0, stop, stop, take if take_away else 0, NAN, float(leverage), margin, limit,
        10_000.0, lots, 0.0, 0.0, 0.0, 0.0, 0.0,
    )  # fmt: skip
    marked = (NAN, NAN, NAN) if mark is None else mark[:3]
    seen = Candle(0, *candle, 10.0, *marked)
    expected = fills.protective_fill(CORE, position, seen, not later)

    if expected.reason == STILL_OPEN:
        assert len(desk.account.trades) == 1
        return
    trade = desk.account.trades[1]
    assert trade.price == expected.price
    assert trade.fee == fills.exit_fee(CORE, lots / 1000, expected.price, expected.reason)
    assert (desk.account.orders[trade.order_id].original_kind == "LIQUIDATION") == (expected.reason == LIQUIDATION)
    assert desk.account.wallet < Decimal(20_000)

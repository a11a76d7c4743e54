"""The lots of a fill, from the exact text of the wire."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ctp.core.rules import Costs, MarketRules
from ctp.trading.fold import FILL, Fact, filled_lots


@pytest.mark.parametrize("lots", [1, 12_345_678, 29_000_007, 99_999_999, 4_503_599_627])
def test_no_lot_is_lost_however_small_the_lot(lots: int) -> None:
    market = MarketRules(is_perpetual=True, lot=Decimal("0.00000001")).market(Costs(fee=0.0005))
    size = lots * Decimal("0.00000001")
    fact = Fact(1, FILL, "BTC/USDT:USDT", 0, "x", "1", "buy", Decimal(1), size, Decimal(0), "USDT", "entry_signal")
    assert filled_lots(market, fact) == lots

"""The lots of a fill, from the exact text of the wire."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ctp.core.rules import Costs, MarketRules
from ctp.trading.fold import FILL, Fact, filled_lots


@pytest.mark.parametrize("lots", [1, 12_345_678, 53_680_948, 110_132_815_700, 835_351_532_924])
def test_no_lot_is_lost_however_small_the_lot(lots: int) -> None:
    market = MarketRules(is_perpetual=True, lot=Decimal("0.00000001")).market(Costs(fee=0.0005))
    size = lots * Decimal("0.00000001")
    fact = Fact(1, FILL, "BTC/USDT:USDT", 0, "x", "1", "buy", Decimal(1), size, Decimal(0), "USDT", "entry_signal")
    assert filled_lots(market, fact) == lots

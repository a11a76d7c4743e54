"""Small values for table tests, with only what matters spelled out at the place of use."""

from __future__ import annotations

from typing import Any

from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import RsiMeanReversion
from ctp.core.types import LONG, NAN, Account, Candle, Exposure, Market, Plan, Position

HOUR_MS = 3_600_000
NOTHING_OPEN = Exposure(0, 0.0, 0.0, 0.0)


def market(**changes: Any) -> Market:
    """Return a perpetual with a tick of 0.1, a lot of 0.001 and no costs."""
    plain = Market(1, 10, 1, 1000, 5.0, 1, 0.0, 0.0, 0.0125, (0.0,), (0.01,), (0.0,), (125.0,))
    return plain._replace(**changes)


def candle(open_: float, high: float, low: float, close: float, **changes: Any) -> Candle:
    """Return a candle with some volume."""
    return Candle(HOUR_MS, open_, high, low, close, 1.0)._replace(**changes)


def position(**changes: Any) -> Position:
    """Return 1.0 long from 100, stop at 98, take at 104, leverage 3."""
    plain = Position(
        side=LONG, lots=1000, entry_price=100.0, entry_time=HOUR_MS, stop_ticks=980, first_stop_ticks=980, take_ticks=1040,
        best_close=NAN, leverage=3.0, margin=100.0 / 3.0, liquidation_price=NAN, entry_equity=10_000.0, opened_lots=1000,
        gross=0.0, exit_cost=0.0, fee=0.0, funding=0.0, slippage=0.0,
    )  # fmt: skip
    return plain._replace(**changes)


def plan(**changes: Any) -> Plan:
    """Return a planned long entry of 1.0 at 100 with a 2 % stop."""
    return Plan(1, LONG, 1000, 3.0, 100.0, 0.02, 0.02, 10_000.0, 0)._replace(**changes)


def account(**changes: Any) -> Account:
    """Return an account of 10,000 that has decided before."""
    return Account(10_000.0, 10_000.0, 0, 10_000.0, 10_000.0, 0, 0, 0, 1)._replace(**changes)


def risk(**changes: Any) -> Any:
    """Return the numbers of a risk manager of a perpetual."""
    return DynamicRiskManager(**changes).for_market(is_perpetual=True).values()


def strategy(**changes: Any) -> Any:
    """Return the numbers of a strategy."""
    return RsiMeanReversion(**changes).values()

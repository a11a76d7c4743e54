"""What clients leave with the exchange: orders, conditional orders, trades and payments.

Sizes are whole lots. A `Trigger` is a conditional order before it triggers: on USDⓈ-M an algo order that then makes
an `Order`, on spot the order itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

WORKING = ("NEW", "PARTIALLY_FILLED")


class Touch(StrEnum):
    """What a conditional order waits for."""

    STOP = "stop"
    TAKE = "take"
    TRAIL = "trail"


@dataclass
class Order:
    """One order of one account. sign: +1 buys, -1 sells; price 0 when none was given."""

    id: int
    client_id: str
    account: str
    symbol: str
    sign: int
    kind: str
    lots: int
    price: float
    created: int
    time_in_force: str = "GTC"
    reduce_only: bool = False
    close_position: bool = False
    original_kind: str = ""
    stop: float = 0.0
    status: str = "NEW"
    filled: int = 0
    turnover: float = 0.0
    average: float = 0.0
    updated: int = 0
    list_id: int = -1
    quote_wanted: float = 0.0
    in_book: bool = True
    trades: list[int] = field(default_factory=list)

    @property
    def side(self) -> str:
        """Return BUY or SELL."""
        return "BUY" if self.sign > 0 else "SELL"

    @property
    def is_working(self) -> bool:
        """Tell whether the order can still fill."""
        return self.status in WORKING

    def take(self, lots: int, size: float, price: float, time: int, trade_id: int) -> None:
        """Book one trade. The average of a single price is that price, to the bit."""
        prices_equal = self.filled == 0 or self.average == price
        self.filled += lots
        self.turnover += size * price
        self.average = price if prices_equal else 0.0
        self.trades.append(trade_id)
        self.status = "FILLED" if self.filled >= self.lots else "PARTIALLY_FILLED"
        self.updated = time


@dataclass
class Trigger:
    """A conditional order that waits. `best` is the best price a trailing one has seen."""

    id: int
    client_id: str
    account: str
    symbol: str
    sign: int
    kind: str
    touch: Touch
    lots: int
    level: float
    limit: float
    created: int
    reduce_only: bool = False
    close_position: bool = False
    time_in_force: str = "GTC"
    callback: float = 0.0
    activation: float = 0.0
    best: float = 0.0
    status: str = "NEW"
    updated: int = 0
    triggered: int = 0
    order_id: int = 0
    working_type: str = "CONTRACT_PRICE"

    @property
    def side(self) -> str:
        """Return BUY or SELL."""
        return "BUY" if self.sign > 0 else "SELL"

    @property
    def is_market(self) -> bool:
        """Tell whether it becomes a market order."""
        return self.kind in ("STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET", "STOP_LOSS") or (
            self.kind == "TAKE_PROFIT" and self.limit == 0.0
        )


class Trade(NamedTuple):
    """One trade of one account."""

    id: int
    order_id: int
    symbol: str
    sign: int
    lots: int
    price: float
    turnover: float
    fee: float
    fee_asset: str
    realized: float
    maker: bool
    time: int
    list_id: int = -1


class Income(NamedTuple):
    """One line of an account's income: fee, profit, funding, liquidation charge."""

    id: int
    symbol: str
    kind: str
    amount: float
    asset: str
    time: int
    trade_id: str = ""

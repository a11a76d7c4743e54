"""One traded symbol during a run: its candle, its price now, and the orders that wait on it.

Invariants:
1. `price` is the open of the candle in OPEN, a point of the path in INTERIOR, the last close in a gap.
2. `orders` holds working orders only, `triggers` conditional orders that have not triggered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from ctp.simulator.feed import Candle, Mark
from ctp.simulator.refusals import Refusal
from ctp.simulator.rules import SymbolRules

if TYPE_CHECKING:
    from ctp.simulator.orders import Order, Trigger


class Phase(StrEnum):
    """Where inside a candle the market stands."""

    OPEN = "open"
    INTERIOR = "interior"
    ENDED = "ended"


class Segment(NamedTuple):
    """A stretch of prices seen at once: a whole candle, or one step of its path."""

    open: float
    high: float
    low: float

    @classmethod
    def between(cls, start: float, end: float) -> Segment:
        """Return the stretch from one price to the next."""
        return cls(start, max(start, end), min(start, end))


@dataclass
class Instrument:
    """The state of one symbol."""

    rules: SymbolRules
    price: float = 0.0
    candle: Candle | None = None
    mark: Mark | None = None
    high: float = 0.0
    low: float = 0.0
    volume: float = 0.0
    last_time: int = 0
    previous_close: float = 0.0
    halted: bool = False
    jumped: bool = False
    update_id: int = 1_000_000
    orders: dict[int, Order] = field(default_factory=dict)
    triggers: dict[int, Trigger] = field(default_factory=dict)

    @property
    def symbol(self) -> str:
        """Return the unified name."""
        return self.rules.symbol

    @property
    def mark_price(self) -> float:
        """Return the mark price now: the mark candle's open, or the last price when there is no mark series."""
        return self.price if self.mark is None else self.mark.open

    def begin(self, candle: Candle | None, mark: Mark | None) -> None:
        """Enter a candle at its open, or a gap when there is none."""
        if self.candle is not None:
            self.previous_close, self.last_time = self.candle.close, self.candle.time
        self.candle, self.mark, self.jumped = candle, mark, False
        if candle is None:
            self.price = self.previous_close or self.price
            return
        self.price = self.high = self.low = candle.open
        self.volume = 0.0

    def move(self, price: float, volume: float) -> Segment:
        """Go to the next price of the path and return the stretch passed."""
        segment = Segment.between(self.price, price)
        self.price, self.high, self.low = price, max(self.high, price), min(self.low, price)
        self.volume += volume
        return segment

    def check_open_for_trading(self) -> None:
        """Refuse when the symbol is halted, or when recorded data has no candle now.

        A recorded gap was a time in which nobody could trade: an order sent into it must not fill at a later open.
        """
        if not self.halted and self.candle is not None:
            return
        if self.rules.venue == "usdm":
            raise Refusal(-1122)
        raise Refusal(-1013, "Market is closed.")

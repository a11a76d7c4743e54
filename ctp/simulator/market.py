"""What both venues share: instruments, market time, the fill model, numbering, and where events go.

Invariant: market time never runs back; in exact mode a trade carries the open time of its candle.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from ctp.simulator.fills import FillModel, Part
from ctp.simulator.instrument import Instrument, Phase
from ctp.simulator.refusals import Refusal
from ctp.simulator.wire import Wire

UserEvent = dict[str, object]


@dataclass(frozen=True)
class Costs:
    """Fee rates and the liquidation charge, as fractions of the notional."""

    usdm_taker: float = 0.0005
    usdm_maker: float = 0.0002
    spot_taker: float = 0.001
    spot_maker: float = 0.001
    liquidation: float = 0.0125


@dataclass
class Counter:
    """A number that only grows, and that a snapshot can keep."""

    last: int

    def next(self) -> int:
        """Return the next number."""
        self.last += 1
        return self.last


@dataclass
class Rested:
    """A limit order that opened something inside a candle, by the touch of the whole candle."""

    venue: str
    account: str
    instrument: Instrument
    sign: int
    price: float


@dataclass
class PartialFill:
    """A scripted partial fill of the next orders that meet the book.

    fraction: of the size that fills at first. rest: "filled" fills the rest in a second trade; "unfilled" expires the
    rest of a market order and leaves that of a limit order working.
    """

    fraction: float
    rest: str = "filled"
    count: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot happen."""
        if not 0.0 < self.fraction < 1.0 or self.rest not in ("filled", "unfilled"):
            raise ValueError(f"partial fill {self.fraction}, {self.rest!r}: 0 < fraction < 1, rest filled or unfilled")


@dataclass
class Market:
    """The state of the world as every account sees it."""

    fills: FillModel
    costs: Costs
    instruments: dict[tuple[str, str], Instrument] = field(default_factory=dict)
    now: int = 0
    phase: Phase = Phase.OPEN
    order_ids: Counter = field(default_factory=lambda: Counter(8_886_774_000))
    algo_ids: Counter = field(default_factory=lambda: Counter(1_000_001_270_850_000))
    trade_ids: Counter = field(default_factory=lambda: Counter(1_000_000))
    list_ids: Counter = field(default_factory=lambda: Counter(0))
    partials: list[PartialFill] = field(default_factory=list)
    rested: list[Rested] = field(default_factory=list)  # in this candle
    is_paused: bool = False  # a stepped candle waits for those who entered inside it to protect themselves
    emit: Callable[[str, str, UserEvent], None] = lambda venue, account, event: None

    @property
    def wire(self) -> Wire:
        """Return the way numbers are written in this fill mode."""
        return Wire(self.fills.exact)

    def instrument(self, venue: str, parameters: dict[str, str]) -> Instrument:
        """Return the traded instrument a request names.

        Raises Refusal: no symbol sent, or one that is not traded here.
        """
        name = parameters.get("symbol")
        if not name:
            raise Refusal(-1102, name="symbol")
        instrument = self.instruments.get((venue, name))
        if instrument is None:
            raise Refusal(-1121)
        return instrument

    def of_venue(self, venue: str) -> list[Instrument]:
        """Return the instruments of one venue in alphabetical order of their unified names."""
        chosen = (instrument for (kind, _), instrument in self.instruments.items() if kind == venue)
        return sorted(chosen, key=lambda instrument: instrument.symbol)

    def trade_time(self, instrument: Instrument) -> int:
        """Return the time a trade of now carries."""
        return instrument.candle.time if self.fills.exact and instrument.candle is not None else self.now


    @property
    def takes_passed_levels(self) -> bool:
        """Tell whether a conditional order is in force for all of the candle, or the rest of it, that will be applied."""
        return self.fills.exact and (self.phase is Phase.OPEN or self.is_paused)

    def cut(self, parts: list[Part]) -> list[Part]:
        """Apply the next scripted partial fill to the trades of an order that meets the book."""
        waiting = next((partial for partial in self.partials if partial.count > 0), None)
        lots = sum(part.lots for part in parts)
        if waiting is None or lots < 2:
            return parts
        waiting.count -= 1
        first = min(lots - 1, max(1, int(lots * waiting.fraction)))
        price = parts[0].price
        cut = [Part(first, price), Part(lots - first, price)]
        return cut if waiting.rest == "filled" else cut[:1]


def client_ids() -> Callable[[], str]:
    """Return a source of client order ids for orders sent without one."""
    numbers = itertools.count(1)
    return lambda: f"sim{next(numbers):012d}"

"""At which price an order fills: as the candle says, or against a synthetic book.

Owns both fill models; neither shares a line with the backtest's fills, so that agreeing with it proves something.

Invariants:
1. `CandleExact` computes in doubles, in the order written in the trading semantics, and rounds nothing.
2. A stop fills at its level or worse, a take-profit at its level or better, before slippage.
"""

from __future__ import annotations

import random
from typing import NamedTuple, Protocol

from ctp.simulator.instrument import Instrument, Segment


class Part(NamedTuple):
    """One trade of a fill."""

    lots: int
    price: float


class FillModel(Protocol):
    """What the matching asks about prices. `sign` is +1 for a buy and -1 for a sell."""

    exact: bool

    def market(self, instrument: Instrument, sign: int, lots: int) -> list[Part]:
        """Return the trades of a market order that arrives now."""

    def triggered(self, instrument: Instrument, sign: int, base: float, lots: int) -> list[Part]:
        """Return the trades of a conditional market order whose unslipped price is `base`."""

    def resting(self, instrument: Instrument, lots: int, price: float) -> list[Part]:
        """Return the trades of a limit order that fills at `price`."""

    def spread(self, instrument: Instrument) -> float:
        """Return half the distance between best bid and best ask."""


class CandleExact:
    """Fill as the trading semantics say, to the bit."""

    exact = True

    def __init__(self, slippage: float = 0.0002) -> None:
        """Take the slippage as a fraction of the price."""
        self.slippage = slippage

    def _slipped(self, sign: int, price: float) -> float:
        """Return a price made worse by the slippage."""
        return price * (1.0 + self.slippage) if sign > 0 else price * (1.0 - self.slippage)

    def market(self, instrument: Instrument, sign: int, lots: int) -> list[Part]:
        """Fill at the price now, which at the open of a candle is its open."""
        return [Part(lots, self._slipped(sign, instrument.price))]

    def triggered(self, instrument: Instrument, sign: int, base: float, lots: int) -> list[Part]:
        """Fill whole at the level or the open, whichever the candle allows, with slippage."""
        return [Part(lots, self._slipped(sign, base))]

    def resting(self, instrument: Instrument, lots: int, price: float) -> list[Part]:
        """Fill whole, without slippage."""
        return [Part(lots, price)]

    def spread(self, instrument: Instrument) -> float:
        """Return half a tick: the book is for display only."""
        return instrument.rules.tick.value(1) / 2


class Book:
    """Fill against a synthetic book: spread, depth, one to three trades; prices on tick."""

    exact = False

    def __init__(self, spread: float = 0.0002, partial: float = 0.3, seed: int = 1) -> None:
        """Take the spread as a fraction of the price and the chance that an order fills in parts."""
        self.fraction, self.partial, self._chance = spread, partial, random.Random(seed)

    def spread(self, instrument: Instrument) -> float:
        """Return half the spread, at least half a tick."""
        return max(instrument.price * self.fraction, instrument.rules.tick.value(1)) / 2

    def _parts(self, instrument: Instrument, sign: int, price: float, lots: int, worse: int) -> list[Part]:
        """Split a fill into trades, each `worse` ticks worse than the one before."""
        tick = instrument.rules.tick
        ticks = max(1, tick.nearest(price))
        count = 1
        if lots >= 3 and self._chance.random() < self.partial:
            count = self._chance.randint(2, 3)
        parts: list[Part] = []
        for number in range(count, 0, -1):
            share = lots if number == 1 else max(1, int(lots * self._chance.uniform(0.2, 0.6)))
            share = min(share, lots - (number - 1))
            parts.append(Part(share, tick.value(max(1, ticks + sign * worse * len(parts)))))
            lots -= share
        return parts

    def market(self, instrument: Instrument, sign: int, lots: int) -> list[Part]:
        """Take the other side of the book."""
        return self.triggered(instrument, sign, instrument.price, lots)

    def triggered(self, instrument: Instrument, sign: int, base: float, lots: int) -> list[Part]:
        """Take the other side of a book around `base`."""
        return self._parts(instrument, sign, base + sign * self.spread(instrument), lots, 1)

    def resting(self, instrument: Instrument, lots: int, price: float) -> list[Part]:
        """Give at the limit price, perhaps in several trades."""
        return self._parts(instrument, 1, price, lots, 0)


def stop_base(sign: int, level: float, segment: Segment) -> float | None:
    """Return the unslipped price of a stop touched in a stretch, or None: a sell on the way down, a buy up."""
    if sign < 0:
        return min(segment.open, level) if segment.low <= level else None
    return max(segment.open, level) if segment.high >= level else None


def limit_base(sign: int, level: float, segment: Segment) -> float | None:
    """Return the price of a resting limit order that a stretch trades through, or None: touched, it waits in the queue."""
    if sign < 0:
        return level if segment.high > level else None
    return level if segment.low < level else None


def take_base(sign: int, level: float, segment: Segment) -> float | None:
    """Return the unslipped price of a take-profit touched in a stretch, or None: a sell on the way up, a buy down."""
    if sign < 0:
        return max(segment.open, level) if segment.high >= level else None
    return min(segment.open, level) if segment.low <= level else None

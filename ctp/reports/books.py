"""The account's books, kept again from the ledger alone, in exact decimals.

The bot books in doubles through `ctp.core.book`; this adds the same facts up by itself, so that a report's cents are the
ledger's and a difference between the two would be seen. Only what makes a fact due in a candle is shared with the bot.

Invariants:
1. balance = transfers + realised − fees + funding, exactly, at every moment.
2. Facts are booked in the order of the definition, whatever the order in which they were learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any, NamedTuple

from ctp.core.orders import ENTRY
from ctp.trading.fold import FILL, FUNDING, TRANSFER, Fact, candle_index, order_of_events

NOTHING = Decimal(0)
_UNKNOWN_LOT = Decimal("0.00000001")


class Terms(NamedTuple):
    """What must be known of one symbol to book its fills."""

    is_perpetual: bool
    lot: Decimal
    fee_rate: Decimal


class Holding(NamedTuple):
    """An open position: signed size in base units and mean entry price."""

    size: Decimal
    entry_price: Decimal


class Booked(NamedTuple):
    """What one fact did. Quote units; `fee` is what was paid, `funding` what was received."""

    candle_time: int  # open time of the candle it belongs to
    kind: str
    symbol: str
    reason: str
    realised: Decimal
    fee: Decimal
    funding: Decimal
    transfer: Decimal


class Books:
    """Balance and open positions after the facts booked so far."""

    def __init__(self, terms: Mapping[str, Terms], quote: str, timeframe_ms: int) -> None:
        """Begin with empty books."""
        self.terms, self.quote, self.timeframe_ms = terms, quote, timeframe_ms
        self.balance = self.transferred = NOTHING
        self.holdings: dict[str, Holding] = {}

    def book_all(self, facts: Iterable[Fact], purposes: Mapping[str, str]) -> list[Booked]:
        """Book facts in the order of the definition; purposes: of the orders behind them, by id."""
        ordered = sorted(facts, key=lambda fact: order_of_events(fact, self.timeframe_ms))
        return [self._book(fact, purposes.get(fact.order_id or "", "")) for fact in ordered]

    def _book(self, fact: Fact, purpose: str) -> Booked:
        """Book one fact."""
        realised = fee = funding = transfer = NOTHING
        if fact.kind == TRANSFER:
            transfer = fact.amount
        elif fact.kind == FILL:
            realised, fee = self._book_fill(fact, is_entry=purpose == ENTRY)
        else:  # funding, and whatever else an exchange pays or takes
            funding = fact.amount
        self.balance += transfer + realised - fee + funding
        self.transferred += transfer
        open_time = candle_index(fact, self.timeframe_ms) * self.timeframe_ms
        return Booked(open_time, fact.kind, fact.symbol, fact.reason, realised, fee, funding, transfer)

    def _book_fill(self, fact: Fact, *, is_entry: bool) -> tuple[Decimal, Decimal]:
        """Change the position by a fill; returns (realised, fee) in quote units."""
        assert fact.price is not None and fact.size is not None
        terms = self.terms.get(fact.symbol, Terms(True, _UNKNOWN_LOT, NOTHING))
        size, fee = _size_and_fee(fact, terms, self.quote)
        held = self.holdings.get(fact.symbol)
        if is_entry:
            signed = size if fact.side == "buy" else -size
            if held is None:
                after = Holding(signed, fact.price)
            else:
                total = held.size + signed
                after = Holding(total, (held.size * held.entry_price + signed * fact.price) / total)
            if size:
                self.holdings[fact.symbol] = after
            return NOTHING, fee
        if held is None:
            return NOTHING, fee
        closed = min(size, abs(held.size))
        direction = 1 if held.size > 0 else -1
        left = held.size - direction * closed
        if left:
            self.holdings[fact.symbol] = held._replace(size=left)
        else:
            del self.holdings[fact.symbol]
        return direction * closed * (fact.price - held.entry_price), fee

    def to_plain(self) -> dict[str, Any]:
        """Return balance and positions as texts."""
        holdings = {symbol: [str(one.size), str(one.entry_price)] for symbol, one in self.holdings.items()}
        return {"balance": str(self.balance), "transferred": str(self.transferred), "holdings": holdings}

    def resume(self, plain: Mapping[str, Any]) -> None:
        """Go on from what `to_plain` wrote."""
        self.balance, self.transferred = Decimal(plain["balance"]), Decimal(plain["transferred"])
        self.holdings = {
            symbol: Holding(Decimal(size), Decimal(price)) for symbol, (size, price) in plain["holdings"].items()
        }


def _size_and_fee(fact: Fact, terms: Terms, quote: str) -> tuple[Decimal, Decimal]:
    """Return what a fill moved, in base units, and its fee in quote units (as the bot's `fold` defines both)."""
    assert fact.price is not None and fact.size is not None
    if fact.asset == quote:
        return fact.size, fact.amount
    if not terms.is_perpetual and fact.asset == fact.symbol.partition("/")[0]:
        if fact.side != "buy":
            return fact.size, fact.amount * fact.price
        # Coins below a lot cannot be sold again: they are part of what the purchase cost.
        kept = ((fact.size - fact.amount) / terms.lot).to_integral_value(ROUND_DOWN) * terms.lot
        return kept, (fact.size - kept) * fact.price
    return fact.size, terms.fee_rate * fact.size * fact.price


def terms_of(markets: Mapping[str, Mapping[str, Any]]) -> dict[str, Terms]:
    """Return the terms of each symbol from the markets kept in `account_states.core_state`."""
    return {
        symbol: Terms(
            bool(market["is_perpetual"]),
            Decimal(market["lot_multiple"]) / Decimal(market["lot_divisor"]),
            Decimal(repr(float(market["fee_rate"]))),
        )
        for symbol, market in markets.items()
    }


__all__ = ["FILL", "FUNDING", "TRANSFER", "Booked", "Books", "Fact", "Holding", "Terms", "candle_index", "terms_of"]

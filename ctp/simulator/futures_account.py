"""A USDⓈ-M account: wallet, positions and margin. Computes; the venue acts.

Invariants:
1. The margin of an isolated position is `size × entry ÷ leverage`; maintenance rate and amount are those of the
   bracket at `size × entry`, fixed when the position last grew.
2. The wallet is exact decimal; what is added to it are doubles, each taken at its shortest text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from ctp.simulator.instrument import Instrument
from ctp.simulator.orders import Income, Order, Trade, Trigger
from ctp.simulator.rules import Bracket

# What a symbol without brackets is held to.
UNKNOWN_BRACKET = Bracket(0.0, 0.0, 0.01, 0.0, 10)


@dataclass
class Position:
    """One position; lots > 0 is long. `since` is the open time of the candle it was opened in."""

    lots: int = 0
    entry: float = 0.0
    bracket: Bracket = UNKNOWN_BRACKET
    since: int = 0
    realized: float = 0.0
    updated: int = 0


@dataclass
class FuturesAccount:
    """One USDⓈ-M account in one-way mode, single asset USDT."""

    key: str
    wallet: Decimal
    hedge_mode: bool = False
    leverages: dict[str, int] = field(default_factory=dict)
    margin_types: dict[str, str] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    triggers: dict[int, Trigger] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    income: list[Income] = field(default_factory=list)

    def leverage(self, symbol: str) -> int:
        """Return the leverage set for a symbol id; the exchange's default is 20."""
        return self.leverages.get(symbol, 20)

    def margin_type(self, symbol: str) -> str:
        """Return "isolated" or "cross"; the exchange's default is cross."""
        return self.margin_types.get(symbol, "cross")

    def position(self, symbol: str) -> Position:
        """Return the position of a symbol id, flat when there never was one."""
        return self.positions.setdefault(symbol, Position())

    def add(self, amount: float) -> None:
        """Change the wallet by an amount."""
        self.wallet += Decimal(repr(amount))


class Margins:
    """Margin arithmetic over one account and the instruments it trades."""

    def __init__(self, account: FuturesAccount, instruments: dict[str, Instrument]) -> None:
        """Take the account and the instruments by symbol id."""
        self.account, self.instruments = account, instruments

    def size(self, symbol: str) -> float:
        """Return the absolute size of a position in base units."""
        return self.instruments[symbol].rules.lot.value(abs(self.account.position(symbol).lots))

    def profit(self, symbol: str) -> float:
        """Return the unrealised profit at the mark price."""
        position, size = self.account.position(symbol), self.size(symbol)
        gain = size * (self.instruments[symbol].mark_price - position.entry)
        return gain if position.lots >= 0 else -gain

    def margin(self, symbol: str) -> float:
        """Return the initial margin at entry."""
        return self.size(symbol) * self.account.position(symbol).entry / self.account.leverage(symbol)

    def maintenance(self, symbol: str) -> float:
        """Return the maintenance margin at the mark price, with the bracket fixed at entry."""
        bracket = self.account.position(symbol).bracket
        if self.account.position(symbol).lots == 0:
            return 0.0
        return max(0.0, self.size(symbol) * self.instruments[symbol].mark_price * bracket.rate - bracket.amount)

    def open_symbols(self, margin_type: str | None = None) -> list[str]:
        """Return the symbols with a position, all or of one margin type."""
        return [
            symbol
            for symbol, position in self.account.positions.items()
            if position.lots and margin_type in (None, self.account.margin_type(symbol))
        ]

    def cross_wallet(self) -> float:
        """Return the wallet without what isolated positions hold."""
        return float(self.account.wallet) - sum(self.margin(symbol) for symbol in self.open_symbols("isolated"))

    def cross_profit(self) -> float:
        """Return the unrealised profit of the cross positions."""
        return sum((self.profit(symbol) for symbol in self.open_symbols("cross")), 0.0)

    def order_margin(self) -> float:
        """Return what working orders that may open a position hold."""
        held = 0.0
        for order in self.account.orders.values():
            if order.is_working and not order.reduce_only:
                instrument = self.instruments[order.symbol]
                size = instrument.rules.lot.value(order.lots - order.filled)
                held += size * (order.price or instrument.price) / self.account.leverage(order.symbol)
        return held

    def available(self) -> float:
        """Return what new positions and orders may use."""
        used = sum(self.margin(symbol) for symbol in self.open_symbols("cross"))
        return max(0.0, self.cross_wallet() + min(0.0, self.cross_profit()) - used - self.order_margin())

    def liquidation_price(self, symbol: str) -> float:
        """Return the price at which the position is taken away, 0 when flat.

        `(size × entry − margin − amount) ÷ (size × (1 − rate))`; short with the signs turned. Cross positions put
        the cross wallet, less the other positions' losses and maintenance, in the place of the margin.
        """
        position = self.account.position(symbol)
        if position.lots == 0:
            return 0.0
        size, entry, bracket = self.size(symbol), position.entry, position.bracket
        if self.account.margin_type(symbol) == "isolated":
            margin = self.margin(symbol)
        else:
            others = [other for other in self.open_symbols("cross") if other != symbol]
            margin = self.cross_wallet() + sum(self.profit(other) - self.maintenance(other) for other in others)
        if position.lots > 0:
            return max(0.0, (size * entry - margin - bracket.amount) / (size * (1.0 - bracket.rate)))
        return (size * entry + margin + bracket.amount) / (size * (1.0 + bracket.rate))

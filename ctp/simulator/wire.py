"""Numbers on the wire: full precision for parity, or as many decimals as the real exchange sends.

Invariant: in exact style `float(text)` gives back the same double, and the text is never in exponent form.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from ctp.simulator.rules import SymbolRules


def plain(number: float | Decimal) -> str:
    """Write a number with all its digits and without an exponent."""
    text = repr(number) if isinstance(number, float) else str(number)
    return format(Decimal(text), "f") if "e" in text or "E" in text else text


class Wire(NamedTuple):
    """Write prices, amounts and money; `exact` keeps every digit."""

    exact: bool

    def price(self, rules: SymbolRules, price: float) -> str:
        """Write a price that the matching made or a client sent."""
        return plain(price) if self.exact else format(price, f".{rules.price_decimals}f")

    def size(self, rules: SymbolRules, lots: int) -> str:
        """Write a size; lots are exact in both styles."""
        return rules.lot.text(lots, rules.size_decimals)

    def money(self, amount: float | Decimal, decimals: int = 8) -> str:
        """Write a fee, a payment or a turnover."""
        return plain(amount) if self.exact else format(amount, f".{decimals}f")

    @staticmethod
    def balance(amount: float | Decimal) -> str:
        """Write a balance or a margin, as the exchange does: eight decimals."""
        return format(amount, ".8f")

"""Market rules of the simulated exchange: ticks, lots, minimums and maintenance brackets.

Owns the small table of well-known coins and the deterministic list of invented ones that makes the listing as
long as the real exchange's. Rules are plausible, not quoted: today's real ones come from the real exchange.

Invariants:
1. A tick or lot is an integer or 1 ÷ an integer; `Grid.value` gives the nearest double of the decimal text.
2. The same call gives the same list, in the same order, on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import NamedTuple


class Grid(NamedTuple):
    """Multiples of a step: whole numbers of lots or ticks on one side, text and doubles on the other."""

    numerator: int
    denominator: int
    decimals: int

    @classmethod
    def of(cls, step: str) -> Grid:
        """Make the grid of a step written as text, such as "0.001"."""
        fraction = Fraction(step)
        exponent = Decimal(step).normalize().as_tuple().exponent
        return cls(fraction.numerator, fraction.denominator, max(0, -int(exponent)))

    def value(self, steps: int) -> float:
        """Return the nearest double of that many steps."""
        return steps * self.numerator / self.denominator

    def decimal(self, steps: int) -> Decimal:
        """Return that many steps exactly."""
        return Decimal(steps * self.numerator) / Decimal(self.denominator)

    def text(self, steps: int, decimals: int | None = None) -> str:
        """Return that many steps as decimal text, padded to `decimals` places."""
        return format(self.decimal(steps), f".{self.decimals if decimals is None else decimals}f")

    def steps_of(self, amount: Decimal) -> int | None:
        """Return how many steps an amount is, or None when it lies between two."""
        steps = amount * self.denominator / self.numerator
        whole = int(steps.to_integral_value())
        return whole if steps == whole else None

    def nearest(self, amount: float) -> int:
        """Return the number of steps closest to an amount."""
        return round(amount * self.denominator / self.numerator)

    def floor(self, amount: Decimal) -> int:
        """Return the number of whole steps inside an amount."""
        return int(amount * self.denominator / self.numerator)

    @property
    def step(self) -> str:
        """Return one step as text."""
        return self.text(1)


class Bracket(NamedTuple):
    """One maintenance bracket: notional in [floor, cap), rate and amount, leverage allowed."""

    floor: float
    cap: float
    rate: float
    amount: float
    max_leverage: int


class SymbolRules(NamedTuple):
    """Everything the exchange states about one symbol; `venue` is "usdm" or "spot"."""

    venue: str
    id: str
    base: str
    quote: str
    tick: Grid
    lot: Grid
    min_lots: int
    max_lots: int
    market_max_lots: int
    min_notional: float
    price_decimals: int
    size_decimals: int
    reference_price: float
    brackets: tuple[Bracket, ...]

    @property
    def symbol(self) -> str:
        """Return the unified name, "BTC/USDT" or "BTC/USDT:USDT"."""
        return f"{self.base}/{self.quote}:{self.quote}" if self.venue == "usdm" else f"{self.base}/{self.quote}"

    def bracket(self, notional: float) -> Bracket:
        """Return the maintenance bracket a notional falls in."""
        return next((bracket for bracket in self.brackets if notional < bracket.cap), self.brackets[-1])


def _brackets(*levels: tuple[float, float, int]) -> tuple[Bracket, ...]:
    """Make brackets of (cap, rate, leverage), with the amounts that make the margin continuous."""
    made: list[Bracket] = []
    floor = amount = rate_before = 0.0
    for cap, rate, leverage in levels:
        amount += floor * (rate - rate_before)
        made.append(Bracket(floor, cap, rate, round(amount, 8), leverage))
        floor, rate_before = cap, rate
    return tuple(made)


_DEEP = _brackets(
    (50_000, 0.004, 125), (600_000, 0.005, 100), (3_000_000, 0.0065, 75), (12_000_000, 0.01, 50),
    (70_000_000, 0.02, 25), (100_000_000, 0.025, 20), (230_000_000, 0.05, 10), (480_000_000, 0.1, 5),
    (600_000_000, 0.125, 4), (800_000_000, 0.15, 3), (1_200_000_000, 0.25, 2), (1_800_000_000, 0.5, 1),
)  # fmt: skip
_COMMON = _brackets(
    (10_000, 0.005, 75), (50_000, 0.01, 50), (100_000, 0.015, 40), (750_000, 0.02, 25), (1_000_000, 0.025, 20),
    (5_000_000, 0.05, 10), (10_000_000, 0.1, 5), (20_000_000, 0.125, 4), (30_000_000, 0.25, 2), (50_000_000, 0.5, 1),
)  # fmt: skip

# base: perpetual tick, lot and minimum; spot tick and lot; a reference price
_COINS: dict[str, tuple[str, str, int, str, str, float]] = {
    "BTC": ("0.10", "0.001", 100, "0.01", "0.00001", 60000.0),
    "ETH": ("0.01", "0.001", 20, "0.01", "0.0001", 3000.0),
    "BNB": ("0.010", "0.01", 5, "0.01", "0.001", 550.0),
    "SOL": ("0.0100", "0.01", 5, "0.01", "0.001", 150.0),
    "XRP": ("0.0001", "0.1", 5, "0.0001", "0.1", 0.55),
    "DOGE": ("0.000010", "1", 5, "0.00001", "1", 0.12),
    "ADA": ("0.00010", "1", 5, "0.0001", "0.1", 0.45),
    "LTC": ("0.01", "0.001", 20, "0.01", "0.001", 80.0),
    "TRX": ("0.00001", "1", 5, "0.0001", "0.1", 0.12),
    "LINK": ("0.001", "0.01", 20, "0.01", "0.01", 14.0),
    "DOT": ("0.001", "0.1", 5, "0.001", "0.01", 6.5),
    "AVAX": ("0.0010", "1", 5, "0.01", "0.01", 30.0),
    "BCH": ("0.01", "0.001", 20, "0.1", "0.001", 400.0),
    "ETC": ("0.001", "0.01", 20, "0.01", "0.01", 25.0),
    "ATOM": ("0.001", "0.01", 5, "0.001", "0.01", 8.0),
    "UNI": ("0.0010", "1", 5, "0.001", "0.01", 8.5),
    "XLM": ("0.00001", "1", 5, "0.0001", "1", 0.11),
    "NEAR": ("0.0010", "1", 5, "0.001", "0.1", 5.5),
    "FIL": ("0.001", "0.1", 5, "0.001", "0.01", 5.0),
    "AAVE": ("0.010", "0.1", 5, "0.01", "0.001", 95.0),
    "SUI": ("0.000100", "0.1", 5, "0.0001", "0.1", 1.2),
    "APT": ("0.0010", "0.1", 5, "0.001", "0.01", 8.0),
    "ARB": ("0.000100", "0.1", 5, "0.0001", "0.1", 0.8),
    "OP": ("0.0001000", "0.1", 5, "0.001", "0.01", 1.8),
}
_QUOTES = ("USDT", "USDC", "BTC", "TRY")
_QUOTE_PRICE = {"USDT": 1.0, "USDC": 1.0, "BTC": 60000.0, "TRY": 1 / 33}
_INVENTED = 740


def _decimals_of(text: str) -> int:
    """Return how many decimals a step is written with, trailing zeros included."""
    return len(text.partition(".")[2])


def _rules(
    venue: str, base: str, quote: str, tick: str, lot: str, minimum: float, price: float, brackets: tuple[Bracket, ...]
) -> SymbolRules:
    """Assemble the rules of one symbol; the largest order is worth about thirty million quote units."""
    lots = Grid.of(lot)
    largest = max(1000, lots.nearest(3e7 / price / _QUOTE_PRICE.get(quote, 1.0)))
    decimals = max(2, _decimals_of(tick)) if venue == "usdm" else 8
    return SymbolRules(
        venue, base + quote, base, quote, Grid.of(tick), lots, 1, largest, max(1, largest // 8), minimum,
        decimals, _decimals_of(lot) if venue == "usdm" else 8, price, brackets,
    )  # fmt: skip


def _invented() -> Iterator[tuple[str, float, str, str]]:
    """Yield invented coins: name, price in USDT, tick and lot."""
    heads = ("BA", "CO", "DE", "FI", "GU", "KA", "LO", "MI", "NU", "PA", "RE", "SI", "TO", "VU", "WA", "XE", "YO", "ZI")
    tails = ("RA", "LIX", "MON", "NET", "PEX", "QUA", "STO", "TEK", "VOX", "ZEN")
    count = 0
    for middle in ("", "NO", "RI", "LA", "DU"):
        for head in heads:
            for tail in tails:
                if count >= _INVENTED:
                    return
                count += 1
                name = head + middle + tail
                digest = hashlib.sha256(name.encode()).digest()
                magnitude = digest[0] % 5 - 2
                price = round((1 + digest[1] / 32) * 10.0**magnitude, 4 - magnitude)
                yield name, price, format(Decimal(1).scaleb(magnitude - 3), "f"), "0.1" if magnitude > 0 else "1"


def perpetuals() -> Iterator[SymbolRules]:
    """Yield every listed USDⓈ-M perpetual."""
    for base, (tick, lot, minimum, _, _, price) in _COINS.items():
        yield _rules("usdm", base, "USDT", tick, lot, minimum, price, _DEEP if base in ("BTC", "ETH") else _COMMON)
    for base, price, tick, lot in _invented():
        yield _rules("usdm", base, "USDT", tick, lot, 5, price, _COMMON)


def spots() -> Iterator[SymbolRules]:
    """Yield every listed spot symbol."""
    for quote in _QUOTES:
        for base, (_, _, _, tick, lot, price) in _COINS.items():
            if base == quote:
                continue
            yield _spot(base, quote, tick, lot, price)
        for base, price, tick, lot in _invented():
            yield _spot(base, quote, tick, lot, price)


def _spot(base: str, quote: str, tick: str, lot: str, price: float) -> SymbolRules:
    """Return the spot rules of one pair; against bitcoin the tick shrinks with the price."""
    if quote == "USDT":
        return _rules("spot", base, quote, tick, lot, 5, price, ())
    converted = price / _QUOTE_PRICE[quote]
    if quote == "BTC":
        return _rules("spot", base, quote, "0.00000001", "0.1" if price > 1 else "1", 0.0001, converted, ())
    return _rules("spot", base, quote, tick, lot, 5, converted, ())


def rules_of(symbol: str) -> SymbolRules:
    """Return the rules of a unified symbol; a coin not listed gets plain ones, so that any feed can be traded.

    Raises ValueError when the name is not "BASE/QUOTE" or "BASE/QUOTE:QUOTE".
    """
    pair, _, settle = symbol.partition(":")
    base, slash, quote = pair.partition("/")
    if not slash or not base or not quote or settle not in ("", quote):
        raise ValueError(f"symbol {symbol!r} is neither BASE/QUOTE nor BASE/QUOTE:QUOTE")
    listed = perpetuals() if settle else spots()
    for rules in listed:
        if rules.base == base and rules.quote == quote:
            return rules
    if settle:
        return _rules("usdm", base, quote, "0.0001", "0.001", 5, 1.0, _COMMON)
    return _rules("spot", base, quote, "0.0001", "0.0001", 5, 1.0, ())


def parse_amount(text: str) -> Decimal | None:
    """Return a number sent as text, or None when it is not one."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None

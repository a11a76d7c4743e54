"""The rules and costs of a market as people and exchanges write them, turned into what kernels take.

A tick or a lot is a whole number or 1 ÷ a whole number, so that steps become the nearest double by one division.
"""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import NamedTuple

from ctp.core.types import Market
from ctp.errors import InputError

UNKNOWN_STEP = Decimal("0.00000001")
DEFAULT_SLIPPAGE = 0.0002
DEFAULT_LIQUIDATION_FEE = 0.0125
# Taker fees, and below them maker fees, of the lowest tier, as published by the exchanges.
TAKER_FEES = {
    "binance": 0.001,
    "binanceusdm": 0.0005,
    "bybit": 0.00055,
    "okx": 0.0005,
    "upbit": 0.0005,
    "bithumb": 0.0025,
}


MAKER_FEES = {
    "binance": 0.001,
    "binanceusdm": 0.0002,
    "bybit": 0.0002,
    "okx": 0.0002,
    "upbit": 0.0005,
    "bithumb": 0.0025,
}


class Bracket(NamedTuple):
    """One maintenance bracket: it holds from `floor` (quote notional) upwards."""

    floor: float
    rate: float
    amount: float
    max_leverage: float


UNKNOWN_BRACKET = Bracket(0.0, 0.01, 0.0, 125.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """What trading costs. Fees and slippage are fractions of the notional; `funding` False leaves funding out.

    fee is the taker's. maker_fee is that of limit entries; None: the taker's too.
    """

    fee: float
    slippage: float = DEFAULT_SLIPPAGE
    funding: bool = True
    liquidation_fee: float = DEFAULT_LIQUIDATION_FEE
    maker_fee: float | None = None

    def __post_init__(self) -> None:
        """Refuse fractions that cannot be costs."""
        for name in ("fee", "slippage", "liquidation_fee"):
            value = getattr(self, name)
            if not 0.0 <= value < 0.1:
                raise InputError(name, value, "must be a fraction from 0 to below 0.1 (0.001 is 0.1 %)")
        if self.maker_fee is not None and not 0.0 <= self.maker_fee < 0.1:
            raise InputError("maker_fee", self.maker_fee, "must be a fraction from 0 to below 0.1 (0.0002 is 0.02 %)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarketRules:
    """What an exchange allows on one symbol. Prices and sizes move in ticks and lots."""

    is_perpetual: bool
    tick: Decimal = UNKNOWN_STEP
    lot: Decimal = UNKNOWN_STEP
    min_notional: float = 0.0
    brackets: tuple[Bracket, ...] = (UNKNOWN_BRACKET,)

    def __post_init__(self) -> None:
        """Refuse rules that no exchange has."""
        step_fraction("tick", self.tick)
        step_fraction("lot", self.lot)
        if not self.min_notional >= 0.0:
            raise InputError("min_notional", self.min_notional, "must be 0 or more")
        floors = [bracket.floor for bracket in self.brackets]
        if not floors or floors[0] != 0.0 or sorted(set(floors)) != floors:
            raise InputError("brackets", floors, "must start at 0 and ascend")
        for bracket in self.brackets:
            if not bracket.max_leverage >= 1.0:
                raise InputError("max_leverage", bracket.max_leverage, "must be 1 or more")

    def market(self, costs: Costs) -> Market:
        """Return the market as kernels take it."""
        tick_multiple, tick_divisor = step_fraction("tick", self.tick)
        lot_multiple, lot_divisor = step_fraction("lot", self.lot)
        return Market(
            tick_multiple,
            tick_divisor,
            lot_multiple,
            lot_divisor,
            float(self.min_notional),
            int(self.is_perpetual),
            float(costs.fee),
            float(costs.slippage),
            float(costs.liquidation_fee),
            tuple(float(bracket.floor) for bracket in self.brackets),
            tuple(float(bracket.rate) for bracket in self.brackets),
            tuple(float(bracket.amount) for bracket in self.brackets),
            tuple(float(bracket.max_leverage) for bracket in self.brackets),
            float(costs.fee if costs.maker_fee is None else costs.maker_fee),
        )


def step_fraction(name: str, step: Decimal) -> tuple[int, int]:
    """Return (multiple, divisor) of a tick or lot, one of them 1."""
    if not step.is_finite() or step <= 0:
        raise InputError(name, str(step), "must be above 0")
    if step == step.to_integral_value():
        return int(step), 1
    divisor = 1 / step
    if divisor != divisor.to_integral_value() or int(divisor) * step != 1:
        raise InputError(name, str(step), "must be a whole number or 1 ÷ a whole number, like 0.1 or 0.05")
    return 1, int(divisor)


def is_perpetual_symbol(symbol: str) -> bool:
    """Return whether a symbol names a perpetual: "BTC/USDT:USDT" does, "BTC/USDT" does not."""
    return ":" in symbol

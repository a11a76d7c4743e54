"""A spot account: what is free and what is locked in each asset.

Invariant: neither free nor locked is ever below 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from ctp.simulator.orders import Order, Trade
from ctp.simulator.refusals import Refusal


@dataclass
class Balance:
    """One asset of one account."""

    free: Decimal = Decimal(0)
    locked: Decimal = Decimal(0)


@dataclass
class SpotAccount:
    """One spot account. fee_side: "quote" charges fees in the quote coin, "received" in the coin received."""

    key: str
    uid: int
    balances: dict[str, Balance] = field(default_factory=dict)
    fee_side: str = "quote"
    may_withdraw: bool = False
    orders: dict[int, Order] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    lists: dict[int, tuple[str, tuple[int, ...]]] = field(default_factory=dict)

    def balance(self, asset: str) -> Balance:
        """Return the balance of an asset, empty when there never was one."""
        return self.balances.setdefault(asset, Balance())

    def lock(self, asset: str, amount: Decimal) -> None:
        """Set an amount aside for an order.

        Raises Refusal when it is not free.
        """
        balance = self.balance(asset)
        if amount > balance.free:
            raise Refusal(-2010)
        balance.free -= amount
        balance.locked += amount

    def unlock(self, asset: str, amount: Decimal) -> None:
        """Give back what an order held."""
        balance = self.balance(asset)
        released = min(amount, balance.locked)
        balance.locked -= released
        balance.free += released

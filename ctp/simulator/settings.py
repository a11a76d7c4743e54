"""What a simulated exchange is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from ctp.simulator.feed import Feed
from ctp.simulator.market import Costs
from ctp.simulator.rules import SymbolRules


@dataclass(frozen=True)
class AccountSettings:
    """One account: its key, its money on both venues, its rights.

    spot: balances by asset. fee_side: "quote" charges spot fees in the quote coin, "received" in the coin received.
    """

    key: str
    secret: str
    wallet: Decimal = Decimal(10_000)
    spot: tuple[tuple[str, Decimal], ...] = (("USDT", Decimal(10_000)),)
    fee_side: str = "quote"
    can_withdraw: bool = False
    can_trade_futures: bool = True
    can_trade_spot: bool = True
    is_ip_restricted: bool = True

    def __post_init__(self) -> None:
        """Refuse a fee side that does not exist."""
        if self.fee_side not in ("quote", "received"):
            raise ValueError(f"fee_side {self.fee_side!r} is neither 'quote' nor 'received'")


@dataclass(frozen=True)
class SimulatorSettings:
    """How to run one exchange.

    folder: where certificates, the control token and the state file live. port, control_port: 0 takes a free one.
    fill_mode: "candle-exact" or "book". speed: market time ÷ wall time when paced; 0 is stepped: nothing moves
    until `advance`. slippage: of candle-exact fills. spread, partial, latency_ms: of the book. history: candles
    before the first one, as far as the feed has them. state: keep accounts and market time over a restart.
    """

    folder: Path
    feed: Feed
    port: int = 0
    control_port: int = 0
    fill_mode: str = "candle-exact"
    speed: float = 0.0
    seed: int = 1
    costs: Costs = field(default_factory=Costs)
    slippage: float = 0.0002
    spread: float = 0.0002
    partial: float = 0.3
    latency_ms: int = 0
    history: int = 1500
    start_ms: int | None = None
    enforce_limits: bool = True
    state: bool = False
    accounts: tuple[AccountSettings, ...] = ()
    rules: dict[str, SymbolRules] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        if self.fill_mode not in ("candle-exact", "book"):
            raise ValueError(f"fill_mode {self.fill_mode!r} is neither 'candle-exact' nor 'book'")
        if self.speed < 0:
            raise ValueError(f"speed {self.speed} is below 0")

"""The exchange as trading sees it: a port, and the values that cross it.

Every value has been validated by the adapter, so that an answer that cannot be believed never arrives here as a fact.
Money and sizes are exact decimals; symbols are unified (`BTC/USDT:USDT`); times are market time in milliseconds.

Errors, from every method: ExchangeBusy (try later), ExchangeDown (nothing is known), KeyRefused (this account must stop).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from ctp.core.types import Candle, Market
from ctp.trading.exchange_clock import ExchangeClock

BUY, SELL = "buy", "sell"
HALTED = "halted"  # OrderRejected.code: the symbol does not trade now
WOULD_MATCH = "would_match"  # OrderRejected.code: a post-only order would not rest
WOULD_TRIGGER = "would_trigger"  # OrderRejected.code: the market is already at or beyond the trigger price


class OrderRequest(NamedTuple):
    """An order to send. A trigger price makes it a stop or a take-profit that rests at the exchange."""

    id: str  # client order id
    symbol: str
    purpose: str
    side: str
    size: Decimal
    trigger_price: Decimal | None
    reduce_only: bool
    limit_price: Decimal | None = None  # of an entry that rests: post-only


class OrderReport(NamedTuple):
    """What the exchange says about an order of anybody's."""

    id: str  # client order id, whatever its owner chose
    symbol: str
    purpose: str  # stop, take; anything else is empty
    exchange_id: str  # under which its fills are booked, once there are any
    status: str  # of ctp.core.orders
    size: Decimal
    filled: Decimal
    trigger_price: Decimal | None


class FillReport(NamedTuple):
    """One fill. `id` grows with time within a symbol."""

    id: str
    symbol: str
    order_exchange_id: str
    time: int
    side: str
    price: Decimal
    size: Decimal
    fee: Decimal
    fee_asset: str


class FundingReport(NamedTuple):
    """One funding payment; the amount is > 0 when received."""

    id: str
    symbol: str
    time: int
    amount: Decimal
    asset: str


FUNDING_HINT = "funding"


class AccountEvent(NamedTuple):
    """A hint that something happened to an account. Empty fields: anything, anywhere."""

    symbol: str = ""
    order_id: str = ""
    fill_id: str = ""


class CandleUpdate(NamedTuple):
    """A candle as the market stream or the history tells it."""

    symbol: str
    timeframe: str
    candle: Candle
    is_closed: bool
    event_time: int


class Exchange(Protocol):
    """One account at one exchange."""

    is_perpetual: bool

    async def place(self, order: OrderRequest, *, window_ms: int) -> OrderReport:
        """Send one order.

        window_ms: how long after its timestamp the exchange may still accept it.
        Raises OrderRejected (final), OrderUnknown (look it up by its id, never send it again) or RequestExpired (certainly
        not accepted; the exchange's clock has been measured since: it may leave again under the same id).
        """
        ...

    async def place_pair(
        self, stop: OrderRequest, take: OrderRequest, *, window_ms: int
    ) -> tuple[OrderReport, OrderReport]:
        """Send a stop and a take-profit of which one cancels the other; spot only. Raises like `place`, for both."""
        ...

    async def find(self, symbol: str, order_id: str, purpose: str) -> OrderReport:
        """Look an order up by our client order id; raises OrderMissing when the exchange does not know it."""
        ...

    async def find_by_exchange_id(self, symbol: str, exchange_id: str) -> OrderReport:
        """Look an order up by the exchange's id; raises OrderMissing."""
        ...

    async def cancel(self, symbol: str, order_id: str, purpose: str) -> None:
        """Cancel an order, and with it the other half of its pair.

        Raises OrderMissing when there is none to cancel, OrderUnknown when the answer does not say that it is cancelled.
        """
        ...

    async def open_orders(self, symbol: str) -> Sequence[OrderReport]:
        """Return every order that rests on the symbol, ours and others'."""
        ...

    async def fills(
        self, symbol: str, *, after_id: str | None = None, order_exchange_id: str | None = None
    ) -> Sequence[FillReport]:
        """Return fills oldest first: those after a fill id, or those of one order."""
        ...

    async def funding(self, since: int) -> Sequence[FundingReport]:
        """Return the funding payments from market time `since` on, oldest first; empty on spot."""
        ...

    async def positions(self, symbols: Sequence[str]) -> dict[str, Decimal]:
        """Return the signed position size per symbol; perpetuals only."""
        ...

    async def quote_balance(self, quote: str) -> Decimal:
        """Return the wallet balance in the quote currency, without unrealised profit."""
        ...

    async def markets(self, symbols: Sequence[str]) -> dict[str, Market]:
        """Return the rules and this account's costs per symbol; InputError when a symbol is not listed."""
        ...

    async def isolated_leverages(self) -> dict[str, float]:
        """Return the leverage of every symbol that trades isolated; perpetuals only."""
        ...

    async def prepare(self, symbol: str, leverage: float) -> None:
        """Make sure that the symbol trades isolated at this leverage, one-way; raises NotAllowed when it cannot."""
        ...

    async def last_price(self, symbol: str) -> Decimal:
        """Return the last traded price."""
        ...

    async def withdrawals_allowed(self) -> bool | None:
        """Return whether the key may withdraw; None when the exchange does not say."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class PublicMarket(Protocol):
    """The market that everybody sees: candles and its time. One for all accounts of an exchange."""

    exchange_clock: ExchangeClock

    def follow(self, pairs: frozenset[tuple[str, str]]) -> None:
        """Follow these (symbol, timeframe) pairs from now on."""
        ...

    async def next_updates(self) -> Sequence[CandleUpdate]:
        """Wait for candle news, in order of arrival; raises ExchangeDown when the stream broke (ask again, backfill)."""
        ...

    async def candles(self, symbol: str, timeframe: str, since: int | None, limit: int) -> Sequence[CandleUpdate]:
        """Return history oldest first, the open candle included; at most `limit` candles."""
        ...

    async def market_time(self, symbol: str) -> int:
        """Return the exchange's market time now."""
        ...

    async def server_time(self) -> int:
        """Return the exchange's wall time now, milliseconds UTC."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...

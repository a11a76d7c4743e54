"""Facts, then fold: the trading state is the state at the last decision plus what happened since. Pure.

Fills, funding, transfers and locks are facts of the ledger, in whatever order they were learnt. Folding books them in the order
of the definition (semantics §1): candle by candle, symbol by symbol, funding before fills. So the state does not depend on
when we learnt something, and equals the backtest's to the bit.

Invariants:
1. The same memory and the same facts give the same result, whatever the order of the facts.
2. A fact is folded into a decision's memory exactly once: ids up to `ledger_id` are in, except those in `pending`.
3. Nothing is booked by arithmetic of its own: everything goes through `ctp.core.book`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from ctp.core.book import book_entry, book_exit, book_funding, with_balance
from ctp.core.orders import ENTRY
from ctp.core.steps import size_of
from ctp.core.trader import cooldown_after, with_position
from ctp.core.types import (
    EXIT_REASONS,
    FLAT,
    NO_PLAN,
    Account,
    Market,
    Plan,
    Trade,
    TraderState,
)
from ctp.trading.market_rules import lots_of

MINUTE_MS = 60_000
FILL, FUNDING, TRANSFER = "fill", "funding", "transfer"
LOCK = "lock"  # equity reached the day's loss limit between two closes; the amount is that equity


class Fact(NamedTuple):
    """One row of the ledger."""

    id: int
    kind: str
    symbol: str
    time: int
    order_id: str | None
    external_id: str
    side: str | None
    price: Decimal | None
    size: Decimal | None
    amount: Decimal
    asset: str
    reason: str


class EntryPlan(NamedTuple):
    """What an entry order was planned with; kept in its row until the position is closed."""

    plan: Plan
    take_width: float


class Memory(NamedTuple):
    """The state at the last decision. Symbols are in alphabetical order; states belong to them one by one."""

    symbols: tuple[str, ...]
    states: tuple[TraderState, ...]
    account: Account
    entry_orders: Mapping[str, str]  # symbol -> order that opened the position
    first_times: Mapping[str, int]  # symbol -> first candle its indicators have seen
    decision_time: int  # open time of the candle decided on last; 0 before the first
    ledger_id: int
    pending: tuple[int, ...]


class ClosedTrade(NamedTuple):
    """A trade that the facts completed."""

    symbol: str
    trade: Trade
    entry_order_id: str
    exit_order_id: str | None


class Folded(NamedTuple):
    """The state after the facts."""

    memory: Memory
    trades: tuple[ClosedTrade, ...]


class Terms(NamedTuple):
    """What folding needs to know about the account."""

    markets: Sequence[Market]  # one per symbol of the memory
    timeframe_ms: int
    strategy: Any  # kernel numbers
    quote: str


def candle_index(fact: Fact, timeframe_ms: int) -> int:
    """Return the number of the candle in which a fact is booked.

    Funding is paid at the first open at or after its minute; anything else belongs to the candle that contains it.
    """
    if fact.kind == FUNDING:
        minute = fact.time // MINUTE_MS * MINUTE_MS
        return -(-minute // timeframe_ms)
    return fact.time // timeframe_ms


def order_of_events(fact: Fact, timeframe_ms: int) -> tuple[Any, ...]:
    """Return the sort key of a fact; fill ids of one symbol grow with time."""
    external = int(fact.external_id) if fact.external_id.isdigit() else 0
    first = {TRANSFER: 0, FUNDING: 1}.get(fact.kind, 2)
    return (candle_index(fact, timeframe_ms), fact.symbol, first == 2, fact.time, first, external, fact.id)


def fold(
    memory: Memory,
    facts: Iterable[Fact],
    plans: Mapping[str, EntryPlan],
    purposes: Mapping[str, str],
    terms: Terms,
    until: int | None = None,
) -> Folded:
    """Return the state after the facts that are due.

    facts: those with an id above `memory.ledger_id` or in `memory.pending`; any others are ignored.
    plans, purposes: by order id. until: open time of the candle about to be decided on; facts of later candles stay
    pending. Without it everything is folded.
    """
    waiting = frozenset(memory.pending)
    fresh = [fact for fact in facts if fact.id > memory.ledger_id or fact.id in waiting]
    newest = max((fact.id for fact in fresh), default=memory.ledger_id)
    last_index = None if until is None else until // terms.timeframe_ms
    due: list[Fact] = []
    pending: list[int] = []
    for fact in fresh:
        is_due = last_index is None or candle_index(fact, terms.timeframe_ms) <= last_index
        if is_due:
            due.append(fact)
        else:
            pending.append(fact.id)
    booking = _Booking(memory, plans, purposes, terms, last_index)
    for fact in sorted(due, key=lambda one: order_of_events(one, terms.timeframe_ms)):
        booking.book(fact)
    return Folded(
        memory._replace(
            states=tuple(booking.states),
            account=booking.account,
            entry_orders=booking.entry_orders,
            ledger_id=max(newest, memory.ledger_id),
            pending=tuple(sorted(pending)),
        ),
        tuple(booking.trades),
    )


class _Booking:
    """The state while facts are booked one after the other."""

    def __init__(
        self,
        memory: Memory,
        plans: Mapping[str, EntryPlan],
        purposes: Mapping[str, str],
        terms: Terms,
        last_index: int | None,
    ) -> None:
        """Start from the last decision; its plans are orders by now, so they leave the state."""
        self.plans, self.purposes, self.terms, self.last_index = plans, purposes, terms, last_index
        self.index = {symbol: number for number, symbol in enumerate(memory.symbols)}
        self.states = [with_position(state, state.position, NO_PLAN, state.cooldown) for state in memory.states]
        self.account = memory.account
        self.entry_orders = dict(memory.entry_orders)
        self.trades: list[ClosedTrade] = []

    def book(self, fact: Fact) -> None:
        """Book one fact."""
        if fact.kind == TRANSFER:
            self._book_transfer(float(fact.amount))
        elif fact.kind == LOCK:
            self.account = self.account._replace(daily_locked=1)
        elif fact.symbol not in self.index:
            self.account = with_balance(self.account, self.account.balance + _balance_change(fact))
        elif fact.kind == FUNDING:
            self._book_funding(fact)
        elif fact.order_id is not None and self.purposes.get(fact.order_id) == ENTRY:
            self._book_entry(fact, fact.order_id)
        else:
            self._book_exit(fact)

    def _book_transfer(self, amount: float) -> None:
        """Move capital in or out: balance, equity, the day's start and the peak move alike, so it is never P&L."""
        old = self.account
        self.account = old._replace(
            balance=old.balance + amount,
            equity=old.equity + amount,
            day_start_equity=old.day_start_equity + amount,
            peak=old.peak + amount,
        )

    def _book_funding(self, fact: Fact) -> None:
        """Book a funding payment into the position that paid or got it, or into the balance alone when flat."""
        number = self.index[fact.symbol]
        state = self.states[number]
        payment = -float(fact.amount)
        if state.position.side == FLAT:
            self.account = with_balance(self.account, self.account.balance - payment)
            return
        position, self.account = book_funding(state.position, self.account, payment)
        self.states[number] = with_position(state, position, state.plan, state.cooldown)

    def _book_entry(self, fact: Fact, order_id: str) -> None:
        """Book a fill of an entry order."""
        number = self.index[fact.symbol]
        state, market = self.states[number], self.terms.markets[number]
        entry = self.plans[order_id]
        assert fact.price is not None
        price = float(fact.price)
        lots = filled_lots(market, fact)
        if lots == 0:
            self.account = with_balance(self.account, self.account.balance - fee_in_quote(market, fact, self.terms.quote))
            return
        fee = fee_in_quote(market, fact, self.terms.quote)
        position, self.account = book_entry(
            market, state.position, self.account, entry.plan, entry.take_width, lots, price, price, fee, fact.time
        )
        self.entry_orders[fact.symbol] = order_id
        self.states[number] = with_position(state, position, state.plan, state.cooldown)

    def _book_exit(self, fact: Fact) -> None:
        """Book a fill that closes a position or part of it."""
        number = self.index[fact.symbol]
        state, market = self.states[number], self.terms.markets[number]
        assert fact.price is not None
        price, fee = float(fact.price), fee_in_quote(market, fact, self.terms.quote)
        lots = min(filled_lots(market, fact), state.position.lots)
        if lots == 0:
            self.account = with_balance(self.account, self.account.balance - fee)
            return
        reason = EXIT_REASONS.index(fact.reason)
        position, self.account, trade = book_exit(
            market, state.position, self.account, lots, price, price, fee, reason, fact.time
        )
        cooldown = state.cooldown
        if trade.side != FLAT:
            opened_by = self.entry_orders.pop(fact.symbol)
            self.trades.append(ClosedTrade(fact.symbol, trade, opened_by, fact.order_id))
            after = cooldown_after(self.terms.strategy, trade.reason, cooldown)
            if after != cooldown:
                cooldown = max(0, after - self._candles_ago(fact))
        self.states[number] = with_position(state, position, state.plan, cooldown)

    def _candles_ago(self, fact: Fact) -> int:
        """Return how many candles have been decided on since the one of the fact."""
        if self.last_index is None:
            return 0
        return self.last_index - candle_index(fact, self.terms.timeframe_ms)


def _balance_change(fact: Fact) -> float:
    """Return what a fact of a symbol no longer traded does to the balance."""
    return float(fact.amount) if fact.kind == FUNDING else -float(fact.amount)


def filled_lots(market: Market, fact: Fact) -> int:
    """Return the lots of a fill; a purchase whose fee was taken in coins holds fewer of them."""
    assert fact.size is not None
    size = fact.size
    if fact.side == "buy" and is_fee_in_base(market, fact):
        size -= fact.amount
    return lots_of(market, size)  # in decimals: through a double, large counts of small lots can lose one


def is_fee_in_base(market: Market, fact: Fact) -> bool:
    """Return whether a spot fee was taken in the coins traded."""
    return not market.is_perpetual and fact.asset == fact.symbol.partition("/")[0]


def fee_in_quote(market: Market, fact: Fact, quote: str) -> float:
    """Return the fee of a fill in quote units.

    A fee taken in the bought coins costs those coins and the dust below a lot that is left; one in any third coin is
    booked at this account's fee rate. The drift report names both.
    """
    assert fact.price is not None and fact.size is not None
    if fact.asset == quote:
        return float(fact.amount)
    if is_fee_in_base(market, fact):
        if fact.side == "buy":
            return (float(fact.size) - size_of(market, filled_lots(market, fact))) * float(fact.price)
        return float(fact.amount) * float(fact.price)
    return market.fee_rate * float(fact.size) * float(fact.price)

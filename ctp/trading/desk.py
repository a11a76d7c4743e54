"""One account at work: what its flows share.

Invariants:
1. `view` is what the database said in the last transaction; every change goes through `record` or another transaction.
2. Only the holder of `lock` sends orders or changes state; commands may stop entries without it (`may_enter`).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ctp.clock import Clock
from ctp.config import TradingSettings
from ctp.core.orders import EMERGENCY, ENTRY, EXIT, STOP, TAKE, client_order_id, is_ours
from ctp.core.types import Market, TraderState
from ctp.errors import OrderMissing
from ctp.logs import logger
from ctp.trading import notices, rows
from ctp.trading.decision import Rules
from ctp.trading.exchange import AccountEvent, CandleUpdate, Exchange
from ctp.trading.exchange_clock import MOST_ERROR_MS
from ctp.trading.fold import Fact
from ctp.trading.market_rules import exact_size
from ctp.trading.rows import OrderNews, OrderRow
from ctp.trading.store import RUNNING, STOPPED, AccountInfo, Store, View
from ctp.trading.writer import Writer

SENT_SOON_MS = 1000  # after its planning; an order that leaves later has its fence moved first
FENCE_MARGIN_MS = MOST_ERROR_MS  # of the clock that requests are signed with, on top of the window
PROTECTIVE_WINDOW_MS = 1000  # so that the fence of a stop lies within the protection deadline

Checkpoint = Callable[[str], None]


def pass_by(_label: str) -> None:
    """Do nothing at a checkpoint; tests put a kill there."""


@dataclasses.dataclass
class Desk:
    """One account's trading desk."""

    account: AccountInfo
    exchange: Exchange
    writer: Writer
    clock: Clock
    settings: TradingSettings
    checkpoint: Checkpoint = pass_by
    is_leader: Callable[[], bool] = lambda: True
    has_room: Callable[[], bool] = lambda: True  # on the disk; without it nothing is begun, what is open can be ended
    status: str = STOPPED
    hold: str = ""  # why nothing is entered although the account runs (`code_pins`)
    rules: Rules | None = None
    view: View | None = None
    last_fill_ids: dict[str, str] = dataclasses.field(default_factory=dict)
    prices: dict[str, CandleUpdate] = dataclasses.field(default_factory=dict)  # by symbol, the open candle's newest
    halted: dict[str, int] = dataclasses.field(default_factory=dict)  # symbol that did not trade -> open candle then
    shortfall: float = 0.0  # how much less than the balance the wallet held when last asked
    is_exchange_down: bool = False
    key_error: str = ""
    is_restored: bool = False  # from a backup: the exchange may know orders of ours that the database does not

    def __post_init__(self) -> None:
        """Make what every desk has of its own."""
        self.store = Store(self.account)
        self.lock = asyncio.Lock()
        self.wake = asyncio.Event()
        self.hints: list[AccountEvent] = []
        self.log = logger("ctp.trading").bind(account=self.account.id)

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def current(self) -> View:
        """Return the view of an account that has started."""
        assert self.view is not None
        return self.view

    @property
    def terms(self) -> Rules:
        """Return the rules of an account that has started."""
        assert self.rules is not None
        return self.rules

    def market(self, symbol: str) -> Market:
        """Return the rules of one symbol."""
        return self.terms.markets[self.current.memory.symbols.index(symbol)]

    def state(self, symbol: str) -> TraderState:
        """Return the state of one symbol with every known fact folded in."""
        return self.current.folded.memory.states[self.current.memory.symbols.index(symbol)]

    def may_enter(self) -> bool:
        """Return whether an entry may leave now; a command changes it while orders are being sent."""
        return self.status == RUNNING and not self.hold and self.has_room()

    def nudge(self, symbol: str = "") -> None:
        """Ask for a look at the exchange soon: at one symbol, or at everything."""
        self.hear(AccountEvent(symbol))

    def hear(self, event: AccountEvent) -> None:
        """Take a hint that something happened; it is looked into when the desk is free."""
        self.hints.append(event)
        self.wake.set()

    def see_price(self, update: CandleUpdate) -> None:
        """Take the newest price of an open candle; the first of a candle says that a symbol may trade again."""
        self.prices[update.symbol] = update
        if self.halted.get(update.symbol, update.candle.time) < update.candle.time:
            del self.halted[update.symbol]
            self.nudge(update.symbol)

    def note_halted(self, symbol: str) -> None:
        """Take note that the exchange refuses a symbol's orders because it does not trade."""
        known = self.prices.get(symbol)
        self.halted[symbol] = 0 if known is None else known.candle.time

    def take_hints(self) -> list[AccountEvent]:
        """Return the hints that are still news, and forget them all."""
        self.wake.clear()
        hints, self.hints = self.hints, []
        return [hint for hint in hints if not self._is_known(hint)]

    def _is_known(self, hint: AccountEvent) -> bool:
        """Return whether a hint tells of a fill that is booked, or of the end of an order that is final already."""
        if hint.fill_id:
            return int(hint.fill_id) <= int(self.last_fill_ids.get(hint.symbol, "-1"))
        return is_ours(hint.order_id, self.account.id) and hint.order_id not in self.current.unfinished

    # --- transactions --------------------------------------------------------------------------------------------

    async def run[T](self, work: Callable[[sa.Connection], T]) -> T:
        """Do work inside one transaction."""
        return await self.writer.run(work)

    async def record(self, news: Sequence[OrderNews], facts: Sequence[Fact]) -> View:
        """Write what was learnt, with all that follows from it."""
        if not news and not facts:
            return self.current
        memory, rules, now_ms = self.current.memory, self.terms, self.clock.now_ms()
        prices = dict(self.prices)
        view = await self.run(lambda c: self.store.record(c, memory, rules, news, facts, prices, now_ms))
        for fact in facts:
            if fact.external_id.isdigit() and fact.kind == "fill":
                newest = self.last_fill_ids.get(fact.symbol, "-1")
                if int(fact.external_id) > int(newest):
                    self.last_fill_ids[fact.symbol] = fact.external_id
        self.view = view
        self.checkpoint("recorded")
        return view

    async def plan(self, orders: Sequence[OrderRow]) -> None:
        """Write orders before they are sent."""
        await self.run(lambda c: rows.insert_orders(c, orders))
        self.view = self.current.with_orders(orders)
        self.checkpoint("planned")

    async def tell_trouble(self, what: str, key: str, **facts: Any) -> None:
        """Tell the owner that something needs a person's eye."""
        now_ms = self.clock.now_ms()
        self.log.warning("trouble", what=what, **facts)
        await self.run(lambda c: notices.tell_trouble(c, self.account, what, key, now_ms, **facts))

    # --- orders --------------------------------------------------------------------------------------------------

    @property
    def entry_stale_after_ms(self) -> float:
        """Return how late an entry may be: when it is decided on after its candle's close, and when it leaves after that."""
        return min(self.account.timeframe_ms / 2, self.settings.entry_stale_after_s * 1000)

    def window_ms(self, purpose: str) -> int:
        """Return how long after its timestamp the exchange may still accept an order of this purpose."""
        if purpose in (STOP, TAKE):
            return min(PROTECTIVE_WINDOW_MS, self.settings.recv_window_ms)
        return self.settings.recv_window_ms

    def order_row(
        self,
        symbol: str,
        purpose: str,
        side: str,
        lots: int,
        reason: str,
        candle_time: int,
        attempt: int,
        *,
        trigger_price: Decimal | None = None,
        plan: str = "{}",
    ) -> OrderRow:
        """Return the row of a new order, with its client order id and its fence."""
        now_ms = self.clock.now_ms()
        kind = {STOP: "stop_market", TAKE: "take_profit_market"}.get(purpose, "market")
        return OrderRow(
            id=client_order_id(self.account.id, symbol, candle_time, purpose, attempt),
            account_id=self.account.id,
            symbol=symbol,
            purpose=purpose,
            side=side,
            type=kind,
            size=exact_size(self.market(symbol), lots),
            trigger_price=trigger_price,
            reduce_only=purpose != ENTRY,
            reason=reason,
            status="planned",
            exchange_id=None,
            filled=Decimal(0),
            candle_time=candle_time,
            planned_at=now_ms,
            sent_at=None,
            fence_until=self._fence_ms(purpose, SENT_SOON_MS),
            updated_at=now_ms,
            error=None,
            plan=plan,
        )

    def _fence_ms(self, purpose: str, soon_ms: int) -> int:
        """Return the wall time by which an order that leaves within `soon_ms` has arrived or never will."""
        return self.clock.now_ms() + soon_ms + self.window_ms(purpose) + FENCE_MARGIN_MS

    async def fence(self, planned: Sequence[OrderRow], soon_ms: int) -> Sequence[OrderRow]:
        """Move the fences of orders that will leave within `soon_ms`, in the database first; returns their rows."""
        moved = [row._replace(fence_until=self._fence_ms(row.purpose, soon_ms)) for row in planned]
        await self.run(lambda c: rows.move_fences(c, moved))
        self.view = self.current.with_orders(moved)
        return moved

    async def attempt(self, symbol: str, candle_time: int, purpose: str) -> int:
        """Return the number of the next attempt of one purpose at one candle."""
        account_id = self.account.id
        number = await self.run(lambda c: rows.attempts_made(c, account_id, symbol, candle_time, purpose))
        while self.is_restored and await self._exists(symbol, candle_time, purpose, number):
            number += 1  # made after the backup: an id is never used twice
        return number

    async def _exists(self, symbol: str, candle_time: int, purpose: str, number: int) -> bool:
        """Return whether the exchange knows an order of this name."""
        try:
            await self.exchange.find(
                symbol, client_order_id(self.account.id, symbol, candle_time, purpose, number), purpose
            )
        except OrderMissing:
            return False
        return True

    def has_exit_under_way(self, symbol: str) -> bool:
        """Return whether an order that closes the position is unfinished."""
        return any(
            row.symbol == symbol and row.purpose in (EXIT, EMERGENCY) for row in self.current.unfinished.values()
        )

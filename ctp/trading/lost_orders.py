"""After a backup was restored: learn what this account did at the exchange since, and decide it again.

The database is older than the exchange. Orders that were made in between carry ids of ours but have no row. Their fills
say what happened; the definition, given the same candles, says why. So each missed candle is decided on again: an entry or
exit that the exchange has under the very id the decision gives it is written down with its plan, as if it had been
committed then; one the exchange does not have was never made. Nothing is sent here.

Invariants:
1. A position of ours that is open at the exchange is ours again, with its stop; what cannot be explained is left alone and
   announced like anybody else's.
2. Doing it twice, or being killed half way and starting over, leads to the same rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from ctp.core.orders import (
    ENTRY,
    FINAL,
    NOT_SENT,
    OPEN,
    PROTECTIVE,
    SENT,
    STOP,
    TAKE,
    Progress,
    client_order_id,
    read_order_id,
)
from ctp.core.types import FLAT, LONG, Candle
from ctp.errors import OrderMissing
from ctp.storage.tables import orders
from ctp.trading import rows, sync
from ctp.trading.decision import Conditions, decide_close
from ctp.trading.exchange import BUY, SELL, FillReport, OrderReport
from ctp.trading.execution import ask
from ctp.trading.fold import Fact, fold
from ctp.trading.rows import OrderNews, OrderRow
from ctp.trading.store import STOPPED

if TYPE_CHECKING:
    from ctp.trading.desk import Desk
    from ctp.trading.engine import Engine

REASONS = {STOP: "stop_loss", TAKE: "take_profit", "exit": "exit_signal", "emergency": "emergency_exit"}
MOST_PROBES = 24  # of names a resting order that has filled may have had
BEFORE_MS = 3_600_000  # fills this much older than the last decision are looked at, where none is known yet


class Lost(NamedTuple):
    """An order of ours without a row, with its fills."""

    report: OrderReport
    candle_time: int
    purpose: str
    fills: tuple[FillReport, ...]


async def relive(engine: Engine) -> None:
    """Decide again on every candle since the backup, with what the exchange knows of it; the caller holds the lock.

    Raises ExchangeDown, ExchangeBusy or KeyRefused: then it starts over at the next recovery.
    """
    desk = engine.desk
    for row in list(desk.current.unfinished.values()):
        await desk.record([await ask(desk, row)], [])
    fills = await _fills_since(desk)
    lost = await _find_lost(desk, fills)
    await desk.record([], await sync.read_funding(desk, desk.current.memory.decision_time))
    story = _Story(engine, fills, lost)
    candles = 0
    while by_time := await engine.missed(desk.current.memory.decision_time + desk.account.timeframe_ms):
        for time in sorted(by_time):
            await story.book_until(time + desk.account.timeframe_ms)
            await story.decide(time, by_time[time])
            candles += 1
    await story.book_until(None)
    adopted = await _adopt_resting(desk)
    if lost or adopted:
        found = {"orders": len(lost) + adopted, "fills": len(fills), "candles": candles}
        moment = desk.current.memory.decision_time
        await desk.tell_trouble("relived", f"relived:{moment}", **found)


async def _fills_since(desk: Desk) -> list[FillReport]:
    """Return the account's fills that the ledger does not have, oldest first."""
    since = desk.current.memory.decision_time - BEFORE_MS
    found: list[FillReport] = []
    for symbol in desk.account.symbols:
        after = desk.last_fill_ids.get(symbol)
        news = await desk.exchange.fills(symbol, after_id=after) if after else await desk.exchange.fills(symbol)
        found += [fill for fill in news if after or fill.time >= since]
    return sorted(found, key=lambda one: (one.time, one.symbol, int(one.id)))


async def _find_lost(desk: Desk, fills: Sequence[FillReport]) -> dict[str, Lost]:
    """Return the orders of ours behind fills that have no row, by the exchange's id."""
    by_order: dict[tuple[str, str], list[FillReport]] = {}
    for fill in fills:
        by_order.setdefault((fill.symbol, fill.order_exchange_id), []).append(fill)
    lost: dict[str, Lost] = {}
    for (symbol, exchange_id), its_fills in by_order.items():
        try:
            report = await desk.exchange.find_by_exchange_id(symbol, exchange_id)
        except OrderMissing:
            continue
        name = read_order_id(report.id, desk.account.id, symbol)
        if name is not None and await desk.run(lambda c, order=report.id: rows.read_order(c, order)) is None:  # type: ignore[misc]
            lost[exchange_id] = Lost(report, name.candle_time, name.purpose, tuple(its_fills))
    return lost


async def _adopt_resting(desk: Desk) -> int:
    """Write rows for protective orders of ours that rest for a position we hold, or for none at all; returns how many.

    Those of no position lost theirs meanwhile and are cancelled later. One that protects a position which nothing here
    explains is left alone. An entry of ours that rests was decided on by a bot that is no more: it is taken back.
    """
    count = 0
    sizes = await desk.exchange.positions(desk.account.symbols) if desk.exchange.is_perpetual else {}
    for symbol in desk.account.symbols:
        await _take_back_entries(desk, symbol)
        side = desk.state(symbol).position.side
        if side == FLAT and sizes.get(symbol, Decimal(1)) != 0:
            continue
        for report in await desk.exchange.open_orders(symbol):
            name = read_order_id(report.id, desk.account.id, symbol)
            if name is None or name.purpose not in PROTECTIVE:
                continue
            if await desk.run(lambda c, order=report.id: rows.read_order(c, order)) is not None:  # type: ignore[misc]
                continue
            closes = SELL if side == LONG else BUY
            row = _row(desk, report, name.purpose, closes, name.candle_time, REASONS[name.purpose])
            await desk.plan([row._replace(status=OPEN)])
            count += 1
    return count


async def _take_back_entries(desk: Desk, symbol: str) -> None:
    """Cancel limit entries of ours that rest without a row; what had filled of one is found by its fills."""
    for report in await desk.exchange.open_orders(symbol):
        name = read_order_id(report.id, desk.account.id, symbol)
        if name is None or name.purpose != ENTRY or report.id in desk.current.unfinished:
            continue
        with contextlib.suppress(OrderMissing):
            await desk.exchange.cancel(symbol, report.id, ENTRY)


class _Story:
    """What happened since the backup, told candle by candle."""

    def __init__(self, engine: Engine, fills: Sequence[FillReport], lost: dict[str, Lost]) -> None:
        """Take the fills nobody has booked and the orders nobody has written."""
        self.engine, self.desk = engine, engine.desk
        self.waiting, self.lost = list(fills), lost
        self.by_id = {one.report.id: one for one in lost.values()}

    async def book_until(self, time: int | None) -> None:
        """Book the fills before a market time; all that are left without one."""
        due = [fill for fill in self.waiting if time is None or fill.time < time]
        self.waiting = [fill for fill in self.waiting if fill not in due]
        for fill in due:
            fact = await self._fact(fill)
            if fact is not None:
                await self.desk.record([], [fact])

    async def decide(self, time: int, candles: dict[str, Candle]) -> None:
        """Decide on one candle close as it was decided then, and write the orders that the exchange has."""
        desk, rules = self.desk, self.desk.terms
        view = desk.current
        folded = fold(view.memory, view.facts, view.plans, view.purposes, desk.store.terms(rules), until=time).memory
        entered = {one.report.symbol for one in self.lost.values() if (one.candle_time, one.purpose) == (time, ENTRY)}
        conditions = Conditions(
            is_running=False,
            leaves_exits=desk.status == STOPPED and not self.lost,
            unavailable=frozenset(),
            is_clock_off=False,
            is_stale=True,
            in_flight=view.in_flight(),
            relived=frozenset(entered),
        )
        decided = decide_close(rules, folded, candles, time, conditions)
        planned = [self.engine.order_row(one, time) for one in decided.orders]
        written = []
        for row in planned:
            if await desk.run(lambda c, order=row.id: rows.read_order(c, order)) is None:  # type: ignore[misc]
                known = self.by_id.get(row.id)
                # An exit the exchange does not have stays due; an entry it does not have was never made.
                written.append(row._replace(status=NOT_SENT if known is None else SENT, plan=row.plan))
        now_ms = desk.clock.now_ms()
        after = desk.store.after_decision(view, decided, written, rules)
        current = after.folded.memory
        try:
            await desk.run(lambda c: desk.store.commit_decision(c, decided, written, current, rules, now_ms))
        except BaseException:
            await self.engine.reload()
            raise
        desk.view = after
        await self._book_orders([row for row in written if row.status == SENT])
        await self.engine.reload()  # orders that ended before they were written are not unfinished

    async def _book_orders(self, written: Sequence[OrderRow]) -> None:
        """Book the fills of orders that were written just now, and how they ended."""
        for row in written:
            known = self.by_id[row.id]
            facts = [sync.fill_fact(fill, row.id, row.reason) for fill in known.fills]
            self.waiting = [fill for fill in self.waiting if fill not in known.fills]
            news = OrderNews(row.id, Progress(known.report.status, known.report.filled), known.report.exchange_id)
            await self.desk.record([news], facts)

    async def _fact(self, fill: FillReport) -> Fact | None:
        """Return a fill as a fact, if it concerns our position."""
        desk = self.desk
        exchange_id = fill.order_exchange_id
        row = await desk.run(lambda c: _row_of(c, desk.account.id, fill.symbol, exchange_id))
        if row is not None:
            return sync.fill_fact(fill, row.id, row.reason)
        position = desk.state(fill.symbol).position
        closes = position.side != FLAT and (fill.side == SELL) == (position.side == LONG)
        known = self.lost.get(exchange_id) or (await self._probe(fill) if closes else None)
        if known is None or known.purpose == ENTRY:
            # Somebody else's, or an entry that these parameters do not explain: left alone and announced.
            return sync.fill_fact(fill, None, "closed_outside") if closes and desk.exchange.is_perpetual else None
        reason = REASONS[known.purpose]
        made = _row(desk, known.report, known.purpose, fill.side, known.candle_time, reason)
        await desk.run(lambda c: rows.insert_orders(c, [made]))
        return sync.fill_fact(fill, made.id, reason)

    async def _probe(self, fill: FillReport) -> Lost | None:
        """Return the protective order behind a fill whose order goes by a name of the exchange's own."""
        desk, length = self.desk, self.desk.account.timeframe_ms
        opened_by = desk.current.folded.memory.entry_orders.get(fill.symbol, "")
        name = read_order_id(opened_by, desk.account.id, fill.symbol)
        if name is None or not desk.exchange.is_perpetual:
            return None
        last = desk.current.memory.decision_time
        times = list(range(name.candle_time, last + 1, length))
        for time in (times[:1] + times[:0:-1])[: MOST_PROBES // 4]:
            for purpose in (STOP, TAKE):
                for attempt in (0, 1):
                    order_id = client_order_id(desk.account.id, fill.symbol, time, purpose, attempt)
                    try:
                        report = await desk.exchange.find(fill.symbol, order_id, purpose)
                    except OrderMissing:
                        continue
                    if report.exchange_id == fill.order_exchange_id:
                        return Lost(report._replace(id=order_id), time, purpose, (fill,))
        return None


def _row(desk: Desk, report: OrderReport, purpose: str, side: str, candle_time: int, reason: str) -> OrderRow:
    """Return the row an order would have had."""
    made = desk.order_row(
        report.symbol, purpose, side, 0, reason, candle_time, 0, trigger_price=report.trigger_price
    )
    status = report.status if report.status not in FINAL or report.filled == 0 else SENT
    return made._replace(
        id=report.id, size=report.size, filled=Decimal(0), status=status, exchange_id=report.exchange_id or None
    )


def _row_of(connection: sa.Connection, account_id: int, symbol: str, exchange_id: str) -> OrderRow | None:
    """Return the order that the exchange knows by an id of its own."""
    query = sa.select(orders).where(
        orders.c.account_id == account_id, orders.c.symbol == symbol, orders.c.exchange_id == exchange_id
    )
    row = connection.execute(query).first()
    return None if row is None else OrderRow(**row._mapping)


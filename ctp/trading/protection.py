"""Keep every position protected: a resting stop (and take-profit) of its size at its price, or out of the market.

Invariants:
1. After `settle_down` each symbol is flat without orders of ours, or has its live stop, or an exit is under way and the
   owner has been told.
2. A stop that the market has already passed is not an error: the position is closed at once, as the stop would have.
3. A stop that does not rest by the deadline is replaced by a reduce-only market exit.
4. On perpetuals a new stop rests before the old one is cancelled. On spot the old pair locks the coins, so it goes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from ctp.core.orders import (
    EMERGENCY,
    EXIT,
    FILLED,
    FINAL,
    IN_FLIGHT,
    OPEN,
    PARTIAL,
    REJECTED,
    STOP,
    TAKE,
)
from ctp.core.reconcile import Corrections, Ours, Resting, Theirs, compare
from ctp.core.types import LONG
from ctp.errors import ExchangeBusy, ExchangeDown, KeyRefused
from ctp.trading import rows, sync
from ctp.trading.desk import Desk
from ctp.trading.exchange import BUY, HALTED, SELL, WOULD_TRIGGER
from ctp.trading.execution import LOST, TIMESTAMP_REFUSED, cancel, end_entry, send, send_pair
from ctp.trading.fold import Fact
from ctp.trading.market_rules import exact_price, exact_size, lots_of, ticks_of
from ctp.trading.rows import OrderNews, OrderRow

ROUNDS = 6  # exit, cancel, look again: more rounds mean that the exchange contradicts itself; the next look goes on
REASONS = {STOP: "stop_loss", TAKE: "take_profit"}
ALIVE = frozenset({OPEN, PARTIAL, FILLED})


async def settle_down(desk: Desk, symbols: Iterable[str]) -> None:
    """Bring positions and protective orders into line, until there is nothing left to do."""
    if not desk.is_leader():
        desk.nudge()  # a stalled process must not act on what it knew before; it looks again once its lease is renewed
        return
    waiting = sorted(set(symbols))
    for _ in range(ROUNDS):
        acted = await asyncio.gather(*(_one_round(desk, symbol) for symbol in waiting))
        waiting = [symbol for symbol, did in zip(waiting, acted, strict=True) if did]
        if not waiting:
            return
    desk.nudge()


def believed(desk: Desk, symbol: str) -> Corrections:
    """Return what is missing or too much, going by our own rows: the exchange is not asked."""
    market = desk.market(symbol)
    resting = tuple(
        Resting(row.id, row.purpose, lots_of(market, row.size), ticks_of(market, row.trigger_price or row.size))
        for row in desk.current.protective(symbol)
    )
    ours = ours_of(desk, symbol)
    return compare(ours, Theirs(ours.lots, resting, ()), replaces_first=desk.exchange.is_perpetual)


def ours_of(desk: Desk, symbol: str) -> Ours:
    """Return what we think of one symbol."""
    position = desk.state(symbol).position
    return Ours(
        position.side * position.lots,
        position.stop_ticks,
        position.take_ticks,
        symbol not in desk.current.in_flight(),
    )


async def end_entries(desk: Desk, doomed: Sequence[OrderRow]) -> bool:
    """End limit entries that rest, and book what had filled of them; returns whether anything is known to have ended."""
    told = await asyncio.gather(*(end_entry(desk, row) for row in doomed))
    news, facts = [], []
    for row, one in zip(doomed, told, strict=True):
        if one is not None:
            news.append(one)
            facts += await _fills(desk, row, one)
    await desk.record(news, facts)
    return any(one.progress.status in FINAL for one in news)


def _must_end(desk: Desk, row: OrderRow) -> bool:
    """Return whether a resting entry must not fill any more."""
    is_left = row.filled > 0 and desk.current.lots(row.symbol) == 0  # what it opened is closed: never open it again
    return (
        not desk.may_enter()
        or bool(desk.current.folded.memory.account.daily_locked)
        or (row.candle_time or 0) < _candle_time(desk)
        or row.symbol in desk.halted
        or is_left
    )


async def _one_round(desk: Desk, symbol: str) -> bool:
    """Do one round for a symbol; returns whether anything was done."""
    doomed = [row for row in desk.current.resting_entries(symbol) if _must_end(desk, row)]
    if doomed and await end_entries(desk, doomed):
        return True
    if any(row.status in IN_FLIGHT for row in desk.current.protective(symbol)):
        desk.nudge(symbol)  # nothing is placed or given up on the strength of an order that may not exist
        return False
    is_held = symbol in desk.current.folded.memory.entry_orders
    due = await desk.run(lambda c: desk.store.due_exits(c, desk.current)) if is_held else {}
    if symbol in due and symbol not in desk.halted:
        reason, candle_time = due[symbol]
        return await leave(desk, symbol, reason, candle_time)
    if desk.has_exit_under_way(symbol) and not desk.exchange.is_perpetual:
        return False  # the coins are needed for the sale
    return await apply(desk, symbol, believed(desk, symbol))


async def apply(desk: Desk, symbol: str, corrections: Corrections) -> bool:
    """Apply corrections to the protective orders of a symbol; returns whether there were any."""
    if not (corrections.cancel_first or corrections.place or corrections.cancel_last):
        return False
    orders = desk.current.unfinished
    await _cancel(desk, [orders[name] for name in corrections.cancel_first if name in orders])
    if corrections.place:
        is_protected = await _place(desk, symbol, corrections.place)
        if not is_protected:
            return symbol not in desk.halted  # where nothing trades another round would fail alike
    await _cancel(desk, [orders[name] for name in corrections.cancel_last if name in orders])
    return True


async def _cancel(desk: Desk, doomed: Sequence[OrderRow]) -> None:
    """Cancel orders; one that turns out to have filled brings its fills."""
    if not doomed:
        return
    told = await asyncio.gather(*(cancel(desk, row) for row in doomed))
    news = [one for one in told if one is not None]
    facts = []
    for row, one in zip(doomed, told, strict=True):
        if one is not None and one.progress.filled > 0:
            facts += await _fills(desk, row, one)
    await desk.record(news, facts)


async def _fills(desk: Desk, row: OrderRow, news: OrderNews) -> list[Fact]:
    """Return an order's fills; none when the exchange cannot be asked now, the next look brings them."""
    try:
        return await sync.fills_of(desk, row, news)
    except (ExchangeDown, ExchangeBusy, KeyRefused):
        desk.nudge(row.symbol)
        return []


async def _place(desk: Desk, symbol: str, wanted: Sequence[Resting]) -> bool:
    """Place protective orders; returns whether the position has its stop, or an exit takes its place.

    A request that got lost (the exchange certainly never had it) is made again, as new orders, until the deadline.
    """
    clock = desk.clock
    give_up_s = clock.monotonic_s() + desk.settings.protection_deadline_s
    while True:
        planned = await _plan(desk, symbol, wanted)
        news = await _send_planned(desk, planned, max(0.0, give_up_s - clock.monotonic_s()))
        facts = []
        for row, one in zip(planned, news, strict=True):
            if one.progress.filled > 0:
                facts += await _fills(desk, row, one)
        await desk.record(news, facts)
        lost = [want for want, one in zip(wanted, news, strict=True) if one.error == LOST]
        is_stop_lost = any(want.purpose == STOP for want in lost) and all(one.error != WOULD_TRIGGER for one in news)
        if not is_stop_lost or clock.monotonic_s() >= give_up_s:
            return await _judge(desk, symbol, planned, news)
        if desk.state(symbol).position.lots != wanted[0].lots:
            return False  # the take-profit has filled: the next round looks at what is left
        wanted = lost


async def _plan(desk: Desk, symbol: str, wanted: Sequence[Resting]) -> Sequence[OrderRow]:
    """Commit the rows of protective orders."""
    market, state = desk.market(symbol), desk.state(symbol)
    side = SELL if state.position.side == LONG else BUY
    candle_time = _candle_time(desk)
    planned = []
    for want in wanted:
        attempt = await desk.attempt(symbol, candle_time, want.purpose)
        price = exact_price(market, want.ticks)
        reason = REASONS[want.purpose]
        planned.append(
            desk.order_row(symbol, want.purpose, side, want.lots, reason, candle_time, attempt, trigger_price=price)
        )
    await desk.plan(planned)
    return planned


async def _send_planned(desk: Desk, planned: Sequence[OrderRow], deadline_s: float) -> Sequence[OrderNews]:
    """Send protective orders: on spot as a pair, on perpetuals side by side."""
    if len(planned) == 2 and not desk.exchange.is_perpetual:
        return await send_pair(desk, planned[0], planned[1], deadline_s=deadline_s)
    return await asyncio.gather(*(send(desk, row, deadline_s=deadline_s) for row in planned))


async def _judge(desk: Desk, symbol: str, planned: Sequence[OrderRow], news: Sequence[OrderNews]) -> bool:
    """Act on how placing went: a passed price closes the position, a missing stop makes it leave the market."""
    told = {row.purpose: one for row, one in zip(planned, news, strict=True)}
    candle_time = _candle_time(desk)
    passed = [purpose for purpose, one in told.items() if one.error == WOULD_TRIGGER]
    if passed:
        purpose = await _passed(desk, symbol) if not desk.exchange.is_perpetual else passed[0]
        await leave(desk, symbol, REASONS[purpose], candle_time)
        return False
    stop = told.get(STOP)
    if stop is not None and stop.error == HALTED:
        await tell_halted(desk, symbol)
        return False
    if stop is not None and stop.progress.status not in ALIVE:
        once = f"stop_failed:{symbol}:{candle_time}"  # not for each attempt
        await desk.tell_trouble("stop_failed", once, symbol=symbol, error=stop.error or "")
        if any(row.purpose == STOP and row.status in ALIVE for row in desk.current.protective(symbol)):
            desk.nudge(symbol)  # an older stop still protects; the move is tried again
        else:
            await leave(desk, symbol, "emergency_exit", candle_time)
        return False
    take = told.get(TAKE)
    if take is not None and take.progress.status not in ALIVE:
        desk.nudge(symbol)  # the stop rests; the take-profit is tried again at the next look
    return True


async def _passed(desk: Desk, symbol: str) -> str:
    """Return which of a spot pair's prices the market has passed; the stop when it cannot be told."""
    position, market = desk.state(symbol).position, desk.market(symbol)
    try:
        price = await desk.exchange.last_price(symbol)
    except (ExchangeDown, ExchangeBusy, KeyRefused):
        return STOP
    return TAKE if position.take_ticks and price >= exact_price(market, position.take_ticks) else STOP


async def leave(desk: Desk, symbol: str, reason: str, candle_time: int) -> bool:
    """Close a position at the market, reduce-only; returns whether an order left.

    The exit stays due until the position is closed (`Store.due_exits`), whatever becomes of this order.
    """
    state = desk.state(symbol)
    if state.position.lots == 0 or desk.has_exit_under_way(symbol):
        return False
    purpose = EMERGENCY if reason == "emergency_exit" else EXIT
    attempt = await desk.attempt(symbol, candle_time, purpose)
    side = SELL if state.position.side == LONG else BUY
    row = desk.order_row(symbol, purpose, side, state.position.lots, reason, candle_time, attempt)
    await desk.plan([row])
    return await carry_out(desk, row)


async def carry_out(desk: Desk, row: OrderRow) -> bool:
    """Send a planned market order and book its fills; returns whether it filled, wholly or in part."""
    if row.reduce_only:
        if not desk.exchange.is_perpetual:
            await _cancel(desk, desk.current.protective(row.symbol))
            if desk.current.protective(row.symbol):
                # It may have sold the coins already. A second sale would take the owner's own: nothing caps it on spot.
                await desk.record([rows.given_up(row, "what became of the stop is not known yet")], [])
                desk.nudge(row.symbol)
                return False
        left = exact_size(desk.market(row.symbol), abs(desk.current.lots(row.symbol)))
        if left == 0 or (left < row.size and not desk.exchange.is_perpetual):
            # Closed in the meantime, or on spot partly so: there is no reduce-only that would cap the sale.
            await desk.record([rows.given_up(row, "the position has changed")], [])
            desk.nudge(row.symbol)
            return True
    news = await send(desk, row)
    facts = await _fills(desk, row, news)
    await desk.record([news], facts)
    if news.progress.status != FILLED and not (row.type == rows.LIMIT and news.progress.status == OPEN):
        desk.nudge(row.symbol)
    if row.reduce_only and news.error == HALTED:
        await tell_halted(desk, row.symbol)
    elif row.reduce_only and (news.progress.status == REJECTED or news.error == TIMESTAMP_REFUSED):
        await _look_into_rejection(desk, row, news.error or "")
    return news.progress.filled > 0


async def tell_halted(desk: Desk, symbol: str) -> None:
    """Tell the owner, once a day, that a position cannot be left or protected because its symbol does not trade.

    It is tried again when the symbol shows a new candle, and at every reconciliation.
    """
    day = desk.clock.now_ms() // 86_400_000
    await desk.tell_trouble("symbol_halted", f"symbol_halted:{symbol}:{day}", symbol=symbol)


async def _look_into_rejection(desk: Desk, row: OrderRow, error: str) -> None:
    """Find out why an exit was refused: mostly because a protective order has closed the position already."""
    try:
        await desk.record(*await sync.read_symbol(desk, row.symbol))
    except (ExchangeDown, ExchangeBusy, KeyRefused) as failure:
        desk.log.warning("look_failed", symbol=row.symbol, error=str(failure))
    if desk.current.lots(row.symbol) != 0:
        once = f"exit_rejected:{row.symbol}:{row.candle_time}"  # not for each attempt
        await desk.tell_trouble("exit_rejected", once, symbol=row.symbol, error=error)


def _candle_time(desk: Desk) -> int:
    """Return the candle that names an order: the one decided on last."""
    return desk.current.memory.decision_time


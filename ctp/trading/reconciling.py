"""Compare an account with what its exchange says, and bring the two into line.

At start, after every reconnection and at least once a minute. One answer proves nothing: a position that differs is
looked at twice, with the fills read in between, before anything is booked on the strength of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ctp.core.orders import FINAL, RESTING, Progress, is_ours
from ctp.core.reconcile import Corrections, Resting, Theirs, compare
from ctp.core.types import LONG
from ctp.trading import rows, sync
from ctp.trading.engine import Engine
from ctp.trading.exchange import OrderReport
from ctp.trading.execution import ask, cancel
from ctp.trading.fold import FILL, Fact
from ctp.trading.market_rules import exact_size, lots_of, ticks_of
from ctp.trading.protection import apply, ours_of, settle_down
from ctp.trading.rows import OrderNews

CLOSED_OUTSIDE = "closed_outside"
ROUNDING = 1e-9  # of the balance: doubles against the exchange's decimals


async def reconcile(engine: Engine) -> None:
    """Bring one account into line. Raises ExchangeDown, ExchangeBusy or KeyRefused.

    The desk's lock is taken for one step at a time: a candle that closes meanwhile waits for a step, not for all of them.
    """
    desk = engine.desk
    async with desk.lock:
        if desk.view is None:
            return
        desk.halted.clear()  # tried anew
        if await engine.look(desk.account.symbols):
            return
    for symbol in desk.account.symbols:
        async with desk.lock:
            await _reconcile_symbol(engine, symbol)
    async with desk.lock:
        await settle_down(desk, desk.account.symbols)
        await _check_wallet(engine)
        await engine.prepare_symbols()


async def _reconcile_symbol(engine: Engine, symbol: str) -> None:
    """Bring one symbol into line."""
    found = await _ask_and_compare(engine, symbol)
    if found.closed_outside or found.foreign_lots:
        await engine.look([symbol])
        found = await _ask_and_compare(engine, symbol)
        if found.closed_outside:
            await _book_closed_outside(engine, symbol, found.closed_outside)
    await _announce(engine, symbol, found)
    await apply(engine.desk, symbol, found)


async def _ask_and_compare(engine: Engine, symbol: str) -> Corrections:
    """Ask for a symbol's orders and position, and return the corrections."""
    desk = engine.desk
    open_orders = await desk.exchange.open_orders(symbol)
    await _settle_vanished(engine, symbol, open_orders)
    size = (await desk.exchange.positions([symbol]))[symbol] if desk.exchange.is_perpetual else None
    return await _compare(engine, symbol, size, open_orders)


async def _compare(
    engine: Engine, symbol: str, size: Decimal | None, open_orders: Sequence[OrderReport]
) -> Corrections:
    """Return the corrections of one symbol."""
    desk = engine.desk
    market, ours = desk.market(symbol), ours_of(desk, symbol)
    lots = ours.lots if size is None else lots_of(market, size)
    resting, foreign = [], []
    for order in open_orders:
        if not await _is_known(engine, order):
            foreign.append(order.id)
        elif order.id in desk.current.unfinished and order.trigger_price is not None:
            ticks = ticks_of(market, order.trigger_price)
            resting.append(Resting(order.id, order.purpose, lots_of(market, order.size), ticks))
    theirs = Theirs(lots, tuple(resting), tuple(foreign))
    return compare(ours, theirs, replaces_first=desk.exchange.is_perpetual)


async def _is_known(engine: Engine, order: OrderReport) -> bool:
    """Return whether an order at the exchange has a row of ours, and make a live order of a given-up row end."""
    desk = engine.desk
    if not is_ours(order.id, desk.account.id):
        return False
    if order.id in desk.current.unfinished:
        return True
    row = await desk.run(lambda c: rows.read_order(c, order.id))
    if row is None:
        return False
    # It was taken for lost and arrived after its fence: any sign of life outranks that. Or it ended since it was listed.
    await desk.record([OrderNews(order.id, Progress(order.status, order.filled), order.exchange_id)], [])
    if order.id not in desk.current.unfinished:
        report = await desk.exchange.find(order.symbol, order.id, order.purpose)
        if report.status in RESTING:
            await cancel(desk, row)
    return True


async def _settle_vanished(engine: Engine, symbol: str, open_orders: Sequence[OrderReport]) -> None:
    """Ask about protective orders that we think rest but the exchange does not list."""
    desk = engine.desk
    listed = {order.id for order in open_orders}
    vanished = [row for row in desk.current.protective(symbol) if row.id not in listed]
    for row in vanished:
        news = await ask(desk, row)
        await desk.record([news], [])
        if news.progress.status in FINAL and news.progress.filled == 0 and desk.current.lots(symbol) != 0:
            await desk.tell_trouble("protection_vanished", f"vanished:{row.id}", symbol=symbol, order=row.id)
    if vanished:
        await engine.look([symbol])


async def _book_closed_outside(engine: Engine, symbol: str, lots: int) -> None:
    """Book a position that is gone without a fill of ours, at the last price: somebody else closed it."""
    desk = engine.desk
    position, market = desk.state(symbol).position, desk.market(symbol)
    price = await desk.exchange.last_price(symbol)
    time = desk.current.memory.decision_time + desk.account.timeframe_ms
    fact = Fact(
        0,
        FILL,
        symbol,
        time,
        None,
        f"outside-{position.entry_time}-{abs(lots)}",
        "sell" if position.side == LONG else "buy",
        price,
        exact_size(market, abs(lots)),
        Decimal(0),
        desk.account.quote,
        CLOSED_OUTSIDE,
    )
    await desk.record([], [fact])
    await desk.tell_trouble(CLOSED_OUTSIDE, f"outside:{symbol}:{position.entry_time}", symbol=symbol, price=str(price))


async def _announce(engine: Engine, symbol: str, found: Corrections) -> None:
    """Tell the owner, once, about positions and orders that are not ours. They are left alone."""
    desk = engine.desk
    if found.foreign_lots:
        size = str(exact_size(desk.market(symbol), found.foreign_lots))
        await desk.tell_trouble("foreign_position", f"foreign:{symbol}:{size}", symbol=symbol, size=size)
    if desk.exchange.is_perpetual:  # a spot wallet is the owner's, and so are the orders in it
        for order_id in found.foreign_order_ids:
            await desk.tell_trouble("foreign_order", f"foreign:{order_id}", symbol=symbol, order=order_id)


async def _check_wallet(engine: Engine) -> None:
    """Bound new entries by a wallet that no longer covers what the account thinks it has, and tell its owner once a day."""
    desk = engine.desk
    short = await _shortfall(engine)
    if short > 0:
        # A fill or a payment may have come between our books and the answer: both are brought up to date first.
        await engine.look(desk.account.symbols)
        if desk.exchange.is_perpetual:
            await desk.record([], await sync.read_funding(desk, desk.current.memory.decision_time))
        short = await _shortfall(engine)
    desk.shortfall = short
    if short > 0:
        day = desk.clock.now_ms() // 86_400_000
        balance = desk.current.folded.memory.account.balance
        await desk.tell_trouble("wallet_short", f"wallet:{day}", missing=round(short, 8), balance=balance)


async def _shortfall(engine: Engine) -> float:
    """Return how much less than the account's balance its wallet holds, in quote units; 0 when it covers it.

    On spot the price of our coins has left the wallet; whatever else is in it is the owner's.
    """
    desk = engine.desk
    wallet = float(await desk.exchange.quote_balance(desk.account.quote))
    current = desk.current.folded.memory
    balance = current.account.balance
    expected = balance
    if not desk.exchange.is_perpetual:
        expected -= sum(state.position.margin for state in current.states)
    missing = expected - wallet
    return missing if missing > ROUNDING * balance else 0.0

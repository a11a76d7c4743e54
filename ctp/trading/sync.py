"""Learn from the exchange what happened to one account: fills, funding, the fate of orders.

Streams only say *that* something happened; what happened is read here, so that duplicates, gaps and reversed events of a
stream cannot matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ctp.core.orders import PROTECTIVE, RESTING, is_ours
from ctp.core.types import FLAT, LONG
from ctp.errors import OrderMissing
from ctp.trading import rows
from ctp.trading.desk import Desk
from ctp.trading.exchange import SELL, FillReport
from ctp.trading.execution import ask
from ctp.trading.fold import FILL, FUNDING, Fact
from ctp.trading.market_rules import lots_of
from ctp.trading.rows import OrderNews, OrderRow

AUTOCLOSE, ADL = "autoclose", "adl_autoclose"  # how Binance names the orders of a liquidation
FILL_PAUSE_S, FILL_PATIENCE_S = 0.1, 1.0
HOUR_MS = 3_600_000


def fill_fact(fill: FillReport, order_id: str | None, reason: str) -> Fact:
    """Return a fill as a fact of the ledger."""
    return Fact(
        0,
        FILL,
        fill.symbol,
        fill.time,
        order_id,
        fill.id,
        fill.side,
        fill.price,
        fill.size,
        fill.fee,
        fill.fee_asset,
        reason,
    )


async def fills_of(desk: Desk, row: OrderRow, news: OrderNews) -> list[Fact]:
    """Return the fills of an order that was just answered, waiting a moment for those the reply already counts."""
    wanted = news.progress.filled
    if wanted <= 0 or news.exchange_id is None:
        return []
    started = desk.clock.monotonic_s()
    while True:
        found = await desk.exchange.fills(row.symbol, order_exchange_id=news.exchange_id)
        if sum((fill.size for fill in found), Decimal(0)) >= wanted:
            break
        if desk.clock.monotonic_s() - started >= FILL_PATIENCE_S:
            desk.nudge(row.symbol)
            break
        await desk.clock.sleep(FILL_PAUSE_S)
    return [fill_fact(fill, row.id, row.reason) for fill in found]


async def read_symbol(desk: Desk, symbol: str) -> tuple[list[OrderNews], list[Fact]]:
    """Read what happened to one symbol since the last look.

    Raises ExchangeDown, ExchangeBusy or KeyRefused: then nothing is known, and nothing may be concluded.
    """
    view = desk.current
    mine = [row for row in view.unfinished.values() if row.symbol == symbol]
    news: list[OrderNews] = []
    known: dict[str, OrderRow] = {row.exchange_id: row for row in mine if row.exchange_id}
    for row in mine:
        if row.purpose not in PROTECTIVE or row.exchange_id is None:
            told = await ask(desk, row)
            news.append(told)
            if told.exchange_id:
                known[told.exchange_id] = row
    after = desk.last_fill_ids.get(symbol)
    if after is not None:
        fills = list(await desk.exchange.fills(symbol, after_id=after))
    else:
        fills = []
        for exchange_id, row in known.items():
            if row.purpose not in PROTECTIVE:
                fills += await desk.exchange.fills(symbol, order_exchange_id=exchange_id)
    if any(fill.order_exchange_id not in known for fill in fills):
        for row in mine:
            if row.purpose in PROTECTIVE:
                told = await ask(desk, row)
                news.append(told)
                if told.exchange_id:
                    known[told.exchange_id] = row
    facts = []
    for fill in sorted(fills, key=lambda one: (one.time, int(one.id))):
        fact = await _own(desk, fill, known)
        if fact is not None:
            facts.append(fact)
        else:
            desk.last_fill_ids[symbol] = fill.id
    return news, facts


async def _own(desk: Desk, fill: FillReport, known: dict[str, OrderRow]) -> Fact | None:
    """Return a fill as a fact if it concerns our position: our order, a liquidation, or somebody closing it."""
    row = known.get(fill.order_exchange_id)
    if row is not None:
        return fill_fact(fill, row.id, row.reason)
    try:
        report = await desk.exchange.find_by_exchange_id(fill.symbol, fill.order_exchange_id)
    except OrderMissing:
        return None
    if is_ours(report.id, desk.account.id):
        ours = await desk.run(lambda c: rows.read_order(c, report.id))
        if ours is not None:
            known[fill.order_exchange_id] = ours
            return fill_fact(fill, ours.id, ours.reason)
    position = desk.state(fill.symbol).position
    closes = position.side != FLAT and (fill.side == SELL) == (position.side == LONG)
    if not closes or not desk.exchange.is_perpetual:
        return None
    is_liquidation = report.id.startswith((AUTOCLOSE, ADL))
    return fill_fact(fill, None, "liquidation" if is_liquidation else "closed_outside")


def needs_look(desk: Desk, symbol: str) -> bool:
    """Return whether something of ours could have happened to a symbol: a position, or an order not final."""
    return desk.current.lots(symbol) != 0 or any(row.symbol == symbol for row in desk.current.unfinished.values())


async def changed_symbols(desk: Desk, symbols: Sequence[str]) -> list[str]:
    """Return the symbols of which fills must be read: those whose position is not what we think, or may be changing.

    One question about all positions takes the place of one for each symbol. Where positions cannot be asked for (spot)
    every symbol is read. Raises ExchangeDown, ExchangeBusy or KeyRefused.
    """
    if not desk.exchange.is_perpetual or len(symbols) < 2:
        return list(symbols)
    sizes = await desk.exchange.positions(symbols)
    moving = {row.symbol for row in desk.current.unfinished.values() if row.status not in RESTING}
    moving |= set(desk.current.in_flight())
    return [
        symbol
        for symbol in symbols
        if symbol in moving or lots_of(desk.market(symbol), sizes[symbol]) != desk.current.lots(symbol)
    ]


def crosses_hour(start: int, end: int) -> bool:
    """Return whether a full hour, and so perhaps a funding time, lies in [start, end]."""
    return start <= end // HOUR_MS * HOUR_MS


async def read_funding(desk: Desk, since: int) -> list[Fact]:
    """Read funding payments from market time `since` on, of the account's symbols."""
    reports = await desk.exchange.funding(since)
    return [
        Fact(0, FUNDING, one.symbol, one.time, None, one.id, None, None, None, one.amount, one.asset, "funding")
        for one in reports
        if one.symbol in desk.current.memory.symbols
    ]



"""Send an order once, and find out what became of it.

Invariants:
1. An order's row is committed before its request leaves; `send` refuses a row that is older than `SEND_WITHIN_MS`.
2. An ambiguous answer is resolved by asking for the client order id. Nothing is ever sent a second time under any id
   before the first is known to be final.
3. "Not found" ends an order only after its fence (timestamp + window + margin).
"""

from __future__ import annotations

from decimal import Decimal

from ctp.core.orders import (
    CANCELLED,
    ENTRY,
    FINAL,
    NOT_SENT,
    REJECTED,
    UNKNOWN,
    Progress,
    after_missing,
)
from ctp.errors import ExchangeBusy, ExchangeDown, KeyRefused, OrderMissing, OrderRejected, OrderUnknown
from ctp.trading.desk import FENCE_MARGIN_MS, SEND_WITHIN_MS, Desk
from ctp.trading.exchange import OrderReport, OrderRequest
from ctp.trading.rows import OrderNews, OrderRow

LOOK_UP_PAUSE_S = 0.1
NOTHING = Decimal(0)


def request_of(row: OrderRow) -> OrderRequest:
    """Return what to send for an order's row."""
    return OrderRequest(row.id, row.symbol, row.purpose, row.side, row.size, row.trigger_price, row.reduce_only)


def news_of(report: OrderReport, row: OrderRow) -> OrderNews:
    """Return what a report tells about our order."""
    return OrderNews(row.id, Progress(report.status, report.filled), report.exchange_id or None)


async def send(desk: Desk, row: OrderRow, *, deadline_s: float | None = None) -> OrderNews:
    """Send a planned order and return what is known about it afterwards.

    deadline_s: how long an ambiguous answer may be looked into; without it until the fence has passed. Past the
    deadline the order is left unknown, to be settled later.
    """
    refusal = _refuse(desk, row)
    if refusal:
        return OrderNews(row.id, Progress(NOT_SENT, NOTHING), error=refusal)
    window_ms = desk.window_ms(row.purpose)
    fence = desk.clock.now_ms() + window_ms + FENCE_MARGIN_MS
    started = desk.clock.monotonic_s()
    desk.checkpoint(f"{row.purpose} before post")
    try:
        report = await desk.exchange.place(request_of(row), window_ms=window_ms)
    except (OrderUnknown, ExchangeDown) as error:
        desk.log.warning("order_unknown", order=row.id, error=str(error))
        left = None if deadline_s is None else deadline_s - (desk.clock.monotonic_s() - started)
        return await look_up(desk, row, fence, left)
    except OrderRejected as error:
        return OrderNews(row.id, Progress(REJECTED, NOTHING), error=error.code or str(error))
    except ExchangeBusy as error:
        return OrderNews(row.id, Progress(NOT_SENT, NOTHING), error=str(error))
    except KeyRefused as error:
        desk.key_error = str(error)
        return OrderNews(row.id, Progress(REJECTED, NOTHING), error=str(error))
    desk.checkpoint(f"{row.purpose} answered")
    return news_of(report, row)._replace(fence_until=fence)


async def send_pair(desk: Desk, stop: OrderRow, take: OrderRow, *, deadline_s: float) -> tuple[OrderNews, OrderNews]:
    """Send a stop and a take-profit that cancel one another, and return what is known about both."""
    refusal = _refuse(desk, stop) or _refuse(desk, take)
    if refusal:
        return _both(stop, take, Progress(NOT_SENT, NOTHING), refusal)
    window_ms = desk.window_ms(stop.purpose)
    fence = desk.clock.now_ms() + window_ms + FENCE_MARGIN_MS
    started = desk.clock.monotonic_s()
    desk.checkpoint("pair before post")
    try:
        reports = await desk.exchange.place_pair(request_of(stop), request_of(take), window_ms=window_ms)
    except (OrderUnknown, ExchangeDown) as error:
        desk.log.warning("order_unknown", order=stop.id, error=str(error))
        left = deadline_s - (desk.clock.monotonic_s() - started)
        first = await look_up(desk, stop, fence, left)
        return first, await look_up(desk, take, fence, max(0.0, left))
    except OrderRejected as error:
        return _both(stop, take, Progress(REJECTED, NOTHING), error.code or str(error))
    except ExchangeBusy as error:
        return _both(stop, take, Progress(NOT_SENT, NOTHING), str(error))
    except KeyRefused as error:
        desk.key_error = str(error)
        return _both(stop, take, Progress(REJECTED, NOTHING), str(error))
    desk.checkpoint("pair answered")
    return news_of(reports[0], stop), news_of(reports[1], take)


def _both(stop: OrderRow, take: OrderRow, progress: Progress, error: str) -> tuple[OrderNews, OrderNews]:
    """Return the same news for both halves of a pair."""
    return OrderNews(stop.id, progress, error=error), OrderNews(take.id, progress, error=error)


def _refuse(desk: Desk, row: OrderRow) -> str:
    """Return why a planned order must not leave any more, or an empty text."""
    if desk.clock.now_ms() - row.planned_at > SEND_WITHIN_MS:
        return "too late to send"
    if not desk.is_leader():
        return "another bot has taken over"
    if row.purpose == ENTRY and not desk.may_enter():
        return "entries were stopped"
    return ""


async def look_up(desk: Desk, row: OrderRow, fence: int, deadline_s: float | None) -> OrderNews:
    """Ask for an order by its id until it is found, or known not to exist, or the deadline has passed.

    fence: wall time before which "not found" proves nothing.
    """
    started = desk.clock.monotonic_s()
    known = Progress(UNKNOWN, NOTHING)
    while True:
        try:
            return news_of(await desk.exchange.find(row.symbol, row.id, row.purpose), row)._replace(fence_until=fence)
        except OrderMissing:
            known = after_missing(Progress(row.status, row.filled), desk.clock.now_ms(), fence)
            if known.status in FINAL:
                return OrderNews(row.id, known, error="the exchange does not know it", fence_until=fence)
        except (ExchangeDown, ExchangeBusy, KeyRefused) as error:
            desk.log.warning("look_up_failed", order=row.id, error=str(error))
            if deadline_s is None and desk.clock.now_ms() > fence:
                break
        if deadline_s is not None and desk.clock.monotonic_s() - started + LOOK_UP_PAUSE_S >= deadline_s:
            break
        await desk.clock.sleep(LOOK_UP_PAUSE_S)
    desk.nudge()
    return OrderNews(row.id, Progress(UNKNOWN, NOTHING), error="outcome unknown", fence_until=fence)


async def ask(desk: Desk, row: OrderRow) -> OrderNews:
    """Ask once what became of an unfinished order. Raises ExchangeDown, ExchangeBusy or KeyRefused."""
    try:
        return news_of(await desk.exchange.find(row.symbol, row.id, row.purpose), row)
    except OrderMissing:
        fence = row.fence_until or 0
        known = after_missing(Progress(row.status, row.filled), desk.clock.now_ms(), fence)
        return OrderNews(row.id, known, error="the exchange does not know it" if known.status in FINAL else None)


async def cancel(desk: Desk, row: OrderRow) -> OrderNews | None:
    """Cancel a protective order; None when its outcome is not known yet.

    An order that is no longer there was filled, cancelled by somebody, or never arrived: the exchange is asked which.
    """
    try:
        await desk.exchange.cancel(row.symbol, row.id, row.purpose)
    except OrderMissing:
        try:
            return await ask(desk, row)
        except (ExchangeDown, ExchangeBusy, KeyRefused):
            desk.nudge(row.symbol)
            return None
    except (ExchangeDown, ExchangeBusy, KeyRefused, OrderUnknown, OrderRejected) as error:
        desk.log.warning("cancel_failed", order=row.id, error=str(error))
        desk.nudge(row.symbol)
        return None
    return OrderNews(row.id, Progress(CANCELLED, NOTHING))

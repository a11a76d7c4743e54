"""Send an order once, and find out what became of it.

Invariants:
1. An order's row is committed before its request leaves, and with it a fence that lies behind the request's window.
2. An ambiguous answer is resolved by asking for the client order id. Nothing is ever sent a second time under any id
   before the first is known to be final. A request refused for its timestamp never was an order: it may leave again.
3. "Not found" ends an order only after its fence (timestamp + window + margin).
"""

from __future__ import annotations

from collections.abc import Sequence
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
from ctp.errors import (
    ExchangeBusy,
    ExchangeDown,
    KeyRefused,
    OrderMissing,
    OrderRejected,
    OrderUnknown,
    RequestExpired,
)
from ctp.trading.desk import FENCE_MARGIN_MS, SENT_SOON_MS, Desk
from ctp.trading.exchange import HALTED, OrderReport, OrderRequest
from ctp.trading.market_rules import exact_price
from ctp.trading.rows import GAP_IN_DATA, LIMIT, OrderNews, OrderRow, read_plan
from ctp.trading.waiting import within

LOOK_UP_PAUSE_S = 0.1
MOST_SIGNATURES = 3  # of an order without a deadline whose timestamp is refused again and again
TIMESTAMP_REFUSED = "its timestamp was refused"
LOST = "the exchange does not know it"  # past its fence: the order never arrived
NOTHING = Decimal(0)


def request_of(desk: Desk, row: OrderRow) -> OrderRequest:
    """Return what to send for an order's row."""
    limit = None
    if row.purpose == ENTRY and row.type == LIMIT:
        limit = exact_price(desk.market(row.symbol), read_plan(row.plan).plan.limit_ticks)
    return OrderRequest(row.id, row.symbol, row.purpose, row.side, row.size, row.trigger_price, row.reduce_only, limit)


def news_of(report: OrderReport, row: OrderRow) -> OrderNews:
    """Return what a report tells about our order."""
    return OrderNews(row.id, Progress(report.status, report.filled), report.exchange_id or None)


async def send(desk: Desk, row: OrderRow, *, deadline_s: float | None = None) -> OrderNews:
    """Send a planned order and return what is known about it afterwards.

    deadline_s: how long the answer may be waited for and an ambiguous one looked into; without it until the fence has
    passed. Past the deadline the order is left unknown, to be settled later.
    """
    return (await _send(desk, (row,), row.purpose, deadline_s))[0]


async def send_pair(desk: Desk, stop: OrderRow, take: OrderRow, *, deadline_s: float) -> Sequence[OrderNews]:
    """Send a stop and a take-profit that cancel one another, and return what is known about both."""
    return await _send(desk, (stop, take), "pair", deadline_s)


async def _send(desk: Desk, planned: Sequence[OrderRow], label: str, deadline_s: float | None) -> Sequence[OrderNews]:
    """Send one order or a pair in one request, signed anew while its timestamp is refused and it may still leave."""
    window_ms = desk.window_ms(planned[0].purpose)
    by_s = None if deadline_s is None else desk.clock.monotonic_s() + deadline_s
    signatures = 0
    while True:
        planned = await _fence(desk, planned, window_ms + FENCE_MARGIN_MS)
        refusal = next((why for row in planned if (why := _refuse(desk, row))), "")
        if refusal:
            return _all(planned, NOT_SENT, refusal)
        fence = desk.clock.now_ms() + window_ms + FENCE_MARGIN_MS
        signatures += 1
        desk.checkpoint(f"{label} before post")
        try:
            reports = await _place(desk, planned, window_ms, is_urgent=by_s is not None)
        except RequestExpired as error:
            desk.log.warning("request_expired", order=planned[0].id, error=str(error))
            is_last = signatures >= MOST_SIGNATURES if by_s is None else _is_over(desk, by_s)
            if is_last:
                return _all(planned, NOT_SENT, TIMESTAMP_REFUSED)
            await desk.clock.sleep(LOOK_UP_PAUSE_S)
            continue
        except (OrderUnknown, ExchangeDown) as error:
            desk.log.warning("order_unknown", order=planned[0].id, error=str(error))
            return [await look_up(desk, row, fence, by_s) for row in planned]
        except OrderRejected as error:
            if error.code == HALTED:
                desk.note_halted(planned[0].symbol)
                return _all(planned, REJECTED, GAP_IN_DATA if planned[0].purpose == ENTRY else HALTED)
            return _all(planned, REJECTED, error.code or str(error))
        except ExchangeBusy as error:
            return _all(planned, NOT_SENT, str(error))
        except KeyRefused as error:
            desk.key_error = str(error)
            return _all(planned, REJECTED, str(error))
        desk.checkpoint(f"{label} answered")
        told = zip(reports, planned, strict=True)
        return [news_of(report, row)._replace(fence_until=fence) for report, row in told]


async def _fence(desk: Desk, planned: Sequence[OrderRow], needed_ms: int) -> Sequence[OrderRow]:
    """Return the rows with fences that hold when the request leaves now; those that are too near are committed anew."""
    soon_ms = SENT_SOON_MS
    while any((row.fence_until or 0) < desk.clock.now_ms() + needed_ms for row in planned):
        soon_ms *= 2  # the disk may need longer than that to take the new fence
        planned = await desk.fence(planned, soon_ms)
    return planned


async def _place(desk: Desk, planned: Sequence[OrderRow], window_ms: int, *, is_urgent: bool) -> Sequence[OrderReport]:
    """Ask the exchange for one order or a pair; raises like `Exchange.place`.

    is_urgent: wait for the answer no longer than the exchange may take the request at all.
    """
    exchange, requests = desk.exchange, [request_of(desk, row) for row in planned]

    async def ask_for_them() -> Sequence[OrderReport]:
        if len(requests) == 2:
            return await exchange.place_pair(requests[0], requests[1], window_ms=window_ms)
        return [await exchange.place(requests[0], window_ms=window_ms)]

    if not is_urgent:
        return await ask_for_them()
    # Whatever the deadline leaves after that is for finding out.
    patience_s = (window_ms + FENCE_MARGIN_MS) / 1000
    try:
        return await within(ask_for_them(), desk.clock, patience_s)
    except TimeoutError:
        raise OrderUnknown(f"no answer within {patience_s:g} s") from None


def _all(planned: Sequence[OrderRow], status: str, error: str) -> Sequence[OrderNews]:
    """Return the same news for every order of a request."""
    return [OrderNews(row.id, Progress(status, NOTHING), error=error) for row in planned]


def _refuse(desk: Desk, row: OrderRow) -> str:
    """Return why a planned order must not leave any more, or an empty text."""
    if row.purpose == ENTRY and desk.clock.now_ms() - row.planned_at > desk.entry_stale_after_ms:
        return "too late to enter"
    if not desk.is_leader():
        return "another bot has taken over"
    if row.purpose == ENTRY and not desk.may_enter():
        return "entries were stopped"
    if row.purpose == ENTRY and row.symbol in desk.halted:
        return GAP_IN_DATA
    return ""


async def look_up(desk: Desk, row: OrderRow, fence: int, by_s: float | None) -> OrderNews:
    """Ask for an order by its id until it is found, or known not to exist, or the deadline has passed.

    fence: wall time before which "not found" proves nothing. by_s: the deadline, in monotonic seconds.
    """
    known = Progress(UNKNOWN, NOTHING)
    while True:
        try:
            return news_of(await _find(desk, row, by_s), row)._replace(fence_until=fence)
        except OrderMissing:
            known = after_missing(Progress(row.status, row.filled), desk.clock.now_ms(), fence)
            if known.status in FINAL:
                return OrderNews(row.id, known, error=LOST, fence_until=fence)
        except (ExchangeDown, ExchangeBusy, KeyRefused) as error:
            desk.log.warning("look_up_failed", order=row.id, error=str(error))
            if by_s is None and desk.clock.now_ms() > fence:
                break
        if by_s is not None and _is_over(desk, by_s):
            break
        await desk.clock.sleep(LOOK_UP_PAUSE_S)
    desk.nudge()
    return OrderNews(row.id, Progress(UNKNOWN, NOTHING), error="outcome unknown", fence_until=fence)


def _is_over(desk: Desk, by_s: float) -> bool:
    """Return whether a deadline leaves no time for another try."""
    return desk.clock.monotonic_s() + LOOK_UP_PAUSE_S >= by_s


async def _find(desk: Desk, row: OrderRow, by_s: float | None) -> OrderReport:
    """Look an order up once; an answer that does not come by the deadline is none."""
    finding = desk.exchange.find(row.symbol, row.id, row.purpose)
    if by_s is None:
        return await finding
    left_s = max(LOOK_UP_PAUSE_S, by_s - desk.clock.monotonic_s())
    try:
        return await within(finding, desk.clock, left_s)
    except TimeoutError:
        raise ExchangeDown(f"no answer within {left_s:.2g} s") from None


async def ask(desk: Desk, row: OrderRow) -> OrderNews:
    """Ask once what became of an unfinished order. Raises ExchangeDown, ExchangeBusy or KeyRefused."""
    try:
        return news_of(await desk.exchange.find(row.symbol, row.id, row.purpose), row)
    except OrderMissing:
        fence = row.fence_until or 0
        known = after_missing(Progress(row.status, row.filled), desk.clock.now_ms(), fence)
        return OrderNews(row.id, known, error=LOST if known.status in FINAL else None)


async def end_entry(desk: Desk, row: OrderRow) -> OrderNews | None:
    """Cancel an entry that rests, and return how it ended, with what had filled of it; None when that is not known yet."""
    try:
        await desk.exchange.cancel(row.symbol, row.id, row.purpose)
    except OrderMissing:
        pass  # it has filled, or somebody else has cancelled it: the exchange says which
    except (ExchangeDown, ExchangeBusy, KeyRefused, OrderUnknown, OrderRejected) as error:
        desk.log.warning("cancel_failed", order=row.id, error=str(error))
        desk.nudge(row.symbol)
        return None
    desk.checkpoint("entry cancelled")
    try:
        return await ask(desk, row)
    except (ExchangeDown, ExchangeBusy, KeyRefused):
        desk.nudge(row.symbol)
        return None


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

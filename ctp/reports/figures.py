"""The figures of a report, computed from its extract alone. Pure.

A stretch of time is measured between two marks: equity and balance at the decisions that open and end it. What happened
in between is added up from the ledger in exact decimals, so that pnl = realised − fees + funding + change of open
positions, and the first three are the ledger's to the last digit.

Invariants:
1. Days that follow each other share a mark: their results add up to the week's and the month's.
2. A change of capital is never profit or loss, and returns are time-weighted across it (semantics §4).
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from ctp.core.risk import MAX_DAILY_LOSS, MAX_RISK_PER_TRADE
from ctp.reports.books import FILL, TRANSFER, Booked, Books, Holding, terms_of
from ctp.reports.extracted import EquityRow, Extract, TradeRow
from ctp.reports.periods import DAY_MS, Period, period_of

NOTHING = Decimal(0)
CENT = Decimal("0.01")
TARGET_LOW, TARGET_HIGH = 0.05, 0.10  # the owner's target for a month; never a promise
RISK_CEILING, DAILY_CEILING = MAX_RISK_PER_TRADE, MAX_DAILY_LOSS
NOT_TRADES = ("open_positions", "fees", "funding")


class Mark(NamedTuple):
    """What the account was worth at a decision; `time` is the close."""

    time: int
    equity: Decimal
    balance: Decimal  # of the ledger

    @property
    def open_profit(self) -> Decimal:
        """Return what open positions were in profit."""
        return self.equity - self.balance


class Cause(NamedTuple):
    """A part of the result: what brought it, how much, and how often."""

    name: str  # an exit reason, or one of NOT_TRADES
    amount: Decimal
    times: int


class Span(NamedTuple):
    """What a stretch of time brought. Money in quote units; `fraction` is the time-weighted return."""

    start: Mark | None  # None: the account had not been started
    end: Mark | None
    pnl: Decimal
    fraction: float | None
    realised: Decimal
    fees: Decimal  # paid
    funding: Decimal  # > 0 when received
    transfers: Decimal
    open_change: Decimal
    causes: tuple[Cause, ...]  # the largest first
    trades: int
    wins: int


class Day(NamedTuple):
    """One day: its result, and its worst point as a fraction of the equity it began with (0: never below)."""

    day: date
    pnl: Decimal
    fraction: float | None
    worst_fraction: float | None
    has_decisions: bool


class OpenPosition(NamedTuple):
    """A position at the end of the period."""

    symbol: str
    holding: Holding
    close: float | None
    stop: float | None


class Slippage(NamedTuple):
    """How far fills were from the price decided: money lost (> 0), over how many fills, and of which notional."""

    cost: Decimal
    fills: int
    notional: Decimal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """Everything a report tells in numbers."""

    span: Span
    week: Span
    month: Span
    capital: Decimal  # allotted in all, at the end of the period
    days: tuple[Day, ...]  # of the window, oldest first
    trades: tuple[TradeRow, ...]  # closed in the period, in order of closing
    positions: tuple[OpenPosition, ...]
    slippage: Slippage
    largest_loss: float | None  # as a fraction of equity at its decision; None without a closed trade
    worst: Day | None  # the day of the period with the worst point
    books_differ: Decimal  # the largest difference between the ledger's balance and the bot's, 0 below a cent


def figures(extract: Extract) -> Figures:
    """Return the figures of an extract."""
    return _Reckoning(extract).figures()


class _Reckoning:
    """The window's marks and facts, asked for one stretch after another."""

    def __init__(self, extract: Extract) -> None:
        """Book the window's ledger and mark every equity row with the balance that belongs to it."""
        self.extract, self.zone, self.period = extract, extract.zone, extract.period
        books = Books(terms_of(extract.about["markets"]), extract.account["quote"], self.zone.timeframe_ms)
        books.resume(extract.about["opening"])
        self.balances: list[tuple[int, Decimal]] = [(-1, books.balance)]
        purposes = {row.order_id or "": row.purpose for row in extract.ledger}
        self.booked = books.book_all([row.fact() for row in extract.ledger], purposes)
        for one in self.booked:
            change = one.transfer + one.realised - one.fee + one.funding
            self.balances.append((one.candle_time, self.balances[-1][1] + change))
        self.transfers = [one for one in self.booked if one.kind == TRANSFER]
        self.capital, self.holdings = books.transferred, dict(books.holdings)
        self.rows = list(extract.equity)
        self.times = [row.time for row in self.rows]
        self.books_differ = self._compare()

    def figures(self) -> Figures:
        """Return everything."""
        period, zone = self.period, self.zone
        week, month = period_of("weekly", period.last, zone), period_of("monthly", period.last, zone)
        first = min(period.first, week.first, month.first)
        known = [self.day(first + timedelta(days=n)) for n in range((period.last - first).days + 1)]
        inside = [day for day in known if period.first <= day.day <= period.last]
        span = self.span(period.start_ms, period.end_ms)
        trades = tuple(self._closed(span))
        losses = [-one.pnl / one.entry_equity for one in trades if one.entry_equity and one.pnl < 0]
        worst = [day for day in inside if day.worst_fraction is not None]
        return Figures(
            span=span,
            week=self.span(week.start_ms, period.end_ms),
            month=self.span(month.start_ms, period.end_ms),
            capital=self.capital,
            days=tuple(known),
            trades=trades,
            positions=self._positions(),
            slippage=self._slippage(span),
            largest_loss=max(losses, default=0.0) if trades else None,
            worst=max(worst, key=lambda day: day.worst_fraction or 0.0) if worst else None,
            books_differ=self.books_differ,
        )

    def mark(self, moment: int) -> Mark | None:
        """Return the first decision of the day that begins at `moment`; where there is none, the last one before it."""
        place = bisect.bisect_left(self.times, moment)
        if place < len(self.times) and self.times[place] < moment + DAY_MS:
            return self._mark(self.rows[place])
        return self._mark(self.rows[place - 1]) if place else None

    def span(self, start_ms: int, end_ms: int) -> Span:
        """Return what happened between two moments."""
        start, end = self.mark(start_ms), self.mark(end_ms)
        since, until = (start.time if start else -1), (end.time if end else -1)
        inside = [one for one in self.booked if since <= one.candle_time < until]
        realised, fees = sum((one.realised for one in inside), NOTHING), sum((one.fee for one in inside), NOTHING)
        funding, transfers = (sum((getattr(one, name) for one in inside), NOTHING) for name in ("funding", "transfer"))
        open_change = (end.open_profit if end else NOTHING) - (start.open_profit if start else NOTHING)
        pnl = realised - fees + funding + open_change
        trades = [one for one in self.extract.trades if since <= self._open_time(one.exit_time) < until]
        return Span(
            start, end, pnl, self._return(since, until), realised, fees, funding, transfers, open_change,
            _causes(inside, trades, open_change), len(trades), sum(one.pnl > 0 for one in trades),
        )  # fmt: skip

    def day(self, day: date) -> Day:
        """Return one day's result and worst point."""
        start_ms, end_ms = self.zone.first_close(day), self.zone.first_close(day + timedelta(days=1))
        span = self.span(start_ms, end_ms)
        begins = self.mark(start_ms)
        has_decisions = begins is not None and start_ms <= begins.time < end_ms
        if begins is None or not has_decisions or span.end is None:
            return Day(day, span.pnl, span.fraction, None, False)
        worst = 0.0
        for row in self.rows[
            bisect.bisect_left(self.times, begins.time) : bisect.bisect_right(self.times, span.end.time)
        ]:
            base = begins.equity + self._moved(begins.time, row.time)
            if base > 0:
                worst = max(worst, 1.0 - row.equity / float(base))
        return Day(day, span.pnl, span.fraction, worst, True)

    def _mark(self, row: EquityRow) -> Mark:
        """Return an equity row with the ledger's balance at it."""
        return Mark(row.time, Decimal(repr(row.equity)), self._balance(row.time))

    def _balance(self, time: int) -> Decimal:
        """Return the ledger's balance once every fact of the candles closed by then is booked."""
        place = bisect.bisect_left(self.balances, time, key=lambda one: one[0])
        return self.balances[place - 1][1]

    def _moved(self, since: int, until: int) -> Decimal:
        """Return the capital moved in or out between two decisions."""
        return sum((one.transfer for one in self.transfers if since <= one.candle_time < until), NOTHING)

    def _return(self, since: int, until: int) -> float | None:
        """Return the time-weighted return: a change of capital counts from the candle it came in."""
        factor, before = 1.0, 0.0
        rows = [row for row in self.rows if since <= row.time <= until]
        if not rows:
            return None
        last = since if since >= 0 else -1
        for number, row in enumerate(rows):
            moved = float(self._moved(last, row.time))
            if number or since < 0:
                base = before + moved
                if base <= 0:
                    return None
                factor *= row.equity / base
            before, last = row.equity, row.time
        return factor - 1.0

    def _closed(self, span: Span) -> list[TradeRow]:
        """Return the trades closed in a span."""
        since, until = (span.start.time if span.start else -1), (span.end.time if span.end else -1)
        return [one for one in self.extract.trades if since <= self._open_time(one.exit_time) < until]

    def _open_time(self, time: int) -> int:
        """Return the open time of the candle that contains a moment."""
        return time // self.zone.timeframe_ms * self.zone.timeframe_ms

    def _positions(self) -> tuple[OpenPosition, ...]:
        """Return what was open at the end."""
        closes = {row.symbol: row for row in self.extract.closes}
        found = []
        for symbol, holding in sorted(self.holdings.items()):
            row = closes.get(symbol)
            found.append(OpenPosition(symbol, holding, row.close if row else None, row.stop if row else None))
        return tuple(found)

    def _slippage(self, span: Span) -> Slippage:
        """Add up how far the fills of a span were from the prices decided."""
        since, until = (span.start.time if span.start else -1), (span.end.time if span.end else -1)
        cost, notional, fills = NOTHING, NOTHING, 0
        for row in self.extract.ledger:
            fact = row.fact()
            if row.kind != FILL or row.decided_price is None or fact.price is None or fact.size is None:
                continue
            if not since <= self._open_time(row.time) < until:
                continue
            worse = fact.price - Decimal(repr(row.decided_price))
            cost += (worse if row.side == "buy" else -worse) * fact.size
            notional += fact.price * fact.size
            fills += 1
        return Slippage(cost, fills, notional)

    def _compare(self) -> Decimal:
        """Return the largest difference between our balance and the one the bot wrote with its samples."""
        differences = [
            abs(Decimal(repr(row.balance)) - self._balance(row.time)) for row in self.rows if row.balance is not None
        ]
        largest = max(differences, default=NOTHING)
        return largest if largest >= CENT else NOTHING


def _causes(inside: Sequence[Booked], trades: Sequence[TradeRow], open_change: Decimal) -> tuple[Cause, ...]:
    """Split a result into what brought it: each exit reason before costs, open positions, fees, funding."""
    gross: defaultdict[str, Decimal] = defaultdict(Decimal)
    counts: defaultdict[str, int] = defaultdict(int)
    for one in inside:
        if one.realised:
            gross[one.reason] += one.realised
    for trade in trades:
        # The ledger calls a trailing stop by its order's reason, the trade by what it was.
        counts[trade.exit_reason if trade.exit_reason in gross else "stop_loss"] += 1
    parts = [Cause(name, amount, counts[name]) for name, amount in gross.items()]
    costs = (open_change, -sum((one.fee for one in inside), NOTHING), sum((one.funding for one in inside), NOTHING))
    parts += [Cause(name, amount, 0) for name, amount in zip(NOT_TRADES, costs, strict=True)]
    return tuple(sorted((one for one in parts if one.amount), key=lambda one: -abs(one.amount)))


def is_whole(period: Period, span: Span) -> bool:
    """Tell whether a period was measured from its first close to the next period's, without a missing one."""
    return (
        span.start is not None
        and span.end is not None
        and (span.start.time, span.end.time) == (period.start_ms, period.end_ms)
    )

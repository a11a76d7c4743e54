"""The event walk: one combination of a sweep, from trade to trade, in the time its trades take, not its candles.

While no position is open nothing can happen but an entry, and how a position ends depends on its entry candle alone; so
next entries, exit signals, stops and takes are looked up in tables that all combinations share (`event_tables`). What a fill
does, how large an entry is and what a stop costs stays `ctp.core`'s: the walk calls the bar loop's kernels in the bar loop's
order, and only leaves out the candles that change nothing.

Invariants:
1. Every figure equals the bar loop's to the bit. Where the walk cannot know it (a liquidation in reach), it says so, and the
   caller takes the bar loop.
2. Candles inside a trade are looked at one by one only where a bound says that a peak or a lock may be among them. The
   bounds are exact: equity is monotone in the close, rounding included.
3. Nothing is allocated, and all memory is one row of doubles: the walk can stop at any candle and go on later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ctp.core.book import book_entry, book_exit, book_funding, funding_payment
from ctp.core.fills import entry_price, exit_fee, exit_price, protective_fill, taker_fee
from ctp.core.kernel import kernel
from ctp.core.risk import is_daily_loss, is_drawdown, open_profit, size_entry
from ctp.core.steps import price_of, size_of
from ctp.core.stops import trailing_stop_ticks
from ctp.core.types import (
    ALLOWED,
    ENTER,
    EXIT_SIGNAL,
    LIQUIDATION,
    LONG,
    NAN,
    NO_BOUND,
    NO_POSITION,
    SHORT,
    STILL_OPEN,
    STOP_LOSS,
    TRAILING_STOP,
    Account,
    Candle,
    Exposure,
    Market,
    Plan,
    Position,
)
from ctp.research.event_figures import (
    Curve,
    Days,
    Sums,
    add_exposed,
    add_open_costs,
    add_trade,
    fall_to,
    falls_deeper,
    see,
    turn_day,
)
from ctp.research.event_tables import (
    Calendar,
    FundingEvents,
    Prices,
    Ranges,
    Tables,
    highest,
    lowest,
    signed,
    touched_at,
    wide,
)

NOTHING_OPEN = Exposure(0, 0.0, 0.0, 0.0, NO_BOUND)
FLAT_AT_END, NEEDS_BAR_LOOP, OPEN_AT_END = 0, 1, 2


class Combination(NamedTuple):
    """One row of the grid: which of the shared tables are its own, and the numbers that the tables do not hold."""

    entry: int
    leave: int
    width: int
    take: int
    trail: int
    first_decision: int  # row
    is_first_month_full: int
    cooldown: int
    take_profit: float
    trailing_stop: float
    stop_width: float  # NaN: it changes with the candle and stands in the table of widths
    changing: int  # which of the changing widths


class Walk(NamedTuple):
    """Everything the walk remembers between two calls."""

    account: Account
    row: int  # the next at which an entry may be decided
    locked_until: int  # the daily lock: no entry before this row
    curve: Curve
    days: Days
    sums: Sums
    final_equity: float
    status: int


@kernel
def start_walk(calendar: Calendar, combination: Combination, equity: float) -> Walk:
    """Return the memory at the first decision."""
    row = combination.first_decision
    return Walk(
        Account(equity, equity, 0, equity, equity, 0, 0, 0, 1),
        row,
        0,
        Curve(equity, row, 0.0, row, row, 0, 0),
        Days(equity, row, equity, wide(calendar.rows[row].month_first), 0, 0.0, 0.0, 0.0, NAN, 0),
        Sums(0, 0, 0.0, 0.0, 0.0, 0, 0.0, 0, 0.0, 0.0, 0.0),
        equity,
        FLAT_AT_END,
    )


@kernel
def rise_to(
    market: Market, prices: Prices, curve: Curve, position: Position, balance: float, top: float, begin: int, end: int
) -> Curve:
    """Add rows in which equity rises to a new peak and never falls deeper than before: only where it does so is looked for."""
    end_row = curve.end_row
    if curve.is_waiting:
        end_row = begin
        while balance + open_profit(market, position, prices.close[end_row]) < curve.peak:
            end_row += 1
    peak_row = end - 1
    while balance + open_profit(market, position, prices.close[peak_row]) < top:
        peak_row -= 1
    return Curve(top, peak_row, curve.deepest, curve.top_row, end_row, 0, curve.is_locked)


@kernel
def see_stretch(
    market: Market,
    prices: Prices,
    ranges: Ranges,
    risk: Any,
    curve: Curve,
    position: Position,
    balance: float,
    begin: int,
    end: int,
) -> Curve:
    """Add the rows [begin, end) of an open position to the curve; the balance does not change between them.

    Every close of the stretch lies between stop and take, or one of them would have filled.
    """
    at_stop = balance + open_profit(market, position, price_of(market, position.first_stop_ticks))
    may_rise = True
    if position.take_ticks != 0:
        may_rise = balance + open_profit(market, position, price_of(market, position.take_ticks)) >= curve.peak
    may_deepen = falls_deeper(curve, curve.peak, at_stop) or is_drawdown(risk, curve.peak, at_stop)
    top, is_rising = curve.peak, False
    if may_rise:
        if position.side == LONG:
            best = highest(ranges.highest_close, begin, end - 1)
        else:
            best = lowest(ranges.lowest_close, begin, end - 1)
        top = balance + open_profit(market, position, best)
        is_rising = top >= curve.peak
        if is_rising:
            may_deepen = falls_deeper(curve, top, at_stop) or is_drawdown(risk, top, at_stop)
    equity = at_stop
    if may_deepen:
        if position.side == LONG:
            worst = lowest(ranges.lowest_close, begin, end - 1)
        else:
            worst = highest(ranges.highest_close, begin, end - 1)
        equity = balance + open_profit(market, position, worst)
    if is_rising:
        if not may_deepen or not (falls_deeper(curve, top, equity) or is_drawdown(risk, top, equity)):
            return rise_to(market, prices, curve, position, balance, top, begin, end)
        for row in range(begin, end):
            curve = see(risk, curve, row, balance + open_profit(market, position, prices.close[row]))
        return curve
    if not may_deepen:
        return curve
    curve = fall_to(curve, equity)
    if is_drawdown(risk, curve.peak, equity):
        return Curve(curve.peak, curve.peak_row, curve.deepest, curve.top_row, curve.end_row, curve.is_waiting, 1)
    return curve


@kernel
def locks_in(
    market: Market,
    prices: Prices,
    risk: Any,
    day_start: float,
    position: Position,
    balance: float,
    begin: int,
    end: int,
) -> bool:
    """Return whether equity is down to the day's loss limit at any of the rows [begin, end)."""
    at_stop = balance + open_profit(market, position, price_of(market, position.first_stop_ticks))
    if not is_daily_loss(risk, day_start, at_stop):
        return False
    for row in range(begin, end):
        if is_daily_loss(risk, day_start, balance + open_profit(market, position, prices.close[row])):
            return True
    return False


@kernel
def trailing_row(
    market: Market, prices: Prices, trails: Any, number: int, entry: int, side: int, width: float, end: int
) -> int:
    """Return the first row of [entry, end) at which a trailing stop fills a position entered at a row, else `end`.

    What is found, or that nothing was found so far, is kept in the table as `touched_at` does.
    """
    known = signed(trails[number, entry]) if len(trails) > 0 else 0
    if known > 0:
        return min(known, end)
    if end <= -known:
        return end
    best = prices.close[entry]
    found = end
    for row in range(entry + 1, end):
        level = price_of(market, trailing_stop_ticks(market, side, best, width))
        if (side == LONG and prices.low[row] <= level) or (side != LONG and prices.high[row] >= level):
            found = row
            break
        best = max(best, prices.close[row]) if side == LONG else min(best, prices.close[row])
    if len(trails) > 0:
        trails[number, entry] = found if found < end else -end
    return found


@kernel
def trailed(
    market: Market, ranges: Ranges, position: Position, begin: int, end: int, width: float
) -> Position:
    """Return the position with its stop moved by the closes of the rows [begin, end)."""
    if position.side == LONG:
        best = highest(ranges.highest_close, begin, end - 1)
        stop = max(position.stop_ticks, trailing_stop_ticks(market, position.side, best, width))
    else:
        best = lowest(ranges.lowest_close, begin, end - 1)
        stop = min(position.stop_ticks, trailing_stop_ticks(market, position.side, best, width))
    return Position(
        position.side,
        position.lots,
        position.entry_price,
        position.entry_time,
        stop,
        position.first_stop_ticks,
        position.take_ticks,
        best,
        position.leverage,
        position.margin,
        position.liquidation_price,
        position.entry_equity,
        position.opened_lots,
        position.gross,
        position.exit_cost,
        position.fee,
        position.funding,
        position.slippage,
    )


@kernel
def may_be_liquidated(market: Market, ranges: Ranges, position: Position, begin: int, end: int) -> bool:
    """Return whether the liquidation price may be reached in the rows [begin, end); False is certain.

    Without mark prices the stop comes first as long as it lies before the liquidation price. The row of the exit is left to
    `protective_fill`, which knows what comes first.
    """
    liquidation = position.liquidation_price
    stop = price_of(market, position.first_stop_ticks)
    has_marks = len(ranges.lowest_danger.values) > 0 and end > begin
    if position.side == LONG:
        return stop <= liquidation or (has_marks and lowest(ranges.lowest_danger, begin, end - 1) <= liquidation)
    return stop >= liquidation or (has_marks and highest(ranges.highest_danger, begin, end - 1) >= liquidation)


@kernel
def candle_of(market: Market, calendar: Calendar, prices: Prices, row: int) -> Candle:
    """Return the candle of a row; its volume does not matter to a fill."""
    candle = calendar.rows[row]
    if market.is_perpetual and len(prices.mark_open) > 0:
        return Candle(
            candle.time,
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            NAN,
            prices.mark_open[row],
            prices.mark_high[row],
            prices.mark_low[row],
        )
    return Candle(candle.time, candle.open, candle.high, candle.low, candle.close, NAN, NAN, NAN, NAN)


@kernel
def with_day_start(account: Account, day_start: float) -> Account:
    """Return a flat account as its next decision sees it."""
    return Account(account.balance, account.balance, 0, day_start, account.balance, account.losses, 0, 0, 1)


@kernel
def walk(
    market: Market,
    prices: Prices,
    calendar: Calendar,
    ranges: Ranges,
    funding: FundingEvents,
    tables: Tables,
    combination: Combination,
    risk: Any,
    memory: Walk,
    until: int,
) -> Walk:
    """Walk on until no entry can be decided before row `until`; a trade begun before it is finished."""
    rows = len(prices.close)
    first, is_full = combination.first_decision, combination.is_first_month_full
    account, curve, days, sums = memory.account, memory.curve, memory.days, memory.sums
    row, locked_until, final_equity, status = memory.row, memory.locked_until, memory.final_equity, memory.status
    while row < until:
        row = max(row, locked_until)
        if row >= until:
            break
        found = signed(tables.next_entry[combination.entry, row])
        side = LONG
        if market.is_perpetual and found < 0:
            found, side = ~found, SHORT
        row = wide(found)
        if row >= until:
            break
        if curve.is_locked:
            row = rows
            break
        # Flat up to this decision: the last exit's equity holds at every row since.
        if calendar.rows[row].day_first > days.start_row:
            days = turn_day(calendar, first, is_full, days, row, account.balance)
        if account.balance >= curve.peak:
            curve = see(risk, curve, row, account.balance)
        close = calendar.rows[row].close
        width = combination.stop_width
        if width != width:
            width = tables.width[combination.changing, row]
        account = with_day_start(account, days.start)
        sizing = size_entry(risk, market, account, NOTHING_OPEN, side, close, width)
        if sizing.refusal != ALLOWED:
            row += 1
            continue
        entry = row + 1
        if entry >= rows:
            row = rows  # planned at the last close, never filled
            break
        if calendar.rows[entry].is_after_gap:
            row = entry
            continue

        opened = calendar.rows[entry].open
        plan = Plan(ENTER, side, sizing.lots, sizing.leverage, close, width, sizing.loss_width, account.balance, 0)
        price = entry_price(market, side, opened)
        fee = taker_fee(market, size_of(market, sizing.lots), price)
        position, account = book_entry(
            market,
            NO_POSITION,
            account,
            plan,
            combination.take_profit,
            sizing.lots,
            price,
            opened,
            fee,
            calendar.rows[entry].time,
        )

        mirror = 0 if side == LONG else 1
        leave = wide(tables.leave[mirror, combination.leave, entry])
        stop = price_of(market, position.stop_ticks)
        exit_row = touched_at(
            prices, ranges, tables.stop[mirror], combination.width, side == LONG, stop, entry, leave
        )
        if position.take_ticks != 0:
            take = price_of(market, position.take_ticks)
            exit_row = touched_at(
                prices, ranges, tables.take[mirror], combination.take, side != LONG, take, entry, exit_row
            )
        if combination.trailing_stop > 0.0:
            trail = trailing_row(
                market,
                prices,
                tables.trail[mirror],
                combination.trail,
                entry,
                side,
                combination.trailing_stop,
                min(exit_row + 1, rows),
            )
            if trail <= exit_row and trail < rows:
                exit_row = trail
                position = trailed(market, ranges, position, entry, trail, combination.trailing_stop)
        last = min(exit_row, rows)
        is_signal = exit_row == leave
        if market.is_perpetual and may_be_liquidated(market, ranges, position, entry, last):
            status = NEEDS_BAR_LOOP
            break

        # Rows [entry, last): marked at each close, the balance changes with funding only.
        boundary = wide(calendar.rows[entry].day_first)
        if boundary < entry:
            boundary = wide(calendar.rows[entry].day_next)
        last_day = wide(calendar.rows[exit_row].day_first) if exit_row < rows else rows
        is_locked_today = False
        due = wide(calendar.rows[entry].funding_next)
        at = entry
        while True:
            paid_at = wide(funding.row[due]) if market.is_perpetual and due < len(funding.row) else rows
            stretch_end = min(paid_at, last)
            if stretch_end > at:
                while boundary < stretch_end:
                    equity = account.balance + open_profit(market, position, prices.close[boundary])
                    days = turn_day(calendar, first, is_full, days, boundary, equity)
                    boundary = wide(calendar.rows[boundary].day_next)
                curve = see_stretch(market, prices, ranges, risk, curve, position, account.balance, at, stretch_end)
                begin = max(at, last_day)
                if begin < stretch_end and not is_locked_today:
                    is_locked_today = locks_in(
                        market, prices, risk, days.start, position, account.balance, begin, stretch_end
                    )
            if paid_at >= rows or paid_at > exit_row:
                break
            at = paid_at
            payment = funding_payment(market, position, funding.mark[due], funding.rate[due])
            position, account = book_funding(position, account, payment)
            due += 1
        sums = add_exposed(sums, last - entry)
        if exit_row >= rows:
            sums = add_open_costs(sums, position)
            final_equity = account.balance + open_profit(market, position, prices.close[rows - 1])
            row = rows
            status = OPEN_AT_END
            break

        if is_signal:
            reason = EXIT_SIGNAL
            reference = calendar.rows[exit_row].open
            price = exit_price(market, side, reference)
        else:
            fill = protective_fill(market, position, candle_of(market, calendar, prices, exit_row), exit_row == entry)
            reason, reference, price = fill.reason, fill.reference, fill.price
            if reason in (LIQUIDATION, STILL_OPEN):
                status = NEEDS_BAR_LOOP
                break
        fee = exit_fee(market, size_of(market, position.lots), price, reason)
        _, account, trade = book_exit(
            market, position, account, position.lots, price, reference, fee, reason, calendar.rows[exit_row].time
        )
        sums = add_trade(sums, trade)
        if boundary == exit_row:
            days = turn_day(calendar, first, is_full, days, exit_row, account.balance)
        curve = see(risk, curve, exit_row, account.balance)
        if is_locked_today or is_daily_loss(risk, days.start, account.balance):
            locked_until = wide(calendar.rows[exit_row].day_next)
        row = exit_row
        if reason in (STOP_LOSS, TRAILING_STOP):
            row = exit_row + combination.cooldown
        final_equity = account.balance
    return Walk(account, row, locked_until, curve, days, sums, final_equity, status)

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
    see,
    turn_day,
)
from ctp.research.event_tables import (
    Calendar,
    FundingEvents,
    Prices,
    Ranges,
    Tables,
    highest_close,
    lowest_close,
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
    stop_width: float  # NaN: it changes with the candle and stands in the table


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
        Days(equity, row, equity, wide(calendar.month_first[row]), 0, 0.0, 0.0, 0.0, NAN, 0),
        Sums(0, 0, 0.0, 0.0, 0.0, 0, 0.0, 0, 0.0, 0.0, 0.0),
        equity,
        FLAT_AT_END,
    )


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
    may_deepen = (curve.peak - at_stop) / curve.peak > curve.deepest or is_drawdown(risk, curve.peak, at_stop)
    if not may_rise and not may_deepen:
        return curve
    if position.side == LONG:
        best = highest_close(prices, ranges, begin, end - 1)
        worst = lowest_close(prices, ranges, begin, end - 1)
    else:
        best = lowest_close(prices, ranges, begin, end - 1)
        worst = highest_close(prices, ranges, begin, end - 1)
    if balance + open_profit(market, position, best) >= curve.peak:
        for row in range(begin, end):
            curve = see(risk, curve, row, balance + open_profit(market, position, prices.close[row]))
        return curve
    equity = balance + open_profit(market, position, worst)
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
def trailing_row(market: Market, prices: Prices, trail: Any, entry: int, side: int, width: float) -> int:
    """Return the row at which a trailing stop fills a position entered at a row; looked up, or found and kept.

    Two threads may find the same one at the same time: they write the same number.
    """
    known = wide(trail[entry])
    if known >= 0:
        return known
    best = prices.close[entry]
    found = len(prices.close)
    for row in range(entry + 1, len(prices.close)):
        level = price_of(market, trailing_stop_ticks(market, side, best, width))
        if (side == LONG and prices.low[row] <= level) or (side != LONG and prices.high[row] >= level):
            found = row
            break
        best = max(best, prices.close[row]) if side == LONG else min(best, prices.close[row])
    trail[entry] = found
    return found


@kernel
def trailed(
    market: Market, prices: Prices, ranges: Ranges, position: Position, begin: int, end: int, width: float
) -> Position:
    """Return the position with its stop moved by the closes of the rows [begin, end)."""
    if position.side == LONG:
        best = highest_close(prices, ranges, begin, end - 1)
        stop = max(position.stop_ticks, trailing_stop_ticks(market, position.side, best, width))
    else:
        best = lowest_close(prices, ranges, begin, end - 1)
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
def may_be_liquidated(market: Market, prices: Prices, position: Position, begin: int, end: int) -> bool:
    """Return whether the liquidation price may be reached in the rows [begin, end); False is certain.

    Without mark prices the stop comes first as long as it lies before the liquidation price. The row of the exit is left to
    `protective_fill`, which knows what comes first.
    """
    liquidation = position.liquidation_price
    stop = price_of(market, position.first_stop_ticks)
    if position.side == LONG:
        if stop <= liquidation:
            return True
        reached = False
        for row in range(begin, min(end, len(prices.danger_low))):
            reached = reached or prices.danger_low[row] <= liquidation
        return reached
    if stop >= liquidation:
        return True
    reached = False
    for row in range(begin, min(end, len(prices.danger_high))):
        reached = reached or prices.danger_high[row] >= liquidation
    return reached


@kernel
def candle_of(prices: Prices, row: int) -> Candle:
    """Return the candle of a row; its volume does not matter to a fill."""
    if len(prices.mark_open) > 0:
        return Candle(
            prices.time[row],
            prices.open[row],
            prices.high[row],
            prices.low[row],
            prices.close[row],
            NAN,
            prices.mark_open[row],
            prices.mark_high[row],
            prices.mark_low[row],
        )
    return Candle(
        prices.time[row], prices.open[row], prices.high[row], prices.low[row], prices.close[row], NAN, NAN, NAN, NAN
    )


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
        row = wide(tables.next_entry[combination.entry, row])
        if row >= until:
            break
        if curve.is_locked:
            row = rows
            break
        # Flat up to this decision: the last exit's equity holds at every row since.
        if calendar.day_first[row] > days.start_row:
            days = turn_day(calendar, first, is_full, days, row, account.balance)
        if account.balance >= curve.peak:
            curve = see(risk, curve, row, account.balance)
        side = wide(tables.side[combination.entry, row])
        width = combination.stop_width
        if width != width:
            width = tables.width[combination.width, row]
        account = with_day_start(account, days.start)
        sizing = size_entry(risk, market, account, NOTHING_OPEN, side, prices.close[row], width)
        if sizing.refusal != ALLOWED:
            row += 1
            continue
        entry = row + 1
        if entry >= rows:
            row = rows  # planned at the last close, never filled
            break
        if calendar.is_after_gap[entry]:
            row = entry
            continue

        plan = Plan(
            ENTER, side, sizing.lots, sizing.leverage, prices.close[row], width, sizing.loss_width, account.balance, 0
        )
        price = entry_price(market, side, prices.open[entry])
        fee = taker_fee(market, size_of(market, sizing.lots), price)
        position, account = book_entry(
            market,
            NO_POSITION,
            account,
            plan,
            combination.take_profit,
            sizing.lots,
            price,
            prices.open[entry],
            fee,
            prices.time[entry],
        )

        mirror = 0 if side == LONG else 1
        leave = wide(tables.leave[mirror, combination.leave, entry])
        exit_row = min(leave, wide(tables.stop[mirror, combination.width, entry]))
        if combination.take_profit > 0.0:
            exit_row = min(exit_row, wide(tables.take[mirror, combination.take, entry]))
        if combination.trailing_stop > 0.0:
            trail = trailing_row(
                market, prices, tables.trail[mirror, combination.trail], entry, side, combination.trailing_stop
            )
            if trail <= exit_row and trail < rows:
                exit_row = trail
                position = trailed(market, prices, ranges, position, entry, trail, combination.trailing_stop)
        last = min(exit_row, rows)
        is_signal = exit_row == leave
        if market.is_perpetual and may_be_liquidated(market, prices, position, entry, last):
            status = NEEDS_BAR_LOOP
            break

        # Rows [entry, last): marked at each close, the balance changes with funding only.
        boundary = wide(calendar.day_first[entry])
        if boundary < entry:
            boundary = wide(calendar.day_next[entry])
        last_day = wide(calendar.day_first[exit_row]) if exit_row < rows else rows
        is_locked_today = False
        due = wide(funding.first[entry + 1])
        at = entry
        while True:
            paid_at = wide(funding.row[due]) if due < len(funding.row) else rows
            stretch_end = min(paid_at, last)
            if stretch_end > at:
                while boundary < stretch_end:
                    equity = account.balance + open_profit(market, position, prices.close[boundary])
                    days = turn_day(calendar, first, is_full, days, boundary, equity)
                    boundary = wide(calendar.day_next[boundary])
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
            reference = prices.open[exit_row]
            price = exit_price(market, side, reference)
        else:
            fill = protective_fill(market, position, candle_of(prices, exit_row), exit_row == entry)
            reason, reference, price = fill.reason, fill.reference, fill.price
            if reason in (LIQUIDATION, STILL_OPEN):
                status = NEEDS_BAR_LOOP
                break
        fee = exit_fee(market, size_of(market, position.lots), price, reason)
        _, account, trade = book_exit(
            market, position, account, position.lots, price, reference, fee, reason, prices.time[exit_row]
        )
        sums = add_trade(sums, trade)
        if boundary == exit_row:
            days = turn_day(calendar, first, is_full, days, exit_row, account.balance)
        curve = see(risk, curve, exit_row, account.balance)
        if is_locked_today or is_daily_loss(risk, days.start, account.balance):
            locked_until = wide(calendar.day_next[exit_row])
        row = exit_row
        if reason in (STOP_LOSS, TRAILING_STOP):
            row = exit_row + combination.cooldown
        final_equity = account.balance
    return Walk(account, row, locked_until, curve, days, sums, final_equity, status)

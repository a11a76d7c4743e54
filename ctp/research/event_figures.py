"""The figures of one combination while it is walked: equity curve, days and months, sums of trades.

Nothing that happens between two events can change a figure but by being counted, so it is counted, not visited.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ctp.core.kernel import kernel
from ctp.core.risk import is_drawdown
from ctp.core.types import NAN, Position, Trade
from ctp.research.event_tables import Calendar, Prices, least, wide
from ctp.research.ratios import MONTHLY_TARGET, cagr_of, profit_factor_of, quotient, sharpe_of, sortino_of

FIGURES = (
    "total_return",
    "cagr",
    "max_drawdown",
    "max_drawdown_days",
    "sharpe",
    "sortino",
    "calmar",
    "trades",
    "win_rate",
    "profit_factor",
    "expectancy_r",
    "exposure",
    "fees",
    "funding",
    "slippage",
    "largest_loss",
    "worst_day",
    "months_at_target",
    "full_months",
)
DAY_MS = 86_400_000
ALMOST_ONE = 1.0 - 1e-12  # outweighs three roundings


class Curve(NamedTuple):
    """The equity curve's shape so far."""

    peak: float
    peak_row: int  # the last at it
    deepest: float  # largest fall from a peak, as a fraction
    top_row: int  # the peak before it
    end_row: int  # the first row back at that peak
    is_waiting: int  # not back yet
    is_locked: int  # the drawdown lock


class Days(NamedTuple):
    """Daily and monthly returns so far; days on which nothing happened are not visited, they return 0."""

    start: float
    start_row: int
    month_start: float
    month_row: int
    visited: int
    total: float
    squares: float
    losing_squares: float
    worst: float
    months_at_target: int


class Sums(NamedTuple):
    """What the closed trades add up to, in order of closing; costs include the open one at the end."""

    trades: int
    wins: int
    gains: float
    losses: float  # <= 0
    multiples: float
    defined_multiples: int
    largest_loss: float
    exposed: int  # decisions with an open position
    fees: float
    funding: float
    slippage: float


@kernel
def turn_day(
    calendar: Calendar, first: int, is_first_month_full: int, days: Days, row: int, equity: float
) -> Days:
    """Begin the day of a row with the equity of its first decision; the days between were worth the same.

    first: row of the account's first decision, and whether its month is a full one.
    """
    value = equity / days.start - 1.0
    month_start, month_row, hits = days.month_start, days.month_row, days.months_at_target
    if wide(calendar.rows[row].month_first) > month_row:
        is_full = month_row != wide(calendar.rows[first].month_first) or is_first_month_full != 0
        if is_full and equity / month_start - 1.0 >= MONTHLY_TARGET:
            hits += 1
        month_start = equity
        month_row = wide(calendar.rows[row].month_first)
    return Days(
        equity,
        wide(calendar.rows[row].day_first),
        month_start,
        month_row,
        days.visited + 1,
        days.total + value,
        days.squares + value * value,
        days.losing_squares + value * value if value < 0.0 else days.losing_squares,
        least(days.worst, value),
        hits,
    )


@kernel
def see(risk: Any, curve: Curve, row: int, equity: float) -> Curve:
    """Add one decision's equity to the curve."""
    if equity >= curve.peak:
        end = row if curve.is_waiting else curve.end_row
        seen = Curve(equity, row, curve.deepest, curve.top_row, end, 0, curve.is_locked)
    else:
        seen = fall_to(curve, equity)
    if is_drawdown(risk, seen.peak, equity):
        return Curve(seen.peak, seen.peak_row, seen.deepest, seen.top_row, seen.end_row, seen.is_waiting, 1)
    return seen


@kernel
def falls_deeper(curve: Curve, peak: float, equity: float) -> bool:
    """Return whether an equity below a peak may be the deepest fall; False is certain, and cheaper than a division."""
    return peak - equity > curve.deepest * peak * ALMOST_ONE


@kernel
def fall_to(curve: Curve, equity: float) -> Curve:
    """Add an equity below the peak to the curve."""
    if not falls_deeper(curve, curve.peak, equity):
        return curve
    fall = (curve.peak - equity) / curve.peak
    if fall > curve.deepest:
        return Curve(curve.peak, curve.peak_row, fall, curve.peak_row, curve.end_row, 1, curve.is_locked)
    return curve


@kernel
def add_trade(sums: Sums, trade: Trade) -> Sums:
    """Add a closed trade."""
    is_win = trade.pnl > 0.0
    has_multiple = abs(trade.r_multiple) < float("inf")
    loss = -trade.pnl / trade.entry_equity if trade.pnl < 0.0 else 0.0
    return Sums(
        sums.trades + 1,
        sums.wins + (1 if is_win else 0),
        sums.gains + trade.pnl if is_win else sums.gains,
        sums.losses if is_win else sums.losses + trade.pnl,
        sums.multiples + trade.r_multiple if has_multiple else sums.multiples,
        sums.defined_multiples + (1 if has_multiple else 0),
        max(sums.largest_loss, loss),
        sums.exposed,
        sums.fees + trade.fee,
        sums.funding + trade.funding,
        sums.slippage + trade.slippage,
    )


@kernel
def add_exposed(sums: Sums, rows: int) -> Sums:
    """Add decisions with an open position."""
    return Sums(
        sums.trades,
        sums.wins,
        sums.gains,
        sums.losses,
        sums.multiples,
        sums.defined_multiples,
        sums.largest_loss,
        sums.exposed + rows,
        sums.fees,
        sums.funding,
        sums.slippage,
    )


@kernel
def add_open_costs(sums: Sums, position: Position) -> Sums:
    """Add what the position that is open at the end has cost."""
    return Sums(
        sums.trades,
        sums.wins,
        sums.gains,
        sums.losses,
        sums.multiples,
        sums.defined_multiples,
        sums.largest_loss,
        sums.exposed,
        sums.fees + position.fee,
        sums.funding + position.funding,
        sums.slippage + position.slippage,
    )


@kernel
def write_figures(
    prices: Prices,
    calendar: Calendar,
    first: int,
    is_first_month_full: int,
    curve: Curve,
    days: Days,
    sums: Sums,
    start: float,
    final: float,
    out: Any,
) -> None:
    """Write the figures of a finished walk into a row, in the order of FIGURES; undefined is NaN.

    first: row of the first decision. start, final: equity there and at the end.
    """
    last = len(prices.close) - 1
    if wide(calendar.rows[last].day_first) > days.start_row:
        days = turn_day(calendar, first, is_first_month_full, days, last, final)
    count = wide(calendar.day_index[last]) - wide(calendar.day_index[first])
    visited, total, squares, losing, worst = days.visited, days.total, days.squares, days.losing_squares, days.worst
    if max(wide(calendar.rows[last].day_first), first) < last:
        value = final / days.start - 1.0
        count += 1
        visited += 1
        total += value
        squares += value * value
        if value < 0.0:
            losing += value * value
        worst = least(worst, value)
    if visited < count:
        worst = least(worst, 0.0)
    months = wide(calendar.month_index[last]) - wide(calendar.month_index[first])
    if months > 0 and not is_first_month_full:
        months -= 1
    growth = cagr_of((prices.time[last] - prices.time[first]) / DAY_MS, start, final)
    end = last if curve.is_waiting else curve.end_row
    out[0] = final / start - 1.0
    out[1] = growth
    out[2] = curve.deepest
    out[3] = (prices.time[end] - prices.time[curve.top_row]) / DAY_MS if curve.deepest > 0.0 else 0.0
    out[4] = sharpe_of(count, total, squares)
    out[5] = sortino_of(count, total, losing)
    out[6] = quotient(growth, curve.deepest)
    out[7] = sums.trades
    out[8] = quotient(sums.wins, sums.trades)
    out[9] = profit_factor_of(sums.trades, sums.gains, -sums.losses)
    out[10] = quotient(sums.multiples, sums.defined_multiples)
    out[11] = sums.exposed / (last - first + 1)
    out[12] = sums.fees
    out[13] = sums.funding
    out[14] = sums.slippage
    out[15] = sums.largest_loss if sums.trades > 0 else NAN
    out[16] = worst
    out[17] = quotient(days.months_at_target, months)
    out[18] = months

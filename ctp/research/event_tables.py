"""What all combinations of a sweep share: next entries, exit signals, stops and takes, calendar, ranges of closes.

Rows are candles. A table says, for the row at which something begins, the row at which something ends; the number of rows
means never. Every price in them comes from `ctp.core`'s kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ctp.core.fills import entry_price
from ctp.core.kernel import kernel
from ctp.core.steps import price_of
from ctp.core.stops import stop_loss_ticks, take_profit_ticks
from ctp.core.strategies import observation_of, strategy_advance, strategy_judge, strategy_observe
from ctp.core.types import FLAT, LONG, NAN, SHORT, Candle, Market
from ctp.research.bar_loop import MINUTE_MS, Series

BLOCK = 32  # candles; a power of two
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SIDES = (LONG, SHORT)  # in the tables that have a side, 0 is long


class Prices(NamedTuple):
    """Candles of the one symbol. Mark columns have no rows when there are no mark prices."""

    time: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    mark_open: Any
    mark_high: Any
    mark_low: Any
    danger_low: Any  # the lower of mark open and mark low
    danger_high: Any


class Calendar(NamedTuple):
    """Days and months of one risk zone by the close times of the rows, and where gaps are."""

    day_first: Any  # first row of a row's day
    day_next: Any  # first row of the next day
    day_index: Any
    month_first: Any
    month_index: Any
    is_after_gap: Any


class Ranges(NamedTuple):
    """Largest and smallest closes from each row to the ends of its block, and of runs of 2^k blocks."""

    rising_max: Any  # from the block's begin to the row
    falling_max: Any  # from the row to the block's end
    rising_min: Any
    falling_min: Any
    runs_max: Any  # (k, block)
    runs_min: Any
    logarithm: Any


class FundingEvents(NamedTuple):
    """Funding payments by the row before whose open they fall due."""

    row: Any
    mark: Any
    rate: Any
    first: Any  # first event at or after a row; one entry more than rows


class Tables(NamedTuple):
    """The tables of one group of combinations. Tables with a side have it as their first axis."""

    next_entry: Any  # (entries, rows + 1)
    side: Any  # (entries, rows): which side is entered
    leave: Any  # (2, exits, rows): where an exit signal fills a position entered at that row
    width: Any  # (widths, rows): stop width decided at a row
    stop: Any  # (2, widths, rows)
    take: Any  # (2, takes, rows)
    trail: Any  # (2, trails, rows); -1: not looked for yet


@kernel
def wide(row: int) -> int:
    """Return a row number of a table, kept in 32 bits there, as every other whole number is: in 64."""
    return row + 0


@kernel
def least(value: float, other: float) -> float:
    """Return the smaller of two, the first of which may be missing."""
    return other if value != value or other < value else value


@kernel
def highest_close(prices: Prices, ranges: Ranges, first: int, last: int) -> float:
    """Return the highest close of the rows first to last, both included."""
    begin, end = first // BLOCK, last // BLOCK
    if begin == end:
        highest: float = prices.close[first]
        for row in range(first + 1, last + 1):
            highest = max(highest, prices.close[row])
        return highest
    highest = max(ranges.falling_max[first], ranges.rising_max[last])
    between = end - begin - 1
    if between > 0:
        power = int(ranges.logarithm[between])
        highest = max(highest, ranges.runs_max[power, begin + 1], ranges.runs_max[power, end - (1 << power)])
    return highest


@kernel
def lowest_close(prices: Prices, ranges: Ranges, first: int, last: int) -> float:
    """Return the lowest close of the rows first to last, both included."""
    begin, end = first // BLOCK, last // BLOCK
    if begin == end:
        lowest: float = prices.close[first]
        for row in range(first + 1, last + 1):
            lowest = min(lowest, prices.close[row])
        return lowest
    lowest = min(ranges.falling_min[first], ranges.rising_min[last])
    between = end - begin - 1
    if between > 0:
        power = int(ranges.logarithm[between])
        lowest = min(lowest, ranges.runs_min[power, begin + 1], ranges.runs_min[power, end - (1 << power)])
    return lowest


@kernel
def candle_seen(prices: Prices, row: int) -> Candle:
    """Return a candle as strategies see it."""
    return Candle(
        prices.time[row],
        prices.open[row],
        prices.high[row],
        prices.low[row],
        prices.close[row],
        prices.volume[row],
        NAN,
        NAN,
        NAN,
    )


@kernel
def observe_rows(strategy: Any, memory: Any, prices: Prices, out: Any) -> None:
    """Write what the indicators say after each candle, one row each."""
    for row in range(len(prices.close)):
        memory = strategy_advance(strategy, memory, candle_seen(prices, row))
        seen = strategy_observe(strategy, memory)
        for column in range(len(seen)):
            out[row, column] = seen[column]


@kernel
def enter_rows(strategy: Any, prices: Prices, is_after_gap: Any, observed: Any, side: Any, next_entry: Any) -> int:
    """Write the side to enter at each row and the next row at or after each that has one; returns the first ready row."""
    ready = len(prices.close)
    for row in range(len(prices.close)):
        signal = strategy_judge(strategy, observation_of(strategy, observed[row]), candle_seen(prices, row))
        side[row] = FLAT if is_after_gap[row] else signal.enter
        if signal.is_ready and row < ready:
            ready = row
    find_next(side, next_entry)
    return ready


@kernel
def leave_rows(strategy: Any, prices: Prices, observed: Any, long: Any, short: Any) -> None:
    """Write, for a position entered at each row, the row at whose open an exit signal closes it."""
    rows = len(prices.close)
    next_long, next_short = rows, rows
    for row in range(rows - 1, -1, -1):
        signal = strategy_judge(strategy, observation_of(strategy, observed[row]), candle_seen(prices, row))
        if signal.exit_long and row + 1 < rows:
            next_long = row + 1
        if signal.exit_short and row + 1 < rows:
            next_short = row + 1
        long[row] = next_long
        short[row] = next_short


@kernel
def width_rows(strategy: Any, prices: Prices, observed: Any, width: Any) -> None:
    """Write the stop width at each row."""
    for row in range(len(prices.close)):
        signal = strategy_judge(strategy, observation_of(strategy, observed[row]), candle_seen(prices, row))
        width[row] = signal.stop_width


@kernel
def find_next(side: Any, next_entry: Any) -> None:
    """Write the next row at or after each row at which a side is entered."""
    rows = len(side)
    found = rows
    next_entry[rows] = rows
    for row in range(rows - 1, -1, -1):
        if side[row] != FLAT:
            found = row
        next_entry[row] = found


@kernel
def stop_rows(market: Market, prices: Prices, side: int, width: Any, stack: Any, out: Any) -> None:
    """Write where the stop of a position entered at each row is touched.

    The stack holds the rows whose low is below every later one's so far, so the first row at or below a price is found by
    bisection. stack: scratch, one entry a row.
    """
    rows = len(prices.close)
    top = 0
    for row in range(rows - 1, -1, -1):
        top = _stack_row(prices.low if side == LONG else prices.high, side == LONG, row, stack, top)
        out[row] = rows
        if row == 0 or width[row - 1] != width[row - 1]:
            continue
        stop = price_of(market, stop_loss_ticks(market, side, entry_price(market, side, prices.open[row]), width[row - 1]))
        out[row] = _first_beyond(prices.low if side == LONG else prices.high, side == LONG, stop, stack, top, rows)


@kernel
def take_rows(market: Market, prices: Prices, side: int, take_profit: float, stack: Any, out: Any) -> None:
    """Write where the take-profit of a position entered at each row is touched."""
    rows = len(prices.close)
    top = 0
    for row in range(rows - 1, -1, -1):
        top = _stack_row(prices.high if side == LONG else prices.low, side != LONG, row, stack, top)
        ticks = take_profit_ticks(market, side, entry_price(market, side, prices.open[row]), take_profit)
        take = price_of(market, ticks)
        out[row] = rows
        if ticks != 0:
            out[row] = _first_beyond(prices.high if side == LONG else prices.low, side != LONG, take, stack, top, rows)


@kernel
def _stack_row(values: Any, is_low: bool, row: int, stack: Any, top: int) -> int:
    """Put a row on the stack, over those that it hides; returns the new height."""
    value = values[row]
    while top > 0 and (values[stack[top - 1]] >= value if is_low else values[stack[top - 1]] <= value):
        top -= 1
    stack[top] = row
    return top + 1


@kernel
def _first_beyond(values: Any, is_low: bool, price: float, stack: Any, top: int, rows: int) -> int:
    """Return the first row whose value is at the price or beyond it; the stack's best is at its bottom."""
    bottom = values[stack[0]]
    if (bottom > price) if is_low else (bottom < price):
        return rows
    low, high = 0, top - 1
    while low < high:
        middle = (low + high + 1) // 2
        value = values[stack[middle]]
        if (value <= price) if is_low else (value >= price):
            low = middle
        else:
            high = middle - 1
    return int(stack[low])


def prices_of(series: Series) -> Prices:
    """Return the columns of the one symbol."""
    return Prices(
        series.time,
        series.open,
        series.high,
        series.low,
        series.close,
        series.volume,
        series.mark_open,
        series.mark_high,
        series.mark_low,
        np.fmin(series.mark_low, series.mark_open),
        np.fmax(series.mark_high, series.mark_open),
    )


def calendar_of(time: np.ndarray, timeframe_ms: int, zone_offset: float) -> Calendar:
    """Return the calendar of a risk zone; a close at midnight belongs to the new day."""
    rows = len(time)
    local = time + timeframe_ms + int(zone_offset * HOUR_MS)
    day_first, day_next, day_index = _periods(local // DAY_MS)
    month = local.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    month_first, _, month_index = _periods(month)
    is_after_gap = np.zeros(rows, np.int8)
    is_after_gap[1:] = np.diff(time) != timeframe_ms
    return Calendar(day_first, day_next, day_index, month_first, month_index, is_after_gap)


def _periods(number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's first row of its period, first row of the next, and how many periods came before."""
    starts = np.flatnonzero(np.concatenate(([True], np.diff(number) != 0)))
    index = np.cumsum(np.concatenate(([0], np.diff(number) != 0)))
    ends = np.append(starts[1:], len(number))
    return starts[index].astype(np.int32), ends[index].astype(np.int32), index.astype(np.int32)


def begins_month(time: np.ndarray, timeframe_ms: int, zone_offset: float) -> np.ndarray:
    """Return 1 for each row whose close is the first of its month."""
    local = time + timeframe_ms + int(zone_offset * HOUR_MS)
    month = local.astype("datetime64[ms]").astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    return (local - month < timeframe_ms).astype(np.int64)


def ranges_of(close: np.ndarray) -> Ranges:
    """Return the range tables of closes."""
    rows = len(close)
    blocks = -(-rows // BLOCK)
    padded = np.concatenate((close, np.full(blocks * BLOCK - rows, close[-1]))).reshape(blocks, BLOCK)
    columns = []
    runs = []
    for choose in (np.maximum, np.minimum):
        columns.append(choose.accumulate(padded, axis=1).ravel())
        columns.append(choose.accumulate(padded[:, ::-1], axis=1)[:, ::-1].ravel())
        levels = [choose.reduce(padded, axis=1)]
        while 2 << (len(levels) - 1) <= blocks:
            step = 1 << (len(levels) - 1)
            longer = levels[-1].copy()
            longer[:-step] = choose(levels[-1][:-step], levels[-1][step:])
            levels.append(longer)
        runs.append(np.array(levels))
    logarithm = np.zeros(blocks + 1, np.uint8)
    logarithm[1:] = np.floor(np.log2(np.arange(1, blocks + 1)))
    return Ranges(
        columns[0],
        np.ascontiguousarray(columns[1]),
        columns[2],
        np.ascontiguousarray(columns[3]),
        runs[0],
        runs[1],
        logarithm,
    )


def funding_of(series: Series, is_charged: bool) -> FundingEvents:
    """Return the funding events that a position can meet, by the row before whose open they fall due (semantics §1, a)."""
    rows = len(series.time)
    times = series.funding_time // MINUTE_MS * MINUTE_MS if is_charged else series.funding_time[:0]
    row = np.searchsorted(series.time, times, side="left")
    kept = (row >= 1) & (row < rows)
    row = row[kept]
    mark = series.close[row - 1]
    if len(series.mark_open):
        marked = series.mark_open[row]
        mark = np.where(np.isnan(marked), mark, marked)
    first = np.searchsorted(row, np.arange(rows + 2), side="left")
    rate = series.funding_rate[: len(kept)][kept]
    return FundingEvents(row.astype(np.int32), np.ascontiguousarray(mark), rate, first.astype(np.int32))

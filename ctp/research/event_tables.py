"""What all combinations of a sweep share: next entries, exit signals, stops and takes, calendar, ranges of closes.

Rows are candles. A table says, for the row at which something begins, the row at which something ends; the number of rows
means never. In tables that have a side, 0 is long; a spot market has no other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ctp.core.kernel import kernel
from ctp.core.strategies import observation_of, strategy_advance, strategy_judge, strategy_observe
from ctp.core.types import FLAT, LONG, NAN, Candle
from ctp.research.bar_loop import MINUTE_MS, Series

BLOCK = 32  # candles; a power of two
ROW_BITS = 0x7FFF_FFFF
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


ROW = np.dtype(
    [
        ("open", "f8"), ("high", "f8"), ("low", "f8"), ("close", "f8"), ("time", "i8"),
        ("day_first", "i4"),  # first row of this row's day
        ("day_next", "i4"),  # first row of the next day
        ("month_first", "i4"),
        ("funding_next", "i4"),  # first funding event after this row's open
        ("is_after_gap", "i4"),
        ("spare", "i4"),
    ]
)  # fmt: skip
"""What the walk reads of a candle: 64 bytes, so that a trade touches a line of the cache for each of its ends, not six."""


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
    is_after_gap: Any


class Calendar(NamedTuple):
    """The rows of one risk zone, whose days and months begin at its midnight, by the close times of the candles."""

    rows: Any  # of ROW
    day_index: Any
    month_index: Any
    begins_month: Any


class Range(NamedTuple):
    """Largest (or smallest) values of a column from each row to the ends of its block, and of runs of 2^k blocks."""

    values: Any
    rising: Any  # from the block's begin to the row
    falling: Any  # from the row to the block's end
    runs: Any  # (k, block)
    logarithm: Any


class Ranges(NamedTuple):
    """Where prices have been at their most extreme. The dangers have no rows when there are no mark prices."""

    highest_close: Range
    lowest_close: Range
    highest_danger: Range  # the higher of mark open and mark high
    lowest_danger: Range
    block_low: Any
    block_high: Any


class FundingEvents(NamedTuple):
    """Funding payments by the row before whose open they fall due."""

    row: Any
    mark: Any
    rate: Any


class Tables(NamedTuple):
    """The tables of one group of combinations. Tables with a side have it as their first axis.

    stop, take, trail say where a position entered at a row is touched. They are filled in when first asked for: 0 is not
    looked for yet, −n is not touched before row n. Two threads may look for the same one: what they write is true either way.
    """

    next_entry: Any  # (entries, rows + 1): the next row that enters long; short is its complement (~row)
    leave: Any  # (sides, exits, rows): where an exit signal fills a position entered at that row
    width: Any  # (widths, rows): stop widths that change with the candle
    stop: Any  # (sides, widths, rows)
    take: Any  # (sides, takes, rows)
    trail: Any  # (sides, trails, rows)


@kernel
def wide(row: int) -> int:
    """Return a row number of a table, kept in 32 bits there, as every other whole number is: in 64.

    The mask changes nothing: it tells the compiler that there is no negative index to be counted from the end.
    """
    return row & ROW_BITS


@kernel
def signed(number: int) -> int:
    """Return a number of a table, which may be negative, in 64 bits."""
    return number + 0


@kernel
def least(value: float, other: float) -> float:
    """Return the smaller of two, the first of which may be missing."""
    return other if value != value or other < value else value


@kernel
def highest(column: Range, first: int, last: int) -> float:
    """Return the highest value of the rows first to last, both included."""
    begin, end = first // BLOCK, last // BLOCK
    if begin == end:
        most: float = column.values[first]
        for row in range(first + 1, last + 1):
            most = max(most, column.values[row])
        return most
    most = max(column.falling[first], column.rising[last])
    between = end - begin - 1
    if between > 0:
        power = int(column.logarithm[between])
        most = max(most, column.runs[power, begin + 1], column.runs[power, end - (1 << power)])
    return most


@kernel
def lowest(column: Range, first: int, last: int) -> float:
    """Return the lowest value of the rows first to last, both included."""
    begin, end = first // BLOCK, last // BLOCK
    if begin == end:
        most: float = column.values[first]
        for row in range(first + 1, last + 1):
            most = min(most, column.values[row])
        return most
    most = min(column.falling[first], column.rising[last])
    between = end - begin - 1
    if between > 0:
        power = int(column.logarithm[between])
        most = min(most, column.runs[power, begin + 1], column.runs[power, end - (1 << power)])
    return most


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
def enter_rows(strategy: Any, prices: Prices, observed: Any, next_entry: Any) -> int:
    """Write the next row at or after each at which a side is entered; returns the first ready row."""
    rows = len(prices.close)
    ready, found = rows, rows
    next_entry[rows] = rows
    for row in range(rows - 1, -1, -1):
        signal = strategy_judge(strategy, observation_of(strategy, observed[row]), candle_seen(prices, row))
        if signal.enter != FLAT and not prices.is_after_gap[row]:
            found = row if signal.enter == LONG else ~row
        if signal.is_ready:
            ready = row
        next_entry[row] = found
    return ready


@kernel
def leave_rows(strategy: Any, prices: Prices, observed: Any, leave: Any) -> None:
    """Write, for a position of each side entered at each row, the row at whose open an exit signal closes it."""
    rows = len(prices.close)
    next_long, next_short = rows, rows
    has_short = len(leave) > 1
    for row in range(rows - 1, -1, -1):
        signal = strategy_judge(strategy, observation_of(strategy, observed[row]), candle_seen(prices, row))
        if row + 1 < rows:
            if signal.exit_long:
                next_long = row + 1
            if signal.exit_short:
                next_short = row + 1
        leave[0, row] = next_long
        if has_short:
            leave[1, row] = next_short


@kernel
def width_rows(strategy: Any, prices: Prices, observed: Any, width: Any) -> None:
    """Write the stop width at each row."""
    for row in range(len(prices.close)):
        signal = strategy_judge(strategy, observation_of(strategy, observed[row]), candle_seen(prices, row))
        width[row] = signal.stop_width


@kernel
def first_at_or_below(values: Any, blocks: Any, price: float, begin: int, end: int) -> int:
    """Return the first of the rows [begin, end) whose value is at the price or below, else `end`; whole blocks are skipped."""
    row = begin
    while row < end:
        if row % BLOCK == 0:
            block = row // BLOCK
            while block < len(blocks) and blocks[block] > price:
                block += 1
            row = block * BLOCK
            if row >= end:
                break
        if values[row] <= price:
            return row
        row += 1
    return end


@kernel
def first_at_or_above(values: Any, blocks: Any, price: float, begin: int, end: int) -> int:
    """Return the first of the rows [begin, end) whose value is at the price or above, else `end`; whole blocks are skipped."""
    row = begin
    while row < end:
        if row % BLOCK == 0:
            block = row // BLOCK
            while block < len(blocks) and blocks[block] < price:
                block += 1
            row = block * BLOCK
            if row >= end:
                break
        if values[row] >= price:
            return row
        row += 1
    return end


@kernel
def touched_at(
    prices: Prices, ranges: Ranges, tables: Any, number: int, is_below: bool, price: float, entry: int, end: int
) -> int:
    """Return the first row of [entry, end) at which a price is touched from above (is_below) or below, else `end`.

    What is found, or that nothing was found so far, is kept in the table of that number; there may be no tables.
    """
    known = signed(tables[number, entry]) if len(tables) > 0 else 0
    if known > 0:
        return min(known, end)
    if end <= -known:
        return end
    begin = max(entry, -known)
    if is_below:
        found = first_at_or_below(prices.low, ranges.block_low, price, begin, end)
    else:
        found = first_at_or_above(prices.high, ranges.block_high, price, begin, end)
    if len(tables) > 0:
        tables[number, entry] = found if found < end else -end
    return found


def prices_of(series: Series, timeframe_ms: int) -> Prices:
    """Return the columns of the one symbol."""
    is_after_gap = np.zeros(len(series.time), np.int8)
    is_after_gap[1:] = np.diff(series.time) != timeframe_ms
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
        is_after_gap,
    )


def calendar_of(prices: Prices, funding: FundingEvents, timeframe_ms: int, zone_offset: float) -> Calendar:
    """Return the rows of a risk zone; a close at midnight belongs to the new day."""
    local = prices.time + timeframe_ms + int(zone_offset * HOUR_MS)
    rows = np.zeros(len(local), ROW)
    for name in ("open", "high", "low", "close", "time", "is_after_gap"):
        rows[name] = getattr(prices, name)
    day = local // DAY_MS
    day_starts, day_index = _periods(day)
    rows["day_first"] = day_starts[day_index]
    rows["day_next"] = np.append(day_starts[1:], len(local))[day_index]
    month = day[day_starts].astype("datetime64[D]").astype("datetime64[M]")  # of each day: there are few
    month_starts, month_of_day = _periods(month.astype(np.int64))
    month_index = month_of_day[day_index]
    rows["month_first"] = day_starts[month_starts][month_index]
    if len(funding.row):
        rows["funding_next"] = np.searchsorted(funding.row, np.arange(1, len(local) + 1), side="left")
    begins = local - month.astype("datetime64[ms]").astype(np.int64)[day_index] < timeframe_ms
    return Calendar(rows, day_index, month_index, begins.astype(np.int8))


def _periods(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first place of each period, and for each place how many periods came before."""
    is_new = np.concatenate(([True], np.diff(number) != 0))
    return np.flatnonzero(is_new), (np.cumsum(is_new) - 1).astype(np.int32)


def ranges_of(prices: Prices) -> Ranges:
    """Return the range tables."""
    low, high = prices.mark_low, prices.mark_high
    danger_low, danger_high = np.fmin(low, prices.mark_open), np.fmax(high, prices.mark_open)
    return Ranges(
        _range_of(np.maximum, prices.close),
        _range_of(np.minimum, prices.close),
        _range_of(np.maximum, np.where(np.isnan(danger_high), -np.inf, danger_high)),
        _range_of(np.minimum, np.where(np.isnan(danger_low), np.inf, danger_low)),
        _blocks(prices.low, np.inf).min(axis=1),
        _blocks(prices.high, -np.inf).max(axis=1),
    )


def _blocks(values: np.ndarray, fill: float) -> np.ndarray:
    """Return a column block by block, the last one filled up."""
    count = -(-len(values) // BLOCK)
    padded = np.full(count * BLOCK, fill)
    padded[: len(values)] = values
    return padded.reshape(count, BLOCK)


def _range_of(choose: np.ufunc, values: np.ndarray) -> Range:
    """Return the range table of a column; choose: np.maximum or np.minimum."""
    padded = _blocks(values, -np.inf if choose is np.maximum else np.inf)
    levels = [choose.reduce(padded, axis=1)]
    while 2 << (len(levels) - 1) <= len(padded):
        step = 1 << (len(levels) - 1)
        longer = levels[-1].copy()
        longer[:-step] = choose(levels[-1][:-step], levels[-1][step:])
        levels.append(longer)
    logarithm = np.zeros(len(padded) + 1, np.uint8)
    logarithm[1:] = np.floor(np.log2(np.arange(1, len(padded) + 1)))
    rising = choose.accumulate(padded, axis=1).ravel()
    falling = np.ascontiguousarray(choose.accumulate(padded[:, ::-1], axis=1)[:, ::-1]).ravel()
    return Range(values, rising, falling, np.array(levels), logarithm)


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
    rate = series.funding_rate[: len(kept)][kept]
    return FundingEvents(row.astype(np.int32), np.ascontiguousarray(mark), rate)

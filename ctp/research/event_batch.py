"""Many combinations of a sweep in one call of compiled code.

A combination is a row of whole numbers that say which of the shared tables are its own; a walk that waits for the next stretch
of candles is a row of doubles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ctp.core.kernel import kernel
from ctp.core.risk import DynamicRiskManager
from ctp.core.types import Account, Market
from ctp.research.event_figures import Curve, Days, Sums, write_figures
from ctp.research.event_tables import Calendar, FundingEvents, Prices, Ranges, Tables, wide
from ctp.research.event_walk import NEEDS_BAR_LOOP, Combination, Walk, start_walk, walk

SEGMENT = 8_192  # candles all combinations are walked through before the next, so that their tables stay in the cache
MEMORY = 34  # doubles a walk remembers
WORDS = ("entry", "leave", "width", "take", "trail", "risk", "cooldown", "first_decision")
RiskNumbers = type(DynamicRiskManager().for_market(False).values())


class Numbers(NamedTuple):
    """The numbers that combinations point to."""

    takes: Any
    trails: Any
    widths: Any  # NaN: it changes with the candle
    changing: Any  # where a width that changes stands among the tables
    cooldowns: Any
    risks: Any  # one row of risk parameters each


@kernel
def risk_of(row: Any) -> Any:
    """Return the risk parameters that were laid down in a row of doubles."""
    return RiskNumbers(
        row[0],
        row[1],
        row[2],
        int(row[3]),
        row[4],
        row[5],
        int(row[6]),
        row[7],
        row[8],
        row[9],
        int(row[10]),
        row[11],
    )


@kernel
def keep(memory: Walk, row: Any) -> None:
    """Lay a walk's memory down in a row of doubles."""
    account, curve, days, sums = memory.account, memory.curve, memory.days, memory.sums
    row[0], row[1], row[2] = account.balance, account.losses, memory.row
    row[3], row[4], row[5] = memory.locked_until, memory.final_equity, memory.status
    row[6], row[7], row[8], row[9] = curve.peak, curve.peak_row, curve.deepest, curve.top_row
    row[10], row[11], row[12] = curve.end_row, curve.is_waiting, curve.is_locked
    row[13], row[14], row[15], row[16] = days.start, days.start_row, days.month_start, days.month_row
    row[17], row[18], row[19] = days.visited, days.total, days.squares
    row[20], row[21], row[22] = days.losing_squares, days.worst, days.months_at_target
    row[23], row[24], row[25], row[26] = sums.trades, sums.wins, sums.gains, sums.losses
    row[27], row[28], row[29] = sums.multiples, sums.defined_multiples, sums.largest_loss
    row[30], row[31], row[32], row[33] = sums.exposed, sums.fees, sums.funding, sums.slippage


@kernel
def recall(row: Any) -> Walk:
    """Return the memory that was laid down; whole numbers below 2^53 keep their value as doubles."""
    return Walk(
        Account(row[0], row[0], 0, row[13], row[0], int(row[1]), 0, 0, 1),
        int(row[2]),
        int(row[3]),
        Curve(row[6], int(row[7]), row[8], int(row[9]), int(row[10]), int(row[11]), int(row[12])),
        Days(
            row[13],
            int(row[14]),
            row[15],
            int(row[16]),
            int(row[17]),
            row[18],
            row[19],
            row[20],
            row[21],
            int(row[22]),
        ),
        Sums(
            int(row[23]),
            int(row[24]),
            row[25],
            row[26],
            row[27],
            int(row[28]),
            row[29],
            int(row[30]),
            row[31],
            row[32],
            row[33],
        ),
        row[4],
        int(row[5]),
    )


@kernel
def combination_of(calendar: Calendar, numbers: Numbers, words: Any, is_plain: bool) -> Combination:
    """Return a combination of its row of whole numbers."""
    width, first = wide(words[2]), wide(words[7])
    return Combination(
        wide(words[0]),
        wide(words[1]),
        width,
        wide(words[3]),
        wide(words[4]),
        first,
        wide(calendar.begins_month[first]),
        wide(numbers.cooldowns[words[6]]),
        numbers.takes[words[3]],
        0.0 if is_plain else numbers.trails[words[4]],
        numbers.widths[width],
        wide(numbers.changing[width]),
    )


@kernel
def plain_market(market: Market) -> Market:
    """Return a spot market whose steps are 1 ÷ a whole number, so that the compiler knows it for one."""
    return Market(
        1,
        market.tick_divisor,
        1,
        market.lot_divisor,
        market.min_notional,
        0,
        market.fee_rate,
        market.slippage,
        market.liquidation_fee,
        market.bracket_floor,
        market.bracket_rate,
        market.bracket_amount,
        market.bracket_leverage,
        market.maker_fee_rate,
    )


@kernel
def walk_plain(
    market: Market,
    prices: Prices,
    calendar: Calendar,
    ranges: Ranges,
    funding: FundingEvents,
    tables: Tables,
    numbers: Numbers,
    words: Any,
    order: Any,
    equity: float,
    memories: Any,
    figures: Any,
    statuses: Any,
) -> None:
    """Do as `walk_many` on a plain market without trailing stops: the same source, with what cannot happen left out."""
    _walk_all(
        plain_market(market), prices, calendar, ranges, funding, tables, numbers, words, order, equity, memories, figures,
        statuses, True,
    )  # fmt: skip


@kernel
def walk_many(
    market: Market,
    prices: Prices,
    calendar: Calendar,
    ranges: Ranges,
    funding: FundingEvents,
    tables: Tables,
    numbers: Numbers,
    words: Any,
    order: Any,
    equity: float,
    memories: Any,
    figures: Any,
    statuses: Any,
) -> None:
    """Walk combinations; write the figures of each into the row that `order` gives it, and how it ended.

    words, order, memories (scratch), statuses: one row a combination.
    """
    _walk_all(
        market, prices, calendar, ranges, funding, tables, numbers, words, order, equity, memories, figures, statuses, False
    )


@kernel
def _walk_all(
    market: Market,
    prices: Prices,
    calendar: Calendar,
    ranges: Ranges,
    funding: FundingEvents,
    tables: Tables,
    numbers: Numbers,
    words: Any,
    order: Any,
    equity: float,
    memories: Any,
    figures: Any,
    statuses: Any,
    is_plain: bool,
) -> None:
    """Walk combinations, segment by segment."""
    rows = len(prices.close)
    begin = 0
    while begin < rows:
        until = rows if rows <= 2 * SEGMENT else min(rows, begin + SEGMENT)
        for index in range(len(order)):
            combination = combination_of(calendar, numbers, words[index], is_plain)
            if combination.first_decision >= until:
                continue
            risk = risk_of(numbers.risks[words[index, 5]])
            is_new = combination.first_decision >= begin
            memory = start_walk(calendar, combination, equity) if is_new else recall(memories[index])
            if memory.row < until and memory.status != NEEDS_BAR_LOOP:
                memory = walk(market, prices, calendar, ranges, funding, tables, combination, risk, memory, until)
            if until < rows:
                keep(memory, memories[index])
                continue
            statuses[index] = memory.status
            if memory.status != NEEDS_BAR_LOOP:
                write_figures(
                    prices, calendar, combination.first_decision, combination.is_first_month_full,
                    memory.curve, memory.days, memory.sums, equity, memory.final_equity, figures[order[index]],
                )  # fmt: skip
        begin = until

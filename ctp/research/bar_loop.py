"""The bar loop: an account of one or many symbols over recorded candles, candle by candle.

Steps a to c of each candle come from `ctp.core.fills`, step d is `ctp.core.trader.close_candles`, the very function the bot
calls. The loop is itself a kernel: the tests run it as plain Python and compare it with its compiled twin to the bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ctp.core.book import book_entry, book_exit, book_funding, funding_payment
from ctp.core.fills import (
    entry_price,
    exit_fee,
    exit_price,
    is_limit_filled,
    maker_fee,
    protective_fill,
    rest_of_candle,
    taker_fee,
)
from ctp.core.kernel import kernel
from ctp.core.steps import price_of, size_of
from ctp.core.trader import close_candles, cooldown_after, put, with_position
from ctp.core.types import (
    ALLOWED,
    ENTER,
    EXIT,
    FLAT,
    NAN,
    NO_PLAN,
    NO_TRADE,
    REFUSALS,
    STILL_OPEN,
    Account,
    Candle,
    Market,
    Trade,
    TraderState,
)
from ctp.research.detail import CLEAR, MISSING, RESOLVED, Detail, look_inside, look_inside_entry

MINUTE_MS = 60_000
TRADE_COLUMNS = len(Trade._fields) + 1  # the symbol's index comes first


class Series(NamedTuple):
    """Candles and funding of all symbols, one after another; symbol s owns rows offset[s] to offset[s + 1].

    Mark columns have no rows when no symbol has mark prices.
    """

    offset: Any
    time: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    mark_open: Any
    mark_high: Any
    mark_low: Any
    funding_offset: Any
    funding_time: Any
    funding_rate: Any
    detail: Detail


def named_columns(series: Series) -> dict[str, Any]:
    """Return every column by name, those of finer candles too: what a run was made of."""
    columns = series._asdict() | {f"detail_{name}": column for name, column in series.detail._asdict().items()}
    del columns["detail"]
    return columns


class Record(NamedTuple):
    """What a run leaves behind. Rows of the decision columns and of `trade_rows` count up to the totals returned."""

    time: Any  # close time of each decision
    equity: Any
    is_exposed: Any
    trade_rows: Any  # (trades, TRADE_COLUMNS) float64
    refusals: Any  # how often each refusal came
    totals: Any  # by the places below


# Decisions; trades; planned entries dropped because their fill candle came after a gap; trades that ended in a candle which
# touched stop and take-profit, those that finer candles resolved, and those that lacked them; limit entries not filled.
DECISIONS, TRADES, DROPPED, TOUCHED_BOTH, RESOLVED_INSIDE, WITHOUT_DETAIL, UNFILLED = range(7)


def new_record(times: int, candles: int) -> Record:
    """Return room for a run over that many close times and candles; untouched memory costs nothing."""
    return Record(
        np.empty(times, np.int64),
        np.empty(times),
        np.zeros(times, np.int8),
        np.empty((candles, TRADE_COLUMNS)),
        np.zeros(len(REFUSALS), np.int64),
        np.zeros(7, np.int64),
    )


class Cursors(NamedTuple):
    """Where each symbol stands: next candle row, next funding row, whether it has a candle now, and its gate."""

    candle: Any
    funding: Any
    present: Any
    gates: Any


def new_cursors(series: Series) -> Cursors:
    """Return the cursors at the start of the series."""
    symbols = len(series.offset) - 1
    return Cursors(
        series.offset[:-1].copy(),
        series.funding_offset[:-1].copy(),
        np.zeros(symbols, np.int64),
        np.zeros(symbols, np.int64),
    )


@kernel
def candle_at(series: Series, row: int) -> Candle:
    """Return one candle of the series."""
    if len(series.mark_open) > 0:
        return Candle(
            series.time[row],
            series.open[row],
            series.high[row],
            series.low[row],
            series.close[row],
            series.volume[row],
            series.mark_open[row],
            series.mark_high[row],
            series.mark_low[row],
        )
    return Candle(
        series.time[row],
        series.open[row],
        series.high[row],
        series.low[row],
        series.close[row],
        series.volume[row],
        NAN,
        NAN,
        NAN,
    )


@kernel
def pay_funding(
    market: Market, state: TraderState, account: Account, candle: Candle, time: int, rate: float
) -> tuple[TraderState, Account]:
    """Do step a for one funding time: the position held before the open pays or receives."""
    funding_time = time // MINUTE_MS * MINUTE_MS
    if state.position.side == FLAT or state.time == 0 or funding_time <= state.time:
        return state, account
    mark = candle.mark_open if candle.mark_open == candle.mark_open else state.close
    position, account = book_funding(state.position, account, funding_payment(market, state.position, mark, rate))
    return with_position(state, position, state.plan, state.cooldown), account


@kernel
def trade_candle(
    strategy: Any,
    market: Market,
    state: TraderState,
    account: Account,
    candle: Candle,
    timeframe_ms: int,
    detail: Detail,
    symbol: int,
) -> tuple[TraderState, Account, Trade, int, int, int]:
    """Do steps b and c: the planned order fills at the open, then protective orders inside the candle.

    Returns also the trade that closed (side FLAT: none), 1 when a planned entry was dropped because of a gap, 1 when a limit
    entry did not fill, and what became of the question what came first.
    """
    position = state.position
    plan = state.plan
    cooldown = state.cooldown
    trade = NO_TRADE
    dropped = 0
    unfilled = 0
    is_entry_candle = False
    verdict = CLEAR
    seen = candle  # what a position can meet of it
    limit = NAN
    if plan.action == ENTER:
        if state.time != 0 and candle.time != state.time + timeframe_ms:
            dropped = 1
        elif plan.limit_ticks != 0:
            limit = price_of(market, plan.limit_ticks)
            if is_limit_filled(plan.side, limit, candle):
                fee = maker_fee(market, size_of(market, plan.lots), limit)
                position, account = book_entry(
                    market, position, account, plan, strategy.take_profit, plan.lots, limit, limit, fee, candle.time
                )
                is_entry_candle = True
                seen = rest_of_candle(plan.side, limit, candle)
            else:
                unfilled = 1
        else:
            price = entry_price(market, plan.side, candle.open)
            fee = taker_fee(market, size_of(market, plan.lots), price)
            position, account = book_entry(
                market, position, account, plan, strategy.take_profit, plan.lots, price, candle.open, fee, candle.time
            )
            is_entry_candle = True
    elif plan.action == EXIT:
        price = exit_price(market, position.side, candle.open)
        fee = taker_fee(market, size_of(market, position.lots), price)
        position, account, trade = book_exit(
            market, position, account, position.lots, price, candle.open, fee, plan.reason, candle.time
        )
    if position.side != FLAT:
        fill = protective_fill(market, position, seen, is_entry_candle)
        if limit == limit:
            fill, verdict = look_inside_entry(market, position, candle, fill, detail, symbol, timeframe_ms, limit)
        elif fill.reason != STILL_OPEN:
            fill, verdict = look_inside(market, position, candle, fill, detail, symbol, timeframe_ms)
        if fill.reason != STILL_OPEN:
            fee = exit_fee(market, size_of(market, position.lots), fill.price, fill.reason)
            position, account, trade = book_exit(
                market, position, account, position.lots, fill.price, fill.reference, fee, fill.reason, candle.time
            )
            cooldown = cooldown_after(strategy, fill.reason, cooldown)
    return with_position(state, position, NO_PLAN, cooldown), account, trade, dropped, unfilled, verdict


@kernel
def write_trade(rows: Any, row: int, symbol: int, trade: Trade) -> None:
    """Write a closed trade into a row; whole numbers below 2^53 keep their value as doubles."""
    rows[row, 0] = symbol
    rows[row, 1] = trade.side
    rows[row, 2] = trade.entry_time
    rows[row, 3] = trade.entry_price
    rows[row, 4] = trade.exit_time
    rows[row, 5] = trade.exit_price
    rows[row, 6] = trade.lots
    rows[row, 7] = trade.leverage
    rows[row, 8] = trade.margin
    rows[row, 9] = trade.first_stop_ticks
    rows[row, 10] = trade.take_ticks
    rows[row, 11] = trade.fee
    rows[row, 12] = trade.funding
    rows[row, 13] = trade.pnl
    rows[row, 14] = trade.r_multiple
    rows[row, 15] = trade.reason
    rows[row, 16] = trade.slippage
    rows[row, 17] = trade.entry_equity


@kernel
def run_account(
    strategy: Any,
    risk: Any,
    markets: Any,
    states: Any,
    account: Account,
    candles: Any,
    intents: Any,
    series: Series,
    times: Any,
    timeframe_ms: int,
    cursors: Cursors,
    record: Record,
) -> tuple[Any, Account]:
    """Run an account over all candles; symbols in alphabetical order.

    markets, states, candles, intents: one entry per symbol. times: every open time at which any symbol has a candle,
    ascending. cursors and record are written in place. Allocates nothing, so it compiles without reference counts.
    """
    symbols = len(states)
    decisions = 0
    trades = 0
    for step in range(len(times)):
        time = times[step]
        for symbol in range(symbols):
            row = cursors.candle[symbol]
            cursors.present[symbol] = 0
            if row >= series.offset[symbol + 1] or series.time[row] != time:
                continue
            cursors.present[symbol] = 1
            cursors.candle[symbol] = row + 1
            candle = candle_at(series, row)
            state = states[symbol]
            due = cursors.funding[symbol]
            while due < series.funding_offset[symbol + 1] and series.funding_time[due] // MINUTE_MS * MINUTE_MS <= time:
                state, account = pay_funding(
                    markets[symbol], state, account, candle, series.funding_time[due], series.funding_rate[due]
                )
                due += 1
            cursors.funding[symbol] = due
            state, account, trade, is_dropped, is_unfilled, verdict = trade_candle(
                strategy, markets[symbol], state, account, candle, timeframe_ms, series.detail, symbol
            )
            record.totals[DROPPED] += is_dropped
            record.totals[UNFILLED] += is_unfilled
            if verdict != CLEAR:
                record.totals[TOUCHED_BOTH] += 1
                record.totals[RESOLVED_INSIDE] += verdict == RESOLVED
                record.totals[WITHOUT_DETAIL] += verdict == MISSING
            if trade.side != FLAT:
                write_trade(record.trade_rows, trades, symbol, trade)
                trades += 1
            candles = put(candles, symbol, candle)
            states = put(states, symbol, state)
        close_time = time + timeframe_ms
        states, account, intents = close_candles(
            strategy,
            risk,
            markets,
            states,
            account,
            candles,
            cursors.present,
            cursors.gates,
            intents,
            timeframe_ms,
            close_time,
        )
        is_exposed = 0
        for symbol in range(symbols):
            if intents[symbol].refusal != ALLOWED:
                record.refusals[intents[symbol].refusal] += 1
            if states[symbol].position.side != FLAT:
                is_exposed = 1
        if account.is_started:
            record.time[decisions] = close_time
            record.equity[decisions] = account.equity
            record.is_exposed[decisions] = is_exposed
            decisions += 1
    record.totals[DECISIONS] = decisions
    record.totals[TRADES] = trades
    return states, account

"""Finished orders as a vectorbt Portfolio: the only place that knows vectorbt.

vectorbt computes no signal and simulates nothing here (its RSI is only compared): it receives the order records, so no cash
limit of its own (it knows no leverage) can refuse one. A funding payment is an order of next to no size whose fee is the
payment: size 0 it refuses. Its licence carries the Commons Clause; nothing else in ctp depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import vectorbt

    from ctp.market.candles import Candles
    from ctp.research.result import BacktestResult

BUY, SELL = 0, 1
MINUTE_MS = 60_000
NEXT_TO_NOTHING = 1e-300  # changes no sum it is added to


def compare_rsi(candles: Candles, period: int = 14) -> pd.DataFrame:
    """Return RSI at each close by three definitions: ours, vectorbt's default, and vectorbt told to agree.

    `wilder` is the one of `ctp.core`, which decides here and in the bot. `vectorbt` averages simply, which is another
    indicator. `vectorbt_ewm` is its exponential average with the span of Wilder's, 2·period − 1: it starts otherwise and comes
    to agree after some hundred candles.
    """
    import vectorbt

    from ctp.core.indicators import NO_RSI, rsi

    close = candles.to_frame()["close"]
    state, wilder = NO_RSI, []
    for price in close.tolist():
        state = rsi(period, state, price)
        wilder.append(state.value)
    runs = {
        "vectorbt": vectorbt.RSI.run(close, window=period),
        "vectorbt_ewm": vectorbt.RSI.run(close, window=2 * period - 1, ewm=True),
    }
    return pd.DataFrame({"wilder": wilder, **{name: run.rsi.to_numpy() for name, run in runs.items()}}, index=close.index)


class Order(NamedTuple):
    """One order as vectorbt counts it. fee: quote units, negative when funding was received."""

    time: int
    symbol: int
    size: float
    price: float
    fee: float
    side: int


def to_vectorbt(result: BacktestResult) -> vectorbt.Portfolio:
    """Return the run as a vectorbt Portfolio: one column a symbol, cash shared.

    Its value equals our equity at every decision to 1e-9 of the start capital; `trades`, `stats()` and plots work on it.
    """
    import vectorbt
    from vectorbt.portfolio.enums import log_dt, order_dt

    times = np.unique(np.concatenate([each.time for each in result.candles]))
    symbols = [each.symbol for each in result.candles]
    close = pd.DataFrame(
        {each.symbol: pd.Series(each.close, index=each.time).reindex(times).ffill().bfill() for each in result.candles}
    )
    index = pd.to_datetime(times + result.candles[0].length_ms, unit="ms", utc=True)
    close.index = index
    orders = sorted(_orders(result), key=lambda order: (order.symbol, order.time))
    records = np.zeros(len(orders), dtype=order_dt)
    for number, order in enumerate(orders):
        row = int(np.searchsorted(times, order.time))
        records[number] = (number, order.symbol, row, order.size, order.price, order.fee, order.side)
    wrapper = vectorbt.ArrayWrapper(
        index=index,
        columns=pd.Index(symbols, name="symbol"),
        ndim=2,
        freq=pd.Timedelta(milliseconds=result.candles[0].length_ms),
        group_by=np.zeros(len(symbols), dtype=int),
        grouped_ndim=1,
    )
    return vectorbt.Portfolio(
        wrapper, close, records, np.zeros(0, dtype=log_dt), np.array([result.start_equity]), cash_sharing=True
    )


def _orders(result: BacktestResult) -> Iterator[Order]:
    """Yield every fill and funding payment, each symbol's in order of events."""
    is_maker = getattr(result.strategy, "limit_offset", 0.0) > 0.0
    for number, (candles, market) in enumerate(zip(result.candles, result.markets, strict=True)):
        entry_rate = market.maker_fee_rate if is_maker else market.fee_rate
        for trade in (each for each in result.trade_records if each["symbol"] == candles.symbol):
            is_long = trade["side"] == "long"
            size = trade["size"]
            entry_fee = entry_rate * size * trade["entry_price"]
            yield Order(trade["entry_time"], number, size, trade["entry_price"], entry_fee, BUY if is_long else SELL)
            for time, payment in _payments(result, number, trade):
                yield Order(time, number, NEXT_TO_NOTHING, trade["entry_price"], payment, BUY if is_long else SELL)
            if trade["exit_reason"] is not None:
                exit_fee = trade["fee"] - entry_fee
                yield Order(trade["exit_time"], number, size, trade["exit_price"], exit_fee, SELL if is_long else BUY)


def _payments(result: BacktestResult, number: int, trade: dict[str, Any]) -> Iterator[tuple[int, float]]:
    """Yield (open time of the candle it is booked at, payment) of each funding time the trade was held over."""
    columns = result.columns
    candles = result.candles[number]
    first, last = columns.funding_offset[number], columns.funding_offset[number + 1]
    direction = 1 if trade["side"] == "long" else -1
    for row in range(first, last):
        funding_time = int(columns.funding_time[row]) // MINUTE_MS * MINUTE_MS
        candle = int(np.searchsorted(candles.time, funding_time))  # the first candle that opens at or after it
        if candle >= len(candles):
            return
        opened = int(candles.time[candle])
        is_over = trade["exit_time"] is not None and opened > trade["exit_time"]
        if opened <= trade["entry_time"] or is_over:
            continue
        mark = candles.close[candle - 1]
        if len(columns.mark_open) and not np.isnan(columns.mark_open[columns.offset[number] + candle]):
            mark = columns.mark_open[columns.offset[number] + candle]
        yield opened, direction * trade["size"] * float(mark) * float(columns.funding_rate[row])

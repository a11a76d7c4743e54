"""Candles with their RSI and the account's equity beside them, kept between requests so that a refresh reads one row.

Invariants:
1. The RSI is the definition's (`ctp.core.indicators`), with the account's own period (14 where its strategy has none), over
   every candle kept.
2. A kept series is read again from the beginning after `REREAD_S`: late and repaired candles show up.
"""

from __future__ import annotations

import bisect
from typing import Any, NamedTuple

from ctp.accounts.readings import Reading
from ctp.accounts.visible import Visible
from ctp.clock import Clock
from ctp.core.indicators import NO_RSI, RsiState, rsi

KEPT = 1000  # candles; what is shown first is the newest part of them
SHOWN = 500
REREAD_S = 60.0
_EQUITY_BEFORE_MS = 86_400_000
RSI_STRATEGY = "rsi_mean_reversion"
_DEFAULT_PERIOD, _DEFAULT_OVERSOLD, _DEFAULT_OVERBOUGHT = 14, 30.0, 70.0

Row = tuple[int, float, float, float, float, float, float | None]  # time, open, high, low, close, volume, rsi


class _Key(NamedTuple):
    """What makes two requests ask for the same series."""

    exchange: str
    mode: str
    symbol: str
    timeframe: str
    period: int


class _Kept(NamedTuple):
    """The closed candles of a series and the RSI after the last of them."""

    rows: list[Row]
    state: RsiState
    read_at: float


class SeriesCache:
    """The series that somebody looks at. Not safe for threads: one reader at a time."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing."""
        self._clock = clock
        self._kept: dict[_Key, _Kept] = {}

    def rows(self, visible: Visible, reading: Reading, symbol: str) -> list[Row]:
        """Return the candles of a symbol, oldest first, the open one last. Raises NotFound for a foreign symbol."""
        account, levels = reading.account, _levels(reading)
        period = int(levels["period"]) if levels else _DEFAULT_PERIOD
        key = _Key(account.exchange, account.mode, symbol, account.timeframe, period)
        now = self._clock.monotonic_s()
        kept = self._kept.get(key)
        if kept is None or now - kept.read_at > REREAD_S:
            self._kept = {one: value for one, value in self._kept.items() if now - value.read_at <= REREAD_S}
            kept = _Kept([], NO_RSI, now)
        since = kept.rows[-1][0] + 1 if kept.rows else 0
        rows, state, shown = list(kept.rows), kept.state, []
        for candle in visible.candles(account.id, symbol, limit=KEPT, since=since):
            after = rsi(period, state, candle["close"])
            row = _row(candle, after)
            if candle["closed"]:
                rows.append(row)
                state = after
            else:
                shown = [row]
        self._kept[key] = _Kept(rows[-KEPT:], state, kept.read_at)
        return rows[-KEPT:] + shown


def _row(candle: dict[str, Any], state: RsiState) -> Row:
    """Return a candle with its RSI; None where it is not defined."""
    value = state.value if state.value == state.value else None
    return (*(candle[name] for name in ("time", "open", "high", "low", "close", "volume")), value)


def chart_series(
    visible: Visible, cache: SeriesCache, reading: Reading, symbol: str, since: int | None
) -> dict[str, Any]:
    """Return what the chart draws. since: open time of the newest candle the chart has; None for the whole picture."""
    length = reading.timeframe_ms
    rows = cache.rows(visible, reading, symbol)
    rows = rows[-SHOWN:] if since is None else [row for row in rows if row[0] >= since]
    first = rows[0][0] if rows else 0
    # One day more: the sample in force at the first candle may be older than it.
    samples = visible.equity(reading.id, since=first - _EQUITY_BEFORE_MS)
    times = [time for time, _ in samples]
    drawn = []
    for row in rows:
        place = bisect.bisect_right(times, row[0] + length)
        drawn.append([*row, samples[place - 1][1] if place else None])
    return {
        "symbol": symbol,
        "is_whole": since is None,
        "candles": drawn,
        "markers": _markers(visible, reading, symbol),
        "lines": _lines(reading, symbol),
        "levels": _levels(reading),
    }


def _levels(reading: Reading) -> dict[str, float] | None:
    """Return the RSI's period and the levels at which the strategy acts; None when it does not go by RSI."""
    if reading.strategy_name != RSI_STRATEGY:
        return None
    return {
        "period": int(reading.strategy.get("period", _DEFAULT_PERIOD)),
        "oversold": float(reading.strategy.get("oversold", _DEFAULT_OVERSOLD)),
        "overbought": float(reading.strategy.get("overbought", _DEFAULT_OVERBOUGHT)),
    }


def _markers(visible: Visible, reading: Reading, symbol: str) -> list[dict[str, object]]:
    """Return entries and exits, each at the candle in which it filled, in order of time."""
    found: list[dict[str, object]] = []

    def mark(time: int, is_buy: bool, reason: str) -> None:
        side = "buy" if is_buy else "sell"
        found.append({"time": time - time % reading.timeframe_ms, "side": side, "reason": reason})

    for trade in visible.trades(reading.id, limit=200, symbol=symbol):
        is_long = trade["side"] == "long"
        mark(trade["entry_time"], is_long, "entry")
        mark(trade["exit_time"], not is_long, trade["exit_reason"])
    for position in reading.positions:
        if position["symbol"] == symbol:
            mark(position["entry_time"], position["side"] == "long", "entry")
    return sorted(found, key=lambda one: str(one["time"]).zfill(20))


def _lines(reading: Reading, symbol: str) -> list[dict[str, object]]:
    """Return the prices that matter to the open position: its entry, stop-loss and take-profit."""
    for position in reading.positions:
        if position["symbol"] == symbol:
            prices = {"entry": position["entry_price"], "stop": position["stop_price"], "take": position["take_price"]}
            return [{"kind": kind, "price": float(price)} for kind, price in prices.items() if price is not None]
    return []

"""Candles of any timeframe, made of the feed's own: closed ones from the feed, the last one as far as it has come.

Invariant: no candle, and no part of one, shows a price that the market has not reached yet.
"""

from __future__ import annotations

import numpy as np

from ctp.simulator.feed import Candle, Candles, Feed
from ctp.simulator.instrument import Instrument
from ctp.simulator.refusals import Refusal
from ctp.simulator.wire import Wire

MINUTE_MS = 60_000
TIMEFRAMES = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "8h": 480,
    "12h": 720, "1d": 1440, "3d": 4320, "1w": 10080,
}  # fmt: skip
DAY_MS = 86_400_000
_WEEK_MS, _FIRST_MONDAY_MS = 604_800_000, 345_600_000
_TRADES = 100


def timeframe_ms(interval: str, base_ms: int) -> int:
    """Return the length of an interval such as "1h".

    Raises Refusal when it is unknown, or cannot be made of the feed's candles.
    """
    minutes = TIMEFRAMES.get(interval)
    if minutes is None or minutes * MINUTE_MS % base_ms:
        raise Refusal(-1120)
    return minutes * MINUTE_MS


def bucket(time: int, span_ms: int) -> int:
    """Return the open time of the candle of length `span_ms` that contains a time; weeks start on Monday."""
    shift = _FIRST_MONDAY_MS if span_ms == _WEEK_MS else 0
    return (time - shift) // span_ms * span_ms + shift


def forming(instrument: Instrument) -> Candle | None:
    """Return the feed's current candle as far as it has come."""
    if instrument.candle is None:
        return None
    return Candle(
        instrument.candle.time, instrument.candle.open, instrument.high, instrument.low, instrument.price,
        instrument.volume,
    )  # fmt: skip


def merge(candles: Candles, last: Candle | None, span_ms: int) -> list[Candle]:
    """Join candles into longer ones, the forming candle at the end."""
    merged: list[Candle] = []
    if len(candles.time):
        shift = _FIRST_MONDAY_MS if span_ms == _WEEK_MS else 0
        opens = (candles.time - shift) // span_ms * span_ms + shift
        starts = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
        ends = np.append(starts[1:], len(opens)) - 1
        merged = [
            Candle(*row)
            for row in zip(
                opens[starts].tolist(),
                candles.open[starts].tolist(),
                np.maximum.reduceat(candles.high, starts).tolist(),
                np.minimum.reduceat(candles.low, starts).tolist(),
                candles.close[ends].tolist(),
                np.add.reduceat(candles.volume, starts).tolist(),
                strict=True,
            )
        ]
    if last is None:
        return merged
    start = bucket(last.time, span_ms)
    if merged and merged[-1].time == start:
        held = merged.pop()
        last = Candle(
            start, held.open, max(held.high, last.high), min(held.low, last.low), last.close, held.volume + last.volume
        )
    merged.append(last._replace(time=start))
    return merged


def current(feed: Feed, instrument: Instrument, span_ms: int) -> Candle | None:
    """Return the candle of length `span_ms` that holds the forming one, or None in a gap."""
    last = forming(instrument)
    if last is None or span_ms == feed.timeframe_ms:
        return last
    before = feed.candles(instrument.symbol, bucket(last.time, span_ms), last.time - 1)
    return merge(before, last, span_ms)[-1]


def history(
    feed: Feed, instrument: Instrument, span_ms: int, now: int, start: int | None, end: int | None, limit: int
) -> list[Candle]:
    """Return candles as GET klines does: the first `limit` from `start`, or the last `limit` up to `end`."""
    last = forming(instrument)
    newest = last.time - 1 if last is not None else now - 1
    until = newest if end is None else min(end + span_ms - feed.timeframe_ms, newest)
    if last is not None and end is not None and end < last.time:
        last = None
    if start is not None:
        first = bucket(start + span_ms - 1, span_ms)
        reach = min(until, first + (limit + 1) * span_ms)
        while True:
            rows = merge(feed.candles(instrument.symbol, first, reach), last if reach >= until else None, span_ms)
            if len(rows) >= limit or reach >= until:
                return [row for row in rows if row.time >= first and (end is None or row.time <= end)][:limit]
            reach = min(until, reach + (reach - first))
    length, anchor = limit, bucket(max(until, 0), span_ms)
    while True:
        first = anchor - length * span_ms
        rows = merge(feed.candles(instrument.symbol, first, until), last, span_ms)
        if len(rows) >= limit or first <= 0 or length > 64 * limit:
            return [row for row in rows if end is None or row.time <= end][-limit:]
        length *= 2


def row(candle: Candle, instrument: Instrument, span_ms: int, wire: Wire) -> list[object]:
    """Return a candle as one row of GET klines."""
    rules = instrument.rules
    half = candle.volume / 2
    return [
        candle.time, wire.price(rules, candle.open), wire.price(rules, candle.high), wire.price(rules, candle.low),
        wire.price(rules, candle.close), wire.money(candle.volume, rules.size_decimals), candle.time + span_ms - 1,
        wire.money(candle.volume * candle.close), _TRADES, wire.money(half, rules.size_decimals),
        wire.money(half * candle.close), "0",
    ]  # fmt: skip


def event(
    candle: Candle, instrument: Instrument, interval: str, span_ms: int, now: int, wire: Wire, *, closed: bool
) -> dict[str, object]:
    """Return a candle as a kline event; `closed` is its flag `x`."""
    values = row(candle, instrument, span_ms, wire)
    return {
        "e": "kline", "E": now, "s": instrument.rules.id,
        "k": {
            "t": values[0], "T": values[6], "s": instrument.rules.id, "i": interval, "f": 1, "L": _TRADES,
            "o": values[1], "c": values[4], "h": values[2], "l": values[3], "v": values[5], "n": _TRADES, "x": closed,
            "q": values[7], "V": values[9], "Q": values[10], "B": "0",
        },
    }  # fmt: skip

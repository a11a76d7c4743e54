"""The timeframes there are. Each divides the UTC day, so every candle opens on a multiple of it."""

from __future__ import annotations

from ctp.errors import InputError

MINUTE_MS = 60_000
TIMEFRAMES: dict[str, int] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "2h": 120 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS,
    "12h": 720 * MINUTE_MS,
    "1d": 1440 * MINUTE_MS,
}


def timeframe_ms(timeframe: str) -> int:
    """Return a timeframe's length in milliseconds; InputError lists the ones there are."""
    length = TIMEFRAMES.get(timeframe)
    if length is None:
        raise InputError("timeframe", timeframe, f"must be one of {', '.join(TIMEFRAMES)}")
    return length

"""Candles of a longer timeframe made of shorter ones, as an exchange makes them: from what was traded."""

from __future__ import annotations

import numpy as np

from ctp.errors import InputError
from ctp.market.candles import Candles
from ctp.market.series import timeframe_ms


def coarser(candles: Candles, timeframe: str) -> Candles:
    """Return candles of a longer timeframe; a stretch without any stays a gap.

    The first and the last are left out unless they are whole. Raises InputError when the timeframe is no multiple.
    """
    length = timeframe_ms(timeframe)
    if length % candles.length_ms or length <= candles.length_ms:
        raise InputError("timeframe", timeframe, f"must be a multiple of {candles.timeframe}")
    group = candles.time // length
    starts = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1]) if len(candles) else np.empty(0, np.int64)
    ends = np.append(starts[1:], len(candles)) - 1
    if len(starts) and candles.time[0] % length:
        starts, ends = starts[1:], ends[1:]
    if len(starts) and (candles.time[-1] + candles.length_ms) % length:
        starts, ends = starts[:-1], ends[:-1]
    if not len(starts):
        raise InputError("candles", len(candles), f"must fill at least one candle of {timeframe}")
    cut = slice(int(starts[0]), int(ends[-1]) + 1)
    offsets = starts - starts[0]
    return Candles.checked(
        candles.symbol, timeframe, candles.exchange, group[starts] * length, candles.open[starts],
        np.maximum.reduceat(candles.high[cut], offsets), np.minimum.reduceat(candles.low[cut], offsets),
        candles.close[ends], np.add.reduceat(candles.volume[cut], offsets),
    )  # fmt: skip

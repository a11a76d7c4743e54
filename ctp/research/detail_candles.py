"""Finer candles as the bar loop takes them: given, or loaded from the store by their timeframe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctp.errors import InputError
from ctp.market.candles import Candles
from ctp.market.history import load_candles
from ctp.market.series import timeframe_ms
from ctp.research.detail import Detail

_NO_NUMBERS = np.empty(0)
NO_DETAIL = Detail(np.zeros(2, np.int64), np.empty(0, np.int64), _NO_NUMBERS, _NO_NUMBERS, _NO_NUMBERS, _NO_NUMBERS, 0)


def detail_of(given: str | Candles | Sequence[Candles], coarse: Sequence[Candles]) -> Detail:
    """Lay finer candles out in the order of the coarse ones; nothing given is none.

    A symbol without any is allowed and counted. Raises InputError naming what does not fit, NotFound when the store has none.
    """
    if isinstance(given, str):
        given = [_stored(each, given) for each in coarse]
    fine = [given] if isinstance(given, Candles) else list(given)
    if not fine:
        return NO_DETAIL
    length_ms = timeframe_ms(fine[0].timeframe)
    by_symbol: dict[str, Candles] = {}
    for each in fine:
        if each.timeframe != fine[0].timeframe:
            raise InputError("detail", each.timeframe, f"must all be of one timeframe, as {fine[0].timeframe}")
        if each.symbol not in [one.symbol for one in coarse]:
            raise InputError("detail", each.symbol, "must be a symbol whose candles are given")
        if each.symbol in by_symbol:
            raise InputError("detail", each.symbol, "is given twice")
        if each.exchange != coarse[0].exchange or each.kind != "candles":
            raise InputError("detail", f"{each.exchange} {each.kind}", f"must be candles of {coarse[0].exchange}")
        by_symbol[each.symbol] = each
    if coarse[0].length_ms % length_ms:
        raise InputError("detail", fine[0].timeframe, f"must divide {coarse[0].timeframe}")
    parts = [by_symbol.get(one.symbol) for one in coarse]
    counts = [0 if part is None else len(part) for part in parts]
    present = [part for part in parts if part is not None]
    return Detail(
        np.cumsum([0, *counts]),
        np.concatenate([part.time for part in present]),
        np.concatenate([part.open for part in present]),
        np.concatenate([part.high for part in present]),
        np.concatenate([part.low for part in present]),
        np.concatenate([part.close for part in present]),
        length_ms,
    )


def _stored(coarse: Candles, timeframe: str) -> Candles:
    """Return the stored finer candles of a symbol over the time of its coarse ones."""
    start, end = int(coarse.time[0]), int(coarse.time[-1]) + coarse.length_ms
    return load_candles(coarse.symbol, timeframe, start, end, coarse.exchange)

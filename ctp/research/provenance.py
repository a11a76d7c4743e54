"""What a result was measured upon, as a number: the same number means the same data to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ctp.core.types import Market
from ctp.market.candles import Candles
from ctp.research.bar_loop import Series, named_columns


def data_hash(candles: Sequence[Candles], columns: Series, markets: Sequence[Market], equity: float) -> str:
    """Return the SHA-256 of candles, marks, funding, costs and market rules: everything a result was measured upon."""
    digest = hashlib.sha256()
    for each in candles:
        digest.update(f"{each.exchange} {each.symbol} {each.timeframe}\n".encode())
    for name, column in named_columns(columns).items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(column).tobytes())
    for market in markets:
        digest.update(repr([np.asarray(value, np.float64).tolist() for value in market]).encode())
    digest.update(repr(equity).encode())
    return digest.hexdigest()

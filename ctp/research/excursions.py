"""How far each trade went against us and for us before it ended (MAE and MFE, Sweeney 1997).

In R: units of the distance from entry to the first stop. The candle of the exit counts with its exit price alone, because
nobody knows which of its prices came before. The entry candle counts whole, since entries are at its open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from ctp.research.result import BacktestResult

COLUMNS = ("symbol", "side", "entry_time", "exit_time", "adverse", "favourable", "r_multiple", "pnl", "exit_reason")


def excursions(result: BacktestResult) -> pd.DataFrame:
    """Return one row a closed trade: `adverse` and `favourable` in R, both at least 0.

    A trade whose stop lies at its entry has no R and is left out.
    """
    of_symbol = {candles.symbol: candles for candles in result.candles}
    rows = []
    for trade in result.closed_trades:
        candles, entry = of_symbol[trade["symbol"]], trade["entry_price"]
        risk = abs(entry - trade["stop_price"])
        if risk == 0.0:
            continue
        first, last = np.searchsorted(candles.time, [trade["entry_time"], trade["exit_time"]])
        prices = [entry, trade["exit_price"]]
        if last > first:
            prices += [float(candles.low[first:last].min()), float(candles.high[first:last].max())]
        sign = 1.0 if trade["side"] == "long" else -1.0
        moves = [sign * (price - entry) / risk for price in prices]
        rows.append({**trade, "adverse": max(0.0, -min(moves)), "favourable": max(0.0, max(moves))})
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("entry_time", "exit_time"):
        frame[name] = pd.to_datetime(frame[name].astype("Int64"), unit="ms", utc=True)
    return frame

"""Stored candles for notebooks: from CTP_HOME, or through the gateway where that is not ours to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ctp.api_client import Client, lab_client
from ctp.errors import NotFound
from ctp.market import history
from ctp.market.candles import Candles, FundingRates
from ctp.market.history import Time, candle_store, parse_time
from ctp.market.series import Series
from ctp.notebook.generated import example_candles

_ROWS = 200_000  # what the gateway gives at once


def load_candles(
    symbol: str,
    timeframe: str,
    start: Time | None = None,
    end: Time | None = None,
    exchange: str = "binance",
    home: Path | str | None = None,
    *,
    mark: bool = False,
) -> Candles:
    """Return stored candles that open in [start, end); NotFound says the command that downloads them.

    mark: the mark price of a perpetual instead of its last price.
    """
    client = None if home is not None else lab_client()
    if client is None:
        return history.load_candles(symbol, timeframe, start, end, exchange, home, mark=mark)
    series = Series.checked(exchange, symbol, timeframe, "mark" if mark else "candles")
    rows = _rows(client, series, start, end)
    columns = {name: rows[name].copy() for name in series.row.names or () if name != "ts"}
    return Candles(symbol, timeframe, exchange, rows["ts"].copy(), **columns, kind=series.kind)


def load_funding(
    symbol: str,
    start: Time | None = None,
    end: Time | None = None,
    exchange: str = "binanceusdm",
    home: Path | str | None = None,
) -> FundingRates:
    """Return a perpetual's stored funding payments in [start, end); NotFound says the command that downloads them."""
    client = None if home is not None else lab_client()
    if client is None:
        return history.load_funding(symbol, start, end, exchange, home)
    rows = _rows(client, Series.checked(exchange, symbol, "", "funding"), start, end)
    return FundingRates(symbol, exchange, rows["ts"].copy(), rows["rate"].copy())


def candles_or_example(
    symbol: str, timeframe: str, start: Time | None = None, end: Time | None = None, exchange: str = "binance"
) -> Candles:
    """Return stored candles, or generated ones where nothing is stored, saying so and which command mends it."""
    try:
        return load_candles(symbol, timeframe, start, end, exchange)
    except NotFound as nothing:
        print(f"{nothing}\nUntil then: generated candles without any drift. 저장된 캔들이 없어 생성된 캔들로 실행합니다.")
        return example_candles(symbol, timeframe)


def stored_candles() -> pd.DataFrame:
    """Return what is stored: one row a series, with its rows and its first and last time."""
    client = lab_client()
    if client is None:
        found = [
            {**one.series._asdict(), "rows": one.rows, "first": one.first, "last": one.last} for one in candle_store().list()
        ]
    else:
        found = client.get("/history")["series"]
    frame = pd.DataFrame(found, columns=["exchange", "symbol", "timeframe", "kind", "rows", "first", "last"])
    for name in ("first", "last"):
        frame[name] = pd.to_datetime(frame[name].astype("int64"), unit="ms", utc=True)
    return frame


def _rows(client: Client, series: Series, start: Time | None, end: Time | None) -> np.ndarray:
    """Return the rows of a series in [start, end), asked for in pieces. Raises NotFound."""
    stored = [one for one in client.get("/history")["series"] if _names(one) == series]
    if not stored:
        raise NotFound(f"no {series}: nothing of it is stored; ask your operator for: {series.download_command('2023-01-01')}")
    first = max(int(stored[0]["first"]), -(1 << 62) if start is None else parse_time(start, "start"))
    last = min(int(stored[0]["last"]) + 1, 1 << 62 if end is None else parse_time(end, "end"))
    step = _ROWS * (3_600_000 if series.kind == "funding" else series.length_ms)
    pieces = [
        np.frombuffer(
            client.get_bytes("/history/rows", **series._asdict(), start=begin, end=min(begin + step, last)), series.row
        )
        for begin in range(first, last, step)
    ]
    rows = np.concatenate(pieces) if pieces else np.empty(0, series.row)
    if not rows.size:
        raise NotFound(f"no {series} in that time; stored_candles() lists what is there")
    return rows


def _names(row: dict[str, object]) -> Series:
    """Return the series a row of the list names."""
    return Series.checked(*(str(row[name]) for name in Series._fields))

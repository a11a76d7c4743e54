"""Give notebooks, backtests and the command line stored history by name and time.

Owns how people write times and where candles lie below CTP_HOME.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from ctp.config import home_folder
from ctp.errors import InputError
from ctp.market.candles import Candles, FundingRates
from ctp.market.series import Series
from ctp.market.store import CandleStore
from ctp.market.validation import iso

Time = str | int | date | datetime | np.datetime64


def parse_time(value: Time, field: str = "time") -> int:
    """Return what a person wrote as milliseconds UTC.

    value: ISO date or time, a date, a datetime, a numpy time or integer milliseconds; without a zone it is UTC.
    """
    if isinstance(value, str):
        return _parse_text(value.strip(), field)
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000)
    if isinstance(value, date):
        return _midnight(value)
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return int(value.astype("datetime64[ms]").astype(np.int64))
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    raise InputError(field, value, "must be an ISO date such as 2023-01-31, a datetime or milliseconds")


def _parse_text(text: str, field: str) -> int:
    """Return an ISO text, or a text of milliseconds, as milliseconds UTC."""
    if text.isdecimal() and len(text) >= 12:
        return int(text)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        bound = "must be an ISO date such as 2023-01-31 or 2023-01-31T12:00Z"
        raise InputError(field, text, bound) from None
    return parse_time(parsed, field)


def _midnight(day: date) -> int:
    """Return the first millisecond of a UTC day."""
    return parse_time(datetime(day.year, day.month, day.day, tzinfo=UTC))


def candle_store(home: Path | str | None = None) -> CandleStore:
    """Return the store below `home`; without one below CTP_HOME, by default `var` in the project's root."""
    return CandleStore((Path(home).expanduser() if home else home_folder()) / "candles")


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
    series = Series.checked(exchange, symbol, timeframe, "mark" if mark else "candles")
    return candle_store(home).load(series, *_range(start, end))


def load_funding(
    symbol: str,
    start: Time | None = None,
    end: Time | None = None,
    exchange: str = "binanceusdm",
    home: Path | str | None = None,
) -> FundingRates:
    """Return a perpetual's stored funding payments in [start, end); NotFound says the command that downloads them."""
    return candle_store(home).load_funding(Series.checked(exchange, symbol, "", "funding"), *_range(start, end))


def _range(start: Time | None, end: Time | None) -> tuple[int | None, int | None]:
    """Return both bounds in milliseconds; InputError when nothing can lie between them."""
    first = None if start is None else parse_time(start, "start")
    last = None if end is None else parse_time(end, "end")
    if first is not None and last is not None and first >= last:
        raise InputError("end", iso(last), f"must be after the start, {iso(first)}")
    return first, last

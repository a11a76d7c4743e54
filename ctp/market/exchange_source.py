"""Ask an exchange for history, patiently.

Owns the port a download needs, which every ccxt async exchange fills, and what each of its errors means for a download.

Invariants:
1. A question whose answer was lost is asked again: history is only read, so asking twice harms nobody.
2. What leaves here is ours: InputError, ExchangeBusy, ExchangeDown or ExchangeError, never one of ccxt's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from ccxt.base import errors as ccxt_errors

from ctp.errors import ExchangeBusy, ExchangeDown, ExchangeError, InputError
from ctp.market.series import Series

RETRY_WAITS_S = (1.0, 3.0, 9.0, 27.0)
RATE_LIMIT_WAIT_S = 60.0

# The most each exchange answers with; asking Upbit for more would leave holes at the start of every page.
PAGE_LIMITS = {"binance": 1000, "binanceusdm": 1000, "bybit": 1000, "okx": 100, "upbit": 200, "bithumb": 200}
DEFAULT_PAGE_LIMIT = 200
FUNDING_PAGE_LIMITS = {"binanceusdm": 1000, "bybit": 200, "okx": 100}

Sleep = Callable[[float], Awaitable[None]]


class HistorySource(Protocol):
    """Answer with candles from `since` on, oldest first: the part of a ccxt async exchange a download needs."""

    async def fetch_ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int | None, params: dict[str, Any]
    ) -> list[list[Any]]:
        """Return rows of [time, open, high, low, close, volume]."""
        ...

    async def fetch_funding_rate_history(
        self, symbol: str, since: int | None, limit: int | None, params: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Return entries with `timestamp` and `fundingRate`."""
        ...


def page_limit(series: Series) -> int:
    """Return how many rows to ask the series' exchange for at once."""
    limits = FUNDING_PAGE_LIMITS if series.kind == "funding" else PAGE_LIMITS
    return limits.get(series.exchange, DEFAULT_PAGE_LIMIT)


async def fetch_rows(source: HistorySource, series: Series, since: int, until: int, limit: int) -> list[list[Any]]:
    """Return one page as rows of time and values, as the exchange sent them.

    until: where a page of funding ends, because some exchanges answer with the newest payments of a range.
    """
    if series.kind == "funding":
        end = {"until": until, "after": until} if series.exchange == "okx" else {"until": until}
        entries = await source.fetch_funding_rate_history(series.symbol, since, limit, end)
        return [[entry["timestamp"], entry["fundingRate"]] for entry in entries]
    params = {"price": "mark"} if series.kind == "mark" else {}
    rows = await source.fetch_ohlcv(series.symbol, series.timeframe, since, limit, params)
    # Some exchanges leave the volume of a mark price out; it has none.
    return [[*row[:5], 0.0] for row in rows] if series.kind == "mark" else rows


async def fetch_patiently(
    source: HistorySource, series: Series, since: int, until: int, limit: int, sleep: Sleep
) -> list[list[Any]]:
    """Return one page, asking again after a lost answer or a busy exchange; raises our errors only."""
    for wait_s in (*RETRY_WAITS_S, None):
        try:
            return await fetch_rows(source, series, since, until, limit)
        except (ExchangeBusy, ccxt_errors.RateLimitExceeded, ccxt_errors.DDoSProtection) as error:
            pause_s = error.retry_after_s if isinstance(error, ExchangeBusy) else RATE_LIMIT_WAIT_S
            if wait_s is None:
                raise ExchangeBusy(f"{series}: {_one_line(error)}", pause_s) from error
            await sleep(pause_s)
        except (ExchangeDown, ccxt_errors.NetworkError) as error:
            if wait_s is None:
                raise ExchangeDown(f"{series}: no answer after {len(RETRY_WAITS_S) + 1} attempts") from error
            await sleep(wait_s)
        except ccxt_errors.BadSymbol as error:
            raise InputError("symbol", series.symbol, f"{series.exchange} does not list it") from error
        except ccxt_errors.BaseError as error:
            raise ExchangeError(f"{series}: {_one_line(error)}") from error
    raise AssertionError("the last attempt returns or raises")


def check_timeframe(source: HistorySource, series: Series) -> None:
    """Refuse a timeframe that the exchange says it does not have."""
    offered = getattr(source, "timeframes", None)
    if offered and series.timeframe and series.timeframe not in offered:
        raise InputError("timeframe", series.timeframe, f"{series.exchange} has {', '.join(offered)}")


def _one_line(error: Exception) -> str:
    """Return an error's first line, short enough for a message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


@asynccontextmanager
async def public_source(exchange: str) -> AsyncIterator[HistorySource]:
    """Yield the real exchange without a key; it keeps its own rate limit and is closed afterwards."""
    import ccxt.async_support as ccxt  # a second to import, and only downloads need it

    kind = getattr(ccxt, exchange, None)
    if not (isinstance(kind, type) and issubclass(kind, ccxt.Exchange)):
        raise InputError("exchange", exchange, "is not one that ccxt knows, such as binance or binanceusdm")
    source = kind({"enableRateLimit": True, "options": {"fetchCurrencies": False}})
    try:
        yield source
    finally:
        await source.close()

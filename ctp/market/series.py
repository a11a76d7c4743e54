"""Name a stored series, and what its rows look like.

Owns the one mapping between a series and its folder below `candles/`, and the row layout of each kind.

Invariants:
1. `Series.from_folder(series.folder) == series` for every series that `checked` lets through.
2. A timeframe is one of `TIMEFRAMES`; each divides the UTC day, so every candle opens on a multiple of it.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from ctp.core.timeframes import MINUTE_MS as MINUTE_MS
from ctp.core.timeframes import TIMEFRAMES as TIMEFRAMES
from ctp.core.timeframes import timeframe_ms as timeframe_ms
from ctp.errors import InputError

Kind = Literal["candles", "mark", "funding"]
KINDS: tuple[Kind, ...] = ("candles", "mark", "funding")

CANDLE_FIELDS = ("open", "high", "low", "close", "volume")

# One row as it is compared, merged and journalled: time first, then the values, all eight bytes wide.
CANDLE_ROW = np.dtype([("ts", "<i8"), *((name, "<f8") for name in CANDLE_FIELDS)])
FUNDING_ROW = np.dtype([("ts", "<i8"), ("rate", "<f8")])

_EXCHANGE = re.compile(r"[a-z0-9]+")
_SYMBOL = re.compile(r"[^/:\s\x00]+/[^/:\s\x00]+(:[^/:\s\x00]+)?")


class Series(NamedTuple):
    """Identify what is stored together: one kind of data of one symbol on one exchange.

    Funding rates have no timeframe; theirs is the empty string.
    """

    exchange: str
    symbol: str
    timeframe: str
    kind: Kind = "candles"

    @classmethod
    def checked(cls, exchange: str, symbol: str, timeframe: str, kind: str = "candles") -> Series:
        """Return the series these words name; InputError names the word that is wrong."""
        if kind not in KINDS:
            raise InputError("kind", kind, f"must be one of {', '.join(KINDS)}")
        if not _EXCHANGE.fullmatch(exchange):
            raise InputError("exchange", exchange, "must be a ccxt exchange id such as binance or binanceusdm")
        if not _SYMBOL.fullmatch(symbol):
            raise InputError("symbol", symbol, "must look like BTC/USDT, or BTC/USDT:USDT for a perpetual")
        if kind == "funding":
            return cls(exchange, symbol, "", "funding")
        timeframe_ms(timeframe)
        return cls(exchange, symbol, timeframe, "mark" if kind == "mark" else "candles")

    @property
    def length_ms(self) -> int:
        """Return one candle's length; a funding series has none and raises InputError."""
        return timeframe_ms(self.timeframe)

    @property
    def row(self) -> np.dtype:
        """Return the row layout of this kind."""
        return FUNDING_ROW if self.kind == "funding" else CANDLE_ROW

    @property
    def folder(self) -> PurePosixPath:
        """Return the folder below the store's root, such as `binance/BTC-USDT/1h`."""
        pair, _, settle = self.symbol.partition(":")
        base, _, quote = pair.partition("/")
        name = f"{_escape(base)}-{_escape(quote)}" + (f"_{settle}" if settle else "")
        last = {"candles": self.timeframe, "mark": f"{self.timeframe}-mark", "funding": "funding"}[self.kind]
        return PurePosixPath(self.exchange, name, last)

    @classmethod
    def from_folder(cls, folder: PurePosixPath) -> Series:
        """Return the series whose folder this is; InputError when it cannot be one."""
        if len(folder.parts) != 3:
            raise InputError("folder", str(folder), "must be exchange/symbol/timeframe")
        exchange, name, last = folder.parts
        pair, _, settle = name.partition("_")
        base, _, quote = pair.partition("-")
        symbol = f"{_unescape(base)}/{_unescape(quote)}" + (f":{settle}" if settle else "")
        timeframe, _, kind = last.partition("-")
        return cls.checked(exchange, symbol, timeframe, "funding" if last == "funding" else kind or "candles")

    def __str__(self) -> str:
        """Return the series in the words of a message, such as `binance BTC/USDT 1h`."""
        words = {"candles": self.timeframe, "mark": f"{self.timeframe} mark", "funding": "funding"}[self.kind]
        return f"{self.exchange} {self.symbol} {words}"

    def download_command(self, since: str) -> str:
        """Return the command line that fetches this series from `since` (an ISO day) on."""
        what = "" if self.kind == "candles" else f" --kind {self.kind}"
        timeframe = f" --timeframe {self.timeframe}" if self.timeframe else ""
        return f"ctp data download --exchange {self.exchange} --symbol {self.symbol}{timeframe}{what} --since {since}"


def _escape(code: str) -> str:
    """Keep the separators of a folder name out of a currency code."""
    return code.replace("%", "%25").replace("-", "%2D").replace("_", "%5F")


def _unescape(code: str) -> str:
    """Undo `_escape`."""
    return code.replace("%5F", "_").replace("%2D", "-").replace("%25", "%")

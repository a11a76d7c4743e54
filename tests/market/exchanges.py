"""Exchanges that answer with made candles the way real ones page, with scripted faults."""

from __future__ import annotations

from typing import Any

from ctp.market.candles import Candles
from tests.market.made import HOUR


class BinanceLike:
    """Answer with up to `most` candles from `since` on, the forming one included, as Binance does."""

    def __init__(self, candles: Candles, now: int, most: int = 1000) -> None:
        """Know these candles; a candle shows from its open time on."""
        columns = [candles.time.tolist(), *(values.tolist() for values in candles.columns().values())]
        self.rows = [list(row) for row in zip(*columns, strict=True)]
        self.now, self.most = now, most
        self.asked: list[int] = []
        self.params: list[dict[str, Any]] = []
        self.faults: dict[int, BaseException] = {}
        self.hidden: set[int] = set()  # open times it forgets, once for each request

    def now_ms(self) -> int:
        """Return its clock."""
        return self.now

    async def fetch_ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int | None, params: dict[str, Any]
    ) -> list[list[Any]]:
        """Answer with one page, or with the fault scripted for this request."""
        assert since is not None
        self.asked.append(since)
        self.params.append(params)
        fault = self.faults.get(len(self.asked))
        if fault is not None:
            raise fault
        page = [row for row in self.rows if row[0] <= self.now and self.in_page(row[0], since, limit or 500)]
        shown = [row for row in page if row[0] not in self.hidden]
        self.hidden -= {row[0] for row in page}
        return shown[: min(limit or 500, self.most)]

    def in_page(self, when: int, since: int, limit: int) -> bool:
        """Tell whether a candle may be in the answer."""
        return when >= since

    async def fetch_funding_rate_history(
        self, symbol: str, since: int | None, limit: int | None, params: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Answer with a payment every eight hours of the candles it knows, seven milliseconds late.

        Of a range that holds more than `limit` it answers with the newest, as OKX and Bybit do.
        """
        assert since is not None
        assert limit is not None
        self.asked.append(since)
        until = min(self.now, params["until"])
        paid = [row[0] for row in self.rows if row[0] % (8 * HOUR) == 0 and since <= row[0] + 7 <= until]
        return [{"timestamp": when + 7, "fundingRate": when % 7 / 1e4} for when in paid][-limit:]


class UpbitLike(BinanceLike):
    """Answer only with what opens within `limit` candles after `since`, as Upbit does."""

    def in_page(self, when: int, since: int, limit: int) -> bool:
        """Tell whether a candle lies in the window asked for."""
        return since <= when < since + min(limit, self.most) * HOUR

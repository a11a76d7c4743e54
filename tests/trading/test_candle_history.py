"""The history of candles while the market moves on between two answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ctp.clock import ManualClock
from ctp.core.types import Candle
from ctp.trading.binance_streams import BinanceMarket
from ctp.trading.engine import Engine
from ctp.trading.exchange import CandleUpdate

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR


class MovingApi:
    """Answers like the exchange; after every answer the market has moved on by `pace_ms`."""

    markets = {"BTC/USDT": {"id": "BTCUSDT"}}  # noqa: RUF012
    last_response_headers: dict[str, str] = {}  # noqa: RUF012
    on_message: Any = None

    def __init__(self, now: int, pace_ms: int) -> None:
        """Start at a market time."""
        self.now, self.pace_ms = now, pace_ms

    def parse_timeframe(self, timeframe: str) -> int:
        """Return seconds."""
        return HOUR // 1000

    async def publicGetTicker24hr(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - ccxt's name
        """Tell the market time."""
        reply = {"closeTime": self.now}
        self.now += self.pace_ms
        return reply

    async def publicGetKlines(self, request: dict[str, Any]) -> list[list[Any]]:  # noqa: N802 - ccxt's name
        """Return the candles up to now; the open one has volume 0 so far, closed ones have 5."""
        rows = []
        for time in range(request["startTime"], self.now + 1, HOUR):
            rows.append([time, "9", "9", "9", "9", "5" if time + HOUR <= self.now else "0"])
        self.now += self.pace_ms
        return rows


def test_a_candle_that_closes_between_two_answers_is_not_closed_yet() -> None:
    """Whatever is called closed has its final numbers, however fast the market moves."""

    async def story() -> None:
        for pace_ms in (0, 1, HOUR // 3, HOUR, 5 * HOUR):
            market = BinanceMarket(MovingApi(START + 3 * HOUR - 1, pace_ms), ManualClock(), is_perpetual=False)
            found = await market.candles("BTC/USDT", "1h", START, 100)
            closed = [one for one in found if one.is_closed]
            assert closed, pace_ms
            assert all(one.candle.volume == 5 for one in closed), pace_ms

    asyncio.run(story())


class TwoSymbols:
    """A market in which the second symbol is asked about just after a candle has closed."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.asked: list[str] = []

    async def candles(self, symbol: str, timeframe: str, since: int | None, limit: int) -> Sequence[CandleUpdate]:
        """Return one closed candle, or two once the first symbol was answered."""
        self.asked.append(symbol)
        count = 1 if len(self.asked) == 1 else 2
        return [
            CandleUpdate(symbol, timeframe, Candle(START + n * HOUR, 1.0, 1.0, 1.0, 1.0, 1.0), True, 0) for n in range(count)
        ]


def test_catching_up_asks_again_for_a_symbol_that_was_asked_too_early() -> None:
    """A candle that closed between two answers is decided on with every symbol, not with one."""

    class Account:
        symbols, timeframe = ("BTC/USDT", "ETH/USDT"), "1h"

    class Desk:
        account = Account

    public = TwoSymbols()
    engine = Engine(Desk, public)  # type: ignore[arg-type]
    missed = asyncio.run(engine.missed(START))
    assert {time: sorted(candles) for time, candles in missed.items()} == {
        START: ["BTC/USDT", "ETH/USDT"],
        START + HOUR: ["BTC/USDT", "ETH/USDT"],
    }
    assert public.asked == ["BTC/USDT", "ETH/USDT", "BTC/USDT"]

"""Keep the candles that dashboards show: closed ones, and the open one at most once a second.

Owns the table `live_candles`. Decisions are never made from it.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from ctp.clock import Clock
from ctp.storage.database import insert_or
from ctp.storage.tables import live_candles
from ctp.trading.exchange import CandleUpdate

HISTORY = 500  # candles per symbol that a dashboard may count on
KEPT = 3000  # candles per symbol before old ones are dropped
OPEN_EVERY_S = 1.0


class LiveCandles:
    """The candles of one market (exchange and mode)."""

    def __init__(self, exchange: str, market: str, clock: Clock) -> None:
        """Bind to a market; `market` is "paper" or "live"."""
        self.exchange, self.market, self._clock = exchange, market, clock
        self._written_s: dict[tuple[str, str], float] = {}

    def due(self, updates: Iterable[CandleUpdate]) -> list[CandleUpdate]:
        """Return the updates worth writing now: every closed candle, of an open one the newest, once a second."""
        chosen: dict[tuple[str, str, int], CandleUpdate] = {}
        for update in updates:
            chosen[update.symbol, update.timeframe, update.candle.time] = update
        now_s = self._clock.monotonic_s()
        found = []
        for update in chosen.values():
            pair = (update.symbol, update.timeframe)
            if update.is_closed or now_s - self._written_s.get(pair, -OPEN_EVERY_S) >= OPEN_EVERY_S:
                found.append(update)
                if not update.is_closed:
                    self._written_s[pair] = now_s
        return found

    def write(self, connection: sa.Connection, updates: Iterable[CandleUpdate]) -> None:
        """Write candles; a closed one is never opened again by a late event."""
        values = [
            {
                "exchange": self.exchange,
                "market": self.market,
                "symbol": one.symbol,
                "timeframe": one.timeframe,
                **{name: getattr(one.candle, name) for name in ("time", "open", "high", "low", "close", "volume")},
                "closed": one.is_closed,
            }
            for one in updates
        ]
        if not values:
            return
        statement = insert_or(connection, live_candles)
        changed = {
            name: statement.excluded[name] for name in ("open", "high", "low", "close", "volume", "closed")
        }
        keys = ["exchange", "market", "symbol", "timeframe", "time"]
        unfinished = sa.or_(live_candles.c.closed.is_(False), statement.excluded.closed.is_(True))
        connection.execute(
            statement.on_conflict_do_update(index_elements=keys, set_=changed, where=unfinished), values
        )

    def prune(self, connection: sa.Connection, symbol: str, timeframe: str, oldest: int) -> None:
        """Drop candles older than a time."""
        table = live_candles
        connection.execute(
            sa.delete(table).where(
                table.c.exchange == self.exchange,
                table.c.market == self.market,
                table.c.symbol == symbol,
                table.c.timeframe == timeframe,
                table.c.time < oldest,
            )
        )

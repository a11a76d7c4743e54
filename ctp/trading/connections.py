"""The connections of one bot process: per exchange and mode one session, one market stream, one list of markets.

Invariants:
1. All accounts of an exchange and mode share the public stream and the market list; each has a ccxt object of its own for
   its key.
2. Paper and live never share anything.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import aiohttp

from ctp.clock import Clock
from ctp.config import Settings
from ctp.trading.binance_account import BinanceAccount
from ctp.trading.binance_streams import BinanceMarket
from ctp.trading.ccxt_errors import GARBAGE, asking_failed
from ctp.trading.ccxt_light import ccxt
from ctp.trading.ccxt_link import Link, link_for, open_ccxt, open_session


class Venue(NamedTuple):
    """What the accounts of one exchange and mode share."""

    link: Link
    session: aiohttp.ClientSession
    api: Any
    market: BinanceMarket


class Connections:
    """Open venues on demand; close them together."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Know where exchanges are; nothing is opened yet."""
        self._settings, self._clock = settings, clock
        self._venues: dict[tuple[str, str], Venue] = {}
        self._opening = asyncio.Lock()

    async def venue(self, exchange: str, mode: str) -> Venue:
        """Return a venue with its markets loaded. Raises ExchangeDown, ExchangeBusy or ConfigError."""
        async with self._opening:
            found = self._venues.get((exchange, mode))
            if found is not None:
                return found
            link = link_for(self._settings, exchange, mode)
            session = open_session(link)
            api = open_ccxt(link, session)
            try:
                await api.load_markets()
            except (ccxt.BaseError, *GARBAGE) as error:
                await api.close()
                await session.close()
                raise asking_failed(error, api.last_response_headers, self._clock.now_ms()) from error
            market = BinanceMarket(api, self._clock, is_perpetual=is_perpetual(exchange))
            made = Venue(link, session, api, market)
            self._venues[exchange, mode] = made
            return made

    def account(self, venue: Venue, key: str, secret: str) -> tuple[BinanceAccount, Any]:
        """Return an account's exchange, and the ccxt object that its stream listens with."""
        api = open_ccxt(venue.link, venue.session, key=key, secret=secret)
        api.set_markets_from_exchange(venue.api)
        exchange_clock = venue.market.exchange_clock
        return BinanceAccount(api, self._clock, exchange_clock, is_perpetual=is_perpetual(venue.link.exchange)), api

    def opened(self) -> list[Venue]:
        """Return the venues that are open."""
        return list(self._venues.values())

    async def close(self) -> None:
        """Close every venue."""
        for venue in self._venues.values():
            await venue.market.close()
            await venue.session.close()
        self._venues.clear()


def is_perpetual(exchange: str) -> bool:
    """Return whether an exchange id stands for perpetuals."""
    return exchange == "binanceusdm"


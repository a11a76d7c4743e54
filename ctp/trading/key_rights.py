"""Ask an exchange what a key may do, before the key is kept."""

from __future__ import annotations

import contextlib

from ctp.accounts.vault import ExchangeKey, KeyPermissions
from ctp.clock import SystemClock
from ctp.config import Settings
from ctp.errors import ConfigError, ExchangeBusy, ExchangeDown
from ctp.trading.binance_account import BinanceAccount
from ctp.trading.binance_streams import BinanceMarket
from ctp.trading.ccxt_link import link_for, open_ccxt, open_session
from ctp.trading.connections import is_perpetual


async def read_key_rights(settings: Settings, exchange: str, mode: str, key: ExchangeKey) -> KeyPermissions:
    """Return what the exchange says the key may do; all unknown when it cannot be asked now.

    Raises KeyRefused when the exchange does not accept the key.
    """
    try:
        link = link_for(settings, exchange, mode)
    except ConfigError:  # not an exchange we can ask, or its simulation does not run
        return KeyPermissions()
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session(link))
        api = open_ccxt(link, session, key=key.api_key, secret=key.secret)
        market = BinanceMarket(api, SystemClock(), is_perpetual=is_perpetual(exchange))
        account = BinanceAccount(api, SystemClock(), market.exchange_clock, is_perpetual=market.is_perpetual)
        stack.push_async_callback(account.close)
        try:
            return KeyPermissions(may_withdraw=await account.withdrawals_allowed())
        except (ExchangeDown, ExchangeBusy):
            return KeyPermissions()

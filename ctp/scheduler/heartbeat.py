"""Tell an address outside this server that trading is healthy; when nobody calls it any more, it raises the alarm.

The scheduler calls, the bot says whether trading is healthy: so silence outside means that the server, the scheduler or
the bot is dead, or that the bot cannot trade.

Invariants:
1. The address is called only while the bot is alive, leads and says that trading is healthy.
2. The address is a secret: it is in no log and no notice. Nothing about accounts or money leaves this server.
"""

from __future__ import annotations

import asyncio

import aiohttp
import sqlalchemy as sa

from ctp.clock import Clock
from ctp.config import HeartbeatSettings, read_secret
from ctp.errors import ConfigError, StorageUnavailable
from ctp.logs import logger, register_secret
from ctp.notifiers.watchdog import SILENT_AFTER_MS
from ctp.storage.database import Database
from ctp.storage.leases import read_heartbeats

TIMEOUT_S = 10.0

log = logger(__name__)


def read_address(settings: HeartbeatSettings) -> str:
    """Return the address to call, empty when none is set. Raises ConfigError for what is no address."""
    if settings.url_file is None:
        return ""
    address = read_secret(settings.url_file, "heartbeat.url_file").strip()
    if not address.startswith(("https://", "http://")):
        raise ConfigError(f"heartbeat.url_file: {settings.url_file} does not hold an address that begins with https://")
    register_secret(address)
    return address


def why_unhealthy(connection: sa.Connection, now_ms: int) -> str:
    """Return why trading is not healthy; empty when it is."""
    bot = read_heartbeats(connection).get("bot")
    if bot is None:
        return "the bot has never run"
    if now_ms - bot.at > SILENT_AFTER_MS:
        return "the bot is silent"
    return str(bot.details.get("unhealthy", ""))


async def keep_calling(database: Database, clock: Clock, settings: HeartbeatSettings, address: str) -> None:
    """Call the address while trading is healthy, until cancelled; an address that does not answer is only logged."""

    def look() -> str:
        with database.reading() as connection:
            return why_unhealthy(connection, clock.now_ms())

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as client:
        while True:
            try:
                reason = await asyncio.to_thread(look)
                if not reason or settings.tell_failure:
                    await _call(client, address if not reason else f"{address.rstrip('/')}/fail")
                if reason:
                    log.warning("heartbeat_withheld", reason=reason)
            except StorageUnavailable as error:
                log.warning("heartbeat_withheld", reason=str(error))
            await clock.sleep(settings.every_s)


async def _call(client: aiohttp.ClientSession, address: str) -> None:
    """Call once; whatever comes of it, the next call is a minute away."""
    try:
        async with client.get(address, allow_redirects=False) as answer:
            if answer.status >= 300:
                log.warning("heartbeat_refused", status=answer.status)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        log.warning("heartbeat_unreachable", error=type(error).__name__)

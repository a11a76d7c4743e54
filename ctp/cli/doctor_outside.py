"""The doctor asks outside: the exchanges of open accounts and their clocks, the mail server, Telegram.

Nothing is sent to anybody: a mail server is logged in to and left, Telegram is asked who its bot is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator

from ctp.cli.findings import Finding
from ctp.config import Settings
from ctp.errors import CtpError

PATIENCE_S = 15.0
MOST_DRIFT_MS = 1000


def look_outside(settings: Settings) -> Iterator[Finding]:
    """Ask everybody this installation needs, all at once."""
    asked: list[Coroutine[None, None, Finding]] = [_exchange(settings, *place) for place in _places(settings)]
    if settings.email.host:
        asked.append(_mail(settings))
    if settings.telegram.token_file is not None:
        asked.append(_telegram(settings))
    yield from asyncio.run(_all(asked))
    yield _heartbeat(settings)


async def _all(asked: list[Coroutine[None, None, Finding]]) -> list[Finding]:
    """Ask everybody at once."""
    return list(await asyncio.gather(*asked))


def _places(settings: Settings) -> list[tuple[str, str]]:
    """Return the exchanges and modes of open accounts; none when the database cannot be read."""
    import sqlalchemy as sa

    from ctp.storage.database import Database
    from ctp.storage.tables import accounts

    try:
        database = Database(settings.database_url)
        try:
            database.check()
            with database.reading() as connection:
                query = sa.select(accounts.c.exchange, accounts.c.mode).where(accounts.c.closed_at.is_(None)).distinct()
                return sorted((row.exchange, row.mode) for row in connection.execute(query))
        finally:
            database.close()
    except CtpError:
        return []


async def _exchange(settings: Settings, exchange: str, mode: str) -> Finding:
    """Ask an exchange for its time, and compare."""
    from ctp.trading.ccxt_errors import GARBAGE
    from ctp.trading.ccxt_light import ccxt
    from ctp.trading.ccxt_link import link_for, open_ccxt, open_session

    subject = f"{exchange} ({mode})"
    remedy = "start the simulated exchange: ctp simulator" if mode == "paper" else "check the network and its status page"
    try:
        session = open_session(link := link_for(settings, exchange, mode))
    except (CtpError, OSError) as error:
        return Finding(subject, "wrong", str(error), remedy)
    api = open_ccxt(link, session)
    try:
        async with asyncio.timeout(PATIENCE_S):
            before_ms = time.time() * 1000
            theirs_ms = float(await api.fetch_time())
            drift_ms = (before_ms + time.time() * 1000) / 2 - theirs_ms
    except (ccxt.BaseError, TimeoutError, OSError, *GARBAGE) as error:
        return Finding(subject, "wrong", f"does not answer: {type(error).__name__}", remedy)
    finally:
        await api.close()
        await session.close()
    if mode == "live" and abs(drift_ms) > MOST_DRIFT_MS:
        return Finding(subject, "wrong", f"answers; our clock is {drift_ms:+.0f} ms off", "sudo timedatectl set-ntp true")
    return Finding(subject, "ok", "answers" + (f"; our clock is {drift_ms:+.0f} ms off" if mode == "live" else ""))


async def _mail(settings: Settings) -> Finding:
    """Log in to the mail server and leave."""
    import aiosmtplib

    from ctp.config import read_secret

    chosen = settings.email
    subject, remedy = f"mail {chosen.host}:{chosen.port}", "mend [email] in ctp.toml"
    try:
        password = read_secret(chosen.password_file, "email.password_file") if chosen.password_file else None
        client = aiosmtplib.SMTP(
            hostname=chosen.host,
            port=chosen.port,
            username=chosen.username or None,
            password=password,
            timeout=PATIENCE_S,
            use_tls=chosen.security == "tls",
            start_tls=chosen.security == "starttls",
            cert_bundle=str(chosen.ca_file) if chosen.ca_file else None,
        )
        async with client:
            pass
    except (aiosmtplib.SMTPException, OSError, CtpError) as error:
        return Finding(subject, "wrong", f"{type(error).__name__}: {error}"[:200], remedy)
    return Finding(subject, "ok", "takes our mail" + (" and our password" if chosen.username else ""))


async def _telegram(settings: Settings) -> Finding:
    """Ask Telegram who our bot is."""
    from ctp.config import read_secret
    from ctp.notifiers.telegram_api import BotApi

    assert settings.telegram.token_file is not None
    try:
        api = BotApi(read_secret(settings.telegram.token_file, "telegram.token_file"), settings.telegram.api_url)
        try:
            async with asyncio.timeout(PATIENCE_S):
                me = await api.me()
        finally:
            await api.close()
    except (CtpError, TimeoutError) as error:
        found = str(error) or "no answer"
        return Finding("Telegram", "wrong", found[:200], "check telegram.token_file: @BotFather shows the token")
    return Finding("Telegram", "ok", f"knows our bot: @{me.username}")


def _heartbeat(settings: Settings) -> Finding:
    """Look at the address outside; it is not called, since that would tell it that trading is healthy."""
    from ctp.scheduler.heartbeat import read_address

    remedy = "set heartbeat.url_file (docs/runbook.md): a dead server tells nobody"
    try:
        address = read_address(settings.heartbeat)
    except CtpError as error:
        return Finding("heartbeat", "wrong", str(error), "mend heartbeat.url_file")
    if not address:
        return Finding("heartbeat", "warning", "nobody outside would notice a dead server", remedy)
    return Finding("heartbeat", "ok", "somebody outside is called while trading is healthy")

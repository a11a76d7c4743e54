"""Live push: one look at the database a second for all open pages, told to each page that it concerns.

Invariants:
1. A page hears only of its own person's notices and of accounts they may see, as their rights are at that moment.
2. Every page gets a message at least once a second; a page that gets none says that it is stale.
3. Sockets and kernels of a session that is over are closed within two looks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

import sqlalchemy as sa
from aiohttp import WSMsgType, web

from ctp.accounts.readings import read_accounts
from ctp.accounts.visible import Visible
from ctp.errors import StorageUnavailable
from ctp.notifiers.web import WebNotice, newer_notices, newest_notice_id, unread_count
from ctp.storage.leases import read_heartbeats
from ctp.web.api import is_generated
from ctp.web.channels import CLOSE_S
from ctp.web.login import end_sessions
from ctp.web.notices import notice_view
from ctp.web.people import Visitor
from ctp.web.state import VISITOR, Gateway
from ctp.web.views import account_view

log = logging.getLogger(__name__)

LOOK_S = 1.0
_REAP_EVERY = 5  # looks
_SEND_S = 2.0
_MOST_PER_SESSION = 20


class _Page(NamedTuple):
    """An open page."""

    socket: web.WebSocketResponse
    visitor: Visitor


class Live:
    """Every page that listens."""

    def __init__(self, gateway: Gateway) -> None:
        """Begin with no page."""
        self._gateway = gateway
        self._pages: set[_Page] = set()
        self._last_notice: int | None = None
        self._told: dict[_Page, str] = {}

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        """Keep a page's websocket until it leaves or its session ends."""
        visitor = request[VISITOR]
        sockets = self._gateway.sockets[visitor.session_id]
        if len(sockets) >= _MOST_PER_SESSION:
            raise web.HTTPTooManyRequests
        socket = web.WebSocketResponse(heartbeat=20, timeout=CLOSE_S, max_msg_size=1024, compress=False)
        await socket.prepare(request)
        page = _Page(socket, visitor)
        sockets.add(socket)
        try:
            await socket.send_json({"kind": "hello", "boot": self._gateway.boot, "unread": visitor.unread})
            self._pages.add(page)
            async for message in socket:
                if message.type == WSMsgType.ERROR:
                    break
        except ConnectionResetError:
            pass
        finally:
            self._pages.discard(page)
            self._told.pop(page, None)
            sockets.discard(socket)
        return socket

    async def watch(self) -> None:
        """Look and tell once a second until cancelled."""
        looks = 0
        while True:
            await self._gateway.clock.sleep(LOOK_S)
            looks += 1
            try:
                await self._close_ended()
                if looks % _REAP_EVERY == 0:
                    await self._gateway.kernels.reap()
                if self._pages:
                    await self._tell()
            except StorageUnavailable as error:
                log.warning("live push waits for the database: %s", error)

    async def _close_ended(self) -> None:
        """Close what belongs to sessions that are over: logged out, revoked, expired, or of a disabled user."""
        gateway = self._gateway
        for session in [session for session, sockets in gateway.sockets.items() if not sockets]:
            del gateway.sockets[session]
        sessions = set(gateway.sockets) | gateway.kernels.sessions()
        ended = await gateway.people.ended(sessions)
        if ended:
            await end_sessions(gateway, ended)

    async def _tell(self) -> None:
        """Tell every page what is new."""
        pages = list(self._pages)
        visitors: dict[int, Visitor] = {}
        for page in pages:
            now = await self._gateway.people.visitor_of_session(page.visitor.session_id)
            if now is not None:  # with the role and language of this moment
                visitors[now.user_id] = now
        pages = [page for page in pages if page.visitor.user_id in visitors]
        news = await self._gateway.read(lambda connection: self._look(connection, visitors))
        await asyncio.gather(
            *(self._tell_page(page, visitors[page.visitor.user_id], news[page.visitor.user_id]) for page in pages)
        )

    def _look(self, connection: sa.Connection, visitors: dict[int, Visitor]) -> dict[int, dict[str, Any]]:
        """Read what concerns each visitor."""
        now = self._gateway.clock.now_ms()
        bot = read_heartbeats(connection).get("bot")
        fresh: list[WebNotice] = []
        if self._last_notice is None:
            self._last_notice = newest_notice_id(connection)
        else:
            fresh = newer_notices(connection, set(visitors), self._last_notice)
            self._last_notice = max([self._last_notice, *(notice.id for notice in fresh)])
        return {
            user_id: {
                "bot_age_ms": None if bot is None else max(0, now - bot.at),
                "unread": unread_count(connection, user_id),
                "notices": [notice for notice in fresh if notice.user_id == user_id],
                "accounts": [
                    account_view(one, visitor, is_generated(self._gateway, one))
                    for one in read_accounts(Visible(connection, visitor.actor))
                ],
            }
            for user_id, visitor in visitors.items()
        }

    async def _tell_page(self, page: _Page, visitor: Visitor, news: dict[str, Any]) -> None:
        """Send one page its notices and its beat; accounts only when they changed."""
        beat = {"kind": "beat", "bot_age_ms": news["bot_age_ms"], "unread": news["unread"]}
        accounts = repr(news["accounts"])
        if self._told.get(page) != accounts:
            beat["accounts"] = news["accounts"]
        try:
            async with asyncio.timeout(_SEND_S):
                for notice in news["notices"]:
                    view = notice_view(notice, visitor)
                    await page.socket.send_json({"kind": "notice", "notice": view, "unread": news["unread"]})
                await page.socket.send_json(beat)
                self._told[page] = accounts
        except (ConnectionResetError, TimeoutError):
            self._pages.discard(page)
            await page.socket.close()

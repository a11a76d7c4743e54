"""The websocket between a page and its kernel: own kernels only, widget messages only, closed when the session ends."""

from __future__ import annotations

import asyncio
import logging
import re

from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType, web

from ctp.errors import NotFound
from ctp.i18n import text
from ctp.web.frames import LARGEST_FRAME, PROTOCOL, refusal
from ctp.web.state import GATEWAY, VISITOR

log = logging.getLogger(__name__)

REFUSED, ENDED = 4403, 4401  # close codes
CLOSE_S = 0.5  # how long a page may take to answer a close
_SESSION = re.compile(r"[0-9a-zA-Z-]{0,64}")
_HEARTBEAT_S = 20.0


async def channels(request: web.Request) -> web.StreamResponse:
    """Join a page's websocket to its kernel's."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    kernel_id = request.match_info["kernel"]
    if not gateway.kernels.is_owned(kernel_id, visitor.session_id):
        raise NotFound(text("web.error.not_found", visitor.language))
    asked = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    page_session = request.query.get("session_id", "")
    query = f"?session_id={page_session}" if _SESSION.fullmatch(page_session) else ""
    try:
        kernel_side = await gateway.client.ws_connect(
            f"{gateway.voila.address}/api/kernels/{kernel_id}/channels{query}",
            protocols=(PROTOCOL,) if PROTOCOL in asked else (),
            headers=gateway.voila.headers,
            max_msg_size=0,
            compress=0,
        )
    except ClientError:
        raise NotFound(text("web.error.not_found", visitor.language)) from None
    page_side = web.WebSocketResponse(
        protocols=(kernel_side.protocol,) if kernel_side.protocol else (),
        max_msg_size=LARGEST_FRAME,
        heartbeat=_HEARTBEAT_S,
        timeout=CLOSE_S,
        compress=False,
    )
    async with kernel_side:
        await page_side.prepare(request)
        gateway.sockets[visitor.session_id].add(page_side)
        gateway.kernels.watch(kernel_id)
        relays = [
            asyncio.create_task(_to_kernel(page_side, kernel_side, visitor.name)),
            asyncio.create_task(_to_page(kernel_side, page_side)),
        ]
        try:
            await asyncio.wait(relays, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for relay in relays:
                relay.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
            gateway.kernels.unwatch(kernel_id)
            gateway.sockets[visitor.session_id].discard(page_side)
            await page_side.close()
    return page_side


async def _to_kernel(page_side: web.WebSocketResponse, kernel_side: ClientWebSocketResponse, name: str) -> None:
    """Pass on what the page may say; the first thing it may not ends the connection."""
    async for message in page_side:
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            continue
        reason = refusal(message.data)
        if reason:
            log.warning("user %s sent a kernel what no page of ours sends: %s", name, reason)
            await page_side.close(code=REFUSED, message=b"message refused")
            return
        if message.type == WSMsgType.TEXT:
            await kernel_side.send_str(message.data)
        else:
            await kernel_side.send_bytes(message.data)


async def _to_page(kernel_side: ClientWebSocketResponse, page_side: web.WebSocketResponse) -> None:
    """Pass on what the kernel says."""
    async for message in kernel_side:
        if message.type == WSMsgType.TEXT:
            await page_side.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await page_side.send_bytes(message.data)

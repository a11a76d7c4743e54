"""The only ways from a browser to Voila: render a dashboard, look at one's own kernel, end it. Everything else is denied.

Invariants:
1. Nothing a browser sends reaches Voila except the path we build ourselves; no header, cookie or query is passed on.
2. The page is held back at its kernel's id until that id is bound to the visitor's session.
"""

from __future__ import annotations

import asyncio
import logging
import re

from aiohttp import ClientError, ClientResponse, web

from ctp.accounts.rights import Role
from ctp.errors import NotFound
from ctp.i18n import text
from ctp.web.pages import dashboard_head, dashboard_header, message_page
from ctp.web.people import Visitor
from ctp.web.security import DASHBOARD_POLICY
from ctp.web.state import GATEWAY, VISITOR, Gateway

log = logging.getLogger(__name__)

DASHBOARDS: dict[str, frozenset[Role]] = {"trading": frozenset({"viewer", "trader", "quant", "admin"})}
_HEAD, _HEADER = b"<!--ctp:head-->", b"<!--ctp:header-->"
_KERNEL_ID = re.compile(rb'"kernelId": ?"([0-9a-f-]{36})"')
_READY_S = 60.0  # what Voila may need to start on a busy machine


async def render(request: web.Request) -> web.StreamResponse:
    """Serve a dashboard: a kernel of the visitor's own inside our page."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    name = request.match_info["name"]
    if visitor.role not in DASHBOARDS.get(name, ()):
        raise NotFound(text("web.error.not_found", visitor.language))
    if not await gateway.kernels.make_room(visitor.session_id):
        return _message(gateway, visitor, "too_many", 429)
    account = request.query.get("account", "")
    handle = gateway.kernels.expect(visitor.session_id)
    headers = gateway.voila.headers | {"X-Ctp-Handle": handle}
    if account.isascii() and account.isdigit() and len(account) < 19:
        headers["X-Ctp-Account"] = account
    try:
        await asyncio.wait_for(gateway.voila.is_ready.wait(), _READY_S)
        async with gateway.client.get(f"{gateway.voila.address}/voila/render/{name}.ipynb", headers=headers) as answer:
            if answer.status != web.HTTPOk.status_code:
                raise ClientError(f"Voila answered {answer.status}")
            return await _dress(request, answer, handle, name)
    except (ClientError, TimeoutError) as error:
        log.warning("dashboard %s could not be rendered: %r", name, error)
        return _message(gateway, visitor, "unavailable", 503)
    finally:
        gateway.kernels.forget_expected(handle)


async def _dress(request: web.Request, answer: ClientResponse, handle: str, name: str) -> web.StreamResponse:
    """Pass Voila's page on as it comes: with our head and header, and no kernel id before it is bound."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    response = web.StreamResponse(headers={"Content-Type": "text/html; charset=utf-8"})
    response.headers["Content-Security-Policy"] = DASHBOARD_POLICY
    gateway.transport.harden(response)
    held, kernel_id = b"", ""
    is_dressed = False
    try:
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            if kernel_id:
                await response.write(chunk)
                continue
            held += chunk
            if not is_dressed and _HEADER in held:
                head, _, held = held.partition(_HEADER)
                head = head.replace(_HEAD, dashboard_head(visitor).encode())
                look = f'lang="{visitor.language}" data-theme="{visitor.theme}" data-rise="{visitor.rise_colour}"'
                head = head.replace(b"<html>", f"<html {look}>".encode())
                await response.write(head + dashboard_header(gateway, visitor, name).encode())
                is_dressed = True
            found = _KERNEL_ID.search(held)
            if found:
                await gateway.kernels.bind(found[1].decode(), visitor.session_id, handle, name)
                kernel_id = found[1].decode()
                await response.write(held)
        await response.write_eof()
    except (ConnectionResetError, asyncio.CancelledError):
        if kernel_id:  # the reader went away while the page was on its way
            gateway.kernels.end_soon(kernel_id)
        raise
    finally:
        gateway.kernels.page_sent(kernel_id)
    return response


async def kernel_model(request: web.Request) -> web.Response:
    """Tell a page about its own kernel, as the widget library asks."""
    gateway, kernel_id = _own_kernel(request)
    async with gateway.client.get(
        f"{gateway.voila.address}/api/kernels/{kernel_id}", headers=gateway.voila.headers
    ) as answer:
        if answer.status != web.HTTPOk.status_code:
            raise NotFound(text("web.error.not_found", request[VISITOR].language))
        return web.json_response(await answer.json())


async def end_kernel(request: web.Request) -> web.Response:
    """End a page's own kernel; its page asks for this when it is left."""
    gateway, kernel_id = _own_kernel(request)
    await gateway.kernels.end(kernel_id)
    return web.Response(status=204)


def _message(gateway: Gateway, visitor: Visitor, what: str, status: int) -> web.Response:
    """Say why there is no dashboard."""
    title, explanation = (text(f"web.dashboard.{what}.{part}", visitor.language) for part in ("title", "text"))
    return message_page(gateway, visitor, title, explanation, status=status)


def _own_kernel(request: web.Request) -> tuple[Gateway, str]:
    """Return the kernel of the address when it belongs to the visitor's session."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    kernel_id = request.match_info["kernel"]
    if not gateway.kernels.is_owned(kernel_id, visitor.session_id):
        raise NotFound(text("web.error.not_found", visitor.language))
    return gateway, kernel_id

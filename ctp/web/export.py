"""The visitor's own data as a file to keep, without their exchange keys.

Invariants:
1. A person gets their own data only; to those who own none the address does not exist.
2. A session is not enough to take exchange keys out: they come with `ctp export` and a passphrase alone.
3. One export of a person at a time; nothing of it stays on the disk.
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

from aiohttp import web

from ctp.accounts.rights import allowed
from ctp.backup.user_export import export_user
from ctp.errors import NotFound, StateConflict
from ctp.i18n import text
from ctp.web.people import Visitor
from ctp.web.state import GATEWAY, VISITOR, Gateway

_PIECE = 1 << 18


async def own_data(request: web.Request) -> web.StreamResponse:
    """Send the visitor's data as a ZIP."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    if not allowed(visitor.actor, "export_own"):
        raise NotFound("export")
    if visitor.user_id in gateway.exporting:
        raise StateConflict(text("web.export.under_way", visitor.language))
    gateway.exporting.add(visitor.user_id)
    try:
        now = gateway.clock.now_ms()
        content = await asyncio.to_thread(_export, gateway, visitor, now)
        with content:
            return await _send(request, gateway, visitor, content, now)
    finally:
        gateway.exporting.discard(visitor.user_id)


def _export(gateway: Gateway, visitor: Visitor, now_ms: int) -> BinaryIO:
    """Write the export and return it open; its name is gone already, and with the last reader its bytes."""
    with tempfile.TemporaryDirectory(prefix="export-", dir=gateway.settings.cache) as folder:
        file = Path(folder) / "export.zip"
        export_user(gateway.settings, gateway.database, visitor.actor, visitor.name, file, now_ms)
        return file.open("rb")


async def _send(
    request: web.Request, gateway: Gateway, visitor: Visitor, content: BinaryIO, now_ms: int
) -> web.StreamResponse:
    """Send an open file piece by piece."""
    day = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(visitor.zone)).date()
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="ctp-export-{day}.zip"'})
    response.content_type = "application/zip"
    gateway.transport.harden(response)
    await response.prepare(request)
    while piece := await asyncio.to_thread(content.read, _PIECE):
        await response.write(piece)
    await response.write_eof()
    return response

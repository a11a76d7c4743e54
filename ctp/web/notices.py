"""Notices as pages show them, in their reader's words."""

from __future__ import annotations

from typing import Any

from ctp.notifiers.messages import compose
from ctp.notifiers.web import WebNotice


def notice_view(notice: WebNotice, language: str, zone: str) -> dict[str, Any]:
    """Return a notice in its reader's words; the page itself shows when it was."""
    message = compose(notice.kind, notice.facts, language, zone, notice.created_at)
    return {
        "id": notice.id,
        "account": notice.account_id,
        "kind": notice.kind,
        "title": message.title,
        "text": "\n".join(message.lines),
        "mode": message.mode,
        "urgent": notice.urgent,
        "created_at": notice.created_at,
        "read_at": notice.read_at,
    }

"""A notice as pages show it."""

from __future__ import annotations

from typing import Any

from ctp.notifiers.messages import compose
from ctp.notifiers.web import WebNotice
from ctp.web.people import Visitor


def notice_view(notice: WebNotice, visitor: Visitor) -> dict[str, Any]:
    """Return a notice in its reader's words."""
    words = compose(notice.kind, notice.facts, visitor.language, visitor.zone, notice.created_at)
    return {
        "id": notice.id,
        "account": notice.account_id,
        "kind": notice.kind,
        "title": words.title,
        "text": "\n".join(words.lines),
        "urgent": notice.urgent,
        "created_at": notice.created_at,
        "read_at": notice.read_at,
    }

"""A notice as pages show it."""

from __future__ import annotations

from typing import Any

from ctp.i18n import has_text, text
from ctp.notifiers.messages import compose
from ctp.notifiers.web import WebNotice
from ctp.web.people import Visitor


def notice_view(notice: WebNotice, visitor: Visitor) -> dict[str, Any]:
    """Return a notice in its reader's words. `name` tells its kind alone, for screens that others may see."""
    words = compose(notice.kind, notice.facts, visitor.language, visitor.zone, notice.created_at)
    known = notice.kind if has_text(f"notice.{notice.kind}.name") else ""
    return {
        "id": notice.id,
        "account": notice.account_id,
        "kind": notice.kind,
        "name": text(f"notice.{known}.name" if known else "notice.unknown.title", visitor.language),
        "mode": words.mode,
        "title": words.title,
        "text": "\n".join(words.lines),
        "link": _link(notice, visitor),
        "urgent": notice.urgent,
        "created_at": notice.created_at,
        "read_at": notice.read_at,
    }


def _link(notice: WebNotice, visitor: Visitor) -> str:
    """Return where its reader can look closer; empty when there is nothing to look at."""
    report = notice.facts.get("report_id")
    if isinstance(report, int):
        return f"/reports/{report}"
    if notice.account_id is not None and visitor.may_trade_page:
        return f"/dashboards/trading?account={notice.account_id}"
    return ""

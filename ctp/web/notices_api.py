"""The visitor's notices: their history with filters, read and unread, and which kinds reach them over which channel."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ctp.accounts.audit import record
from ctp.accounts.notice_times import NoticeTimes, read_notice_times, set_notice_times
from ctp.accounts.visible import Visible
from ctp.errors import InputError
from ctp.i18n import text
from ctp.notifiers.kinds import CHANNELS, KINDS, describe_kinds, reachable_channels, read_choices, set_choice
from ctp.notifiers.web import WebNotice, mark_read, recent_notices, unread_count
from ctp.web.api import EntryRefused, read_json, whole_number
from ctp.web.contacts_api import contact_views
from ctp.web.notices import notice_view
from ctp.web.pages import render_page
from ctp.web.state import GATEWAY, VISITOR

_MOST_NOTICES = 100
_CLOCKS = ("quiet_from", "quiet_until", "report_at")
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


async def notices_page(request: web.Request) -> web.Response:
    """Show the history of notices; its script fills it in."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    seen = await gateway.read(lambda connection: Visible(connection, visitor.actor).accounts(with_closed=True))
    accounts = [
        {"id": one.id, "name": one.name, "mode_word": text(f"mode.{one.mode}", visitor.language)} for one in seen
    ]
    title = text("web.notices.title", visitor.language)
    kinds = describe_kinds(visitor.language)
    return render_page("notices.html", gateway, visitor, here="notices", title=title, kinds=kinds, accounts=accounts)


async def notices(request: web.Request) -> web.Response:
    """Return the visitor's notices, newest first, in their language.

    before: the id to go on from. kind, account, unread=1: only those. `more` tells whether there are older ones.
    """
    gateway, visitor, query = request.app[GATEWAY], request[VISITOR], request.query
    limit, before = whole_number(request, "limit", 50) or 0, whole_number(request, "before", None)
    account_id, kind = whole_number(request, "account", None), query.get("kind")
    if not 1 <= limit <= _MOST_NOTICES:
        raise InputError("limit", limit, f"must be 1 to {_MOST_NOTICES}")
    if kind is not None and kind not in KINDS:
        raise InputError("kind", kind, "must be one of " + ", ".join(KINDS))

    def read(connection: sa.Connection) -> tuple[list[WebNotice], int]:
        if account_id is not None:
            Visible(connection, visitor.actor).account(account_id)
        found = recent_notices(
            connection, visitor.user_id, limit=limit + 1, before_id=before, kind=kind, account_id=account_id,
            unread=query.get("unread") == "1",
        )  # fmt: skip
        return found, unread_count(connection, visitor.user_id)

    found, unread = await gateway.read(read)
    views = [notice_view(one, visitor) for one in found[:limit]]
    return web.json_response({"notices": views, "more": len(found) > limit, "unread": unread})


async def read_notices(request: web.Request) -> web.Response:
    """Mark notices of the visitor as read: those of `ids`, or `all`."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    body = await read_json(request)
    ids = None if body.get("all") is True else body.get("ids")
    is_list = isinstance(ids, list) and all(type(one) is int and 0 < one < 1 << 63 for one in ids)
    if ids is not None and (not is_list or len(ids) > _MOST_NOTICES):
        raise InputError("ids", "…", f"must be up to {_MOST_NOTICES} numbers")
    if ids is None and body.get("all") is not True:
        raise InputError("ids", "…", text("web.error.wrong_body", visitor.language))
    now = gateway.clock.now_ms()

    def write(connection: sa.Connection) -> int:
        mark_read(connection, visitor.user_id, now, ids)
        return unread_count(connection, visitor.user_id)

    unread = await gateway.write(write)
    gateway.people.forget({visitor.session_id})
    return web.json_response({"unread": unread})


async def choose(request: web.Request) -> web.Response:
    """Turn a kind of notice on or off over one channel, for the visitor alone."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    body: dict[str, Any] = await read_json(request)
    kind, channel, enabled = body.get("kind"), body.get("channel"), body.get("enabled")
    if not isinstance(enabled, bool):
        raise InputError("enabled", "…", text("web.error.wrong_body", visitor.language))
    now = gateway.clock.now_ms()

    def write(connection: sa.Connection) -> None:
        set_choice(connection, visitor.user_id, str(kind), str(channel), enabled)
        details = {"kind": str(kind), "channel": str(channel), "enabled": enabled}
        record(connection, visitor.actor, "user.notices", f"user:{visitor.user_id}", now, **details)

    await gateway.write(write)
    return web.Response(status=204)


async def settings_page(request: web.Request) -> web.Response:
    """Show which notices reach the visitor, over which channels and when."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]

    def read(connection: sa.Connection) -> dict[str, Any]:
        return {
            "choices": read_choices(connection, visitor.user_id),
            "times": read_notice_times(connection, visitor.user_id),
            "reachable": reachable_channels(connection, visitor.user_id),
            "contacts": contact_views(connection, gateway, visitor),
        }

    facts = await gateway.read(read)
    times: NoticeTimes = facts["times"]
    title = text("web.notices.settings", visitor.language)
    clock = {field: _clock(getattr(times, field)) for field in _CLOCKS}
    return render_page(
        "notice_settings.html", gateway, visitor, here="profile", title=title, clock=clock, channels=CHANNELS,
        kinds=describe_kinds(visitor.language), **facts,
    )  # fmt: skip


async def set_times(request: web.Request) -> web.Response:
    """Change the visitor's quiet hours and report times. Times of day are HH:MM; both empty: no quiet hours."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    body = await read_json(request)
    quiet_from, quiet_until, report_at = (_minutes(field, body.get(field)) for field in _CLOCKS)
    weekly, monthly = body.get("weekly_report"), body.get("monthly_report")
    if not isinstance(weekly, bool) or not isinstance(monthly, bool):
        raise InputError("weekly_report, monthly_report", "…", text("web.error.wrong_body", visitor.language))
    if report_at is None:
        raise EntryRefused("report_at", "", text("web.times.report_missing", visitor.language))
    if (quiet_from is None) != (quiet_until is None):
        raise EntryRefused("quiet_until", "", text("web.times.quiet_half", visitor.language))
    if quiet_from is not None and quiet_from == quiet_until:
        raise EntryRefused("quiet_until", body["quiet_until"], text("web.times.quiet_same", visitor.language))
    times, now = NoticeTimes(quiet_from, quiet_until, report_at, weekly, monthly), gateway.clock.now_ms()
    await gateway.write(lambda connection: set_notice_times(connection, visitor.actor, times, now))
    return web.Response(status=204)


def _minutes(field: str, value: object) -> int | None:
    """Read a time of day; None when it is left empty."""
    if value in (None, ""):
        return None
    found = _TIME_OF_DAY.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InputError(field, str(value)[:20], "must be HH:MM, from 00:00 to 23:59")
    return int(found[1]) * 60 + int(found[2])


def _clock(minutes: int | None) -> str:
    """Write a time of day as a time field has it."""
    return "" if minutes is None else f"{minutes // 60:02d}:{minutes % 60:02d}"

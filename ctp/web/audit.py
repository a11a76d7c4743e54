"""The audit log for administrators: filtered, page by page, and as a file for a spreadsheet.

Invariants:
1. To anybody but an administrator page and file do not exist.
2. The file holds everything that matches, is read in pieces, and has no cell that a spreadsheet takes for a formula.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, get_args
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from aiohttp import web

from ctp import i18n
from ctp.accounts.audit import AuditFilter, Deed, audit_groups, read_audit
from ctp.accounts.rights import Door
from ctp.accounts.users import User, list_users
from ctp.backup.user_export import cell
from ctp.errors import InputError
from ctp.i18n import has_text, text
from ctp.storage.tables import accounts, users
from ctp.web.api import whole_number
from ctp.web.pages import render_page
from ctp.web.people import Visitor
from ctp.web.state import GATEWAY
from ctp.web.users import administrator

DOORS: tuple[str, ...] = get_args(Door)
_PAGE, _PIECE = 50, 1000
_GROUP = re.compile(r"[a-z_]{1,32}")
_COLUMNS = ("time", "user", "door", "action", "subject", "details")

Named = Callable[[str], str]


async def audit_page(request: web.Request) -> web.Response:
    """Show deeds, newest first. user, door, group, since, until: only those; before: to go on from."""
    gateway, visitor = request.app[GATEWAY], administrator(request)
    wanted, chosen = _wanted(request, visitor)
    before = whole_number(request, "before", None)

    def read(connection: sa.Connection) -> tuple[list[Deed], list[str], list[User], Named]:
        found = read_audit(connection, visitor.actor, limit=_PAGE + 1, before_id=before, wanted=wanted)
        people = list_users(connection, visitor.actor)
        return found, audit_groups(connection, visitor.actor), people, _names(connection, found)

    found, groups, people, named = await gateway.read(read)
    older = urlencode(chosen | {"before": str(found[_PAGE - 1].id)}) if len(found) > _PAGE else ""
    return render_page(
        "audit.html", gateway, visitor, here="operations", title=text("web.audit.title", visitor.language),
        deeds=[_view(deed, named, visitor) for deed in found[:_PAGE]], chosen=chosen, is_first=before is None,
        people=people, doors=[(door, text(f"audit.door.{door}", visitor.language)) for door in DOORS],
        groups=[(group, _group_word(group, visitor.language)) for group in groups], older=older, query=urlencode(chosen),
    )  # fmt: skip


async def audit_file(request: web.Request) -> web.StreamResponse:
    """Send everything that matches as CSV, newest first."""
    gateway, visitor = request.app[GATEWAY], administrator(request)
    wanted, _ = _wanted(request, visitor)
    zone = ZoneInfo(visitor.zone)
    today = datetime.fromtimestamp(gateway.clock.now_ms() / 1000, zone).date()
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="ctp-audit-{today}.csv"'})
    response.content_type, response.charset = "text/csv", "utf-8"
    gateway.transport.harden(response)
    await response.prepare(request)
    await response.write("\ufeff".encode() + _lines([_COLUMNS]))  # spreadsheets need the mark to read Korean
    before: int | None = None
    while True:

        def read(connection: sa.Connection, before: int | None = before) -> list[Deed]:
            return read_audit(connection, visitor.actor, limit=_PIECE, before_id=before, wanted=wanted)

        found = await gateway.read(read)
        if found:
            await response.write(_lines([_row(deed, zone) for deed in found]))
        if len(found) < _PIECE:
            break
        before = found[-1].id
    await response.write_eof()
    return response


def _wanted(request: web.Request, visitor: Visitor) -> tuple[AuditFilter, dict[str, str]]:
    """Return what is asked for, also as it was written. Raises InputError."""
    door, group = request.query.get("door") or None, request.query.get("group") or None
    if door is not None and door not in DOORS:
        raise InputError("door", door[:40], "must be one of " + ", ".join(DOORS))
    if group is not None and not _GROUP.fullmatch(group):
        raise InputError("group", group[:40], "must be 1 to 32 characters")
    since, until = _day(request, "since", visitor), _day(request, "until", visitor, 1)
    chosen = {name: value for name in ("user", "door", "group", "since", "until") if (value := request.query.get(name))}
    return AuditFilter(whole_number(request, "user", None), door, group, since, until), chosen


def _day(request: web.Request, name: str, visitor: Visitor, later: int = 0) -> int | None:
    """Return when a day of the query begins for the reader, or a later one, in milliseconds UTC."""
    given = request.query.get(name)
    if not given:
        return None
    try:
        day = date.fromisoformat(given) + timedelta(days=later)
        begins = datetime.combine(day, datetime.min.time(), ZoneInfo(visitor.zone))
        return round(begins.timestamp() * 1000)
    except (OverflowError, ValueError):
        raise InputError(name, given[:40], "must be a day such as 2026-05-01") from None


def _names(connection: sa.Connection, deeds: list[Deed]) -> Named:
    """Return what says in words what deeds were done to: people and accounts by name."""
    ids: dict[str, set[int]] = {"user": set(), "account": set()}
    for deed in deeds:
        kind, _, number = deed.subject.partition(":")
        if kind in ids and number.isdecimal() and len(number) < 19:
            ids[kind].add(int(number))
    people = dict(connection.execute(sa.select(users.c.id, users.c.name).where(users.c.id.in_(ids["user"]))).all())
    owned = connection.execute(
        sa.select(accounts.c.id, users.c.name, accounts.c.name)
        .join(users, users.c.id == accounts.c.user_id)
        .where(accounts.c.id.in_(ids["account"]))
    ).all()
    known = {f"user:{number}": str(name) for number, name in people.items()}
    known |= {f"account:{number}": f"{owner} / {name}" for number, owner, name in owned}
    return lambda subject: known.get(subject, subject)


def _view(deed: Deed, named: Named, visitor: Visitor) -> dict[str, Any]:
    """Return a line of the page."""
    language = visitor.language
    return {
        "id": deed.id,
        "when": i18n.moment(deed.at, language, visitor.zone),
        "who": deed.user_name or text("web.audit.machine", language),
        "door": text(f"audit.door.{deed.door}", language) if deed.door in DOORS else deed.door,
        "action": _action_word(deed.action, language),
        "code": deed.action,
        "subject": named(deed.subject),
        "details": [(name, _shown(value)) for name, value in deed.details.items()],
    }


def _action_word(action: str, language: str) -> str:
    """Return an action in words; one that has none stays as it is written down."""
    group, _, verb = action.partition(".")
    if group == "command" and has_text(f"command.{verb}"):
        return text("audit.command", language, command=text(f"command.{verb}", language))
    if group == "telegram" and verb != "confirm":
        return text("audit.telegram", language, command=verb)
    key = f"audit.action.{group}.{verb}"
    return text(key, language) if has_text(key) else action


def _group_word(group: str, language: str) -> str:
    """Return what actions of one noun are about."""
    key = f"audit.group.{group}"
    return text(key, language) if has_text(key) else group


def _shown(value: object) -> str:
    """Return a detail as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _row(deed: Deed, zone: ZoneInfo) -> tuple[str, ...]:
    """Return a line of the file."""
    at = datetime.fromtimestamp(deed.at / 1000, zone).isoformat(timespec="seconds")
    details = json.dumps(deed.details, ensure_ascii=False)
    return tuple(map(cell, (at, deed.user_name or "", deed.door, deed.action, deed.subject, details)))


def _lines(rows: list[tuple[str, ...]]) -> bytes:
    """Write lines of CSV."""
    sheet = io.StringIO()
    csv.writer(sheet).writerows(rows)
    return sheet.getvalue().encode()

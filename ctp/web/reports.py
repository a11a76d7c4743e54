"""The reader's reports: the list, asking for one now, and each as a page that can run nothing and ask nobody.

Invariants:
1. A report is served to the person it was made for, while they may see its account; anything else is not found.
2. It is served in a sandbox: no script, no request to anywhere, no part in our own origin.
3. The path comes from the database and must lie in the folder of reports, links resolved.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import sqlalchemy as sa
from aiohttp import web

from ctp import i18n
from ctp.accounts.report_requests import DONE, ReportRequest, ask_report, my_requests
from ctp.accounts.visible import AccountView, ReportView, Visible
from ctp.errors import InputError, NotFound
from ctp.explained import retold
from ctp.i18n import text
from ctp.notifiers.watchdog import SILENT_AFTER_MS
from ctp.storage.leases import read_heartbeats
from ctp.web.api import read_json, whole_number
from ctp.web.pages import render_page
from ctp.web.people import Visitor
from ctp.web.state import GATEWAY, VISITOR, Gateway

KINDS = ("daily", "weekly", "monthly")
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_PAGE = 30
_SHOWN_MS = 15 * 60_000  # how long the end of a request stays on the page
_BEFORE = re.compile(r"(\d{4}-\d{2}-\d{2})\.(\d{1,18})", re.ASCII)


async def reports_page(request: web.Request) -> web.Response:
    """List the visitor's reports, newest period first. account, kind: only those; before: to go on from."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    if not visitor.may_trade_page:
        raise NotFound("reports")
    account_id, kind = whole_number(request, "account", None), request.query.get("kind") or None
    before = _before(request.query.get("before", ""))
    if kind is not None and kind not in KINDS:
        raise InputError("kind", kind, "must be one of " + ", ".join(KINDS))

    def read(connection: sa.Connection) -> tuple[list[AccountView], list[ReportView], dict[str, Any]]:
        visible = Visible(connection, visitor.actor)
        found = visible.reports(account_id=account_id, kind=kind, limit=_PAGE + 1, before=before)
        return visible.accounts(with_closed=True), found, _asked(connection, visitor, gateway.clock.now_ms())

    accounts, found, asked = await gateway.read(read)
    by_id = {account.id: account for account in accounts}
    chosen = {name: value for name, value in (("account", account_id), ("kind", kind)) if value is not None}
    last = found[_PAGE - 1] if len(found) > _PAGE else None
    return render_page(
        "reports.html", gateway, visitor, here="reports", title=text("web.reports.title", visitor.language),
        kinds=KINDS, chosen=chosen, is_first=before is None, asked=asked,
        accounts=[_named(account, visitor) for account in accounts],
        reports=[_view(one, by_id[one.account_id], visitor, gateway) for one in found[:_PAGE]],
        older=urlencode(chosen | {"before": f"{last.period}.{last.id}"}) if last else "",
    )  # fmt: skip


async def requests(request: web.Request) -> web.Response:
    """Return how far the visitor's requests have come."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    if not visitor.may_trade_page:
        raise NotFound("reports")
    now = gateway.clock.now_ms()
    return web.json_response(await gateway.read(lambda connection: _asked(connection, visitor, now)))


async def ask(request: web.Request) -> web.Response:
    """Ask for a report now; day: in the period wanted, without it the last that has ended."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    if not visitor.may_trade_page:
        raise NotFound("reports")
    body = await read_json(request)
    account, kind, day = body.get("account"), body.get("kind"), body.get("day", "")
    if type(account) is not int or not 0 < account < 1 << 63 or not isinstance(kind, str) or not isinstance(day, str):
        raise InputError("report", "…", text("web.error.wrong_body", visitor.language))
    now = gateway.clock.now_ms()
    made = await gateway.write(lambda connection: ask_report(connection, visitor.actor, account, kind, now, day=day))
    return web.json_response({"id": made.id}, status=202)


async def report_file(request: web.Request) -> web.StreamResponse:
    """Serve one report in its sandbox; download=1: to be kept as a file."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    report_id = int(request.match_info["report"])

    def read(connection: sa.Connection) -> tuple[ReportView, AccountView]:
        visible = Visible(connection, visitor.actor)
        report = visible.report(report_id)
        return report, visible.account(report.account_id)

    report, account = await gateway.read(read)
    file = _file(gateway, report)
    if file is None:
        raise NotFound(f"the file of report {report_id}")
    how = "attachment" if request.query.get("download") == "1" else "inline"
    name = f"{text(f'mode.{account.mode}', visitor.language)}_{account.name}_{report.kind}_{report.period}.html"
    plain = f"{'LIVE' if account.mode == 'live' else 'SIMULATED'}_{report.kind}_{report.period}.html"
    return web.FileResponse(
        file,
        headers={
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": REPORT_POLICY,
            "Content-Disposition": f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        },
    )


def _asked(connection: sa.Connection, visitor: Visitor, now_ms: int) -> dict[str, Any]:
    """Return the visitor's requests, and whether anybody is there to make them."""
    accounts = {account.id: account for account in Visible(connection, visitor.actor).accounts(with_closed=True)}
    found = my_requests(connection, visitor.actor, now_ms - _SHOWN_MS)
    beat = read_heartbeats(connection).get("backup")
    return {
        "requests": [_request(one, accounts[one.account_id], visitor) for one in found],
        "is_silent": beat is None or now_ms - beat.at > SILENT_AFTER_MS,
    }


def _request(one: ReportRequest, account: AccountView, visitor: Visitor) -> dict[str, Any]:
    """Return a request in words."""
    language = visitor.language
    return {
        "id": one.id,
        "account": _named(account, visitor),
        "kind_word": text(f"web.reports.{one.kind}", language),
        "day": one.day,
        "asked_at": one.asked_at,
        "result": one.result,
        "result_word": text(f"web.reports.asked_{one.result}", language),
        "reason": retold(one.reason, language) if one.reason else "",
        "report": one.report_id if one.result == DONE else None,
    }


def _view(report: ReportView, account: AccountView, visitor: Visitor, gateway: Gateway) -> dict[str, Any]:
    """Return a line of the list."""
    language, told = visitor.language, report.summary
    findings = told.get("findings") or ()
    pnl, month = _known(told.get("pnl")), _known(told.get("month_return"))
    return {
        "id": report.id,
        "account": _named(account, visitor),
        "kind_word": text(f"web.reports.{report.kind}", language),
        "period": _period(report),
        "pnl": "–" if pnl is None else i18n.money(pnl, account.quote, language, signed=True),
        "direction": "" if not pnl else "rise" if pnl > 0 else "fall",
        "month": "–" if month is None else i18n.percent(month, signed=True),
        "trades": told.get("trades", "–"),
        "attention": text("web.reports.attention", language, count=len(findings)) if findings else "",
        "is_there": report.status == "done" and _file(gateway, report) is not None,
        "problem": text(f"web.reports.{'failed' if report.status != 'done' else 'gone'}", language),
    }


def _period(report: ReportView) -> str:
    """Return what a report is about: its day, its week's first and last day, or its month."""
    if report.kind == "monthly":
        return report.period[:7]
    if report.kind == "weekly":
        return f"{report.period} – {date.fromisoformat(report.period) + timedelta(days=6):%m-%d}"
    return report.period


def _named(account: AccountView, visitor: Visitor) -> dict[str, Any]:
    """Return what a list shows of an account."""
    mode_word = text(f"mode.{account.mode}", visitor.language)
    return {"id": account.id, "name": account.name, "mode": account.mode, "mode_word": mode_word}


def _file(gateway: Gateway, report: ReportView) -> Path | None:
    """Return a report's file; None when it is not there."""
    folder = gateway.settings.reports.resolve()
    file = (folder / report.file).resolve()
    return file if report.status == "done" and file.is_file() and file.is_relative_to(folder) else None


def _known(value: object) -> float | None:
    """Read a figure of the summary, which has amounts as exact texts; None for what is no number."""
    try:
        return float(value) if isinstance(value, (int, float, str)) else None
    except ValueError:
        return None


def _before(given: str) -> tuple[str, int] | None:
    """Read the place in the list to go on from."""
    if not given:
        return None
    found = _BEFORE.fullmatch(given)
    if found is None:
        raise InputError("before", given[:40], "must be a period and a number")
    return found[1], int(found[2])


"""Every address there is. What is not listed here is not found, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from ctp.accounts.readings import read_accounts
from ctp.accounts.rights import allowed
from ctp.accounts.visible import Visible
from ctp.errors import NotFound
from ctp.i18n import text
from ctp.web import (
    api,
    audit,
    contacts_api,
    export,
    lab,
    login,
    notices_api,
    operations,
    parameters_api,
    people_api,
    proxy,
    reports,
    users,
)
from ctp.web.channels import channels
from ctp.web.pages import prefetched, render_page, zones
from ctp.web.state import GATEWAY, VISITOR
from ctp.web.views import account_view
from ctp.web.voila_process import STATIC_FOLDERS

STATIC = Path(__file__).parent / "static"
_KERNEL = "{kernel:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}}"
_ACCOUNT = r"/api/v1/accounts/{account:\d{1,19}}"
_USER = r"/api/v1/users/{user:\d{1,18}}"
_CONTACT = "/api/v1/contacts/{channel:email|telegram}"
_A_YEAR = "private, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"

Listen = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


def public_routes(listen: Listen) -> list[web.RouteDef]:
    """Return the routes of the public port. listen: the live push."""
    return [
        web.get("/healthz", health),
        web.get("/login", login.show_login),
        web.post("/login", login.log_in),
        web.post("/logout", login.log_out),
        web.get("/password", login.show_first_password),
        web.get("/", home),
        web.get("/profile", profile),
        web.get("/profile/notices", notices_api.settings_page),
        web.get("/profile/export", export.own_data),
        web.get("/notices", notices_api.notices_page),
        web.get("/reports", reports.reports_page),
        web.get(r"/reports/{report:\d{1,18}}", reports.report_file),
        web.get("/operations", operations.operations_page),
        web.get("/users", users.users_page),
        web.get("/audit", audit.audit_page),
        web.get("/audit.csv", audit.audit_file),
        web.get("/evidence", evidence),
        web.get(r"/dashboards/{name:[a-z]+}", proxy.render),
        web.get(f"/api/kernels/{_KERNEL}", proxy.kernel_model),
        web.get(f"/api/kernels/{_KERNEL}/channels", channels),
        web.post(f"/voila/api/shutdown/{_KERNEL}", proxy.end_kernel),
        web.get(r"/voila/{kind:static|labextensions}/{path:.+}", voila_file),
        web.get(r"/static/{path:.+}", own_file),
        web.get("/api/v1/live", listen),
        web.post("/api/v1/session/renew", login.renew),
        web.post("/api/v1/password", login.change_password),
        web.put("/api/v1/preferences", people_api.prefer),
        web.get("/api/v1/sessions", people_api.sessions),
        web.delete(r"/api/v1/sessions/{session:[0-9a-f]{32}}", people_api.end_other_session),
        web.get("/api/v1/notices", notices_api.notices),
        web.post("/api/v1/notices/read", notices_api.read_notices),
        web.put("/api/v1/notices/choice", notices_api.choose),
        web.put("/api/v1/notices/times", notices_api.set_times),
        web.get("/api/v1/reports/requests", reports.requests),
        web.post("/api/v1/reports/requests", reports.ask),
        web.get("/api/v1/operations", operations.operations),
        web.post("/api/v1/operations/resend", operations.resend),
        web.get(r"/api/v1/operations/jobs/{job:[a-z_]{1,64}}", operations.job_history),
        web.get("/api/v1/users", users.users),
        web.post("/api/v1/users", users.add),
        web.put(f"{_USER}/role", users.change_role),
        web.post(f"{_USER}/disable", users.shut_out),
        web.post(f"{_USER}/enable", users.let_in),
        web.post(f"{_USER}/password", users.new_password),
        web.get(f"{_USER}/sessions", users.their_sessions),
        web.delete(f"{_USER}/sessions", users.end_theirs),
        web.delete(f"{_USER}/sessions/{{session:[0-9a-f]{{32}}}}", users.end_theirs),
        web.get("/api/v1/contacts", contacts_api.contacts),
        web.post(_CONTACT, contacts_api.begin),
        web.delete(_CONTACT, contacts_api.remove),
        web.post(f"{_CONTACT}/test", contacts_api.test),
        web.post("/api/v1/contacts/email/confirm", contacts_api.confirm),
        web.post(f"{_ACCOUNT}/promotions", parameters_api.give_promotion),
        web.post(f"{_ACCOUNT}/parameters/revert", parameters_api.go_back),
        web.get(r"/accounts/{account:\d{1,19}}/parameters", parameters_api.page),
        web.get("/lab", lab.open_lab),
        *inner_routes(),
    ]


def inner_routes() -> list[web.RouteDef]:
    """Return what dashboards' kernels may ask, which browsers may ask too."""
    return [
        *_readings(),
        web.get("/api/v1/desk", api.desk),
        web.post(f"{_ACCOUNT}/commands", api.give_command),
    ]


def lab_routes() -> list[web.RouteDef]:
    """Return what JupyterLab and its notebooks may ask."""
    return [
        web.post(lab.ENTER, lab.enter),
        web.post(lab.SESSION, lab.session),
        web.get(lab.WHERE, lab.where),
        web.get("/api/v1/history", lab.list_history),
        web.get("/api/v1/history/rows", lab.history),
        web.post(f"{_ACCOUNT}/promotions", parameters_api.give_promotion),
        *_readings(),
    ]


def _readings() -> list[web.RouteDef]:
    """Return what may be read of one's accounts."""
    return [
        web.get("/api/v1/me", api.me),
        web.get("/api/v1/accounts", api.list_accounts),
        web.get(_ACCOUNT, api.one_account),
        web.get(f"{_ACCOUNT}/candles", api.candles),
        web.get(f"{_ACCOUNT}/positions", api.positions),
        web.get(f"{_ACCOUNT}/equity", api.equity),
        web.get(f"{_ACCOUNT}/trades", api.trades),
        web.get(f"{_ACCOUNT}/decisions", api.decisions),
        web.get(f"{_ACCOUNT}/commands", api.commands),
        web.get(f"{_ACCOUNT}/parameters", parameters_api.history),
    ]


async def health(request: web.Request) -> web.Response:
    """Tell a watchdog that the gateway answers and reaches its database; nothing about anybody."""
    gateway = request.app[GATEWAY]
    await gateway.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
    return web.json_response({"ok": True, "dashboards": gateway.voila.is_ready.is_set()})


async def home(request: web.Request) -> web.Response:
    """Show the visitor's accounts."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    if not visitor.may_trade_page:
        raise web.HTTPFound("/operations")
    seen = await gateway.read(lambda connection: read_accounts(Visible(connection, visitor.actor)))
    accounts = [account_view(one, visitor, api.is_generated(gateway, one)) for one in seen]
    return render_page("home.html", gateway, visitor, here="home", accounts=accounts, prefetch=prefetched())


async def profile(request: web.Request) -> web.Response:
    """Show preferences, password and sessions."""
    visitor = request[VISITOR]
    title = text("web.profile.title", visitor.language)
    return render_page(
        "profile.html", request.app[GATEWAY], visitor, here="profile", title=title, zones=zones(), next="",
        may_export=allowed(visitor.actor, "export_own"),
    )  # fmt: skip


async def evidence(request: web.Request) -> web.Response:
    """Show what was measured about the strategy, beside the target."""
    visitor = request[VISITOR]
    title = text("web.evidence.title", visitor.language)
    return render_page("evidence.html", request.app[GATEWAY], visitor, title=title)


async def own_file(request: web.Request) -> web.StreamResponse:
    """Serve a script, style sheet or picture of ours."""
    return _file((STATIC,), request.match_info["path"], _ASK_AGAIN)


async def voila_file(request: web.Request) -> web.StreamResponse:
    """Serve a file of Voila's front end; its names change with its contents."""
    folders = STATIC_FOLDERS[request.match_info["kind"]]
    is_hashed = request.match_info["path"] != "voila.js"
    return _file(folders, request.match_info["path"], _A_YEAR if is_hashed else _ASK_AGAIN)


def _file(folders: tuple[Path, ...], path: str, caching: str) -> web.StreamResponse:
    """Serve a plain file that lies inside one of the folders, links resolved; anything else is not found."""
    for folder in folders:
        file = (folder / path).resolve() if "\0" not in path else folder
        if file.is_file() and file.is_relative_to(folder.resolve()):
            return web.FileResponse(file, headers={"Cache-Control": caching})
    raise NotFound("file")

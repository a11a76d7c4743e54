"""The pages that need no kernel, and the head and header that every page has, dashboards included."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import jinja2
from aiohttp import web

from ctp.accounts.rights import allowed
from ctp.i18n import text, texts_below
from ctp.web.people import Visitor
from ctp.web.voila_process import STATIC_FOLDERS

if TYPE_CHECKING:
    from ctp.web.state import Gateway

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)
_LARGE = 450_000  # bytes; the few scripts above it draw notebooks, not widgets
DESK_MODULES = (
    *(f"/static/{name}.js" for name in ("page", "notice", "desktop")),
    *(f"/static/desk/{name}.js" for name in ("desk", "chart", "controls", "tables")),
    "/static/vendor/lightweight-charts.standalone.production.mjs",
)
_ZONES = ("Asia/", "America/", "Europe/", "Australia/", "Pacific/", "Africa/", "Atlantic/", "Indian/")


def render_page(template: str, gateway: Gateway, visitor: Visitor, *, status: int = 200, **facts: Any) -> web.Response:
    """Make a page for somebody who is logged in."""
    facts = {"here": "", "title": text("web.nav.home", visitor.language)} | facts
    body = _TEMPLATES.get_template(template).render(_context(gateway, visitor) | facts)
    return web.Response(text=body, content_type="text/html", status=status)


def login_page(language: str, *, next_: str, problem: str = "", tried: str = "", status: int = 200) -> web.Response:
    """Make the login form."""
    body = _TEMPLATES.get_template("login.html").render(
        t=_words(language), language=language, next=next_, problem=problem, tried=tried,
        title=text("web.login.title", language),
    )  # fmt: skip
    return web.Response(text=body, content_type="text/html", status=status)


def message_page(gateway: Gateway, visitor: Visitor, heading: str, explanation: str, *, status: int) -> web.Response:
    """Make a page that says why there is nothing else to show."""
    return render_page(
        "message.html", gateway, visitor, status=status, title=heading, heading=heading, explanation=explanation
    )


def dashboard_head(visitor: Visitor) -> str:
    """Return what stands in the head of a dashboard."""
    title = text("web.dashboard.title", visitor.language)
    head = _TEMPLATES.get_template("head.html").render(theme=visitor.theme, title=title)
    return head + "".join(f'<link rel="modulepreload" href="{module}">\n' for module in DESK_MODULES)


def dashboard_header(gateway: Gateway, visitor: Visitor, name: str) -> str:
    """Return what stands above a dashboard; the page's data attribute tells the scripts that a kernel must beat."""
    header = _TEMPLATES.get_template("header.html").render(_context(gateway, visitor) | {"here": name})
    loading = text("web.dashboard.loading", visitor.language)
    return f'{header}<p class="loading" role="status">{loading}</p>'


def zones() -> list[str]:
    """Return the time zones a person may choose, by name."""
    return _all_zones()


@functools.cache
def _all_zones() -> list[str]:
    """Read the zone names once."""
    return sorted({"UTC", *(zone for zone in available_timezones() if zone.startswith(_ZONES))})


@functools.cache
def prefetched() -> list[str]:
    """Return the scripts a dashboard loads, so that the home page can fetch them ahead."""
    unused = {"reveal", "require.min", "voila-style", "treepage", "error"}
    files = [file for file in STATIC_FOLDERS["static"][0].glob("*.js") if file.stem not in unused]
    small = [file.name for file in files if file.stat().st_size < _LARGE]
    return [*DESK_MODULES, *(f"/voila/static/{name}" for name in sorted(small))]


def _context(gateway: Gateway, visitor: Visitor) -> dict[str, Any]:
    """Return what every page needs to know."""
    page = {
        "words": texts_below("script", visitor.language),
        "language": visitor.language,
        "zone": visitor.zone,
        "boot": gateway.boot,
        "unread": visitor.unread,
        "user": visitor.name,
    }
    return {
        "t": _words(visitor.language),
        "language": visitor.language,
        "theme": visitor.theme,
        "rise_colour": visitor.rise_colour,
        "zone": visitor.zone,
        "name": visitor.name,
        "role": visitor.role,
        "unread": visitor.unread,
        "may_trade_page": visitor.may_trade_page,
        "may_operate": visitor.may_operate,
        "may_administer": visitor.may_administer,
        "may_lab": allowed(visitor.actor, "lab"),
        "page": page,
    }


def _words(language: str) -> Any:
    """Return the function that templates call for a text."""
    return functools.partial(_word, language)


def _word(language: str, key: str, **facts: object) -> str:
    """Return a text; the argument order suits a partial."""
    return text(key, language, **facts)

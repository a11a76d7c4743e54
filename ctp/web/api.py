"""The JSON API about accounts, for pages and kernels alike. Every answer is read for the visitor, and for nobody else.

Invariants:
1. An account, symbol or notice that is not the visitor's to see answers 404, on every route, in the same words.
2. Nothing here trades: a command is a row for the bot, and its right is checked again in the data layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ctp.accounts.readings import Reading, read_account, read_accounts
from ctp.accounts.trading_accounts import ask_command
from ctp.accounts.visible import Visible
from ctp.errors import InputError, NotFound
from ctp.i18n import text
from ctp.web.state import GATEWAY, VISITOR, Gateway
from ctp.web.views import (
    account_view,
    command_views,
    decision_views,
    desk_view,
    position_views,
    series_view,
    trade_views,
)

_MOST_ROWS = 500
_REQUEST_KEY = re.compile(r"[0-9A-Za-z_-]{8,64}")


class EntryRefused(InputError):
    """What a person typed cannot be taken; `bound` is a sentence in their language and all they are told."""


async def read_json(request: web.Request) -> dict[str, Any]:
    """Return the JSON object a request carries. Raises InputError."""
    try:
        body = await request.json()
    except (ValueError, UnicodeDecodeError):
        body = None
    if not isinstance(body, dict):
        raise InputError("body", "…", text("web.error.wrong_body", request[VISITOR].language))
    return body


async def me(request: web.Request) -> web.Response:
    """Tell who is logged in and how their pages look."""
    visitor = request[VISITOR]
    fields = ("name", "role", "language", "zone", "theme", "rise_colour", "must_change_password", "unread")
    return web.json_response({field: getattr(visitor, field) for field in fields})


async def list_accounts(request: web.Request) -> web.Response:
    """List the accounts the visitor may see."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    seen = await gateway.read(lambda connection: read_accounts(Visible(connection, visitor.actor)))
    return web.json_response({"accounts": [account_view(one, visitor, is_generated(gateway, one)) for one in seen]})


async def desk(request: web.Request) -> web.Response:
    """Return everything the trading desk shows; what the kernel asks for once a second."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    view = await gateway.read(
        lambda connection: desk_view(
            Visible(connection, visitor.actor),
            gateway.series,
            visitor,
            lambda reading: is_generated(gateway, reading),
            account_id=whole_number(request, "account", None),
            symbol=request.query.get("symbol"),
            since=whole_number(request, "since", None),
        )
    )
    return web.json_response(view)


async def one_account(request: web.Request) -> web.Response:
    """Return one account's card."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    return await _of_account(request, lambda _, reading: account_view(reading, visitor, is_generated(gateway, reading)))


async def candles(request: web.Request) -> web.Response:
    """Return candles with RSI, equity and markers of one symbol."""
    gateway, language, since = request.app[GATEWAY], request[VISITOR].language, whole_number(request, "since", None)

    def read(visible: Visible, reading: Reading) -> dict[str, Any]:
        symbol = request.query.get("symbol", reading.account.symbols[0])
        return series_view(visible, gateway.series, reading, symbol, since, language)

    return await _of_account(request, read)


async def positions(request: web.Request) -> web.Response:
    """Return open positions with their distance to stop and take-profit."""
    language = request[VISITOR].language
    return await _of_account(
        request, lambda visible, reading: {"positions": position_views(visible, reading, language)}
    )


async def equity(request: web.Request) -> web.Response:
    """Return equity samples, oldest first. since: the earliest time wanted."""
    since = whole_number(request, "since", 0) or 0
    return await _of_account(request, lambda visible, reading: {"equity": visible.equity(reading.id, since=since)})


async def trades(request: web.Request) -> web.Response:
    """Return closed trades, newest first."""
    language, limit, symbol = request[VISITOR].language, _limit(request), request.query.get("symbol")
    return await _of_account(
        request,
        lambda visible, reading: {"trades": trade_views(visible, reading.id, language, limit=limit, symbol=symbol)},
    )


async def decisions(request: web.Request) -> web.Response:
    """Return the decision journal in words, newest first."""
    language, limit, symbol = request[VISITOR].language, _limit(request), request.query.get("symbol")
    return await _of_account(
        request,
        lambda visible, reading: {"decisions": decision_views(visible, reading, language, limit=limit, symbol=symbol)},
    )


async def commands(request: web.Request) -> web.Response:
    """Return the last commands and how far they have come."""
    visitor, limit = request[VISITOR], _limit(request)
    return await _of_account(
        request, lambda visible, reading: {"commands": command_views(visible, reading, visitor, limit=limit)}
    )


async def give_command(request: web.Request) -> web.Response:
    """Ask for Start, Pause, Stop, Close all or Unlock. The same request key twice is one command."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    account_id, body = account_id_of(request), await read_json(request)
    kind, request_key = body.get("kind"), body.get("request_key")
    if not isinstance(request_key, str) or not _REQUEST_KEY.fullmatch(request_key):
        raise InputError("request_key", "…", "8 to 64 letters and digits")
    now = gateway.clock.now_ms()
    command = await gateway.write(
        lambda connection: ask_command(connection, visitor.actor, account_id, str(kind), now, request_key=request_key)
    )
    return web.json_response({"id": command.id}, status=202)


def is_generated(gateway: Gateway, reading: Reading) -> bool:
    """Tell whether an account trades on a market that was made up."""
    account = reading.account
    return account.mode == "paper" and gateway.settings.paper.endpoint(account.exchange).market == "generated"


async def _of_account(request: web.Request, ask: Callable[[Visible, Reading], dict[str, Any]]) -> web.Response:
    """Answer a question about the account of the address, when the visitor may see it."""
    gateway, visitor, account_id = request.app[GATEWAY], request[VISITOR], account_id_of(request)

    def read(connection: sa.Connection) -> Any:
        visible = Visible(connection, visitor.actor)
        return ask(visible, read_account(visible, account_id))

    return web.json_response(await gateway.read(read))


def account_id_of(request: web.Request) -> int:
    """Return the account's number in the address; too large a number is no account."""
    number = int(request.match_info["account"])
    if number >= 1 << 63:
        raise NotFound("account")
    return number


def whole_number(request: web.Request, name: str, default: int | None) -> int | None:
    """Return a whole number of the query; a field that a form sent empty counts as not given."""
    given = request.query.get(name)
    if not given:
        return default
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise InputError(name, given, "must be a whole number")
    return int(given)


def _limit(request: web.Request) -> int:
    """Return how many rows were asked for."""
    asked = whole_number(request, "limit", 100) or 0
    if not 1 <= asked <= _MOST_ROWS:
        raise InputError("limit", asked, f"must be 1 to {_MOST_ROWS}")
    return asked

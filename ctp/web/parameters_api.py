"""The JSON API of an account's parameters: their history, promotion, and the way back.

Invariant: what is allowed is decided in `ctp.accounts`, by the same functions the command line and notebooks use.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ctp.accounts.parameter_history import read_history
from ctp.accounts.promotion import promote, read_proposal
from ctp.accounts.trading_accounts import revert_parameters
from ctp.accounts.visible import ParameterVersion, Visible
from ctp.errors import InputError
from ctp.web.api import account_id_of, read_json
from ctp.web.state import GATEWAY, VISITOR

_LONGEST = 256


async def history(request: web.Request) -> web.Response:
    """Return an account's parameter versions with author, reason, grounds and difference in words, newest first."""
    gateway, visitor, account_id = request.app[GATEWAY], request[VISITOR], account_id_of(request)
    found = await gateway.read(lambda connection: read_history(Visible(connection, visitor.actor), account_id))
    return web.json_response({"versions": [one.to_plain(visitor.language) for one in found]})


async def give_promotion(request: web.Request) -> web.Response:
    """Make what a notebook found the account's parameters. Asked again, it is the same version."""
    gateway, visitor, account_id = request.app[GATEWAY], request[VISITOR], account_id_of(request)
    body = await read_json(request)
    plain = body.get("promotion")
    if not isinstance(plain, dict):
        raise InputError("promotion", "…", "must be an object")
    proposal, to = read_proposal(plain), str(body.get("to", ""))
    reason, override = (_sentence(body, name) for name in ("reason", "override"))
    now = gateway.clock.now_ms()

    def write(connection: sa.Connection) -> ParameterVersion:
        return promote(
            connection, visitor.actor, account_id, proposal, to, now, reason=reason, override=override
        )

    return _answer(await gateway.write(write))


async def go_back(request: web.Request) -> web.Response:
    """Make an earlier version's parameters the newest."""
    gateway, visitor, account_id = request.app[GATEWAY], request[VISITOR], account_id_of(request)
    body = await read_json(request)
    version = body.get("version")
    if isinstance(version, bool) or not isinstance(version, int):
        raise InputError("version", str(version)[:40], "must be a whole number")
    reason, override = (_sentence(body, name) for name in ("reason", "override"))
    now = gateway.clock.now_ms()

    def write(connection: sa.Connection) -> ParameterVersion:
        return revert_parameters(
            connection, visitor.actor, account_id, version, now, reason=reason, override=override
        )

    return _answer(await gateway.write(write))


def _sentence(body: dict[str, Any], name: str) -> str:
    """Return a person's sentence; empty when there is none."""
    given = body.get(name, "")
    if not isinstance(given, str) or len(given) > _LONGEST:
        raise InputError(name, str(given)[:80], f"must be at most {_LONGEST} characters")
    return given


def _answer(made: ParameterVersion) -> web.Response:
    """Return what became of a change."""
    names = ("version", "verdict", "override", "reason", "source_hash", "data_hash")
    return web.json_response({name: getattr(made, name) for name in names}, status=201)

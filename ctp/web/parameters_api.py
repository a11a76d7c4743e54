"""An account's parameters on the web: the page of their history, promotion, and the way back.

Invariant: what is allowed is decided in `ctp.accounts`, by the same functions the command line and notebooks use.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ctp.accounts.code_words import CodeState, read_code_state
from ctp.accounts.live_door import GREEN, LIVE, RED
from ctp.accounts.parameter_history import PastVersion, read_history
from ctp.accounts.promotion import promote, read_proposal
from ctp.accounts.sources import source_hash
from ctp.accounts.trading_accounts import revert_parameters
from ctp.accounts.visible import AccountView, ParameterVersion, Visible
from ctp.errors import InputError, NotFound
from ctp.i18n import moment, symbol_name, text
from ctp.web.api import account_id_of, read_json
from ctp.web.pages import render_page
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


async def page(request: web.Request) -> web.Response:
    """Show who changed what of an account's parameters, when and why, and the sources it decides with."""
    gateway, visitor, account_id = request.app[GATEWAY], request[VISITOR], account_id_of(request)
    if not visitor.may_trade_page:
        raise NotFound("parameters")

    def read(connection: sa.Connection) -> tuple[AccountView, list[PastVersion], CodeState, bool]:
        visible = Visible(connection, visitor.actor)
        account = visible.account(account_id)
        found = read_history(visible, account_id), read_code_state(visible, account_id)
        return account, *found, visible.may("edit_parameters", account)

    account, versions, code, may_edit = await gateway.read(read)
    language, zone = visitor.language, visitor.zone
    newest = versions[0].version if versions else 0
    facts = {
        "id": account.id, "mode": account.mode, "newest": newest,
        "versions": {one.version: {"needs_reason": _needs_reason(account, one)} for one in versions},
    }  # fmt: skip
    return render_page(
        "parameters.html", gateway, visitor, here="home", title=text("web.parameters.title", language),
        account={**account._asdict(), "mode_word": text(f"mode.{account.mode}", language)},
        versions=[_version_view(account, one, language, zone) for one in versions], code=code.words(language), hold=code.hold,
        differences=code.differences(language, zone), may_edit=may_edit, newest=newest, facts=facts,
    )  # fmt: skip


def _needs_reason(account: AccountView, version: PastVersion) -> bool:
    """Tell whether going back to a version needs an override: on a live account, unless its green verdict still counts."""
    counts = version.verdict == GREEN and version.source_hash == source_hash(version.strategy)
    return account.mode == LIVE and not counts


def _version_view(account: AccountView, one: PastVersion, language: str, zone: str) -> dict[str, Any]:
    """Return a version as the page shows it."""
    data = ""
    if one.data:
        days = [moment(one.data[name], language, zone, seconds=False) for name in ("first", "last")]
        symbols = ", ".join(symbol_name(symbol, language) for symbol in one.data["symbols"])
        data = text(
            "web.parameters.data", language, exchange=one.data["exchange"], symbols=symbols,
            timeframe=one.data["timeframe"], first=days[0], last=days[1],
        )  # fmt: skip
    return {
        "version": one.version,
        "in_use": one.in_use,
        "verdict": one.verdict,
        "verdict_word": text(f"verdict.{one.verdict}", language) if one.verdict else "",
        "when": moment(one.created_at, language, zone, seconds=False),
        "author": one.author,
        "reason": one.reason_in(language),
        "changes": one.difference(language),
        "grounds": one.grounds(language),
        "reasons": one.reasons_in(language),
        "data": data,
        "hashes": [
            (text(f"web.parameters.{name}", language), value)
            for name, value in (("code", one.source_hash), ("candles", one.data_hash), ("validation", one.fingerprint))
            if value
        ],
        "may_return": not (one.verdict == RED and account.mode == LIVE),
    }

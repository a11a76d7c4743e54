"""The visitor's own addresses outside the web: how each stands, proving a new one, removing it, a test message.

Invariants:
1. Only the visitor's own contacts are read and changed; a code that was mailed never comes back through this door.
2. What cannot be done is told in the reader's words, and a wrong code does not say why it is wrong.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from aiohttp import web

from ctp.accounts.rights import Actor
from ctp.errors import InputError, NotAllowed, StateConflict
from ctp.i18n import text
from ctp.notifiers.channels import configured_channels
from ctp.notifiers.contacts import (
    MAILS_AN_HOUR,
    Contact,
    begin_contact,
    confirm_contact,
    contacts_of,
    remove_contact,
)
from ctp.notifiers.trial import TRIALS_AN_HOUR, send_trial
from ctp.storage.leases import read_heartbeats
from ctp.web.api import EntryRefused, read_json
from ctp.web.people import Visitor
from ctp.web.state import GATEWAY, VISITOR, Gateway

CHANNELS = ("email", "telegram")
_MOST_ADDRESS, _MOST_CODE = 320, 40


async def contacts(request: web.Request) -> web.Response:
    """Tell how each channel stands for the visitor."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    found = await gateway.read(lambda connection: contact_views(connection, gateway, visitor))
    return web.json_response({"contacts": found})


async def begin(request: web.Request) -> web.Response:
    """Begin to prove an address: e-mail gets a code, for Telegram the answer has the code and the bot's address."""
    gateway, visitor, channel = request.app[GATEWAY], request[VISITOR], request.match_info["channel"]
    language = visitor.language
    if channel not in configured_channels(gateway.settings):
        raise StateConflict(text("web.contacts.unavailable", language, channel=text(f"web.channel.{channel}", language)))
    address = (await read_json(request)).get("address", "") if channel == "email" else ""
    if not isinstance(address, str) or len(address) > _MOST_ADDRESS:
        raise EntryRefused("address", "…", text("web.contacts.bad_address", language))
    actor, now = visitor.actor, gateway.clock.now_ms()
    try:
        code = await gateway.write(lambda connection: begin_contact(connection, actor, channel, address, now))
    except InputError:
        raise EntryRefused("address", address[:64], text("web.contacts.bad_address", language)) from None
    except NotAllowed:
        raise NotAllowed(text("web.contacts.too_many", language, count=MAILS_AN_HOUR)) from None
    shown: dict[str, Any] = {}
    if channel == "telegram":
        bot = await gateway.read(bot_name)
        shown = {"code": code, "bot": bot, "link": f"https://t.me/{quote(bot)}?start={code}" if bot else ""}
    found = await gateway.read(lambda connection: contact_views(connection, gateway, visitor))
    return web.json_response({"contacts": found, **shown})


async def confirm(request: web.Request) -> web.Response:
    """Take the code that was mailed; from then on the address is used."""
    gateway, visitor = request.app[GATEWAY], request[VISITOR]
    code = (await read_json(request)).get("code")
    if not isinstance(code, str) or len(code) > _MOST_CODE:
        raise EntryRefused("code", "…", text("web.contacts.wrong", visitor.language))
    now = gateway.clock.now_ms()
    # The outcome is a value, so that the attempt is counted; only then is it told.
    proof = await gateway.write(lambda connection: confirm_contact(connection, visitor.user_id, "email", code, now))
    if proof != "confirmed":
        raise EntryRefused("code", "…", text(f"web.contacts.{proof}", visitor.language))
    found = await gateway.read(lambda connection: contact_views(connection, gateway, visitor))
    return web.json_response({"contacts": found})


async def remove(request: web.Request) -> web.Response:
    """Forget an address."""
    gateway, visitor, channel = request.app[GATEWAY], request[VISITOR], request.match_info["channel"]
    actor, now = visitor.actor, gateway.clock.now_ms()
    await gateway.write(lambda connection: remove_contact(connection, actor, channel, now))
    found = await gateway.read(lambda connection: contact_views(connection, gateway, visitor))
    return web.json_response({"contacts": found})


async def test(request: web.Request) -> web.Response:
    """Send the visitor a test message."""
    gateway, visitor, channel = request.app[GATEWAY], request[VISITOR], request.match_info["channel"]
    actor: Actor = visitor.actor
    now, language = gateway.clock.now_ms(), visitor.language
    try:
        await gateway.write(lambda connection: send_trial(connection, actor, channel, now))
    except StateConflict:
        raise StateConflict(text("web.contacts.no_address", language)) from None
    except NotAllowed:
        raise NotAllowed(text("web.contacts.too_many_tests", language, count=TRIALS_AN_HOUR)) from None
    return web.Response(status=204)


def contact_views(connection: sa.Connection, gateway: Gateway, visitor: Visitor) -> list[dict[str, Any]]:
    """Return each channel with its state: unavailable, none, confirmed or blocked; and what still waits for its code."""
    held = {contact.channel: contact for contact in contacts_of(connection, visitor.user_id)}
    is_set_up, now = configured_channels(gateway.settings), gateway.clock.now_ms()
    return [_view(channel, held.get(channel), channel in is_set_up, visitor.language, now) for channel in CHANNELS]


def _view(channel: str, contact: Contact | None, is_set_up: bool, language: str, now_ms: int) -> dict[str, Any]:
    """Return how one channel stands."""
    is_confirmed = contact is not None and contact.confirmed_at is not None
    state = "none"
    if contact is not None and is_confirmed:
        state = "confirmed" if contact.is_usable else "blocked"
    expires_at = contact.code_expires_at if contact is not None else None
    is_waiting = expires_at is not None and expires_at > now_ms
    return {
        "channel": channel,
        "name": text(f"web.channel.{channel}", language),
        "is_set_up": is_set_up,
        "state": state if is_set_up or is_confirmed else "unavailable",
        # A chat's number tells its owner nothing; an address does.
        "address": contact.address if contact is not None and is_confirmed and channel == "email" else "",
        "reason": contact.blocked_reason if contact is not None and state == "blocked" else "",
        "pending": (contact.pending_address if contact is not None else "") if is_waiting else None,
        "expires_at": expires_at if is_waiting else None,
    }


def bot_name(connection: sa.Connection) -> str:
    """Return the Telegram bot's user name, as the process that listens there last told it; empty when it never did."""
    told = read_heartbeats(connection).get("telegram")
    name = told.details.get("username") if told is not None else None
    return name if isinstance(name, str) else ""

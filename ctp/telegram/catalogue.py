"""Which commands there are, by the names freqtrade users know, and whose role has them."""

from __future__ import annotations

import re
from typing import NamedTuple, get_args

from ctp.accounts.rights import Action, Actor, Relation, allowed
from ctp.i18n import text

READING = (
    "status",
    "profit",
    "daily",
    "weekly",
    "monthly",
    "balance",
    "performance",
    "trades",
    "why",
    "locks",
    "report",
)
COMMANDING = ("start", "pause", "stop", "closeall", "forceexit", "unlock")
GENERAL = ("health", "lang", "help")
NAMES = READING + COMMANDING + GENERAL

_ALSO = {"fx": "forceexit", "stopentry": "pause", "stopbuy": "pause"}  # what freqtrade calls them too
_TEXT = re.compile(r"/([A-Za-z_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?:\s+(.{0,200}).*)?", re.DOTALL)


class Asked(NamedTuple):
    """A command as it was written."""

    name: str
    rest: str


def read_command(written: str, username: str) -> Asked | None:
    """Return the command in a message; None when there is none, or it is meant for another bot."""
    found = _TEXT.fullmatch(written.strip())
    if found is None or (found[2] and found[2].lower() != username.lower()):
        return None
    name = found[1].lower()
    return Asked(_ALSO.get(name, name), " ".join((found[3] or "").split()))


def commands_of(actor: Actor) -> tuple[str, ...]:
    """Return the commands that an actor's role has, on some account at least."""
    return tuple(
        name
        for name in NAMES
        if name in GENERAL
        or (name in READING and _may(actor, "see_account"))
        or (name in COMMANDING and _may(actor, "close_all" if name == "closeall" else "command"))
    )


def menu(language: str) -> list[tuple[str, str]]:
    """Return every command with what it does, for the bot's menu."""
    return [(name, text(f"telegram.about.{name}", language)) for name in NAMES]


def _may(actor: Actor, action: Action) -> bool:
    """Tell whether there is any relation to an account that lets the actor do this."""
    relations: tuple[Relation, ...] = get_args(Relation)
    return any(allowed(actor, action, relation) for relation in relations)

"""What there is to tell people, and over which channels; which of them are on for whom.

A kind is on for the web and off elsewhere until its reader chooses otherwise or confirms an address there, which turns
`FIRST_ON` on. Nothing goes to a channel whose address is not confirmed or is blocked. Urgent notices always reach the web.
A stop-loss or take-profit that was hit closed a position: who wants to hear of closings hears of it too, once.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import sqlalchemy as sa

from ctp.errors import InputError, NotAllowed
from ctp.i18n import text
from ctp.storage.database import insert_or
from ctp.storage.tables import contacts, notice_settings

Kind = Literal[
    "trade_executed",
    "position_opened",
    "position_closed",
    "ai_signal",
    "stop_loss_hit",
    "take_profit_hit",
    "system_error",
    "daily_report",
]
Channel = Literal["web", "email", "telegram"]

_IS_ALSO: dict[str, Kind] = {"stop_loss_hit": "position_closed", "take_profit_hit": "position_closed"}
KINDS: tuple[Kind, ...] = get_args(Kind)
CHANNELS: tuple[Channel, ...] = get_args(Channel)
# What a channel tells once its address is confirmed, until the person chooses otherwise.
FIRST_ON: tuple[Kind, ...] = (
    "stop_loss_hit",
    "take_profit_hit",
    "position_opened",
    "position_closed",
    "system_error",
    "daily_report",
)


class KindInfo(NamedTuple):
    """A kind as a settings page shows it."""

    kind: Kind
    name: str
    explanation: str
    is_available: bool


def describe_kinds(language: str, *, has_active_model: bool = False) -> list[KindInfo]:
    """Return every kind in words. AI signals are there, but not available until a model is active."""
    found = []
    for kind in KINDS:
        is_available = kind != "ai_signal" or has_active_model
        explained = f"notice.{kind}.explained" if is_available else f"notice.{kind}.unavailable"
        found.append(KindInfo(kind, text(f"notice.{kind}.name", language), text(explained, language), is_available))
    return found


def channels_on(connection: sa.Connection, user_id: int, kind: str, *, urgent: bool = False) -> list[str]:
    """Return the channels over which a person is told something of this kind: chosen, and able to reach them."""
    choices = read_choices(connection, user_id)
    kinds = (kind, _IS_ALSO.get(kind, kind))
    return [
        channel
        for channel in reachable_channels(connection, user_id)
        if any(choices.get((one, channel), channel == "web") for one in kinds) or (urgent and channel == "web")
    ]


def reachable_channels(connection: sa.Connection, user_id: int) -> list[str]:
    """Return the web, and the channels where the person has a confirmed address that is not blocked."""
    rows = connection.scalars(
        sa.select(contacts.c.channel).where(
            contacts.c.user_id == user_id, contacts.c.confirmed_at.is_not(None), contacts.c.blocked_at.is_(None)
        )
    )
    reachable = {"web", *rows}
    return [channel for channel in CHANNELS if channel in reachable]


def switch_first_on(connection: sa.Connection, user_id: int, channel: str) -> None:
    """Turn on what a newly confirmed channel tells, leaving every choice the person made before."""
    for kind in FIRST_ON:
        connection.execute(
            insert_or(connection, notice_settings)
            .values(user_id=user_id, kind=kind, channel=channel, enabled=True)
            .on_conflict_do_nothing()
        )


def read_choices(connection: sa.Connection, user_id: int) -> dict[tuple[str, str], bool]:
    """Return a person's choices, every kind with every channel."""
    rows = connection.execute(sa.select(notice_settings).where(notice_settings.c.user_id == user_id))
    chosen = {(row.kind, row.channel): bool(row.enabled) for row in rows}
    return {(kind, channel): chosen.get((kind, channel), channel == "web") for kind in KINDS for channel in CHANNELS}


def set_choice(connection: sa.Connection, user_id: int | None, kind: str, channel: str, enabled: bool) -> None:
    """Turn a kind on or off over a channel. Raises InputError for a kind or channel that does not exist."""
    if user_id is None:
        raise NotAllowed("the machine reads no notices")
    for field, value, choices in (("kind", kind, KINDS), ("channel", channel, CHANNELS)):
        if value not in choices:
            raise InputError(field, value, "must be one of " + ", ".join(choices))
    connection.execute(
        insert_or(connection, notice_settings)
        .values(user_id=user_id, kind=kind, channel=channel, enabled=enabled)
        .on_conflict_do_update(
            index_elements=[notice_settings.c.user_id, notice_settings.c.kind, notice_settings.c.channel],
            set_={"enabled": enabled},
        )
    )

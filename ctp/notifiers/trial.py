"""A message that a person sends to themselves, to see that a channel reaches them."""

from __future__ import annotations

import secrets
from typing import Final

import sqlalchemy as sa

from ctp.accounts.rights import Actor
from ctp.errors import NotAllowed, StateConflict
from ctp.notifiers.kinds import reachable_channels
from ctp.notifiers.outbox import tell_over
from ctp.storage.tables import notices

TRIAL_KIND: Final = "contact_test"
TRIALS_AN_HOUR = 5
_HOUR_MS = 3_600_000


def send_trial(connection: sa.Connection, actor: Actor, channel: str, now_ms: int) -> None:
    """Put a test message to the actor's own address into the outbox; quiet hours do not hold it back.

    Raises StateConflict when no confirmed address that works is there, NotAllowed after too many within an hour.
    """
    if actor.user_id is None:
        raise NotAllowed("the machine has no contacts")
    if channel == "web" or channel not in reachable_channels(connection, actor.user_id):
        raise StateConflict(f"{channel}: there is no confirmed address")
    sent = sa.select(sa.func.count()).where(
        notices.c.user_id == actor.user_id, notices.c.kind == TRIAL_KIND, notices.c.created_at > now_ms - _HOUR_MS
    )
    if connection.execute(sent).scalar_one() >= TRIALS_AN_HOUR:
        raise NotAllowed(f"{TRIALS_AN_HOUR} test messages were sent within an hour; try again later")
    key = f"{TRIAL_KIND}:{secrets.token_hex(8)}"
    tell_over(connection, [channel], actor.user_id, TRIAL_KIND, {}, key, now_ms, urgent=True)

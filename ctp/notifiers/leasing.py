"""The queues in the database: which delivery is next for each person and channel, and who may attempt it.

Invariants:
1. For a person and channel one delivery is attempted at a time: the first by urgency, then by age.
2. A lease is taken by one worker, for one attempt, at the moment its sending begins; only its holder may say how it went.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.lifetime import has_ended
from ctp.notifiers.contacts import CODE_KIND
from ctp.notifiers.notifier import Recipient
from ctp.storage.tables import contacts, deliveries, notices, users

LOOKED_AT = 2000  # heads at one look; the next look begins where these have gone


class Head(NamedTuple):
    """The delivery that is next for a person on a channel, as it stands."""

    notice_id: int
    channel: str
    status: str
    attempts: int
    user_id: int
    account_id: int | None
    kind: str
    facts: str
    urgent: bool
    created_at: int
    name: str
    language: str
    zone: str
    quiet_from: int | None
    quiet_until: int | None
    address: str
    confirmed_at: int | None
    blocked_at: int | None

    def target(self, now_ms: int) -> tuple[str, str]:
        """Return the address it goes to, or an empty one and why it goes nowhere any more."""
        if self.kind == CODE_KIND:  # the one message to an address that nobody has confirmed yet
            facts = json.loads(self.facts)
            if now_ms >= facts.get("expires_at", 0):
                return "", "the code is not needed any more"
            return str(facts["address"]), ""
        if self.confirmed_at is None or self.blocked_at is not None:
            return "", "there is no confirmed address"
        return self.address, ""

    @property
    def is_digest(self) -> bool:
        """Tell whether it tells of several notices already."""
        return '"digest"' in self.facts


class Leased(NamedTuple):
    """A delivery that this worker alone may attempt now."""

    notice_id: int
    channel: str
    attempts: int  # this one included
    kind: str
    facts: dict[str, Any]
    urgent: bool
    created_at: int
    recipient: Recipient


def due_heads(
    connection: sa.Connection, channels: Collection[str], now_ms: int, *, urgent_only: bool = False
) -> Sequence[Head]:
    """Return the due heads of all queues, urgent and old ones first. Costs two index probes for each contact."""
    query = _due(tuple(channels), urgent_only)
    return [Head(*row) for row in connection.execute(query, {"now_ms": now_ms})]


@functools.lru_cache(maxsize=16)
def _due(channels: tuple[str, ...], urgent_only: bool) -> sa.Select[Any]:
    """Return the query for due heads; it is asked many times a second."""

    def first(status: str) -> sa.ScalarSelect[int]:
        return (
            sa.select(deliveries.c.notice_id)
            .where(
                deliveries.c.user_id == contacts.c.user_id,
                deliveries.c.channel == contacts.c.channel,
                deliveries.c.status == status,
            )
            .order_by(deliveries.c.turn, deliveries.c.notice_id)
            .limit(1)
            .correlate(contacts)
            .scalar_subquery()
        )

    now = sa.bindparam("now_ms", type_=sa.BigInteger)
    queues = (
        sa.select(
            contacts.c.user_id,
            contacts.c.channel,
            contacts.c.address,
            contacts.c.confirmed_at,
            contacts.c.blocked_at,
            sa.func.coalesce(first("leased"), first("waiting")).label("notice_id"),
        )
        .where(contacts.c.channel.in_(channels))
        .subquery()
    )
    columns = {
        **{name: notices.c[name] for name in ("account_id", "kind", "facts", "urgent", "created_at")},
        **{name: users.c[name] for name in ("name", "language", "zone", "quiet_from", "quiet_until")},
        **{name: deliveries.c[name] for name in ("notice_id", "channel", "status", "attempts", "user_id")},
        **{name: queues.c[name] for name in ("address", "confirmed_at", "blocked_at")},
    }
    query = (
        sa.select(*(columns[name] for name in Head._fields))
        .select_from(queues)
        .join(deliveries, sa.and_(deliveries.c.notice_id == queues.c.notice_id, deliveries.c.channel == queues.c.channel))
        .join(notices, notices.c.id == deliveries.c.notice_id)
        .join(users, users.c.id == queues.c.user_id)
        .where(
            users.c.disabled_at.is_(None),
            sa.or_(
                sa.and_(deliveries.c.status == "waiting", deliveries.c.due_at <= now),
                sa.and_(deliveries.c.status == "leased", deliveries.c.leased_until <= now),  # its worker was killed
            ),
        )
        .order_by(deliveries.c.turn, deliveries.c.notice_id)
        .limit(LOOKED_AT)
    )
    return query.where(deliveries.c.turn == 0) if urgent_only else query


def end_leases_of_the_dead(connection: sa.Connection, now_ms: int) -> int:
    """End the leases of workers of this machine that were killed, without waiting for their time; returns how many."""
    leased = deliveries.c.status == "leased"
    holders = connection.scalars(sa.select(deliveries.c.leased_by).where(leased, deliveries.c.leased_until > now_ms).distinct())
    dead = [holder for holder in holders if holder and has_ended(holder)]
    ended = sa.update(deliveries).where(leased, deliveries.c.leased_by.in_(dead)).values(leased_until=now_ms)
    return connection.execute(ended).rowcount if dead else 0


def take(connection: sa.Connection, head: Head, address: str, holder: str, until_ms: int) -> Leased | None:
    """Lease a head; None when another worker was faster."""
    values = {"status": "leased", "leased_until": until_ms, "leased_by": holder, "attempts": head.attempts + 1}
    if not change(connection, head, values):
        return None
    recipient = Recipient(head.user_id, head.name, head.language, head.zone, address)
    return Leased(
        head.notice_id,
        head.channel,
        head.attempts + 1,
        head.kind,
        json.loads(head.facts),
        head.urgent,
        head.created_at,
        recipient,
    )


def change(connection: sa.Connection, head: Head, values: dict[str, Any]) -> bool:
    """Change a head that is still as it was seen; False when it is not."""
    changed = connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.notice_id == head.notice_id,
            deliveries.c.channel == head.channel,
            deliveries.c.status == head.status,
            deliveries.c.attempts == head.attempts,
        )
        .values(**values)
    )
    return changed.rowcount == 1


def give_back(connection: sa.Connection, leased: Leased, holder: str, values: dict[str, Any]) -> bool:
    """Write how an attempt went; False when its lease ran out and another worker has it now."""
    changed = connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.notice_id == leased.notice_id,
            deliveries.c.channel == leased.channel,
            deliveries.c.status == "leased",
            deliveries.c.leased_by == holder,
            deliveries.c.attempts == leased.attempts,
        )
        .values(leased_until=None, leased_by=None, **values)
    )
    return changed.rowcount == 1

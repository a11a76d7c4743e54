"""Notices that could not be delivered: told elsewhere, shown to operators, sent again when they ask.

Invariant: what dies on a channel is on the web of its reader, whatever they chose; the chain of channels ends there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.rights import Actor, require
from ctp.notifiers.contacts import CODE_KIND, block_contact
from ctp.notifiers.leasing import Leased
from ctp.notifiers.outbox import tell_over
from ctp.notifiers.web import put_on_the_web
from ctp.storage.tables import contacts, deliveries, notices, users


class DeadLetter(NamedTuple):
    """A delivery that was given up, as operators see it: nothing of what it says."""

    notice_id: int
    channel: str
    user_id: int
    user_name: str
    kind: str
    urgent: bool
    attempts: int
    error: str
    created_at: int


def after_death(
    connection: sa.Connection, leased: Leased, reason: str, now_ms: int, *, is_address_refused: bool
) -> None:
    """Put a notice that was given up on the web, and block an address that was refused for good."""
    user_id = leased.recipient.user_id
    if leased.kind == CODE_KIND:
        facts = {"what": "code_refused", "reason": reason}
        tell_over(connection, ["web"], user_id, "system_error", facts, f"code_refused:{leased.notice_id}", now_ms)
        return
    put_on_the_web(connection, notices.c.id == leased.notice_id, now_ms)
    if is_address_refused:
        current = sa.select(contacts.c.address).where(
            contacts.c.user_id == user_id, contacts.c.channel == leased.channel
        )
        if connection.scalar(current) == leased.recipient.address:  # else it was replaced while this was on its way
            block_contact(connection, user_id, leased.channel, reason, now_ms)


def dead_letters(connection: sa.Connection, actor: Actor, *, limit: int = 200) -> list[DeadLetter]:
    """Return what was given up, newest first. Raises NotAllowed for anybody but operators and administrators."""
    require(actor, "operate")
    query = (
        sa.select(
            deliveries.c.notice_id,
            deliveries.c.channel,
            deliveries.c.user_id,
            users.c.name,
            notices.c.kind,
            notices.c.urgent,
            deliveries.c.attempts,
            deliveries.c.error,
            notices.c.created_at,
        )
        .join(notices, notices.c.id == deliveries.c.notice_id)
        .join(users, users.c.id == deliveries.c.user_id)
        .where(deliveries.c.status == "dead", notices.c.kind != CODE_KIND)
        .order_by(deliveries.c.notice_id.desc(), deliveries.c.channel)
        .limit(limit)
    )
    return [DeadLetter(*row) for row in connection.execute(query)]


def resend_dead(
    connection: sa.Connection, actor: Actor, notice_ids: Collection[int], now_ms: int, *, channel: str | None = None
) -> int:
    """Let given-up notices wait for delivery again, with all their attempts; returns how many deliveries.

    Only where the person has a confirmed address that is not blocked; the others stay dead. Raises NotAllowed.
    """
    require(actor, "operate")
    usable = sa.exists().where(
        contacts.c.user_id == deliveries.c.user_id,
        contacts.c.channel == deliveries.c.channel,
        contacts.c.confirmed_at.is_not(None),
        contacts.c.blocked_at.is_(None),
    )
    which = [deliveries.c.notice_id.in_(notice_ids), deliveries.c.status == "dead", usable]
    which.append(deliveries.c.notice_id.not_in(sa.select(notices.c.id).where(notices.c.kind == CODE_KIND)))
    if channel is not None:
        which.append(deliveries.c.channel == channel)
    values = {"status": "waiting", "attempts": 0, "due_at": now_ms, "error": None}
    count = connection.execute(sa.update(deliveries).where(*which).values(**values)).rowcount
    if count:
        record(connection, actor, "notice.resend", "notices", now_ms, notices=sorted(notice_ids), count=count)
    return count

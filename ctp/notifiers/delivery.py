"""Deliver the outbox over the channels that need sending: lease, send, mark.

Invariants:
1. At least once: a notice is marked only after its channel took it; a worker killed in between sends it again.
   Receivers tell repetitions by the notice's id.
2. One at a time and in order for each person and channel, urgent ones first.
3. A notice that cannot be delivered is kept as dead with its reason, never lost silently.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from ctp.clock import Clock
from ctp.errors import DeliveryError
from ctp.logs import logger, redact
from ctp.notifiers.messages import compose
from ctp.notifiers.notifier import Notifier, Recipient
from ctp.storage.database import Database
from ctp.storage.tables import deliveries, notices, users

log = logger(__name__)


class DeliveryRules(Protocol):
    """How patient delivery is; `ctp.config` has the values."""

    @property
    def poll_s(self) -> float:
        """How often the outbox is looked at."""

    @property
    def lease_s(self) -> float:
        """How long one attempt may take."""

    @property
    def attempts(self) -> int:
        """After how many attempts a notice is given up."""

    @property
    def backoff_s(self) -> float:
        """The wait after the first failure; doubles each time."""

    @property
    def backoff_ceiling_s(self) -> float:
        """The longest wait."""


class Leased(NamedTuple):
    """A delivery that this worker alone may attempt now."""

    notice_id: int
    channel: str
    attempts: int  # this one included
    kind: str
    facts: dict[str, Any]
    created_at: int
    recipient: Recipient


class DeliveryWorker:
    """Delivers what waits. Any number may run; each delivery is attempted by one."""

    def __init__(
        self,
        database: Database,
        notifiers: Sequence[Notifier],
        clock: Clock,
        rules: DeliveryRules,
        holder: str,
        *,
        urgent_only: bool = False,
    ) -> None:
        """Deliver over these channels, in the name of `holder`; or only what is urgent, for a scheduler that is silent."""
        self._database = database
        self._notifiers = {notifier.channel: notifier for notifier in notifiers}
        self._clock = clock
        self._rules = rules
        self._holder = holder
        self._wanted = [notices.c.urgent] if urgent_only else []

    async def run(self) -> None:
        """Deliver for ever; ends by cancellation."""
        while True:
            if await self.deliver_due() == 0:
                await self._clock.sleep(self._rules.poll_s)

    async def deliver_due(self) -> int:
        """Attempt everything that is due, one notice for each person and channel; returns how many attempts."""
        leased = await asyncio.to_thread(self._lease)
        await asyncio.gather(*(self._attempt(one) for one in leased))
        return len(leased)

    async def _attempt(self, leased: Leased) -> None:
        """Send one notice and write down how it went."""
        message = compose(
            leased.kind, leased.facts, leased.recipient.language, leased.recipient.zone, leased.created_at
        )
        try:
            async with asyncio.timeout(self._rules.lease_s):
                await self._notifiers[leased.channel].send(leased.recipient, message, leased.notice_id)
        except DeliveryError as error:
            await asyncio.to_thread(self._failed, leased, str(error), error.permanent, error.retry_after_s)
        except TimeoutError:
            await asyncio.to_thread(self._failed, leased, f"no answer within {self._rules.lease_s:g} s", False, None)
        else:
            await asyncio.to_thread(self._mark, leased, {"status": "delivered", "delivered_at": self._clock.now_ms()})

    def _lease(self) -> list[Leased]:
        """Take the first undelivered notice of each person and channel, if it is due and nobody has it."""
        now_ms = self._clock.now_ms()
        place = sa.func.row_number().over(
            partition_by=(notices.c.user_id, deliveries.c.channel),
            order_by=(notices.c.urgent.desc(), deliveries.c.notice_id),
        )
        queue = (
            sa.select(deliveries, place.label("place"))
            .join(notices, notices.c.id == deliveries.c.notice_id)
            .where(
                deliveries.c.status.in_(("waiting", "leased")), deliveries.c.channel.in_(self._notifiers), *self._wanted
            )
            .subquery()
        )
        is_free = sa.or_(
            sa.and_(queue.c.status == "waiting", queue.c.due_at <= now_ms),
            sa.and_(queue.c.status == "leased", queue.c.leased_until <= now_ms),  # its worker was killed
        )
        columns = (users.c.name, users.c.language, users.c.zone, notices.c.user_id)
        first = (
            sa.select(queue, notices.c.kind, notices.c.facts, notices.c.created_at, *columns)
            .join(notices, notices.c.id == queue.c.notice_id)
            .join(users, users.c.id == notices.c.user_id)
            .where(queue.c.place == 1, is_free)
        )
        with self._database.reading() as connection:
            rows = connection.execute(first).all()
        if not rows:
            return []
        until = now_ms + int(self._rules.lease_s * 1000)
        leased = []
        with self._database.transaction() as connection:
            for row in rows:
                taken = connection.execute(
                    sa.update(deliveries)
                    .where(
                        *_this(row.notice_id, row.channel),
                        deliveries.c.status == row.status,
                        deliveries.c.attempts == row.attempts,
                    )
                    .values(status="leased", leased_until=until, leased_by=self._holder, attempts=row.attempts + 1)
                )
                if taken.rowcount == 1:  # else another worker was faster
                    recipient = Recipient(row.user_id, row.name, row.language, row.zone)
                    facts = json.loads(row.facts)
                    leased.append(
                        Leased(row.notice_id, row.channel, row.attempts + 1, row.kind, facts, row.created_at, recipient)
                    )
        return leased

    def _failed(self, leased: Leased, reason: str, permanent: bool, retry_after_s: float | None) -> None:
        """Try again later, or give up."""
        rules = self._rules
        error = redact(reason)[:256]
        if permanent or leased.attempts >= rules.attempts:
            log.error("notice_undeliverable", notice_id=leased.notice_id, channel=leased.channel, reason=error)
            self._mark(leased, {"status": "dead", "error": error})
            return
        wait_s = min(rules.backoff_ceiling_s, rules.backoff_s * 2 ** min(leased.attempts - 1, 30))
        due_at = self._clock.now_ms() + int(max(wait_s, retry_after_s or 0.0) * 1000)
        self._mark(leased, {"status": "waiting", "due_at": due_at, "error": error})

    def _mark(self, leased: Leased, values: dict[str, Any]) -> None:
        """Write down how an attempt went, unless the lease ran out and another worker has it now."""
        with self._database.transaction() as connection:
            connection.execute(
                sa.update(deliveries)
                .where(
                    *_this(leased.notice_id, leased.channel),
                    deliveries.c.status == "leased",
                    deliveries.c.leased_by == self._holder,
                    deliveries.c.attempts == leased.attempts,
                )
                .values(leased_until=None, leased_by=None, **values)
            )


def _this(notice_id: int, channel: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that name one delivery."""
    return (deliveries.c.notice_id == notice_id, deliveries.c.channel == channel)

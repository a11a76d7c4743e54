"""Deliver the outbox over the channels that need sending: lease, send, mark.

Invariants:
1. At least once: a notice is marked only after its channel took it. A worker killed in between sends it again, unless it
   had written down in its journal that the channel took it.
2. One at a time and in order for each person and channel, urgent ones first; nobody waits for anybody else's.
3. A notice that cannot be delivered is kept as dead with its reason and shown on the web, never lost silently. Trouble
   of a whole channel kills nothing: everything waits.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ctp.clock import Clock
from ctp.errors import AddressRefused, ChannelRefused, DeliveryError, StateConflict, StorageUnavailable
from ctp.logs import logger, redact
from ctp.notifiers.digest import Queue, fold_storm
from ctp.notifiers.journal import SentJournal
from ctp.notifiers.leasing import Head, Leased, change, due_heads, end_leases_of_the_dead, give_back, take
from ctp.notifiers.messages import compose
from ctp.notifiers.notifier import Notifier
from ctp.notifiers.pacing import Pacer
from ctp.notifiers.quiet import is_quiet
from ctp.notifiers.trouble import tell_channel_down, tell_channel_up
from ctp.notifiers.undeliverable import after_death
from ctp.notifiers.web import put_on_the_web
from ctp.storage.database import Database
from ctp.storage.tables import notices

# Attempts under way on a channel. Few: a worker that is killed repeats at most what its channels were just answering.
AT_ONCE = 4
GRACE_S = 8.0  # what is being sent when the worker is stopped may end for so long
STORAGE_PAUSE_S = 0.5

log = logger(__name__)


class DeliveryRules(Protocol):
    """How patient delivery is; `ctp.config` has the values."""

    @property
    def poll_s(self) -> float:
        """How often the outbox is looked at."""

    @property
    def lease_s(self) -> float:
        """How long a worker has one delivery for itself; an attempt may take half of it."""

    @property
    def attempts(self) -> int:
        """After how many attempts a notice is given up."""

    @property
    def backoff_s(self) -> float:
        """The wait after the first failure; doubles each time."""

    @property
    def backoff_ceiling_s(self) -> float:
        """The longest wait."""

    @property
    def digest_above(self) -> int:
        """How many similar notices may wait before they are told in one message."""


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
        pacer: Pacer | None = None,
        journal: SentJournal | None = None,
        urgent_only: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Deliver over these channels, in the name of `holder`, which no other worker has.

        urgent_only: leave everything else to another worker. jitter: 0 to 1, shortens a pause by up to a fifth.
        """
        self._database = database
        self._notifiers = {notifier.channel: notifier for notifier in notifiers}
        self._clock, self._rules, self._holder, self._jitter = clock, rules, holder, jitter
        self._pacer = pacer or Pacer({})
        self._journal = journal
        self._urgent_only = urgent_only
        self._troubled: set[str] = set()
        self._unproven: set[str] = set(self._notifiers)  # a first success ends what was told before a restart, too
        self._running: dict[asyncio.Task[None], str] = {}
        self._all_marked = True
        self._wake = asyncio.Event()
        self._next_look_s = rules.poll_s

    async def run(self) -> None:
        """Deliver for ever; ends by cancellation, after what is being sent was sent."""
        followed = False
        try:
            while True:
                self._wake.clear()
                try:
                    if not followed:
                        await asyncio.to_thread(self._follow)
                        followed = True
                    await self._begin_due()
                except (StorageUnavailable, StateConflict) as error:
                    log.warning("outbox_unreadable", reason=str(error))
                    self._next_look_s = self._rules.poll_s
                await self._pause(self._next_look_s)
        finally:
            if self._running:
                _, late = await asyncio.wait(self._running, timeout=GRACE_S)
                for task in late:
                    task.cancel()  # its lease runs out, and it is sent again

    async def deliver_due(self) -> int:
        """Attempt everything that is due, one notice for each person and channel; returns how many attempts."""
        begun = await self._begin_due()
        await asyncio.gather(*begun)
        return len(begun)

    async def _begin_due(self) -> list[asyncio.Task[None]]:
        """Begin an attempt at everything that is due and that the pace allows."""
        busy = Counter(self._running.values())
        leased = await asyncio.to_thread(self._lease, {channel: AT_ONCE - busy[channel] for channel in self._notifiers})
        begun = []
        for one in leased:
            task = asyncio.create_task(self._attempt(one))
            self._running[task] = one.channel
            task.add_done_callback(self._ended)
            begun.append(task)
        return begun

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Look again at once: the next notice to the same person may go."""
        del self._running[task]
        if self._journal is not None and not self._running and self._all_marked:
            self._journal.tidy()
        self._wake.set()

    def _follow(self) -> None:
        """Take over at once from workers that were killed here."""
        with self._database.transaction() as connection:
            end_leases_of_the_dead(connection, self._clock.now_ms())

    async def _pause(self, seconds: float) -> None:
        """Wait, or until an attempt has ended."""
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    # --- lease --------------------------------------------------------------------------------------------------------

    def _lease(self, room: dict[str, int]) -> list[Leased]:
        """Take what is due: the first of each person and channel that neither quiet hours nor pace hold back.

        room: how many attempts more may begin on each channel.
        """
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        waits = {channel: self._pacer.wait_s(channel, "", now_s) for channel in self._notifiers}
        self._next_look_s = min([self._rules.poll_s, *(max(wait, 0.001) for wait in waits.values() if wait > 0)])
        open_channels = [channel for channel, wait in waits.items() if wait == 0 and room[channel] > 0]
        if not open_channels:
            return []
        with self._database.reading() as connection:
            heads = due_heads(connection, open_channels, now_ms, urgent_only=self._urgent_only)
        probed = {channel for channel in self._running.values() if channel in self._troubled}
        chosen: list[tuple[Head, str, str]] = []
        for head in heads:
            if room[head.channel] <= 0:
                continue
            address, why_not = head.target(now_ms)
            if head.status == "leased" and head.attempts >= self._rules.attempts:
                why_not = "its worker ended at every attempt"
            if why_not:
                chosen.append((head, "", why_not))
                continue
            if not head.urgent and is_quiet(now_ms, head.zone, head.quiet_from, head.quiet_until):
                continue
            if head.channel in probed:  # one message finds out whether a channel that refused works again
                continue
            wait_s = self._pacer.wait_s(head.channel, address, now_s)
            if wait_s > 0:
                self._next_look_s = min(self._next_look_s, max(wait_s, 0.001))
                continue
            self._pacer.count(head.channel, address, now_s)
            room[head.channel] -= 1
            if head.channel in self._troubled:
                probed.add(head.channel)
            chosen.append((head, address, ""))
        if not chosen:
            return []
        for head, address, _ in chosen:
            if address and head.status == "waiting" and head.attempts == 0 and not head.is_digest:
                queue = Queue(head.user_id, head.channel, head.kind, head.account_id, head.urgent, head.notice_id)
                fold_storm(self._database, queue, self._rules.digest_above, now_ms)
        return self._take(chosen, now_ms)

    def _take(self, chosen: Sequence[tuple[Head, str, str]], now_ms: int) -> list[Leased]:
        """Lease what was chosen; settle what needs no sending."""
        until_ms = now_ms + int(self._rules.lease_s * 1000)
        given_up = any(head.status == "leased" for head, _, _ in chosen)
        sent = self._journal.sent() if self._journal is not None and given_up else set()
        leased = []
        with self._database.transaction() as connection:
            for head, address, why_not in chosen:
                if why_not:
                    change(connection, head, {"status": "dead", "error": why_not, "leased_until": None})
                    put_on_the_web(connection, notices.c.id == head.notice_id, now_ms)
                elif head.status == "leased" and (head.notice_id, head.channel, head.attempts) in sent:
                    values = {"status": "delivered", "delivered_at": now_ms, "leased_until": None, "leased_by": None}
                    change(connection, head, values)  # its worker was killed after the channel had taken it
                elif (one := take(connection, head, address, self._holder, until_ms)) is not None:
                    leased.append(one)
        return leased

    # --- send ---------------------------------------------------------------------------------------------------------

    async def _attempt(self, leased: Leased) -> None:
        """Send one notice and write down how it went."""
        try:
            recipient = leased.recipient
            message = compose(
                leased.kind, leased.facts, recipient.language, recipient.zone, leased.created_at, urgent=leased.urgent
            )
            async with asyncio.timeout(self._rules.lease_s / 2):
                await self._notifiers[leased.channel].send(recipient, message, leased.notice_id)
        except DeliveryError as error:
            failure: DeliveryError | None = error
        except TimeoutError:
            failure = DeliveryError(f"no answer within {self._rules.lease_s / 2:g} s", permanent=False)
        except Exception as error:  # the outermost place of an attempt: a mistake here must not stop everybody's notices
            log.exception("notice_attempt_failed", notice_id=leased.notice_id, channel=leased.channel)
            failure = DeliveryError(f"{type(error).__name__}: {error}", permanent=False)
        else:
            failure = None
            if self._journal is not None:
                self._journal.note(leased.notice_id, leased.channel, leased.attempts)
        if failure is not None and failure.retry_after_s is not None:
            self._hold(leased, failure)
        await self._write_down(leased, failure)

    def _hold(self, leased: Leased, failure: DeliveryError) -> None:
        """Obey a channel that says when it may be asked again."""
        address = "" if isinstance(failure, ChannelRefused) else leased.recipient.address
        self._pacer.hold(leased.channel, address, self._clock.monotonic_s() + (failure.retry_after_s or 0.0))

    async def _write_down(self, leased: Leased, failure: DeliveryError | None) -> None:
        """Mark an attempt, trying for as long as the lease lasts: forgetting a success would repeat it."""
        until_s = self._clock.monotonic_s() + self._rules.lease_s / 2
        while True:
            try:
                if failure is None:
                    await asyncio.to_thread(self._delivered, leased)
                else:
                    await asyncio.to_thread(self._failed, leased, failure)
                return
            except StorageUnavailable as error:
                log.warning("notice_not_marked", notice_id=leased.notice_id, channel=leased.channel, reason=str(error))
                if self._clock.monotonic_s() >= until_s:
                    self._all_marked = False
                    return
                await self._clock.sleep(STORAGE_PAUSE_S)

    def _delivered(self, leased: Leased) -> None:
        """Mark a notice as delivered."""
        values = {"status": "delivered", "delivered_at": self._clock.now_ms()}
        with self._database.transaction() as connection:
            give_back(connection, leased, self._holder, values)
            if leased.channel in self._unproven:
                tell_channel_up(connection, leased.channel, self._clock.now_ms())
        self._troubled.discard(leased.channel)
        self._unproven.discard(leased.channel)
        self._pacer.release(leased.channel)

    def _failed(self, leased: Leased, failure: DeliveryError) -> None:
        """Try again later, or give up."""
        now_ms, rules = self._clock.now_ms(), self._rules
        error = redact(str(failure))[:256]
        values: dict[str, Any]
        if not failure.permanent and failure.retry_after_s is not None:
            # The channel asks for patience: this notice has done nothing wrong, and its attempt does not count.
            is_down = isinstance(failure, ChannelRefused)
            due_at = now_ms if is_down else now_ms + int(failure.retry_after_s * 1000)
            values = {"status": "waiting", "due_at": due_at, "error": error, "attempts": leased.attempts - 1}
            with self._database.transaction() as connection:
                give_back(connection, leased, self._holder, values)
                if is_down:
                    tell_channel_down(connection, leased.channel, error, now_ms)
            if is_down:
                self._troubled.add(leased.channel)
                self._unproven.add(leased.channel)
            return
        if failure.permanent or leased.attempts >= rules.attempts:
            log.error("notice_undeliverable", notice_id=leased.notice_id, channel=leased.channel, reason=error)
            with self._database.transaction() as connection:
                if give_back(connection, leased, self._holder, {"status": "dead", "error": error}):
                    after_death(connection, leased, error, now_ms, is_address_refused=isinstance(failure, AddressRefused))
            return
        wait_s = min(rules.backoff_ceiling_s, rules.backoff_s * 2 ** min(leased.attempts - 1, 30))
        due_at = now_ms + int(wait_s * (1 - 0.2 * self._jitter()) * 1000)
        values = {"status": "waiting", "due_at": due_at, "error": error}
        with self._database.transaction() as connection:
            give_back(connection, leased, self._holder, values)

"""Delivery at least once, in order, patiently, and never lost silently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from ctp.clock import ManualClock
from ctp.config import NoticeSettings
from ctp.errors import DeliveryError
from ctp.notifiers.delivery import DeliveryWorker
from ctp.notifiers.kinds import set_choice
from ctp.notifiers.messages import Message
from ctp.notifiers.notifier import Recipient
from ctp.notifiers.outbox import tell_user
from ctp.storage.database import Database
from ctp.storage.tables import deliveries
from tests.accounts.people import NOW, Scene, reach, set_scene

RULES = NoticeSettings(attempts=4, backoff_s=10, backoff_ceiling_s=30, lease_s=60)


class FakeChannel:
    """A channel that remembers what it took, and fails as it is told to."""

    def __init__(self, channel: str = "telegram") -> None:
        """Fail never, until told."""
        self.channel = channel
        self.taken: list[tuple[str, int]] = []
        self.fail: Callable[[int], Exception | None] = lambda notice_id: None

    async def send(self, recipient: Recipient, message: Message, notice_id: int) -> None:
        """Take a message or fail."""
        error = self.fail(notice_id)
        if error is not None:
            raise error
        self.taken.append((recipient.name, notice_id))


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people who want everything by Telegram."""
    made = set_scene(database)
    with database.transaction() as connection:
        for actor in (made.minsu, made.alice):
            set_choice(connection, actor.user_id, "system_error", "telegram", True)
            reach(connection, actor, "telegram")
    return made


def tell(database: Database, scene: Scene, *keys: str, who: str = "minsu", urgent: bool = False) -> None:
    """Write notices."""
    with database.transaction() as connection:
        for key in keys:
            user_id = scene.actors()[who].user_id or 0
            tell_user(connection, user_id, "system_error", {"what": "other"}, key, NOW, urgent=urgent)


def worker(database: Database, channel: FakeChannel, clock: ManualClock, holder: str = "one") -> DeliveryWorker:
    """Return a worker."""
    return DeliveryWorker(database, [channel], clock, RULES, holder)


def deliver(one: DeliveryWorker, times: int = 1) -> int:
    """Let a worker look at the outbox; returns how many attempts it made."""

    async def scene() -> int:
        return sum([await one.deliver_due() for _ in range(times)])

    return asyncio.run(scene())


def status(database: Database) -> list[tuple[str, int, str | None]]:
    """Return how the Telegram deliveries stand, by notice."""
    query = sa.select(deliveries.c.status, deliveries.c.attempts, deliveries.c.error).order_by(deliveries.c.notice_id)
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(query.where(deliveries.c.channel == "telegram"))]  # type: ignore[misc]


def test_each_person_gets_theirs_in_order_and_once(database: Database, scene: Scene) -> None:
    """One at a time for a person, people side by side."""
    tell(database, scene, "a", "b")
    tell(database, scene, "c", who="alice")
    channel, clock = FakeChannel(), ManualClock(NOW)
    assert deliver(worker(database, channel, clock)) == 2
    assert {name for name, _ in channel.taken} == {"minsu", "alice"}
    assert deliver(worker(database, channel, clock), times=3) == 1
    minsus = [notice_id for name, notice_id in channel.taken if name == "minsu"]
    assert minsus == sorted(minsus) and len(channel.taken) == 3
    assert status(database) == [("delivered", 1, None)] * 3


def test_urgent_notices_go_first(database: Database, scene: Scene) -> None:
    """Even when others were told earlier."""
    tell(database, scene, "a", "b")
    tell(database, scene, "fire", urgent=True)
    channel, clock = FakeChannel(), ManualClock(NOW)
    deliver(worker(database, channel, clock), times=3)
    first, second, third = [notice_id for _, notice_id in channel.taken]
    assert first > third > second


def test_a_failure_is_tried_again_with_growing_pauses_and_order_is_kept(database: Database, scene: Scene) -> None:
    """10, 20, then 30 seconds, the ceiling; the next notice waits for the one before."""
    tell(database, scene, "a", "b")
    channel, clock = FakeChannel(), ManualClock(NOW)
    channel.fail = lambda notice_id: DeliveryError("451 try later", permanent=False)
    one = worker(database, channel, clock)
    for pause in (10, 20, 30):
        assert deliver(one, times=2) == 1
        clock.tick(pause - 0.001)
        assert deliver(one) == 0
        clock.tick(0.001)
    channel.fail = lambda notice_id: None
    assert deliver(one, times=3) == 2
    assert status(database) == [("delivered", 4, "451 try later"), ("delivered", 1, None)]


def test_a_channel_that_says_when_is_obeyed(database: Database, scene: Scene) -> None:
    """429 with 100 seconds outweighs our own pause of 10."""
    tell(database, scene, "a")
    channel, clock = FakeChannel(), ManualClock(NOW)
    channel.fail = lambda notice_id: DeliveryError("429", permanent=False, retry_after_s=100)
    one = worker(database, channel, clock)
    assert deliver(one) == 1
    clock.tick(99)
    assert deliver(one) == 0
    clock.tick(1)
    assert deliver(one) == 1


def test_what_can_never_be_delivered_is_dead_at_once_and_makes_room(database: Database, scene: Scene) -> None:
    """With the reason, and the next one goes out."""
    tell(database, scene, "a", "b")
    channel, clock = FakeChannel(), ManualClock(NOW)
    refused = DeliveryError("403 blocked, token=abcdef0123456789", permanent=True)
    channel.fail = lambda notice_id: refused if not channel.taken and notice_id == 1 else None
    deliver(worker(database, channel, clock), times=2)
    (dead, _, error), alive = status(database)
    assert (dead, alive[0]) == ("dead", "delivered")
    assert error is not None and error.startswith("403 blocked")


def test_after_the_last_attempt_it_is_dead(database: Database, scene: Scene) -> None:
    """Not tried for ever."""
    tell(database, scene, "a")
    channel, clock = FakeChannel(), ManualClock(NOW)
    channel.fail = lambda notice_id: DeliveryError("down", permanent=False)
    one = worker(database, channel, clock)
    for _ in range(6):
        deliver(one)
        clock.tick(60)
    assert status(database) == [("dead", 4, "down")]


def test_a_worker_killed_while_sending_is_followed_by_another(database: Database, scene: Scene) -> None:
    """After its lease, not before; its own late mark then counts for nothing."""
    tell(database, scene, "a")
    clock = ManualClock(NOW)
    killed = worker(database, FakeChannel(), clock, "killed")
    (leased,) = killed._lease()
    channel = FakeChannel()
    other = worker(database, channel, clock, "other")
    clock.tick(RULES.lease_s - 0.001)
    assert deliver(other) == 0
    clock.tick(0.001)
    assert deliver(other) == 1
    killed._failed(leased, "too late", True, None)
    assert status(database) == [("delivered", 2, None)]


def test_two_workers_at_once_send_each_notice_once(database: Database, scene: Scene) -> None:
    """Both look at the same moment."""
    tell(database, scene, "a")
    tell(database, scene, "b", who="alice")
    channel, clock = FakeChannel(), ManualClock(NOW)

    async def both() -> None:
        await asyncio.gather(*(worker(database, channel, clock, name).deliver_due() for name in ("one", "two")))

    asyncio.run(both())
    assert sorted(name for name, _ in channel.taken) == ["alice", "minsu"]


def test_a_channel_that_hangs_is_given_up_for_now(database: Database, scene: Scene) -> None:
    """Its lease bounds the attempt."""
    tell(database, scene, "a")
    channel, clock = FakeChannel(), ManualClock(NOW)

    async def hang(recipient: Recipient, message: Message, notice_id: int) -> None:
        await asyncio.Event().wait()

    channel.send = hang  # type: ignore[method-assign]
    impatient = RULES.model_copy(update={"lease_s": 0.01})
    assert deliver(DeliveryWorker(database, [channel], clock, impatient, "one")) == 1
    assert status(database) == [("waiting", 1, "no answer within 0.01 s")]


def test_channels_without_a_sender_are_left_waiting(database: Database, scene: Scene) -> None:
    """Until somebody sets them up."""
    tell(database, scene, "a")
    assert deliver(worker(database, FakeChannel("email"), ManualClock(NOW))) == 0
    assert status(database) == [("waiting", 0, None)]


def test_run_delivers_and_then_waits_for_more(database: Database, scene: Scene) -> None:
    """What is told while it waits is delivered at the next look."""
    channel, clock = FakeChannel(), ManualClock(NOW)

    async def play() -> None:
        task = asyncio.create_task(worker(database, channel, clock).run())
        for key in ("a", "b"):
            tell(database, scene, key)
            while len(channel.taken) < (1 if key == "a" else 2):
                await clock.advance(RULES.poll_s)
                await asyncio.sleep(0.001)  # its thread works in real time
        task.cancel()

    asyncio.run(asyncio.wait_for(play(), 20))
    assert len(channel.taken) == 2

"""Delivery at least once, in order, patiently, at the pace of each channel, and never lost silently."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.clock import ManualClock
from ctp.config import NoticeSettings
from ctp.errors import AddressRefused, ChannelRefused, DeliveryError, StorageUnavailable
from ctp.lifetime import name_process, this_process
from ctp.notifiers.contacts import begin_contact, contacts_of
from ctp.notifiers.delivery import DeliveryWorker
from ctp.notifiers.journal import SentJournal
from ctp.notifiers.kinds import set_choice
from ctp.notifiers.leasing import due_heads
from ctp.notifiers.messages import Message
from ctp.notifiers.notifier import Recipient
from ctp.notifiers.outbox import tell_user
from ctp.notifiers.pacing import TELEGRAM, Pacer
from ctp.storage.database import Database
from ctp.storage.tables import contacts, deliveries, notices, users
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


def worker(
    database: Database, channel: FakeChannel, clock: ManualClock, holder: str = "one", **options: Any
) -> DeliveryWorker:
    """Return a worker."""
    return DeliveryWorker(database, [channel], clock, RULES, holder, jitter=lambda: 0.0, **options)


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
    (leased,) = killed._lease({"telegram": 1})
    channel = FakeChannel()
    other = worker(database, channel, clock, "other")
    clock.tick(RULES.lease_s - 0.001)
    assert deliver(other) == 0
    clock.tick(0.001)
    assert deliver(other) == 1
    killed._failed(leased, DeliveryError("too late", permanent=True))
    assert status(database) == [("delivered", 2, None)]


def test_who_follows_a_killed_worker_here_need_not_wait_for_its_lease(database: Database, scene: Scene) -> None:
    """A process that has ended sends nothing more; one that lives, or of another machine, may."""
    tell(database, scene, "a")
    tell(database, scene, "b", who="alice")
    clock = ManualClock(NOW)
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = name_process(ended.pid)
    ended.communicate(b"\n")
    (leased,) = worker(database, FakeChannel(), clock, name)._lease({"telegram": 1})
    worker(database, FakeChannel(), clock, this_process())._lease({"telegram": 1})
    channel = FakeChannel()

    async def play() -> None:
        task = asyncio.create_task(worker(database, channel, clock, "other").run())
        while not channel.taken:
            await clock.advance(RULES.poll_s)
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(asyncio.wait_for(play(), 60))
    assert [notice_id for _, notice_id in channel.taken] == [leased.notice_id]


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
    impatient = RULES.model_copy(update={"lease_s": 0.02})
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


def problems(database: Database, who: int | None) -> list[str]:
    """Return what a person was told to be wrong, by the names of the texts."""
    query = sa.select(notices.c.facts).where(notices.c.user_id == who, notices.c.kind == "system_error")
    with database.reading() as connection:
        told = [json.loads(facts)["what"] for facts in connection.scalars(query.order_by(notices.c.id))]
    return [what for what in told if what != "other"]


def test_a_pause_is_a_little_shorter_by_chance(database: Database, scene: Scene) -> None:
    """So that a thousand people's notices do not come back at once."""
    tell(database, scene, "a")
    channel, clock = FakeChannel(), ManualClock(NOW)
    channel.fail = lambda notice_id: DeliveryError("451", permanent=False)
    one = DeliveryWorker(database, [channel], clock, RULES, "one", jitter=lambda: 1.0)
    deliver(one)
    clock.tick(7.999)
    assert deliver(one) == 0
    clock.tick(0.001)
    assert deliver(one) == 1


def test_being_asked_to_wait_is_no_failed_attempt(database: Database, scene: Scene) -> None:
    """However often: a busy channel makes no notice dead."""
    tell(database, scene, "a")
    channel, clock = FakeChannel(), ManualClock(NOW)
    channel.fail = lambda notice_id: DeliveryError("429", permanent=False, retry_after_s=3)
    for _ in range(RULES.attempts * 2):
        assert deliver(worker(database, channel, clock)) == 1
        clock.tick(3)
    assert status(database) == [("waiting", 0, "429")]


def test_who_was_asked_to_wait_waits_also_with_something_urgent(database: Database, scene: Scene) -> None:
    """The chat is flooded, not the notice refused; others go on."""
    tell(database, scene, "a")
    channel, clock = FakeChannel(), ManualClock(NOW)
    channel.fail = lambda notice_id: DeliveryError("429", permanent=False, retry_after_s=30)
    one = worker(database, channel, clock)
    deliver(one)
    channel.fail = lambda notice_id: None
    tell(database, scene, "fire", urgent=True)
    tell(database, scene, "b", who="alice")
    clock.tick(29)
    deliver(one, times=2)
    assert [name for name, _ in channel.taken] == ["alice"]
    clock.tick(1)
    deliver(one, times=2)
    assert [name for name, _ in channel.taken] == ["alice", "minsu", "minsu"]


def test_a_channel_s_pace_is_kept_and_holds_up_only_whom_it_must(database: Database, scene: Scene) -> None:
    """One a second to a chat; another person's goes at once."""
    tell(database, scene, "a", "b", "c")
    tell(database, scene, "d", who="alice")
    channel, clock = FakeChannel(), ManualClock(NOW)
    one = worker(database, channel, clock, pacer=Pacer({"telegram": TELEGRAM}))
    assert deliver(one, times=3) == 2
    clock.tick(1.05)
    assert deliver(one, times=3) == 1
    clock.tick(1.05)
    assert deliver(one, times=3) == 1


def test_quiet_hours_hold_back_what_is_not_urgent(database: Database, scene: Scene) -> None:
    """NOW is 07:13 in Seoul; the notice waits until 08:00."""
    with database.transaction() as connection:
        quiet = sa.update(users).where(users.c.id == scene.minsu.user_id)
        connection.execute(quiet.values(quiet_from=23 * 60, quiet_until=8 * 60))
    tell(database, scene, "a")
    channel, clock = FakeChannel(), ManualClock(NOW)
    one = worker(database, channel, clock)
    assert deliver(one) == 0
    tell(database, scene, "fire", urgent=True)
    assert deliver(one, times=2) == 1
    clock.tick(47 * 60)
    assert deliver(one) == 1


def test_a_refused_address_is_blocked_and_its_owner_told_on_the_web(database: Database, scene: Scene) -> None:
    """Once, however much was waiting; what waited is dead, and on the web as well."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        set_choice(connection, minsu, "system_error", "web", False)
    tell(database, scene, "a", "b")
    channel, clock = FakeChannel(), ManualClock(NOW)
    channel.fail = lambda notice_id: AddressRefused("403 blocked by the user")
    one = worker(database, channel, clock)
    assert deliver(one, times=3) == 1
    assert [row[0] for row in status(database)] == ["dead", "dead"]
    assert problems(database, minsu) == ["telegram_blocked"]
    with database.reading() as connection:
        assert [contact.is_usable for contact in contacts_of(connection, minsu)] == [False]
        shown = sa.select(notices.c.deduplication_key).join(deliveries, deliveries.c.notice_id == notices.c.id)
        on_the_web = connection.scalars(shown.where(deliveries.c.channel == "web").order_by(notices.c.id)).all()
    assert on_the_web == ["a", "b", f"blocked:telegram:{NOW}"]
    tell(database, scene, "c")
    assert deliver(one) == 0


def test_an_address_replaced_while_its_refusal_was_on_the_way_is_not_blocked(database: Database, scene: Scene) -> None:
    """The refusal was about the old one."""
    tell(database, scene, "a")
    channel, clock = FakeChannel(), ManualClock(NOW)

    def fail(_notice_id: int) -> Exception:
        with database.transaction() as connection:
            mine = sa.update(contacts).where(contacts.c.user_id == scene.minsu.user_id)
            connection.execute(mine.values(address="another"))
        return AddressRefused("gone")

    channel.fail = fail
    deliver(worker(database, channel, clock))
    with database.reading() as connection:
        assert [contact.is_usable for contact in contacts_of(connection, scene.minsu.user_id or 0)] == [True]


def test_a_channel_that_refuses_everybody_kills_nothing_and_is_told_once(database: Database, scene: Scene) -> None:
    """One message finds out whether it works again; then the rest goes, and operators hear of that too."""
    tell(database, scene, "a")
    tell(database, scene, "b", who="alice")
    channel, clock = FakeChannel(), ManualClock(NOW)
    channel.fail = lambda notice_id: ChannelRefused("535 wrong password", 60)
    one = worker(database, channel, clock)
    assert deliver(one) == 2
    for _ in range(RULES.attempts * 2):
        assert deliver(one) == 0
        clock.tick(60)
        assert deliver(one) == 1
    again = worker(database, channel, clock)  # a restart tells nothing anew
    deliver(again)
    assert problems(database, scene.olaf.user_id) == ["telegram_down"]
    channel.fail = lambda notice_id: None
    clock.tick(60)
    assert deliver(again) == 1
    assert deliver(again) == 1
    assert [row[:2] for row in status(database)] == [("delivered", 1)] * 2
    assert problems(database, scene.olaf.user_id) == ["telegram_down", "telegram_up"]
    assert problems(database, scene.minsu.user_id) == []


def test_a_code_goes_to_the_address_it_proves_and_its_failure_blocks_no_other(database: Database, scene: Scene) -> None:
    """Before anybody confirmed it; late codes are not sent at all."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        reach(connection, scene.minsu, "email", "old@example.com")
        begin_contact(connection, scene.minsu, "email", "new@example.com", NOW)
    clock, to = ManualClock(NOW), []

    class Mail(FakeChannel):
        async def send(self, recipient: Recipient, message: Message, notice_id: int) -> None:
            to.append((recipient.address, message.title))
            await super().send(recipient, message, notice_id)

    channel = Mail("email")
    channel.fail = lambda notice_id: AddressRefused("550 no such user")
    deliver(worker(database, channel, clock))
    assert to[0][0] == "new@example.com" and "Crypto Trader Pro" in to[0][1]
    assert problems(database, minsu) == ["code_refused"]
    with database.transaction() as connection:
        assert contacts_of(connection, minsu)[0].is_usable
        begin_contact(connection, scene.minsu, "email", "new@example.com", NOW)
    clock.tick(15 * 60)
    assert deliver(worker(database, channel, clock)) == 0 and len(to) == 1


def test_what_waits_for_a_contact_that_cannot_be_used_is_given_up(database: Database, scene: Scene) -> None:
    """Written at the moment in which the address was taken away."""
    tell(database, scene, "a")
    with database.transaction() as connection:
        connection.execute(sa.update(contacts).values(confirmed_at=None))
    assert deliver(worker(database, FakeChannel(), ManualClock(NOW))) == 0
    assert status(database) == [("dead", 0, "there is no confirmed address")]


def test_a_disabled_person_is_sent_nothing(database: Database, scene: Scene) -> None:
    """Also what was told before."""
    tell(database, scene, "a")
    with database.transaction() as connection:
        connection.execute(sa.update(users).values(disabled_at=NOW))
    assert deliver(worker(database, FakeChannel(), ManualClock(NOW))) == 0


def test_an_urgent_worker_leaves_the_rest_to_another(database: Database, scene: Scene) -> None:
    """The bot's, while the scheduler is silent."""
    tell(database, scene, "a")
    tell(database, scene, "fire", urgent=True)
    channel = FakeChannel()
    one = worker(database, channel, ManualClock(NOW), urgent_only=True)
    assert deliver(one, times=3) == 1
    assert [row[0] for row in status(database)] == ["waiting", "delivered"]


def test_a_mistake_with_one_notice_stops_no_other(database: Database, scene: Scene) -> None:
    """Neither facts that cannot be put into words nor a channel's own mistake."""
    with database.transaction() as connection:
        for actor in (scene.minsu, scene.alice):
            set_choice(connection, actor.user_id, "position_opened", "telegram", True)
        tell_user(connection, scene.minsu.user_id or 0, "position_opened", {"no": "facts"}, "poison", NOW)
    tell(database, scene, "b", who="alice")
    channel, clock = FakeChannel(), ManualClock(NOW)
    one = worker(database, channel, clock)
    for _ in range(RULES.attempts):
        deliver(one)
        clock.tick(60)
    assert [name for name, _ in channel.taken] == ["alice"]
    assert [row[0] for row in status(database)] == ["dead", "delivered"]
    tell(database, scene, "c")
    channel.fail = lambda notice_id: ZeroDivisionError("a mistake")
    deliver(one)
    assert status(database)[-1] == ("waiting", 1, "ZeroDivisionError: a mistake")


def test_a_worker_killed_before_its_mark_repeats_nothing_it_wrote_down(
    database: Database, scene: Scene, tmp_path: Path
) -> None:
    """The journal outlives it; what it did not write down is sent again."""
    tell(database, scene, "a")
    tell(database, scene, "b", who="alice")
    clock = ManualClock(NOW)
    killed = worker(database, FakeChannel(), clock, "killed", journal=SentJournal(tmp_path))
    leased = {one.recipient.name: one for one in killed._lease({"telegram": 9})}
    assert killed._journal is not None
    killed._journal.note(leased["minsu"].notice_id, "telegram", 1)
    clock.tick(RULES.lease_s)
    channel = FakeChannel()
    deliver(worker(database, channel, clock, "other", journal=SentJournal(tmp_path)), times=2)
    assert [name for name, _ in channel.taken] == ["alice"]
    assert status(database) == [("delivered", 1, None), ("delivered", 2, None)]


def test_a_notice_at_which_every_worker_ends_is_given_up(database: Database, scene: Scene) -> None:
    """It would end the next one, too; its reader finds it on the web."""
    tell(database, scene, "a")
    clock = ManualClock(NOW)
    for number in range(RULES.attempts):
        assert len(worker(database, FakeChannel(), clock, f"killed {number}")._lease({"telegram": 1})) == 1
        clock.tick(RULES.lease_s)
    assert deliver(worker(database, FakeChannel(), clock)) == 0
    assert status(database) == [("dead", RULES.attempts, "its worker ended at every attempt")]


def test_a_mark_is_tried_until_it_can_be_written(database: Database, scene: Scene) -> None:
    """Forgetting it would repeat the notice."""
    tell(database, scene, "a")
    channel, clock = FakeChannel(), ManualClock(NOW)
    one = worker(database, channel, clock)
    mark, failures = one._delivered, [StorageUnavailable("disk is full")] * 3

    def full(leased: Any) -> None:
        if failures:
            raise failures.pop()
        mark(leased)

    one._delivered = full  # type: ignore[method-assign]

    async def play() -> None:
        task = asyncio.create_task(one.deliver_due())
        while not task.done():
            await clock.advance(0.1)
            await asyncio.sleep(0.001)
        await task

    asyncio.run(asyncio.wait_for(play(), 60))
    assert status(database) == [("delivered", 1, None)] and not failures


def test_a_slow_person_holds_up_nobody_and_a_stopped_worker_ends_what_it_began(database: Database, scene: Scene) -> None:
    """While one send hangs, another person's next notice goes; at the stop the hanging one may still end."""
    tell(database, scene, "a")
    tell(database, scene, "b", "c", who="alice")
    channel, clock = FakeChannel(), ManualClock(NOW)
    quick = channel.send

    async def play() -> None:
        answers = asyncio.Event()

        async def slow(recipient: Recipient, message: Message, notice_id: int) -> None:
            if recipient.name == "minsu":
                await answers.wait()
            await quick(recipient, message, notice_id)

        channel.send = slow  # type: ignore[method-assign]
        task = asyncio.create_task(worker(database, channel, clock).run())
        while len(channel.taken) < 2:
            await clock.advance(0.1)
            await asyncio.sleep(0.001)
        assert [name for name, _ in channel.taken] == ["alice", "alice"]
        task.cancel()
        await asyncio.sleep(0)
        answers.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(play(), 60))
    assert [row[0] for row in status(database)] == ["delivered"] * 3


def test_the_heads_of_long_queues_are_found_by_an_index(database: Database, scene: Scene) -> None:
    """A look costs the same however much is waiting."""
    if not database.is_sqlite:
        pytest.skip("the plan is read the way SQLite writes it")
    with database.reading() as connection:
        seen: list[str] = []
        sa.event.listen(connection, "before_cursor_execute", lambda *found: seen.append(found[2]))
        due_heads(connection, ["telegram"], NOW)
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {seen[0]}", tuple(1 for _ in range(seen[0].count("?")))
        ).all()
    steps = [str(row[3]) for row in plan]
    assert sum("USING COVERING INDEX ix_deliveries_queue" in step for step in steps) >= 2
    assert not [step for step in steps if step.startswith("SCAN") and "contacts" not in step]

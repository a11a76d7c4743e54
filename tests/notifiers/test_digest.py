"""A storm becomes two messages: the first, and all the others in one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.clock import ManualClock
from ctp.config import NoticeSettings
from ctp.notifiers.delivery import DeliveryWorker
from ctp.notifiers.digest import digest_facts
from ctp.notifiers.kinds import set_choice
from ctp.notifiers.messages import Message
from ctp.notifiers.notifier import Recipient
from ctp.notifiers.outbox import tell_account, tell_user
from ctp.notifiers.web import recent_notices
from ctp.storage.database import Database
from ctp.storage.tables import deliveries, notices
from tests.accounts.people import NOW, Scene, reach, set_scene

RULES = NoticeSettings(digest_above=5)


class Mailbox:
    """A channel that keeps what it took."""

    def __init__(self, channel: str = "email") -> None:
        """Be empty."""
        self.channel = channel
        self.taken: list[Message] = []

    async def send(self, recipient: Recipient, message: Message, notice_id: int) -> None:
        """Take a message."""
        self.taken.append(message)


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people; minsu wants everything by e-mail."""
    made = set_scene(database)
    with database.transaction() as connection:
        reach(connection, made.minsu, "email")
        for kind in ("position_closed", "stop_loss_hit", "system_error", "trade_executed", "daily_report"):
            set_choice(connection, made.minsu.user_id, kind, "email", True)
    return made


def closed(pnl: float, symbol: str = "BTC/USDT:USDT") -> dict[str, Any]:
    """Return the facts of a closing."""
    return {"symbol": symbol, "side": "long", "size": 1, "entry_price": 100.0, "price": 101.0} | {
        "pnl": pnl,
        "reason": "exit_signal",
    }


def deliver(database: Database, times: int = 9) -> list[Message]:
    """Deliver for a while; returns what arrived."""
    mailbox = Mailbox()

    async def play() -> None:
        worker = DeliveryWorker(database, [mailbox], ManualClock(NOW + 60_000), RULES, "one")
        for _ in range(times):
            await worker.deliver_due()

    asyncio.run(play())
    return mailbox.taken


def tell(database: Database, account_id: int, count: int, *, kind: Any = "position_closed", **more: Any) -> None:
    """Write many notices, a second apart."""
    with database.transaction() as connection:
        for number in range(count):
            facts = closed((-1) ** number * 1.5, f"C{number % 7}/USDT:USDT") | more.get("facts", {})
            urgent = more.get("urgent", False)
            tell_account(connection, account_id, kind, facts, f"{kind}{number}", NOW + 1000 * number, urgent=urgent)


def test_many_similar_notices_are_the_first_and_one_for_the_rest(database: Database, scene: Scene) -> None:
    """With the count, the span, the sum; the originals stay on the web and name the digest."""
    tell(database, scene.minsus, 38)
    first, rest = deliver(database)
    assert first.title == "[모의] C0/USDT 무기한 롱 청산 +1.50 USDT"
    assert rest.plain() == (
        "[모의] 포지션 청산 37건 더\n"
        "앞서 보낸 알림과 비슷한 37건을 하나로 묶었습니다.\n"
        "2023-11-15 07:13:21 KST부터 2023-11-15 07:13:57 KST까지\n"
        "청산 37건 합계 손익 -1.50 USDT · 수익 18건\n"
        "종목: C1/USDT 무기한 6, C2/USDT 무기한 6, C3/USDT 무기한 5, C4/USDT 무기한 5, C5/USDT 무기한 5, …\n"
        "계좌 main (binanceusdm)\n"
        "시각 2023-11-15 07:14:20 KST"
    )
    with database.reading() as connection:
        counted = sa.select(deliveries.c.status, sa.func.count(), sa.func.count(deliveries.c.merged_into))
        rows = connection.execute(counted.where(deliveries.c.channel == "email").group_by(deliveries.c.status))
        assert {row[0]: tuple(row[1:]) for row in rows} == {"delivered": (2, 0), "merged": (37, 37)}
        assert len(recent_notices(connection, scene.minsu.user_id, limit=99)) == 38


def test_few_notices_come_one_by_one(database: Database, scene: Scene) -> None:
    """Five are not more than five; neither are five of one kind and five of another."""
    tell(database, scene.minsus, 5)
    tell(database, scene.minsus, 5, kind="stop_loss_hit")
    assert len(deliver(database, times=20)) == 10


def test_accounts_and_urgency_are_not_mixed(database: Database, scene: Scene) -> None:
    """The digest of urgent notices is urgent and goes before the rest."""
    tell(database, scene.minsus, 7, kind="system_error", urgent=True, facts={"what": "stop_failed"})
    tell(database, scene.minsus, 7)
    told = deliver(database)
    assert [message.urgent for message in told] == [True, True, False, False]
    assert "손절 주문을 걸지 못했습니다: 6건" in told[1].plain()


def test_reports_are_never_merged(database: Database, scene: Scene) -> None:
    """Each is a day."""
    with database.transaction() as connection:
        for day in range(8):
            tell_account(connection, scene.minsus, "daily_report", {"day": f"2026-01-0{day + 1}"}, f"d{day}", NOW)
    assert len(deliver(database, times=20)) == 8


def test_what_was_tried_is_not_merged_because_it_may_have_arrived(database: Database, scene: Scene) -> None:
    """It goes by itself."""
    tell(database, scene.minsus, 8)
    with database.transaction() as connection:
        third = sa.select(sa.func.min(notices.c.id) + 2).scalar_subquery()
        connection.execute(sa.update(deliveries).where(deliveries.c.notice_id == third).values(attempts=1))
    assert len(deliver(database)) == 3


def test_a_flood_of_thousands_is_still_one_message(database: Database, scene: Scene) -> None:
    """Merged by the thousand, then the digests among themselves; nothing is counted twice."""
    minsu = scene.minsu.user_id or 0
    with database.transaction() as connection:
        for number in range(2300):
            tell_user(connection, minsu, "position_closed", closed(0.1) | {"quote": "USDT"}, f"k{number}", NOW + number)
    _, rest = deliver(database)
    assert "2,299" in rest.title and "+229.90 USDT" in rest.plain() and "수익 2299건" in rest.plain()
    with database.reading() as connection:
        merged = sa.select(sa.func.count()).where(deliveries.c.status == "merged", deliveries.c.merged_into.is_(None))
        assert connection.scalar(merged) == 0


def test_a_digest_of_digests_adds_up() -> None:
    """Whatever is put together, in whatever steps."""
    found = [(NOW + number, closed(number - 3.0, f"S{number % 2}/USDT")) for number in range(9)]
    at_once = digest_facts(found)
    in_steps = digest_facts([*found[6:], (NOW, digest_facts(found[:6]))])
    assert json.dumps(at_once["digest"], sort_keys=True) == json.dumps(in_steps["digest"], sort_keys=True)
    assert at_once["digest"]["count"] == 9 and at_once["digest"]["pnl"] == "9.0"

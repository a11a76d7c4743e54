"""The history of notices with its filters, and the reader's choice of what reaches them, where and when."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.accounts.notice_times import read_notice_times
from ctp.accounts.users import find_user
from ctp.notifiers.outbox import tell_account, tell_user
from ctp.storage import tables
from tests.web.browserless import HTML, Site
from tests.web.seed import add_notice
from tests.web.stories import tell

GOOD = {
    "quiet_from": "22:30",
    "quiet_until": "07:00",
    "report_at": "09:15",
    "weekly_report": False,
    "monthly_report": True,
}


def _trouble(running: Site, account: str, key: str) -> None:
    """Tell an account's people of trouble."""
    with running.world.database.transaction() as connection:
        account_id = running.world.accounts[account]
        tell_account(connection, account_id, "system_error", {"what": "exchange_down"}, key, running.world.now_ms)


def test_the_history_is_filtered_by_kind_account_and_unread(home: Path) -> None:
    """Each filter alone and together; what does not match is not there."""

    async def story(running: Site) -> None:
        first, second = running.world.accounts["선물 주력"], running.world.accounts["현물 실험"]
        for key in ("a", "b"):
            add_notice(running.world, "minsu", key)
        _trouble(running, "선물 주력", "c")
        _trouble(running, "현물 실험", "d")
        minsu = await running.person("minsu")

        async def found(query: str) -> list[tuple[str, int]]:
            answer = await minsu.get(f"/api/v1/notices{query}")
            return [(one["kind"], one["account"]) for one in answer.json()["notices"]]

        assert len(await found("")) == 4
        assert await found("?kind=system_error") == [("system_error", second), ("system_error", first)]
        assert await found(f"?account={second}") == [("system_error", second)]
        assert await found(f"?account={second}&kind=position_opened") == []
        newest = (await minsu.get("/api/v1/notices?limit=1")).json()["notices"][0]["id"]
        await minsu.ask("POST", "/api/v1/notices/read", json={"ids": [newest]})
        assert len(await found("?unread=1")) == 3
        assert (await minsu.get("/api/v1/notices?kind=nonsense")).status == 400
        for foreign in (running.world.accounts["Perpetuals"], 987_654_321):
            assert (await minsu.get(f"/api/v1/notices?account={foreign}")).status == 404

    tell(home, story)


def test_older_notices_come_page_by_page_without_gap_or_repetition(home: Path) -> None:
    """`more` is true until the last page, also when the last page is full."""

    async def story(running: Site) -> None:
        for number in range(6):
            add_notice(running.world, "minsu", f"n{number}")
        minsu = await running.person("minsu")
        seen, before, more = [], "", True
        while more:
            answer = (await minsu.get(f"/api/v1/notices?limit=3{before}")).json()
            seen += [one["id"] for one in answer["notices"]]
            more, before = answer["more"], f"&before={seen[-1]}"
        assert len(seen) == 6 and seen == sorted(seen, reverse=True)

    tell(home, story)


def test_a_notice_leads_to_what_it_is_about(home: Path) -> None:
    """Its account's desk, its report, or nowhere; never to a page the reader does not have."""

    async def story(running: Site) -> None:
        add_notice(running.world, "minsu", "one")
        account = running.world.accounts["선물 주력"]
        with running.world.database.transaction() as connection:
            for person in ("minsu", "otto"):
                user = find_user(connection, person).id
                tell_user(connection, user, "daily_report", {"day": "2026-01-01", "report_id": 7}, "r", 1)
                tell_user(connection, user, "system_error", {"what": "disk_full"}, "d", 1)
        links = [one["link"] for one in (await (await running.person("minsu")).get("/api/v1/notices")).json()["notices"]]
        assert links == ["", "/reports/7", f"/dashboards/trading?account={account}"]

    tell(home, story)


def test_what_is_switched_off_is_not_told_and_only_for_oneself(home: Path) -> None:
    """The switch of one person changes nothing for another; the page shows it as it is."""

    async def story(running: Site) -> None:
        minsu, alice = await running.person("minsu"), await running.person("alice")
        off = {"kind": "position_opened", "channel": "web", "enabled": False}
        assert (await minsu.ask("PUT", "/api/v1/notices/choice", json=off)).status == 204
        add_notice(running.world, "minsu", "one")
        add_notice(running.world, "alice", "two")
        assert (await minsu.get("/api/v1/notices")).json()["notices"] == []
        assert len((await alice.get("/api/v1/notices")).json()["notices"]) == 1
        switch = 'data-kind="position_opened" data-channel="web"'
        for person, is_on in ((minsu, False), (alice, True)):
            page = (await person.get("/profile/notices", headers=HTML)).text
            assert ("checked" in page.split(switch)[1].partition(">")[0]) is is_on
        for body in (
            {},
            off | {"kind": "gossip"},
            off | {"channel": "pigeon"},
            off | {"enabled": "no"},
            off | {"enabled": 1},
        ):
            assert (await minsu.ask("PUT", "/api/v1/notices/choice", json=body)).status == 400, body

    tell(home, story)


def test_quiet_hours_and_report_times_are_kept_for_oneself_and_audited(home: Path) -> None:
    """They are minutes of the reader's day; nothing of another person changes."""

    async def story(running: Site) -> None:
        minsu = await running.person("minsu")
        assert (await minsu.ask("PUT", "/api/v1/notices/times", json=GOOD)).status == 204
        with running.world.database.reading() as connection:
            his = read_notice_times(connection, find_user(connection, "minsu").id)
            hers = read_notice_times(connection, find_user(connection, "alice").id)
            deeds = connection.scalars(sa.select(tables.audit_log.c.action)).all()
        assert tuple(his) == (22 * 60 + 30, 7 * 60, 9 * 60 + 15, False, True)
        assert tuple(hers) == (None, None, 480, True, True)
        assert "user.notice_times" in deeds
        page = (await minsu.get("/profile/notices", headers=HTML)).text
        assert 'name="quiet_from" value="22:30"' in page and 'value="09:15"' in page
        none = GOOD | {"quiet_from": "", "quiet_until": ""}
        assert (await minsu.ask("PUT", "/api/v1/notices/times", json=none)).status == 204

    tell(home, story)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quiet_from": ""},
        {"quiet_until": "22:30"},
        {"quiet_from": "24:00"},
        {"quiet_from": "2:30"},
        {"quiet_from": "٢٢:٣٠"},
        {"report_at": ""},
        {"report_at": 540},
        {"weekly_report": "yes"},
    ],
)
def test_times_that_cannot_be_meant_are_refused_and_nothing_is_kept(home: Path, wrong: dict[str, object]) -> None:
    """Half a pair, an empty night, a time that no clock shows."""

    async def story(running: Site) -> None:
        minsu = await running.person("minsu")
        assert (await minsu.ask("PUT", "/api/v1/notices/times", json=GOOD | wrong)).status == 400
        with running.world.database.reading() as connection:
            assert tuple(read_notice_times(connection, find_user(connection, "minsu").id)) == (None, None, 480, True, True)

    tell(home, story)

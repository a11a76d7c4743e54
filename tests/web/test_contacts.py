"""Addresses outside the web, as their owner handles them on the page: proven by a code, tested, removed, never another's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ctp.accounts.users import find_user
from ctp.notifiers.contacts import block_contact, claim_by_code
from ctp.storage import tables
from ctp.storage.leases import beat
from tests.web.browserless import HTML, Person, Site
from tests.web.seed import set_up_channels
from tests.web.stories import tell

ADDRESS = "minsu@example.com"
ALL = ("minsu", "alice", "vera", "quinn", "otto", "root")


def mailed_code(running: Site, name: str) -> str:
    """Return the code in the newest mail to a person."""
    with running.world.database.reading() as connection:
        user = find_user(connection, name).id
        mine = sa.select(tables.notices.c.facts).where(tables.notices.c.user_id == user, tables.notices.c.kind == "contact_code")
        facts = connection.execute(mine.order_by(tables.notices.c.id.desc()).limit(1)).scalar_one()
    return str(json.loads(facts)["code"])


async def state(person: Person) -> dict[str, dict[str, Any]]:
    """Return how each channel stands."""
    return {one["channel"]: one for one in (await person.get("/api/v1/contacts")).json()["contacts"]}


def test_an_address_is_used_once_its_code_came_back_and_no_longer_once_removed(home: Path) -> None:
    """The code is never in an answer; after the first confirmation the important kinds are on, and only for this person."""

    async def story(running: Site) -> None:
        set_up_channels(running.gateway)
        minsu, alice = await running.person("minsu"), await running.person("alice")
        assert (await state(minsu))["email"]["state"] == "none"
        answer = await minsu.ask("POST", "/api/v1/contacts/email", json={"address": ADDRESS})
        code = mailed_code(running, "minsu")
        assert answer.status == 200 and code not in answer.text
        waiting = (await state(minsu))["email"]
        assert (waiting["state"], waiting["pending"]) == ("none", ADDRESS)
        assert (await state(alice))["email"]["pending"] is None
        assert (await alice.ask("POST", "/api/v1/contacts/email/confirm", json={"code": code})).status == 400
        assert (await minsu.ask("POST", "/api/v1/contacts/email/confirm", json={"code": "WRONG234"})).status == 400
        assert (await minsu.ask("POST", "/api/v1/contacts/email/confirm", json={"code": code.lower()})).status == 200
        confirmed = (await state(minsu))["email"]
        assert (confirmed["state"], confirmed["address"], confirmed["pending"]) == ("confirmed", ADDRESS, None)
        page = (await minsu.get("/profile/notices", headers=HTML)).text
        switch = 'data-kind="stop_loss_hit" data-channel="email"'
        assert "checked" in page.split(switch)[1].partition(">")[0]
        assert "disabled" in (await alice.get("/profile/notices", headers=HTML)).text.split(switch)[1].partition(">")[0]
        assert (await alice.ask("DELETE", "/api/v1/contacts/email")).status == 200
        assert (await state(minsu))["email"]["state"] == "confirmed"
        assert (await minsu.ask("DELETE", "/api/v1/contacts/email")).status == 200
        assert (await state(minsu))["email"]["state"] == "none"

    tell(home, story)


def test_guessing_a_code_ends_after_five_attempts_that_are_counted_although_refused(home: Path) -> None:
    """The right code does not help any more; the words do not tell how near one was."""

    async def story(running: Site) -> None:
        set_up_channels(running.gateway)
        minsu = await running.person("minsu")
        await minsu.ask("POST", "/api/v1/contacts/email", json={"address": ADDRESS})
        code = mailed_code(running, "minsu")
        told = [
            await minsu.ask("POST", "/api/v1/contacts/email/confirm", json={"code": guess})
            for guess in ("22222222", "33333333", "44444444", "55555555", "66666666", code)
        ]
        assert [answer.status for answer in told] == [400] * 6
        assert len({answer.text for answer in told[:5]}) == 1 and told[5].text != told[0].text
        assert "인증 코드" in told[0].json()["error"] and "code =" not in told[0].text
        assert (await state(minsu))["email"]["state"] == "none"

    tell(home, story)


def test_telegram_is_paired_by_a_code_that_only_its_page_was_shown(home: Path) -> None:
    """The link leads to the bot with the code; without a known bot there is a code and no link."""

    async def story(running: Site) -> None:
        set_up_channels(running.gateway)
        minsu = await running.person("minsu")
        first = (await minsu.ask("POST", "/api/v1/contacts/telegram", json={})).json()
        assert first["link"] == "" and len(first["code"]) == 8
        with running.world.database.transaction() as connection:
            beat(connection, "telegram", running.world.now_ms, {"username": "ctp_test_bot"})
        begun = (await minsu.ask("POST", "/api/v1/contacts/telegram", json={})).json()
        assert begun["link"] == f"https://t.me/ctp_test_bot?start={begun['code']}"
        assert begun["code"] not in (await minsu.get("/api/v1/contacts")).text
        with running.world.database.transaction() as connection:
            now = running.gateway.clock.now_ms()
            assert claim_by_code(connection, "telegram", begun["code"], "4711", "42", now) is not None
        found = (await state(minsu))["telegram"]
        assert (found["state"], found["address"]) == ("confirmed", ""), "the chat's number is nobody's business"

    tell(home, story)


def test_a_test_message_goes_to_confirmed_addresses_only_and_not_too_often(home: Path) -> None:
    """It waits in the outbox for this channel alone; the sixth within an hour is refused in the reader's words."""

    async def story(running: Site) -> None:
        set_up_channels(running.gateway)
        alice = await running.person("alice")
        assert (await alice.ask("POST", "/api/v1/contacts/email/test")).status == 409
        await alice.ask("POST", "/api/v1/contacts/email", json={"address": "alice@example.com"})
        await alice.ask("POST", "/api/v1/contacts/email/confirm", json={"code": mailed_code(running, "alice")})
        answers = [await alice.ask("POST", "/api/v1/contacts/email/test") for _ in range(6)]
        assert [answer.status for answer in answers] == [204] * 5 + [403]
        assert "within an hour" in answers[-1].json()["error"]
        with running.world.database.reading() as connection:
            waiting = connection.execute(
                sa.select(tables.deliveries.c.channel, tables.deliveries.c.status)
                .join(tables.notices, tables.notices.c.id == tables.deliveries.c.notice_id)
                .where(tables.notices.c.kind == "contact_test")
            ).all()
        assert [tuple(row) for row in waiting] == [("email", "waiting")] * 5

    tell(home, story)


def test_a_blocked_address_says_why_and_a_channel_that_is_not_set_up_says_so(home: Path) -> None:
    """The person learns whose turn it is: their own, or the operator's."""

    async def story(running: Site) -> None:
        minsu = await running.person("minsu")
        assert {one["state"] for one in (await state(minsu)).values()} == {"unavailable"}
        for channel in ("email", "telegram"):
            answer = await minsu.ask("POST", f"/api/v1/contacts/{channel}", json={"address": ADDRESS})
            assert answer.status == 409 and "운영자" in answer.json()["error"]
        set_up_channels(running.gateway)
        await minsu.ask("POST", "/api/v1/contacts/email", json={"address": ADDRESS})
        await minsu.ask("POST", "/api/v1/contacts/email/confirm", json={"code": mailed_code(running, "minsu")})
        with running.world.database.transaction() as connection:
            block_contact(connection, find_user(connection, "minsu").id, "email", "mailbox does not exist", running.world.now_ms)
        found = (await state(minsu))["email"]
        assert (found["state"], found["reason"]) == ("blocked", "mailbox does not exist")

    tell(home, story)


def test_what_is_no_address_or_too_much_is_refused_in_words(home: Path) -> None:
    """Nothing is mailed; header injection is no address; after five mails an hour it ends."""

    async def story(running: Site) -> None:
        set_up_channels(running.gateway)
        minsu = await running.person("minsu")
        for wrong in ("", "minsu", "a@b c.de", "a@example.com\r\nBcc: x@example.com", "a" * 400 + "@example.com", 7, None):
            answer = await minsu.ask("POST", "/api/v1/contacts/email", json={"address": wrong})
            assert answer.status == 400 and "이메일 주소" in answer.json()["error"], wrong
        for number in range(6):
            answer = await minsu.ask("POST", "/api/v1/contacts/email", json={"address": ADDRESS})
            assert answer.status == (200 if number < 5 else 403)
        for code in (7, None, "x" * 41):
            assert (await minsu.ask("POST", "/api/v1/contacts/email/confirm", json={"code": code})).status == 400
        assert (await minsu.ask("POST", "/api/v1/contacts/pigeon", json={})).status == 404
        assert (await minsu.ask("POST", "/api/v1/contacts/telegram/confirm", json={"code": "x"})).status == 404

    tell(home, story)


def test_every_role_has_contacts_of_their_own_and_nobody_without_a_session(home: Path) -> None:
    """Operators and viewers are told things too."""

    async def story(running: Site) -> None:
        set_up_channels(running.gateway)
        for name in ALL:
            person = await running.person(name)
            assert (await person.get("/profile/notices", headers=HTML)).status == 200
            answer = await person.ask("POST", "/api/v1/contacts/email", json={"address": f"{name}@example.com"})
            assert answer.status == 200
            assert (await state(person))["email"]["pending"] == f"{name}@example.com"
        nobody = await running.person()
        for method, path in (
            ("GET", "/api/v1/contacts"),
            ("POST", "/api/v1/contacts/email"),
            ("DELETE", "/api/v1/contacts/email"),
            ("POST", "/api/v1/contacts/email/confirm"),
            ("POST", "/api/v1/contacts/telegram/test"),
        ):
            assert (await nobody.ask(method, path, json={})).status == 401, path

    tell(home, story)

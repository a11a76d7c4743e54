"""The operations page: health and deliveries for operators, Close all for administrators, nothing for anybody else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import sqlalchemy as sa

from ctp.accounts.rights import Actor
from ctp.accounts.users import find_user
from ctp.backup.create import make_backup
from ctp.backup.state import DRILL, note_check
from ctp.backup.target import LocalTarget
from ctp.notifiers.contacts import begin_contact, confirm_contact
from ctp.scheduler import history
from ctp.storage import tables
from ctp.storage.leases import beat
from tests.web.browserless import HTML, Site
from tests.web.seed import set_up_channels
from tests.web.stories import tell

OTHERS = ("minsu", "alice", "vera", "quinn")
MONEY = ("equity", "balance", "pnl", "capital", "price", "size", "USDT", "BTC")
SHOWN = {"id", "owner", "name", "exchange_name", "mode", "mode_word", "status", "status_word", "is_flat", "command"}


def add_dead_letter(running: Site, person: str, key: str) -> int:
    """Give one notice to a person up; returns its id."""
    with running.world.database.transaction() as connection:
        user = find_user(connection, person).id
        told = {"symbol": "BTC/USDT", "pnl": -74.5}
        notice = {"user_id": user, "kind": "stop_loss_hit", "facts": json.dumps(told), "deduplication_key": key}
        notice_id = connection.execute(
            sa.insert(tables.notices).values(**notice, created_at=running.world.now_ms).returning(tables.notices.c.id)
        ).scalar_one()
        row = {"channel": "email", "user_id": user, "turn": 1, "status": "dead", "attempts": 10, "due_at": 0}
        connection.execute(sa.insert(tables.deliveries).values(notice_id=notice_id, error="451 try later", **row))
        return int(notice_id)


def connect_email(running: Site, person: str) -> None:
    """Give a person a confirmed address."""
    with running.world.database.transaction() as connection:
        user = find_user(connection, person)
        actor, now = Actor(user.id, user.name, user.role, None, "web"), running.world.now_ms
        code = begin_contact(connection, actor, "email", f"{person}@example.com", now)
        assert confirm_contact(connection, user.id, "email", code, now) == "confirmed"


def test_the_page_does_not_exist_for_those_who_do_not_operate(home: Path) -> None:
    """Page, figures and resending answer 404 to everybody else, as any missing page does."""

    async def story(running: Site) -> None:
        for name in OTHERS:
            person = await running.person(name)
            assert (await person.get("/operations", headers=HTML)).status == 404
            missing = await person.get("/api/v1/no-such-thing")
            for method, path in (("GET", "/api/v1/operations"), ("POST", "/api/v1/operations/resend")):
                answer = await person.ask(method, path, json={"all": True})
                assert (answer.status, answer.text) == (404, missing.text), (name, path)
            assert 'href="/operations"' not in (await person.get("/", headers=HTML)).text
        nobody = await running.person()
        for method, path in (
            ("GET", "/operations"),
            ("GET", "/api/v1/operations"),
            ("POST", "/api/v1/operations/resend"),
        ):
            assert (await nobody.ask(method, path, json={})).status == 401

    tell(home, story)


def test_an_operator_sees_health_and_no_account_an_administrator_sees_accounts_and_no_money(home: Path) -> None:
    """What the table of rights allows, looked for in the whole answer."""

    async def story(running: Site) -> None:
        add_dead_letter(running, "alice", "one")
        otto, root = await running.person("otto"), await running.person("root")
        seen, all_seen = [(await person.get("/api/v1/operations")) for person in (otto, root)]
        assert seen.status == all_seen.status == 200
        assert seen.json()["accounts"] is None
        for name in running.world.accounts:
            assert name not in seen.text
        found = {(one["owner"], one["name"]): one for one in all_seen.json()["accounts"]}
        assert set(found) == {("minsu", "선물 주력"), ("minsu", "현물 실험"), ("alice", "Perpetuals"), ("alice", "Real money")}
        assert next(iter(found.values()))["mode"] == "live", "real money comes first"
        assert all(set(one) == SHOWN for one in found.values())
        for answer in (seen, all_seen):
            for word in MONEY:
                assert word not in answer.text, word
        page = await otto.get("/operations", headers=HTML)
        assert page.status == 200 and 'id="accounts"' not in page.text
        assert (await otto.get("/", headers=HTML)).headers["Location"] == "/operations"
        assert 'id="accounts"' in (await root.get("/operations", headers=HTML)).text

    tell(home, story)


def test_silent_processes_and_failing_jobs_are_told(home: Path) -> None:
    """Alive, troubled, silent and never run are four things; a failed job says since when and why."""

    async def story(running: Site) -> None:
        now = running.gateway.clock.now_ms()
        with running.world.database.transaction() as connection:
            beat(connection, "bot", now, {"unhealthy": "exchange down", "accounts": 4, "memory_mb": 120, "troubles": {"1": "x"}})
            history.register(connection, {"tidy": ("daily 03:45 Asia/Seoul", now + 1000), "odd": ("at noon", now)}, now)
            for due, result in ((now - 3000, history.DONE), (now - 2000, history.FAILED)):
                run = history.claim(connection, "tidy", due, now + 1000, "here", due)
                assert run is not None
                history.end(connection, run, result, due + 500, "no room" if result == history.FAILED else "")
        otto = await running.person("otto")
        seen = (await otto.get("/api/v1/operations")).json()
        states = {one["name"]: one["state"] for one in seen["processes"]}
        assert states["bot"] == "unhealthy" and states["backup"] == "never"
        tidy = next(one for one in seen["jobs"] if one["error"])
        assert (tidy["result"], tidy["error"], tidy["took_ms"]) == ("failed", "no room", 500)
        assert tidy["failing_since"] is not None and "03:45" in tidy["schedule"]
        assert {one["schedule"] for one in seen["jobs"]} >= {"at noon"}
        with running.world.database.transaction() as connection:
            beat(connection, "bot", now - 60_000)
        seen = (await otto.get("/api/v1/operations")).json()
        assert seen["processes"][0]["state"] == "silent"
        assert len(seen["processes"]) == 3, "nobody has set Telegram up"
        set_up_channels(running.gateway)
        with running.world.database.transaction() as connection:
            beat(connection, "telegram", now - 60_000)
        assert (await otto.get("/api/v1/operations")).json()["processes"][3]["state"] == "alive", "it listens long"

    tell(home, story)


def test_undelivered_notices_are_listed_without_contents_and_sent_again(home: Path) -> None:
    """One or all; only where the person can be reached; the deed is in the audit log."""

    async def story(running: Site) -> None:
        first, second = add_dead_letter(running, "alice", "one"), add_dead_letter(running, "alice", "two")
        other = add_dead_letter(running, "minsu", "three")
        otto = await running.person("otto")
        listed = (await otto.get("/api/v1/operations")).json()["dead"]
        assert [(one["id"], one["user"], one["channel"]) for one in listed] == [
            (other, "minsu", "email"), (second, "alice", "email"), (first, "alice", "email"),
        ]  # fmt: skip
        path = "/api/v1/operations/resend"
        one = {"notices": [first], "channel": "email"}
        assert (await otto.ask("POST", path, json=one)).json() == {"count": 0}, "nobody has an address yet"
        connect_email(running, "alice")
        assert (await otto.ask("POST", path, json=one)).json() == {"count": 1}
        assert (await otto.ask("POST", path, json=one)).json() == {"count": 0}, "a second press sends nothing twice"
        assert (await otto.ask("POST", path, json={"all": True})).json() == {"count": 1}
        left = (await otto.get("/api/v1/operations")).json()
        assert [one["id"] for one in left["dead"]] == [other] and left["dead_count"] == 1
        with running.world.database.reading() as connection:
            deeds = connection.scalars(sa.select(tables.audit_log.c.action)).all()
        assert deeds.count("notice.resend") == 2
        for body in ({}, {"notices": [1]}, {"notices": [], "channel": "email"}, {"notices": ["1"], "channel": "email"},
                     {"notices": [first], "channel": "web"}, {"notices": [1 << 63], "channel": "email"}):  # fmt: skip
            assert (await otto.ask("POST", path, json=body)).status == 400, body

    tell(home, story)


def test_an_administrator_closes_anybodys_positions_and_follows_it_nobody_else_does(home: Path) -> None:
    """Asked, acknowledged, flat; a command of the owner is not shown to the administrator; all of it is audited."""

    async def story(running: Site) -> None:
        account = running.world.accounts["Real money"]
        path = f"/api/v1/accounts/{account}/commands"
        root, otto, alice = [await running.person(name) for name in ("root", "otto", "alice")]
        close = {"kind": "close_all", "request_key": "root-closes-1"}
        assert (await otto.ask("POST", path, json=close)).status == 404
        assert (await root.ask("POST", path, json=close | {"kind": "start"})).status == 404, "closing only"
        assert (await alice.ask("POST", path, json={"kind": "close_all", "request_key": "alices-own-1"})).status == 202

        async def shown() -> dict[str, object]:
            accounts = (await root.get("/api/v1/operations")).json()["accounts"]
            return next(one for one in accounts if one["id"] == account)

        assert (await shown())["command"] is None
        assert (await root.ask("POST", path, json=close)).status == 202
        assert (await root.ask("POST", path, json=close)).status == 202
        asked = (await shown())["command"]
        assert isinstance(asked, dict)
        assert asked["asked_by"] == "root" and asked["acknowledged_at"] is None and asked["done_at"] is None
        with running.world.database.transaction() as connection:
            mine = sa.update(tables.commands).where(tables.commands.c.id == asked["id"])
            connection.execute(mine.values(acknowledged_at=1, done_at=2, result="done"))
            flat = sa.update(tables.account_states).where(tables.account_states.c.account_id == account)
            connection.execute(flat.values(core_state='{"positions": []}', status="paused"))
        after = await shown()
        assert after["is_flat"] and after["status"] == "paused"
        assert isinstance(after["command"], dict) and after["command"]["done_at"] == 2 and after["command"]["problem"] is None
        with running.world.database.reading() as connection:
            deeds = connection.execute(
                sa.select(tables.audit_log.c.subject, tables.users.c.name)
                .join(tables.users, tables.users.c.id == tables.audit_log.c.user_id)
                .where(tables.audit_log.c.action == "command.close_all")
            ).all()
        assert sorted(tuple(row) for row in deeds) == [(f"account:{account}", "alice"), (f"account:{account}", "root")]

    tell(home, story)


def test_how_backups_stand_is_shown_to_those_who_operate_in_their_language(home: Path) -> None:
    """None yet, then made and rehearsed, then damaged: each is one word, and nothing tells of an account."""

    async def story(running: Site) -> None:
        otto = await running.person("otto")
        settings, database = running.gateway.settings, running.world.database
        page = await otto.get("/operations", headers=HTML)
        assert page.status == 200 and 'id="backups"' in page.text
        backups = (await otto.get("/api/v1/operations")).json()["backups"]
        languages = {"ko": ("아직 없음", "정상", "손상"), "en": ("None yet", "Good", "Damaged")}
        words = languages[(await otto.get("/api/v1/me")).json()["language"]]
        assert (backups["is_good"], backups["state"], backups["newest_at"]) == (False, words[0], None)
        now = running.gateway.clock.now_ms()

        def work() -> None:
            make_backup(settings, database, LocalTarget(settings.backups), "full", now)
            with database.transaction() as connection:
                note_check(connection, DRILL, "x", now, True, "fine", rows=7, accounts=2, problems=[])

        await asyncio.to_thread(work)
        answer = await otto.get("/api/v1/operations")
        backups = answer.json()["backups"]
        assert (backups["is_good"], backups["state"], backups["newest_at"]) == (True, words[1], now)
        drill = backups["checks"][1]
        assert drill["at"] == now and drill["look"] == "running" and drill["lines"] == [] and "7" in drill["found"]
        for word in (*running.world.accounts, *MONEY):
            assert word not in answer.text, word
        with database.transaction() as connection:
            note_check(connection, DRILL, "x", now, False, "no", problems=["table ledger: 1 of 2 rows"])
        for manifest in settings.backups.glob("*.manifest"):
            manifest.write_bytes(b"cut")
        backups = (await otto.get("/api/v1/operations")).json()["backups"]
        assert backups["damaged"] and not backups["is_good"]
        assert backups["checks"][1]["lines"] == ["table ledger: 1 of 2 rows"] and backups["checks"][1]["look"] == "blocked"

    tell(home, story)

"""The administrator's pages: people, their access and sessions, and the audit log. They do not exist for anybody else."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.rights import machine
from ctp.accounts.users import find_user
from ctp.storage import tables
from tests.web.browserless import HTML, Person, Site
from tests.web.seed import PASSWORD
from tests.web.stories import tell

OWN = {"own_password": PASSWORD}
NEW_PASSWORD = "a phrase nobody else has"


def user_id(running: Site, name: str) -> int:
    """Return a person's number."""
    with running.world.database.reading() as connection:
        return find_user(connection, name).id


async def listed(root: Person) -> dict[str, dict[str, Any]]:
    """Return the list of people by name."""
    return {one["name"]: one for one in (await root.get("/api/v1/users")).json()["people"]}


def test_for_everybody_but_an_administrator_users_and_audit_log_do_not_exist(home: Path) -> None:
    """Every address, every role: as any missing page; without a session 401; and nothing is done."""

    async def story(running: Site) -> None:
        target = user_id(running, "alice")
        asked = [
            ("GET", "/users"), ("GET", "/audit"), ("GET", "/audit.csv"), ("GET", "/api/v1/users"), ("POST", "/api/v1/users"),
            *(("POST", f"/api/v1/users/{target}/{deed}") for deed in ("disable", "enable", "password")),
            ("PUT", f"/api/v1/users/{target}/role"), ("GET", f"/api/v1/users/{target}/sessions"),
            ("DELETE", f"/api/v1/users/{target}/sessions"), ("DELETE", f"/api/v1/users/{target}/sessions/{'0' * 32}"),
        ]  # fmt: skip
        body = {"name": "mallory", "role": "admin", "language": "en", **OWN}
        for name in ("minsu", "alice", "vera", "quinn", "otto"):
            person = await running.person(name)
            missing = await person.get("/api/v1/no-such-thing")
            for method, path in asked:
                answer = await person.ask(method, path, json=body)
                assert (answer.status, answer.text) == (404, missing.text), (name, method, path)
            page = await person.get("/profile", headers=HTML)
            assert 'href="/users"' not in page.text and 'href="/audit"' not in page.text
        nobody = await running.person()
        for method, path in asked:
            assert (await nobody.ask(method, path, json=body)).status == 401, path
        with running.world.database.reading() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(tables.users)) == 6

    tell(home, story)


def test_a_person_is_added_logs_in_once_with_the_password_that_was_made_and_chooses_their_own(home: Path) -> None:
    """The password is in one answer and nowhere else; without the administrator's own password nothing happens."""

    async def story(running: Site) -> None:
        root = await running.person("root")
        body = {"name": "jiyoung", "role": "trader", "language": "ko"}
        for wrong in ({}, {"own_password": "wrong wrong wrong"}, {"own_password": 7}, {"own_password": "x" * 1025}):
            assert (await root.ask("POST", "/api/v1/users", json=body | wrong)).status == 400
        for bad in ({"role": "king"}, {"name": "<b>"}, {"language": "de"}, {"name": "MINSU"}, {"name": 5}):
            answer = await root.ask("POST", "/api/v1/users", json=body | OWN | bad)
            assert answer.status == 400, (bad, answer.text)
        assert "jiyoung" not in await listed(root)
        made = await root.ask("POST", "/api/v1/users", json=body | OWN)
        assert made.status == 201
        password = made.json()["password"]
        assert len(password) >= 20
        assert (await listed(root))["jiyoung"]["state"] == "first_password"
        fresh = await running.person()
        assert (await fresh.log_in("jiyoung", password)).status == 303
        assert (await fresh.get("/api/v1/accounts")).status == 403, "first a password of their own"
        change = {"current": password, "new": NEW_PASSWORD}
        assert (await fresh.ask("POST", "/api/v1/password", json=change)).status == 204
        assert (await fresh.get("/api/v1/accounts")).status == 200
        assert (await listed(root))["jiyoung"]["state"] == "active"
        with running.world.database.reading() as connection:
            everything = json.dumps([[str(v) for v in row] for row in connection.execute(sa.select(tables.audit_log))])
            assert "user.add" in everything and password not in everything

    tell(home, story)


def test_roles_passwords_and_shutting_out_count_at_once(home: Path) -> None:
    """From the next request on; an administrator cannot shut themselves out; each deed is in the audit log."""

    async def story(running: Site) -> None:
        root, alice = await running.person("root"), await running.person("alice")
        hers, mine = user_id(running, "alice"), user_id(running, "root")
        assert (await alice.get("/api/v1/accounts")).status == 200
        assert (await root.ask("PUT", f"/api/v1/users/{hers}/role", json={"role": "viewer"})).status == 400, "unproven"
        assert (await root.ask("PUT", f"/api/v1/users/{hers}/role", json={"role": "viewer"} | OWN)).status == 204
        assert (await alice.get("/api/v1/me")).json()["role"] == "viewer"
        assert (await root.ask("POST", f"/api/v1/users/{hers}/disable", json={})).status == 204
        assert (await alice.get("/api/v1/me")).status == 401, "her session has ended"
        assert (await alice.log_in("alice")).status == 401
        assert (await root.ask("POST", f"/api/v1/users/{hers}/enable", json={})).status == 400, "giving access is proven"
        assert (await root.ask("POST", f"/api/v1/users/{hers}/enable", json=OWN)).status == 204
        assert (await alice.log_in("alice")).status == 303
        made = (await root.ask("POST", f"/api/v1/users/{hers}/password", json=OWN)).json()["password"]
        assert (await alice.get("/api/v1/me")).status == 401
        assert (await alice.log_in("alice")).status == 401 and (await alice.log_in("alice", made)).status == 303
        for path, body in (("role", {"role": "viewer"} | OWN), ("disable", {}), ("password", OWN)):
            method = "PUT" if path == "role" else "POST"
            answer = await root.ask(method, f"/api/v1/users/{mine}/{path}", json=body)
            assert answer.status in (400, 403), (path, answer.text)
        assert (await root.get("/api/v1/me")).json()["role"] == "admin"
        for path in (f"/api/v1/users/{10**17}/disable", f"/api/v1/users/{10**17}/enable", f"/api/v1/users/{10**17}/password"):
            assert (await root.ask("POST", path, json=OWN)).status == 404
        with running.world.database.reading() as connection:
            deeds = list(connection.scalars(sa.select(tables.audit_log.c.action).where(tables.audit_log.c.door == "web")))
        assert [deed for deed in deeds if deed.startswith("user.") and deed != "user.login"] == [
            "user.role", "user.disable", "user.enable", "user.password",
        ]  # fmt: skip

    tell(home, story)


def test_guessing_the_administrators_password_in_an_open_session_is_slowed_down(home: Path) -> None:
    """After a few wrong ones even the right one is refused for a while; the session itself goes on."""

    async def story(running: Site) -> None:
        root, path = await running.person("root"), f"/api/v1/users/{user_id(running, 'vera')}/password"
        for number in range(5):
            assert (await root.ask("POST", path, json={"own_password": f"wrong guess {number}"})).status == 400
        assert (await root.ask("POST", path, json=OWN)).status == 400
        change = {"current": PASSWORD, "new": NEW_PASSWORD}
        assert (await root.ask("POST", "/api/v1/password", json=change)).status == 400, "the same lock"
        assert (await root.get("/api/v1/me")).status == 200

    tell(home, story)


def test_an_administrator_sees_and_ends_sessions_and_stays_logged_in(home: Path) -> None:
    """One, or all of a person's; of one's own all others; each time in the audit log."""

    async def story(running: Site) -> None:
        root, other = await running.person("root"), await running.person("root")
        first, second = await running.person("minsu"), await running.person("minsu")
        path = f"/api/v1/users/{user_id(running, 'minsu')}/sessions"
        found = (await root.get(path)).json()["sessions"]
        assert len(found) == 2 and not any(one["is_this"] for one in found)
        assert (await listed(root))["minsu"]["sessions"] == 2
        assert (await root.ask("DELETE", f"{path}/{found[0]['id']}")).json() == {"count": 1}
        assert sorted([(await one.get("/api/v1/me")).status for one in (first, second)]) == [200, 401]
        assert (await root.ask("DELETE", path)).json() == {"count": 1}
        assert (await root.ask("DELETE", path)).json() == {"count": 0}
        assert [(await one.get("/api/v1/me")).status for one in (first, second)] == [401, 401]
        own = f"/api/v1/users/{user_id(running, 'root')}/sessions"
        assert (await root.ask("DELETE", own)).json() == {"count": 1}
        assert (await root.get("/api/v1/me")).status == 200 and (await other.get("/api/v1/me")).status == 401
        assert (await root.ask("DELETE", f"{path}/{'0' * 32}")).status == 404
        with running.world.database.reading() as connection:
            ended = connection.scalar(
                sa.select(sa.func.count()).where(tables.audit_log.c.action == "session.end")
            )
        assert ended == 3

    tell(home, story)


def test_the_audit_log_is_filtered_paged_and_safe_as_a_file(home: Path) -> None:
    """By person, door, kind and day; names are text; no cell of the file is a formula; the file is complete."""

    async def story(running: Site) -> None:
        hostile = '=HYPERLINK("http://x")<script>'
        now = running.world.now_ms
        with running.world.database.transaction() as connection:
            for number in range(1_230):
                record(connection, machine("cli"), "notice.resend", hostile, now - 86_400_000 * 3, note=f"{number}{hostile}")
        root = await running.person("root")
        page = await root.get("/audit?group=notice", headers=HTML)
        assert page.status == 200 and "<script>" not in page.text.replace('<script type="', "") and "&lt;script&gt;" in page.text
        assert page.text.count("<tr>") == 51 and "before=" in page.text
        assert "notice.resend" not in (await root.get("/audit?group=user", headers=HTML)).text
        mine = await root.get(f"/audit?user={user_id(running, 'root')}", headers=HTML)
        assert "user.login" in mine.text and "notice.resend" not in mine.text
        assert "notice.resend" in (await root.get("/audit?user=0&door=cli", headers=HTML)).text
        assert "notice.resend" not in (await root.get("/audit?door=web", headers=HTML)).text
        assert "notice.resend" not in (await root.get("/audit?since=2999-01-01", headers=HTML)).text
        file = await root.get("/audit.csv?group=notice")
        rows = list(csv.reader(io.StringIO(file.text.removeprefix("\ufeff"))))
        assert len(rows) == 1_231 and rows[0] == ["time", "user", "door", "action", "subject", "details"]
        assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
        assert file.headers["Content-Type"].startswith("text/csv") and "attachment" in file.headers["Content-Disposition"]
        assert file.headers["X-Content-Type-Options"] == "nosniff"
        for query in ("door=window", "group=%27--", "since=yesterday", "until=9999-12-31", "user=x", "before=-1"):
            assert (await root.get(f"/audit?{query}", headers=HTML)).status == 400, query

    tell(home, story)


def test_refusals_are_told_in_the_readers_language(home: Path) -> None:
    """What the rooms below refuse in English reaches a Korean page in Korean."""

    async def story(running: Site) -> None:
        minsu, alice = await running.person("minsu"), await running.person("alice")
        answer = await minsu.ask("PUT", "/api/v1/preferences", json={"theme": "pink"})
        assert answer.json()["error"] == "화면 밝기 ‘pink’: 다음 중 하나여야 합니다: dark, light"
        answer = await alice.ask("PUT", "/api/v1/preferences", json={"theme": "pink"})
        assert answer.json()["error"] == "Theme “pink”: must be one of dark, light"
        path = f"/api/v1/accounts/{running.world.accounts['선물 주력']}/trades?limit=0"
        assert (await minsu.get(path)).json()["error"] == "개수 ‘0’: 1부터 500까지의 수여야 합니다"
        vera = await running.person("vera")
        path = f"/api/v1/accounts/{running.world.accounts['선물 주력']}/commands"
        refused = await vera.ask("POST", path, json={"kind": "start", "request_key": "12345678"})
        assert refused.json()["error"] == "Your role (viewer) may not do this."

    tell(home, story)

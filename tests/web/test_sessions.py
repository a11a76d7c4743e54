"""Coming in, staying in and going out: cookies, renewal, the first password, revocation from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.accounts.rights import machine
from ctp.accounts.users import disable_user, find_user
from ctp.storage import tables
from ctp.web.security import safe_next
from tests.web.browserless import HTML, Site, close_code, site
from tests.web.seed import PASSWORD

NEW = "a longer and better one"


def _run(home: Path, story: Callable[[Site], Awaitable[None]], **web: object) -> None:
    """Tell a story on a running site without Voila."""

    async def tell() -> None:
        async with site(home, **web) as running:
            await story(running)

    asyncio.run(tell())


def test_wrong_name_wrong_password_and_too_many_attempts_look_the_same(home: Path) -> None:
    """What is wrong is not told; after too many attempts even the right password is refused."""

    async def story(running: Site) -> None:
        person = await running.person()
        answers = [await person.log_in(name, "wrong wrong wrong") for name in ("minsu", "nobody-at-all")]
        assert {answer.status for answer in answers} == {401}
        bodies = {answer.text.replace("minsu", "X").replace("nobody-at-all", "X") for answer in answers}
        assert len(bodies) == 1
        for _ in range(5):
            await person.log_in("minsu", "wrong wrong wrong")
        assert (await person.log_in("minsu")).status == 401
        assert (await person.log_in("alice")).status == 303, "somebody else at the same address gets in"

    _run(home, story)


def test_cookies_are_unreadable_to_scripts_and_host_bound_over_https(home: Path) -> None:
    """Over https: __Host-, Secure, HttpOnly, SameSite=Lax; behind a proxy only its own origin counts."""

    async def story(running: Site) -> None:
        person = await running.person()
        form = {"name": "minsu", "password": PASSWORD, "next": "/"}
        assert (await person.ask("POST", "/login", data=form)).status == 403, "loopback is not the public origin"
        answer = await person.ask("POST", "/login", data=form, origin="https://trade.example.com")
        assert answer.status == 303
        cookies = answer.headers.getall("Set-Cookie")
        assert [cookie.partition("=")[0] for cookie in cookies] == ["__Host-ctp-access", "__Host-ctp-refresh"]
        for cookie in cookies:
            for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
                assert part in cookie
            assert "Domain" not in cookie
        assert "Strict-Transport-Security" in answer.headers

    _run(home, story, public_url="https://trade.example.com")


def test_a_session_is_renewed_and_a_copied_old_token_ends_it(home: Path) -> None:
    """Each renewal voids the token before; when an old one comes back later, the session is over for both."""

    async def story(running: Site) -> None:
        person = await running.person("minsu")
        before = person.cookies()
        for _ in range(2):
            assert (await person.ask("POST", "/api/v1/session/renew")).status == 204
        after = person.cookies()
        assert after["ctp-refresh"] != before["ctp-refresh"]
        thief = await running.person(cookies={"ctp-refresh": before["ctp-refresh"]})
        assert (await thief.ask("POST", "/api/v1/session/renew")).status == 401
        running.gateway.people.forget(set(running.gateway.people._remembered))
        assert (await person.get("/api/v1/me")).status == 401

    _run(home, story)


def test_a_page_opened_after_the_access_token_ran_out_renews_on_the_way(home: Path) -> None:
    """Opening the laptop in the morning does not show the login form while the session lives."""

    async def story(running: Site) -> None:
        person = await running.person("minsu")
        later = await running.person(cookies={"ctp-refresh": person.cookies()["ctp-refresh"]})
        assert (await later.get("/api/v1/me")).status == 401, "only pages renew on the way"
        answer = await later.get("/", headers=HTML)
        assert answer.status == 200
        assert (await later.get("/api/v1/me")).json()["name"] == "minsu"

    _run(home, story)


def test_a_password_somebody_else_knows_must_be_changed_first(home: Path) -> None:
    """Until then every page leads to the form and every call is refused."""

    async def story(running: Site) -> None:
        with running.world.database.transaction() as connection:
            mine = sa.update(tables.users).where(tables.users.c.name == "minsu")
            connection.execute(mine.values(must_change_password=True))
        person, elsewhere = await running.person("minsu"), await running.person("minsu")
        for path in ("/", "/dashboards/trading", "/profile"):
            assert (await person.get(path, headers=HTML)).headers["Location"] == "/password"
        for path in ("/api/v1/me", "/api/v1/accounts", "/api/v1/desk"):
            assert (await person.get(path)).status == 403
        for current, new, status in (("wrong wrong wrong", NEW, 400), (PASSWORD, "short", 400), (PASSWORD, NEW, 204)):
            answer = await person.ask("POST", "/api/v1/password", json={"current": current, "new": new})
            assert answer.status == status, answer.text
            assert new not in answer.text
        assert (await person.get("/api/v1/me")).status == 200
        assert (await elsewhere.get("/api/v1/me")).status == 401, "other devices are logged out"
        assert (await (await running.person()).log_in("minsu", PASSWORD)).status == 401
        assert (await (await running.person()).log_in("minsu", NEW)).status == 303

    _run(home, story)


def test_a_user_disabled_from_the_shell_loses_open_pages(home: Path) -> None:
    """The gateway learns of it from the database, not from a request."""

    async def story(running: Site) -> None:
        person = await running.person("minsu")
        socket = await person.session.ws_connect(person.base + "/api/v1/live", headers={"Origin": person.base})
        closing = asyncio.create_task(close_code(socket))
        with running.world.database.transaction() as connection:
            disable_user(connection, machine("cli"), find_user(connection, "minsu").id, running.world.now_ms)
        assert await closing == 4401
        assert (await person.get("/api/v1/me")).status == 401

    _run(home, story)


def test_one_ends_ones_own_other_sessions_and_nobody_elses(home: Path) -> None:
    """The list shows where one is logged in; a foreign session is not found."""

    async def story(running: Site) -> None:
        here, there, alice = [await running.person(name) for name in ("minsu", "minsu", "alice")]
        listed = (await here.get("/api/v1/sessions")).json()["sessions"]
        other = next(one["id"] for one in listed if not one["is_this"])
        assert (await alice.ask("DELETE", f"/api/v1/sessions/{other}")).status == 404
        assert (await there.get("/api/v1/me")).status == 200
        assert (await here.ask("DELETE", f"/api/v1/sessions/{other}")).status == 204
        assert (await there.get("/api/v1/me")).status == 401
        assert (await here.get("/api/v1/me")).status == 200

    _run(home, story)


def test_every_answer_carries_the_security_headers(home: Path) -> None:
    """Pages, files, errors and redirects alike; scripts on our pages come from our files only."""

    async def story(running: Site) -> None:
        person = await running.person("minsu")
        pages = ("/", "/profile", "/profile/notices", "/notices", "/reports", "/evidence", "/nothing", "/operations")
        for path in (*pages, "/api/v1/me", "/api/v1/contacts", "/static/ctp.css", "/login", "/healthz"):
            headers = (await person.get(path, headers=HTML)).headers
            assert headers["X-Content-Type-Options"] == "nosniff", path
            assert headers["X-Frame-Options"] == "DENY", path
            policy = headers["Content-Security-Policy"]
            assert "script-src 'self'" in policy and "unsafe-eval" not in policy, path
            assert "default-src 'self'" in policy, path

    _run(home, story)


@pytest.mark.parametrize(
    ("asked", "goes_to"),
    [
        ("/dashboards/trading?account=3", "/dashboards/trading?account=3"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=1", "/"),
        ("", "/"),
        (None, "/"),
    ],
)
def test_login_leads_to_this_site_only(asked: str | None, goes_to: str) -> None:
    """An address that leaves the site becomes the home page."""
    assert safe_next(asked) == goes_to

"""Each person sees their own and nothing else: every role at every endpoint with own, shared, foreign and no account."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.web.browserless import Site, site
from tests.web.seed import add_notice

NOBODYS = 987_654_321
READINGS = ("", "/candles", "/positions", "/equity", "/trades", "/decisions", "/commands")
# person -> account -> (reading, Start)
EXPECTED = {
    "minsu": {"선물 주력": (200, 202), "현물 실험": (200, 202), "Perpetuals": (404, 404), "Real money": (404, 404)},
    "alice": {"선물 주력": (404, 404), "현물 실험": (404, 404), "Perpetuals": (200, 202), "Real money": (200, 202)},
    "vera": {"선물 주력": (200, 403), "현물 실험": (404, 404), "Perpetuals": (404, 404), "Real money": (404, 404)},
    "quinn": {"선물 주력": (404, 404), "현물 실험": (404, 404), "Perpetuals": (404, 404), "Real money": (404, 404)},
    "otto": {"선물 주력": (404, 404), "현물 실험": (404, 404), "Perpetuals": (404, 404), "Real money": (404, 404)},
    "root": {"선물 주력": (404, 404), "현물 실험": (404, 404), "Perpetuals": (404, 404), "Real money": (404, 404)},
}
LISTED = {
    "minsu": {"선물 주력", "현물 실험"},
    "alice": {"Perpetuals", "Real money"},
    "vera": {"선물 주력"},
    "quinn": set(),
    "otto": set(),
    "root": set(),
}


def test_every_role_at_every_endpoint_sees_its_own_and_gets_404_for_the_rest(home: Path) -> None:
    """Foreign and missing accounts must answer alike, byte for byte."""

    async def ask_all(running: Site) -> None:
        ids = running.world.accounts
        for name, accounts in EXPECTED.items():
            person = await running.person(name)
            missing = (await person.get(f"/api/v1/accounts/{NOBODYS}")).text
            for account, (reading, start) in accounts.items():
                for path in READINGS:
                    answer = await person.get(f"/api/v1/accounts/{ids[account]}{path}")
                    assert answer.status == reading, (name, account, path, answer.text)
                    if reading == 404:
                        assert answer.text == missing
                answer = await person.get(f"/api/v1/desk?account={ids[account]}")
                assert answer.status == reading, (name, account, "desk")
                body = {"kind": "start", "request_key": f"{name}-{ids[account]}-start"}
                answer = await person.ask("POST", f"/api/v1/accounts/{ids[account]}/commands", json=body)
                assert answer.status == start, (name, account, "start", answer.text)
            for path in READINGS:
                assert (await person.get(f"/api/v1/accounts/{NOBODYS}{path}")).status == 404
                assert (await person.get(f"/api/v1/accounts/{'9' * 19}{path}")).status == 404
            listed = (await person.get("/api/v1/accounts")).json()["accounts"]
            assert {one["name"] for one in listed} == LISTED[name]

    _run(home, ask_all)


def test_nobody_gets_anything_without_a_session(home: Path) -> None:
    """Only login, health and the static files of the login page are public."""

    async def ask_all(running: Site) -> None:
        nobody = await running.person()
        account = running.world.accounts["선물 주력"]
        for path in (
            "/api/v1/me",
            "/api/v1/accounts",
            "/api/v1/desk",
            "/api/v1/notices",
            "/notices",
            "/profile/notices",
            "/api/v1/sessions",
            "/api/v1/live",
            "/voila/static/voila.js",
            *(f"/api/v1/accounts/{account}{path}" for path in READINGS),
        ):
            assert (await nobody.get(path)).status == 401, path
        for method, path in (
            ("POST", "/logout"),
            ("PUT", "/api/v1/preferences"),
            ("POST", "/api/v1/notices/read"),
            ("PUT", "/api/v1/notices/choice"),
            ("PUT", "/api/v1/notices/times"),
            ("POST", "/api/v1/password"),
            ("POST", "/api/v1/session/renew"),
            ("POST", f"/api/v1/accounts/{account}/commands"),
        ):
            assert (await nobody.ask(method, path, json={})).status == 401, path
        for path in ("/", "/profile", "/dashboards/trading"):
            answer = await nobody.get(path, headers={"Accept": "text/html"})
            assert (answer.status, answer.headers["Location"]) == (302, f"/login?next={path}")
        for path in ("/login", "/healthz", "/static/ctp.css"):
            assert (await nobody.get(path)).status == 200, path

    _run(home, ask_all)


def test_a_kernels_handle_opens_the_inner_door_only_and_ends_with_its_session(home: Path) -> None:
    """The public port must not take handles; the inner one must not take cookies."""

    async def ask_all(running: Site) -> None:
        person = await running.person("minsu")
        gateway, account = running.gateway, running.world.accounts["선물 주력"]
        session_id = (await person.get("/api/v1/sessions")).json()["sessions"][0]["id"]
        handle = gateway.kernels.expect(session_id)
        await gateway.kernels.bind("6d1e2a10-0000-4000-8000-000000000001", session_id, handle, "trading")
        gateway.kernels.forget_expected(handle)
        inner = await running.person()
        inner.base = f"http://{gateway.voila.api_address}"
        own, wrong = {"Authorization": f"Handle {handle}"}, {"Authorization": "Handle guessed"}

        assert (await inner.get(f"/api/v1/accounts/{account}", headers=own)).status == 200
        foreign = running.world.accounts["Perpetuals"]
        assert (await inner.get(f"/api/v1/accounts/{foreign}", headers=own)).status == 404
        for headers in (wrong, {}, {"Authorization": f"Bearer {handle}"}):
            assert (await inner.get(f"/api/v1/accounts/{account}", headers=headers)).status == 401
        assert (await inner.get("/api/v1/me", cookies=person.cookies())).status == 401
        for path in ("/api/v1/sessions", "/profile", "/login", "/api/v1/notices"):
            assert (await inner.get(path, headers=own)).status == 404, path
        nobody = await running.person()
        assert (await nobody.get(f"/api/v1/accounts/{account}", headers=own)).status == 401

        await person.ask("POST", "/logout")
        assert (await inner.get(f"/api/v1/accounts/{account}", headers=own)).status == 401

    _run(home, ask_all)


def test_one_request_key_is_one_command(home: Path) -> None:
    """A double click must not ask twice."""

    async def ask_all(running: Site) -> None:
        person, account = await running.person("minsu"), running.world.accounts["선물 주력"]
        body = {"kind": "pause", "request_key": "one-and-the-same"}
        path = f"/api/v1/accounts/{account}/commands"
        first, second = [(await person.ask("POST", path, json=body)).json()["id"] for _ in range(2)]
        assert first == second
        assert len((await person.get(path)).json()["commands"]) == 1

    _run(home, ask_all)


def test_what_cannot_be_meant_is_400_and_writes_nothing(home: Path) -> None:
    """Bodies and numbers from outside are checked where they enter."""

    async def ask_all(running: Site) -> None:
        person, account = await running.person("minsu"), running.world.accounts["선물 주력"]
        path = f"/api/v1/accounts/{account}/commands"
        key = {"request_key": "12345678"}
        bad_key = {"kind": "start", "request_key": "'; --"}
        for body in ({}, {"kind": "start"}, {"kind": "explode"} | key, bad_key, {"kind": 1} | key):
            assert (await person.ask("POST", path, json=body)).status == 400, body
        assert (await person.ask("POST", path, data="not json")).status == 400
        assert (await person.ask("POST", path, json=[1])).status == 400
        assert (await person.get(path)).json()["commands"] == []
        for query in ("limit=0", "limit=501", "limit=-1", "limit=x", "limit=%C2%B2"):
            assert (await person.get(f"/api/v1/accounts/{account}/trades?{query}")).status == 400, query
        for body in ({"language": "de"}, {"theme": 1}, {"zone": "Mars/Base"}, {"role": "admin"}):
            assert (await person.ask("PUT", "/api/v1/preferences", json=body)).status == 400, body
        assert (await person.get("/api/v1/me")).json()["role"] == "trader"

    _run(home, ask_all)


def test_notices_are_the_readers_own_in_their_language_and_stay_read(home: Path) -> None:
    """Nobody reads, counts or marks another person's notices."""

    async def ask_all(running: Site) -> None:
        add_notice(running.world, "minsu", "one")
        add_notice(running.world, "alice", "two")
        minsu, alice = await running.person("minsu"), await running.person("alice")
        (his,), (hers,) = [(await who.get("/api/v1/notices")).json()["notices"] for who in (minsu, alice)]
        assert his["title"].startswith("[모의]") and hers["title"].startswith("[SIMULATED]")
        assert his["id"] != hers["id"]
        answer = await minsu.ask("POST", "/api/v1/notices/read", json={"ids": [hers["id"]]})
        assert answer.json() == {"unread": 1}
        assert (await alice.get("/api/v1/me")).json()["unread"] == 1
        assert (await alice.ask("POST", "/api/v1/notices/read", json={"all": True})).json() == {"unread": 0}
        assert (await alice.get("/api/v1/notices")).json()["notices"][0]["read_at"] is not None
        assert (await minsu.get("/api/v1/me")).json()["unread"] == 1
        for body in ({}, {"ids": "1"}, {"ids": [True]}, {"ids": list(range(1, 102))}, {"ids": [1 << 63]}):
            assert (await minsu.ask("POST", "/api/v1/notices/read", json=body)).status == 400, body

    _run(home, ask_all)


def _run(home: Path, story: object) -> None:
    """Tell a story on a running site without Voila."""

    async def tell() -> None:
        async with site(home) as running:
            await story(running)  # type: ignore[operator]

    asyncio.run(tell())

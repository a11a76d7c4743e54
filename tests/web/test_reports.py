"""Reports: each reader finds their own, served where nothing in them can act; everybody else finds nothing."""

from __future__ import annotations

import json
from pathlib import Path

import sqlalchemy as sa

from ctp.accounts.report_requests import end_request
from ctp.accounts.users import find_user
from ctp.storage import tables
from tests.web.browserless import HTML, Site
from tests.web.stories import tell

HOSTILE = "<!doctype html><title>x</title><script>parent.location='/logout'</script><img src=https://evil.example/x>"


def add_report(
    running: Site, person: str, account: str, *, kind: str = "daily", period: str = "2026-01-01", status: str = "done",
    file: str | None = None, body: str = "<h1>report</h1>",
) -> int:  # fmt: skip
    """Put a report on a person's shelf; returns its id."""
    account_id = running.world.accounts[account]
    name = file if file is not None else f"{account_id}/{person}-{kind}-{period}.html"
    if file is None and status == "done":
        place = running.world.settings.reports / name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.write_text(body, "utf-8")
    with running.world.database.transaction() as connection:
        row = {
            "account_id": account_id,
            "user_id": find_user(connection, person).id,
            "kind": kind,
            "period": period,
            "language": "ko",
            "status": status,
            "file": name,
            "summary": json.dumps({"pnl": "-12.34", "trades": 3, "month_return": 0.0123, "findings": ["a", "b"]}),
            "created_at": running.world.now_ms,
        }
        return int(connection.execute(sa.insert(tables.reports).values(**row).returning(tables.reports.c.id)).scalar_one())


def test_a_report_is_its_readers_alone_and_foreign_ones_look_like_none(home: Path) -> None:
    """Every role with a report of their own, of another reader of the same account, of a foreign account, and none."""

    async def story(running: Site) -> None:
        his, hers = add_report(running, "minsu", "선물 주력"), add_report(running, "alice", "Perpetuals")
        shared = add_report(running, "vera", "선물 주력")
        lost = add_report(running, "vera", "현물 실험")  # made while it was shared with her; it is not any more
        may = {"minsu": {his}, "alice": {hers}, "vera": {shared}, "quinn": set(), "otto": set(), "root": set()}
        for name, own in may.items():
            person = await running.person(name)
            nothing = (await person.get("/reports/987654321")).text
            for report in (his, hers, shared, lost):
                for query in ("", "?download=1"):
                    answer = await person.get(f"/reports/{report}{query}")
                    assert answer.status == (200 if report in own else 404), (name, report)
                    if report not in own:
                        assert answer.text == nothing
            page = await person.get("/reports", headers=HTML)
            assert page.status == (404 if name == "otto" else 200), name
            for report in (his, hers, shared, lost):
                assert (f'href="/reports/{report}"' in page.text) is (report in own), (name, report)
        nobody = await running.person()
        assert (await nobody.get(f"/reports/{his}")).status == 401
        assert (await nobody.get(f"/reports/{his}", headers=HTML)).headers["Location"] == f"/login?next=/reports/{his}"

    tell(home, story)


def test_a_report_is_served_in_a_sandbox_that_asks_nobody(home: Path) -> None:
    """Whatever got into it: no script, no request, no part in our origin; the download says SIMULATED in its name."""

    async def story(running: Site) -> None:
        report = add_report(running, "alice", "Perpetuals", body=HOSTILE)
        alice = await running.person("alice")
        answer = await alice.get(f"/reports/{report}")
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox; default-src 'none'") and "script" not in policy and "allow-" not in policy
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Disposition"].startswith("inline") and answer.text == HOSTILE
        assert answer.headers["Cache-Control"] == "no-store"
        kept = (await alice.get(f"/reports/{report}?download=1")).headers["Content-Disposition"]
        assert kept == (
            'attachment; filename="SIMULATED_daily_2026-01-01.html";'
            " filename*=UTF-8''SIMULATED_Perpetuals_daily_2026-01-01.html"
        )

    tell(home, story)


def test_a_path_out_of_the_folder_a_missing_file_and_a_failed_report_are_not_served(home: Path) -> None:
    """The list says what became of them, and the rest of the list is there."""

    async def story(running: Site) -> None:
        secret = running.world.settings.home / "secret.html"
        secret.write_text("secret")
        link = running.world.settings.reports / "link.html"
        link.symlink_to(secret)
        bad = [
            add_report(running, "alice", "Perpetuals", period=f"2026-01-0{number + 2}", file=file)
            for number, file in enumerate(("../secret.html", str(secret), "link.html", "none.html", "", "."))
        ]
        bad.append(add_report(running, "alice", "Perpetuals", kind="weekly", status="failed"))
        good = add_report(running, "alice", "Perpetuals", kind="monthly")
        alice = await running.person("alice")
        page = (await alice.get("/reports", headers=HTML)).text
        for report in bad:
            answer = await alice.get(f"/reports/{report}")
            assert answer.status == 404 and "secret" not in answer.text, report
            assert f'href="/reports/{report}"' not in page
        assert f'href="/reports/{good}"' in page
        assert page.count("file is missing") == 6 and page.count("could not be made") == 1

    tell(home, story)


def test_the_list_is_filtered_and_goes_on_page_by_page(home: Path) -> None:
    """Newest period first; older ones through the link at the end; a foreign account is not found."""

    async def story(running: Site) -> None:
        days = [f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}" for number in range(35)]
        ids = [add_report(running, "alice", "Perpetuals", period=day) for day in days]
        weekly = add_report(running, "alice", "Real money", kind="weekly", period="2025-12-29")
        alice = await running.person("alice")
        first = (await alice.get("/reports", headers=HTML)).text
        shown = [report for report in (*ids, weekly) if f'href="/reports/{report}"' in first]
        assert shown == ids[-30:]
        older = first.split('href="/reports?')[1].partition('"')[0]
        second = (await alice.get(f"/reports?{older}", headers=HTML)).text
        assert [report for report in (*ids, weekly) if f'href="/reports/{report}"' in second] == [*ids[:5], weekly]
        one = (await alice.get(f"/reports?account={running.world.accounts['Real money']}&kind=", headers=HTML)).text
        assert one.count('target="_blank"') == 1 and f'href="/reports/{weekly}"' in one
        assert "+1.23%" in one and "-12.34" in one and "2 to look at" in one
        assert "2025-12-29 – 01-04" in one, "a week is told by its first and last day"
        kinds = (await alice.get("/reports?account=&kind=weekly", headers=HTML)).text
        assert kinds.count('target="_blank"') == 1
        for query, status in (
            (f"account={running.world.accounts['선물 주력']}", 404),
            ("kind=hourly", 400),
            ("before=x", 400),
            ("account=x", 400),
        ):
            assert (await alice.get(f"/reports?{query}")).status == status, query

    tell(home, story)


def test_a_report_is_asked_for_followed_and_shown_to_whoever_asked_alone(home: Path) -> None:
    """Waiting, refused with the reason in the reader's language, done with a link; bounded; nobody asks for others' accounts."""

    async def story(running: Site) -> None:
        path, own = "/api/v1/reports/requests", running.world.accounts["선물 주력"]
        minsu, alice, otto = [await running.person(name) for name in ("minsu", "alice", "otto")]
        body = {"account": own, "kind": "daily"}
        assert (await alice.ask("POST", path, json=body)).status == 404
        assert (await otto.ask("POST", path, json=body)).status == 404 and (await otto.get(path)).status == 404
        for bad in ({}, {"account": True}, {"account": 1 << 63}, {"kind": "hourly"}, {"day": "soon"}, {"day": 1}, {"kind": None}):
            answer = await minsu.ask("POST", path, json=(body | bad) if bad else {})
            assert answer.status == 400, (bad, answer.text)
        made = await minsu.ask("POST", path, json=body)
        assert made.status == 202
        assert (await minsu.ask("POST", path, json=body)).json() == made.json(), "a second press asks for nothing new"
        page = await minsu.get("/reports", headers=HTML)
        assert 'id="ask"' in page.text and '"result": "waiting"' in page.text
        (waiting,) = (await minsu.get(path)).json()["requests"]
        assert (waiting["result"], waiting["report"]) == ("waiting", None)
        assert (await minsu.get(path)).json()["is_silent"], "nobody makes reports here"
        assert (await alice.get(path)).json()["requests"] == []
        report = add_report(running, "minsu", "선물 주력")
        with running.world.database.transaction() as connection:
            end_request(connection, made.json()["id"], "done", running.world.now_ms, report_id=report)
        second = (await minsu.ask("POST", path, json=body | {"day": "2026-01-05"})).json()["id"]
        with running.world.database.transaction() as connection:
            why = "day = '2026-01-05': the daily period from 2026-01-05 to 2026-01-05 has not ended yet"
            end_request(connection, second, "refused", running.world.now_ms, reason=why)
        refused, done = (await minsu.get(path)).json()["requests"]
        assert done["report"] == report and (await minsu.get(f"/reports/{report}")).status == 200
        assert refused["reason"] == "날짜 ‘2026-01-05’: 2026-01-05부터 2026-01-05까지의 기간이 아직 끝나지 않았습니다"
        for day in range(1, 9):
            answer = await minsu.ask("POST", path, json=body | {"day": f"2025-01-{day:02}"})
        assert answer.status == 403 and "한 시간에 6건" in answer.json()["error"]

    tell(home, story)

"""The pages around the desk in real Chromium: notices, their settings, contacts, reports, operations; on a phone too."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Locator, Page, expect

from ctp.accounts.report_requests import end_request, take_request
from ctp.accounts.users import find_user
from ctp.config import Settings
from ctp.notifiers.contacts import claim_by_code
from ctp.notifiers.outbox import tell_user
from ctp.storage import tables
from ctp.storage.database import Database
from tests.browser.visits import PHONE, Pages, Visit, browsed
from tests.web.seed import PASSWORD, World, add_notice

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

WAIT_MS = 60_000
# The test decides whether somebody looks at the page: a headless browser never hides one.
HIDE_AT_WILL = "Object.defineProperty(document, 'hidden', { get: () => window.isAway === true });"
SHOWN = """async () => {
    const found = await navigator.serviceWorker.getRegistration('/static/');
    return found ? (await found.getNotifications()).map((one) => [one.title, one.body]) : [];
}"""
# What a screen reader would call each control; the browser's own computation is not open to scripts, so its sources are read.
NAMELESS = """() => [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select')].filter((one) => {
    if (one.closest('[hidden]')) return false;
    const labels = [...(one.labels ?? [])].map((label) => label.textContent.trim()).join('');
    return !(one.getAttribute('aria-label') || one.textContent.trim() || labels);
}).map((one) => one.outerHTML)"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Run one gateway without dashboards and one browser for every test here."""
    with browsed(tmp_path_factory.mktemp("home"), "plain", "channels") as running:
        yield running


@pytest.fixture
def world(pages: Pages) -> Iterator[World]:
    """Return the site's database, opened a second time."""
    database = Database(f"sqlite:///{pages.home / 'ctp.db'}")
    with database.reading() as connection:
        rows = connection.execute(sa.select(tables.accounts.c.name, tables.accounts.c.id))
        accounts = {row.name: row.id for row in rows}
    yield World(Settings(home=pages.home), database, 1_790_000_000_000, accounts)
    database.close()


def _until(page: Page, expression: str, wanted: Callable[[Any], bool]) -> Any:
    """Wait until a page says what is wanted and return it; our content policy forbids the page's own waiting."""
    for _ in range(WAIT_MS // 100):
        found = page.evaluate(expression)
        if wanted(found):
            return found
        page.wait_for_timeout(100)
    raise AssertionError(f"still {found!r}")


def _listening(page: Page) -> None:
    """Wait until the live push has looked once: what is told after that is pushed."""
    _until(page, "window.looks", lambda looks: looks >= 2)


def _count_looks(visit: Visit) -> None:
    """Count the messages of the live push in `window.looks`."""
    visit.context.add_init_script(
        """window.looks = 0;
        const Socket = window.WebSocket;
        window.WebSocket = class extends Socket {
          constructor(...given) {
            super(...given);
            this.addEventListener('message', () => window.looks++);
          }
        };"""
    )


def _add_report(world: World, person: str, account: str, body: str) -> int:
    """Put a report on a person's shelf."""
    file = world.settings.reports / f"{person}.html"
    file.write_text(body, "utf-8")
    with world.database.transaction() as connection:
        row: dict[str, Any] = {
            "account_id": world.accounts[account],
            "user_id": find_user(connection, person).id,
            "kind": "daily",
            "period": "2026-01-01",
            "language": "en",
            "status": "done",
            "file": file.name,
            "summary": json.dumps({"pnl": "12.5", "trades": 3}),
            "created_at": world.now_ms,
        }
        return int(connection.execute(sa.insert(tables.reports).values(**row).returning(tables.reports.c.id)).scalar_one())


def test_the_history_filters_marks_and_follows_along(pages: Pages, world: World) -> None:
    """A new notice appears on top, the count falls on every open page, and a filter stays in the address."""
    for number in range(3):
        add_notice(world, "alice", f"history-{number}")
    visit = Visit(pages, "alice")
    _count_looks(visit)
    page = visit.log_in()
    page.goto(f"{pages.base}/notices")
    other = visit.context.new_page()
    other.goto(f"{pages.base}/")
    listed, count = page.locator("#notices .notice"), other.locator("#ctp-bell .count")
    expect(listed).to_have_count(3)
    expect(count).to_have_text("3")
    listed.first.get_by_role("button").click()
    expect(page.locator("#notices .notice.unread")).to_have_count(2)
    expect(count).to_have_text("2", timeout=WAIT_MS)
    _listening(page)
    add_notice(world, "alice", "history-new")
    expect(listed).to_have_count(4, timeout=WAIT_MS)
    expect(listed.first).to_have_class(re.compile("unread"))
    page.check("[name=unread]")
    expect(listed).to_have_count(3)
    page.reload()
    expect(page.locator("[name=unread]")).to_be_checked()
    expect(listed).to_have_count(3)
    page.click("#read-all")
    expect(page.locator("#notices")).to_contain_text("No notice matches")
    expect(count).to_be_hidden(timeout=WAIT_MS)
    visit.leave()


def test_switches_and_times_are_kept(pages: Pages) -> None:
    """What is switched is so after a reload; a wrong time is told in words and keeps what was there."""
    visit = Visit(pages, "minsu")
    page = visit.log_in()
    page.goto(f"{pages.base}/profile/notices")
    switch = page.get_by_role("switch", name="체결: 웹")
    expect(switch).to_be_checked()
    with page.expect_response("**/api/v1/notices/choice"):
        switch.uncheck()
    page.fill("[name=quiet_from]", "23:00")
    page.click("#times button")
    expect(page.locator("#times [data-message]")).to_contain_text("시작과 끝을 모두")
    page.fill("[name=quiet_until]", "07:30")
    page.click("#times button")
    expect(page.locator("#times [data-message]")).to_have_text("저장했습니다.")
    page.reload()
    expect(switch).not_to_be_checked()
    expect(page.locator("[name=quiet_until]")).to_have_value("07:30")
    expect(page.get_by_role("switch", name="손절: 이메일")).to_be_disabled()
    visit.errors.clear()  # the browser reports the 400 of the half pair itself
    visit.leave()


def test_the_browser_is_asked_by_the_button_alone_and_shows_as_much_as_one_wants(pages: Pages, world: World) -> None:
    """Off until the click; outside the page only while nobody looks; hidden contents leave the kind."""
    visit = Visit(pages, "quinn")
    visit.context.add_init_script(HIDE_AT_WILL)
    _count_looks(visit)
    page = visit.log_in()
    visit.context.grant_permissions(["notifications"], origin=pages.base)
    page.goto(f"{pages.base}/profile/notices")
    expect(page.locator("#desktop [data-state]")).to_have_text("Off")
    page.click("#desktop [data-on]")
    expect(page.locator("#desktop [data-state]")).to_have_text("On")
    assert page.evaluate(SHOWN) == []

    def tell(key: str) -> None:
        with world.database.transaction() as connection:
            told = {"symbol": "BTC/USDT", "side": "buy", "size": 1, "price": 60_000.0}
            tell_user(connection, find_user(connection, "quinn").id, "trade_executed", told, key, world.now_ms)

    _listening(page)
    tell("seen")
    expect(page.locator(".toast")).to_have_count(1, timeout=WAIT_MS)
    assert page.evaluate(SHOWN) == [], "somebody looks at the page"
    page.evaluate("window.isAway = true")
    tell("away")
    ((title, body),) = _until(page, SHOWN, lambda shown: len(shown) == 1)
    assert "BTC/USDT" in title and "60,000" in body
    page.check("#desktop [data-private]")
    tell("private")
    assert ["Trade executed", ""] in _until(page, SHOWN, lambda shown: len(shown) == 2)
    page.evaluate("window.isAway = false")
    page.click("#desktop [data-off]")
    expect(page.locator("#desktop [data-state]")).to_have_text("Off")
    visit.leave()


def test_e_mail_and_telegram_are_connected_on_the_page(pages: Pages, world: World) -> None:
    """Address, code, test message; the pairing with the bot is noticed without a reload."""
    visit = Visit(pages, "alice")
    page = visit.log_in()
    page.goto(f"{pages.base}/profile/notices")
    email, telegram = (page.locator(f"[data-channel={name}]").first for name in ("email", "telegram"))
    email.get_by_label("E-mail address").fill("alice@example.com")
    email.get_by_role("button", name="Mail me a code").click()
    email.get_by_label("Code").fill("WRONGWRO")
    email.get_by_role("button", name="Confirm").click()
    expect(email.locator(".message")).to_contain_text("not right")
    with world.database.reading() as connection:
        mailed = sa.select(tables.notices.c.facts).where(tables.notices.c.kind == "contact_code")
        code = json.loads(connection.execute(mailed.order_by(tables.notices.c.id.desc()).limit(1)).scalar_one())["code"]
    email.get_by_label("Code").fill(code)
    email.get_by_role("button", name="Confirm").click()
    expect(email.locator(".badge")).to_have_text("Connected")
    expect(page.get_by_role("switch", name="Stop-loss hit: E-mail")).to_be_checked()
    email.get_by_role("button", name="Send a test message").click()
    expect(email.locator(".message.good")).to_contain_text("on its way")
    telegram.get_by_role("button", name="Connect Telegram").click()
    shown = telegram.locator("code").inner_text()
    with world.database.transaction() as connection:
        now = 10 + max(connection.scalars(sa.select(tables.contacts.c.updated_at)).all())
        assert claim_by_code(connection, "telegram", shown.removeprefix("/start "), "1", "2", now) is not None
    expect(telegram.locator(".badge")).to_have_text("Connected", timeout=WAIT_MS)
    expect(page.get_by_role("switch", name="Stop-loss hit: Telegram")).to_be_checked()
    page.on("dialog", lambda dialog: dialog.accept())
    telegram.get_by_role("button", name="Disconnect").click()
    expect(telegram.locator(".badge")).to_have_text("Not connected")
    visit.errors.clear()  # the browser reports the 400 of the wrong code itself
    visit.leave()


def test_a_report_opens_in_a_tab_where_it_can_do_nothing(pages: Pages, world: World) -> None:
    """Its script does not run, its picture is not fetched, and the list offers it to its reader."""
    body = (
        "<!doctype html><style>h1 { color: rgb(1, 2, 3) }</style><h1>What happened</h1>"
        "<script>document.querySelector('h1').textContent = 'taken over'</script><img src='/static/icon.svg'>"
        "<form action='/logout' method='post'><button>x</button></form>"
    )
    report = _add_report(world, "alice", "Perpetuals", body)
    visit = Visit(pages, "alice")
    page = visit.log_in()
    page.goto(f"{pages.base}/reports")
    with visit.context.expect_page() as opened:
        page.get_by_role("link", name="Open the report 2026-01-01 of Perpetuals").click()
    tab = opened.value
    tab.wait_for_load_state()
    assert tab.url == f"{pages.base}/reports/{report}"
    expect(tab.locator("h1")).to_have_text("What happened")
    assert tab.eval_on_selector("h1", "one => getComputedStyle(one).color") == "rgb(1, 2, 3)"
    assert tab.eval_on_selector("img", "one => one.naturalWidth") == 0
    tab.locator("button").click()
    assert tab.url == f"{pages.base}/reports/{report}", "a form in a report leads nowhere"
    page.reload()
    expect(page.locator("h1")).to_have_text("Reports")
    page.select_option("#kind", "weekly")
    expect(page.locator("main")).to_contain_text("No report matches")
    visit.leave()


def test_an_administrator_closes_anybodys_positions_and_watches_it(pages: Pages) -> None:
    """Confirmed with owner and LIVE badge, then asked, acknowledged, flat."""
    visit = Visit(pages, "root")
    page = visit.log_in()
    expect(page.locator("main")).to_contain_text("No account is shared with you")
    page.locator("main").get_by_role("link", name="Operations").click()
    row = page.locator("#accounts tr", has_text="Real money")
    row.get_by_role("button").click()
    expect(page.locator("dialog")).to_contain_text("alice / Real money")
    expect(page.locator("dialog .badge")).to_have_text("LIVE")
    page.click("dialog button[value=yes]")
    expect(row.locator(".is-done")).to_have_count(3, timeout=WAIT_MS)
    expect(row).to_contain_text("flat")
    expect(row.get_by_role("button")).to_be_disabled()
    visit.leave()


def test_an_administrator_adds_a_person_and_hands_the_password_over_once(pages: Pages) -> None:
    """A wrong own password keeps the form open and says so; the new person is in the list and in the audit log."""
    visit = Visit(pages, "root")
    page = visit.log_in()
    page.goto(f"{pages.base}/users")
    page.click("#add")
    page.fill("#d-name", "newcomer")
    page.fill("#d-own_password", "not my password")
    page.click("dialog button[type=submit]")
    expect(page.locator("dialog [role=alert]")).to_contain_text("too many attempts")
    page.fill("#d-own_password", PASSWORD)
    page.click("dialog button[type=submit]")
    password = page.locator("dialog code").inner_text()
    page.click("dialog button[type=submit]")
    row = page.locator("tr[data-user=newcomer]")
    expect(row).to_contain_text("first login pending")
    assert password not in page.content()
    page.get_by_role("link", name="Audit log").click()
    expect(page.locator("#audit")).to_contain_text("User added")
    visit.errors.clear()  # the browser reports the 400 of the wrong password itself
    visit.leave()


def test_a_report_is_asked_for_on_the_page_and_appears_when_it_is_there(pages: Pages, world: World) -> None:
    """Waiting first; once the scheduler has made it, the page shows it by itself."""
    visit = Visit(pages, "alice")
    page = visit.log_in()
    page.goto(f"{pages.base}/reports")
    page.select_option("#ask-kind", "monthly")
    page.click("#ask button")
    expect(page.locator("#asked")).to_contain_text("being made")
    report = _add_report(world, "alice", "Real money", "<h1>made</h1>")
    with world.database.transaction() as connection:
        taken = take_request(connection, world.now_ms)
        assert taken is not None
        end_request(connection, taken.id, "done", int(time.time() * 1000), report_id=report)
    expect(page.locator("#asked li[data-result=done] a")).to_have_attribute("href", f"/reports/{report}")
    visit.leave()


def test_an_operator_begins_where_the_work_is(pages: Pages) -> None:
    """The first page is operations; accounts, reports and the desk are not offered."""
    visit = Visit(pages, "otto")
    page = visit.log_in()
    expect(page.locator("h1")).to_have_text("Operations")
    expect(page.locator("#health")).to_contain_text("Trading bot")
    expect(page.locator("nav").first.get_by_role("link")).to_have_count(2)
    expect(page.locator("#accounts")).to_have_count(0)
    visit.leave()


@pytest.mark.parametrize("name", ["minsu", "root"])
def test_every_page_fits_a_phone_and_every_control_has_a_name(pages: Pages, world: World, name: str) -> None:
    """No sideways scrolling at 390 pixels, thumbs hit what they mean, screen readers can tell what it is."""
    add_notice(world, "minsu", f"phone-{name}")
    visit = Visit(pages, name, viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
    page = visit.log_in()
    paths = ["/", "/notices", "/profile", "/profile/notices", "/reports"]
    paths += ["/operations", "/users", "/audit"] if name == "root" else []
    for path in paths:
        page.goto(f"{pages.base}{path}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        assert page.evaluate(NAMELESS) == [], path
        tabs = page.locator(".top nav a")
        assert all(box is not None and box["height"] >= 44 for box in map(Locator.bounding_box, tabs.all())), path
        assert page.locator("h1").count() == 1, path
    page.click("#ctp-bell")
    page.keyboard.press("Escape")
    expect(page.locator("#ctp-drawer")).to_be_hidden()
    visit.leave()


def test_a_heading_stands_on_every_page_in_both_languages(pages: Pages) -> None:
    """Nothing is left in the other language by mistake."""
    wanted = {
        "minsu": {"/notices": "알림", "/profile/notices": "알림 설정", "/reports": "보고서"},
        "alice": {"/notices": "Notices", "/profile/notices": "Notice settings", "/reports": "Reports"},
    }
    for name, headings in wanted.items():
        visit = Visit(pages, name)
        page = visit.log_in()
        for path, heading in headings.items():
            page.goto(f"{pages.base}{path}")
            expect(page.locator("h1")).to_have_text(heading)
            hangul = re.search("[가-힣]", page.locator("main").inner_text().replace("한국어", ""))
            assert (hangul is not None) is (name == "minsu"), path
        visit.leave()

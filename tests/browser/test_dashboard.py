"""The pages in real Chromium: log in, see only one's own, press the buttons, change how it looks, notice what is dead."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ctp.config import Settings
from ctp.storage.database import Database
from tests.browser.visits import DESK_MS, IS_PAINTED, PHONE, Pages, Visit, browsed
from tests.web.seed import PASSWORD, World, add_notice

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Run one gateway and one browser for every test here."""
    with browsed(tmp_path_factory.mktemp("home")) as running:
        yield running


def test_both_people_log_in_and_see_only_their_own(pages: Pages) -> None:
    """Cards, account picker and page text hold nothing of the other person."""
    for name, own, other in (("minsu", "선물 주력", "Perpetuals"), ("alice", "Perpetuals", "선물 주력")):
        visit = Visit(pages, name)
        page = visit.log_in()
        expect(page.locator("[data-account]")).to_have_count(2)
        expect(page.locator("main")).to_contain_text(own)
        expect(page.locator("main")).not_to_contain_text(other)
        expect(page.locator("[data-value=equity]").first).not_to_have_text("–")
        page = visit.open_desk()
        expect(page.locator(".desk select option")).to_have_count(2)
        expect(page.locator(".desk")).to_contain_text(own)
        assert other not in page.content()
        expect(page.locator(".chart canvas").first).to_be_visible()
        expect(page.get_by_text("RSI 14")).to_be_visible()
        expect(page.locator(".desk .badge.paper").first).to_have_text("모의" if name == "minsu" else "SIMULATED")
        expect(page.locator(".desk")).to_contain_text("생성된 가상 시장" if name == "minsu" else "generated, not real")
        visit.leave()


def test_a_wrong_password_is_told_and_a_right_one_goes_where_one_wanted(pages: Pages) -> None:
    """The login keeps the address that was asked for."""
    visit = Visit(pages, "alice")
    page = visit.page
    page.goto(f"{pages.base}/profile")
    assert page.url == f"{pages.base}/login?next=/profile"
    page.fill("#name", "alice")
    page.fill("#password", "not the password")
    page.click("button[type=submit]")
    expect(page.get_by_role("alert")).to_be_visible()
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{pages.base}/profile")
    visit.errors.clear()  # the browser reports the 401 of the wrong password itself
    visit.leave()


def test_buttons_are_confirmed_and_followed_until_the_bot_is_done(pages: Pages) -> None:
    """Pause, Start, Stop with closing: asked, acknowledged, done or flat, and the status follows."""
    visit = Visit(pages, "minsu")
    visit.log_in()
    page = visit.open_desk()
    page.click("[data-kind=pause]")
    page.click("dialog button[value='']")
    expect(page.locator(".steps li")).to_have_count(0)
    for kind, picked, word in (
        ("pause", "pause", "일시정지"),
        ("start", "start", "실행 중"),
        ("stop", "stop_close", "정지"),
    ):
        page.click(f"[data-kind={kind}]")
        expect(page.locator("dialog .badge")).to_have_text("모의")
        if kind == "stop":
            page.check("input[value=stop_close]")
        deaf, slow = pages.home / "bot-is-deaf", pages.home / "bot-is-slow"
        deaf.touch()
        slow.touch()
        page.click("dialog button[value=yes]")
        step = page.locator(f".steps [data-command={picked}]")
        expect(step.locator(".is-done")).to_have_count(1)
        expect(step.locator(".is-waiting")).to_contain_text("확인됨")
        deaf.unlink()
        expect(step.locator(".is-done")).to_have_count(2)
        slow.unlink()
        expect(step.locator(".is-done")).to_have_count(3)
        expect(page.locator(".badges .state").first).to_have_text(word)
    expect(page.locator(".steps [data-command=stop_close]")).to_contain_text("청산 완료")
    expect(page.locator("[aria-label='보유 포지션']")).to_contain_text("보유 중인 포지션이 없습니다")
    visit.leave()


def test_a_command_that_failed_is_not_shown_as_done(pages: Pages) -> None:
    """Flat is claimed only when it is true; otherwise the reason stands there."""
    visit = Visit(pages, "alice")
    visit.log_in()
    page = visit.open_desk()
    page.click("[data-kind=close_all]")
    page.click("dialog button[value=yes]")
    step = page.locator(".steps [data-command=close_all]")
    expect(step.locator(".is-failed")).to_contain_text("failed")
    expect(step).to_contain_text("It did not work: no market data")
    expect(step).not_to_contain_text("flat")
    visit.leave()


def test_symbols_and_accounts_are_switched_without_a_new_page(pages: Pages) -> None:
    """The picker shows another account, with its own symbols and its LIVE badge."""
    visit = Visit(pages, "alice")
    visit.log_in()
    page = visit.open_desk()
    page.click(".symbols button:has-text('ETH/USDT:USDT')")
    expect(page.locator(".chart")).to_have_attribute("aria-label", re.compile("ETH/USDT:USDT"))
    page.select_option(".desk select", label="[LIVE] Real money")
    expect(page.locator(".desk .badge.live")).to_have_text("LIVE")
    expect(page.locator(".symbols button")).to_have_text(["BTC/USDT"])
    expect(page.locator(".desk")).not_to_contain_text("generated")
    visit.leave()


def test_a_viewer_sees_a_shared_account_without_buttons(pages: Pages) -> None:
    """Sharing as viewer shows everything and offers nothing."""
    visit = Visit(pages, "vera")
    visit.log_in()
    page = visit.open_desk()
    expect(page.locator(".desk")).to_contain_text("선물 주력")
    expect(page.locator(".commands .button:visible")).to_have_count(0)
    expect(page.locator(".desk")).to_contain_text("You may look at this account")
    visit.leave()


def test_language_theme_and_colours_are_chosen_and_kept(pages: Pages) -> None:
    """English becomes Korean and dark becomes light, on the page and after a new login."""
    visit = Visit(pages, "quinn")
    page = visit.log_in()
    expect(page.locator("h1")).to_have_text("Accounts of quinn")
    page.goto(f"{pages.base}/profile")
    page.check("input[value=ko]")
    page.check("input[value=light]")
    page.check("input[value=red]")
    page.click("#preferences button")
    expect(page.locator("h1")).to_have_text("내 정보와 보안")
    root = page.locator("html")
    assert [root.get_attribute(name) for name in ("lang", "data-theme", "data-rise")] == ["ko", "light", "red"]
    expect(page.locator("body")).to_have_css("background-color", "rgb(242, 245, 249)")
    page.click("form[action='/logout'] button")
    page.wait_for_url(f"{pages.base}/login")
    expect(visit.log_in().locator("h1")).to_have_text("quinn 님의 계좌")
    visit.leave()


def test_nothing_needs_sideways_scrolling_on_a_phone(pages: Pages) -> None:
    """Home, desk and profile fit the width of a phone, and what one presses is large enough for a thumb."""
    visit = Visit(pages, "alice", viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
    page = visit.log_in()
    expect(page.locator("[data-account]")).to_have_count(2)
    for path in ("/", "/profile", "/evidence"):
        page.goto(f"{pages.base}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
    visit.open_desk()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    heights = page.eval_on_selector_all(".commands .button:not([hidden])", "all => all.map(one => one.offsetHeight)")
    assert heights and min(heights) >= 44
    visit.leave()


def test_a_notice_arrives_as_toast_counts_on_the_bell_and_is_kept(pages: Pages) -> None:
    """Live push reaches the open page of its owner, and nobody else's."""
    world = World(Settings(home=pages.home), Database(f"sqlite:///{pages.home / 'ctp.db'}"), 1_790_000_000_000, {})
    alice, minsu = Visit(pages, "alice"), Visit(pages, "minsu")
    page, others = alice.log_in(), minsu.log_in()
    for one in (page, others):
        expect(one.locator("[data-value=equity]").first).not_to_have_text("–")
    alice.until_heard("beat")  # the first look of the live push only learns what there is already
    add_notice(world, "alice", "browser-1")
    expect(page.locator(".toast")).to_contain_text("BTC/USDT")
    expect(page.locator("#ctp-bell .count")).to_have_text("1")
    page.click("#ctp-bell")
    expect(page.locator(".drawer .notice.unread")).to_have_count(1)
    page.click(".drawer [data-read]")
    expect(page.locator("#ctp-bell .count")).to_be_hidden()
    page.reload()
    page.click("#ctp-bell")
    expect(page.locator(".drawer .notice")).to_have_count(1)
    expect(others.locator(".toast")).to_have_count(0)
    world.database.close()
    alice.leave()
    minsu.leave()


def test_a_dead_bot_and_a_dead_kernel_are_told_by_the_page(pages: Pages) -> None:
    """Both banners come from outside the kernel; a stale page greys out instead of pretending."""
    visit = Visit(pages, "alice")
    visit.log_in()
    page = visit.open_desk()
    dead = pages.home / "bot-is-dead"
    dead.touch()
    expect(page.locator("[data-banner=bot]")).to_contain_text("has not answered")
    dead.unlink()
    expect(page.locator("[data-banner=bot]")).to_have_count(0)
    kernels = [child for child in _children(pages.voila) if "ipykernel_launcher" in _command(child)]

    def signal_all(number: int) -> None:
        """Signal every kernel that is still there: one of an earlier test may just be leaving."""
        for kernel in kernels:
            with contextlib.suppress(ProcessLookupError):
                os.kill(kernel, number)

    signal_all(signal.SIGSTOP)
    try:
        expect(page.locator("[data-banner=stale]")).to_contain_text("STALE")
        expect(page.locator("body")).to_have_class(re.compile("is-stale"))
    finally:
        signal_all(signal.SIGCONT)
    expect(page.locator("[data-banner=stale]")).to_have_count(0)
    visit.leave()


def test_logging_out_ends_the_other_tab_too(pages: Pages) -> None:
    """The second tab goes to the login page by itself, and going back shows nothing."""
    visit = Visit(pages, "minsu")
    visit.log_in()
    page = visit.open_desk()
    second = visit.context.new_page()
    second.goto(f"{pages.base}/")
    second.click("form[action='/logout'] button")
    page.wait_for_url(re.compile("/login"))
    page.go_back()
    expect(page.locator("#password")).to_be_visible()
    visit.errors.clear()  # requests that were under way when the session ended
    visit.leave()


def test_the_desk_survives_a_restart_of_voila(pages: Pages) -> None:
    """Voila killed: the gateway starts it again, and a reload brings the desk back."""
    visit = Visit(pages, "alice")
    visit.log_in()
    page = visit.open_desk()
    os.kill(pages.voila, signal.SIGKILL)
    expect(page.locator("[data-banner=stale]")).to_be_visible()
    with page.expect_navigation(wait_until="commit"):  # what is drawn now is the page from before
        page.click("[data-banner=stale] button")
    page.wait_for_function(IS_PAINTED, timeout=DESK_MS)
    expect(page.locator(".desk")).to_contain_text("Perpetuals")
    visit.errors.clear()  # the lost kernel's connection
    visit.leave()


def _children(parent: int) -> list[int]:
    """Return the processes a process has started."""
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _command(process: int) -> str:
    """Return a process's command line; empty when it has just ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""

"""The page of an account's parameters in real Chromium: history, the way back with a reason, held entries; on a phone too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from ctp.accounts.rights import machine
from ctp.accounts.sources import source_hash
from ctp.accounts.trading_accounts import Evidence, append_parameters
from ctp.storage import tables
from ctp.storage.database import Database
from tests.browser.visits import PHONE, Pages, Visit, browsed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

RSI = "rsi_mean_reversion"
CANDLE = 1_790_000_000_000 // 3_600_000 * 3_600_000
DIFFERENCE = {
    "symbol": "BTC/USDT", "candle_time": CANDLE, "outcome": "enter", "reason": "entry_signal",
    "new_outcome": "no_signal", "new_reason": "rsi_level", "numbers": {"rsi": [29.9, 30.1]},
}  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Run one gateway without dashboards and one browser for every test here."""
    with browsed(tmp_path_factory.mktemp("home"), "plain") as running:
        change(running)
        yield running


def change(running: Pages) -> None:
    """Give alice's live account a history, and let an upgrade decide otherwise on it."""
    database = Database(f"sqlite:///{running.home / 'ctp.db'}")
    with database.transaction() as connection:
        account = account_of(connection, "Real money")
        data = {"exchange": "binance", "symbols": ["BTC/USDT"], "timeframe": "1h", "first": CANDLE - 10**10, "last": CANDLE}
        reasons = [{"en": "Luck explains <b>it</b> badly", "ko": "우연으로 설명되지 않습니다"}]
        found = Evidence("d" * 64, "green", "f" * 64, {"data": data, "reasons": reasons})
        shell, calm, bold = machine("cli"), {"stop_loss": 0.1}, {"stop_loss": 0.1, "take_profit": 0, "trend_window": 200}
        append_parameters(connection, shell, account, RSI, calm, {}, "promoted to live: verdict green", CANDLE, evidence=found)
        append_parameters(
            connection, shell, account, RSI, bold, {"risk_per_trade": 0.005}, "<i>fewer</i> trades", CANDLE + 1,
            override="tested for a month",
        )  # fmt: skip
        values = {
            "account_id": account, "version": 3, "source_hash": "0" * 64, "pinned_at": CANDLE, "state": "changed",
            "found_hash": source_hash(RSI), "compared": 720, "differing": 1, "differences": json.dumps([DIFFERENCE]),
        }  # fmt: skip
        connection.execute(sa.insert(tables.code_pins).values(values))
        this = tables.account_states.c.account_id == account
        connection.execute(sa.update(tables.account_states).where(this).values(parameter_version=3))
    database.close()


def account_of(connection: Any, name: str) -> int:
    """Return an account's number."""
    return int(connection.execute(sa.select(tables.accounts.c.id).where(tables.accounts.c.name == name)).scalar_one())


def test_the_history_shows_what_changed_why_and_how_to_go_back(pages: Pages) -> None:
    visit = Visit(pages, "alice")
    page = visit.log_in()
    card = page.locator("article", has_text="Real money")
    expect(card).to_contain_text("No entries: the changed program decides otherwise")
    card.get_by_role("link", name="Strategy and risk values").click()
    expect(page.get_by_role("alert").first).to_contain_text("1 of 720 decisions differ")
    expect(page.locator("#differences")).to_contain_text("BTC/USDT: then Entry, now No signal (rsi 29.9 → 30.1)")
    newest = page.locator("article.version").first
    expect(newest).to_contain_text("Take-profit: 4% → off")
    expect(newest).to_contain_text("<i>fewer</i> trades")
    expect(newest).to_contain_text("tested for a month")
    assert newest.get_by_role("button").count() == 0, "it is in use"
    oldest = page.locator("article.version", has_text="Version 1")
    oldest.get_by_role("button", name="Go back to this version").click()
    override = page.get_by_label("Why without a green verdict")
    assert override.evaluate("field => field.required"), "live needs a reason where the verdict is not green"
    page.get_by_role("button", name="Cancel").click()
    green = page.locator("article.version", has_text="Version 2")
    green.locator("summary").click()
    expect(green).to_contain_text("Luck explains <b>it</b> badly")
    green.get_by_role("button", name="Go back to this version").click()
    assert page.get_by_label("Why without a green verdict").count() == 0, "its verdict counts still"
    page.get_by_label("Why (for the history)").fill("calmer")
    page.get_by_role("button", name="Go back", exact=True).click()
    expect(page.locator("#parameters-message")).to_contain_text("Version 4 applies")
    expect(page.locator("article.version").first).to_contain_text("Back to version 2. calmer")
    visit.leave()


def test_a_phone_shows_it_without_scrolling_sideways(pages: Pages) -> None:
    visit = Visit(pages, "alice", viewport=PHONE)
    page = visit.log_in()
    page.locator("article", has_text="Real money").get_by_role("link", name="Strategy and risk values").click()
    expect(page.locator("article.version").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.leave()

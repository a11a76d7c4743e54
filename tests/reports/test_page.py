"""What a page says, in both languages: words and figures that follow from the extract, and nothing made up."""

from __future__ import annotations

import dataclasses
import re
from datetime import date
from typing import Any

import pytest

from ctp.i18n import text
from ctp.reports.evidence_state import FAILED, KNOWN, NONE, SHORT
from ctp.reports.extracted import CommandRow, Extract, TroubleRow
from ctp.reports.render import loads
from ctp.reports.report import Report
from ctp.reports.sections import Told, Unavailable
from tests.reports.conftest import Extracting
from tests.reports.world import DAY, HOUR, NOW, Trading, World, add_account

NEWEST = NOW // HOUR * HOUR
MAY_1 = date(2026, 5, 1)
PARTS = ("top", "result", "spans", "month", "risk", "operation", "trades", "sections", "tomorrow")
HOSTILE = "<img src=x onerror=alert(1)>'\"&{0}"


@pytest.fixture
def day(world: World, extracted: Extracting) -> Extract:
    """Return a day of trading."""
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, NEWEST - 33 * DAY, seed=5)
    trading.run(NEWEST, 8)
    trading.save()
    return extracted(account, "alice", "daily", MAY_1)


def page(extract: Extract, language: str = "en") -> str:
    """Return every part of a page."""
    report = Report(extract, language)
    return "".join(getattr(report, part)() for part in PARTS)


def plain(markup: str) -> str:
    """Return the words alone."""
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def changed(extract: Extract, **about: Any) -> Extract:
    """Return an extract with other parts of `about.json`."""
    return dataclasses.replace(extract, about={**extract.about, **about})


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("kind", ["daily", "weekly", "monthly"])
def test_every_part_is_there_in_every_language_and_loads_nothing(
    world: World, extracted: Extracting, kind: str, language: str
) -> None:
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, NEWEST - 45 * DAY, seed=5)
    trading.run(NEWEST, 8)
    trading.save()
    found = page(extracted(account, "alice", kind, date(2026, 4, 20)), language)
    assert loads(found) == ""
    for key in (f"title.{kind}", "causes.title", "span.title", "month_part.title", "risk.title", "costs.title", "trades.title",
                "operation.title", "drift.unavailable", "backups.unavailable", "tomorrow.title", "footer.target"):  # fmt: skip
        assert text(f"report.{key}", language) in found.replace("&#39;", "'"), key
    assert not re.search(r"\b(nan|NaN|None|inf)\b", plain(found))
    if language == "ko":
        assert not re.search(r"\b(Fees|Trades|Equity|day|month)\b", plain(found))


@pytest.mark.parametrize("language", ["ko", "en"])
def test_an_account_that_never_started_says_so_and_shows_no_figure(
    world: World, extracted: Extracting, language: str
) -> None:
    account = add_account(world, "alice", "a")
    extract = extracted(account, "alice", "daily", MAY_1)
    found = plain(page(extract, language))
    assert text("report.verdict.never", language) in found
    assert "0.00 USDT" not in plain(Report(extract, language).top())
    assert Report(extract, language).summary()["equity"] is None


def test_real_and_simulated_money_are_told_apart_in_words(day: Extract) -> None:
    live = changed(day, account={**day.account, "mode": "live"})
    assert "SIMULATED" in Report(day, "en").top() and "LIVE" not in Report(day, "en").top()
    assert "실거래" in Report(live, "ko").top() and "모의" not in Report(live, "ko").top()


def test_a_generated_market_is_never_passed_off_as_a_real_one(day: Extract) -> None:
    note = text("report.note.is_generated", "en")
    assert note not in page(day)
    assert note in page(changed(day, account={**day.account, "is_generated": True})).replace("&#39;", "'")


def test_words_of_people_and_exchanges_stay_words(day: Extract) -> None:
    symbol = "X\"'<b>/USDT"
    hostile = dataclasses.replace(
        day,
        about={
            **day.about,
            "account": {**day.account, "name": HOSTILE, "owner": HOSTILE, "exchange": HOSTILE},
            "parameters": [{"version": version, "created_at": 1, "reason": HOSTILE} for version in (0, 1)],
            "sections": [{"name": "drift", **Told("attention", "report.drift.unavailable", {}, ("report.span.when",),
                                                  ((HOSTILE,),))._asdict()}],
        },
        trades=tuple(one._replace(symbol=symbol, exit_reason=HOSTILE) for one in day.trades),
        ledger=tuple(one._replace(symbol=symbol, reason=HOSTILE) if one.kind == "fill" else one for one in day.ledger),
        commands=(CommandRow(NEWEST - DAY, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        trouble=(TroubleRow(NEWEST - DAY, HOSTILE, symbol),),
        evidence={"state": KNOWN, "symbols": [HOSTILE], "first_candle": HOSTILE, "last_candle": "x", "trades": 3,
                  "has_funding": True, "months": [{"name": "2020-01", "value": 0.01, "days": [0.01] * 31}]},
        decisions=tuple(one._replace(parameter_version=int(n > 800)) for n, one in enumerate(day.decisions)),
    )  # fmt: skip
    for language in ("ko", "en"):
        found = page(hostile, language)
        assert "<img" not in found and "<b>/" not in found
        assert "&lt;img src=x onerror=alert(1)&gt;" in found
        assert loads(found) == ""


def test_locks_outages_and_trouble_are_said_on_the_first_screen(day: Extract) -> None:
    assert text("report.all_well", "en") in Report(day, "en").top()
    assert day.state is not None
    times = {day.period.start_ms + hour * HOUR for hour in (5, 6, 7)}
    late = [row._replace(decided_at=row.close_time + 2 * HOUR) if row.close_time == day.period.end_ms - HOUR else row
            for row in day.decisions if row.close_time not in times]  # fmt: skip
    bad = dataclasses.replace(
        changed(day, state={**day.state, "daily_locked": True, "drawdown_locked": True, "losses": 4}),
        decisions=tuple(late),
        trouble=(TroubleRow(NEWEST - DAY, "exchange_down", ""),),
    )
    report = Report(bad, "en")
    keys = [one.key for one in report.told.findings]
    assert keys == ["drawdown_locked", "no_decisions", "daily_locked", "late_decisions", "trouble"]
    top = plain(report.top())
    assert "3 candles were not decided on (stretches: 1, the longest 3 h)" in top
    assert text("report.all_well", "en") not in top
    assert "next entry risks 25% of the usual" in plain(report.tomorrow())
    assert text("problem.exchange_down.title", "en") in plain(report.operation())
    assert set(keys) == set(report.summary()["findings"])


def test_a_loss_above_the_ceiling_and_a_day_at_its_limit_are_dangers(day: Extract) -> None:
    trade = day.trades[-1]._replace(pnl=-250.0, entry_equity=10_000.0, exit_reason="liquidation")
    worse = dataclasses.replace(
        day,
        trades=(trade._replace(exit_time=day.period.start_ms + HOUR),),
        equity=tuple(
            row._replace(equity=row.equity * 0.96) if row.time == day.period.start_ms + 9 * HOUR else row
            for row in day.equity
        ),
    )
    found = {one.key: one.level for one in Report(worse, "en").told.findings}
    expected = ("daily_limit_reached", "loss_above_ceiling", "unplanned_exit")
    assert {key: found[key] for key in expected} == dict.fromkeys(expected, "danger")


def test_a_day_across_a_change_of_parameters_names_the_version_and_why(day: Extract) -> None:
    noon = day.period.start_ms + 12 * HOUR
    two = dataclasses.replace(
        changed(day, parameters=[{"version": 2, "created_at": noon, "reason": "wider stop"}]),
        decisions=tuple(one._replace(parameter_version=2 if one.close_time >= noon else 1) for one in day.decisions),
    )
    told = plain(Report(two, "en").operation())
    assert "Parameters version 2 from 2026-05-01 12:00 KST on. Reason: wider stop" in told


def test_books_that_differ_from_the_bots_balance_are_an_alarm(day: Extract) -> None:
    wrong = dataclasses.replace(day, ledger=tuple(row for row in day.ledger if row.id != day.ledger[-3].id))
    found = {one.key: one.level for one in Report(wrong, "en").told.findings}
    assert found["books_differ"] == "danger"


@pytest.mark.parametrize("state", [NONE, SHORT, FAILED])
@pytest.mark.parametrize("language", ["ko", "en"])
def test_without_past_months_the_page_says_why(day: Extract, state: str, language: str) -> None:
    found = page(dataclasses.replace(day, evidence={"state": state}), language)
    assert text(f"report.evidence.{state}", language) in found.replace("&#39;", "'")


def test_past_months_stand_beside_the_target_with_their_share_that_reached_it(day: Extract) -> None:
    values = [-0.04, -0.01, 0.0, 0.02, 0.06]
    months = [{"name": f"2020-0{n + 1}", "value": value, "days": [value * (d + 1) / 31 for d in range(31)]}
              for n, value in enumerate(values)]  # fmt: skip
    evidence = {"state": KNOWN, "symbols": ["BTC/USDT"], "first_candle": "2020-01-01", "last_candle": "2020-06-01",
                "trades": 99, "has_funding": True, "months": months}  # fmt: skip
    found = plain(Report(dataclasses.replace(day, evidence=evidence), "en").month())
    assert "20%" in found  # one of five reached 5 %
    assert "40%" in found  # two of five lost
    assert text("report.evidence.few", "en") in found
    assert re.search(r"the first 1 days went worse in \d of 5 months", found)


def test_a_month_worse_than_nearly_all_past_months_is_said_on_the_first_screen(day: Extract) -> None:
    months = [{"name": str(n), "value": 0.5, "days": [0.5] * 31} for n in range(40)]
    evidence = {"state": KNOWN, "symbols": ["BTC/USDT"], "first_candle": "a", "last_candle": "b", "trades": 9,
                "has_funding": True, "months": months}  # fmt: skip
    report = Report(dataclasses.replace(day, evidence=evidence), "en")
    assert "only 0 of 40 past months had done worse" in plain(report.top())
    usual = [{"name": str(n), "value": -0.5, "days": [-0.5] * 31} for n in range(40)]
    report = Report(dataclasses.replace(day, evidence={**evidence, "months": usual}), "en")
    assert "month_unusual" not in report.summary()["findings"]


def test_another_room_tells_its_part_through_the_port(world: World, extracted: Extracting) -> None:
    class Drift:
        name = "drift"

        def tell(self, connection: Any, account_id: int, period: Any) -> Told:
            assert period.name == "2026-05-01"
            return Told(
                "good",
                "report.conclusion",
                {"pnl": "1", "equity": "2", "trades": account_id},
                ("report.span.when",),
                (("x",),),
            )

    account = add_account(world, "alice", "a")
    extract = extracted(account, "alice", "daily", MAY_1, (Drift(), Unavailable("backups")))
    found = plain(Report(extract, "en").sections())
    assert f"P&amp;L 1, equity 2, {account} closed trades. Period x" in found
    assert text("report.backups.unavailable", "en") in found

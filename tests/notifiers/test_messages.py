"""Golden texts: every kind in both languages, word for word."""

from __future__ import annotations

import email
import email.policy
import itertools
import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctp.config import PROJECT
from ctp.i18n import texts_below
from ctp.notifiers.kinds import KINDS, describe_kinds
from ctp.notifiers.mail_text import html_text, plain_text, write_mail
from ctp.notifiers.messages import TITLE_LENGTH, compose
from ctp.notifiers.notifier import Recipient

AT = 1_700_000_000_000
COMMON = {"account": "main", "mode": "paper", "exchange": "binanceusdm", "quote": "USDT"}
DAY = {"day_pnl": -12.5, "day_limit": 300.0}
OPENED = {
    **COMMON,
    **DAY,
    "symbol": "BTC/USDT:USDT",
    "side": "long",
    "size": "0.015",
    "price": 64250.1,
    "stop": 62965.0,
    "take": 66820.1,
    "leverage": 3,
    "margin": 321.25,
    "risk": 19.28,
    "equity": 10000.0,
    "reason": "entry_signal",
    "rsi": 28.43,
}
CLOSED = {
    **COMMON,
    **DAY,
    "symbol": "ETH/USDT:USDT",
    "side": "short",
    "size": Decimal("1.20"),
    "entry_price": 3200.0,
    "price": 3150.5,
    "pnl": 57.3,
    "r_multiple": 0.9,
    "fee": 3.81,
    "funding": 0.12,
    "reason": "exit_signal",
    "entry_time": AT - 12_000_000,
    "exit_time": AT,
    "balance": 10057.3,
}
GOLDEN: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "trade_executed",
        {
            **COMMON,
            "symbol": "BTC/USDT",
            "side": "buy",
            "size": "0.015",
            "price": 64250.1,
            "fee": "0.48",
            "reason": "entry_signal",
        },
        "[모의] BTC/USDT 매수 체결\n"
        "체결가 64,250.1 · 수량 0.015 BTC · 금액 963.75 USDT\n"
        "수수료 0.48 USDT\n"
        "이유: 진입 신호\n"
        "계좌 main (binanceusdm)\n"
        "시각 2023-11-15 07:13:20 KST",
        "[SIMULATED] BTC/USDT buy filled\n"
        "Price 64,250.1 · size 0.015 BTC · worth 963.75 USDT\n"
        "Fee 0.48 USDT\n"
        "Reason: entry signal\n"
        "Account main (binanceusdm)\n"
        "Time 2023-11-15 07:13:20 KST",
    ),
    (
        "position_opened",
        OPENED,
        "[모의] BTC/USDT 무기한 롱 진입\n"
        "체결가 64,250.1 · 수량 0.015 BTC · 금액 963.75 USDT\n"
        "손절가 62,965 (-2.00%)\n"
        "익절가 66,820.1 (+4.00%)\n"
        "증거금 321.25 USDT · 레버리지 3배\n"
        "손절 시 손실 19.28 USDT (1R, 자산의 0.19%)\n"
        "이유: 진입 신호 · RSI 28.4\n"
        "오늘 손익 -12.50 USDT · 일일 손실 한도 300.00 USDT (남은 여유 287.50 USDT)\n"
        "계좌 main (binanceusdm)\n"
        "시각 2023-11-15 07:13:20 KST",
        "[SIMULATED] BTC/USDT perpetual long opened\n"
        "Price 64,250.1 · size 0.015 BTC · worth 963.75 USDT\n"
        "Stop-loss 62,965 (-2.00%)\n"
        "Take-profit 66,820.1 (+4.00%)\n"
        "Margin 321.25 USDT · leverage 3x\n"
        "Loss at the stop 19.28 USDT (1R, 0.19% of equity)\n"
        "Reason: entry signal · RSI 28.4\n"
        "Today -12.50 USDT · daily loss limit 300.00 USDT (287.50 USDT left)\n"
        "Account main (binanceusdm)\n"
        "Time 2023-11-15 07:13:20 KST",
    ),
    (
        "position_closed",
        {**CLOSED, "mode": "live"},
        "[실거래] ETH/USDT 무기한 숏 청산 +57.30 USDT\n"
        "손익 +57.30 USDT (+0.90R)\n"
        "진입가 3,200 → 청산가 3,150.5 · 수량 1.2 ETH\n"
        "수수료 3.81 USDT · 펀딩비 +0.12 USDT\n"
        "이유: 청산 신호\n"
        "보유 시간 3시간 20분\n"
        "잔고 10,057.30 USDT\n"
        "오늘 손익 -12.50 USDT · 일일 손실 한도 300.00 USDT (남은 여유 287.50 USDT)\n"
        "계좌 main (binanceusdm)\n"
        "시각 2023-11-15 07:13:20 KST",
        "[LIVE] ETH/USDT perpetual short closed +57.30 USDT\n"
        "P&L +57.30 USDT (+0.90R)\n"
        "Entry 3,200 → exit 3,150.5 · size 1.2 ETH\n"
        "Fees 3.81 USDT · funding +0.12 USDT\n"
        "Reason: exit signal\n"
        "Held for 3 h 20 min\n"
        "Balance 10,057.30 USDT\n"
        "Today -12.50 USDT · daily loss limit 300.00 USDT (287.50 USDT left)\n"
        "Account main (binanceusdm)\n"
        "Time 2023-11-15 07:13:20 KST",
    ),
    (
        "stop_loss_hit",
        {
            "account": "원화",
            "mode": "paper",
            "exchange": "upbit",
            "quote": "KRW",
            "symbol": "BTC/KRW",
            "side": "long",
            "size": "0.01",
            "entry_price": 98_000_000.0,
            "price": 96_040_000.0,
            "pnl": -20_570.0,
            "r_multiple": -1.05,
            "fee": 970.2,
            "funding": 0,
            "reason": "stop_loss",
        },
        "[모의] BTC/KRW 롱 손절 -20,570원\n"
        "손익 -20,570원 (-1.05R)\n"
        "진입가 98,000,000 → 청산가 96,040,000 · 수량 0.01 BTC\n"
        "수수료 970원\n"
        "이유: 손절\n"
        "계좌 원화 (upbit)\n"
        "시각 2023-11-15 07:13:20 KST",
        "[SIMULATED] BTC/KRW long stopped out -20,570 KRW\n"
        "P&L -20,570 KRW (-1.05R)\n"
        "Entry 98,000,000 → exit 96,040,000 · size 0.01 BTC\n"
        "Fees 970 KRW\n"
        "Reason: stop-loss\n"
        "Account 원화 (upbit)\n"
        "Time 2023-11-15 07:13:20 KST",
    ),
    (
        "take_profit_hit",
        {**COMMON, "symbol": "BTC/USDT", "side": "long", "size": 0.5, "entry_price": 100.0, "price": 104.0}
        | {"pnl": 1.95, "reason": "take_profit"},
        "[모의] BTC/USDT 롱 익절 +1.95 USDT\n"
        "손익 +1.95 USDT\n"
        "진입가 100 → 청산가 104 · 수량 0.5 BTC\n"
        "이유: 익절\n"
        "계좌 main (binanceusdm)\n"
        "시각 2023-11-15 07:13:20 KST",
        "[SIMULATED] BTC/USDT long took profit +1.95 USDT\n"
        "P&L +1.95 USDT\n"
        "Entry 100 → exit 104 · size 0.5 BTC\n"
        "Reason: take-profit\n"
        "Account main (binanceusdm)\n"
        "Time 2023-11-15 07:13:20 KST",
    ),
    (
        "system_error",
        {**COMMON, **DAY, "what": "stop_failed", "symbol": "BTC/USDT:USDT", "error": "-2021 would trigger"},
        "[모의] 시스템 오류: 손절 주문을 걸지 못했습니다\n"
        "보호할 수 없는 포지션은 즉시 시장가로 청산합니다. 포지션과 거래소 상태를 확인해 주세요.\n"
        "종목 BTC/USDT 무기한\n"
        "상세: error: -2021 would trigger\n"
        "계좌 main (binanceusdm)\n"
        "시각 2023-11-15 07:13:20 KST",
        "[SIMULATED] Error: the stop-loss could not be placed\n"
        "A position that cannot be protected is closed at market at once. Please check the position at the exchange.\n"
        "Symbol BTC/USDT perpetual\n"
        "Details: error: -2021 would trigger\n"
        "Account main (binanceusdm)\n"
        "Time 2023-11-15 07:13:20 KST",
    ),
    (
        "system_error",
        {"what": "bot_silent", "seconds": 90},
        "시스템 오류: 매매 봇이 응답하지 않습니다\n"
        "걸어 둔 손절 주문은 거래소에 남아 있습니다. 서버에서 봇의 상태와 로그를 확인해 주세요.\n"
        "상세: seconds: 90\n"
        "시각 2023-11-15 07:13:20 KST",
        "Error: the trading bot does not answer\n"
        "Resting stop-loss orders remain at the exchange. Please check the bot and its log on the server.\n"
        "Details: seconds: 90\n"
        "Time 2023-11-15 07:13:20 KST",
    ),
    (
        "daily_report",
        {**COMMON, "day": "2023-11-14", "pnl": 35.2, "trades": 4, "wins": 3, "equity": 10035.2},
        "[모의] 2023-11-14 일일 보고서\n"
        "손익 +35.20 USDT\n"
        "거래 4건 · 수익 3건\n"
        "자산 10,035.20 USDT\n"
        "계좌 main (binanceusdm)\n"
        "시각 2023-11-15 07:13:20 KST",
        "[SIMULATED] Daily report 2023-11-14\n"
        "P&L +35.20 USDT\n"
        "Trades 4 · won 3\n"
        "Equity 10,035.20 USDT\n"
        "Account main (binanceusdm)\n"
        "Time 2023-11-15 07:13:20 KST",
    ),
    (
        "daily_report",
        {**COMMON, "kind": "weekly", "day": "2023-11-06", "last_day": "2023-11-12", "pnl": -120.5, "return": -0.01205}
        | {"trades": 11, "wins": 4, "equity": 9879.5, "month_return": -0.0105, "target_low": 0.05, "target_high": 0.1}
        | {"largest_loss_fraction": 0.0098, "worst_day_fraction": 0.0213, "daily_loss_limit": 0.03, "attention": 2},
        "[모의] 2023-11-06 ~ 2023-11-12 주간 보고서\n"
        "손익 -120.50 USDT (-1.20%)\n"
        "거래 11건 · 수익 4건\n"
        "자산 9,879.50 USDT\n"
        "이번 달 -1.05% · 목표는 5–10%이며 약속이 아닙니다\n"
        "가장 큰 거래 손실 0.98% · 상한 2.00%\n"
        "하루 중 최저점 −2.13% · 한도 3.00%\n"
        "확인할 것 2건\n"
        "계좌 main (binanceusdm)\n"
        "시각 2023-11-15 07:13:20 KST",
        "[SIMULATED] Weekly report 2023-11-06 to 2023-11-12\n"
        "P&L -120.50 USDT (-1.20%)\n"
        "Trades 11 · won 4\n"
        "Equity 9,879.50 USDT\n"
        "This month -1.05% · the target is 5–10%, not a promise\n"
        "Largest loss of a trade 0.98% · ceiling 2.00%\n"
        "Lowest point of a day −2.13% · limit 3.00%\n"
        "Worth a look: 2\n"
        "Account main (binanceusdm)\n"
        "Time 2023-11-15 07:13:20 KST",
    ),
    (
        "ai_signal",
        COMMON,
        "[모의] AI 신호\n활성화된 AI 모델이 없어 아직 사용할 수 없습니다.\n계좌 main (binanceusdm)\n시각 2023-11-15 07:13:20 KST",
        "[SIMULATED] AI signal\nNot available yet: no AI model is active.\n"
        "Account main (binanceusdm)\nTime 2023-11-15 07:13:20 KST",
    ),
]


@pytest.mark.parametrize(("kind", "facts", "korean", "english"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_every_kind_reads_as_it_should(kind: str, facts: dict[str, Any], korean: str, english: str) -> None:
    """The words that people get, in both languages."""
    assert compose(kind, facts, "ko", "Asia/Seoul", AT).plain() == korean
    assert compose(kind, facts, "en", "Asia/Seoul", AT).plain() == english


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize(("kind", "facts", "korean", "english"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_every_kind_reads_the_same_as_a_mail(
    kind: str, facts: dict[str, Any], korean: str, english: str, language: str
) -> None:
    """The badge, the title without it, each line, and where to go; nothing else is seen."""
    badge, title, *lines = opened(korean if language == "ko" else english)
    reader = Recipient(1, "minsu", language, "Asia/Seoul", "minsu@example.com")
    message = compose(kind, facts, language, "Asia/Seoul", AT)
    links = {"ko": ["대시보드 열기", "·", "받을 알림 고르기"], "en": ["Open the dashboard", "·", "Choose what is sent here"]}
    expected = [*([badge] if badge else []), title, *lines, *links[language]]
    assert seen(html_text(reader, message, "https://trade.example.com")) == expected
    plain = plain_text(reader, message, "https://trade.example.com").splitlines()
    assert plain[0] == (korean if language == "ko" else english).splitlines()[0] and plain[2 : 2 + len(lines)] == lines


def opened(golden: str) -> list[str]:
    """Return badge, title and lines of a golden text."""
    title, *lines = golden.splitlines()
    badge, bracket, rest = title.removeprefix("[").partition("] ")
    return [badge, rest, *lines] if bracket else ["", title, *lines]


def seen(page: str) -> list[str]:
    """Return the texts of a page that its reader sees."""

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.texts: list[str] = []
            self.inside: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.inside.append(tag)

        def handle_endtag(self, tag: str) -> None:
            while self.inside and self.inside.pop() != tag:
                pass

        def handle_data(self, data: str) -> None:
            if data.strip() and not {"title", "style"} & set(self.inside):
                self.texts.append(data.strip())

    reader = Reader()
    reader.feed(page)
    return reader.texts


TAGS = {"html", "head", "meta", "title", "style", "body", "table", "tr", "td", "span", "h1", "p", "a", "img"}
NAMES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["<script>alert(1)</script>", '"><img src=x onerror=1>', "a\r\nBcc: evil@example.com", "\u202egnp.exe"]),
    st.sampled_from(["=?utf-8?q?x?=", "</td></tr></table>", "{pnl}", "%s", "&amp;", "a\x00b", "\ud800", "\u2028next"]),
)


@settings(deadline=None, max_examples=40)
@given(symbol=NAMES, account=NAMES, reason=NAMES, error=NAMES, language=st.sampled_from(["ko", "en"]))
def test_hostile_names_stay_words(symbol: str, account: str, reason: str, error: str, language: str) -> None:
    """In headers, in HTML and in plain text: no header, no tag, no line is added, no direction turned."""
    reader = Recipient(1, account, language, "Asia/Seoul", "minsu@example.com")
    about = {"symbol": symbol, "account": account, "reason": reason, "error": error, "exchange": symbol, "quote": reason}
    for kind, facts, *_ in GOLDEN:
        message = compose(kind, {**facts, **about}, language, "Asia/Seoul", AT)
        assert len(message.title) <= TITLE_LENGTH
        for line in (message.title, *message.lines):
            assert line.isprintable() or not set("\r\n\x00\u2028\u2029\u202e") & set(line)
        page = html_text(reader, message, "https://trade.example.com")
        assert set(re.findall(r"</?([a-z0-9]+)", page)) <= TAGS
        assert len(re.findall(r"<[a-z!/]", page)) == len(re.findall(r"<[a-z!/][^<>]*>", page))
        names = {"sender": "Bot <bot@example.com>", "message_id": "<1@example.com>", "at": datetime(2026, 1, 1, tzinfo=UTC)}
        wire = write_mail(reader, message, **names).as_bytes()  # type: ignore[arg-type]
        found = email.message_from_bytes(wire, policy=email.policy.default)
        assert sorted(found.keys()) == sorted(
            ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
        )
        assert found["To"] == "minsu@example.com"


@pytest.mark.parametrize("language", ["ko", "en"])
def test_every_problem_s_title_fits_a_lock_screen(language: str) -> None:
    """Without being cut, for a live account as for a simulated one."""
    problems = {key.split(".")[0] for key in texts_below("problem", "en")}
    for what, mode in itertools.product(problems, ("paper", "live")):
        title = compose("system_error", {**COMMON, "mode": mode, "what": what}, language, "UTC", AT).title
        assert len(title) <= 70 and not title.endswith("…"), title


def test_no_kind_is_left_out_of_the_golden_texts() -> None:
    """A new kind needs its words here."""
    assert {row[0] for row in GOLDEN} == set(KINDS)


@pytest.mark.parametrize("language", ["ko", "en"])
def test_only_the_ai_signal_is_not_available_until_a_model_is_active(language: str) -> None:
    """The settings page shows it all the same, and says why."""
    by_kind = {info.kind: info for info in describe_kinds(language)}
    assert [kind for kind, info in by_kind.items() if not info.is_available] == ["ai_signal"]
    assert "AI" in by_kind["ai_signal"].explanation
    assert all(info.is_available for info in describe_kinds(language, has_active_model=True))


def test_what_is_not_known_is_not_shown() -> None:
    """No take-profit, no leverage, no equity: no line, rather than a zero."""
    bare = {name: OPENED[name] for name in ("account", "mode", "quote", "symbol", "side", "size", "price", "stop")}
    text = compose("position_opened", bare, "en", "UTC", AT).plain()
    assert "Take-profit" not in text and "everage" not in text and "Loss" not in text and "Today" not in text


def test_the_reader_s_zone_decides_the_time() -> None:
    """The same notice for two readers."""
    assert compose("ai_signal", COMMON, "en", "America/New_York", AT).when == "Time 2023-11-14 17:13:20 EST"


def test_a_problem_or_kind_without_words_is_shown_all_the_same() -> None:
    """A newer bot may know more than this program."""
    problem = compose("system_error", {**COMMON, "what": "from_tomorrow", "code": 7}, "en", "UTC", AT)
    assert problem.title == "[SIMULATED] Error: something needs your eye" and "code: 7" in problem.plain()
    assert "code" in compose("kind_of_tomorrow", {"code": 7}, "ko", "UTC", AT).plain()


def test_every_trouble_the_bot_tells_has_words() -> None:
    """Found in the source, so that a new one cannot be forgotten."""
    import re

    from ctp.i18n import has_text

    told = set()
    for file in (PROJECT / "ctp").rglob("*.py"):
        told |= set(re.findall(r"""tell_trouble\(\s*["']([a-z_]+)["']""", file.read_text("utf-8")))
    assert {what for what in told if not has_text(f"problem.{what}.title")} == set()

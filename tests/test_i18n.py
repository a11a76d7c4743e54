"""Both languages have the same keys and facts, and numbers read as a trader writes them."""

from __future__ import annotations

import re
import string
from decimal import Decimal

import pytest

from ctp import i18n
from ctp.config import PROJECT
from ctp.core import types as core


def facts(template: str) -> set[str]:
    """Return the names of the facts a text needs."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def test_both_languages_have_the_same_keys_and_facts() -> None:
    """A translator cannot forget a text or a number."""
    korean, english = i18n._texts("ko"), i18n._texts("en")
    assert set(korean) == set(english)
    assert {key for key in korean if facts(korean[key]) != facts(english[key])} == set()


def test_every_key_that_the_code_names_exists() -> None:
    """Every literal key in the code, without running it."""
    named = set()
    for file in (PROJECT / "ctp").rglob("*.py"):
        named |= set(re.findall(r"""\btext\(\s*["']([a-z_.]+)["']""", file.read_text("utf-8")))
    assert {key for key in named if not i18n.has_text(key)} == set()


@pytest.mark.parametrize("language", i18n.LANGUAGES)
def test_every_refusal_outcome_and_exit_reason_of_the_definition_has_words(language: str) -> None:
    """A reason that reaches a person never does so as a code name."""
    keys = [f"refusal.{name}" for name in core.REFUSALS if name]
    keys += [f"outcome.{name}" for name in core.OUTCOMES]
    keys += [f"exit_reason.{name}" for name in core.EXIT_REASONS if name]
    for key in keys:
        assert i18n.text(key, language) != key


def test_a_missing_key_or_fact_raises_in_tests_and_shows_the_key_in_production(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing word must not stop a trade, but must not pass a test."""
    with pytest.raises(KeyError, match="no text"):
        i18n.text("no.such", "ko")
    monkeypatch.setattr(i18n, "_strict", False)
    assert i18n.text("no.such", "ko") == "no.such"
    assert "no text 'no.such' in ko" in caplog.text


@pytest.mark.parametrize(
    ("value", "places", "expected"),
    [
        (1234567.5, None, "1,234,567.5"),
        (0.1, None, "0.1"),
        (1e-8, None, "0.00000001"),
        (Decimal("100.00"), None, "100"),
        (1000.0, None, "1,000"),
        (2.345, 2, "2.34"),  # half to even
        (-0.001, 2, "0.00"),
        (float("nan"), 2, "-"),
        (float("inf"), 2, "∞"),
    ],
)
def test_numbers(value: float, places: int | None, expected: str) -> None:
    """Separators, places, rounding, and what is not a number."""
    assert i18n.number(value, places) == expected


@pytest.mark.parametrize(
    ("amount", "currency", "language", "expected"),
    [
        (1234.5, "USDT", "ko", "1,234.50 USDT"),
        (-1234.567, "USDT", "en", "-1,234.57 USDT"),
        (1234567.8, "KRW", "ko", "1,234,568원"),
        (1234567.8, "KRW", "en", "1,234,568 KRW"),
        (0.00012, "BTC", "en", "0.00012 BTC"),
    ],
)
def test_money(amount: float, currency: str, language: str, expected: str) -> None:
    """Won and yen have no decimals; coins lose their trailing zeros."""
    assert i18n.money(amount, currency, language) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "1만"),
        (123_456_789, "1억 2,345만 6,789"),
        (-50_000_000, "-5,000만"),
        (1_000_000_000_000, "1조"),
    ],
)
def test_won_grouped_as_koreans_count(amount: float, expected: str) -> None:
    """Exact below ten thousand."""
    assert i18n.grouped_won(amount) == expected
    assert i18n.money(amount, "KRW", "ko", grouped=True) == f"{expected} 원"


def test_signed_percent_price_moment_and_duration() -> None:
    """The remaining formats in one sweep."""
    assert i18n.percent(0.0123, signed=True) == "+1.23%"
    assert i18n.money(5, "USDT", "en", signed=True) == "+5.00 USDT"
    assert [i18n.price(p) for p in (64250.1, 0.52341, 98_000_000.0, Decimal("0.00001234"))] == [
        "64,250.1",
        "0.52341",
        "98,000,000",
        "0.00001234",
    ]
    assert i18n.moment(1_700_000_000_000, "ko") == "2023-11-15 07:13:20 KST"
    assert i18n.moment(1_700_000_000_000, "en", "UTC", seconds=False) == "2023-11-14 22:13 UTC"
    assert [i18n.duration(12_000_000, "ko"), i18n.duration(59_999, "en"), i18n.duration(0, "en")] == [
        "3시간 20분",
        "59 s",
        "0 s",
    ]

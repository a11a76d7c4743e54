"""Decisions in words, in both languages, whatever numbers are there."""

from __future__ import annotations

import pytest

from ctp.core.strategies.rsi_mean_reversion import RULES
from ctp.core.types import EXIT_REASONS, OUTCOMES, REFUSALS
from ctp.i18n import LANGUAGES
from ctp.trading.why import why

NUMBERS = {"rsi": 28.44, "volume": 71.0, "volume_mean": 66.0, "close": 60_000.0, "size": 0.05, "stop": 58_800.0,
           "risk": 60.0, "side": 1, "seen": 400, "warm_up": 392, "budget": 12.5, "room": 100.0, "wanted": 300.0}  # fmt: skip
CASES = [
    *(("refused", reason) for reason in REFUSALS[1:]),
    *(("exit", reason) for reason in EXIT_REASONS[1:]),
    *(("no_signal", rule) for rule in RULES[1:]),
    ("enter", RULES[0]),
    ("hold", "hold"),
    ("hold", "stopped"),
    ("no_candle", "no_candle"),
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("outcome", "reason"), CASES)
def test_every_decision_has_words_with_and_without_numbers(outcome: str, reason: str, language: str) -> None:
    """A missing text or fact raises in tests."""
    assert outcome in OUTCOMES
    for numbers in (NUMBERS, {}):
        words = why(outcome, reason, numbers, language, "USDT")
        assert words and "{" not in words and not words.startswith(("why.", "outcome."))


def test_the_words_name_the_rule_and_its_numbers() -> None:
    """A trader must see which rule spoke and how far away it was."""
    words = why("no_signal", "volume_not_rising", NUMBERS, "en", "USDT")
    assert words == "RSI 28.4 reached the entry level, but volume 71.00 is not above its mean 66.00."
    assert "58,800" in why("enter", "entry_signal", NUMBERS, "ko", "USDT")
    assert "12.50 USDT" in why("refused", "daily_loss_lock", NUMBERS, "en", "USDT")


def test_a_reason_of_a_newer_program_is_told_by_its_outcome() -> None:
    """An unknown reason must not break the page."""
    assert why("no_signal", "moon_phase", {}, "en", "USDT") == "The entry rule is not met."

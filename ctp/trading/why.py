"""A decision in words: which rule, with its numbers. What the trading page shows and `ctp why` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctp.i18n import has_text, money, number, price, text

_PRICES = ("close", "stop", "take", "entry_price", "trend_mean")
_MONEY = ("equity", "budget", "room", "risk", "notional", "wanted")
_NOTHING = "–"


def why(outcome: str, reason: str, numbers: Mapping[str, Any], language: str, quote: str) -> str:
    """Return why a candle's decision was what it was.

    outcome, reason, numbers: of the decision journal. quote: the account's currency. A reason this program does not know
    is told by its outcome alone.
    """
    facts = _facts(numbers, language, quote)
    key = f"why.{outcome}.{reason}"
    if outcome == "refused" and has_text(f"refusal.{reason}"):
        refused = text(f"refusal.{reason}", language)
        more = f"why.refused.{reason}"
        return f"{refused} {text(more if has_text(more) else 'why.refused.signal', language, **facts)}"
    if outcome == "exit" and not has_text(key) and has_text(f"exit_reason.{reason}"):
        return text("why.exit.other", language, reason=text(f"exit_reason.{reason}", language))
    return text(key if has_text(key) else f"outcome.{outcome}", language, **facts)


def _facts(numbers: Mapping[str, Any], language: str, quote: str) -> dict[str, str]:
    """Return every number a text may name, as people write it; a dash for what was not computed."""
    facts = dict.fromkeys(
        ("rsi", "volume", "volume_mean", "seen", "warm_up", "size", "side", "leverage", *_PRICES, *_MONEY), _NOTHING
    )
    for name, value in numbers.items():
        if name in _PRICES:
            facts[name] = price(value)
        elif name in _MONEY:
            facts[name] = money(value, quote, language)
        elif name == "rsi":
            facts[name] = number(value, 1)
        elif name in ("volume", "volume_mean"):
            facts[name] = number(value, 2 if abs(value) >= 1 else 6)
        elif name == "side":
            facts[name] = text(f"side.{'short' if value < 0 else 'long'}", language)
        elif name in facts:
            facts[name] = number(value)
    return facts

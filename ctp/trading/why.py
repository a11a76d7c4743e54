"""A decision in words: which rule, with its numbers. What the trading page shows and `ctp why` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctp.core.strategies import DEFAULT_STRATEGY, find, names
from ctp.i18n import has_text, money, number, price, text

_PRICES = ("close", "stop", "take", "entry_price", "trend_mean")
_MONEY = ("equity", "budget", "room", "risk", "notional", "wanted")
_COUNTS = ("seen", "warm_up", "size", "leverage")
# Of the decision, not of the strategy: they say nothing about its rule.
_OF_THE_DECISION = (
    *("limit", "stop", "take", "entry_price", "side", "loss_width", "cover", "locked_at", "lock_equity"),
    *_MONEY,
    *_COUNTS,
)
_NOTHING = "–"


class _Facts(dict[str, str]):
    """Numbers as people write them; a dash for what was not computed."""

    def __missing__(self, name: str) -> str:
        """Return a dash."""
        return _NOTHING


def why(
    outcome: str,
    reason: str,
    numbers: Mapping[str, Any],
    language: str,
    quote: str,
    strategy: str = DEFAULT_STRATEGY,
) -> str:
    """Return why a candle's decision was what it was.

    outcome, reason, numbers: of the decision journal. quote: the account's currency. strategy: registry name; one that is
    not here any more, and a reason this program does not know, are told in general words.
    """
    facts = _facts(numbers, language, quote)
    key = f"{outcome}.{reason}"
    if outcome == "refused" and has_text(f"refusal.{reason}"):
        refused = text(f"refusal.{reason}", language)
        if has_text(f"why.refused.{reason}"):
            return f"{refused} {text(f'why.refused.{reason}', language, **facts)}"
        return f"{refused} {_said(strategy, 'refused.signal', language, facts) or ''}"
    told = _said(strategy, key, language, facts)
    if told is not None:
        return told
    if outcome == "exit" and has_text(f"exit_reason.{reason}"):
        return text("why.exit.other", language, reason=text(f"exit_reason.{reason}", language))
    if outcome == "no_signal" and facts["numbers"] != _NOTHING:
        return text("why.no_signal.other", language, rule=reason, numbers=facts["numbers"])
    return text(f"outcome.{outcome}", language)


def _said(strategy: str, key: str, language: str, facts: _Facts) -> str | None:
    """Return a decision in the strategy's own words, or in general ones; None when there are none for it."""
    if strategy in names():
        words = find(strategy).words
        own = words.ko if language == "ko" else words.en
        if key in own:
            return own[key].format_map(facts)
    for place in (f"why.{strategy}.{key}", f"why.{key}"):
        if has_text(place):
            return text(place, language, **facts)
    return None


def _facts(numbers: Mapping[str, Any], language: str, quote: str) -> _Facts:
    """Return every number a text may name, as people write it."""
    facts = _Facts()
    for name in ("rsi", "volume", "volume_mean", "side", *_COUNTS, *_PRICES, *_MONEY):
        facts[name] = _NOTHING
    facts["how"] = text("why.how.market", language)
    if "limit" in numbers:
        facts["how"] = text("why.how.limit", language, limit=price(numbers["limit"]))
    described = []
    for name, value in numbers.items():
        if name in _MONEY:
            facts[name] = money(value, quote, language)
        elif name == "rsi":
            facts[name] = number(value, 1)
        elif name in ("volume", "volume_mean"):
            facts[name] = number(value, 2 if abs(value) >= 1 else 6)
        elif name == "side":
            facts[name] = text(f"side.{'short' if value < 0 else 'long'}", language)
        elif name in _COUNTS:
            facts[name] = number(value)
        else:
            facts[name] = price(value)
        if name not in _OF_THE_DECISION:
            described.append(f"{name} {facts[name]}")
    facts["numbers"] = ", ".join(described) or _NOTHING
    return facts

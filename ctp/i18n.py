"""What people read, in their language: texts by key, and numbers, money and times as a trader writes them.

Texts live in `ctp/locale/<language>.toml`, in a table for each room; both languages have the same keys and the same
facts. A fact that a text needs and does not get, or a key that does not exist, raises while tests run (`be_strict`);
in production the reader sees the key and the log has the rest, because a missing word must not stop a trade.
"""

from __future__ import annotations

import functools
import logging
import tomllib
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

LANGUAGES = ("ko", "en")
DEFAULT_ZONE = "Asia/Seoul"

_LOCALE = Path(__file__).resolve().parent / "locale"
_WHOLE = {"KRW", "JPY"}  # no coin smaller than one
_DOLLARS = {"USDT", "USD", "USDC", "FDUSD", "EUR"}
_strict = False


def be_strict() -> None:
    """Raise on a missing key or fact from now on; tests ask for this."""
    global _strict
    _strict = True


def text(key: str, language: str, **facts: object) -> str:
    """Return the text of a key, filled with facts.

    key: dotted path in the locale file, as `refusal.no_margin`.
    """
    texts = _texts(language)
    template = texts.get(key)
    if template is None:
        return _missing(key, f"no text {key!r} in {language}")
    try:
        return template.format(**facts)
    except (KeyError, IndexError, ValueError) as error:
        return _missing(key, f"text {key!r} in {language} lacks the fact {error}")


def texts_below(table: str, language: str) -> dict[str, str]:
    """Return the texts of one table, by the rest of their keys; for scripts that fill in facts themselves."""
    above = f"{table}."
    return {key.removeprefix(above): found for key, found in _texts(language).items() if key.startswith(above)}


def has_text(key: str) -> bool:
    """Tell whether a key exists; for keys that come from data, such as the reason of an exchange."""
    return key in _texts("en")


def number(value: float | Decimal, places: int | None = None, *, signed: bool = False) -> str:
    """Return a number with thousands separated.

    places: digits after the point; None keeps what the value has, without trailing zeros.
    """
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    if not exact.is_finite():
        return "-" if exact.is_nan() else ("∞" if exact > 0 else "-∞")
    if places is not None:
        exact = exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    shown = f"{exact:,f}"
    if places is None and "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    if exact == 0:
        shown = shown.lstrip("-")
    return f"+{shown}" if signed and exact > 0 else shown


def percent(fraction: float, places: int = 2, *, signed: bool = False) -> str:
    """Return a fraction as per cent: 0.02 is 2.00%."""
    return f"{number(fraction * 100, places, signed=signed)}%"


def money(amount: float | Decimal, currency: str, language: str, *, signed: bool = False, grouped: bool = False) -> str:
    """Return an amount with its currency.

    grouped: in Korean, won by 만 and 억 (1억 2,345만 원), as people say it; exact below 만.
    """
    if currency == "KRW":
        if language == "ko":
            won = grouped_won(amount, signed=signed) if grouped else number(amount, 0, signed=signed)
            return f"{won}원" if not grouped else f"{won} 원"
        return f"{number(amount, 0, signed=signed)} KRW"
    if currency in _WHOLE:
        return f"{number(amount, 0, signed=signed)} {currency}"
    places = 2 if currency in _DOLLARS else 8
    shown = number(amount, places, signed=signed)
    if places == 8 and "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return f"{shown} {currency}"


def grouped_won(amount: float | Decimal, *, signed: bool = False) -> str:
    """Return won grouped by 만 and 억, the way Koreans count: 123456789 is `1억 2,345만 6,789`."""
    exact = amount if isinstance(amount, Decimal) else Decimal(repr(float(amount)))
    whole = int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))
    sign = "-" if whole < 0 else ("+" if signed and whole > 0 else "")
    rest, parts = abs(whole), []
    for unit, size in (("조", 10**12), ("억", 10**8), ("만", 10**4), ("", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:,}{unit}")
    return sign + (" ".join(parts) or "0")


def price(value: float | Decimal) -> str:
    """Return a price with as many digits as it carries, at most eight after the point."""
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    places = max(0, 8 if abs(exact) < 1 else 6 if abs(exact) < 100 else 4)
    shown = number(exact, places)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def symbol_name(symbol: str, language: str) -> str:
    """Return a symbol as people write it: `BTC/USDT:USDT` is `BTC/USDT 무기한`, `BTC/USDT perpetual`."""
    pair, colon, _ = symbol.partition(":")
    return f"{pair} {text('market.perpetual', language)}" if colon else pair


def moment(time_ms: int, language: str, zone: str = DEFAULT_ZONE, *, seconds: bool = True) -> str:
    """Return a time in the reader's zone: `2026-01-31 14:05:00 KST`."""
    at = datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    return at.strftime("%Y-%m-%d %H:%M:%S %Z" if seconds else "%Y-%m-%d %H:%M %Z")


def duration(milliseconds: int, language: str) -> str:
    """Return a length of time in its two largest units: `3시간 20분`, `3 h 20 min`."""
    names = {"ko": ("일", "시간", "분", "초"), "en": (" d", " h", " min", " s")}[language]
    rest, parts = max(0, milliseconds) // 1000, []
    for name, size in zip(names, (86_400, 3_600, 60, 1), strict=True):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts[:2]) or f"0{names[3]}"


@functools.cache
def _texts(language: str) -> dict[str, str]:
    """Read the texts of a language, flattened to dotted keys."""
    with (_LOCALE / f"{language if language in LANGUAGES else 'en'}.toml").open("rb") as file:
        return dict(_flat(tomllib.load(file)))


def _flat(table: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """List every text of a table with its dotted key."""
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        found += _flat(value, f"{above}{key}.") if isinstance(value, dict) else [(above + key, value)]
    return found


def _missing(key: str, problem: str) -> str:
    """Raise while tests run; otherwise log the problem and show the key."""
    if _strict:
        raise KeyError(problem)
    logging.getLogger(__name__).error(problem)
    return key

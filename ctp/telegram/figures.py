"""Sums over closed trades: all of them, by period, by symbol. Pure.

A trade belongs to the period in which it was closed, in days of the account's risk zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_EPOCH = date(1970, 1, 1)

Trade = Mapping[str, Any]


class Total(NamedTuple):
    """What some trades came to. Money in quote units."""

    trades: int
    wins: int
    pnl: float
    fee: float
    funding: float
    r_multiple: float  # mean
    held_ms: int  # mean


class Period(NamedTuple):
    """One day, week or month, named by its first day."""

    first: date
    trades: int
    pnl: float


class BySymbol(NamedTuple):
    """What one symbol came to."""

    symbol: str
    trades: int
    wins: int
    pnl: float


def total(trades: Sequence[Trade]) -> Total:
    """Return the sums of some trades, of which there is at least one."""
    count = len(trades)
    return Total(
        count,
        sum(trade["pnl"] > 0 for trade in trades),
        sum(trade["pnl"] for trade in trades),
        sum(trade["fee"] for trade in trades),
        sum(trade["funding"] for trade in trades),
        sum(trade["r_multiple"] for trade in trades) / count,
        sum(trade["exit_time"] - trade["entry_time"] for trade in trades) // count,
    )


def day_of(time_ms: int, zone_offset: float) -> date:
    """Return the day of the risk zone that contains a time."""
    return _EPOCH + timedelta(days=(time_ms + int(zone_offset * _HOUR_MS)) // _DAY_MS)


def by_period(trades: Iterable[Trade], kind: str, count: int, now_ms: int, zone_offset: float) -> list[Period]:
    """Return the last `count` days, weeks (from Monday) or months, the newest first, empty ones included.

    kind: daily, weekly, monthly.
    """
    firsts = [_first(day_of(now_ms, zone_offset), kind)]
    while len(firsts) < count:
        firsts.append(_first(firsts[-1] - timedelta(days=1), kind))
    sums = {first: [0, 0.0] for first in firsts}
    for trade in trades:
        found = sums.get(_first(day_of(trade["exit_time"], zone_offset), kind))
        if found is not None:
            found[0] += 1
            found[1] += trade["pnl"]
    return [Period(first, int(number), pnl) for first, (number, pnl) in sums.items()]


def by_symbol(trades: Iterable[Trade]) -> list[BySymbol]:
    """Return the sums of each symbol, the best first."""
    found: dict[str, BySymbol] = {}
    for trade in trades:
        name, pnl = trade["symbol"], trade["pnl"]
        before = found.get(name, BySymbol(name, 0, 0, 0.0))
        found[name] = BySymbol(name, before.trades + 1, before.wins + (pnl > 0), before.pnl + pnl)
    return sorted(found.values(), key=lambda one: (-one.pnl, one.symbol))


def _first(day: date, kind: str) -> date:
    """Return the first day of the period that contains a day."""
    if kind == "weekly":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if kind == "monthly" else day

"""The month so far, day by day, and where it stands among past months. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctp.reports.evidence_state import KNOWN
from ctp.reports.extracted import Extract
from ctp.reports.figures import Figures
from ctp.reports.periods import period_of

FEW_MONTHS = 12  # fewer say little


def past_months(extract: Extract) -> list[dict[str, Any]]:
    """Return the months of the backtest: name, value, and the return so far at the end of each day; empty if unknown."""
    evidence = extract.evidence
    return list(evidence["months"]) if evidence["state"] == KNOWN else []


def so_far(extract: Extract, told: Figures) -> list[float]:
    """Return the month's return at the end of each of its days up to the period's last; days before the start are 0."""
    first = period_of("monthly", extract.period.last, extract.zone).first
    factor, found = 1.0, []
    for day in told.days:
        if day.day >= first:
            factor *= 1.0 + (day.fraction or 0.0)
            found.append(factor - 1.0)
    return found


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which this part of the values lies, between neighbours by line."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def at_day(days: Sequence[float], day: int) -> float:
    """Return a past month's return at the end of a day; a shorter month keeps its last."""
    return float(days[min(day, len(days)) - 1]) if days else 0.0


def worse_months(value: float, days: int, months: Sequence[dict[str, Any]]) -> int:
    """Return how many past months had done worse than `value` after as many days."""
    return sum(at_day(month["days"], days) < value for month in months)

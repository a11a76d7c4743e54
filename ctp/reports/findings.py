"""What in a report needs a person's eye, most urgent first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from ctp.reports.extracted import Extract
from ctp.reports.figures import RISK_CEILING, Figures
from ctp.reports.months import FEW_MONTHS, past_months, so_far, worse_months
from ctp.reports.outages import Outage, outages

Level = Literal["danger", "warn"]
NEAR_LIMIT = 0.7  # of the daily loss limit
UNUSUAL = 0.05  # of past months went as badly
_UNPLANNED_EXITS = ("liquidation", "emergency_exit", "closed_outside")


class Finding(NamedTuple):
    """One thing to look at: how urgent, which text of `report.finding`, and its facts.

    Facts are raw: fractions, milliseconds, decimals; whoever shows them knows language and currency.
    """

    level: Level
    key: str
    facts: Mapping[str, Any]


def findings(extract: Extract, told: Figures) -> list[Finding]:
    """Return everything that needs a look."""
    found = [*_limits(extract, told), *_state(extract), *_books(told), *_exits(told), *_operation(extract)]
    found += _month(extract, told)
    return sorted(found, key=lambda one: one.level != "danger")


def _limits(extract: Extract, told: Figures) -> list[Finding]:
    """Compare losses with what is allowed."""
    found: list[Finding] = []
    limit = float(extract.limits["daily_loss_limit"])
    if told.worst is not None and told.worst.worst_fraction:
        worst, day = told.worst.worst_fraction, told.worst.day.isoformat()
        if worst >= limit:
            found.append(Finding("danger", "daily_limit_reached", {"fraction": worst, "limit": limit, "day": day}))
        elif worst >= NEAR_LIMIT * limit:
            found.append(Finding("warn", "daily_limit_near", {"fraction": worst, "limit": limit, "day": day}))
    if told.largest_loss is not None and told.largest_loss > RISK_CEILING:
        found.append(Finding("danger", "loss_above_ceiling", {"fraction": told.largest_loss, "limit": RISK_CEILING}))
    return found


def _state(extract: Extract) -> list[Finding]:
    """Look at locks and at what the account does now."""
    state, found = extract.state, []
    if state is None:
        return []
    if state["status"] == "blocked":
        found.append(Finding("danger", "blocked", {"reason": state["status_reason"]}))
    if state["drawdown_locked"]:
        found.append(Finding("danger", "drawdown_locked", {}))
    if state["daily_locked"]:
        found.append(Finding("warn", "daily_locked", {}))
    return found


def _books(told: Figures) -> list[Finding]:
    """Say when the bot's balance is not the ledger's."""
    if not told.books_differ:
        return []
    return [Finding("danger", "books_differ", {"amount": told.books_differ})]


def _exits(told: Figures) -> list[Finding]:
    """Name positions that were closed by nobody's plan."""
    counts = Counter(trade.exit_reason for trade in told.trades if trade.exit_reason in _UNPLANNED_EXITS)
    return [Finding("danger", "unplanned_exit", {"reason": reason, "count": count}) for reason, count in counts.items()]


def _month(extract: Extract, told: Figures) -> list[Finding]:
    """Say when the month goes worse than the same parameters let expect."""
    months, ours = past_months(extract), so_far(extract, told)
    if len(months) < FEW_MONTHS or told.month.fraction is None or not ours:
        return []
    worse = worse_months(ours[-1], len(ours), months)
    if worse > UNUSUAL * len(months):
        return []
    return [
        Finding("warn", "month_unusual", {"worse": worse, "months": len(months), "value": f"{ours[-1] * 100:+.2f}%"})
    ]


def _operation(extract: Extract) -> list[Finding]:
    """Name outages and trouble that was told about."""
    found: list[Finding] = []
    told = outages(extract)
    missed = [one for one in told if not one.was_made_up]
    late = [one for one in told if one.was_made_up]
    if missed:
        found.append(Finding("danger", "no_decisions", _summed(missed)))
    if late:
        found.append(Finding("warn", "late_decisions", _summed(late)))
    if extract.trouble:
        found.append(Finding("warn", "trouble", {"count": len(extract.trouble)}))
    return found


def _summed(several: list[Outage]) -> dict[str, int]:
    """Return how many candles several outages concern, and how long the longest was."""
    longest = max(one.end_ms - one.start_ms for one in several)
    return {"candles": sum(one.candles for one in several), "longest_ms": longest, "count": len(several)}

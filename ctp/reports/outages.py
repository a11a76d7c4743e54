"""When the account was not looked after: closes nobody decided on, and closes that were decided on late. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from ctp.reports.extracted import Extract

LATE_MS = 60_000  # an entry is stale long before; a minute is also what a person would call late


class Outage(NamedTuple):
    """A stretch without decisions, or in which they came late, by market time."""

    start_ms: int
    end_ms: int
    candles: int
    was_made_up: bool  # decided on afterwards, once the bot was back


def outages(extract: Extract) -> list[Outage]:
    """Return the outages of the period, oldest first.

    A market with a time of its own has no late decisions: nobody can tell.
    """
    return sorted(_missing(extract) + ([] if extract.account["has_own_time"] else _late(extract)))


def _missing(extract: Extract) -> list[Outage]:
    """Return the stretches of the period without any decision, once the account had decided for the first time."""
    period, step = extract.period, extract.zone.timeframe_ms
    closes = [row.close_time for row in extract.decisions]
    before = [close for close in closes if close < period.start_ms]
    inside = [close for close in closes if period.start_ms <= close <= period.end_ms]
    marks = ([before[-1]] if before else inside[:1]) + inside + [period.end_ms + step]
    if not before and not inside:
        return []
    found = []
    for last, following in pairwise(marks):
        start = max(last, period.start_ms - step)
        if following - start > step:
            found.append(Outage(start, following - step, (following - start) // step - 1, was_made_up=False))
    return found


def _late(extract: Extract) -> list[Outage]:
    """Return the stretches in which decisions came late, each as one."""
    period, step = extract.period, extract.zone.timeframe_ms
    found: list[Outage] = []
    for row in extract.decisions:
        if not period.start_ms <= row.close_time <= period.end_ms or row.decided_at - row.close_time <= LATE_MS:
            continue
        if found and found[-1].end_ms >= row.close_time:
            last = found[-1]
            found[-1] = last._replace(end_ms=max(last.end_ms, row.decided_at), candles=last.candles + 1)
        else:
            found.append(Outage(row.close_time, max(row.decided_at, row.close_time + step), 1, was_made_up=True))
    return found

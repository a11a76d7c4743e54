"""Quiet hours: what is not urgent waits until they end, by the clock on the person's wall."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def is_quiet(now_ms: int, zone: str, quiet_from: int | None, quiet_until: int | None) -> bool:
    """Tell whether a person wants to be left alone now.

    quiet_from, quiet_until: minutes after midnight in their zone; the end belongs to the day. They may run across
    midnight. An hour that the clocks skip or repeat is as long as it is on the wall.
    """
    if quiet_from is None or quiet_until is None or quiet_from == quiet_until:
        return False
    wall = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    minute = wall.hour * 60 + wall.minute
    if quiet_from < quiet_until:
        return quiet_from <= minute < quiet_until
    return minute >= quiet_from or minute < quiet_until

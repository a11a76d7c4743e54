"""Which stretch of time a report is about, and when its reader wants it. Pure.

A period is made of days of the account's risk zone (semantics §4): a close at midnight belongs to the new day, so a day
runs from its first candle close to the first close of the next day, and whatever a candle that closes at midnight did
is the old day's.

Invariants:
1. The periods of one kind follow each other without a hole and without overlap.
2. A period is wanted at one instant only, whatever the reader's clock does with daylight saving time.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple, get_args

from ctp.errors import InputError
from ctp.i18n import DEFAULT_ZONE

Kind = Literal["daily", "weekly", "monthly"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DAY_MS, HOUR_MS, MINUTE_MS = 86_400_000, 3_600_000, 60_000
GRACE_MS = 2 * MINUTE_MS  # the decision at the last close must have been written before the day is summed up


class Zone(NamedTuple):
    """What places an account's days in time: its risk zone's offset in hours, and the length of its candles."""

    offset_hours: float
    timeframe_ms: int

    def first_close(self, day: date) -> int:
        """Return the time of the first candle close of a day, milliseconds UTC."""
        midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        midnight -= round(self.offset_hours * HOUR_MS)
        return -(-midnight // self.timeframe_ms) * self.timeframe_ms

    def day_of(self, close_ms: int) -> date:
        """Return the day a candle close belongs to."""
        return datetime.fromtimestamp((close_ms + round(self.offset_hours * HOUR_MS)) / 1000, UTC).date()

    @property
    def name(self) -> str:
        """Return the zone as people write it: `UTC+09:00`."""
        minutes = round(self.offset_hours * 60)
        return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


class Period(NamedTuple):
    """A stretch of whole days; it holds the closes in [start_ms, end_ms)."""

    kind: Kind
    first: date
    last: date  # included
    start_ms: int
    end_ms: int

    @property
    def name(self) -> str:
        """Return the first day, which names the period."""
        return self.first.isoformat()


def period_of(kind: str, day: date, zone: Zone) -> Period:
    """Return the day, week (from Monday) or calendar month that holds a day."""
    if kind == "daily":
        return days("daily", day, day, zone)
    if kind == "weekly":
        monday = day - timedelta(days=day.weekday())
        return days("weekly", monday, monday + timedelta(days=6), zone)
    if kind == "monthly":
        first = day.replace(day=1)
        return days("monthly", first, (first + timedelta(days=32)).replace(day=1) - timedelta(days=1), zone)
    raise InputError("kind", kind, "must be one of " + ", ".join(KINDS))


def days(kind: Kind, first: date, last: date, zone: Zone) -> Period:
    """Return the period from one day to another, both included."""
    return Period(kind, first, last, zone.first_close(first), zone.first_close(last + timedelta(days=1)))


def newest_complete(kind: str, now_ms: int, zone: Zone) -> Period:
    """Return the newest period that has ended."""
    found = period_of(kind, zone.day_of(now_ms), zone)
    while found.end_ms > now_ms:
        found = period_of(kind, found.first - timedelta(days=1), zone)
    return found


def wanted_at(end_ms: int, report_at: int, reader_zone: str) -> int:
    """Return when a reader wants the report on a period: the first time their clock shows `report_at` after its end.

    report_at: minutes after midnight. An hour that the clock skips in spring counts as the one after it, an hour that
    it shows twice in autumn as the first of the two. Never before the last decision can have been written.
    """
    clock = known_zone(reader_zone)
    day = datetime.fromtimestamp(end_ms / 1000, UTC).astimezone(clock).date() - timedelta(days=1)
    while True:
        shown = datetime(day.year, day.month, day.day, report_at // 60 % 24, report_at % 60, tzinfo=clock)
        moment = int(shown.timestamp() * 1000)
        if moment >= end_ms:
            return max(moment, end_ms + GRACE_MS)
        day += timedelta(days=1)


def last_wanted(kind: str, now_ms: int, report_at: int, reader_zone: str) -> int:
    """Return the newest instant at which a reader wants a report of this kind, whatever it is about.

    For markets with a time of their own: daily each day, weekly on Mondays, monthly on the first.
    """
    clock = known_zone(reader_zone)
    day = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(clock).date()
    while True:
        shown = datetime(day.year, day.month, day.day, report_at // 60 % 24, report_at % 60, tzinfo=clock)
        moment = int(shown.timestamp() * 1000)
        is_its_day = kind == "daily" or (day.weekday() == 0 if kind == "weekly" else day.day == 1)
        if moment <= now_ms and is_its_day:
            return moment
        day -= timedelta(days=1)


def known_zone(name: str) -> zoneinfo.ZoneInfo:
    """Return a reader's time zone; the default where this machine does not know the name."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return zoneinfo.ZoneInfo(DEFAULT_ZONE)


def parse_day(text: str) -> date:
    """Return a day that a person wrote as 2026-05-01."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError("day", text, "must be a day such as 2026-05-01") from None

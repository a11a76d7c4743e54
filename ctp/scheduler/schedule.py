"""When a job is due. Pure; APScheduler's triggers know the calendar.

Invariants:
1. Due times do not depend on when anybody asks: two processes name the same ones.
2. A job of the day is due once a day, also on days that are 23 or 25 hours long.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from ctp.errors import InputError
from ctp.i18n import text

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXT = re.compile(r"every (\d+) s|(daily|weekly|monthly)(?: (\w+))? (\d\d):(\d\d) (\S+)")


class Schedule(NamedTuple):
    """A repetition; made by `every`, `daily`, `weekly` and `monthly`."""

    kind: str  # every, daily, weekly, monthly
    seconds: int = 0
    day: str = ""  # mon … sun of a week, 1 … 28 of a month
    hour: int = 0
    minute: int = 0
    zone: str = ""

    def next_after(self, time_ms: int) -> int:
        """Return the first due time after a wall time, both milliseconds UTC."""
        trigger = self._trigger()
        now = datetime.fromtimestamp(time_ms / 1000, UTC)
        while True:
            now += timedelta(milliseconds=1)
            due: datetime = trigger.get_next_fire_time(None, now.astimezone(trigger.timezone))
            due_ms = round(due.timestamp() * 1000)
            if due_ms > time_ms and (due.fold == 0 or self.kind == "every"):  # the hour that comes twice counts once
                return due_ms
            now = max(now, due.astimezone(UTC))

    def newest_until(self, time_ms: int, after_ms: int) -> int | None:
        """Return the last due time in (after_ms, time_ms]; None when there is none. Missed ones are one."""
        due = self.next_after(after_ms)
        if due > time_ms:
            return None
        if self.kind == "every":
            step = self.seconds * 1000
            return due + (time_ms - due) // step * step
        while (later := self.next_after(due)) <= time_ms:
            due = later
        return due

    def __str__(self) -> str:
        """Return the schedule as it is kept in the database."""
        if self.kind == "every":
            return f"every {self.seconds} s"
        day = f" {self.day}" if self.day else ""
        return f"{self.kind}{day} {self.hour:02}:{self.minute:02} {self.zone}"

    def _trigger(self) -> BaseTrigger:
        """Return what knows the calendar."""
        if self.kind == "every":
            return IntervalTrigger(seconds=self.seconds, start_date=_EPOCH, timezone=UTC)
        days = {"weekly": {"day_of_week": self.day}, "monthly": {"day": self.day}}.get(self.kind, {})
        return CronTrigger(hour=self.hour, minute=self.minute, timezone=ZoneInfo(self.zone), **days)


def every(seconds: int) -> Schedule:
    """Return a repetition at whole multiples of so many seconds since 1970, UTC."""
    if seconds < 1:
        raise InputError("seconds", seconds, "must be at least 1")
    return Schedule("every", seconds=seconds)


def daily(hour: int, minute: int, zone: str) -> Schedule:
    """Return a repetition at a time of each day in a zone."""
    return Schedule("daily", hour=hour, minute=minute, zone=zone)


def weekly(day: str, hour: int, minute: int, zone: str) -> Schedule:
    """Return a repetition on a day of the week, mon … sun."""
    if day not in _DAYS:
        raise InputError("day", day, "must be one of " + ", ".join(_DAYS))
    return Schedule("weekly", day=day, hour=hour, minute=minute, zone=zone)


def monthly(day: int, hour: int, minute: int, zone: str) -> Schedule:
    """Return a repetition on a day that each month has, 1 … 28."""
    if not 1 <= day <= 28:
        raise InputError("day", day, "must be 1 … 28, the days that each month has")
    return Schedule("monthly", day=str(day), hour=hour, minute=minute, zone=zone)


def in_words(schedule: str, language: str) -> str:
    """Return a schedule as people read it; one that a newer program wrote is returned as it is."""
    found = _TEXT.fullmatch(schedule)
    if found is None:
        return schedule
    seconds, kind, day, hour, minute, zone = found.groups()
    if seconds:
        count, unit = _largest_unit(int(seconds))
        return text(f"jobs.schedule.{unit}", language, count=count)
    name = text(f"jobs.day.{day}", language) if kind == "weekly" else day
    return text(f"jobs.schedule.{kind}", language, day=name, time=f"{hour}:{minute}", zone=zone)


def _largest_unit(seconds: int) -> tuple[int, str]:
    """Return a whole number of the largest unit that fits."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds % size == 0:
            return seconds // size, unit
    return seconds, "seconds"

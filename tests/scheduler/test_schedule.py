"""When jobs are due: the same for everybody who asks, once a day whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctp.errors import InputError
from ctp.scheduler.schedule import Schedule, daily, every, in_words, monthly, weekly

NEW_YORK = ZoneInfo("America/New_York")


def at(*parts: int, zone: ZoneInfo | None = None) -> int:
    """Return a moment in milliseconds."""
    return int(datetime(*parts, tzinfo=zone or UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def due_times(schedule: Schedule, start: int, count: int) -> list[int]:
    """Return the next due times."""
    found = []
    for _ in range(count):
        start = schedule.next_after(start)
        found.append(start)
    return found


def test_repetitions_fall_on_whole_multiples_whoever_asks() -> None:
    assert every(60).next_after(at(2026, 1, 1, 0, 0, 30)) == at(2026, 1, 1, 0, 1)
    assert every(60).next_after(at(2026, 1, 1, 0, 1)) == at(2026, 1, 1, 0, 2)
    assert every(4 * 3600).next_after(at(2026, 1, 1, 3)) == at(2026, 1, 1, 4)


def test_a_daily_job_keeps_the_clock_of_its_zone() -> None:
    assert daily(2, 0, "Asia/Seoul").next_after(at(2026, 1, 1)) == at(2026, 1, 1, 17)
    assert daily(2, 0, "Asia/Seoul").next_after(at(2026, 1, 1, 17)) == at(2026, 1, 2, 17)


@pytest.mark.parametrize(
    ("hour", "first_day"),
    [
        (2, (2026, 3, 6)),  # 02:30 does not exist on 8 March
        (1, (2026, 10, 30)),  # 01:30 comes twice on 1 November
    ],
)
def test_a_daily_job_is_due_once_on_days_of_23_and_25_hours(hour: int, first_day: tuple[int, int, int]) -> None:
    found = due_times(daily(hour, 30, "America/New_York"), at(*first_day, zone=NEW_YORK), 5)
    days = [datetime.fromtimestamp(time / 1000, NEW_YORK).date() for time in found]
    assert [(day - days[0]).days for day in days] == [0, 1, 2, 3, 4]


def test_a_week_and_a_month_have_their_day() -> None:
    assert weekly("sun", 4, 0, "UTC").next_after(at(2026, 1, 1)) == at(2026, 1, 4, 4)
    assert monthly(1, 5, 0, "UTC").next_after(at(2026, 1, 1, 5)) == at(2026, 2, 1, 5)


def test_what_was_missed_is_the_newest_only() -> None:
    nightly = daily(2, 0, "UTC")
    assert nightly.newest_until(at(2026, 1, 10, 12), at(2026, 1, 1, 2)) == at(2026, 1, 10, 2)
    assert nightly.newest_until(at(2026, 1, 1, 12), at(2026, 1, 1, 2)) is None
    assert every(60).newest_until(at(2026, 1, 10, 0, 0, 59), at(2026, 1, 1)) == at(2026, 1, 10)


@settings(max_examples=60, deadline=None)
@given(
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    zone=st.sampled_from(["Asia/Seoul", "America/New_York", "Australia/Lord_Howe", "Europe/Berlin", "UTC"]),
    time=st.integers(at(2024, 1, 1), at(2028, 1, 1)),
)
def test_the_next_time_is_later_and_less_than_two_days_away(hour: int, minute: int, zone: str, time: int) -> None:
    schedule = daily(hour, minute, zone)
    following = schedule.next_after(time)
    assert 0 < following - time <= 26 * 3_600_000
    assert schedule.next_after(following - 1) == following
    assert schedule.newest_until(following, time) == following


@pytest.mark.parametrize(
    ("schedule", "korean", "english"),
    [
        (every(60), "1분마다", "every 1 min"),
        (every(4 * 3600), "4시간마다", "every 4 h"),
        (every(90), "90초마다", "every 90 s"),
        (daily(2, 0, "Asia/Seoul"), "매일 02:00 (Asia/Seoul)", "daily at 02:00 (Asia/Seoul)"),
        (weekly("sun", 3, 0, "UTC"), "매주 일요일 03:00 (UTC)", "weekly on Sunday at 03:00 (UTC)"),
        (monthly(1, 5, 5, "UTC"), "매월 1일 05:05 (UTC)", "monthly on day 1 at 05:05 (UTC)"),
    ],
)
def test_a_schedule_is_read_in_words(schedule: Schedule, korean: str, english: str) -> None:
    assert (in_words(str(schedule), "ko"), in_words(str(schedule), "en")) == (korean, english)


def test_a_schedule_of_a_newer_program_is_shown_as_it_is() -> None:
    assert in_words("yearly at noon", "ko") == "yearly at noon"


def test_impossible_schedules_are_refused() -> None:
    for make in (lambda: every(0), lambda: weekly("someday", 1, 0, "UTC"), lambda: monthly(31, 1, 0, "UTC")):
        with pytest.raises(InputError):
            make()

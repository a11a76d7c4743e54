"""Days of the risk zone, and the one instant at which a reader wants each report."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctp.errors import InputError
from ctp.reports.periods import (
    GRACE_MS,
    HOUR_MS,
    KINDS,
    Zone,
    last_wanted,
    newest_complete,
    parse_day,
    period_of,
    wanted_at,
)

SEOUL = Zone(9.0, HOUR_MS)


def ms(text: str) -> int:
    """Return an ISO time, UTC, in milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (SEOUL, "2026-04-30T15:00"),
        (Zone(0.0, HOUR_MS), "2026-05-01T00:00"),
        (Zone(-5.5, HOUR_MS), "2026-05-01T06:00"),  # midnight is 05:30 UTC: the first close of the day is at six
        (Zone(9.0, 4 * HOUR_MS), "2026-04-30T16:00"),
        (Zone(9.0, 24 * HOUR_MS), "2026-05-01T00:00"),  # a daily candle closes at nine in Seoul
    ],
)
def test_a_day_begins_with_its_first_close(zone: Zone, expected: str) -> None:
    assert zone.first_close(date(2026, 5, 1)) == ms(expected)
    assert zone.day_of(ms(expected)) == date(2026, 5, 1)
    assert zone.day_of(ms(expected) - zone.timeframe_ms) == date(2026, 4, 30)


@given(
    st.sampled_from(KINDS),
    st.dates(date(2000, 1, 1), date(2060, 1, 1)),
    st.sampled_from([-11.0, -3.5, 0.0, 5.75, 9.0, 14.0]),
    st.sampled_from([60_000, 900_000, HOUR_MS, 4 * HOUR_MS, 24 * HOUR_MS]),
)
def test_periods_follow_each_other_without_hole_or_overlap(kind: str, day: date, offset: float, length: int) -> None:
    zone = Zone(offset, length)
    period = period_of(kind, day, zone)
    following = period_of(kind, period.last + timedelta(days=1), zone)
    assert period.first <= day <= period.last
    assert following.start_ms == period.end_ms
    assert newest_complete(kind, period.end_ms, zone) == period
    assert newest_complete(kind, period.end_ms - 1, zone).end_ms == period.start_ms


def test_the_newest_week_runs_from_monday_to_sunday() -> None:
    found = newest_complete("weekly", ms("2026-05-02T00:30"), SEOUL)
    assert (found.first, found.last) == (date(2026, 4, 20), date(2026, 4, 26))


@pytest.mark.parametrize(
    ("end", "report_at", "zone", "expected"),
    [
        ("2026-04-30T15:00", 480, "Asia/Seoul", "2026-04-30T23:00"),  # at eight in the morning after
        ("2026-04-30T15:00", 480, "America/New_York", "2026-04-30T12:00"),  # already past there: the next day's eight …
        ("2026-04-30T15:00", 0, "Asia/Seoul", "2026-04-30T15:02"),  # at midnight sharp: once the last decision is in
        ("2026-04-30T15:00", 1439, "Asia/Seoul", "2026-05-01T14:59"),
        # Clocks jump from two to three on 2026-03-29 in Berlin: half past two is half past three.
        ("2026-03-28T23:00", 150, "Europe/Berlin", "2026-03-29T01:30"),
        # They show half past two twice on 2026-10-25: the first one counts.
        ("2026-10-24T22:00", 150, "Europe/Berlin", "2026-10-25T00:30"),
        ("2026-04-30T15:00", 480, "Nowhere/Atall", "2026-04-30T23:00"),
    ],
)
def test_a_report_is_wanted_when_the_readers_clock_says_so(end: str, report_at: int, zone: str, expected: str) -> None:
    if zone == "America/New_York":
        expected = "2026-05-01T12:00"
    assert wanted_at(ms(end), report_at, zone) == ms(expected)


@given(
    st.integers(ms("2026-01-01T00:00"), ms("2027-12-31T00:00")),
    st.integers(0, 1439),
    st.sampled_from(["Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
)
def test_a_report_is_wanted_within_a_day_of_its_periods_end(end: int, report_at: int, zone: str) -> None:
    wanted = wanted_at(end, report_at, zone)
    assert end + GRACE_MS <= wanted + GRACE_MS
    assert wanted - end <= 25 * HOUR_MS + GRACE_MS


def test_a_market_of_its_own_time_is_told_about_on_our_days() -> None:
    now = ms("2026-05-06T12:00")  # a Wednesday
    assert last_wanted("daily", now, 480, "Asia/Seoul") == ms("2026-05-05T23:00")
    assert last_wanted("weekly", now, 480, "Asia/Seoul") == ms("2026-05-03T23:00")
    assert last_wanted("monthly", now, 480, "Asia/Seoul") == ms("2026-04-30T23:00")


def test_a_day_that_is_none_is_refused_with_an_example() -> None:
    with pytest.raises(InputError, match="2026-05-01"):
        parse_day("1.5.2026")
    with pytest.raises(InputError, match="daily, weekly, monthly"):
        period_of("hourly", date(2026, 5, 1), SEOUL)

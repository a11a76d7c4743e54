"""Which backups stay: days, weeks, months, and never the last that is known to be good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ctp.backup.points import Point, doomed_points, find_point, list_points
from ctp.backup.target import LocalTarget
from ctp.backup.verify import Verified
from ctp.config import SchedulerSettings, Settings
from ctp.errors import NotFound
from tests.backup.made import HOUR, NOW, back_up, filled_home

KEPT = Settings(home=Path("unused"), scheduler=SchedulerSettings(zone="UTC"))
TODAY = datetime(2026, 6, 30, 12, tzinfo=UTC)


def ms(moment: datetime) -> int:
    """Return a time in milliseconds."""
    return int(moment.timestamp() * 1000)


def point(moment: datetime, kind: str = "full", full: str = "", ok: bool | None = True, thorough: bool = False) -> Point:
    """Return a backup."""
    name = f"{moment:%Y%m%dT%H%M%SZ}-{kind}"
    verified = None if ok is None else Verified(ms(moment), thorough, ok, ())
    return Point(name, kind, ms(moment), full or name, "k", 1, verified, True)


def test_the_last_days_weeks_and_months_stay_with_what_stands_on_them() -> None:
    """A year of daily full backups with five incremental ones each."""
    points = []
    for back in range(400, -1, -1):
        at = (TODAY - timedelta(days=back)).replace(hour=2)
        points.append(point(at))
        points += [point(at + timedelta(hours=4 * n), "incremental", points[-n].id) for n in (1,)]
    staying = [one for one in points if one not in doomed_points(points, KEPT, ms(TODAY))]
    days = {datetime.fromtimestamp(one.created_at / 1000, UTC).date() for one in staying}
    expected = {(TODAY - timedelta(days=back)).date() for back in range(7)}
    expected |= {datetime(2026, 6, day).date() for day in (7, 14, 21, 28)}
    expected |= {(datetime(2026, month, 1) - timedelta(days=1)).date() for month in range(1, 7)}
    expected |= {(datetime(2025, month, 1) - timedelta(days=1)).date() for month in range(9, 13)}
    expected.add(datetime(2025, 7, 31).date())
    assert days == expected
    assert {one.full_id for one in staying if one.kind == "incremental"} == {
        one.id for one in staying if one.kind == "full"
    }


@settings(max_examples=200, deadline=None)
@given(
    some.lists(
        some.tuples(some.integers(0, 900), some.sampled_from((None, True, False)), some.booleans()), min_size=1, max_size=40
    )
)
def test_the_newest_verified_chain_stays_whatever_its_age(backups: list[tuple[int, bool | None, bool]]) -> None:
    """And whatever came after it; nothing that stays stands on something that goes."""
    points = [
        point(TODAY - timedelta(days=age, seconds=number), ok=ok, thorough=thorough)
        for number, (age, ok, thorough) in enumerate(sorted(backups, key=lambda one: -one[0]))
    ]
    points.sort(key=lambda one: one.id)
    gone = {one.id for one in doomed_points(points, KEPT, ms(TODAY))}
    good = [one for one in points if one.verified is not None and one.verified.ok]
    assert not good or good[-1].id not in gone
    assert points[-1].id not in gone
    assert all(one.full_id not in gone for one in points if one.id not in gone)


def test_what_cannot_be_read_is_left_to_a_person() -> None:
    """A damaged manifest may be all that is left of something."""
    damaged = point(TODAY - timedelta(days=999))._replace(is_readable=False)
    assert doomed_points([damaged, point(TODAY)], KEPT, ms(TODAY)) == []


def test_a_backup_is_found_by_how_its_name_begins_and_the_newest_by_latest(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """What fits none or several is refused with their number."""
    home = filled_home(tmp_path / "home", sqlite_template, rows=3)
    target = LocalTarget(home.backups)
    with pytest.raises(NotFound, match="there is none"):
        find_point(target, "latest")
    first, second = back_up(home), back_up(home, "full", NOW + HOUR)
    back_up(home, "config", NOW + 2 * HOUR)
    assert find_point(target, "latest").id == second.id
    assert find_point(target, first.id[:16]).id == first.id
    with pytest.raises(NotFound, match="3 of 3 match"):
        find_point(target, "2")
    assert [one.kind for one in list_points(target)] == ["full", "full", "config"]

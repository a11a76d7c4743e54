"""The pace of a channel, and quiet hours by the clock on the wall."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctp.notifiers.pacing import TELEGRAM, Limit, Pace, Pacer, email_pace
from ctp.notifiers.quiet import is_quiet

OFFICIAL = {"overall": (30, 1.0), "chat": (1, 1.0), "group": (20, 60.0)}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["7", "8", "-100", *map(str, range(100, 160))]), st.floats(0, 2)), max_size=300))
def test_telegram_s_own_limits_are_never_passed(wishes: list[tuple[str, float]]) -> None:
    """Whoever writes to whom, each message leaves as soon as the pacer lets it."""
    pacer, now, sent = Pacer({"telegram": TELEGRAM}), 0.0, []
    for address, pause in wishes:
        now += pause
        now += pacer.wait_s("telegram", address, now)
        assert pacer.wait_s("telegram", address, now) < 1e-9
        pacer.count("telegram", address, now)
        sent.append((address, now))
    for address, at in sent:
        most, window_s = OFFICIAL["overall"]
        assert sum(at - window_s < other <= at for _, other in sent) <= most
        most, window_s = OFFICIAL["group" if address.startswith("-") else "chat"]
        assert sum(at - window_s < other <= at for to, other in sent if to == address) <= most


def test_a_group_may_get_twenty_a_minute_and_a_person_more() -> None:
    """The twenty-first waits until the first is a minute old."""
    pacer = Pacer({"telegram": TELEGRAM})
    for second in range(20):
        for address in ("-5", "5"):
            assert pacer.wait_s("telegram", address, second * 2.0) == 0
            pacer.count("telegram", address, second * 2.0)
    assert pacer.wait_s("telegram", "5", 40.0) == 0
    assert pacer.wait_s("telegram", "-5", 40.0) == pytest.approx(23.0)


def test_a_hold_is_for_one_address_or_for_all_and_the_longest_counts() -> None:
    """And a channel that works is released."""
    pacer = Pacer({})
    pacer.hold("telegram", "7", 10.0)
    pacer.hold("telegram", "7", 5.0)
    assert pacer.wait_s("telegram", "7", 4.0) == 6.0
    assert pacer.wait_s("telegram", "8", 4.0) == 0 and pacer.wait_s("email", "7", 4.0) == 0
    pacer.hold("telegram", "", 20.0)
    assert pacer.wait_s("telegram", "8", 4.0) == 16.0
    pacer.release("telegram")
    assert pacer.wait_s("telegram", "8", 4.0) == 0 and pacer.wait_s("telegram", "7", 4.0) == 6.0


def test_what_no_window_reaches_is_forgotten() -> None:
    """A year of addresses does not stay in memory."""
    pacer = Pacer({"email": Pace(address=(Limit(1, 1.0),))})
    for number in range(30_000):
        pacer.count("email", str(number), float(number))
    assert len(pacer._sent) <= 10_002


def test_mail_may_be_slower_than_one_a_second() -> None:
    """As the operator says."""
    pacer = Pacer({"email": email_pace(0.5)})
    pacer.count("email", "a@example.com", 0.0)
    assert pacer.wait_s("email", "b@example.com", 0.5) == 1.5
    assert email_pace(2.9).overall == (Limit(2, 1.0),)


def at(zone: str, *when: int, fold: int = 0) -> int:
    """Return a wall time in milliseconds UTC."""
    return int(datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC).timestamp() * 1000)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hour", "minute", "quiet_from", "quiet_until", "expected"),
    [
        (22, 59, 1380, 480, False),
        (23, 0, 1380, 480, True),
        (0, 0, 1380, 480, True),
        (7, 59, 1380, 480, True),
        (8, 0, 1380, 480, False),
        (12, 30, 720, 780, True),
        (13, 0, 720, 780, False),
        (11, 59, 720, 780, False),
        (3, 0, None, 480, False),
        (3, 0, 480, 480, False),
    ],
)
def test_quiet_hours_may_run_across_midnight(
    hour: int, minute: int, quiet_from: int | None, quiet_until: int | None, expected: bool
) -> None:
    """The end is not part of them."""
    now_ms = at("Asia/Seoul", 2026, 1, 15, hour, minute)
    assert is_quiet(now_ms, "Asia/Seoul", quiet_from, quiet_until) is expected


def test_quiet_hours_follow_the_wall_when_the_clocks_change() -> None:
    """New York, 02:00 to 07:00: on the day the clocks jump they begin at 03:00, and end at 07:00 on each."""
    zone, quiet = "America/New_York", (120, 420)
    spring = at(zone, 2026, 3, 8, 1, 59, fold=0)
    assert not is_quiet(spring, zone, *quiet) and is_quiet(spring + 60_000, zone, *quiet)
    for day in ((2026, 3, 8), (2026, 11, 1)):
        assert is_quiet(at(zone, *day, 6, 59), zone, *quiet)
        assert not is_quiet(at(zone, *day, 7, 0), zone, *quiet)
    repeated = (60, 120)  # 01:00 to 02:00 comes twice on the day the clocks are set back
    for fold in (0, 1):
        assert is_quiet(at(zone, 2026, 11, 1, 1, 30, fold=fold), zone, *repeated)

"""Our orders against the exchange's: applying the corrections brings the two into line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctp.core.reconcile import Corrections, Ours, Resting, Theirs, compare

STOP, TAKE = "stop", "take"
RESTING = st.builds(
    Resting, st.integers(0, 10**6).map(str), st.sampled_from([STOP, TAKE]), st.integers(1, 3), st.integers(1, 3)
)
OURS = st.builds(Ours, st.integers(-3, 3), st.integers(1, 3), st.integers(0, 3), st.booleans())
THEIRS = st.builds(
    Theirs, st.integers(-4, 4), st.lists(RESTING, max_size=4, unique_by=lambda order: order.order_id).map(tuple),
    st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True).map(tuple),
)  # fmt: skip


def applied(ours: Ours, theirs: Theirs, found: Corrections) -> tuple[Ours, Theirs]:
    """Return both sides after the corrections."""
    gone = set(found.cancel_first) | set(found.cancel_last)
    placed = tuple(order._replace(order_id=f"new{number}") for number, order in enumerate(found.place))
    resting = tuple(order for order in theirs.resting if order.order_id not in gone) + placed
    return ours._replace(lots=ours.lots - found.closed_outside), theirs._replace(resting=resting)


@given(OURS, THEIRS, st.booleans())
def test_afterwards_a_position_has_its_stop_and_nothing_else_rests(ours: Ours, theirs: Theirs, first: bool) -> None:
    found = compare(ours, theirs, replaces_first=first)
    ours, theirs = applied(ours, theirs, found)
    stops = [order for order in theirs.resting if order.purpose == STOP]
    takes = [order for order in theirs.resting if order.purpose == TAKE]
    if ours.lots == 0:
        assert not theirs.resting
        return
    assert [(order.lots, order.ticks) for order in stops] == [(abs(ours.lots), ours.stop_ticks)]
    assert [(order.lots, order.ticks) for order in takes] == (
        [(abs(ours.lots), ours.take_ticks)] if ours.take_ticks else []
    )


@given(OURS, THEIRS, st.booleans())
def test_after_the_corrections_there_is_nothing_left_to_correct(ours: Ours, theirs: Theirs, first: bool) -> None:
    found = compare(ours, theirs, replaces_first=first)
    again = compare(*applied(ours, theirs, found), replaces_first=first)
    assert not (again.closed_outside or again.cancel_first or again.place or again.cancel_last)


@given(OURS, THEIRS)
def test_where_two_may_rest_the_stop_is_never_given_up_before_the_new_one_rests(ours: Ours, theirs: Theirs) -> None:
    assert compare(ours, theirs, replaces_first=True).cancel_first == ()


@given(OURS, THEIRS, st.booleans())
def test_what_is_left_of_ours_lies_within_what_the_exchange_has(ours: Ours, theirs: Theirs, first: bool) -> None:
    found = compare(ours, theirs, replaces_first=first)
    if not ours.is_settled:
        assert (found.closed_outside, found.foreign_lots) == (0, 0)
        return
    left = ours.lots - found.closed_outside
    assert left + found.foreign_lots == theirs.lots
    assert abs(left) <= abs(theirs.lots)
    assert left * theirs.lots >= 0
    assert left * ours.lots >= 0


@given(OURS, st.lists(RESTING, max_size=4, unique_by=lambda order: order.order_id), st.randoms(), st.booleans())
def test_the_same_snapshots_in_any_order_give_the_same_corrections(
    ours: Ours, resting: list[Resting], chance: object, first: bool
) -> None:
    shuffled = list(resting)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one = compare(ours, Theirs(ours.lots, tuple(resting), ("b", "a")), replaces_first=first)
    other = compare(ours, Theirs(ours.lots, tuple(shuffled), ("a", "b")), replaces_first=first)
    assert one == other


@pytest.mark.parametrize(
    ("lots", "theirs", "closed", "foreign"),
    [
        (5, 5, 0, 0),  # in line
        (5, 3, 2, 0),  # part of ours was closed by somebody
        (5, 0, 5, 0),  # all of it
        (5, 7, 0, 2),  # somebody bought more: theirs
        (5, -2, 5, -2),  # turned around: ours is gone, theirs is short
        (0, 4, 0, 4),  # never ours
        (-5, -3, -2, 0),
        (-5, 1, -5, 1),
    ],
)
def test_a_position_that_differs(lots: int, theirs: int, closed: int, foreign: int) -> None:
    found = compare(Ours(lots, 1, 0, True), Theirs(theirs, (), ()), replaces_first=True)
    assert (found.closed_outside, found.foreign_lots) == (closed, foreign)


def test_on_spot_the_whole_pair_is_replaced_because_it_shares_the_coins() -> None:
    resting = (Resting("s", STOP, 2, 10), Resting("t", TAKE, 2, 20))
    found = compare(Ours(2, 11, 20, True), Theirs(2, resting, ()), replaces_first=False)
    assert found.cancel_first == ("s", "t")
    assert [(order.purpose, order.ticks) for order in found.place] == [(STOP, 11), (TAKE, 20)]
    assert found.cancel_last == ()


def test_on_a_perpetual_only_the_stop_that_moved_is_replaced_and_the_old_one_goes_last() -> None:
    resting = (Resting("s", STOP, 2, 10), Resting("t", TAKE, 2, 20))
    found = compare(Ours(2, 11, 20, True), Theirs(2, resting, ()), replaces_first=True)
    assert [(order.purpose, order.ticks) for order in found.place] == [(STOP, 11)]
    assert found.cancel_last == ("s",)

"""The life of an order: reports are joined, so that their sequence cannot matter."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctp.core.orders import (
    FINAL,
    PURPOSES,
    STATUSES,
    Progress,
    after_missing,
    client_order_id,
    is_ours,
    join,
    read_order_id,
)

SIZE = Decimal(10)
REPORTS = st.builds(Progress, st.sampled_from(STATUSES), st.integers(0, 10).map(Decimal))
IDS = st.tuples(
    st.integers(1, 10**6), st.sampled_from(["BTC/USDT", "BTC/USDT:USDT", "1000PEPE/USDT:USDT"]),
    st.integers(1_500_000_000, 2_500_000_000).map(lambda seconds: seconds * 1000), st.sampled_from(PURPOSES),
    st.integers(0, 1000),
)  # fmt: skip


@given(st.lists(REPORTS, min_size=1, max_size=4))
def test_reports_in_any_order_and_twice_lead_to_the_same_end(reports: list[Progress]) -> None:
    ends = set()
    for order in permutations(reports):
        known = Progress("planned", Decimal(0))
        for report in (*order, *order):
            known = join(known, report, SIZE)
        ends.add(known)
    assert len(ends) == 1


@given(REPORTS, REPORTS)
def test_a_fill_never_shrinks_and_an_end_never_becomes_unfinished(known: Progress, report: Progress) -> None:
    after = join(known, report, SIZE)
    assert after.filled >= known.filled
    if known.status in FINAL - {"not_sent"}:
        assert after.status in FINAL
    if after.filled >= SIZE:
        assert after.status == "filled"


@pytest.mark.parametrize("status", ["planned", "sent", "unknown"])
@pytest.mark.parametrize(("now", "expected"), [(999, "unknown"), (1000, "unknown"), (1001, "not_sent")])
def test_not_found_is_final_only_after_the_fence(status: str, now: int, expected: str) -> None:
    assert after_missing(Progress(status, Decimal(0)), now, 1000).status == expected


def test_an_order_that_arrived_late_is_live_although_it_was_given_up() -> None:
    assert join(Progress("not_sent", Decimal(0)), Progress("open", Decimal(0)), SIZE).status == "open"


def test_a_resting_order_that_is_gone_was_cancelled() -> None:
    assert after_missing(Progress("partial", Decimal(3)), 0, 1000) == Progress("cancelled", Decimal(3))


@given(IDS, IDS)
def test_different_attempts_have_different_ids_that_every_exchange_accepts(one: tuple, other: tuple) -> None:
    first, second = client_order_id(*one), client_order_id(*other)
    assert (first == second) == (one == other)
    assert len(first) <= 36
    assert all(character.isascii() and (character.isalnum() or character == "-") for character in first)
    assert is_ours(first, one[0])
    assert is_ours(first, other[0]) == (one[0] == other[0])


def test_a_persons_order_is_not_ours() -> None:
    assert not is_ours("web_AbC123", 1)
    assert not is_ours("ctp12-aaaa", 1)


@given(IDS)
def test_an_order_id_tells_what_it_was_made_from(parts: tuple[int, str, int, str, int]) -> None:
    """After a backup was restored the exchange's ids are all that is left of an order."""
    account_id, symbol, candle_time, purpose, attempt = parts
    order_id = client_order_id(*parts)
    assert read_order_id(order_id, account_id, symbol) == (candle_time, purpose, attempt)
    assert read_order_id(order_id, account_id + 1, symbol) is None
    assert read_order_id(order_id, account_id, "XRP/USDT") is None
    assert read_order_id(order_id[:-1] + "!", account_id, symbol) is None

"""Ticks and lots: rounding agrees with decimal arithmetic, and steps come back as the nearest double."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ctp.core.rules import step_fraction
from ctp.core.steps import lots_below, price_of, size_of, ticks_above, ticks_below
from ctp.core.types import Market
from ctp.errors import InputError
from tests.core.examples import market

STEPS = st.sampled_from(["0.00000001", "0.00001", "0.001", "0.01", "0.05", "0.1", "0.125", "0.25", "0.5", "1", "2", "5", "1000"])
FORGIVEN = Decimal("1e-9")


def with_step(step: str) -> Market:
    """Return a market whose tick and lot are that step."""
    multiple, divisor = step_fraction("tick", Decimal(step))
    return market(tick_multiple=multiple, tick_divisor=divisor, lot_multiple=multiple, lot_divisor=divisor)


def exact(value: float, step: str, rounding: str) -> int:
    """Return whole steps by decimal arithmetic of the double's exact value, forgiving 1e-9 of a step."""
    with localcontext() as context:
        context.prec = 60
        steps = Decimal(value) / Decimal(step)
        forgiven = steps + FORGIVEN if rounding == ROUND_FLOOR else steps - FORGIVEN
        return int(forgiven.to_integral_value(rounding=rounding))


@given(STEPS, st.floats(1e-6, 1e6))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_rounding_agrees_with_decimal_arithmetic(step: str, value: float) -> None:
    steps = Decimal(value) / Decimal(step)
    assume(steps < 10**13)
    distance = abs(steps - steps.to_integral_value())
    # Where the double nearest to value ÷ step itself is off by about what is forgiven, either answer is right.
    assume(abs(distance - FORGIVEN) > steps * Decimal("3e-16"))
    rules = with_step(step)
    assert lots_below(rules, value) == ticks_below(rules, value) == exact(value, step, ROUND_FLOOR)
    assert ticks_above(rules, value) == exact(value, step, ROUND_CEILING)


@given(STEPS, st.integers(1, 10**9))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_steps_come_back_as_the_nearest_double(step: str, count: int) -> None:
    rules = with_step(step)
    assert price_of(rules, count) == size_of(rules, count) == float(Decimal(step) * count)


@given(STEPS, st.integers(1, 2**22))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_steps_survive_the_round_trip_through_a_double(step: str, count: int) -> None:
    """Beyond 2^22 steps two neighbouring doubles lie further apart than what is forgiven."""
    rules = with_step(step)
    assert ticks_below(rules, price_of(rules, count)) == ticks_above(rules, price_of(rules, count)) == count
    assert lots_below(rules, size_of(rules, count)) == count


@pytest.mark.parametrize(
    ("value", "lots"),
    [
        (0.3, 3),  # 0.3 is below three times 0.1, by less than is forgiven
        (0.29999999, 2),
        (0.3 - 1e-12, 3),
        (0.0, 0),
        (0.0999, 0),
    ],
)
def test_lots_forgive_a_billionth_of_a_step_and_no_more(value: float, lots: int) -> None:
    assert lots_below(with_step("0.1"), value) == lots


@pytest.mark.parametrize("step", ["0.3", "1.5", "0", "-1", "NaN", "Infinity"])
def test_a_step_that_is_neither_whole_nor_one_part_of_a_whole_is_refused(step: str) -> None:
    with pytest.raises(InputError) as refused:
        step_fraction("tick", Decimal(step))
    assert refused.value.field == "tick"

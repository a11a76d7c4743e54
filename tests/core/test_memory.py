"""The trading state survives being written down, to the bit."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctp.core.memory import dump, from_plain, load, to_plain
from ctp.core.strategies import RsiMeanReversion
from ctp.core.trader import start_account, start_trader
from ctp.core.types import Candle
from ctp.trading.decision import warm

FLOATS = st.floats(allow_nan=False) | st.just(float("nan"))  # JSON keeps that a number is missing, not a NaN's payload
STRATEGY = RsiMeanReversion(trend_window=5, stop_atr=2.0).values()


def bits(value: object) -> object:
    """Return a value whose equality means the same bits."""
    if isinstance(value, tuple | list):
        return [bits(item) for item in value]
    return struct.pack("<d", value) if isinstance(value, float) else value


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=40))
def test_a_trader_comes_back_bit_for_bit(closes: list[float]) -> None:
    candles = [Candle(3_600_000 * number, one, one * 1.01, one * 0.99, one, one) for number, one in enumerate(closes, 1)]
    state = warm(STRATEGY, start_trader(STRATEGY), candles, 3_600_000)
    again = from_plain(start_trader(STRATEGY), load(dump(to_plain(state))))
    assert bits(again) == bits(state)
    assert type(again) is type(state) and type(again.indicators) is type(state.indicators)


@given(st.tuples(FLOATS, FLOATS, FLOATS))
def test_money_comes_back_bit_for_bit(numbers: tuple[float, float, float]) -> None:
    account = start_account(1.0)._replace(balance=numbers[0], equity=numbers[1], peak=numbers[2])
    assert bits(from_plain(start_account(0.0), load(dump(to_plain(account))))) == bits(account)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: plain | {"unheard_of": 1},
        lambda plain: {name: value for name, value in plain.items() if name != "position"},
        lambda plain: plain | {"seen": "12"},
        lambda plain: plain | {"seen": True},
        lambda plain: plain | {"indicators": plain["indicators"] | {"volumes": {"ring": [1.0], "seen": 1}}},
    ],
)
def test_a_state_of_another_kind_is_refused(spoil: object) -> None:
    plain = to_plain(start_trader(STRATEGY))
    with pytest.raises(ValueError, match="stored state"):
        from_plain(start_trader(STRATEGY), spoil(plain))  # type: ignore[operator]

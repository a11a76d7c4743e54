"""The compiled twin of the trading definition is the plain one, to the bit: results and everything remembered."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ctp.core.risk import DynamicRiskManager, size_entry
from ctp.core.strategies import RsiMeanReversion, of_parameters
from ctp.core.trader import start_account, start_trader
from ctp.core.types import LONG, NO_BOUND, SHORT, Exposure
from ctp.research.backtest import NO_CANDLE_YET, NO_INTENT, as_arrays
from ctp.research.bar_loop import Record, Series, new_cursors, new_record, run_account
from ctp.research.compiled import compile_kernel
from tests.core.examples import account, market, risk
from tests.parity.cases import Case, random_case
from tests.parity.cases import history_of as made_history
from tests.parity.engines import columns_of, costs_of, rules_of


@cache
def compiled_loop() -> Any:
    """Return the compiled bar loop."""
    return compile_kernel(run_account, of_parameters(RsiMeanReversion()))


def run_both(case: Case) -> list[tuple[Any, Any, Record]]:
    """Return (states, account, record) of the plain and of the compiled loop."""
    history = made_history(case)
    strategy = RsiMeanReversion(**case.strategy).values()
    risk = DynamicRiskManager(**case.risk).for_market(case.is_perpetual).values()
    markets = [rules_of(market).market(costs_of(cost)) for market, cost in zip(case.markets, case.costs, strict=True)]
    lists = columns_of(history)
    integers = ("offset", "time", "funding_offset", "funding_time")
    arrays = lists._replace(**{
        name: np.array(getattr(lists, name), np.int64 if name in integers else np.float64)
        for name in Series._fields if name != "detail"
    })  # fmt: skip
    times = sorted(set(lists.time))
    length_ms = next(iter(history.candles.values())).length_ms
    plain_record, record = new_record(len(times), len(lists.time)), new_record(len(times), len(lists.time))
    fresh = [start_trader(strategy) for _ in markets]
    count = len(markets)
    compiled = compiled_loop()(
        strategy, risk, tuple([as_arrays(market) for market in markets]), tuple([as_arrays(each) for each in fresh]),
        start_account(case.equity), (NO_CANDLE_YET,) * count, (NO_INTENT,) * count, arrays, np.array(times), length_ms,
        new_cursors(arrays), record,
    )  # fmt: skip
    plain = run_account(
        strategy, risk, markets, fresh, start_account(case.equity), [None] * count, [None] * count, lists, times, length_ms,
        new_cursors(arrays), plain_record,
    )  # fmt: skip
    return [(*plain, plain_record), (*compiled, record)]


def bits(value: Any) -> Any:
    """Return a value with every number as its bits, NaN and -0.0 included; lists, tuples and arrays alike."""
    if isinstance(value, np.ndarray | list | tuple):
        return [bits(each) for each in value]
    return struct.pack("<d", float(value))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_compiled_and_plain_are_equal_to_the_bit(seed: int) -> None:
    (states, account, record), (twin_states, twin_account, twin_record) = run_both(random_case(seed, length=200))
    assert bits(twin_account) == bits(account)
    assert bits(twin_states) == bits(states)
    decisions, trades = record.totals[:2]
    assert bits(twin_record.totals) == bits(record.totals)
    assert bits(twin_record.refusals) == bits(record.refusals)
    for name in ("time", "equity", "is_exposed"):
        assert bits(getattr(twin_record, name)[:decisions]) == bits(getattr(record, name)[:decisions])
    assert bits(twin_record.trade_rows[:trades]) == bits(record.trade_rows[:trades])


@given(
    st.floats(0, 1), st.floats(-1, 2) | st.just(NO_BOUND), st.sampled_from([LONG, SHORT]), st.floats(1, 1e5),
    st.floats(0.002, 0.2),
)  # fmt: skip
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_wallet_bounds_an_entry_alike(margin: float, cover: float, side: int, close: float, width: float) -> None:
    """The bar loop has no wallet to run short, so the bound is compared where it is applied."""
    used = Exposure(1, margin * 5_000.0, -20.0, 10.0, cover * 10_000.0)
    arguments = (risk(), account(), used, side, close, width)
    plain = size_entry(arguments[0], market(), *arguments[1:])
    assert bits(compiled_sizing()(arguments[0], as_arrays(market()), *arguments[1:])) == bits(plain)


@cache
def compiled_sizing() -> Any:
    """Return the compiled sizing of an entry."""
    return compile_kernel(size_entry, of_parameters(RsiMeanReversion()))


def test_the_random_accounts_trade() -> None:
    assert sum(int(run_both(random_case(seed, length=200))[1][2].totals[1]) for seed in range(20)) > 50

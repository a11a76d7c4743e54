"""Indicators agree with numbers that others published, and with TA-Lib."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from ctp.core.indicators import NO_ATR, NO_RSI, Window, atr, mean, mean_before_last, push, rsi


def rsi_of(closes: Sequence[float], period: int = 14) -> np.ndarray:
    """Return the RSI of a series, NaN where undefined."""
    state, values = NO_RSI, []
    for close in closes:
        state = rsi(period, state, float(close))
        values.append(state.value)
    return np.array(values)


def atr_of(highs: Sequence[float], lows: Sequence[float], closes: Sequence[float], period: int = 14) -> np.ndarray:
    """Return the ATR of a series, NaN where undefined."""
    state, values = NO_ATR, []
    for high, low, close in zip(highs, lows, closes, strict=True):
        state = atr(period, state, float(high), float(low), float(close))
        values.append(state.value)
    return np.array(values)


def column(file: Path, name: str) -> np.ndarray:
    """Return a column of a CSV file, NaN where empty."""
    with file.open() as rows:
        return np.array([float(row[name]) if row[name] else math.nan for row in csv.DictReader(rows)])


@pytest.mark.parametrize(
    ("file", "values", "tolerance"),
    [
        ("rsi14_stockcharts.csv", "rsi14", 1e-9),
        ("rsi14_talib_sref252.csv", "rsi14", 1e-9),
        ("spy502_worksheets.csv", "rsi14", 1e-9),
        ("talib_binance_BTCUSDT_1h_2023.csv", "rsi14", 1e-9),
    ],
)
def test_rsi_equals_published_values(shared_vectors: Path, file: str, values: str, tolerance: float) -> None:
    expected = column(shared_vectors / file, values)
    found = rsi_of(column(shared_vectors / file, "close"))
    assert np.isfinite(expected).sum() > 10
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_rsi_gives_the_values_of_talibs_own_regression_test(shared_vectors: Path) -> None:
    closes = column(shared_vectors / "rsi14_talib_sref252.csv", "close")
    expected = json.loads((shared_vectors / "rsi14_talib_regtest.json").read_text())["expected_first_two_decimals"]
    found = rsi_of(closes)
    for each in expected:
        assert found[each["index"]] == pytest.approx(each["value"], abs=0.01)


def test_rsi_is_not_the_one_with_averages_from_zero(shared_vectors: Path) -> None:
    """The negative control: who matches this file has no Wilder RSI."""
    file = shared_vectors / "rsi14_NOT_wilder_ewm_seed.csv"
    wrong, found = column(file, "rsi14_ewm_seed"), rsi_of(column(file, "close"))
    both = np.isfinite(wrong) & np.isfinite(found)
    assert both.any()
    assert np.abs(wrong - found)[both].min() > 0.1


def test_atr_equals_the_worksheet_from_its_second_true_range_on(shared_vectors: Path) -> None:
    """The 502-bar worksheet starts as we do: the first candle has no true range."""
    file = shared_vectors / "spy502_worksheets.csv"
    expected = column(file, "atr14")
    found = atr_of(column(file, "high"), column(file, "low"), column(file, "close"))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_atr_recursion_equals_stockcharts_once_started_alike(shared_vectors: Path) -> None:
    """StockCharts counts the first high minus low as a true range; from its own seed on the recursion is ours."""
    file = shared_vectors / "atr14_stockcharts.csv"
    expected, ranges = column(file, "atr14"), column(file, "tr")
    first = int(np.flatnonzero(np.isfinite(expected))[0])
    # A candle of that range around the last close gives exactly the published true range.
    state = NO_ATR._replace(seen=15, close=100.0, value=float(expected[first]))
    for row in range(first + 1, len(ranges)):
        state = atr(14, state, 100.0 + float(ranges[row]), 100.0, 100.0)
        assert state.value == pytest.approx(float(expected[row]), abs=1e-9)


@pytest.mark.parametrize("period", [2, 3, 14, 50])
@pytest.mark.parametrize("seed", range(5))
def test_indicators_equal_talib_on_random_series(seed: int, period: int) -> None:
    chance = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(chance.normal(0.0, 0.02, 2_000)))
    high, low = close * (1 + chance.random(2_000) * 0.01), close * (1 - chance.random(2_000) * 0.01)
    np.testing.assert_allclose(rsi_of(close, period), talib.RSI(close, period), rtol=0, atol=1e-9)
    np.testing.assert_allclose(atr_of(high, low, close, period), talib.ATR(high, low, close, period), rtol=0, atol=1e-9)


@pytest.mark.parametrize("file", ["binance_BTCUSDT_1h", "upbit_BTCKRW_1h", "binanceusdm_ETHUSDT_1h"])
def test_indicators_equal_talib_on_recorded_candles(shared_data: Path, file: str) -> None:
    frame = pd.read_parquet(shared_data / f"{file}.parquet").head(20_000)
    high, low, close = (frame[name].to_numpy() for name in ("high", "low", "close"))
    scale = close.max() / 100.0  # the ATR is in quote units
    np.testing.assert_allclose(rsi_of(close), talib.RSI(close, 14), rtol=0, atol=1e-9)
    np.testing.assert_allclose(atr_of(high, low, close), talib.ATR(high, low, close, 14), rtol=0, atol=1e-9 * scale)


def test_a_flat_market_is_50_and_leaves_it_with_the_first_change() -> None:
    found = rsi_of([7.0] * 20 + [7.1])
    assert np.isnan(found[:14]).all()
    assert (found[14:20] == 50.0).all()
    assert found[20] == 100.0


def test_rsi_does_not_know_in_what_unit_a_price_is_quoted() -> None:
    """A coin at a millionth moves by less than any fixed threshold, and is not flat."""
    close = 100.0 + np.cumsum(np.random.default_rng(3).standard_normal(200))
    scaled = rsi_of(close * 2.0**-30)  # a power of two changes no bit but the exponent
    np.testing.assert_array_equal(scaled, rsi_of(close))


def test_rsi_is_first_defined_at_the_candle_with_the_index_of_its_period() -> None:
    for period in (2, 14, 200):
        found = rsi_of(np.arange(1.0, 260.0), period)
        assert np.flatnonzero(np.isfinite(found))[0] == period


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=60), st.integers(1, 12))
@settings(deadline=None, derandomize=True)
def test_a_window_means_what_a_plain_sum_of_its_last_values_means(values: list[float], length: int) -> None:
    window = Window([0.0] * length, 0)
    before = Window([0.0] * (length + 1), 0)
    for index, value in enumerate(values):
        window, before = push(window, value), push(before, value)
        for found, chosen in (
            (mean(window), values[max(0, index + 1 - length) : index + 1]),
            (mean_before_last(before), values[max(0, index - length) : index]),
        ):
            if len(chosen) < length:
                assert math.isnan(found)
            else:
                total = 0.0
                for each in chosen:
                    total += each
                assert found == total / length

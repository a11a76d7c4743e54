"""History by name and time, as notebooks and the command line ask for it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctp.errors import InputError, NotFound
from ctp.market.candles import FundingRates
from ctp.market.history import Time, candle_store, load_candles, load_funding, parse_time
from tests.market.made import HOUR, JANUARY, made_candles


@pytest.mark.parametrize(
    "value",
    [
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "2024-01-01 09:00+09:00",
        "1704067200000",
        JANUARY,
        np.int64(JANUARY),
        date(2024, 1, 1),
        datetime(2024, 1, 1),
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime(2024, 1, 1, 9, tzinfo=timezone(timedelta(hours=9))),
        np.datetime64("2024-01-01"),
        pd.Timestamp("2024-01-01"),
    ],
)
def test_every_way_to_write_a_time_means_the_same(value: Time) -> None:
    """Write New Year 2024 in twelve ways."""
    assert parse_time(value) == JANUARY


@pytest.mark.parametrize("value", ["yesterday", "", "2024-13-01", None, 1.5, True, np.datetime64("NaT", "ms")])
def test_what_is_no_time_is_named(value: object) -> None:
    """Write nonsense."""
    with pytest.raises(InputError, match="start"):
        parse_time(value, "start")  # type: ignore[arg-type]


def test_candles_are_loaded_by_name_and_time(home: Path) -> None:
    """Load a range from CTP_HOME, then from a home given."""
    candles = made_candles(100)
    candle_store().append(candles)
    assert load_candles("BTC/USDT", "1h", "2024-01-02", "2024-01-03") == candles.between(
        JANUARY + 24 * HOUR, JANUARY + 48 * HOUR
    )
    assert load_candles("BTC/USDT", "1h", home=home) == candles
    mark = made_candles(10, exchange="binanceusdm", kind="mark")
    candle_store().append(mark)
    assert load_candles("BTC/USDT", "1h", exchange="binanceusdm", mark=True) == mark


def test_funding_is_loaded_by_name_and_time(home: Path) -> None:
    """Load one day of payments."""
    rates = FundingRates.checked("BTC/USDT:USDT", "binanceusdm", JANUARY + np.arange(9) * 8 * HOUR, np.full(9, 1e-4))
    candle_store(home).append(rates)
    assert len(load_funding("BTC/USDT:USDT", "2024-01-02", "2024-01-03")) == 3


def test_nothing_stored_says_the_command(home: Path) -> None:
    """Ask for candles nobody has downloaded."""
    with pytest.raises(NotFound, match="ctp data download --exchange binance --symbol SOL/USDT"):
        load_candles("SOL/USDT", "1h", "2023-01-01", home=home)


def test_an_end_before_the_start_is_an_error(home: Path) -> None:
    """Swap the bounds."""
    with pytest.raises(InputError, match="must be after the start"):
        load_candles("BTC/USDT", "1h", "2024-01-02", "2024-01-01")

"""Candles: what is a defect, how it is named, and what slicing and frames keep."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ctp.errors import InputError
from ctp.market.candles import Candles, FundingRates, Gap
from ctp.market.series import TIMEFRAMES, Series, timeframe_ms
from tests.market.made import HOUR, JANUARY, made_candles, made_columns, without


def checked(columns: dict[str, np.ndarray], timeframe: str = "1h") -> Candles:
    """Validate columns as BTC/USDT."""
    values = {name: columns[name] for name in ("open", "high", "low", "close", "volume")}
    return Candles.checked("BTC/USDT", timeframe, "binance", columns["ts"], **values)


@pytest.mark.parametrize(
    ("field", "value", "names", "bound"),
    [
        ("open", np.nan, "open", "finite"),
        ("close", np.inf, "close", "finite"),
        ("volume", np.nan, "volume", "finite"),
        ("low", 0.0, "low", "above 0"),
        ("close", -1.0, "close", "above 0"),
        ("volume", -0.5, "volume", "0 or more"),
        ("low", 1e6, "high", "not be below the low"),
        ("high", 1e-6, "high", "not be below the low"),
        ("open", 1e6, "high", "not be below the open"),
        ("close", 1e-6, "low", "not be above the close"),
        ("ts", JANUARY + 3 * HOUR, "time", "duplicate"),
        ("ts", JANUARY + 2 * HOUR, "time", "not in order"),
        ("ts", JANUARY + 4 * HOUR + 1000, "time", "grid"),
        ("ts", -HOUR, "time", "between 1970 and 2100"),
    ],
)
def test_the_first_bad_row_is_named_with_field_and_value(
    field: str, value: float, names: str, bound: str
) -> None:
    """Spoil row 5 and, worse, row 8: the error is about row 5."""
    columns = made_columns(10)
    columns[field][4] = value
    columns["close"][7] = np.nan
    with pytest.raises(InputError) as refused:
        checked(columns)
    assert refused.value.field == names
    assert bound in refused.value.bound
    assert "row 5" in str(refused.value)


def test_the_message_says_row_time_field_and_value() -> None:
    """Show the whole sentence once."""
    columns = made_columns(10)
    columns["close"][4] = np.nan
    with pytest.raises(InputError) as refused:
        checked(columns)
    assert str(refused.value) == "close = nan: must be a finite number; row 5 (2024-01-01T04:00:00Z)"


def test_one_second_off_the_grid_is_an_error() -> None:
    """Shift every candle by a second."""
    columns = made_columns(5)
    columns["ts"] += 1000
    with pytest.raises(InputError, match=r"1h grid.*row 1 "):
        checked(columns)


def test_no_candles_are_an_error() -> None:
    """Give nothing."""
    with pytest.raises(InputError, match="at least one candle"):
        checked({name: values[:0] for name, values in made_columns(1).items()})


def test_unequal_lengths_and_other_time_types_are_errors() -> None:
    """Give a short column, then floating times."""
    columns = made_columns(5)
    with pytest.raises(InputError, match="one-dimensional with 5"):
        checked(columns | {"close": columns["close"][:4]})
    with pytest.raises(InputError, match="integer milliseconds"):
        checked(columns | {"ts": columns["ts"].astype(float)})


def test_an_unknown_timeframe_lists_the_known_ones() -> None:
    """Ask for a timeframe nobody has."""
    with pytest.raises(InputError, match="1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d"):
        checked(made_columns(1), "7m")


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_every_timeframe_divides_the_day(timeframe: str) -> None:
    """Check the grid rule's assumption."""
    assert 86_400_000 % timeframe_ms(timeframe) == 0


def test_gaps_are_listed_and_not_filled() -> None:
    """Leave out two holes."""
    candles = without(made_candles(10), 3, 6, 7)
    assert candles.gaps() == [
        Gap(JANUARY + 3 * HOUR, JANUARY + 4 * HOUR, 1),
        Gap(JANUARY + 6 * HOUR, JANUARY + 8 * HOUR, 2),
    ]
    assert len(candles) == 7


def test_arrays_come_out_contiguous_and_writable_whatever_went_in() -> None:
    """Give read-only, strided and wrongly typed arrays: kernels must see one type."""
    columns = made_columns(20)
    frozen = columns["open"].copy()
    frozen.flags.writeable = False
    strided = np.repeat(columns["close"], 2)[::2]
    candles = checked(columns | {"open": frozen, "close": strided, "ts": columns["ts"].astype(">i8")})
    for values in (candles.time, *candles.columns().values(), *candles.between(JANUARY + HOUR).columns().values()):
        assert values.flags.c_contiguous
        assert values.flags.writeable
        assert values.dtype in (np.dtype(np.int64), np.dtype(np.float64))
    assert candles == checked(columns)


def test_a_slice_holds_the_candles_that_open_from_start_until_before_end() -> None:
    """Cut on, between and outside open times."""
    candles = made_candles(10)
    assert candles.between(JANUARY + 2 * HOUR, JANUARY + 5 * HOUR).time.tolist() == [
        JANUARY + n * HOUR for n in (2, 3, 4)
    ]
    assert candles.between(JANUARY + HOUR + 1, None).time[0] == JANUARY + 2 * HOUR
    assert len(candles.between(JANUARY + 50 * HOUR)) == 0
    assert len(candles.between(JANUARY + 5 * HOUR, JANUARY)) == 0
    assert candles.between() == candles


def test_equality_is_of_every_bit() -> None:
    """Change one value by one ulp, then only the name."""
    candles, columns = made_candles(5), made_columns(5)
    columns["close"][2] = np.nextafter(columns["close"][2], 0)
    assert checked(columns) != candles
    assert made_candles(5, symbol="ETH/USDT") != candles
    assert made_candles(5) == candles


def test_a_frame_and_back_is_the_same() -> None:
    """Go through pandas in every resolution it may use."""
    candles = without(made_candles(30), 4)
    frame = candles.to_frame()
    assert str(frame.index.tz) == "UTC"
    assert frame.index[0] == pd.Timestamp("2024-01-01", tz="UTC")
    for unit in ("s", "ms", "us", "ns"):
        again = Candles.from_frame(frame.set_axis(frame.index.as_unit(unit)), "BTC/USDT", "1h", "binance")
        assert again == candles
    seoul = frame.set_axis(frame.index.tz_convert("Asia/Seoul"))
    assert Candles.from_frame(seoul, "BTC/USDT", "1h") == candles
    assert Candles.from_frame(frame.tz_localize(None), "BTC/USDT", "1h") == candles


def test_a_frame_without_times_or_columns_is_an_error() -> None:
    """Give a numbered frame, then one without volume."""
    frame = made_candles(3).to_frame()
    with pytest.raises(InputError, match="DatetimeIndex"):
        Candles.from_frame(frame.reset_index(drop=True), "BTC/USDT", "1h")
    with pytest.raises(InputError, match="lack volume"):
        Candles.from_frame(frame.drop(columns="volume"), "BTC/USDT", "1h")


def test_a_frame_is_a_copy() -> None:
    """Write to the frame: the frozen candles stay."""
    candles = made_candles(3)
    frame = candles.to_frame()
    frame.loc[:, "close"] = 1.0
    assert candles == made_candles(3)


def test_funding_times_are_rounded_down_to_the_minute() -> None:
    """Give the milliseconds real exchanges add."""
    rates = FundingRates.checked("BTC/USDT:USDT", "binanceusdm", [JANUARY + 7, JANUARY + 8 * HOUR + 11], [1e-4, -2e-4])
    assert rates.time.tolist() == [JANUARY, JANUARY + 8 * HOUR]


@pytest.mark.parametrize(("rate", "bound"), [(np.nan, "finite"), (1.5, "fraction")])
def test_a_rate_that_is_no_fraction_is_an_error(rate: float, bound: str) -> None:
    """Spoil the second rate."""
    with pytest.raises(InputError, match=f"rate.*{bound}.*row 2 "):
        FundingRates.checked("BTC/USDT:USDT", "binanceusdm", [JANUARY, JANUARY + HOUR], [1e-4, rate])


@pytest.mark.parametrize(
    ("series", "folder"),
    [
        (Series("binance", "BTC/USDT", "1h"), "binance/BTC-USDT/1h"),
        (Series("binanceusdm", "BTC/USDT:USDT", "1h", "mark"), "binanceusdm/BTC-USDT_USDT/1h-mark"),
        (Series("binanceusdm", "BTC/USDT:USDT", "", "funding"), "binanceusdm/BTC-USDT_USDT/funding"),
        (Series("binance", "BTC/USDT:USDT-240628", "1h"), "binance/BTC-USDT_USDT-240628/1h"),
        (Series("gate", "A-B_C%/USDT", "1d"), "gate/A%2DB%5FC%25-USDT/1d"),
        (Series("binance", "币安人生/USDT", "1m"), "binance/币安人生-USDT/1m"),
    ],
)
def test_a_series_and_its_folder_name_each_other(series: Series, folder: str) -> None:
    """Go there and back."""
    assert str(series.folder) == folder
    assert Series.from_folder(series.folder) == series == Series.checked(*series)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("Binance", "BTC/USDT", "1h"), "exchange"),
        (("../etc", "BTC/USDT", "1h"), "exchange"),
        (("binance", "BTCUSDT", "1h"), "symbol"),
        (("binance", "../../x/USDT", "1h"), "symbol"),
        (("binance", "BTC/USDT", "60"), "timeframe"),
        (("binance", "BTC/USDT", "1h", "trades"), "kind"),
    ],
)
def test_a_wrong_word_is_named(words: tuple[str, ...], field: str) -> None:
    """Spoil one word of a series' name."""
    with pytest.raises(InputError) as refused:
        Series.checked(*words)
    assert refused.value.field == field

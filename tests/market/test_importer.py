"""Imports: every format gives the same candles, every defect is one sentence, and nothing is half written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ctp.errors import InputError
from ctp.market.candles import Candles
from ctp.market.importer import Imported, import_file, read_file
from ctp.market.series import Series
from ctp.market.store import CandleStore
from tests.market.made import (
    HOUR,
    JANUARY,
    LONG_AFTER,
    files_below,
    made_candles,
    made_columns,
    write_csv,
    write_parquet,
)

BTC = Series("binance", "BTC/USDT", "1h")
PERPETUAL = Series("binanceusdm", "BTC/USDT:USDT", "1h")


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    """Return an empty store beside the files."""
    return CandleStore(tmp_path / "candles")


def taken(path: Path, store: CandleStore, series: Series = BTC, repair: bool = False) -> Imported:
    """Import long after every candle has closed."""
    return import_file(path, series, store, repair=repair, now_ms=LONG_AFTER)


def refusal(path: Path, store: CandleStore, series: Series = BTC, repair: bool = False) -> str:
    """Import what must be refused, see that nothing was written, and return the sentence."""
    with pytest.raises(InputError) as refused:
        taken(path, store, series, repair)
    assert files_below(store.root) == []
    assert "\n" not in str(refused.value)
    return str(refused.value)


def in_unit(columns: dict[str, np.ndarray], multiply: int = 1, divide: int = 1) -> dict[str, np.ndarray]:
    """Return columns with another unit of time."""
    return columns | {"ts": columns["ts"] * multiply // divide}


def dated(columns: dict[str, np.ndarray], unit: str = "ns") -> pd.DataFrame:
    """Return columns as freqtrade writes them: aware dates instead of milliseconds."""
    date = pd.to_datetime(columns["ts"], unit="ms", utc=True).as_unit(unit)  # type: ignore[arg-type]
    return pd.DataFrame({"date": date, **{name: values for name, values in columns.items() if name != "ts"}})


def as_rows(columns: dict[str, np.ndarray]) -> list[list[float]]:
    """Return columns as freqtrade's JSON rows."""
    return [list(row) for row in zip(*(values.tolist() for values in columns.values()), strict=True)]


def spelled(columns: dict[str, np.ndarray], pattern: str) -> str:
    """Return a CSV whose times are written by a strftime pattern."""
    date = pd.to_datetime(columns["ts"], unit="ms", utc=True).strftime(pattern)
    rows = (",".join([when, *map(repr, row[1:])]) for when, row in zip(date, as_rows(columns), strict=True))
    return "\n".join(["Date,Open,High,Low,Close,Volume", *rows])


FORMATS = {
    "csv with a header": lambda path, c: write_csv(path / "a.csv", c),
    "csv without a header": lambda path, c: write_csv(path / "a.csv", c, header=False),
    "csv in seconds": lambda path, c: write_csv(path / "a.csv", in_unit(c, divide=1000)),
    "csv in microseconds": lambda path, c: write_csv(path / "a.csv", in_unit(c, 1000), header=False),
    "csv with more columns": lambda path, c: write_csv(path / "a.csv", c | {"trades": c["ts"], "note": c["open"]}, False),
    "csv of ISO dates": lambda path, c: _text(path / "a.csv", spelled(c, "%Y-%m-%dT%H:%M:%SZ")),
    "csv of naive dates": lambda path, c: _text(path / "a.csv", spelled(c, "%Y-%m-%d %H:%M:%S")),
    "csv with semicolons": lambda path, c: _text(path / "a.csv", spelled(c, "%Y-%m-%d %H:%M").replace(",", ";")),
    "csv with a mark and CRLF": lambda path, c: _text(
        path / "a.csv", "\ufeff" + spelled(c, "%Y-%m-%d %H:%M").replace("\n", "\r\n")
    ),
    "csv, compressed": lambda path, c: _bytes(
        path / "a.csv.gz", gzip.compress(write_csv(path / "b.csv", c).read_bytes())
    ),
    "parquet": lambda path, c: write_parquet(path / "a.parquet", c),
    "parquet of dates": lambda path, c: _frame(path / "a.parquet", dated(c, "us")),
    "freqtrade feather": lambda path, c: _frame(path / "a.feather", dated(c)),
    "freqtrade json": lambda path, c: _text(path / "a.json", json.dumps(as_rows(c))),
    "freqtrade json, compressed": lambda path, c: _bytes(
        path / "a.json.gz", gzip.compress(json.dumps(as_rows(c)).encode())
    ),
}


def _text(path: Path, content: str) -> Path:
    """Write text and return its path."""
    path.write_bytes(content.encode())
    return path


def _bytes(path: Path, content: bytes) -> Path:
    """Write bytes and return their path."""
    path.write_bytes(content)
    return path


def _frame(path: Path, frame: pd.DataFrame) -> Path:
    """Write a frame in the format its name says and return the path."""
    getattr(frame, f"to_{path.suffix[1:]}")(path)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_candles_to_the_bit(name: str, tmp_path: Path, store: CandleStore) -> None:
    """Write the same candles in every format there is."""
    done = taken(FORMATS[name](tmp_path, made_columns(1000)), store)
    assert (done.rows, done.added, done.unchanged, done.revised, done.repairs) == (1000, 1000, 0, (), ())
    assert store.load(BTC) == made_candles(1000)


def test_importing_twice_adds_nothing(tmp_path: Path, store: CandleStore) -> None:
    """Import the same file again."""
    path = write_csv(tmp_path / "a.csv", made_columns(100))
    taken(path, store)
    assert taken(path, store)[2:5] == (0, 100, ())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"close": (4, np.nan)}, "close = nan: must be a finite number; row 5 (2024-01-01T04:00:00Z) of a.csv"),
        ({"ts": (4, JANUARY + 3 * HOUR)}, "a duplicate; row 5 (2024-01-01T03:00:00Z) of a.csv"),
        ({"ts": (4, JANUARY)}, "not in order; row 5 (2024-01-01T00:00:00Z) of a.csv"),
        ({"ts": (4, JANUARY + 4 * HOUR + 1000)}, "is not on the 1h grid"),
        ({"high": (4, 1.0)}, "high = 1.0: must not be below the low; row 5"),
        ({"volume": (4, -1.0)}, "volume = -1.0: must be 0 or more; row 5"),
        ({"open": (4, 0.0)}, "open = 0.0: must be above 0; row 5"),
    ],
)
def test_the_first_defect_is_one_sentence_and_nothing_is_written(
    change: dict[str, tuple[int, float]], sentence: str, tmp_path: Path, store: CandleStore
) -> None:
    """Spoil one value of row 5."""
    columns = made_columns(50)
    for field, (row, value) in change.items():
        columns[field][row] = value
    assert sentence in refusal(write_csv(tmp_path / "a.csv", columns), store)


def test_a_wrong_timeframe_is_named_with_the_right_one(tmp_path: Path, store: CandleStore) -> None:
    """Import five-minute candles as hours, and hours as five minutes."""
    fine, coarse = made_columns(50, "5m"), made_columns(50, "1h")
    message = refusal(write_parquet(tmp_path / "fine.parquet", fine), store)
    assert "is not on the 1h grid" in message
    assert "looks like 5m" in message
    five = BTC._replace(timeframe="5m")
    message = refusal(write_parquet(tmp_path / "coarse.parquet", coarse), store, five)
    assert message == "timeframe = '5m': the candles of coarse.parquet are 1h apart; say that timeframe"


def test_a_sparse_file_is_no_wrong_timeframe(tmp_path: Path, store: CandleStore) -> None:
    """Import minutes of which no two are neighbours, as a pair without trades has them."""
    columns = {name: values[np.array([0, 2, 5, 9, 12])] for name, values in made_columns(20, "1m").items()}
    done = taken(write_parquet(tmp_path / "a.parquet", columns), store, BTC._replace(timeframe="1m"))
    assert [gap.missing for gap in done.gaps] == [1, 2, 3, 2]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"ts,open,high,low,close,volume\n", "holds no rows"),
        ("a.parquet", b"PAR1 no more", "is not readable as parquet"),
        ("a.feather", b"nothing of the kind", "is not readable as feather"),
        ("a.json", b"[[1, 2", "is not readable as json"),
        ("a.json", b"{}", "must be a list of [ts, open, high, low, close, volume]"),
        ("a.json", b"[[1704067200000, 1, 1, 1, 1]]", "row 1 of a.json"),
        ("a.csv", b"ts,open,high,low,close\n1704067200000,1,1,1,1\n", "lack volume"),
        ("a.csv", b"ts,open,high,low,close,volume\n1704067200000,1,1,1,x,1\n", "close = 'x': must be a number; row 1"),
        ("a.csv", b"ts,open,high,low,close,volume\n1704067200000,1,1,1,,1\n", "close = nan"),
        ("a.csv", b"date,open,high,low,close,volume\n31/12/2023,1,1,1,1,1\n", "time = '31/12/2023': must be an ISO"),
        ("a.csv", b"ts,open,high,low,close,volume\n1704067200000,1,1,1\n", "is not readable as csv"),
        ("a.xlsx", b"PK", "must end in one of .csv, .parquet, .feather, .json"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    name: str, content: bytes, sentence: str, tmp_path: Path, store: CandleStore
) -> None:
    """Give all sorts of broken files."""
    message = refusal(_bytes(tmp_path / name, content), store)
    assert sentence in message
    assert name in message


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path, store: CandleStore) -> None:
    """Name nothing, then a folder."""
    assert "is not there" in refusal(tmp_path / "none.csv", store)
    assert "is not a file" in refusal(tmp_path, store)


def test_one_flipped_byte_of_a_parquet_file_is_noticed(tmp_path: Path, store: CandleStore) -> None:
    """Spoil a page of a file that carries checksums, as our own do."""
    elsewhere = CandleStore(tmp_path / "elsewhere")
    elsewhere.append(made_candles(500))
    path = next(elsewhere.root.rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "is not readable as parquet" in refusal(path, store)


def test_an_unclosed_candle_is_refused_and_repair_drops_it(tmp_path: Path, store: CandleStore) -> None:
    """Import half an hour into the last candle; then exactly at its close."""
    path = write_csv(tmp_path / "a.csv", made_columns(10))
    now = JANUARY + 9 * HOUR + HOUR // 2
    with pytest.raises(InputError, match=r"2024-01-01T09:00:00Z.*is not over yet; row 10 of a\.csv"):
        import_file(path, BTC, store, now_ms=now)
    assert files_below(store.root) == []
    done = import_file(path, BTC, store, repair=True, now_ms=now)
    assert [str(repair) for repair in done.repairs] == [
        "dropped because the candle is not closed yet: 1 rows, first row 10 (2024-01-01T09:00:00Z)"
    ]
    assert store.load(BTC) == made_candles(10).between(None, now - HOUR)
    with pytest.raises(InputError, match="is not over yet"):
        import_file(path, BTC, store, now_ms=JANUARY + 10 * HOUR - 1)
    assert import_file(path, BTC, store, now_ms=JANUARY + 10 * HOUR).added == 1


def test_repair_lists_what_it_dropped_and_moved(tmp_path: Path, store: CandleStore) -> None:
    """Spoil a file in three mendable ways at once."""
    columns = made_columns(30)
    columns["close"][20] = np.nan
    order = np.array([0, 1, 3, 2, *range(4, 30), 29, 29])
    path = write_csv(tmp_path / "a.csv", {name: values[order] for name, values in columns.items()})
    with pytest.raises(InputError, match="not in order; row 4"):
        taken(path, store)
    done = taken(path, store, repair=True)
    assert [(repair.action, repair.rows) for repair in done.repairs] == [
        ("dropped for a missing value", (21,)),
        ("sorted", (4,)),
        ("dropped as an exact duplicate", (31, 32)),
    ]
    assert [gap.missing for gap in done.gaps] == [1]
    whole = made_candles(30)
    assert store.load(BTC, None, JANUARY + 20 * HOUR) == whole.between(None, JANUARY + 20 * HOUR)
    assert store.load(BTC, JANUARY + 20 * HOUR) == whole.between(JANUARY + 21 * HOUR)


def test_two_different_rows_for_one_time_are_not_repaired(tmp_path: Path, store: CandleStore) -> None:
    """Repeat row 10 with another volume: the error still counts rows of the file."""
    columns = {name: np.insert(values, 0, values[9]) for name, values in made_columns(30).items()}
    columns["volume"][0] += 1
    message = refusal(write_csv(tmp_path / "a.csv", columns), store, repair=True)
    assert "a duplicate; row 11 (2024-01-01T09:00:00Z) of a.csv" in message


def test_impossible_prices_are_not_repaired(tmp_path: Path, store: CandleStore) -> None:
    """Put a high below its low behind a dropped row."""
    columns = made_columns(30)
    columns["close"][3] = np.nan
    columns["high"][8] = 1.0
    assert "high = 1.0: must not be below the low; row 9 " in refusal(
        write_csv(tmp_path / "a.csv", columns), store, repair=True
    )


def test_a_file_of_nothing_usable_is_refused(tmp_path: Path, store: CandleStore) -> None:
    """Repair a file in which every row lacks a value."""
    columns = made_columns(3) | {"close": np.full(3, np.nan)}
    assert "no usable row" in refusal(write_csv(tmp_path / "a.csv", columns), store, repair=True)


def test_mark_candles_need_no_volume(tmp_path: Path, store: CandleStore) -> None:
    """Import a mark series without the column."""
    columns = {name: values for name, values in made_columns(20).items() if name != "volume"}
    mark = PERPETUAL._replace(kind="mark")
    taken(write_csv(tmp_path / "a.csv", columns), store, mark)
    assert store.load(mark).volume.sum() == 0.0


@pytest.mark.parametrize("name", ["rate", "fundingRate", "open"])
def test_funding_is_imported_under_each_of_its_names(name: str, tmp_path: Path, store: CandleStore) -> None:
    """Write our column, the exchange's, and freqtrade's."""
    times = JANUARY + np.arange(30) * 8 * HOUR + 7
    path = write_csv(tmp_path / "a.csv", {"ts": times, name: np.linspace(-1e-4, 1e-4, 30)})
    funding = Series.checked("binanceusdm", "BTC/USDT:USDT", "8h", "funding")
    assert taken(path, store, funding).added == 30
    rates = store.load_funding(funding)
    assert rates.time.tolist() == (times - 7).tolist()
    assert rates.rate.tolist() == np.linspace(-1e-4, 1e-4, 30).tolist()


def test_real_files_come_in_whole_and_dirty_ones_are_refused(shared_data: Path, store: CandleStore) -> None:
    """Import recorded candles; the known gaps are the gaps found."""
    known = json.loads((shared_data / "known_gaps.json").read_text())["gaps"]
    for name, series in {
        "binance_BTCUSDT_1h.parquet": BTC,
        "upbit_BTCKRW_1h.parquet": Series("upbit", "BTC/KRW", "1h"),
        "coinbase_BTCUSD_4h.parquet": Series("coinbase", "BTC/USD", "4h"),
        "binanceusdm_BTCUSDT_1h_mark.parquet": PERPETUAL._replace(kind="mark"),
    }.items():
        done = import_file(shared_data / name, series, store)
        assert [[gap.start, gap.missing] for gap in done.gaps] == known[name]
        table = pq.read_table(shared_data / name)
        loaded = store.load(series)
        assert loaded.time.tolist() == table["ts"].to_pylist()
        assert loaded.close.tolist() == table["close"].to_pylist()
    assert all(not verified.problems for verified in store.verify())


@pytest.mark.parametrize(
    ("timeframe", "row", "when", "count"),
    [("1m", 40859, "2019-11-13T09:10:00Z", 143), ("5m", 32682, "2020-03-08T10:40:00Z", 1)],
)
def test_real_defects_are_named_and_listed(
    timeframe: str, row: int, when: str, count: int, shared_data: Path, store: CandleStore
) -> None:
    """Import files an exchange really delivered with duplicates."""
    path, series = shared_data / f"dirty_binance_BTCUSDT_{timeframe}.parquet", BTC._replace(timeframe=timeframe)
    assert f"a duplicate; row {row} ({when}) of {path.name}" in refusal(path, store, series)
    done = import_file(path, series, store, repair=True)
    assert [(repair.action, len(repair.rows)) for repair in done.repairs] == [("dropped as an exact duplicate", count)]
    assert done.added == done.rows - count


def test_a_file_full_of_holes_keeps_its_holes(shared_data: Path) -> None:
    """Read the minutes that were collected with 800 missing after every 200."""
    minutes = Series("upbit", "BTC/KRW", "1m")
    data, repairs, count = read_file(shared_data / "upbit_BTCKRW_1m_gappy.parquet", minutes)
    assert isinstance(data, Candles)
    assert (count, len(data), repairs) == (37200, 37200, ())
    assert (len(data.gaps()), sum(gap.missing for gap in data.gaps())) == (186, 148000)

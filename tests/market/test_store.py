"""The store: what goes in comes out, once, whole, whatever happens in between."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctp.errors import ConfigError, DataDamaged, InputError, NotFound
from ctp.market import month_files
from ctp.market.candles import Candles, FundingRates
from ctp.market.series import CANDLE_FIELDS, TIMEFRAMES, Series
from ctp.market.store import JOURNAL_ROWS, Appended, CandleStore
from tests.conftest import ROOT
from tests.market.made import HOUR, JANUARY, files_below, made_candles, without

BTC = Series("binance", "BTC/USDT", "1h")


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    """Return an empty store."""
    return CandleStore(tmp_path / "candles")


def reach(store: CandleStore, name: str, series: Series = BTC) -> Path:
    """Return a file of a stored series."""
    return store.root / series.folder / name


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_stored_in_pieces_is_loaded_the_same(data: st.DataObject, tmp_path_factory) -> None:
    """Store valid candles with holes, cut anywhere, in any order and partly twice; load them equal to the bit."""
    timeframe = data.draw(st.sampled_from(["1m", "1h", "1d"]))
    count = data.draw(st.integers(1, 120))
    steps = data.draw(st.lists(st.integers(1, 40), min_size=count, max_size=count))
    price = st.floats(min_value=1e-8, max_value=1e9, allow_nan=False)
    values = np.array(data.draw(st.lists(st.tuples(price, price, price, price), min_size=count, max_size=count)))
    volume = np.array(data.draw(st.lists(st.floats(0, 1e12), min_size=count, max_size=count)))
    ordered = np.sort(values, axis=1)
    time = JANUARY + np.cumsum(steps) * TIMEFRAMES[timeframe]
    whole = Candles.checked(
        "BTC/USDT", timeframe, "binance", time, ordered[:, 1], ordered[:, 3], ordered[:, 0], ordered[:, 2], volume
    )
    store = CandleStore(tmp_path_factory.mktemp("candles"))
    cuts = sorted(data.draw(st.sets(st.integers(1, count), max_size=6)) | {count})
    pieces = [(first, last) for first, last in zip([0, *cuts], cuts, strict=False)]
    for first, last in [*data.draw(st.permutations(pieces)), *data.draw(st.lists(st.sampled_from(pieces), max_size=2))]:
        cut = {name: column[first:last] for name, column in whole.columns().items()}
        done = store.append(Candles("BTC/USDT", timeframe, "binance", time[first:last], **cut))
        assert done.added + done.unchanged == last - first
        assert done.revised == ()
    assert store.load(whole.series) == whole
    assert store.times(whole.series).tolist() == time.tolist()
    assert [verified.problems for verified in store.verify()] == [()]
    first, last = sorted(data.draw(st.tuples(st.sampled_from(time.tolist()), st.sampled_from(time.tolist()))))
    assert store.load(whole.series, first, last + 1) == whole.between(first, last + 1)


def test_appending_the_same_again_changes_no_byte(store: CandleStore) -> None:
    """Append twice, in the archive and in the journal."""
    candles = made_candles(900)
    store.append(candles.between(None, JANUARY + 800 * HOUR))
    store.append(candles.between(JANUARY + 800 * HOUR))
    before = {name: (store.root / name).read_bytes() for name in files_below(store.root)}
    assert store.append(candles.between(JANUARY + 700 * HOUR, JANUARY + 750 * HOUR))[:2] == (0, 50)
    archived = [name for name in before if name.endswith(".parquet")]
    store.append(candles)
    assert store.load(BTC) == candles
    assert len(archived) == 2


def test_a_month_that_gets_nothing_new_is_not_rewritten(store: CandleStore) -> None:
    """Append to February; January's file keeps its inode."""
    store.append(made_candles(1400))
    january = reach(store, "2024-01.parquet").stat()
    store.append(made_candles(700, start=JANUARY + 1400 * HOUR, seed=8))
    assert reach(store, "2024-01.parquet").stat().st_ino == january.st_ino
    assert len(store.load(BTC)) == 2100


def test_other_values_for_a_stored_time_replace_it_and_are_reported(store: CandleStore) -> None:
    """Revise one archived and one journalled candle."""
    candles = made_candles(100)
    store.append(candles.between(None, JANUARY + 90 * HOUR))
    store.append(candles.between(JANUARY + 90 * HOUR))
    changed = {name: column.copy() for name, column in candles.columns().items()}
    changed["volume"][[10, 95]] += 1.0
    other = Candles("BTC/USDT", "1h", "binance", candles.time, **changed)
    done = store.append(other)
    assert (done.added, done.unchanged) == (0, 98)
    assert [revision.time for revision in done.revised] == [JANUARY + 10 * HOUR, JANUARY + 95 * HOUR]
    assert done.revised[0].after[-1] == done.revised[0].before[-1] + 1.0
    assert store.load(BTC) == other


def test_a_new_candle_goes_to_the_journal_and_a_long_journal_into_its_month(store: CandleStore) -> None:
    """Append one by one past the journal's length and past the month's end."""
    candles = made_candles(100 + JOURNAL_ROWS + 200)
    store.append(candles.between(None, JANUARY + 100 * HOUR))
    archived = reach(store, "2024-01.parquet").stat().st_ino
    for n in range(100, len(candles)):
        store.append(candles.between(JANUARY + n * HOUR, JANUARY + (n + 1) * HOUR))
        if n == 110:
            assert reach(store, "2024-01.parquet").stat().st_ino == archived
            assert len(store.load(BTC)) == 111
    assert store.load(BTC) == candles
    assert next(iter(store.list())).rows == len(candles)
    assert pq.read_metadata(reach(store, "2024-01.parquet")).num_rows > 600


def test_a_record_torn_by_a_power_cut_is_dropped_and_written_over(store: CandleStore) -> None:
    """Cut the journal in the middle of its last record at every length."""
    candles = made_candles(20)
    store.append(candles.between(None, JANUARY + 10 * HOUR))
    store.append(candles.between(JANUARY + 10 * HOUR, JANUARY + 12 * HOUR))
    journal = reach(store, month_files.JOURNAL)
    content = journal.read_bytes()
    for size in range(len(content) // 2, len(content)):
        journal.write_bytes(content[:size])
        assert len(store.load(BTC)) == 11
    store.append(candles.between(JANUARY + 11 * HOUR))
    assert store.load(BTC) == candles


def test_a_broken_record_before_the_last_is_an_error_that_names_the_journal(store: CandleStore) -> None:
    """Flip a byte of the first record."""
    candles = made_candles(20)
    store.append(candles.between(None, JANUARY + 10 * HOUR))
    store.append(candles.between(JANUARY + 10 * HOUR))
    journal = reach(store, month_files.JOURNAL)
    content = bytearray(journal.read_bytes())
    content[9] ^= 1
    journal.write_bytes(content)
    with pytest.raises(DataDamaged, match=r"newest\.journal.*record 1.*ctp data download"):
        store.load(BTC)
    assert [len(verified.problems) for verified in store.verify()] == [1]


def test_rows_in_both_journal_and_month_after_a_crash_are_loaded_once(store: CandleStore) -> None:
    """Put the journal back that a fold had removed."""
    candles = made_candles(20)
    store.append(candles.between(None, JANUARY + 10 * HOUR))
    store.append(candles.between(JANUARY + 10 * HOUR, JANUARY + 15 * HOUR))
    journal = reach(store, month_files.JOURNAL)
    content = journal.read_bytes()
    store.append(candles.between(JANUARY + 5 * HOUR, JANUARY + 15 * HOUR))
    assert not journal.exists()
    journal.write_bytes(content)
    assert store.load(BTC) == candles.between(None, JANUARY + 15 * HOUR)
    assert next(iter(store.list())).rows == 15
    assert [verified.problems for verified in store.verify()] == [()]
    assert store.append(candles) == Appended(5, 15, ())
    assert store.load(BTC) == candles
    later = made_candles(5, start=JANUARY + 20 * HOUR, seed=3)
    store.append(later)
    assert len(store.load(BTC)) == 25


def test_a_full_disk_changes_nothing_and_says_so(store: CandleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second month's fsync fail."""
    candles = made_candles(1000)
    store.append(candles.between(None, JANUARY + 10 * HOUR))
    before = {name: (store.root / name).read_bytes() for name in files_below(store.root)}
    calls = []

    def full(handle: int) -> None:
        """Fail like a full disk from the second call on."""
        calls.append(handle)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"No space left on device; nothing was changed"):
        store.append(candles)
    assert {name: (store.root / name).read_bytes() for name in files_below(store.root)} == before


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_corrupt_month_is_one_sentence_naming_the_file_and_the_way_back(store: CandleStore, damage: str) -> None:
    """Spoil February in four ways; January still loads."""
    store.append(made_candles(1000))
    path = reach(store, "2024-02.parquet")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 3] ^= 0x10
    spoiled = {"flip": bytes(content), "cut": bytes(content[:-20]), "empty": b"", "text": b"ts,open\n" * 50}
    path.write_bytes(spoiled[damage])
    with pytest.raises(DataDamaged) as broken:
        store.load(BTC)
    message = str(broken.value)
    assert str(path) in message
    assert "delete this file, then import that month again or run: ctp data download" in message
    assert message.endswith("--symbol BTC/USDT --timeframe 1h --since 2024-02-01")
    assert "\n" not in message
    assert len(store.load(BTC, None, JANUARY + 744 * HOUR)) == 744
    assert [len(verified.problems) for verified in store.verify()] == [1]


def test_verify_sees_files_in_the_wrong_place(store: CandleStore) -> None:
    """Copy Ethereum's January over Bitcoin's, then January over February."""
    store.append(made_candles(1000))
    store.append(made_candles(1000, symbol="ETH/USDT", seed=1))
    ether = BTC._replace(symbol="ETH/USDT")
    reach(store, "2024-01.parquet").write_bytes(reach(store, "2024-01.parquet", ether).read_bytes())
    january = reach(store, "2024-01.parquet", ether).read_bytes()
    reach(store, "2024-02.parquet", ether).write_bytes(january)
    bitcoin, ethereum = store.verify()
    assert "says it holds binance ETH/USDT 1h" in bitcoin.problems[0]
    assert "holds candles of another month" in ethereum.problems[0]


def test_nothing_stored_says_the_download_command(store: CandleStore) -> None:
    """Load from an empty store, then outside what is stored."""
    command = "ctp data download --exchange binance --symbol BTC/USDT --timeframe 1h --since 2024-01-01"
    with pytest.raises(NotFound, match="nothing of it is stored") as nothing:
        store.load(BTC, JANUARY)
    assert str(nothing.value).endswith(command)
    store.append(made_candles(10))
    with pytest.raises(NotFound, match="stored are 2024-01-01T00:00:00Z to 2024-01-01T09:00:00Z"):
        store.load(BTC, JANUARY + 10 * HOUR, JANUARY + 20 * HOUR)
    assert files_below(store.root / "binanceusdm") == []


def test_candles_mark_and_funding_are_kept_apart(store: CandleStore) -> None:
    """Store all three kinds of one perpetual."""
    names = {"symbol": "BTC/USDT:USDT", "exchange": "binanceusdm"}
    last, mark = made_candles(50, **names), made_candles(50, seed=2, kind="mark", **names)
    funding = FundingRates.checked(**names, time=JANUARY + np.arange(90) * 8 * HOUR, rate=np.linspace(-1e-4, 1e-4, 90))
    for data in (last, mark, funding):
        store.append(data)
    assert store.load(last.series) == last
    assert store.load(mark.series) == mark
    assert store.load_funding(last.series) == funding
    with pytest.raises(InputError, match="load_funding"):
        store.load(funding.series)
    assert [stored.series.kind for stored in store.list()] == ["candles", "mark", "funding"]
    assert [verified.problems for verified in store.verify()] == [(), (), ()]


def test_list_tells_rows_and_range_and_ignores_what_is_not_ours(store: CandleStore) -> None:
    """Put a stranger's folder beside ours."""
    store.append(without(made_candles(1000), 5, 6))
    (store.root / "notes" / "of" / "mine").mkdir(parents=True)
    (stored,) = store.list()
    assert stored[:4] == (BTC, 998, JANUARY, JANUARY + 999 * HOUR)
    assert [gap.missing for gap in store.gaps(BTC)] == [2]


def test_what_is_stored_can_be_read_by_anyone(store: CandleStore) -> None:
    """Read the file with plain Parquet tools, columns as documented."""
    store.append(made_candles(10))
    table = pq.read_table(reach(store, "2024-01.parquet"))
    assert table.column_names == ["ts", *CANDLE_FIELDS]
    assert table.schema.metadata[b"symbol"] == b"BTC/USDT"


def test_two_writers_at_once_lose_nothing(store: CandleStore) -> None:
    """Let two threads with their own stores append every other candle of the same months."""
    candles = made_candles(1000)

    def write(first: int) -> None:
        """Append every other stretch of 25 candles."""
        own = CandleStore(store.root)
        for n in range(first, 1000, 50):
            own.append(candles.between(JANUARY + n * HOUR, JANUARY + (n + 25) * HOUR))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (0, 25)))
    assert store.load(BTC) == candles


def test_a_writer_killed_at_any_moment_leaves_whole_rows(store: CandleStore, tmp_path: Path) -> None:
    """Kill a process that appends candle after candle; what it said is stored is there, and it can go on."""
    candles = made_candles(4000)
    script = (
        "import sys; from pathlib import Path\n"
        "from ctp.market.store import CandleStore\n"
        "from tests.market.made import made_candles, JANUARY, HOUR\n"
        "store, candles = CandleStore(Path(sys.argv[1])), made_candles(4000)\n"
        "for n in range(int(sys.argv[2]), 4000, 40):\n"
        "    store.append(candles.between(JANUARY + n * HOUR, JANUARY + (n + 40) * HOUR)); print(n + 40, flush=True)\n"
    )
    done = 0
    for lines in (1, 7, 14):
        command = [sys.executable, "-c", script, str(store.root), str(done)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                done = int(writer.stdout.readline())
            writer.kill()
        stored = store.load(BTC)
        assert len(stored) >= done
        assert stored == candles.between(None, JANUARY + len(stored) * HOUR)
        assert [verified.problems for verified in store.verify()] == [()]
    store.append(candles)
    assert store.load(BTC) == candles


def test_folders_the_store_makes_are_the_owners_alone(tmp_path: Path) -> None:
    """Let the store make everything from the home on."""
    store = CandleStore(tmp_path / "home" / "candles")
    store.append(made_candles(3))
    made = [tmp_path / "home", store.root, *store.root.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}

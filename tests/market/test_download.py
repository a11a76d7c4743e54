"""Downloads: complete, resumable at any page, and never asking twice for what is known."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt_async
import pytest
from ccxt.base import errors as ccxt_errors

from ctp.errors import ExchangeBusy, ExchangeDown, ExchangeError, InputError
from ctp.market.absent import FILE, read_absent, subtract
from ctp.market.candles import Candles
from ctp.market.download import Downloaded, Progress, download, repair
from ctp.market.exchange_source import RATE_LIMIT_WAIT_S, RETRY_WAITS_S
from ctp.market.series import Series
from ctp.market.store import CandleStore
from tests.market.exchanges import BinanceLike, UpbitLike
from tests.market.made import HOUR, JANUARY, made_candles, without

BTC = Series("binance", "BTC/USDT", "1h")


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    """Return an empty store."""
    return CandleStore(tmp_path / "candles")


@pytest.fixture
def naps() -> list[float]:
    """Return the pauses the download asked for."""
    return []


def fetched(
    exchange: BinanceLike,
    store: CandleStore,
    series: Series = BTC,
    since: int = JANUARY,
    until: int | None = None,
    naps: list[float] | None = None,
    seen: list[Progress] | None = None,
) -> Downloaded:
    """Run a download with the exchange's clock and without sleeping."""

    async def sleep(pause_s: float) -> None:
        """Note the pause instead of waiting."""
        (naps if naps is not None else []).append(pause_s)

    return asyncio.run(
        download(
            exchange,
            store,
            series,
            since,
            until,
            on_progress=None if seen is None else seen.append,
            now_ms=exchange.now_ms,
            sleep=sleep,
        )
    )


def closed(candles: Candles, now: int) -> Candles:
    """Return the candles that have closed."""
    return candles.between(None, now - HOUR + 1)


def test_everything_closed_is_fetched_page_by_page(store: CandleStore) -> None:
    """Fetch 2,500 candles in pages of 1,000; the forming one stays out."""
    candles = made_candles(2500)
    exchange = BinanceLike(candles, now=JANUARY + 2499 * HOUR + HOUR // 2)
    seen: list[Progress] = []
    done = fetched(exchange, store, seen=seen)
    assert exchange.asked == [JANUARY, JANUARY + 1000 * HOUR, JANUARY + 2000 * HOUR]
    assert (done.added, done.requests, done.revised, done.gaps) == (2499, 3, (), ())
    assert store.load(BTC) == closed(candles, exchange.now)
    assert [round(progress.fraction, 2) for progress in seen] == [0.4, 0.8, 1.0]
    assert seen[-1].added == 2499


def test_a_candle_is_closed_at_its_close_time_and_not_before(store: CandleStore) -> None:
    """Look one millisecond before a close and at it."""
    candles = made_candles(10)
    fetched(BinanceLike(candles, now=JANUARY + 5 * HOUR - 1), store)
    assert len(store.load(BTC)) == 4
    fetched(BinanceLike(candles, now=JANUARY + 5 * HOUR), store)
    assert len(store.load(BTC)) == 5


def test_a_second_download_asks_only_for_what_is_new(store: CandleStore) -> None:
    """Download, wait 30 candles, download, and once more."""
    candles = made_candles(1500)
    exchange = BinanceLike(candles, now=JANUARY + 1400 * HOUR)
    fetched(exchange, store)
    exchange.now += 30 * HOUR
    exchange.asked.clear()
    done = fetched(exchange, store)
    assert exchange.asked == [JANUARY + 1399 * HOUR]  # the newest one again, in case it was stored too early
    assert (done.added, done.revised) == (30, ())
    exchange.asked.clear()
    assert fetched(exchange, store).requests == 0


def test_a_candle_stored_too_early_is_corrected_and_reported(store: CandleStore) -> None:
    """Revise the newest candle between two downloads."""
    candles = made_candles(40)
    exchange = BinanceLike(candles, now=JANUARY + 20 * HOUR)
    exchange.rows[19][5] += 4.0
    fetched(exchange, store)
    exchange.rows[19][5] -= 4.0
    exchange.now += 5 * HOUR
    done = fetched(exchange, store)
    assert [revision.time for revision in done.revised] == [JANUARY + 19 * HOUR]
    assert store.load(BTC) == closed(candles, exchange.now)


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
def test_a_download_interrupted_at_any_page_goes_on_from_there(stop_at: int, store: CandleStore) -> None:
    """Interrupt the n-th request as Ctrl-C does, then run again: no page stored is asked for again."""
    candles = made_candles(3500)
    exchange = BinanceLike(candles, now=JANUARY + 3500 * HOUR)
    exchange.faults[stop_at] = asyncio.CancelledError()  # what Ctrl-C is inside asyncio.run
    with pytest.raises(asyncio.CancelledError):
        fetched(exchange, store)
    assert store.times(BTC).size == 1000 * (stop_at - 1)
    exchange.asked.clear()
    exchange.faults.clear()
    fetched(exchange, store)
    assert min(exchange.asked) >= JANUARY + max(0, 1000 * (stop_at - 1) - 1) * HOUR
    assert store.load(BTC) == candles


def test_a_cancelled_download_leaves_whole_pages(store: CandleStore) -> None:
    """Cancel the task from its own progress report."""
    exchange = BinanceLike(made_candles(3500), now=JANUARY + 3500 * HOUR)

    async def cancelled() -> None:
        """Cancel after the second page."""

        def report(progress: Progress) -> None:
            """Cancel whoever is reporting."""
            if progress.added == 2000:
                task.cancel()

        task = asyncio.create_task(
            download(exchange, store, BTC, JANUARY, on_progress=report, now_ms=exchange.now_ms)
        )
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    stored = store.load(BTC)
    assert len(stored) in (2000, 3000)  # the page that was being written is whole or absent
    assert stored == made_candles(3500).between(None, int(stored.time[-1]) + 1)


def test_a_hole_the_exchange_answers_on_the_second_question_is_filled(store: CandleStore) -> None:
    """Let the exchange forget three candles once."""
    candles = made_candles(900)
    exchange = BinanceLike(candles, now=JANUARY + 900 * HOUR)
    exchange.hidden = {JANUARY + n * HOUR for n in (100, 101, 500)}
    done = fetched(exchange, store)
    assert done.gaps == ()
    assert store.load(BTC) == candles
    assert done.requests == 2  # both holes lie within one page
    assert read_absent(store.folder(BTC)) == []


@pytest.mark.parametrize(("kind", "name"), [(BinanceLike, "binance"), (UpbitLike, "upbit")])
def test_an_outage_is_asked_for_twice_then_remembered(kind: type[BinanceLike], name: str, store: CandleStore) -> None:
    """Download over real holes: the third question never comes, except from a repair."""
    series = BTC._replace(exchange=name)
    candles = without(made_candles(900, exchange=name), 100, 101, *range(300, 720))
    exchange = kind(candles, now=JANUARY + 900 * HOUR, most=200)
    done = fetched(exchange, store, series)
    assert [gap.missing for gap in done.gaps] == [2, 420]
    assert store.load(series) == candles
    exchange.asked.clear()
    assert fetched(exchange, store, series) == Downloaded(series, 0, 0, (), done.gaps)
    exchange.rows = BinanceLike(made_candles(900), exchange.now).rows  # the exchange mends its history

    async def mended() -> Downloaded:
        """Repair what is stored."""
        return await repair(exchange, store, series)

    assert asyncio.run(mended()).gaps == ()
    assert store.load(series) == made_candles(900, exchange=name)


def test_nothing_before_the_listing_is_asked_for_again(store: CandleStore) -> None:
    """Ask from long before the first candle, on an exchange that answers window by window."""
    candles = made_candles(300, start=JANUARY + 600 * HOUR)
    exchange = UpbitLike(candles, now=JANUARY + 900 * HOUR, most=200)
    upbit = Series("upbit", "BTC/KRW", "1h")
    done = fetched(exchange, store, upbit)
    assert (done.added, done.gaps) == (300, ())
    exchange.asked.clear()
    assert fetched(exchange, store, upbit).requests == 0


def test_the_end_of_the_range_is_asked_for_again(store: CandleStore) -> None:
    """Let the exchange be late with its newest candles."""
    candles = made_candles(50)
    exchange = BinanceLike(candles, now=JANUARY + 50 * HOUR)
    late = exchange.rows[45:]
    exchange.rows = exchange.rows[:45]
    fetched(exchange, store)
    exchange.rows += late
    assert fetched(exchange, store).added == 5


def test_earlier_history_is_fetched_before_what_is_stored(store: CandleStore) -> None:
    """Download February, then from January on: only January is asked for."""
    candles = made_candles(1200)
    exchange = BinanceLike(candles, now=JANUARY + 1200 * HOUR)
    fetched(exchange, store, since=JANUARY + 800 * HOUR)
    exchange.asked.clear()
    fetched(exchange, store)
    assert exchange.asked == [JANUARY]
    assert store.load(BTC) == candles


def test_until_ends_the_range(store: CandleStore) -> None:
    """Ask for a day in the middle."""
    exchange = BinanceLike(made_candles(100), now=JANUARY + 100 * HOUR)
    fetched(exchange, store, since=JANUARY + 24 * HOUR, until=JANUARY + 48 * HOUR)
    assert store.load(BTC) == made_candles(100).between(JANUARY + 24 * HOUR, JANUARY + 48 * HOUR)


def test_a_lost_answer_is_asked_for_again(store: CandleStore, naps: list[float]) -> None:
    """Fail twice, be told to slow down once, then answer."""
    exchange = BinanceLike(made_candles(10), now=JANUARY + 10 * HOUR)
    exchange.faults = {
        1: ccxt_errors.RequestTimeout("slow"),
        2: ccxt_errors.ExchangeNotAvailable("503"),
        3: ccxt_errors.RateLimitExceeded("429"),
    }
    assert fetched(exchange, store, naps=naps).added == 10
    assert naps == [*RETRY_WAITS_S[:2], RATE_LIMIT_WAIT_S]


@pytest.mark.parametrize(
    ("fault", "ours", "words"),
    [
        (ccxt_errors.RequestTimeout("slow"), ExchangeDown, "no answer after 5 attempts"),
        (ccxt_errors.RateLimitExceeded("429 too much"), ExchangeBusy, "429 too much"),
        (ccxt_errors.BadSymbol("no"), InputError, "binance does not list it"),
        (ccxt_errors.NotSupported("fetchOHLCV"), ExchangeError, "fetchOHLCV"),
    ],
)
def test_what_stays_wrong_is_our_error_and_keeps_what_was_fetched(
    fault: Exception, ours: type[Exception], words: str, store: CandleStore
) -> None:
    """Fail for good from the second page on."""
    exchange = BinanceLike(made_candles(2500), now=JANUARY + 2500 * HOUR)
    exchange.faults = dict.fromkeys(range(2, 20), fault)
    with pytest.raises(ours, match=words):
        fetched(exchange, store)
    assert len(store.load(BTC)) == 1000


def test_a_page_that_cannot_be_right_is_not_stored(store: CandleStore) -> None:
    """Send a high below its low, then a value that is missing."""
    exchange = BinanceLike(made_candles(10), now=JANUARY + 10 * HOUR)
    exchange.rows[4][2] = 1.0
    with pytest.raises(ExchangeDown, match=r"cannot be right: high = 1\.0.*row 5"):
        fetched(exchange, store)
    exchange.rows[4][2] = None
    with pytest.raises(ExchangeDown, match="high = nan"):
        fetched(exchange, store)
    assert store.times(BTC).size == 0


def test_the_page_an_exchange_sends_in_disorder_and_twice_is_sorted(store: CandleStore) -> None:
    """Answer newest first with one row twice, as some do."""
    candles = made_candles(10)
    exchange = BinanceLike(candles, now=JANUARY + 10 * HOUR)
    exchange.rows = [exchange.rows[3], *exchange.rows[::-1]]
    fetched(exchange, store)
    assert store.load(BTC) == candles


def test_mark_candles_and_funding_are_downloaded_too(store: CandleStore) -> None:
    """Download both for a perpetual, twice."""
    candles = made_candles(600)
    exchange = BinanceLike(candles, now=JANUARY + 600 * HOUR)
    okx = Series("okx", "BTC/USDT:USDT", "", "funding")
    mark, funding = (Series.checked("binanceusdm", "BTC/USDT:USDT", "1h", kind) for kind in ("mark", "funding"))
    fetched(exchange, store, mark)
    assert exchange.params == [{"price": "mark"}]
    loaded = store.load(mark)
    assert loaded.close.tolist() == candles.close.tolist()
    assert not loaded.volume.any()
    assert fetched(exchange, store, funding, since=JANUARY - 5 * HOUR).added == 75
    rates = store.load_funding(funding)
    assert rates.time.tolist() == [JANUARY + n * 8 * HOUR for n in range(75)]
    assert fetched(exchange, store, okx).added == 75  # in pages of 100 hours
    exchange.asked.clear()
    done = fetched(exchange, store, funding, since=JANUARY - 5 * HOUR)
    assert (done.added, done.revised) == (0, ())
    assert min(exchange.asked) == JANUARY + 592 * HOUR


def test_a_timeframe_the_exchange_lacks_and_a_range_of_nothing_are_errors(store: CandleStore) -> None:
    """Ask for 3 minutes of an exchange without them, then for the future."""
    exchange = BinanceLike(made_candles(10), now=JANUARY + 10 * HOUR)
    with pytest.raises(InputError, match="since"):
        fetched(exchange, store, since=JANUARY + 10 * HOUR)
    exchange.timeframes = {"1m": "1m", "1h": "60"}  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="binance has 1m, 1h"):
        fetched(exchange, store, BTC._replace(timeframe="3m"))


def test_a_lost_memory_of_absent_candles_costs_requests_only(store: CandleStore) -> None:
    """Spoil the file of absent ranges."""
    candles = without(made_candles(100), 50)
    exchange = BinanceLike(candles, now=JANUARY + 100 * HOUR)
    fetched(exchange, store)
    (store.folder(BTC) / FILE).write_text("{ not json")
    exchange.asked.clear()
    assert [gap.missing for gap in fetched(exchange, store).gaps] == [1]
    assert len(exchange.asked) == 2
    assert store.load(BTC) == candles


@pytest.mark.parametrize(
    ("ranges", "known", "left"),
    [
        ([(0, 10)], [], [(0, 10)]),
        ([(0, 10)], [(0, 10)], []),
        ([(0, 10)], [(3, 5)], [(0, 3), (5, 10)]),
        ([(0, 10), (20, 30)], [(5, 25)], [(0, 5), (25, 30)]),
        ([(5, 10)], [(0, 2), (9, 12)], [(5, 9)]),
    ],
)
def test_known_ranges_are_taken_away(
    ranges: list[tuple[int, int]], known: list[tuple[int, int]], left: list[tuple[int, int]]
) -> None:
    """Subtract ranges in every position."""
    assert subtract(ranges, known) == left


def test_the_real_ccxt_classes_fill_the_port(store: CandleStore) -> None:
    """Answer at ccxt's own endpoints with Binance's raw rows: unmodified ccxt asks and parses."""
    candles = made_candles(1700, exchange="binanceusdm", symbol="BTC/USDT:USDT")
    raw = BinanceLike(candles, now=JANUARY + 1700 * HOUR, most=1500)
    queries: list[tuple[str, dict[str, Any]]] = []

    class Recorded(ccxt_async.binanceusdm):
        """Serve klines, mark klines and funding without a network."""

        async def load_markets(self, reload: bool = False, params: dict[str, object] | None = None) -> object:
            """Know one market."""
            market = {"id": "BTCUSDT", "symbol": "BTC/USDT:USDT", "base": "BTC", "quote": "USDT", "settle": "USDT"}
            kinds = {"type": "swap", "swap": True, "linear": True, "contract": True, "spot": False}
            return self.set_markets([self.safe_market_structure(market | kinds)])

        async def request(self, path: str, *args: object, **kwargs: object) -> object:
            """Answer one endpoint from the made rows."""
            query: dict[str, Any] = dict(args[2])  # type: ignore[call-overload]
            queries.append((path, query))
            if path == "fundingRate":
                until = {"until": query["endTime"]}
                entries = await raw.fetch_funding_rate_history("", query["startTime"], query["limit"], until)
                return [
                    {"symbol": "BTCUSDT", "fundingTime": entry["timestamp"], "fundingRate": str(entry["fundingRate"])}
                    for entry in entries
                ]
            rows = await raw.fetch_ohlcv("", "1h", query["startTime"], query["limit"], {})
            return [[row[0], *map(repr, row[1:]), row[0] + HOUR - 1, "0", 1, "0", "0", "0"] for row in rows]

    async def all_kinds() -> None:
        """Download the three kinds through one exchange object."""
        exchange = Recorded({"enableRateLimit": False})
        await exchange.load_markets()
        try:
            for kind in ("candles", "mark", "funding"):
                series = Series.checked("binanceusdm", "BTC/USDT:USDT", "1h", kind)
                await download(exchange, store, series, JANUARY, now_ms=raw.now_ms)
        finally:
            await exchange.close()

    asyncio.run(all_kinds())
    assert [(path, query["limit"]) for path, query in queries[:2]] == [("klines", 1000), ("klines", 1000)]
    assert {path for path, _ in queries} == {"klines", "markPriceKlines", "fundingRate"}
    assert store.load(candles.series) == candles
    assert len(store.load(candles.series._replace(kind="mark"))) == 1700
    assert len(store.load_funding(candles.series)) == 213

"""Print how fast candles are stored and loaded: run `python benchmarks/candles.py`.

One million generated one-minute candles, 23 monthly files. Loading is compared, in the same run, with one plain
Parquet file read by pandas; an append with the file system's own fsync, below which nothing durable can go.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ctp.market.candles import Candles
from ctp.market.store import CandleStore

COUNT = 1_000_000
START = 1_609_459_200_000
MINUTE = 60_000


def made(count: int, start: int) -> Candles:
    """Return generated candles with prices of two decimals and volumes of five, as Binance has them."""
    chance = np.random.default_rng(1)
    close = np.round(30_000 * np.exp(np.cumsum(chance.standard_t(4, count) * 4e-4)), 2)
    opened = np.concatenate([[30_000.0], close[:-1]])
    spread = np.abs(chance.normal(0, 10, (2, count))).round(2)
    high, low = np.maximum(opened, close) + spread[0], np.maximum(0.01, np.minimum(opened, close) - spread[1])
    volume = np.round(chance.exponential(20, count), 5)
    times = start + np.arange(count, dtype=np.int64) * MINUTE
    return Candles.checked("BTC/USDT", "1m", "binance", times, opened, high, low, close, volume)


def milliseconds(action: Callable[[], object], rounds: int) -> list[float]:
    """Return how long each round took, sorted."""
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        action()
        taken.append((time.perf_counter() - begin) * 1000)
    return sorted(taken)


def say(what: str, taken: list[float]) -> None:
    """Print one line."""
    print(f"{what:<52} median {statistics.median(taken):8.2f} ms   best {taken[0]:8.2f} ms")


def sync_once(path: Path) -> None:
    """Append one record's worth of bytes and bring them to disk."""
    with path.open("ab") as file:
        file.write(b"x" * 52)
        file.flush()
        os.fdatasync(file.fileno())


def main() -> None:
    """Measure and print."""
    candles = made(COUNT, START)
    with tempfile.TemporaryDirectory() as folder:
        store = CandleStore(Path(folder) / "candles")
        say("store 1,000,000 candles", milliseconds(lambda: store.append(candles), 1))
        assert store.load(candles.series) == candles
        plain = Path(folder) / "plain.parquet"
        candles.to_frame().to_parquet(plain, compression="zstd")
        loads = milliseconds(lambda: store.load(candles.series), 15)
        frames = milliseconds(lambda: pd.read_parquet(plain), 15)
        say("load 1,000,000 candles (goal 60 ms)", loads)
        say("  one plain Parquet file, pandas", frames)
        say("load the last 1,000 candles", milliseconds(lambda: store.load(candles.series, START + 999_000 * MINUTE), 15))
        new = made(400, START + COUNT * MINUTE)
        pieces = iter([new.between(int(when), int(when) + 1) for when in new.time])
        appends = milliseconds(lambda: store.append(next(pieces)), 400)
        syncs = milliseconds(lambda: sync_once(Path(folder) / "bare"), 400)
        say("append one candle, durable (goal 1 ms)", appends)
        say("  bare write and fsync", syncs)
        size = sum(path.stat().st_size for path in store.root.rglob("*.parquet"))
        ratio = statistics.median(frames) / statistics.median(loads)
        print(f"{size / COUNT:.1f} bytes per candle; loading is {ratio:.2f}x one plain file with pandas")


if __name__ == "__main__":
    main()

"""Make small, valid candles and files of them for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ctp.market.candles import Candles
from ctp.market.series import CANDLE_FIELDS, Kind, timeframe_ms

JANUARY = 1_704_067_200_000  # 2024-01-01T00:00Z
HOUR = 3_600_000
LONG_AFTER = JANUARY + 10_000 * HOUR


def made_columns(count: int, timeframe: str = "1h", start: int = JANUARY, seed: int = 7) -> dict[str, np.ndarray]:
    """Return `count` valid candles as columns `ts`, open, high, low, close, volume."""
    chance = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(chance.normal(0, 0.01, count)))
    opened = np.concatenate([[100.0], close[:-1]])
    return {
        "ts": start + np.arange(count, dtype=np.int64) * timeframe_ms(timeframe),
        "open": opened,
        "high": np.maximum(opened, close) * 1.002,
        "low": np.minimum(opened, close) * 0.998,
        "close": close,
        "volume": chance.uniform(0, 50, count),
    }


def made_candles(
    count: int,
    timeframe: str = "1h",
    start: int = JANUARY,
    seed: int = 7,
    symbol: str = "BTC/USDT",
    exchange: str = "binance",
    kind: Kind = "candles",
) -> Candles:
    """Return `count` valid candles."""
    columns = made_columns(count, timeframe, start, seed)
    values = {name: columns[name] for name in CANDLE_FIELDS}
    return Candles.checked(symbol, timeframe, exchange, columns["ts"], **values, kind=kind)


def without(candles: Candles, *positions: int) -> Candles:
    """Return candles with some left out, as an exchange's outage would."""
    kept = np.delete(np.arange(len(candles)), positions)
    values = {name: column[kept] for name, column in candles.columns().items()}
    return Candles(candles.symbol, candles.timeframe, candles.exchange, candles.time[kept], **values, kind=candles.kind)


def write_parquet(path: Path, columns: dict[str, np.ndarray]) -> Path:
    """Write columns as a Parquet file and return its path."""
    pq.write_table(pa.table(columns), path)
    return path


def write_csv(path: Path, columns: dict[str, np.ndarray], header: bool = True) -> Path:
    """Write columns as CSV with every digit of every number and return its path."""
    lines = [",".join(columns)] if header else []
    lines += [",".join(map(repr, row)) for row in zip(*(values.tolist() for values in columns.values()), strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def files_below(folder: Path) -> list[str]:
    """Return every file below a folder, by name, so that 'nothing written' can be asserted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

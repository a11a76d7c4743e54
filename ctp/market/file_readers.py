"""Read candle and funding files of other programs into plain columns.

Owns what a file may look like: CSV (header or not; times as seconds, milliseconds, micro- or nanoseconds, or ISO
dates), Parquet, freqtrade's feather and JSON. Nothing is judged here but whether a cell can be read at all.

Invariants:
1. Rows come out in the file's order, one for one; a missing number is NaN.
2. Text becomes the nearest double, times whole milliseconds UTC; times without a zone are UTC.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from ctp.errors import InputError
from ctp.market.series import CANDLE_FIELDS, Series

TIME_NAMES = ("ts", "timestamp", "open_time", "open time", "unix", "time", "datetime", "date")
RATE_NAMES = ("rate", "funding_rate", "fundingrate", "last_funding_rate")
MILLISECOND_COUNTS = {1_000_000: "nanoseconds", 1000: "microseconds", 1: "milliseconds"}


def read_columns(path: Path, series: Series) -> dict[str, np.ndarray]:
    """Return the file's `ts` (int64 ms) and value columns (float64) for a series of this kind.

    Raises InputError naming the file, and the row and field where one cell cannot be read.
    """
    if not path.is_file():
        raise InputError("file", str(path), "is not there" if not path.exists() else "is not a file")
    if path.stat().st_size == 0:
        raise InputError("file", str(path), "is empty")
    name = path.name.removesuffix(".gz")
    reader = _READERS.get(name[name.rfind(".") :].lower())
    if reader is None:
        raise InputError("file", str(path), f"must end in one of {', '.join(_READERS)} (json and csv also with .gz)")
    try:
        table = reader(path, series)
    except (pa.ArrowException, OSError, ValueError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError("file", str(path), f"is not readable as {reader.__name__[6:]}: {first_line}") from error
    if table.num_rows == 0:
        raise InputError("file", str(path), "holds no rows")
    columns = {"ts": _times(table.column("ts"), path.name)}
    for field in series.row.names or ():
        if field != "ts":
            columns[field] = _numbers(table.column(field), field, path.name)
    return columns


def _read_csv(path: Path, series: Series) -> pa.Table:
    """Read every cell as text, so that a bad one can be named with its row."""
    with pa.input_stream(path, compression="detect") as stream:
        content = stream.read()
    lines = content.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0].decode(errors="replace")
    separator = max(",;\t", key=lines.count)
    cells = [cell.strip().strip('"').casefold() for cell in lines.split(separator)]
    headed = any(cell in (*TIME_NAMES, *RATE_NAMES, *CANDLE_FIELDS) for cell in cells)
    names = cells if headed else ["ts", *_value_names(series), *(f"extra {n}" for n in range(len(cells)))][: len(cells)]
    table = pyarrow.csv.read_csv(
        pa.BufferReader(content),
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1 if headed else 0),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    return _chosen(table, series, path)


def _read_parquet(path: Path, series: Series) -> pa.Table:
    """Read a Parquet file with checksums verified where it has any."""
    return _chosen(pyarrow.parquet.read_table(path, page_checksum_verification=True), series, path)


def _read_feather(path: Path, series: Series) -> pa.Table:
    """Read freqtrade's feather file."""
    return _chosen(pyarrow.feather.read_table(path, memory_map=False), series, path)


def _read_json(path: Path, series: Series) -> pa.Table:
    """Read freqtrade's JSON: a list of [time, open, high, low, close, volume]."""
    content = path.read_bytes()
    rows = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    names = ["ts", *_value_names(series)]
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InputError("file", str(path), f"must be a list of [{', '.join(names)}]")
    for number, row in enumerate(rows, 1):
        if len(row) < len(names):
            raise InputError("row", row, f"must hold {', '.join(names)}; row {number} of {path.name}")
    text = [[None if row[n] is None else str(row[n]) for row in rows] for n in range(len(names))]
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, text, strict=True)})


_READERS: dict[str, Callable[[Path, Series], pa.Table]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".feather": _read_feather,
    ".json": _read_json,
}


def _value_names(series: Series) -> tuple[str, ...]:
    """Return the value columns of a kind, in the order of a file without a header."""
    return ("rate",) if series.kind == "funding" else CANDLE_FIELDS


def _chosen(table: pa.Table, series: Series, path: Path) -> pa.Table:
    """Return the columns the series needs under our names; InputError says which are missing."""
    found = {name.strip().casefold(): name for name in reversed(table.column_names)}
    base = series.symbol.partition("/")[0].casefold()
    known: dict[str, tuple[str, ...]] = {"ts": TIME_NAMES, "volume": ("volume", "vol", f"volume {base}")}
    # freqtrade keeps the funding rate where a candle has its open.
    known["rate"] = (*RATE_NAMES, "open")
    chosen = {}
    for field in ("ts", *_value_names(series)):
        name = next((found[name] for name in known.get(field, (field,)) if name in found), None)
        if name is not None:
            chosen[field] = table.column(name)
        elif field == "volume" and series.kind == "mark":
            chosen[field] = pa.chunked_array([pa.array(np.zeros(table.num_rows))])
        else:
            needed = ", ".join(("ts (or date)", *_value_names(series)))
            raise InputError("columns", ", ".join(table.column_names), f"of {path.name} lack {field}; needed: {needed}")
    return pa.table(chosen)


def _numbers(column: pa.ChunkedArray, field: str, source: str) -> np.ndarray:
    """Return a column as float64, NaN where there is nothing."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    try:
        values = pc.cast(column, pa.float64()).to_numpy()
    except pa.ArrowException:
        row, cell = next((n, cell) for n, cell in enumerate(column.to_pylist(), 1) if not _is_number(cell))
        raise InputError(field, cell, f"must be a number; row {row} of {source}") from None
    return np.ascontiguousarray(values, dtype=np.float64)


def _is_number(cell: object) -> bool:
    """Tell whether the reader can make a number of a cell."""
    try:
        pc.cast(pa.array([cell]), pa.float64())
    except pa.ArrowException:
        return False
    return True


def _times(column: pa.ChunkedArray, source: str) -> np.ndarray:
    """Return a column of times as int64 milliseconds UTC."""
    if column.null_count:
        row = column.to_pylist().index(None) + 1
        raise InputError("time", None, f"is missing; row {row} of {source}")
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _whole(pd.DatetimeIndex(pd.to_datetime(column.to_pandas(), utc=True)), source)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_trim_whitespace(column)
        try:
            return _epoch(pc.cast(text, pa.int64()).to_numpy(), source)
        except pa.ArrowException:
            pass
        try:
            return _epoch_fraction(pc.cast(text, pa.float64()).to_numpy(), source)
        except pa.ArrowException:
            return _dates(text, source)
    values = column.to_numpy()
    return _epoch(values, source) if values.dtype.kind in "iu" else _epoch_fraction(values, source)


def _epoch(values: np.ndarray, source: str) -> np.ndarray:
    """Return counts since 1970 as milliseconds; the unit is told by the size of the first one."""
    time = values.astype(np.int64)
    if abs(int(time[0])) < 10**11:  # as milliseconds that would be before 1973-03: seconds
        return time * 1000
    scale = next((scale for scale in MILLISECOND_COUNTS if abs(int(time[0])) >= scale * 10**11), 1)
    part = time % scale != 0
    if part.any():
        row = int(part.argmax())
        unit = MILLISECOND_COUNTS[scale]
        raise InputError("time", int(time[row]), f"is {unit} and no whole millisecond; row {row + 1} of {source}")
    return time // scale


def _epoch_fraction(values: np.ndarray, source: str) -> np.ndarray:
    """Return counts since 1970 written with a decimal point; seconds may carry milliseconds."""
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).argmax())
        raise InputError("time", float(values[row]), f"must be a time; row {row + 1} of {source}")
    if abs(values[0]) < 1e11:
        return np.rint(values * 1000).astype(np.int64)
    return _epoch(np.rint(values), source)


def _dates(text: pa.ChunkedArray, source: str) -> np.ndarray:
    """Return ISO dates as milliseconds; the first that is none is named."""
    dates = pd.DatetimeIndex(pd.to_datetime(text.to_pandas(), format="ISO8601", utc=True, errors="coerce"))
    if dates.hasnans:
        row = int(dates.isna().argmax())
        raise InputError("time", text[row].as_py(), f"must be an ISO date or a number; row {row + 1} of {source}")
    return _whole(dates, source)


def _whole(dates: pd.DatetimeIndex, source: str) -> np.ndarray:
    """Return aware dates as milliseconds, refusing what a millisecond cannot hold."""
    # Without the unit, pandas 3 hands out whatever resolution the dates happen to have.
    time = dates.as_unit("ms")
    part = np.asarray(time != dates)
    if part.any():
        row = int(part.argmax())
        raise InputError("time", str(dates[row]), f"must be a whole millisecond; row {row + 1} of {source}")
    return np.array(time.asi8)

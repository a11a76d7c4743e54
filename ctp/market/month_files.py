"""Read and write one month of one series as a Parquet file, and the journal of the newest rows beside it.

Owns the bytes on disk.

Invariants:
1. A month file is replaced whole (temporary file, fsync, rename) or not at all; every page carries a checksum.
2. A journal record is whole (its checksum says so) or was never acknowledged; a torn last one is dropped.
3. Nothing here decides which rows belong where; that is the store's.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ctp.errors import ConfigError, DataDamaged
from ctp.market.series import KINDS, Series

JOURNAL = "newest.journal"
# Split byte planes load twice as fast as dictionaries on prices and let zstd see the equal high bytes.
_PLANES = "BYTE_STREAM_SPLIT"
_READERS = min(4, os.cpu_count() or 1)


def months_of(time: np.ndarray) -> np.ndarray:
    """Return the UTC month of each time as datetime64[M]."""
    return time.astype("datetime64[ms]").astype("datetime64[M]")


def damaged(path: Path, series: Series, reason: str) -> DataDamaged:
    """Return the one sentence about a month file that cannot be trusted."""
    command = series.download_command(f"{path.stem}-01")
    return DataDamaged(str(path), reason, f"delete this file, then import that month again or run: {command}")


@contextmanager
def _naming(path: Path, series: Series) -> Iterator[None]:
    """Turn whatever reading a broken file raises into DataDamaged naming it."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, AttributeError, IndexError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise damaged(path, series, f"is not readable as candle data ({first_line})") from error


def _open(path: Path) -> pq.ParquetFile:
    """Open a month file with every page's checksum to be verified."""
    return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)


def read_months(paths: Sequence[Path], series: Series, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the named columns of several month files, one after the other, in fresh arrays.

    Each thread decodes a file and copies it into its place, so nothing is copied twice.
    Raises DataDamaged naming the broken file.
    """
    files = []
    for path in paths:
        with _naming(path, series):
            files.append(_open(path))
    ends = np.cumsum([0, *(file.metadata.num_rows for file in files)]).tolist()
    columns = {name: np.empty(ends[-1], series.row[name]) for name in names}

    def fill(position: int) -> None:
        """Put one month where it belongs."""
        path, file = paths[position], files[position]
        with _naming(path, series), file:
            table = file.read(columns=list(names), use_threads=False)
            for name in names:
                values = table.column(name).combine_chunks().to_numpy(zero_copy_only=True)
                if values.dtype != series.row[name]:
                    raise damaged(path, series, f"column {name} is {values.dtype}, not {series.row[name]}")
                columns[name][ends[position] : ends[position + 1]] = values

    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(fill, range(len(files))))
    return columns


def read_month_rows(path: Path, series: Series) -> np.ndarray:
    """Return a month file as rows, ready to be merged."""
    columns = read_months([path], series, series.row.names or ())
    rows = np.empty(columns["ts"].size, series.row)
    for name, values in columns.items():
        rows[name] = values
    return rows


def month_last_time(path: Path, series: Series) -> int:
    """Return the last open time in a month file from its footer alone."""
    return month_footer(path, series)[2]


def month_footer(path: Path, series: Series) -> tuple[int, int, int]:
    """Return (rows, first time, last time) of a month file without reading its pages."""
    with _naming(path, series), _open(path) as file:
        statistics = file.metadata.row_group(0).column(0).statistics
        return file.metadata.num_rows, int(statistics.min), int(statistics.max)


def month_labels(path: Path, series: Series) -> Series:
    """Return the series a month file says it belongs to."""
    with _naming(path, series):
        metadata = pq.read_schema(path).metadata or {}
    words = {name: metadata.get(name.encode(), b"").decode(errors="replace") for name in Series._fields}
    kind = words["kind"]
    known = next((name for name in KINDS if name == kind), None)
    if known is None:
        raise damaged(path, series, f"says it holds {kind!r}, which is none of {', '.join(KINDS)}")
    return Series(words["exchange"], words["symbol"], words["timeframe"], known)


def write_months(folder: Path, series: Series, months: Mapping[str, np.ndarray]) -> None:
    """Replace month files: all are on disk before the first is renamed, so a full disk changes nothing."""
    pending: list[tuple[Path, Path]] = []
    try:
        for month, rows in months.items():
            path = folder / f"{month}.parquet"
            fresh = path.with_suffix(".parquet.tmp")
            pending.append((fresh, path))
            _write_parquet(fresh, series, rows)
        for fresh, path in pending:
            fresh.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        for fresh, _ in pending:
            fresh.unlink(missing_ok=True)


def _write_parquet(path: Path, series: Series, rows: np.ndarray) -> None:
    """Write rows as one Parquet file and bring it to disk."""
    names = rows.dtype.names or ()
    labels = {name: str(getattr(series, name)) for name in Series._fields}
    table = pa.table({name: np.ascontiguousarray(rows[name]) for name in names}).replace_schema_metadata(labels)
    encoding = {name: "DELTA_BINARY_PACKED" if name == "ts" else _PLANES for name in names}
    with path.open("wb") as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            use_dictionary=False,
            column_encoding=encoding,
            write_page_checksum=True,
        )
        file.flush()
        os.fsync(file.fileno())


def _records(row: np.dtype) -> np.dtype:
    """Return the layout of a journal record: the row, then its checksum."""
    return np.dtype([("row", row), ("crc", "<u4")])


def read_journal(folder: Path, series: Series) -> np.ndarray:
    """Return the journalled rows, oldest first; DataDamaged when one that was acknowledged is broken."""
    path = folder / JOURNAL
    layout = _records(series.row)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return np.empty(0, series.row)
    count, width = len(content) // layout.itemsize, series.row.itemsize
    records = np.frombuffer(content, layout, count)
    starts = range(0, count * layout.itemsize, layout.itemsize)
    found = np.array([zlib.crc32(content[start : start + width]) for start in starts], dtype=np.uint32)
    whole = found == records["crc"]
    broken = np.flatnonzero(~whole)
    if broken.size and broken[0] < records.size - 1:
        remedy = f"delete this file, then run: {series.download_command('the last stored day')}"
        raise DataDamaged(str(path), f"record {broken[0] + 1} does not match its checksum", remedy)
    rows: np.ndarray = records["row"][whole].copy()
    return rows


def append_journal(folder: Path, series: Series, rows: np.ndarray, kept: int) -> None:
    """Add rows after the `kept` whole records of the journal; returns once they are on disk."""
    layout = _records(series.row)
    records = np.empty(rows.size, layout)
    records["row"] = rows
    records["crc"] = [zlib.crc32(row.tobytes()) for row in rows]
    path = folder / JOURNAL
    fresh = not path.exists()
    whole = kept * layout.itemsize
    try:
        with path.open("ab") as file:
            if file.tell() != whole:
                file.truncate(whole)  # a record torn by a power cut
            try:
                file.write(records.tobytes())
                file.flush()
                os.fdatasync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), whole)
                raise
        if fresh:
            sync_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from error


def drop_journal(folder: Path) -> None:
    """Remove the journal once its rows are in month files."""
    (folder / JOURNAL).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring renames and new names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(folder: Path, error: OSError) -> ConfigError:
    """Return the one sentence about a disk that takes nothing more."""
    return ConfigError(
        f"cannot write candles to {folder}: {error.strerror or error}; nothing was changed; "
        "make room or rights there, or point CTP_HOME to another place"
    )

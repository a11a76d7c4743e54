"""Keep candles, mark candles and funding rates: Parquet by exchange, symbol, timeframe and month.

Owns the folder `candles/`. `CandleStore` is the port and its only implementation.

Invariants:
1. What `append` returned for is on disk; what it raised for changed nothing.
2. Appending the same rows again changes nothing. Other values for a stored time replace it and are reported.
3. Rows are strictly increasing in time. The journal's rows are newer than every month file's; where a crash left
   them in both, the month file counts.
4. One writer per series at a time (a file lock); readers never wait.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ctp.errors import CtpError, DataDamaged, InputError, NotFound
from ctp.market import month_files
from ctp.market.candles import Candles, FundingRates, Gap, find_gaps
from ctp.market.series import Series
from ctp.market.validation import candle_defect, funding_defect, iso, refuse

# Fewer new rows than this go to the journal (one fsync); a longer journal is folded into its month file.
JOURNAL_ROWS = 512
_MONTH_FILE = re.compile(r"\d{4}-\d{2}\.parquet")


class Revision(NamedTuple):
    """Name a stored row that an append replaced: its time, and the values before and after."""

    time: int
    before: tuple[float, ...]
    after: tuple[float, ...]


class Appended(NamedTuple):
    """Tell what an append did: rows added, rows that were there already, rows whose values changed."""

    added: int
    unchanged: int
    revised: tuple[Revision, ...]


class StoredSeries(NamedTuple):
    """Describe one stored series: rows, first and last time in milliseconds, bytes on disk."""

    series: Series
    rows: int
    first: int
    last: int
    size_bytes: int


class Verified(NamedTuple):
    """Tell what a full reading of one series found; `problems` are sentences, empty when all is well."""

    series: Series
    rows: int
    gaps: tuple[Gap, ...]
    problems: tuple[str, ...]


class CandleStore:
    """Store market history below one folder; safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        """Use `root` (made on the first write)."""
        self.root = Path(root)

    def append(self, data: Candles | FundingRates) -> Appended:
        """Add validated rows, oldest first; only the months they fall in are touched.

        Raises DataDamaged when a month to be merged cannot be read, ConfigError when the disk takes nothing more.
        """
        series = data.series
        rows = as_rows(data)
        if not rows.size:
            return Appended(0, 0, ())
        folder = self.folder(series)
        with _one_writer(folder):
            journal = month_files.read_journal(folder, series)
            newest = self._newest_month(folder)
            last = month_files.month_last_time(newest, series) if newest else -1
            fresh = journal[journal["ts"] > last]
            last = int(fresh["ts"][-1]) if fresh.size else last
            if newest and rows["ts"][0] > last and journal.size + rows.size <= JOURNAL_ROWS:
                month_files.append_journal(folder, series, rows, journal.size)
                return Appended(rows.size, 0, ())
            return self._merge(folder, series, rows, fresh)

    def load(self, series: Series, start: int | None = None, end: int | None = None) -> Candles:
        """Return the stored candles that open in [start, end), oldest first; gaps stay gaps.

        Raises NotFound, saying the download command, when there are none; DataDamaged naming a broken file.
        """
        if series.kind == "funding":
            raise InputError("kind", "funding", "funding rates are read with load_funding")
        columns = self._columns(series, start, end)
        time = columns.pop("ts")
        return Candles(series.symbol, series.timeframe, series.exchange, time, **columns, kind=series.kind)

    def load_funding(self, series: Series, start: int | None = None, end: int | None = None) -> FundingRates:
        """Return the stored funding payments in [start, end), oldest first; raises like `load`."""
        columns = self._columns(series._replace(kind="funding", timeframe=""), start, end)
        return FundingRates(series.symbol, series.exchange, columns["ts"], columns["rate"])

    def times(self, series: Series) -> np.ndarray:
        """Return every stored open time, oldest first, reading nothing else; empty when nothing is stored."""
        try:
            return self._columns(series, None, None, ("ts",))["ts"]
        except NotFound:
            return np.empty(0, np.int64)

    def gaps(self, series: Series) -> list[Gap]:
        """Return the holes between the first and the last stored candle."""
        return find_gaps(self.times(series), series.length_ms)

    def list(self) -> Iterator[StoredSeries]:
        """Yield every stored series by name, from footers alone."""
        for series in self._all_series():
            folder = self.folder(series)
            journal = month_files.read_journal(folder, series)
            footers = [month_files.month_footer(path, series) for path in _months(folder)]
            newer = journal[journal["ts"] > footers[-1][2]] if footers else journal
            if not footers and not newer.size:
                continue
            rows = sum(footer[0] for footer in footers) + newer.size
            first = footers[0][1] if footers else int(newer["ts"][0])
            last = int(newer["ts"][-1]) if newer.size else footers[-1][2]
            size = sum(path.stat().st_size for path in folder.iterdir())
            yield StoredSeries(series, rows, first, last, size)

    def verify(self) -> Iterator[Verified]:
        """Read every stored row and check it anew; one broken file does not hide the next."""
        for series in self._all_series():
            yield self._verify(series)

    def _verify(self, series: Series) -> Verified:
        """Check one series: checksums, labels, months, and the rules of `validation`."""
        folder, problems, parts = self.folder(series), [], []
        for path in _months(folder):
            try:
                part = month_files.read_month_rows(path, series)
                labels = month_files.month_labels(path, series)
            except DataDamaged as error:
                problems.append(str(error))
                continue
            if labels != series:
                problems.append(str(month_files.damaged(path, series, f"says it holds {labels}")))
            elif part.size and (month_files.months_of(part["ts"]).astype(str) != path.stem).any():
                problems.append(str(month_files.damaged(path, series, "holds candles of another month")))
            else:
                parts.append(part)
        try:
            journal = month_files.read_journal(folder, series)
            parts.append(journal[journal["ts"] > parts[-1]["ts"][-1]] if parts else journal)
        except DataDamaged as error:
            problems.append(str(error))
        rows = np.concatenate(parts) if parts else np.empty(0, series.row)
        columns = {name: np.ascontiguousarray(rows[name]) for name in series.row.names or ()}
        time = columns["ts"]
        if series.kind == "funding":
            defect, gaps = funding_defect(time, columns["rate"]), []
        else:
            defect, gaps = candle_defect(time, columns, series.length_ms), find_gaps(time, series.length_ms)
        if defect is not None:
            problems.append(str(refuse(defect, time, source=str(folder))))
        return Verified(series, rows.size, tuple(gaps), tuple(problems))

    def _columns(
        self, series: Series, start: int | None, end: int | None, names: tuple[str, ...] | None = None
    ) -> dict[str, np.ndarray]:
        """Return columns of the rows in [start, end) as fresh contiguous arrays."""
        folder, wanted = self.folder(series), names or series.row.names or ()
        # The journal first: a fold that happens in between moves its rows to where they are read next.
        journal = month_files.read_journal(folder, series)
        paths = [path for path in _months(folder) if _in_range(path.stem, start, end)]
        columns = month_files.read_months(paths, series, wanted)
        time = columns["ts"]
        newer = journal[journal["ts"] > time[-1]] if time.size else journal
        if newer.size:
            columns = {name: np.concatenate([values, newer[name]]) for name, values in columns.items()}
            time = columns["ts"]
        first = 0 if start is None else int(np.searchsorted(time, start))
        last = time.size if end is None else int(np.searchsorted(time, end))
        if first >= last:
            raise self._nothing(series, start, end)
        if last - first == time.size:
            return columns
        return {name: values[first:last].copy() for name, values in columns.items()}

    def _nothing(self, series: Series, start: int | None, end: int | None) -> NotFound:
        """Return the sentence that says what is stored and which command fetches the rest."""
        folder = self.folder(series)
        stored = "nothing of it is stored"
        paths = _months(folder)
        if paths:
            journal = month_files.read_journal(folder, series)
            first = month_files.month_footer(paths[0], series)[1]
            last = max([month_files.month_last_time(paths[-1], series), *journal["ts"].tolist()])
            stored = f"stored are {iso(first)} to {iso(last)}"
        since = iso(start)[:10] if start is not None else "2023-01-01"
        asked = f" from {iso(start)}" if start is not None else ""
        asked += f" before {iso(end)}" if end is not None else ""
        return NotFound(f"no {series}{asked}: {stored}; get it with: {series.download_command(since)}")

    def _merge(self, folder: Path, series: Series, rows: np.ndarray, journal: np.ndarray) -> Appended:
        """Rewrite the months that rows and journal fall in; the new rows win."""
        months, revised, unchanged = {}, [], 0
        both = np.concatenate([journal["ts"], rows["ts"]])
        for month in np.unique(month_files.months_of(both)):
            path = folder / f"{month}.parquet"
            stored = month_files.read_month_rows(path, series) if path.exists() else np.empty(0, series.row)
            stored = np.concatenate([stored, journal[month_files.months_of(journal["ts"]) == month]])
            new = rows[month_files.months_of(rows["ts"]) == month]
            _, mine, theirs = np.intersect1d(stored["ts"], new["ts"], assume_unique=True, return_indices=True)
            differs = (_bits(stored[mine]) != _bits(new[theirs])).any(axis=1)
            unchanged += int((~differs).sum())
            for a, b in zip(stored[mine][differs], new[theirs][differs], strict=True):
                revised.append(Revision(int(a["ts"]), tuple(a.item()[1:]), tuple(b.item()[1:])))
            merged = np.concatenate([np.delete(stored, mine), new])
            if merged.size != stored.size or differs.any() or not path.exists() or journal.size:
                months[str(month)] = merged[np.argsort(merged["ts"], kind="stable")]
        month_files.write_months(folder, series, months)
        if months:
            month_files.drop_journal(folder)
        return Appended(int(rows.size) - unchanged - len(revised), unchanged, tuple(revised))

    def folder(self, series: Series) -> Path:
        """Return where a series lives."""
        return self.root / series.folder

    def _newest_month(self, folder: Path) -> Path | None:
        """Return the last month file, if there is one."""
        paths = _months(folder)
        return paths[-1] if paths else None

    def _all_series(self) -> Iterator[Series]:
        """Yield the series that have a folder, by name; folders that are not ours are passed over."""
        for path in sorted(self.root.glob("*/*/*")):
            relative = PurePosixPath(path.relative_to(self.root).as_posix())
            try:
                series = Series.from_folder(relative)
            except CtpError:
                continue
            if path.is_dir() and series.folder == relative:
                yield series


def as_rows(data: Candles | FundingRates) -> np.ndarray:
    """Return data as rows."""
    rows = np.empty(len(data), data.series.row)
    rows["ts"] = data.time
    columns = {"rate": data.rate} if isinstance(data, FundingRates) else data.columns()
    for name, values in columns.items():
        rows[name] = values
    return rows


def _bits(rows: np.ndarray) -> np.ndarray:
    """Return rows as a table of 64-bit integers, so that equality means the same bits."""
    names = rows.dtype.names or ()
    return np.ascontiguousarray(rows).view(np.int64).reshape(rows.size, len(names))


def _months(folder: Path) -> list[Path]:
    """Return the month files of a folder, oldest first."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a third of glob's time, on the bot's path
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if _MONTH_FILE.fullmatch(name)]


def _in_range(month: str, start: int | None, end: int | None) -> bool:
    """Tell whether any time of a UTC month, named like its file, may lie in [start, end)."""
    return (start is None or month >= _month(start)) and (end is None or month <= _month(end - 1))


def _month(time_ms: int) -> str:
    """Return the UTC month of a time, such as `2024-01`; months compare as their names do."""
    return str(np.datetime64(time_ms, "ms").astype("datetime64[M]"))


@contextmanager
def _one_writer(folder: Path) -> Iterator[None]:
    """Hold the series' lock; what a killed writer left half done is swept away."""
    try:
        for path in (*reversed(folder.parents), folder):
            if not path.exists():
                path.mkdir(mode=0o700, exist_ok=True)  # the store may be what makes CTP_HOME
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise month_files.unwritable(folder, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        yield

"""A sweep's results on disk as they come, so that one that was interrupted goes on where it stopped.

A folder of Parquet files: each is whole or not there (written beside, then renamed), each row is a combination's number, its
parameters, its figures and the engine it took. `pandas.read_parquet(folder)` is the table of what is done.

Invariant: a folder holds the results of one fingerprint: code, candles, costs, rules, parameters, axes. Another's is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet

from ctp.accounts.sources import source_hash as strategy_hash
from ctp.core.strategies import of_parameters
from ctp.errors import InputError
from ctp.research.backtest import Prepared
from ctp.research.compiled import source_hash
from ctp.research.event_figures import FIGURES
from ctp.research.provenance import data_hash

MANIFEST = "_sweep.json"  # readers of Parquet folders pass over names that begin so
EACH_S, MOST_ROWS = 2.0, 200_000  # results are written this often, or when so many have come


def fingerprint(prepared: Prepared, asked: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that decides the figures of a sweep; asked: axes, and how they are searched."""
    document = {
        "code": [source_hash(), strategy_hash(of_parameters(prepared.strategy).name)],
        "data": data_hash(prepared.candles, prepared.columns, prepared.markets, prepared.equity),
        "strategy": [type(prepared.strategy).__name__, prepared.strategy.to_dict()],
        "risk": prepared.risk.to_dict(),
        "asked": asked,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=repr).encode()).hexdigest()


class Done(NamedTuple):
    """Results by ascending number."""

    numbers: np.ndarray
    figures: np.ndarray
    engines: np.ndarray


class SweepStore:
    """The folder of one sweep. Numbers are added from any thread; what was added is on disk after `flush`."""

    def __init__(self, folder: Path, mark: str) -> None:
        """Open or begin the folder for a fingerprint. Raises InputError when it holds something else."""
        self.folder = folder
        self._lock = Lock()
        self._waiting: list[pyarrow.Table] = []
        self._found: Done | None = None
        self._written_at = time.monotonic()
        manifest = folder / MANIFEST
        if manifest.is_file():
            known = _read_manifest(manifest)
            if known != mark:
                raise InputError(
                    "store", str(folder), "holds another sweep (other code, candles, costs or axes); name another folder"
                )
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError("store", str(folder), "is there already and holds no sweep; name a folder that is new or empty")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _write_whole(manifest, json.dumps({"fingerprint": mark}).encode())

    def done(self, begin: int, end: int) -> Done:
        """Return what is on disk of the combinations numbered begin to below end."""
        if self._found is None:
            self._found = self._read()
        first, last = np.searchsorted(self._found.numbers, [begin, end])
        return Done(*(column[first:last] for column in self._found))

    def _read(self) -> Done:
        """Return all that was on disk when the folder was opened; a number that stands twice is the same twice."""
        columns = ["number", "engine", *FIGURES]
        files = sorted(self.folder.glob("part-*.parquet"))
        if not files:
            return Done(np.empty(0, np.int64), np.empty((0, len(FIGURES))), np.empty(0, object))
        table = pyarrow.concat_tables([pyarrow.parquet.read_table(file, columns=columns) for file in files])
        numbers, first = np.unique(table["number"].to_numpy(), return_index=True)
        return Done(
            numbers,
            np.stack([table[name].to_numpy()[first] for name in FIGURES], axis=1),
            np.array(table["engine"].to_pylist(), object)[first],
        )

    def add(
        self, numbers: np.ndarray, parameters: Mapping[str, np.ndarray], figures: np.ndarray, engines: Sequence[str]
    ) -> None:
        """Add results; they are written every few seconds."""
        columns: dict[str, Any] = {"number": np.asarray(numbers, np.int64), **parameters}
        columns |= {name: np.ascontiguousarray(figures[:, place]) for place, name in enumerate(FIGURES)}
        columns["engine"] = pyarrow.array(list(engines), pyarrow.string())
        with self._lock:
            self._waiting.append(pyarrow.table(columns))
            rows = sum(len(each) for each in self._waiting)
            if rows >= MOST_ROWS or time.monotonic() - self._written_at >= EACH_S:
                self._write()

    def flush(self) -> None:
        """Write what was added."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        """Write what waits into one more file."""
        if self._waiting:
            table = pyarrow.concat_tables(self._waiting)
            sink = pyarrow.BufferOutputStream()
            pyarrow.parquet.write_table(table, sink, compression="zstd")
            number = max((int(file.stem.removeprefix("part-")) for file in self.folder.glob("part-*.parquet")), default=0) + 1
            _write_whole(self.folder / f"part-{number:06d}.parquet", sink.getvalue().to_pybytes())
            self._waiting = []
        self._written_at = time.monotonic()


def _read_manifest(file: Path) -> str:
    """Return the fingerprint of a folder."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["fingerprint"])
    except (ValueError, KeyError, TypeError):
        raise InputError("store", str(file.parent), "has a damaged _sweep.json; name another folder") from None


def _write_whole(file: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, even after a power cut."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with beside.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    beside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

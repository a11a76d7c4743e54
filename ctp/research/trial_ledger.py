"""Every parameter set ever tried, counted once: the reason why a good result may still be luck.

A sweep or a backtest in a notebook or on the command line adds what it tried to the table `trials`, by symbol, timeframe and
period in whole months. What is kept is bounded: moments, and a bottom-k sketch of the parameter sets' fingerprints. Nothing
here can fail a run: without a database, or with one that cannot be written now, nothing is noted.

Why bottom-k and not a HyperLogLog: both count distinct things in bounded memory, but the k smallest fingerprints are also a
uniform sample of the distinct parameter sets. So their Sharpe ratios, each kept beside its fingerprint, give mean and variance
over distinct trials, whatever was run again and again; two sketches unite by union; and up to k everything is exact.
Source: Bar-Yossef, Jayram, Kumar, Sivakumar and Trevisan, Counting Distinct Elements in a Data Stream, RANDOM (2002).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ctp.config import load_settings
from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import find, of_parameters
from ctp.errors import CtpError
from ctp.research.backtest import Prepared
from ctp.research.grid import Grid

if TYPE_CHECKING:
    from ctp.storage.database import Database

MOST_KEPT = 2_048  # fingerprints in a sketch: 2.2 % standard error beyond that many
MOST_SETS = 128  # parameter sets kept whole, those with the smallest fingerprints
WHOLE = 2.0**64
BUSY_TIMEOUT_S = 1.0  # the bot's writes come first
_ROW = np.dtype([("fingerprint", "<u8"), ("sharpe", "<f8")])


class Sketch(NamedTuple):
    """Distinct trials: the smallest fingerprints in order, their annual Sharpe ratios (NaN: undefined), and how often any ran."""

    fingerprints: np.ndarray
    sharpes: np.ndarray
    sets: Mapping[int, Mapping[str, Any]]  # by fingerprint: strategy, values, risk
    runs: int

    @property
    def is_exact(self) -> bool:
        """Tell whether every distinct trial is still here."""
        return len(self.fingerprints) < MOST_KEPT

    @property
    def distinct(self) -> float:
        """Return how many distinct trials there were: counted, or (k − 1) ÷ the largest kept fingerprint as a fraction."""
        kept = len(self.fingerprints)
        return float(kept) if self.is_exact else (kept - 1) * WHOLE / float(self.fingerprints[-1])

    @property
    def moments(self) -> tuple[float, float, float]:
        """Return (count, Σ, Σ²) of the distinct trials' Sharpe ratios that are defined."""
        defined = self.sharpes[np.isfinite(self.sharpes)]
        scale = self.distinct / max(1, len(self.fingerprints))
        return len(defined) * scale, float(defined.sum()) * scale, float((defined * defined).sum()) * scale

    @property
    def spread(self) -> float:
        """Return the sample deviation of the distinct trials' Sharpe ratios; 0 below two."""
        defined = self.sharpes[np.isfinite(self.sharpes)]
        return float(defined.std(ddof=1)) if len(defined) > 1 else 0.0


NOTHING = Sketch(np.empty(0, np.uint64), np.empty(0), {}, 0)


def united(sketches: Sequence[Sketch]) -> Sketch:
    """Return one sketch of all trials; of the same trial, the first sketch's Sharpe ratio counts."""
    if not sketches:
        return NOTHING
    every = np.concatenate([each.fingerprints for each in sketches])
    sharpes = np.concatenate([each.sharpes for each in sketches])
    fingerprints, first = np.unique(every, return_index=True)
    kept = fingerprints[:MOST_KEPT]
    known: dict[int, Mapping[str, Any]] = {}
    for each in sketches:
        known.update(each.sets)
    wanted = set(kept.tolist())
    smallest = sorted(fingerprint for fingerprint in known if fingerprint in wanted)[:MOST_SETS]
    return Sketch(
        kept, sharpes[first[:MOST_KEPT]], {each: known[each] for each in smallest}, sum(each.runs for each in sketches)
    )


def sketch_of(strategy: ParameterSet, risk: DynamicRiskManager, grid: Grid | None, sharpes: np.ndarray) -> Sketch:
    """Return the trials of one run: a grid's combinations, or the one parameter set (grid: None).

    sharpes: annual, one a combination. A fingerprint is the sum, modulo 2^64, of one hash for each parameter's name and value
    and one of the strategy's file: the same parameters give the same number, whichever of them were axes.
    """
    parameters = {**_named("strategy", strategy), **_named("risk", risk)}
    base = _hash(f"{of_parameters(strategy).name} {_source(strategy)}")
    axes = {} if grid is None else grid.axes
    for name, value in parameters.items():
        if name.partition(".")[2] not in axes:
            base += _hash(f"{name}={value!r}")
    total = 1 if grid is None else grid.total
    every = np.full(total, base % (1 << 64), np.uint64)
    of_risk = type(risk).bounds()
    for name, values in axes.items():
        home = "risk" if name in of_risk else "strategy"
        hashes = np.array([_hash(f"{home}.{name}={value!r}") for value in values], np.uint64)
        assert grid is not None
        every += hashes[grid.places[name]]
    order = np.argsort(every) if total <= MOST_KEPT else np.argpartition(every, MOST_KEPT)[: MOST_KEPT + 1]
    fingerprints, first = np.unique(every[order], return_index=True)
    order = order[first][:MOST_KEPT]
    name = of_parameters(strategy).name
    sets = {
        int(every[number]): _set_of(name, strategy, risk, {} if grid is None else grid.values(int(number)))
        for number in order[:MOST_SETS]
    }
    return Sketch(fingerprints[:MOST_KEPT], np.asarray(sharpes, float)[order], sets, total)


def parameters_of(kept: Mapping[str, Any]) -> tuple[ParameterSet, DynamicRiskManager] | None:
    """Return a kept parameter set; None when the strategy is gone or takes other parameters now."""
    try:
        return find(kept["strategy"]).parameters.from_dict(kept["values"]), DynamicRiskManager.from_dict(kept["risk"])
    except CtpError:
        return None


def note_trials(prepared: Prepared, grid: Grid | None, sharpes: np.ndarray) -> bool:
    """Add a run's trials to the ledger; returns whether they were noted. Raises nothing that a run could fail by."""
    database = _database()
    if database is None:
        return False
    import sqlalchemy as sa

    try:
        with_trials(database, prepared, sketch_of(prepared.strategy, prepared.risk, grid, sharpes))
    except (CtpError, sa.exc.SQLAlchemyError, OSError):
        return False
    finally:
        database.close()
    return True


def past_trials(prepared: Prepared) -> Sketch | None:
    """Return every trial on any of these symbols, at this timeframe, over months that overlap; None without a ledger."""
    database = _database()
    if database is None:
        return None
    import sqlalchemy as sa

    from ctp.storage.tables import trials

    first, last = _months(prepared)
    overlaps = sa.and_(
        trials.c.timeframe == prepared.candles[0].timeframe, trials.c.first_time < last, trials.c.end_time > first
    )
    try:
        with database.reading() as connection:
            rows = connection.execute(sa.select(trials).where(overlaps).order_by(trials.c.id)).all()
    except (CtpError, sa.exc.SQLAlchemyError, OSError):
        return None
    finally:
        database.close()
    mine = {each.symbol for each in prepared.candles}
    return united([_read(row) for row in rows if mine & set(row.symbols.split(","))])


def with_trials(database: Database, prepared: Prepared, run: Sketch) -> None:
    """Add a run's trials to the row of its symbols, timeframe and months."""
    import sqlalchemy as sa

    from ctp.storage.database import insert_or
    from ctp.storage.tables import trials

    first, last = _months(prepared)
    key = {
        "symbols": ",".join(each.symbol for each in prepared.candles),
        "timeframe": prepared.candles[0].timeframe,
        "first_time": first,
        "end_time": last,
    }
    empty = {**key, **_columns(NOTHING), "updated_at": 0}
    with database.transaction() as connection:
        connection.execute(insert_or(connection, trials).values(**empty).on_conflict_do_nothing())
        is_row = sa.and_(*(trials.c[name] == value for name, value in key.items()))
        row = connection.execute(sa.select(trials).where(is_row).with_for_update()).one()
        found = united([run, _read(row)])
        connection.execute(
            sa.update(trials).where(is_row).values(**_columns(found), updated_at=time.time_ns() // 1_000_000)
        )


def _columns(sketch: Sketch) -> dict[str, Any]:
    """Return a sketch as a row keeps it."""
    count, total, squares = sketch.moments
    table = np.empty(len(sketch.fingerprints), _ROW)
    table["fingerprint"], table["sharpe"] = sketch.fingerprints, sketch.sharpes
    sets = json.dumps({str(fingerprint): kept for fingerprint, kept in sketch.sets.items()})
    return {
        "runs": sketch.runs,
        "distinct": sketch.distinct,
        "defined": count,
        "total": total,
        "squares": squares,
        "sketch": table.tobytes(),
        "sets": zlib.compress(sets.encode()),
    }


def _read(row: Any) -> Sketch:
    """Return a row's sketch."""
    table = np.frombuffer(row.sketch, _ROW)
    sets = {int(fingerprint): kept for fingerprint, kept in json.loads(zlib.decompress(row.sets)).items()}
    return Sketch(table["fingerprint"].astype(np.uint64), table["sharpe"].astype(float), sets, int(row.runs))


def _set_of(name: str, strategy: ParameterSet, risk: DynamicRiskManager, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return one parameter set with all its values, as JSON keeps it."""
    return {
        "strategy": name,
        "values": {each: chosen.get(each, value) for each, value in strategy.to_dict().items()},
        "risk": {each: chosen.get(each, value) for each, value in risk.to_dict().items()},
    }


def _named(home: str, parameters: ParameterSet) -> dict[str, Any]:
    """Return parameters by full name."""
    return {f"{home}.{name}": value for name, value in parameters.to_dict().items()}


@cache
def _source_of(file: str, changed_ns: int) -> str:
    """Return the SHA-256 of a file as it was at that time."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _source(strategy: ParameterSet) -> str:
    """Return the SHA-256 of the strategy's own file: with other code the same parameters are another trial."""
    file = inspect.getfile(of_parameters(strategy).step)
    return _source_of(file, Path(file).stat().st_mtime_ns)


@cache
def _hash(words: str) -> int:
    """Return 64 bits of a text."""
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little")


def _months(prepared: Prepared) -> tuple[int, int]:
    """Return the candles' period rounded to whole months, so that a day more or less is no other row."""
    begin, end = (dt.datetime.fromtimestamp(int(at) / 1000, dt.UTC) for at in (prepared.times[0], prepared.times[-1]))
    after = (end.year + end.month // 12, end.month % 12 + 1)
    first, last = dt.datetime(begin.year, begin.month, 1, tzinfo=dt.UTC), dt.datetime(*after, 1, tzinfo=dt.UTC)
    return int(first.timestamp()) * 1000, int(last.timestamp()) * 1000


def _database() -> Database | None:
    """Return this home's database, where there is one."""
    try:
        url = load_settings().database_url
        if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
            return None
        from ctp.storage.database import Database

        return Database(url, busy_timeout_s=BUSY_TIMEOUT_S)
    except (CtpError, OSError):
        return None

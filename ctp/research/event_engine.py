"""The event engine: every combination of a grid through the event walk.

Combinations that share exit signals' indicators are walked together: their tables are built once, by whichever thread is free,
and thrown away after. What all of a sweep's combinations share is `Shared`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import Key, Strategy, of_parameters, strategy_start
from ctp.core.types import Market
from ctp.research.backtest import Prepared, as_arrays
from ctp.research.bar_loop import Series
from ctp.research.compiled import compile_kernel
from ctp.research.crew import work_off
from ctp.research.event_batch import MEMORY, WORDS, Numbers, walk_many, walk_plain
from ctp.research.event_figures import FIGURES
from ctp.research.event_tables import (
    Tables,
    calendar_of,
    enter_rows,
    funding_of,
    leave_rows,
    observe_rows,
    prices_of,
    ranges_of,
    width_rows,
)
from ctp.research.grid import Grid, variant
from ctp.research.scratch import Scratch

FEWEST, MOST = 64, 4_096  # combinations a thread walks at a time
TABLE_BYTES = 64 << 20  # of entries, and of exits, that one group of combinations may have
TOUCH_BYTES = 256 << 20  # of stops and of takes that are kept; more are looked for each time
ZERO_WITHOUT_DECISIONS = ("trades", "fees", "funding", "slippage", "full_months")


@cache
def _compiled(strategy: Strategy, function: Callable[..., Any]) -> Any:
    """Return the compiled twin of a kernel."""
    return compile_kernel(function, strategy)


class Distinct(NamedTuple):
    """The distinct keys among combinations."""

    number: np.ndarray  # which key each combination has
    representatives: list[Any]  # kernel numbers of one combination for each key
    first: np.ndarray  # a combination that has it, for each key


def distinct(grid: Grid, base: Any, names: Sequence[str], of: Callable[[Any], Any]) -> Distinct:
    """Number the combinations by what `of` says of their kernel numbers; only the axes named are looked at."""
    axes = [name for name in grid.axes if name in names]
    number, first = grid.distinct(axes)
    columns = [[grid.numbers[name][place] for place in grid.places[name][first]] for name in axes]
    numbers: dict[Any, int] = {}
    renumbered = np.zeros(len(first), np.int32)
    representatives, firsts = [], []
    for each, chosen in enumerate(zip(*columns, strict=True) if columns else [()]):
        values = base._replace(**dict(zip(axes, chosen, strict=True)))
        key = of(values)
        if key not in numbers:
            numbers[key] = len(numbers)
            representatives.append(values)
            firsts.append(first[each])
        renumbered[each] = numbers[key]
    return Distinct(renumbered[number], representatives, np.array(firsts))


class Shared:
    """What all combinations of a strategy share on the same candles; one process keeps one for as many grids as it likes."""

    def __init__(self, strategy: Strategy, series: Series, market: Market, timeframe_ms: int, equity: float) -> None:
        """Lay the candles out for the walk."""
        assert strategy.factors is not None
        self.strategy, self.factors, self.equity = strategy, strategy.factors, equity
        self.market, self.timeframe_ms = as_arrays(market), timeframe_ms
        self.prices = prices_of(series, timeframe_ms)
        self.rows = len(series.time)
        self.ranges = ranges_of(self.prices)
        self.funding = funding_of(series, bool(market.is_perpetual))
        self.sides = 2 if market.is_perpetual else 1
        self.scratch = Scratch()

    def call(self, function: Callable[..., Any], *given: Any) -> Any:
        """Call the compiled twin of a kernel."""
        return _compiled(self.strategy, function)(*given)

    def observe(self, values: Any) -> np.ndarray:
        """Return what the indicators say after each candle; to be given back to `scratch`."""
        out = self.scratch.borrow((self.rows, self.factors.columns), np.float64)
        self.call(observe_rows, values, as_arrays(strategy_start(values)), self.prices, out)
        return out


_SHARED: WeakKeyDictionary[Prepared, Shared] = WeakKeyDictionary()
_SHARED_LOCK = Lock()


def shared_by(prepared: Prepared) -> Shared:
    """Return what combinations on these inputs share, made once."""
    with _SHARED_LOCK:
        if prepared not in _SHARED:
            _SHARED[prepared] = Shared(
                of_parameters(prepared.strategy),
                prepared.columns,
                prepared.markets[0],
                prepared.timeframe_ms,
                prepared.equity,
            )
        return _SHARED[prepared]


def run_events(
    shared: Shared,
    parameters: ParameterSet,
    risk: DynamicRiskManager,
    grid: Grid,
    rows: np.ndarray,
    figures: np.ndarray,
    finished: Callable[[np.ndarray, np.ndarray], None],
    workers: int,
) -> None:
    """Walk every combination and write its figures; rows: which row of `figures` is whose.

    finished: called, from any thread, with the rows of combinations that are done and how each ended; those that need the
    bar loop have no figures.
    """
    work_off(_Engine(shared, parameters, risk, grid, rows, figures, finished, workers).groups(), workers)


class _Engine:
    """One grid: its combinations, numbered by what of their parameters matters where."""

    def __init__(
        self,
        shared: Shared,
        parameters: ParameterSet,
        risk: DynamicRiskManager,
        grid: Grid,
        rows: np.ndarray,
        figures: np.ndarray,
        finished: Callable[[np.ndarray, np.ndarray], None],
        workers: int,
    ) -> None:
        """Number the combinations."""
        self.shared, self.factors, self.finished, self.workers = shared, shared.factors, finished, workers
        self.out, self.figures, self.lock = rows, figures, Lock()
        base, risk_base, factors = parameters.values(), risk.values(), shared.factors
        left_seen_by = factors.left_seen_by or factors.observed_by
        self.observed = distinct(grid, base, *factors.observed_by)
        self.left_seen = distinct(grid, base, *left_seen_by)
        self.entered = distinct(grid, base, *_both(factors.observed_by, factors.entered_by))
        self.left = distinct(grid, base, *_both(left_seen_by, factors.left_by))
        self.stopped = distinct(grid, base, *factors.stopped_by)
        taken = distinct(grid, base, ("take_profit",), lambda one: one.take_profit)
        trailed = distinct(grid, base, ("trailing_stop",), lambda one: one.trailing_stop)
        cooled = distinct(grid, base, ("cooldown",), lambda one: one.cooldown)
        risks = distinct(grid, risk_base, risk_base._fields, lambda one: one)
        self.zoned = distinct(grid, risk_base, ("zone_offset",), lambda one: one.zone_offset)
        self.pointers = (self.stopped.number, taken.number, trailed.number, risks.number, cooled.number)
        self.warm_up = _warm_up(parameters, grid, factors.warmed_by)
        widths, changing = self._widths()
        self.numbers = Numbers(
            np.array([float(one.take_profit) for one in taken.representatives]),
            np.array([float(one.trailing_stop) for one in trailed.representatives]),
            widths,
            changing,
            np.array([one.cooldown for one in cooled.representatives], np.int64),
            np.array([[float(number) for number in one] for one in risks.representatives]),
        )
        self.calendars = [
            calendar_of(shared.prices, shared.funding, shared.timeframe_ms, one.zone_offset)
            for one in self.zoned.representatives
        ]
        self.stop, self.take, self.trail = (
            self._touched(len(each.representatives)) for each in (self.stopped, taken, trailed)
        )

        market = shared.market
        is_unit = market.tick_multiple == 1 and market.lot_multiple == 1
        self.is_plain = not market.is_perpetual and is_unit and not self.numbers.trails.any()

    def _touched(self, count: int) -> np.ndarray:
        """Return room for what touches stops or takes; none when there are too many to keep."""
        is_kept = count * self.shared.rows * self.shared.sides * 4 <= TOUCH_BYTES
        return np.zeros((self.shared.sides, count if is_kept else 0, self.shared.rows), np.int32)

    def _widths(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each stop width, NaN where it changes with the candle, and where those that do stand in `self.width`."""
        shared = self.shared
        observed = self.observed.number[self.stopped.first]
        widths, changing = np.full(len(observed), np.nan), np.zeros(len(observed), np.int32)
        kept: list[np.ndarray] = []
        for group in np.unique(observed).tolist():
            seen = shared.observe(self.observed.representatives[group])
            for number in np.flatnonzero(observed == group).tolist():
                width = np.empty(shared.rows)
                shared.call(width_rows, self.stopped.representatives[number], shared.prices, seen, width)
                if (width == width[0]).all():
                    widths[number] = width[0]
                else:
                    changing[number] = len(kept)
                    kept.append(width)
            shared.scratch.give_back(seen)
        self.width = np.array(kept) if kept else np.empty((0, self.shared.rows))
        return widths, changing

    def groups(self) -> Iterator[Callable[[], Sequence[Callable[[], None]]]]:
        """Yield the groups of combinations that share tables, as something that builds them and returns what to walk."""
        rows, sides = self.shared.rows, self.shared.sides
        most_lefts = max(1, TABLE_BYTES // (rows * 4 * sides))
        most_entries = max(1, TABLE_BYTES // (rows * 4))
        by_group = np.argsort(self.left_seen.number, kind="stable")
        ends = np.cumsum(np.bincount(self.left_seen.number, minlength=len(self.left_seen.representatives)))
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            members = by_group[begin:end]
            lefts, left = np.unique(self.left.number[members], return_inverse=True)
            entries, entry = np.unique(self.entered.number[members], return_inverse=True)
            if len(lefts) <= most_lefts and len(entries) <= most_entries:
                yield partial(self._build, members)
                continue
            part = left // most_lefts * len(entries) + entry // most_entries
            for each in np.unique(part).tolist():
                yield partial(self._build, members[part == each])

    def _build(self, members: np.ndarray) -> Sequence[Callable[[], None]]:
        """Build the tables of some combinations, and return the calls that walk them."""
        shared = self.shared
        lefts, left = np.unique(self.left.number[members], return_inverse=True)
        entries, entry = np.unique(self.entered.number[members], return_inverse=True)
        next_entry = shared.scratch.borrow((len(entries), shared.rows + 1), np.int32)
        leave = shared.scratch.borrow((shared.sides, len(lefts), shared.rows), np.int32)
        ready = np.empty(len(entries), np.int64)
        entry_groups = self.observed.number[self.entered.first[entries]]
        left_groups = self.observed.number[self.left.first[lefts]]
        for group in dict.fromkeys([*left_groups.tolist(), *entry_groups.tolist()]):
            entering = np.flatnonzero(entry_groups == group).tolist()
            all_values = [self.entered.representatives[entries[place]] for place in entering]
            everyone = all_values or [self.observed.representatives[group]]
            seen = shared.observe(self.factors.loosest(everyone) if self.factors.loosest else everyone[0])
            for place, values in zip(entering, all_values, strict=True):
                ready[place] = shared.call(enter_rows, values, shared.prices, seen, next_entry[place])
            for place in np.flatnonzero(left_groups == group).tolist():
                values = self.left.representatives[lefts[place]]
                shared.call(leave_rows, values, shared.prices, seen, leave[:, place])
            shared.scratch.give_back(seen)
        words = np.empty((len(members), len(WORDS)), np.int32)
        words[:, 0], words[:, 1] = entry, left
        for column, numbers in enumerate(self.pointers, 2):
            words[:, column] = numbers[members]
        words[:, 7] = np.minimum(np.maximum(ready[entry], self.warm_up[members] - 1), shared.rows)
        tables = Tables(next_entry, leave, self.width, self.stop, self.take, self.trail)
        chunks = [(zone, chunk) for zone in range(len(self.calendars)) for chunk in self._chunks(zone, members, words)]
        unfinished = [len(chunks)]

        def walk(zone: int, chunk: np.ndarray) -> None:
            self._walk(zone, members[chunk], words[chunk], tables)
            with self.lock:
                unfinished[0] -= 1
                if unfinished[0] == 0:
                    shared.scratch.give_back(next_entry, leave)

        return [partial(walk, zone, chunk) for zone, chunk in chunks]

    def _chunks(self, zone: int, members: np.ndarray, words: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the combinations of one risk zone in chunks, those that share most side by side."""
        mine = np.flatnonzero(self.zoned.number[members] == zone)
        mine = mine[np.lexsort((words[mine, 3], words[mine, 2], words[mine, 1], words[mine, 0]))]
        size = min(MOST, max(FEWEST, -(-len(mine) // (2 * self.workers))))
        for begin in range(0, len(mine), size):
            yield mine[begin : begin + size]

    def _walk(self, zone: int, order: np.ndarray, words: np.ndarray, tables: Tables) -> None:
        """Walk some combinations."""
        shared = self.shared
        rows, statuses = self.out[order], np.zeros(len(order), np.int8)
        memories = shared.scratch.borrow((len(order), MEMORY), np.float64)
        self.figures[rows] = _WITHOUT_DECISIONS
        walk = walk_plain if self.is_plain else walk_many
        shared.call(
            walk, shared.market, shared.prices, self.calendars[zone], shared.ranges, shared.funding, tables,
            self.numbers, words, rows, shared.equity, memories, self.figures, statuses,
        )  # fmt: skip
        shared.scratch.give_back(memories)
        self.finished(rows, statuses)


_WITHOUT_DECISIONS = np.array([0.0 if name in ZERO_WITHOUT_DECISIONS else np.nan for name in FIGURES])


def _both(seen: Key, key: Key) -> tuple[tuple[str, ...], Callable[[Any], Any]]:
    """Return a key on top of another."""
    return (*seen.names, *key.names), lambda one: (seen.of(one), key.of(one))


def _warm_up(parameters: ParameterSet, grid: Grid, names: Sequence[str]) -> np.ndarray:
    """Return the warm-up of each combination; where none is given it follows from other parameters."""
    axes = [name for name in grid.axes if name in names]
    warmed = distinct(grid, parameters.values(), names, lambda one: tuple(getattr(one, name) for name in axes))
    chosen = [grid.values(int(first)) for first in warmed.first]
    sets = [variant(parameters, {name: each[name] for name in axes}) for each in chosen]
    warm_up: np.ndarray = np.array([one.values().warm_up for one in sets], np.int64)[warmed.number]
    return warm_up

"""The event engine: every combination of a grid through the event walk, tables built once, combinations dealt to threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ctp.core.kernel import kernel
from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import Key, Strategy, strategy_start
from ctp.core.types import LONG, Account, Market
from ctp.research.backtest import as_arrays
from ctp.research.bar_loop import Series
from ctp.research.compiled import compile_kernel
from ctp.research.event_figures import FIGURES, Curve, Days, Sums, write_figures
from ctp.research.event_tables import (
    SIDES,
    Calendar,
    Tables,
    begins_month,
    calendar_of,
    enter_rows,
    funding_of,
    leave_rows,
    observe_rows,
    prices_of,
    ranges_of,
    stop_rows,
    take_rows,
    width_rows,
)
from ctp.research.event_walk import NEEDS_BAR_LOOP, Combination, Walk, start_walk, walk
from ctp.research.grid import Grid

SEGMENT = 16_384  # candles a thread walks all its combinations through before the next, so that the tables stay in cache
CHUNK = 256  # combinations a thread takes at a time
MEMORY = 34  # doubles a walk remembers
RiskNumbers = type(DynamicRiskManager().for_market(False).values())
ZERO_WITHOUT_DECISIONS = ("trades", "fees", "funding", "slippage", "full_months")
WORDS = ("entry", "leave", "width", "take", "trail", "risk", "first_decision", "is_first_month_full", "cooldown")


@kernel
def risk_of(row: Any) -> Any:
    """Return the risk parameters that were laid down in a row of doubles."""
    return RiskNumbers(
        row[0],
        row[1],
        row[2],
        int(row[3]),
        row[4],
        row[5],
        int(row[6]),
        row[7],
        row[8],
        row[9],
        int(row[10]),
        row[11],
    )


@kernel
def keep(memory: Walk, row: Any) -> None:
    """Lay a walk's memory down in a row of doubles."""
    account, curve, days, sums = memory.account, memory.curve, memory.days, memory.sums
    row[0], row[1], row[2] = account.balance, account.losses, memory.row
    row[3], row[4], row[5] = memory.locked_until, memory.final_equity, memory.status
    row[6], row[7], row[8], row[9] = curve.peak, curve.peak_row, curve.deepest, curve.top_row
    row[10], row[11], row[12] = curve.end_row, curve.is_waiting, curve.is_locked
    row[13], row[14], row[15], row[16] = days.start, days.start_row, days.month_start, days.month_row
    row[17], row[18], row[19] = days.visited, days.total, days.squares
    row[20], row[21], row[22] = days.losing_squares, days.worst, days.months_at_target
    row[23], row[24], row[25], row[26] = sums.trades, sums.wins, sums.gains, sums.losses
    row[27], row[28], row[29] = sums.multiples, sums.defined_multiples, sums.largest_loss
    row[30], row[31], row[32], row[33] = sums.exposed, sums.fees, sums.funding, sums.slippage


@kernel
def recall(row: Any) -> Walk:
    """Return the memory that was laid down; whole numbers below 2^53 keep their value as doubles."""
    return Walk(
        Account(row[0], row[0], 0, row[13], row[0], int(row[1]), 0, 0, 1),
        int(row[2]),
        int(row[3]),
        Curve(row[6], int(row[7]), row[8], int(row[9]), int(row[10]), int(row[11]), int(row[12])),
        Days(
            row[13],
            int(row[14]),
            row[15],
            int(row[16]),
            int(row[17]),
            row[18],
            row[19],
            row[20],
            row[21],
            int(row[22]),
        ),
        Sums(
            int(row[23]),
            int(row[24]),
            row[25],
            row[26],
            row[27],
            int(row[28]),
            row[29],
            int(row[30]),
            row[31],
            row[32],
            row[33],
        ),
        row[4],
        int(row[5]),
    )


@kernel
def combination_of(words: Any, widths: Any) -> Combination:
    """Return a combination of its row of whole numbers and its row of doubles."""
    return Combination(
        int(words[0]),
        int(words[1]),
        int(words[2]),
        int(words[3]),
        int(words[4]),
        int(words[6]),
        int(words[7]),
        int(words[8]),
        widths[0],
        widths[1],
        widths[2],
    )


@kernel
def walk_many(
    market: Market,
    prices: Any,
    calendar: Any,
    ranges: Any,
    funding: Any,
    tables: Tables,
    words: Any,
    widths: Any,
    risks: Any,
    order: Any,
    equity: float,
    segment: int,
    memories: Any,
    figures: Any,
    statuses: Any,
) -> None:
    """Walk the combinations whose numbers `order` lists and write their figures and how each ended.

    memories: scratch, one row for each of them.
    """
    rows = len(prices.close)
    begin = 0
    while begin < rows:
        until = rows if rows <= 2 * segment else min(rows, begin + segment)
        for index in range(len(order)):
            number = order[index]
            combination = combination_of(words[number], widths[number])
            if combination.first_decision >= until and until < rows:
                continue
            risk = risk_of(risks[words[number, 5]])
            is_new = combination.first_decision >= begin
            memory = start_walk(calendar, combination, equity) if is_new else recall(memories[index])
            if memory.status != NEEDS_BAR_LOOP:
                if memory.row < until:
                    memory = walk(
                        market, prices, calendar, ranges, funding, tables, combination, risk, memory, until
                    )
                if until < rows:
                    keep(memory, memories[index])
                else:
                    write_figures(
                        prices, calendar, combination.first_decision, combination.is_first_month_full,
                        memory.curve, memory.days, memory.sums, equity, memory.final_equity, figures[number],
                    )  # fmt: skip
            elif until < rows:
                keep(memory, memories[index])
            statuses[number] = memory.status
        begin = until


@cache
def _compiled(strategy: Strategy, function: Callable[..., Any]) -> Any:
    """Return the compiled twin of a kernel."""
    return compile_kernel(function, strategy)


class _Distinct(NamedTuple):
    """The distinct keys among combinations."""

    number: np.ndarray  # which key each combination has
    representatives: list[Any]  # kernel numbers of one combination for each key


def _distinct(grid: Grid, base: Any, names: Sequence[str], of: Callable[[Any], Any]) -> _Distinct:
    """Number the combinations by what `of` says of their kernel numbers; only the axes named are looked at."""
    axes = [name for name in grid.axes if name in names]
    sizes = 1
    code = np.zeros(grid.total, np.int64)
    for name in axes:
        code = code * len(grid.axes[name]) + grid.places[name]
        sizes *= len(grid.axes[name])
    first = np.full(sizes, -1, np.int64)
    first[code[::-1]] = np.arange(grid.total - 1, -1, -1)
    present = np.flatnonzero(first >= 0)
    columns = [[grid.numbers[name][place] for place in grid.places[name][first[present]]] for name in axes]
    numbers: dict[Any, int] = {}
    renumbered = np.zeros(sizes, np.int32)
    representatives = []
    for each, chosen in zip(present.tolist(), zip(*columns, strict=True) if columns else [()], strict=True):
        values = base._replace(**dict(zip(axes, chosen, strict=True)))
        key = of(values)
        if key not in numbers:
            numbers[key] = len(numbers)
            representatives.append(values)
        renumbered[each] = numbers[key]
    return _Distinct(renumbered[code], representatives)


def run_events(
    strategy: Strategy,
    parameters: ParameterSet,
    risk: DynamicRiskManager,
    grid: Grid,
    series: Series,
    market: Market,
    timeframe_ms: int,
    equity: float,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Walk every combination; returns (figures, statuses), one row each. Figures of NEEDS_BAR_LOOP rows mean nothing."""
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as threads:
        engine = _Engine(strategy, parameters, risk, grid, series, market, timeframe_ms, threads)
        engine.build_shared()
        for group in range(len(engine.observed.representatives)):
            for order, tables, calendar in engine.groups(group):
                engine.walk(order, tables, calendar, equity, progress)
    return engine.figures, engine.statuses


class _Engine:
    """One sweep: what its combinations share, and the two rows of numbers that tell each apart."""

    def __init__(
        self,
        strategy: Strategy,
        parameters: ParameterSet,
        risk: DynamicRiskManager,
        grid: Grid,
        series: Series,
        market: Market,
        timeframe_ms: int,
        threads: ThreadPoolExecutor,
    ) -> None:
        """Number the combinations by what of their parameters matters where."""
        assert strategy.factors is not None
        self.strategy, self.factors, self.threads = strategy, strategy.factors, threads
        self.market, self.prices, self.timeframe_ms = as_arrays(market), prices_of(series), timeframe_ms
        self.rows = len(series.time)
        self.ranges = ranges_of(self.prices.close)
        self.funding = funding_of(series, bool(market.is_perpetual))
        base, risk_base, factors = parameters.values(), risk.values(), strategy.factors
        self.observed = _distinct(grid, base, factors.observed_by.names, factors.observed_by.of)
        self.entered = _distinct(grid, base, *self._beside_observed(factors.entered_by))
        self.left = _distinct(grid, base, *self._beside_observed(factors.left_by))
        self.stopped = _distinct(grid, base, factors.stopped_by.names, factors.stopped_by.of)
        self.taken = _distinct(grid, base, ("take_profit",), lambda one: one.take_profit)
        self.trailed = _distinct(grid, base, ("trailing_stop",), lambda one: one.trailing_stop)
        self.zones = _distinct(grid, risk_base, ("zone_offset",), lambda one: one.zone_offset)
        risks = _distinct(grid, risk_base, risk_base._fields, lambda one: one)
        cooled = _distinct(grid, base, ("cooldown",), lambda one: one.cooldown)

        self.calendars = [calendar_of(self.prices.time, timeframe_ms, one.zone_offset) for one in self.zones.representatives]
        self.risks = np.array([[float(number) for number in one] for one in risks.representatives])
        self.warm_up = _warm_up(parameters, grid, factors.warmed_by)
        self.figures = np.full((grid.total, len(FIGURES)), np.nan)
        self.figures[:, [FIGURES.index(name) for name in ZERO_WITHOUT_DECISIONS]] = 0.0
        self.statuses = np.zeros(grid.total, np.int8)
        self.words = np.zeros((grid.total, len(WORDS)), np.int64)
        self.widths = np.empty((grid.total, 3))
        for column, distinct in ((2, self.stopped), (3, self.taken), (4, self.trailed), (5, risks)):
            self.words[:, column] = distinct.number
        self.words[:, 8] = np.array([one.cooldown for one in cooled.representatives])[cooled.number]
        self.widths[:, 0] = np.array([one.take_profit for one in self.taken.representatives])[self.taken.number]
        self.widths[:, 1] = np.array([one.trailing_stop for one in self.trailed.representatives])[self.trailed.number]

    def _beside_observed(self, key: Key) -> tuple[Sequence[str], Callable[[Any], Any]]:
        """Return a key together with what the observations depend on."""
        observed_by = self.factors.observed_by
        return (*observed_by.names, *key.names), lambda one: (observed_by.of(one), key.of(one))

    def _call(self, function: Callable[..., Any], *given: Any) -> Any:
        """Call the compiled twin of a kernel."""
        return _compiled(self.strategy, function)(*given)

    def _each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Call a function for every item, on all threads."""
        return list(self.threads.map(function, items))

    def _observe(self, values: Any) -> np.ndarray:
        """Return what the indicators say after each candle."""
        out = np.empty((self.rows, self.factors.columns))
        self._call(observe_rows, values, as_arrays(strategy_start(values)), self.prices, out)
        return out

    def build_shared(self) -> None:
        """Build the tables that depend on no indicator level: stops, takes, trailing stops."""
        widths, rows = len(self.stopped.representatives), self.rows
        seen_at: dict[Any, Any] = {}
        for one in self.stopped.representatives:
            seen_at.setdefault(self.factors.observed_by.of(one), one)
        seen = dict(zip(seen_at, self._each(self._observe, seen_at.values()), strict=True))
        self.width = np.empty((widths, rows))
        self.stop = np.empty((2, widths, rows), np.int32)
        self.take = np.empty((2, len(self.taken.representatives), rows), np.int32)
        has_trail = any(one.trailing_stop > 0.0 for one in self.trailed.representatives)
        self.trail = np.full((2, len(self.trailed.representatives), rows if has_trail else 1), -1, np.int32)

        def fill_width(number: int) -> None:
            one = self.stopped.representatives[number]
            self._call(width_rows, one, self.prices, seen[self.factors.observed_by.of(one)], self.width[number])

        def fill_side(job: tuple[Callable[..., Any], int, Any, np.ndarray]) -> None:
            function, side, value, out = job
            self._call(function, self.market, self.prices, side, value, np.empty(rows, np.int32), out)

        self._each(fill_width, range(widths))
        sides = [(mirror, side) for mirror, side in enumerate(SIDES) if side == LONG or self.market.is_perpetual]
        jobs: list[tuple[Callable[..., Any], int, Any, np.ndarray]] = []
        jobs += [(stop_rows, side, self.width[n], self.stop[mirror, n]) for mirror, side in sides for n in range(widths)]
        for number, one in enumerate(self.taken.representatives):
            if one.take_profit > 0.0:
                jobs += [(take_rows, side, float(one.take_profit), self.take[mirror, number]) for mirror, side in sides]
        self._each(fill_side, jobs)
        is_constant = (self.width == self.width[:, :1]).all(axis=1)
        self.widths[:, 2] = np.where(is_constant, self.width[:, 0], np.nan)[self.stopped.number]

    def groups(self, group: int) -> Iterator[tuple[np.ndarray, Tables, Calendar]]:
        """Build the tables of the combinations with the same observations, and yield them by risk zone."""
        members = np.flatnonzero(self.observed.number == group)
        seen = self._observe(self.observed.representatives[group])
        entries = np.flatnonzero(_group(self.entered, self.observed) == group)
        leaves = np.flatnonzero(_group(self.left, self.observed) == group)
        next_entry = np.empty((len(entries), self.rows + 1), np.int32)
        side = np.empty((len(entries), self.rows), np.int8)
        leave = np.empty((2, len(leaves), self.rows), np.int32)
        gaps = self.calendars[0].is_after_gap

        def fill_entry(place: int) -> int:
            values = self.entered.representatives[entries[place]]
            return int(self._call(enter_rows, values, self.prices, gaps, seen, side[place], next_entry[place]))

        def fill_leave(place: int) -> None:
            values = self.left.representatives[leaves[place]]
            self._call(leave_rows, values, self.prices, seen, leave[0, place], leave[1, place])

        ready = np.array(self._each(fill_entry, range(len(entries))))
        self._each(fill_leave, range(len(leaves)))
        for column, distinct, mine in ((0, self.entered, entries), (1, self.left, leaves)):
            place_of = np.zeros(len(distinct.representatives), np.int64)
            place_of[mine] = np.arange(len(mine))
            self.words[members, column] = place_of[distinct.number[members]]
        first = np.maximum(ready[self.words[members, 0]], self.warm_up[members] - 1)
        self.words[members, 6] = np.minimum(first, self.rows)
        tables = Tables(next_entry, side, leave, self.width, self.stop, self.take, self.trail)
        for zone, calendar in enumerate(self.calendars):
            mine = members[(self.zones.number[members] == zone) & (self.words[members, 6] < self.rows)]
            starts_month = begins_month(self.prices.time, self.timeframe_ms, self.zones.representatives[zone].zone_offset)
            self.words[mine, 7] = starts_month[self.words[mine, 6]]
            words = self.words[mine]
            yield mine[np.lexsort((words[:, 3], words[:, 2], words[:, 1], words[:, 0]))], tables, calendar

    def walk(
        self, order: np.ndarray, tables: Tables, calendar: Calendar, equity: float, progress: Callable[[int], None]
    ) -> None:
        """Deal combinations to the threads in chunks and walk them."""

        def walk_chunk(chunk: np.ndarray) -> None:
            self._call(
                walk_many, self.market, self.prices, calendar, self.ranges, self.funding, tables, self.words, self.widths,
                self.risks, chunk, equity, SEGMENT, np.empty((len(chunk), MEMORY)), self.figures, self.statuses,
            )  # fmt: skip
            progress(len(chunk))

        self._each(walk_chunk, [order[at : at + CHUNK] for at in range(0, len(order), CHUNK)])


def _warm_up(parameters: ParameterSet, grid: Grid, names: Sequence[str]) -> np.ndarray:
    """Return the warm-up of each combination; where none is given it follows from other parameters."""
    axes = [name for name in grid.axes if name in names]
    warmed = _distinct(grid, parameters.values(), names, lambda one: tuple(getattr(one, name) for name in axes))
    chosen = [grid.values(int(np.flatnonzero(warmed.number == n)[0])) for n in range(len(warmed.representatives))]
    sets = [parameters.with_values({name: each[name] for name in axes}) for each in chosen]
    warm_up: np.ndarray = np.array([one.values().warm_up for one in sets], np.int64)[warmed.number]
    return warm_up


def _group(fine: _Distinct, coarse: _Distinct) -> np.ndarray:
    """Return to which coarse key each fine key belongs."""
    group = np.zeros(len(fine.representatives), np.int64)
    group[fine.number] = coarse.number
    return group

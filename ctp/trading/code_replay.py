"""Make an account's decisions of the last days again, with the sources of this process, and compare them to the bit.

A replay starts at a decision point (`Store`): the memory right after a decision. From there on it folds the facts that were
known at each decision, closes the same candles under the conditions that the journal names, and holds every record against
the one written then. At the next point it takes up that one's memory, so that what people changed between two candles
(parameters, locks, market rules) needs no guess.

A candle that neither the database nor the exchange has any more ends the stretch: what cannot be made again is not counted,
neither as equal nor as different.

Invariants:
1. Nothing is written and nothing is asked of an exchange here; the account is not touched.
2. By the sources that wrote the journal every decision comes out equal, in outcome, reason and every number.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from ctp.core.memory import load
from ctp.core.orders import EMERGENCY, ENTRY, EXIT
from ctp.core.trader import start_trader
from ctp.core.types import (
    CLOCK_DRIFT,
    ENTER,
    EXCHANGE_UNAVAILABLE,
    NO_CANDLE,
    OUTCOMES,
    PAUSED,
    REFUSALS,
    REFUSED,
    STALE_CANDLE,
    Candle,
    Plan,
)
from ctp.errors import CtpError
from ctp.storage.tables import decision_points, decisions, ledger, live_candles, orders
from ctp.trading import rows
from ctp.trading.code_pins import HOLDS, Compared, Difference, shown
from ctp.trading.decision import DROPPED, IN_FLIGHT, STOPPED, Conditions, Rules, decide_close
from ctp.trading.fold import LOCK, EntryPlan, Fact, Memory, Terms, fold
from ctp.trading.memory_text import read_memory
from ctp.trading.parameters import Chosen, read_version
from ctp.trading.replay import read_market
from ctp.trading.store import AccountInfo

DAYS_MS = 30 * 86_400_000
SLICE_S = 0.004  # of work, before the other threads have theirs
REST = 3.0  # times as long as the work
BEFORE_MS = 7 * 86_400_000  # of the window, where orders still matter that were planned there
NOT_COMPARED = "not_compared"


class Record(NamedTuple):
    """A journal row."""

    outcome: str
    reason: str
    numbers: dict[str, float]
    version: int
    decided_at: int


class Point(NamedTuple):
    """A memory to start from."""

    decision_time: int
    ledger_id: int
    parameter_version: int
    core_state: str


class KnownFact(NamedTuple):
    """A fact, and since when it was known."""

    fact: Fact
    recorded_at: int


class MarketOrder(NamedTuple):
    """An order that entered or left at the market."""

    id: str
    candle_time: int
    plan: EntryPlan | None  # of an entry
    error: str | None


class Material(NamedTuple):
    """Everything a replay needs but the candles that the database does not have."""

    account: AccountInfo
    points: Sequence[Point]  # oldest first
    journal: Mapping[int, Mapping[str, Record]]  # by candle and symbol
    facts: Sequence[KnownFact]  # in the order they were learnt
    plans: Mapping[str, EntryPlan]
    purposes: Mapping[str, str]
    planned_at: Mapping[str, int]  # market order -> the candle whose close planned it
    market_orders: Mapping[str, Sequence[MarketOrder]]  # by symbol, oldest first
    parameters: Mapping[int, Chosen | str]  # by version; a text: why today's bounds refuse it
    candles: dict[tuple[str, int], Candle]

    def missing(self) -> dict[str, tuple[int, int]]:
        """Return, by symbol, the first and last candle that was decided on and is not here."""
        found: dict[str, tuple[int, int]] = {}
        for candle_time, records in self.journal.items():
            for symbol, record in records.items():
                if record.outcome != OUTCOMES[NO_CANDLE] and (symbol, candle_time) not in self.candles:
                    first, last = found.get(symbol, (candle_time, candle_time))
                    found[symbol] = (min(first, candle_time), max(last, candle_time))
        return found


def read_material(connection: sa.Connection, account: AccountInfo, until: int, *, is_perpetual: bool) -> Material:
    """Read what a replay of the last days up to the candle `until` needs."""
    points = _points(connection, account.id, until)
    since = points[0].decision_time if points else until
    journal = _journal(connection, account.id, since, until)
    learnt = _learnt(account.id, points)
    facts = _facts(connection, learnt)
    plans, purposes, market_orders = _orders(connection, account.id, since, learnt)
    planned_at = {order.id: order.candle_time for each in market_orders.values() for order in each}
    versions = {point.parameter_version for point in points}
    parameters: dict[int, Chosen | str] = {}
    for version in versions:
        try:
            parameters[version] = read_version(connection, account.id, version, is_perpetual=is_perpetual)
        except CtpError as error:
            parameters[version] = str(error)
    candles = _candles(connection, account, since, until)
    return Material(account, points, journal, facts, plans, purposes, planned_at, market_orders, parameters, candles)


def replay(material: Material, should_stop: Callable[[], bool] = lambda: False) -> Compared | None:
    """Return what these sources decide otherwise; None when told to stop.

    Runs in a thread beside the bot's loop: a few milliseconds of work, then a rest three times as long.
    """
    found: list[Difference] = []
    compared = 0
    times = sorted(material.journal)
    worked_since = time.perf_counter()
    for number, point in enumerate(material.points):
        last = material.points[number + 1].decision_time if number + 1 < len(material.points) else None
        segment = [one for one in times if one > point.decision_time and (last is None or one <= last)]
        walk = _Walk(material, point)
        for candle_time in segment:
            found += walk.compare(candle_time)
            if walk.is_over:
                break
            compared += len(material.journal[candle_time])
            worked = time.perf_counter() - worked_since
            if worked >= SLICE_S:
                if should_stop():
                    return None
                time.sleep(worked * REST)
                worked_since = time.perf_counter()
    return Compared(compared, len(found), shown(found), times[0] if times else 0)


class _Walk:
    """One stretch of decisions from a point on."""

    def __init__(self, material: Material, point: Point) -> None:
        """Take up the memory of a point; where it cannot be read, nothing of the stretch can be compared."""
        self.material, self.problem = material, ""
        self.is_over = False  # a candle is missing: nothing can be told up to the next point
        account = material.account
        chosen = material.parameters[point.parameter_version]
        if isinstance(chosen, str):
            self.problem = chosen
            return
        plain = load(point.core_state)
        try:
            memory = read_memory(point.core_state, start_trader(chosen.strategy), point.decision_time, point.ledger_id)
            markets = tuple(read_market(plain["markets"][symbol]) for symbol in sorted(plain["markets"]))
        except (ValueError, KeyError) as error:
            self.problem = str(error)
            return
        if memory is None or any(
            state.seen != plain["states"][symbol]["seen"]
            for symbol, state in zip(memory.symbols, memory.states, strict=True)
        ):
            self.problem = "the strategy remembers something else than it did"
            return
        self.memory: Memory = memory
        self.rules = Rules(chosen.strategy, chosen.risk, markets, account.timeframe_ms, point.parameter_version)
        self.terms = Terms(markets, account.timeframe_ms, chosen.strategy, account.quote)
        self.active = [one for one in material.facts if one.fact.id > memory.ledger_id or one.fact.id in memory.pending]

    def compare(self, candle_time: int) -> list[Difference]:
        """Decide at the close of the candles that opened at a time, and return what differs from the journal."""
        records = self.material.journal[candle_time]
        if self.problem:
            return [_cannot(symbol, candle_time, record) for symbol, record in records.items()]
        present = {symbol for symbol, record in records.items() if record.outcome != OUTCOMES[NO_CANDLE]}
        candles = {symbol: self.material.candles.get((symbol, candle_time)) for symbol in present}
        if any(candle is None for candle in candles.values()):
            self.is_over = True
            return []
        known = self._known(candle_time, max(record.decided_at for record in records.values()))
        folded = fold(
            self.memory, known, self.material.plans, self.material.purposes, self.terms, until=candle_time
        ).memory
        there = {symbol: candle for symbol, candle in candles.items() if candle is not None}
        try:
            decided = decide_close(self.rules, folded, there, candle_time, self._conditions(candle_time, records, known))
        except (ArithmeticError, ValueError, LookupError) as error:
            self.problem = f"{type(error).__name__}: {error}"
            return [_cannot(symbol, candle_time, record) for symbol, record in records.items()]
        self.memory = decided.memory
        waiting = frozenset(decided.memory.pending)
        self.active = [
            one for one in self.active if one.fact.id > decided.memory.ledger_id or one.fact.id in waiting
        ]
        now = {row.symbol: row for row in decided.journal}
        differences = []
        for symbol, record in records.items():
            row = now.get(symbol)
            if row is None:
                differences.append(_cannot(symbol, candle_time, record))
                continue
            outcome, reason = self._written(symbol, candle_time, record)
            numbers: dict[str, list[float | None]] = {
                name: [record.numbers[name], row.numbers[name]]
                for name in record.numbers
                if name in row.numbers and record.numbers[name] != row.numbers[name]
            }
            if (outcome, reason) != (row.outcome, row.reason) or numbers:
                differences.append(
                    Difference(symbol, candle_time, record.outcome, record.reason, row.outcome, row.reason, numbers)
                )
        return differences

    def _known(self, candle_time: int, decided_at: int) -> list[Fact]:
        """Return the facts that were known at a decision and are not in the memory yet."""
        found = []
        for one in self.active:
            planned = self.material.planned_at.get(one.fact.order_id or "")
            # In the very millisecond of a decision its own orders may have filled: those facts came after it.
            if one.recorded_at > decided_at or (planned is not None and planned >= candle_time):
                break
            found.append(one.fact)
        return found

    def _conditions(self, candle_time: int, records: Mapping[str, Record], known: Sequence[Fact]) -> Conditions:
        """Return what held outside the definition, as far as the journal names it."""
        refused = {symbol: record.reason for symbol, record in records.items() if record.outcome == OUTCOMES[REFUSED]}
        reasons = set(refused.values())
        marked = {
            mark: {symbol for symbol, record in records.items() if record.numbers.get(mark)} for mark in (IN_FLIGHT, DROPPED)
        }
        in_flight: dict[str, Plan | None] = {symbol: self._last_plan(symbol, candle_time) for symbol in marked[IN_FLIGHT]}
        dropped = {symbol: self._last_plan(symbol, candle_time) for symbol in marked[DROPPED]}
        unavailable = {symbol for symbol, reason in refused.items() if reason == REFUSALS[EXCHANGE_UNAVAILABLE]}
        covers = [record.numbers["cover"] for record in records.values() if "cover" in record.numbers]
        return Conditions(
            is_running=not reasons & {REFUSALS[PAUSED], *HOLDS},
            leaves_exits=any(record.reason == STOPPED for record in records.values()),
            unavailable=frozenset(unavailable - set(in_flight)),
            is_clock_off=REFUSALS[CLOCK_DRIFT] in reasons,
            is_stale=REFUSALS[STALE_CANDLE] in reasons,
            in_flight=in_flight,
            dropped={symbol: plan for symbol, plan in dropped.items() if plan is not None},
            lock=next((fact for fact in known if fact.kind == LOCK), None),
            cover=covers[0] if covers else None,
        )

    def _last_plan(self, symbol: str, candle_time: int) -> Plan | None:
        """Return the plan of the last market order before a candle, when that was an entry."""
        before = [order for order in self.material.market_orders.get(symbol, ()) if order.candle_time < candle_time]
        return before[-1].plan.plan if before and before[-1].plan is not None else None

    def _written(self, symbol: str, candle_time: int, record: Record) -> tuple[str, str]:
        """Return a decision as it was first written, in words of the definition."""
        if record.reason in HOLDS:
            return record.outcome, REFUSALS[PAUSED]
        if record.reason == rows.GAP_IN_DATA:
            for order in self.material.market_orders.get(symbol, ()):
                if order.candle_time == candle_time and order.plan is not None and order.error == rows.GAP_IN_DATA:
                    return OUTCOMES[ENTER], "entry_signal"  # the journal was told later what became of it
        return record.outcome, record.reason


def _cannot(symbol: str, candle_time: int, record: Record) -> Difference:
    """Return a decision that cannot be made again."""
    return Difference(symbol, candle_time, record.outcome, record.reason, "", NOT_COMPARED, {})


def _points(connection: sa.Connection, account_id: int, until: int) -> list[Point]:
    """Return the points from the last one before the window on, oldest first."""
    columns = [decision_points.c[name] for name in Point._fields]
    query = (
        sa.select(*columns)
        .where(decision_points.c.account_id == account_id, decision_points.c.decision_time < until)
        .order_by(decision_points.c.decision_time)
    )
    found = [Point(*row) for row in connection.execute(query)]
    before = [number for number, point in enumerate(found) if point.decision_time <= until - DAYS_MS]
    return found[before[-1] if before else 0 :]


def _journal(connection: sa.Connection, account_id: int, since: int, until: int) -> dict[int, dict[str, Record]]:
    """Return the journal after `since` up to `until`, both open times."""
    query = sa.select(decisions).where(
        decisions.c.account_id == account_id, decisions.c.candle_time > since, decisions.c.candle_time <= until
    )
    journal: dict[int, dict[str, Record]] = {}
    for row in connection.execute(query):
        journal.setdefault(row.candle_time, {})[row.symbol] = Record(
            row.outcome, row.reason, json.loads(row.numbers), row.parameter_version, row.decided_at
        )
    return journal


def _learnt(account_id: int, points: Sequence[Point]) -> sa.ColumnElement[bool]:
    """Return which facts were learnt since the first point, or were pending at one."""
    if not points:
        return sa.false()
    pending = {number for point in points for number in load(point.core_state).get("pending", ())}
    wanted = sa.or_(ledger.c.id > points[0].ledger_id, ledger.c.id.in_(sorted(pending)))
    return sa.and_(ledger.c.account_id == account_id, wanted)


def _facts(connection: sa.Connection, learnt: sa.ColumnElement[bool]) -> list[KnownFact]:
    """Return facts in the order in which they were learnt."""
    columns = [ledger.c[name] for name in Fact._fields]
    query = sa.select(*columns, ledger.c.recorded_at).where(learnt)
    return [
        KnownFact(Fact(*row[: len(Fact._fields)]), row.recorded_at) for row in connection.execute(query.order_by(ledger.c.id))
    ]


def _orders(
    connection: sa.Connection, account_id: int, since: int, learnt: sa.ColumnElement[bool]
) -> tuple[dict[str, EntryPlan], dict[str, str], dict[str, list[MarketOrder]]]:
    """Return plans and purposes by order, and the market orders of each symbol, oldest first.

    learnt: the facts, whose orders are needed however old; of the others those planned from a few days before `since` on.
    """
    columns = [orders.c[name] for name in ("id", "symbol", "purpose", "plan", "candle_time", "error")]
    named = sa.select(ledger.c.order_id).where(learnt, ledger.c.order_id.is_not(None))
    wanted = sa.or_(orders.c.candle_time >= since - BEFORE_MS, orders.c.id.in_(named))
    query = sa.select(*columns).where(orders.c.account_id == account_id, wanted)
    plans: dict[str, EntryPlan] = {}
    purposes: dict[str, str] = {}
    market: dict[str, list[MarketOrder]] = {}
    for row in connection.execute(query.order_by(orders.c.candle_time, orders.c.planned_at, orders.c.id)):
        purposes[row.id] = row.purpose
        if row.purpose == ENTRY:
            plans[row.id] = rows.read_plan(row.plan)
        if row.purpose in (ENTRY, EXIT, EMERGENCY) and row.candle_time is not None:
            order = MarketOrder(row.id, row.candle_time, plans.get(row.id), row.error)
            market.setdefault(row.symbol, []).append(order)
    return plans, purposes, market


def _candles(connection: sa.Connection, account: AccountInfo, since: int, until: int) -> dict[tuple[str, int], Candle]:
    """Return the closed candles that the database has."""
    table = live_candles.c
    query = sa.select(live_candles).where(
        table.exchange == account.exchange, table.market == account.mode, table.symbol.in_(account.symbols),
        table.timeframe == account.timeframe, table.closed.is_(True), table.time > since, table.time <= until,
    )  # fmt: skip
    return {
        (row.symbol, row.time): Candle(row.time, row.open, row.high, row.low, row.close, row.volume)
        for row in connection.execute(query)
    }

"""One candle close of one account: from folded state to new memory, journal rows and planned orders. No I/O.

The decision itself is `ctp.core.trader.close_candles`; this turns what it wants into rows.

Invariants:
1. Every symbol gets exactly one journal row per close, naming the rule, the refusal or the exit reason.
2. A symbol with an order in flight gets no second one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ctp.core.orders import ENTRY, EXIT
from ctp.core.steps import price_of, size_of
from ctp.core.stops import stop_loss_ticks
from ctp.core.strategies import of_values
from ctp.core.trader import close_candles, with_position
from ctp.core.types import (
    ALLOWED,
    CLOCK_DRIFT,
    DAILY_LOSS_LOCK,
    DRAWDOWN_LOCK,
    ENTER,
    EXCHANGE_UNAVAILABLE,
    EXIT_REASONS,
    FLAT,
    HOLD,
    LONG,
    NAN,
    NO_BOUND,
    NO_CANDLE,
    NO_SIGNAL,
    OUTCOMES,
    PAUSED,
    REFUSALS,
    REFUSED,
    STALE_CANDLE,
    Account,
    Candle,
    Intent,
    Market,
    Plan,
    TraderState,
)
from ctp.core.types import EXIT as EXIT_OUTCOME
from ctp.trading.exchange import BUY, SELL
from ctp.trading.fold import Fact, Memory

NO_CANDLE_SEEN = Candle(0, NAN, NAN, NAN, NAN, NAN)
STOPPED = "stopped"  # reason of an exit signal that a stopped account leaves to its owner
IN_FLIGHT, DROPPED = "in_flight", "dropped"  # marks of the journal, for whoever makes the decision again


class Rules(NamedTuple):
    """What an account decides with."""

    strategy: Any  # kernel numbers
    risk: Any
    markets: tuple[Market, ...]  # one per symbol, alphabetical
    timeframe_ms: int
    version: int


class Conditions(NamedTuple):
    """What holds outside the definition at this close."""

    is_running: bool  # False: paused or stopped, no entries
    leaves_exits: bool  # stopped: the owner took over, only protective orders act
    unavailable: frozenset[str]  # symbols about which the exchange could not be asked
    is_clock_off: bool
    is_stale: bool
    in_flight: Mapping[str, Plan | None]  # symbols with an unfinished market order; its plan when it is an entry
    dropped: Mapping[str, Plan] = {}  # symbols without a candle since a gap dropped their entry
    lock: Fact | None = None  # the day was locked since the last decision
    shortfall: float = 0.0  # how much less than the balance the wallet holds
    hold: str = ""  # why the account enters nothing although it runs (`code_pins`)
    cover: float | None = None  # what the wallet covers, where that is known as such
    relived: frozenset[str] = frozenset()  # symbols whose entry at this close the exchange has already (`lost_orders`)


class PlannedOrder(NamedTuple):
    """A market order that the close decided on."""

    symbol: str
    purpose: str
    side: str
    lots: int
    reason: str
    plan: Plan


class JournalRow(NamedTuple):
    """Why the account did what it did with one symbol."""

    symbol: str
    outcome: str
    reason: str
    numbers: dict[str, float]


class Decided(NamedTuple):
    """What a close led to."""

    memory: Memory
    orders: tuple[PlannedOrder, ...]
    journal: tuple[JournalRow, ...]
    locks: tuple[str, ...] = ()  # that engaged at this close


def gate_of(symbol: str, conditions: Conditions) -> int:
    """Return the refusal that comes from outside the definition, the first that applies, or ALLOWED."""
    if symbol in conditions.relived:
        return ALLOWED
    if not conditions.is_running or conditions.hold:
        return PAUSED
    if symbol in conditions.unavailable or symbol in conditions.in_flight:
        return EXCHANGE_UNAVAILABLE
    if conditions.is_clock_off:
        return CLOCK_DRIFT
    return STALE_CANDLE if conditions.is_stale else ALLOWED


def decide_close(
    rules: Rules, folded: Memory, candles: Mapping[str, Candle], time: int, conditions: Conditions
) -> Decided:
    """Decide for every symbol at the close of the candles that opened at `time`.

    folded: the memory with every due fact folded in. Its indicator rings are advanced in place: when the result is not
    kept, the memory must be read again from the database.
    """
    states: list[TraderState] = []
    for symbol, state in zip(folded.symbols, folded.states, strict=True):
        plan = conditions.in_flight.get(symbol)
        # An entry that may still fill keeps its slot, margin and loss until it is settled; one that a gap has dropped
        # keeps them until its symbol's next candle, as in a backtest, which learns of the gap there.
        if plan is None and symbol not in candles:
            plan = conditions.dropped.get(symbol)
        if plan is not None and state.position.side == FLAT:
            state = with_position(state, state.position, plan, state.cooldown)
        states.append(state)
    intents: list[Any] = [None] * len(states)
    cover = conditions.cover
    if cover is None:
        cover = folded.account.balance - conditions.shortfall if conditions.shortfall > 0 else NO_BOUND
    _, account, _ = close_candles(
        rules.strategy,
        rules.risk,
        rules.markets,
        states,
        folded.account,
        [candles.get(symbol, NO_CANDLE_SEEN) for symbol in folded.symbols],
        [symbol in candles for symbol in folded.symbols],
        [gate_of(symbol, conditions) for symbol in folded.symbols],
        intents,
        rules.timeframe_ms,
        time + rules.timeframe_ms,
        cover,
    )
    orders: list[PlannedOrder] = []
    journal: list[JournalRow] = []
    for number, symbol in enumerate(folded.symbols):
        state, intent, market = states[number], intents[number], rules.markets[number]
        leaves = intent.outcome == EXIT_OUTCOME and conditions.leaves_exits
        row = _journal_row(rules.strategy, market, symbol, state, intent, candles.get(symbol), leaves)
        if conditions.lock is not None and account.daily_locked:
            # A replay of the candles alone does not know this lock: here is why the account decided otherwise.
            row.numbers.update(locked_at=conditions.lock.time, lock_equity=float(conditions.lock.amount))
        if cover < NO_BOUND:
            row.numbers["cover"] = cover
        if symbol in conditions.in_flight:
            row.numbers[IN_FLIGHT] = 1.0
        elif symbol in conditions.dropped:
            row.numbers[DROPPED] = 1.0
        if conditions.hold and conditions.is_running and row.reason == REFUSALS[PAUSED]:
            row = row._replace(reason=conditions.hold)
        journal.append(row)
        if symbol not in conditions.in_flight and not leaves:
            orders += _planned(symbol, state, intent)
    first_times = {symbol: candle.time for symbol, candle in candles.items()} | dict(folded.first_times)
    memory = folded._replace(states=tuple(states), account=account, decision_time=time, first_times=first_times)
    return Decided(memory, tuple(orders), tuple(journal), _engaged(folded.account, account))


def _engaged(before: Account, after: Account) -> tuple[str, ...]:
    """Return the locks that hold after a decision and did not before it, or held for the day before."""
    engaged = []
    if after.daily_locked and not (before.daily_locked and before.day == after.day):
        engaged.append(REFUSALS[DAILY_LOSS_LOCK])
    if after.drawdown_locked and not before.drawdown_locked:
        engaged.append(REFUSALS[DRAWDOWN_LOCK])
    return tuple(engaged)


def _planned(symbol: str, state: TraderState, intent: Intent) -> list[PlannedOrder]:
    """Return the market order that an intent asks for, if any."""
    if intent.outcome == ENTER:
        side = BUY if intent.side == LONG else SELL
        return [PlannedOrder(symbol, ENTRY, side, intent.lots, "entry_signal", state.plan)]
    if intent.outcome == EXIT_OUTCOME:
        side = SELL if intent.side == LONG else BUY
        return [PlannedOrder(symbol, EXIT, side, state.position.lots, EXIT_REASONS[intent.reason], state.plan)]
    return []


def _journal_row(
    strategy: Any,
    market: Market,
    symbol: str,
    state: TraderState,
    intent: Intent,
    candle: Candle | None,
    leaves_exit: bool,
) -> JournalRow:
    """Return the record of one symbol's decision."""
    outcome = OUTCOMES[intent.outcome]
    code = of_values(strategy)
    numbers: dict[str, float] = {}
    if intent.outcome == REFUSED:
        reason = REFUSALS[intent.refusal]
    elif intent.outcome == EXIT_OUTCOME:
        reason = EXIT_REASONS[intent.reason]
    elif intent.outcome in (ENTER, NO_SIGNAL):
        reason = code.rules[intent.rule]
    else:
        reason = outcome
    if leaves_exit:
        outcome, reason = OUTCOMES[HOLD], STOPPED
    if intent.outcome != NO_CANDLE and candle is not None:
        numbers |= code.describe(strategy, state.indicators, candle)
        numbers["seen"] = state.seen
        numbers["warm_up"] = strategy.warm_up
    for name in ("equity", "wanted", "budget", "room", "notional", "loss_width", "leverage"):
        numbers[name] = getattr(intent, name)
    if intent.outcome == ENTER:
        numbers["size"] = size_of(market, intent.lots)
        plan = state.plan
        numbers["stop"] = price_of(market, stop_loss_ticks(market, intent.side, plan.close, plan.stop_width))
        numbers["risk"] = numbers["size"] * abs(plan.close - numbers["stop"])
        if plan.limit_ticks:
            numbers["limit"] = price_of(market, plan.limit_ticks)
    if state.position.side != FLAT:
        position = state.position
        numbers["entry_price"] = position.entry_price
        numbers["stop"] = price_of(market, position.stop_ticks)
        if position.take_ticks:
            numbers["take"] = price_of(market, position.take_ticks)
    numbers["side"] = intent.side
    return JournalRow(symbol, outcome, reason, {name: value for name, value in numbers.items() if value == value})


def warm(strategy: Any, state: TraderState, candles: Sequence[Candle], timeframe_ms: int) -> TraderState:
    """Advance one symbol's indicators over history, without deciding anything; position and cooldown are kept."""
    step = of_values(strategy).step
    for candle in candles:
        indicators, signal = step(strategy, state.indicators, candle)
        after_gap = int(state.time != 0 and candle.time != state.time + timeframe_ms)
        state = state._replace(
            indicators=indicators,
            signal=signal,
            seen=state.seen + 1,
            time=candle.time,
            close=candle.close,
            after_gap=after_gap,
        )
    return state


def candles_needed(strategy: Any, fresh: TraderState) -> int:
    """Return how many candles a symbol must have seen for its first decision, that candle included.

    Warming up with one candle less makes the next candle the account's first decision, exactly as in a backtest that
    starts at the first of them.
    """
    state = fresh
    count = 0
    while not (state.signal.is_ready and count >= strategy.warm_up):
        count += 1
        state = warm(strategy, state, [Candle(count, 1.0, 1.0, 1.0, 1.0, 1.0)], 1)
    return count

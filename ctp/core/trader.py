"""What a candle's close means: THE definition that backtest, sweep, paper and live share (semantics §1, step d).

`close_candles` is the whole step for an account of one or many symbols: indicators and trailing stops advance, the account
is marked, the day may turn, locks are checked, then `decide` runs for each symbol in order. The bar loop and the bot both
call it; what happens before it, inside the candle, comes from `ctp.core.fills` there and from the exchange here.
"""

from __future__ import annotations

from typing import Any

from ctp.core.kernel import kernel
from ctp.core.risk import (
    Sizing,
    add_plan,
    add_position,
    has_plan,
    mark_account,
    open_profit,
    size_entry,
)
from ctp.core.steps import price_of
from ctp.core.stops import entry_limit_ticks, trailing_stop_ticks
from ctp.core.strategies import strategy_start, strategy_step
from ctp.core.types import (
    ALLOWED,
    BELOW_MINIMUM,
    COOLDOWN,
    DAILY_LOSS,
    DAILY_LOSS_LOCK,
    DRAWDOWN_LOCK,
    ENTER,
    EXIT,
    EXIT_SIGNAL,
    FLAT,
    GAP_IN_DATA,
    HOLD,
    LIQUIDATION,
    LONG,
    MAX_OPEN_POSITIONS,
    NAN,
    NO_BOUND,
    NO_CANDLE,
    NO_PLAN,
    NO_POSITION,
    NO_SIGNAL,
    NO_SIGNAL_YET,
    REFUSED,
    STILL_OPEN,
    STOP_LOSS,
    TRAILING_STOP,
    WARMING_UP,
    Account,
    Candle,
    Exposure,
    Intent,
    Market,
    Plan,
    Position,
    TraderState,
)

NO_SIZING = Sizing(ALLOWED, 0, NAN, NAN, NAN, NAN, NAN, NAN)


@kernel
def start_trader(strategy: Any) -> TraderState:
    """Return the memory of one symbol before its first candle."""
    return TraderState(strategy_start(strategy), NO_SIGNAL_YET, NO_POSITION, NO_PLAN, 0, 0, NAN, 0, 0)


@kernel
def start_account(balance: float) -> Account:
    """Return an account before its first decision."""
    return Account(balance, balance, 0, balance, balance, 0, 0, 0, 0)


@kernel
def with_position(state: TraderState, position: Position, plan: Plan, cooldown: int) -> TraderState:
    """Return the state with another position, plan and cooldown."""
    return TraderState(
        state.indicators,
        state.signal,
        position,
        plan,
        state.seen,
        state.time,
        state.close,
        state.after_gap,
        cooldown,
    )


@kernel
def trail(market: Market, position: Position, close: float, trailing_width: float) -> Position:
    """Move the trailing stop of an open position after a close; it never moves back."""
    if position.side == FLAT or trailing_width <= 0.0:
        return position
    best = position.best_close
    is_better = close > best if position.side == LONG else close < best
    if is_better or best != best:
        best = close
    moved = trailing_stop_ticks(market, position.side, best, trailing_width)
    stop = max(position.stop_ticks, moved) if position.side == LONG else min(position.stop_ticks, moved)
    return Position(
        position.side,
        position.lots,
        position.entry_price,
        position.entry_time,
        stop,
        position.first_stop_ticks,
        position.take_ticks,
        best,
        position.leverage,
        position.margin,
        position.liquidation_price,
        position.entry_equity,
        position.opened_lots,
        position.gross,
        position.exit_cost,
        position.fee,
        position.funding,
        position.slippage,
    )


@kernel
def advance(strategy: Any, market: Market, state: TraderState, candle: Candle, timeframe_ms: int) -> TraderState:
    """Advance one symbol's indicators, trailing stop and gap flag by a closed candle."""
    indicators, signal = strategy_step(strategy, state.indicators, candle)
    after_gap = int(state.time != 0 and candle.time != state.time + timeframe_ms)
    return TraderState(
        indicators,
        signal,
        trail(market, state.position, candle.close, strategy.trailing_stop),
        state.plan,
        state.seen + 1,
        candle.time,
        candle.close,
        after_gap,
        state.cooldown,
    )


@kernel
def is_warm(strategy: Any, state: TraderState) -> bool:
    """Return whether every indicator in use is defined and enough candles were seen."""
    return state.signal.is_ready != 0 and state.seen >= strategy.warm_up


@kernel
def decide(
    strategy: Any, risk: Any, market: Market, state: TraderState, account: Account, exposure: Exposure, gate: int
) -> tuple[TraderState, Intent]:
    """Decide for one symbol at the close of its newest candle: strategy first, then risk.

    `state` has been advanced by that candle and `account` marked at it; `exposure` holds every open position and every
    entry planned so far. `gate` is a refusal that comes from outside the definition (paused, exchange unavailable, …) or
    ALLOWED. Returns the state with its plan for the next open, and the intent that explains it.
    """
    signal = state.signal
    plan = NO_PLAN
    refusal = ALLOWED
    sizing = NO_SIZING
    outcome = NO_SIGNAL
    reason = STILL_OPEN
    side = FLAT
    if state.position.side != FLAT:
        side = state.position.side
        outcome = HOLD
        exits = signal.exit_long if side == LONG else signal.exit_short
        if account.daily_locked and risk.on_daily_loss == 1:
            reason = DAILY_LOSS
        elif exits:
            reason = EXIT_SIGNAL
        if reason != STILL_OPEN:
            outcome = EXIT
            plan = Plan(EXIT, side, 0, 0.0, state.close, NAN, NAN, account.equity, reason, 0)
    elif signal.enter != FLAT:
        side = signal.enter
        refusal = _refuse(strategy, risk, state, account, exposure, gate)
        price = state.close
        limit_ticks = 0
        if strategy.limit_offset > 0.0:
            limit_ticks = entry_limit_ticks(market, side, state.close, strategy.limit_offset)
            price = price_of(market, limit_ticks)
            if limit_ticks < 1 and refusal == ALLOWED:
                refusal = BELOW_MINIMUM  # no price is left below the market
        if refusal == ALLOWED:
            sizing = size_entry(risk, market, account, exposure, side, price, signal.stop_width)
            refusal = sizing.refusal
        outcome = REFUSED
        if refusal == ALLOWED:
            outcome = ENTER
            plan = Plan(
                ENTER,
                side,
                sizing.lots,
                sizing.leverage,
                price,
                signal.stop_width,
                sizing.loss_width,
                account.equity,
                STILL_OPEN,
                limit_ticks,
            )
    intent = Intent(
        outcome,
        side,
        sizing.lots,
        refusal,
        reason,
        signal.rule,
        account.equity,
        sizing.wanted,
        sizing.budget,
        sizing.room,
        sizing.notional,
        sizing.loss_width,
        sizing.leverage,
    )
    return with_position(state, state.position, plan, max(0, state.cooldown - 1)), intent


@kernel
def _refuse(strategy: Any, risk: Any, state: TraderState, account: Account, exposure: Exposure, gate: int) -> int:
    """Return the first reason why no entry may be planned, before its size is known."""
    if gate != ALLOWED:
        return gate
    if not is_warm(strategy, state):
        return WARMING_UP
    if state.after_gap:
        return GAP_IN_DATA
    if state.cooldown > 0:
        return COOLDOWN
    if account.daily_locked:
        return DAILY_LOSS_LOCK
    if account.drawdown_locked:
        return DRAWDOWN_LOCK
    if exposure.slots >= risk.max_open_positions:
        return MAX_OPEN_POSITIONS
    return ALLOWED


@kernel
def absent(account: Account) -> Intent:
    """Return the record of a symbol that has no candle at a time when others have one."""
    return Intent(NO_CANDLE, FLAT, 0, ALLOWED, STILL_OPEN, 0, account.equity, NAN, NAN, NAN, NAN, NAN, NAN)


@kernel
def equity_at_close(markets: Any, states: Any, balance: float) -> float:
    """Return balance plus unrealised P&L of every position at its symbol's last close."""
    equity = balance
    for index in range(len(states)):
        equity += open_profit(markets[index], states[index].position, states[index].close)
    return equity


@kernel
def exposure_of(markets: Any, states: Any, cover: float) -> Exposure:
    """Return what open positions and entries still planned use of what the wallet covers."""
    exposure = Exposure(0, 0.0, 0.0, 0.0, cover)
    for index in range(len(states)):
        state = states[index]
        if state.position.side != FLAT:
            exposure = add_position(markets[index], state.position, exposure)
        elif has_plan(state.plan):
            exposure = add_plan(markets[index], state.plan, exposure)
    return exposure


@kernel
def cooldown_after(strategy: Any, reason: int, cooldown: int) -> int:
    """Return the closes left without entry once a position was closed for that reason."""
    if reason in (STOP_LOSS, TRAILING_STOP, LIQUIDATION):
        return strategy.cooldown
    return cooldown


@kernel
def put(items: Any, index: int, item: Any) -> Any:
    """Put one symbol's item in place; replaced where the items of a compiled loop are a tuple of one."""
    items[index] = item
    return items


@kernel
def close_candles(
    strategy: Any,
    risk: Any,
    markets: Any,
    states: Any,
    account: Account,
    candles: Any,
    present: Any,
    gates: Any,
    intents: Any,
    timeframe_ms: int,
    close_time: int,
    cover: float = NO_BOUND,
) -> tuple[Any, Account, Any]:
    """Do step d for every symbol of an account at one close; symbols are in alphabetical order.

    markets, states, candles, present, gates, intents: one entry per symbol. `present` tells which symbols have a candle at
    this time; the others are marked at their last close and skipped. States and intents are replaced in place and returned.
    Before the first decision of the account (no symbol warm yet) only the indicators advance. cover: the part of the balance
    that the wallet at the exchange holds.
    """
    is_started = account.is_started
    for index in range(len(states)):
        if present[index]:
            state = advance(strategy, markets[index], states[index], candles[index], timeframe_ms)
            states = put(states, index, state)
            if is_warm(strategy, state):
                is_started = 1
    if is_started:
        account = mark_account(risk, account, equity_at_close(markets, states, account.balance), close_time)
    exposure = exposure_of(markets, states, cover)
    for index in range(len(states)):
        if present[index]:
            state, intent = decide(strategy, risk, markets[index], states[index], account, exposure, gates[index])
            states = put(states, index, state)
            if has_plan(state.plan):
                exposure = add_plan(markets[index], state.plan, exposure)
            intents = put(intents, index, intent)
        else:
            intents = put(intents, index, absent(account))
    return states, account, intents

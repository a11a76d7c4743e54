"""Equity between two closes, at the newest prices: does it reach the day's loss limit? Pure.

Only prices strictly inside the candle that follows the last decision count: what happens at its open belongs to that
decision, what is known at its close to the next. A market that shows no price in between is never locked in between.

A position counts at its entry price until a price is known that is not older than its entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from ctp.core.risk import day_of, is_daily_loss, open_profit
from ctp.core.types import FLAT, Market
from ctp.trading.decision import Rules
from ctp.trading.exchange import CandleUpdate
from ctp.trading.fold import LOCK, Fact, Memory

if TYPE_CHECKING:
    from ctp.trading.store import View

DAILY_LOSS_LOCK = "daily_loss_lock"
Prices = Mapping[str, CandleUpdate]  # by symbol, the newest of the open candle


class Breach(NamedTuple):
    """Equity at or below the day's loss limit, with the prices that show it."""

    time: int  # of the newest price
    candle_time: int
    equity: float
    prices: Prices


def equity_at(memory: Memory, markets: Sequence[Market], prices: Prices, candle_time: int) -> float:
    """Return the balance plus the P&L of open positions at the prices of one candle, at the last close without one.

    memory: with every known fact folded in.
    """
    equity = memory.account.balance
    for symbol, state, market in zip(memory.symbols, memory.states, markets, strict=True):
        position = state.position
        if position.side == FLAT:
            continue
        update = prices.get(symbol)
        if update is not None and update.candle.time == candle_time:
            if update.event_time >= position.entry_time:
                equity += open_profit(market, position, update.candle.close)
        elif position.entry_time < candle_time:
            equity += open_profit(market, position, state.close)
    return equity


def breach_between_closes(
    view: View, rules: Rules, prices: Prices, candle_time: int | None = None
) -> Breach | None:
    """Return the breach of the day's loss limit that the prices show; None when there is none, or it is known already.

    candle_time: the open candle; without it the one that follows the last decision.
    """
    current = view.folded.memory
    account = current.account
    if not account.is_started or account.daily_locked:
        return None
    if candle_time is None:
        candle_time = current.decision_time + rules.timeframe_ms
    time = max((one.event_time for one in prices.values() if one.candle.time == candle_time), default=0)
    is_between = candle_time < time < candle_time + rules.timeframe_ms
    # A day that has begun since is opened, and the lock lifted, by its first decision.
    if not is_between or day_of(rules.risk, time) != account.day:
        return None
    equity = equity_at(current, rules.markets, prices, candle_time)
    if not is_daily_loss(rules.risk, account.day_start_equity, equity):
        return None
    return Breach(time, candle_time, equity, dict(prices))


def lock_fact(breach: Breach, day: int, quote: str) -> Fact:
    """Return the fact that a breach locks the day; its name is the day, so that a day is locked once."""
    amount = Decimal(repr(breach.equity))
    return Fact(0, LOCK, "", breach.time, None, f"daily-loss-{day}", None, None, None, amount, quote, DAILY_LOSS_LOCK)

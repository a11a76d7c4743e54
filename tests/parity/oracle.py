"""An independent, obvious and slow reading of the trading definition: a whole account, candle by candle.

Written from the definition alone; it shares no line with ctp. Invariants:
1. Every number is computed by the plainest expression the definition allows, left to right.
2. Nothing here is clever: lists, dicts and dataclasses, whole series before single values.
The paragraph signs (§) name the paragraphs of the definition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tests.parity.oracle_symbol import Symbol
from tests.parity.oracle_values import (
    Candle,
    Costs,
    Decision,
    Market,
    PlannedEntry,
    Position,
    Result,
    Risk,
    Strategy,
    bracket_at,
    round_down,
    round_up,
)

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
RISK_CEILING = 0.02  # §4: what one stopped trade may cost, as a fraction of equity


class Account:
    """One account over its symbols: the order of events of §1, the risk of §4 and the costs of §5."""

    def __init__(
        self,
        strategy: Strategy,
        risk: Risk,
        candles: Mapping[str, Sequence[Candle]],
        timeframe: int,
        markets: Mapping[str, Market],
        costs: Mapping[str, Costs],
        equity: float,
        mark: Mapping[str, Sequence[Candle]] | None = None,
        funding: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    ) -> None:
        """Take the whole history; `run` walks it."""
        self.strategy, self.risk, self.timeframe = strategy, risk, timeframe
        self.symbols = [Symbol(name, candles[name], strategy, markets[name], costs[name]) for name in sorted(candles)]
        self.mark = {name: {candle.time: candle for candle in rows} for name, rows in (mark or {}).items()}
        self.funding = {
            name: [(time // MINUTE_MS * MINUTE_MS, rate) for time, rate in rows]
            for name, rows in (funding or {}).items()
        }
        self.balance = equity
        self.losses = 0  # in a row
        self.started = False  # has the first decision come?
        self.day: int | None = None
        self.day_start_equity = 0.0
        self.daily_lock = False
        self.drawdown_lock = False
        self.peak = 0.0
        self.result = Result()

    def run(self) -> Result:
        """Walk every candle of every symbol once."""
        times = sorted({candle.time for symbol in self.symbols for candle in symbol.candles})
        for time in times:
            present = [symbol for symbol in self.symbols if time in symbol.index_at]
            for symbol in present:
                symbol.i = symbol.index_at[time]
                self.pay_funding(symbol)  # step a
                self.fill_at_open(symbol)  # step b
                self.protect(symbol)  # step c
            self.close_candles(present, time + self.timeframe)  # step d
        self.result.open = [symbol.position for symbol in self.symbols if symbol.position is not None]
        self.result.balance = self.balance
        return self.result

    # --- step a ---

    def pay_funding(self, symbol: Symbol) -> None:
        """Let the position held before step b pay every funding time since the last open."""
        position = symbol.position
        if position is None or not symbol.market.perpetual:
            return
        before = symbol.candles[symbol.i - 1]
        mark = self.mark.get(symbol.name, {}).get(symbol.candle.time)
        price = before.close if mark is None else mark.open
        for time, rate in self.funding.get(symbol.name, []):
            if before.time < time <= symbol.candle.time:
                payment = position.sign * (position.size * price * rate)
                self.balance -= payment
                position.funding -= payment
                self.result.funding -= payment

    # --- step b ---

    def fill_at_open(self, symbol: Symbol) -> None:
        """Fill what was decided at the last close of this symbol."""
        price = symbol.candle.open
        if symbol.planned_exit is not None:
            assert symbol.position is not None
            factor = 1 - symbol.position.sign * symbol.costs.slippage
            self.close(symbol, price, price * factor, symbol.planned_exit)
        if symbol.planned_entry is not None:
            planned, symbol.planned_entry = symbol.planned_entry, None
            if symbol.is_after_gap(self.timeframe):  # §1 Gaps: dropped
                self.result.dropped += 1
            elif planned.limit is None:
                factor = 1 + symbol.costs.slippage if planned.side == "long" else 1 - symbol.costs.slippage
                self.open(symbol, planned, price * factor, price, symbol.costs.fee)
            elif self.is_reached(symbol.candle, planned.side, planned.limit):
                self.open(symbol, planned, planned.limit, planned.limit, symbol.costs.maker_fee)
            else:
                self.result.unfilled += 1

    def is_reached(self, candle: Candle, side: str, limit: float) -> bool:
        """Tell whether a limit order that was sent at the open rested there, and was traded through afterwards."""
        if side == "long":
            return not candle.open <= limit and not candle.low >= limit
        return not candle.open >= limit and not candle.high <= limit

    def open(self, symbol: Symbol, planned: PlannedEntry, price: float, unslipped: float, fee_rate: float) -> None:
        """Open a position at a price."""
        side, size = planned.side, planned.size
        fee = fee_rate * size * price
        self.balance -= fee
        slipped = size * abs(price - unslipped)
        self.result.fees += fee
        self.result.slippage += slipped
        stop = symbol.stop_from(price, side, planned.stop_width)
        symbol.position = Position(
            symbol=symbol.name,
            side=side,
            entry_time=symbol.candle.time,
            entry_price=price,
            size=size,
            leverage=planned.leverage,
            margin=size * price / planned.leverage,
            first_stop=stop,
            stop=stop,
            take=symbol.take_from(price, side),
            liquidation=symbol.liquidation_from(price, side, size, planned.leverage),
            entry_fee=fee,
            decision_equity=planned.decision_equity,
            entry_index=symbol.i,
            slippage=slipped,
            by_limit=planned.limit is not None,
        )

    # --- step c ---

    def protect(self, symbol: Symbol) -> None:
        """Fill at most one protective order inside the candle: stop, then liquidation, then take-profit."""
        position, candle = symbol.position, symbol.candle
        if position is None:
            return
        is_long = position.side == "long"
        mark = self.mark.get(symbol.name, {}).get(candle.time) or candle
        at_once = reached = False
        if position.liquidation is not None:
            at_once = mark.open <= position.liquidation if is_long else mark.open >= position.liquidation
            reached = mark.low <= position.liquidation if is_long else mark.high >= position.liquidation
        stopped = candle.low <= position.stop if is_long else candle.high >= position.stop
        if at_once and symbol.i != position.entry_index:
            self.liquidate(symbol, position)
        elif stopped:
            price = min(candle.open, position.stop) if is_long else max(candle.open, position.stop)
            reason = "trailing_stop" if position.stop_moved else "stop_loss"
            self.close(symbol, price, price * (1 - position.sign * symbol.costs.slippage), reason)
        elif reached:
            self.liquidate(symbol, position)
        elif position.take is not None and self.takes(position, candle, symbol.i):
            price = max(candle.open, position.take) if is_long else min(candle.open, position.take)
            if position.by_limit and symbol.i == position.entry_index:
                price = position.take  # the candle came to it from the limit price
            self.close(symbol, price, price * (1 - position.sign * symbol.costs.slippage), "take_profit")

    def takes(self, position: Position, candle: Candle, index: int) -> bool:
        """Tell whether the take-profit fills; in the candle of a limit entry only its close surely came after the entry."""
        assert position.take is not None
        if position.by_limit and index == position.entry_index:
            return candle.close >= position.take if position.side == "long" else candle.close <= position.take
        return candle.high >= position.take if position.side == "long" else candle.low <= position.take

    def liquidate(self, symbol: Symbol, position: Position) -> None:
        """Lose the margin and pay the liquidation fee in place of the taker fee (§5)."""
        price = position.entry_price * (1 - position.sign * (1 / position.leverage))
        self.close(symbol, price, price, "liquidation")

    def close(self, symbol: Symbol, unslipped: float, price: float, reason: str) -> None:
        """Close the position at a price and book it."""
        position = symbol.position
        assert position is not None
        rate = symbol.costs.liquidation_fee if reason == "liquidation" else symbol.costs.fee
        position.exit_time, position.exit_price, position.exit_reason = symbol.candle.time, price, reason
        position.exit_fee = rate * position.size * price
        position.gross = position.sign * position.size * (price - position.entry_price)
        self.balance += position.gross - position.exit_fee
        position.pnl = position.gross - position.fee + position.funding
        risk = position.size * abs(position.entry_price - position.first_stop)
        position.r_multiple = position.pnl / risk if risk > 0 else None
        slipped = position.size * abs(price - unslipped)
        position.slippage += slipped
        self.result.slippage += slipped
        self.result.fees += position.exit_fee
        self.result.closed.append(position)
        self.losses = 0 if position.pnl > 0 else self.losses + 1  # §4
        if reason in ("stop_loss", "trailing_stop", "liquidation"):
            symbol.stopped_index = symbol.i
        symbol.position = symbol.planned_exit = None

    # --- step d ---

    def close_candles(self, present: Sequence[Symbol], close_time: int) -> None:
        """Move trailing stops, mark, turn the day, check the locks, then decide for each symbol with a candle."""
        for symbol in present:
            if symbol.position is not None:
                self.trail(symbol, symbol.position)
        if not self.started and not any(symbol.is_warm() for symbol in present):
            return  # §2: before the account's first decision
        equity = self.marked_equity()
        self.turn_day(close_time, equity)
        self.started = True
        self.check_locks(equity)
        open_now = any(symbol.position is not None for symbol in self.symbols)
        assert self.day is not None
        self.result.decisions.append(Decision(close_time, equity, self.day, self.day_start_equity, open_now))
        for symbol in present:  # a symbol without a candle now is skipped, even when the daily lock closes positions
            self.decide(symbol, equity, close_time)

    def trail(self, symbol: Symbol, position: Position) -> None:
        """Move the trailing stop if the new one is better (§3)."""
        close = symbol.candle.close
        if position.side == "long":
            best = close if position.best_close is None else max(position.best_close, close)
            stop = round_up(best * (1 - self.strategy.trailing_stop), symbol.market.tick)
            better = stop > position.stop
        else:
            best = close if position.best_close is None else min(position.best_close, close)
            stop = round_down(best * (1 + self.strategy.trailing_stop), symbol.market.tick)
            better = stop < position.stop
        position.best_close = best
        if self.strategy.trailing_stop > 0 and better:
            position.stop, position.stop_moved = stop, True

    def marked_equity(self) -> float:
        """Return balance + Σ ± size × (last close − entry)."""
        equity = self.balance
        for symbol in self.symbols:
            if symbol.position is not None:
                position = symbol.position
                equity += position.sign * position.size * (symbol.candle.close - position.entry_price)
        return equity

    def turn_day(self, close_time: int, equity: float) -> None:
        """Let the day that contains the close time begin if it is new."""
        day = (close_time + math.floor(self.risk.zone_offset * HOUR_MS)) // DAY_MS
        if day != self.day:
            self.day, self.day_start_equity, self.daily_lock = day, equity, False

    def check_locks(self, equity: float) -> None:
        """Engage the daily and the drawdown lock; the drawdown lock is never lifted here."""
        if equity <= (1 - self.risk.daily_loss_limit) * self.day_start_equity:
            self.daily_lock = True
        self.peak = max(self.peak, equity) if self.result.decisions else equity
        if self.risk.max_drawdown < 1 and equity <= (1 - self.risk.max_drawdown) * self.peak:
            self.drawdown_lock = True

    def decide(self, symbol: Symbol, equity: float, close_time: int) -> None:
        """Plan at most one market order for the next open of a symbol, or journal why an entry is refused."""
        if symbol.position is not None:
            if self.daily_lock and self.risk.on_daily_loss == "close":
                symbol.planned_exit = "daily_loss"
            elif symbol.wants_exit(symbol.position.side):
                symbol.planned_exit = "exit_signal"
            return
        for side in ("long", "short"):
            if symbol.wants_entry(side):
                reason = self.refusal(symbol) or self.size(symbol, side, equity)
                if reason is not None:
                    self.result.refusals.append((close_time, symbol.name, reason))
                return

    def refusal(self, symbol: Symbol) -> str | None:
        """Return the first reason against an entry that does not depend on its size."""
        cooldown = self.strategy.cooldown
        taken = sum(other.position is not None or other.planned_entry is not None for other in self.symbols)
        if not symbol.is_warm():
            return "warming_up"
        if symbol.is_after_gap(self.timeframe):
            return "gap_in_data"
        if symbol.stopped_index is not None and symbol.i <= symbol.stopped_index + cooldown - 1:
            return "cooldown"
        if self.daily_lock:
            return "daily_loss_lock"
        if self.drawdown_lock:
            return "drawdown_lock"
        if taken >= self.risk.max_open_positions:
            return "max_open_positions"
        return None

    def streak_factor(self) -> float:
        """Return what is left of the risk after losses in a row."""
        factor = 1.0
        for _ in range(max(0, self.losses - self.risk.loss_streak + 1)):
            factor *= self.risk.shrink
        return max(self.risk.shrink_floor, factor)

    def worst_equity(self) -> float:
        """Return the equity if every stop filled now and every planned entry were stopped."""
        stopped_out = planned_loss = 0.0
        for symbol in self.symbols:
            position, planned = symbol.position, symbol.planned_entry
            if position is not None:
                price = position.stop * (1 - position.sign * symbol.costs.slippage)
                gross = position.sign * position.size * (price - position.entry_price)
                stopped_out += gross - symbol.costs.fee * position.size * price
            if planned is not None:
                planned_loss += planned.size * planned.close * planned.loss_width
        return self.balance + stopped_out - planned_loss

    def margin_in_use(self) -> float:
        """Return the margin of open positions and planned entries."""
        margin = 0.0
        for symbol in self.symbols:
            if symbol.position is not None:
                margin += symbol.position.margin
            if symbol.planned_entry is not None:
                planned = symbol.planned_entry
                margin += planned.size * planned.close / planned.leverage
        return margin

    def size(self, symbol: Symbol, side: str, equity: float) -> str | None:
        """Plan the entry with the size of §4, or return the reason against it."""
        risk, market, close = self.risk, symbol.market, symbol.candle.close
        limit = None
        if self.strategy.limit_offset:
            # Rounded away from the market; where the definition says close, a limit entry's size goes by its limit.
            if side == "long":
                limit = round_down(close * (1 - self.strategy.limit_offset), market.tick)
            else:
                limit = round_up(close * (1 + self.strategy.limit_offset), market.tick)
            if limit <= 0:
                return "below_minimum"
            close = limit
        width = symbol.stop_width()
        risk_amount = equity * risk.risk_per_trade * self.streak_factor()
        loss_width = width + 2 * (symbol.costs.fee + symbol.costs.slippage)
        ceiling = RISK_CEILING * equity / loss_width
        leverage = risk.leverage if risk.leverage is not None else (3 if market.perpetual else 1)
        margin = risk_amount / (leverage * width)  # the owner's formula
        # "At the notional before budget and margin": the ceiling applies, max_margin_fraction does not.
        leverage = min(leverage, bracket_at(min(margin * leverage, ceiling), market).max_leverage)
        margin = risk_amount / (leverage * width)
        wanted = min(margin * leverage, ceiling, risk.max_margin_fraction * equity * leverage)
        budget = risk.daily_loss_limit * self.day_start_equity - (self.day_start_equity - self.worst_equity())
        room = min(risk.max_margin_fraction * equity, self.balance) - self.margin_in_use()
        notional = min(wanted, budget / loss_width, room * leverage)
        if notional <= 0 or notional < wanted / 4:
            return "daily_loss_lock" if budget / loss_width <= room * leverage else "no_margin"
        size = round_down(notional / close, market.lot)
        stop = symbol.stop_from(close, side, width)
        if size <= 0 or size * min(close, stop) < market.minimum_notional:
            return "below_minimum"
        liquidation = symbol.liquidation_from(close, side, size, leverage)
        if liquidation is not None:
            sign = 1 if side == "long" else -1
            if sign * (stop - liquidation) < risk.liquidation_buffer * (sign * (close - liquidation)):
                return "liquidation_too_near"
        symbol.planned_entry = PlannedEntry(side, size, close, width, leverage, loss_width, equity, limit)
        return None

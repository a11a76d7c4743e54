"""An independent, obvious and slow reading of the trading definition: a whole account, candle by candle.

Written from the definition alone; it shares no line with ctp. Invariants:
1. Every number is computed by the plainest expression the definition allows, left to right.
2. Nothing here is clever: lists, dicts and dataclasses, whole series before single values.
The paragraph signs (§) name the paragraphs of the definition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
ATR_PERIOD = 14  # §2
RISK_CEILING = 0.02  # §4: what one stopped trade may cost, as a fraction of equity
STOP_NARROWEST, STOP_WIDEST = 0.002, 0.2  # §3


# --- what goes in -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candle:
    """One closed candle, named by its open time."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Strategy:
    """The parameters of §3, with its defaults; `warm_up` None is 28 × period."""

    period: int = 14
    oversold: float = 30.0
    overbought: float = 70.0
    entry_mode: str = "level"
    volume_window: int = 20
    volume_factor: float = 1.0
    stop_loss: float = 0.02
    stop_atr: float = 0.0
    take_profit: float = 0.04
    trailing_stop: float = 0.0
    direction: str = "long"
    trend_window: int = 0
    signal: str = "reversion"
    cooldown: int = 0
    warm_up: int | None = None


@dataclass(frozen=True)
class Risk:
    """The parameters of §4, with its defaults; `leverage` None is 1 on spot and 3 on perpetuals."""

    risk_per_trade: float = 0.01
    leverage: float | None = None
    daily_loss_limit: float = 0.03
    loss_streak: int = 3
    shrink: float = 0.5
    shrink_floor: float = 0.25
    max_open_positions: int = 3
    max_margin_fraction: float = 0.5
    max_drawdown: float = 0.20
    liquidation_buffer: float = 0.2
    on_daily_loss: str = "lock"
    zone_offset: float = 9


@dataclass(frozen=True)
class Bracket:
    """One maintenance bracket: it holds for notionals above `floor`, up to the next bracket's floor."""

    floor: float
    rate: float
    amount: float
    max_leverage: float


@dataclass(frozen=True)
class Market:
    """The rules of one symbol; a step is an integer or 1 ÷ an integer (§5)."""

    perpetual: bool = True
    tick: Fraction = Fraction(1, 10)
    lot: Fraction = Fraction(1, 1000)
    minimum_notional: float = 5.0
    brackets: tuple[Bracket, ...] = (Bracket(0.0, 0.01, 0.0, math.inf),)  # §5: unknown is 0.01 and 0


@dataclass(frozen=True)
class Costs:
    """The fractions of §5."""

    fee: float = 0.0005
    slippage: float = 0.0
    liquidation_fee: float = 0.0125


# --- what comes out ---------------------------------------------------------------------------------------------------


@dataclass
class Position:
    """An open position and, once closed, the trade of §8."""

    symbol: str
    side: str
    entry_time: int
    entry_price: float
    size: float
    leverage: float
    margin: float
    first_stop: float
    stop: float
    take: float | None
    liquidation: float | None
    entry_fee: float
    decision_equity: float
    entry_index: int
    funding: float = 0.0
    slippage: float = 0.0
    best_close: float | None = None
    stop_moved: bool = False
    exit_time: int | None = None
    exit_price: float | None = None
    exit_fee: float = 0.0
    gross: float | None = None
    pnl: float | None = None
    r_multiple: float | None = None
    exit_reason: str | None = None

    @property
    def sign(self) -> int:
        """Return 1 for long, -1 for short."""
        return 1 if self.side == "long" else -1

    @property
    def fee(self) -> float:
        """Return the fees paid so far, ≥ 0 (§8)."""
        return self.entry_fee + self.exit_fee


@dataclass
class PlannedEntry:
    """A market order decided at a close, to fill at the next open of its symbol."""

    side: str
    size: float
    close: float
    stop_width: float
    leverage: float
    loss_width: float
    decision_equity: float


@dataclass(frozen=True)
class Decision:
    """The account at one decision."""

    close_time: int
    equity: float
    day: int
    day_start_equity: float
    in_position: bool


@dataclass
class Result:
    """Everything a run of the account produced."""

    closed: list[Position] = field(default_factory=list)
    open: list[Position] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    refusals: list[tuple[int, str, str]] = field(default_factory=list)  # close time, symbol, reason
    balance: float = 0.0
    fees: float = 0.0
    funding: float = 0.0
    slippage: float = 0.0


# --- §5: steps --------------------------------------------------------------------------------------------------------


def to_steps(value: float, step: Fraction) -> float:
    """Return a value in (fractional) steps."""
    return value * step.denominator if step.numerator == 1 else value / step.numerator


def from_steps(steps: int, step: Fraction) -> float:
    """Return a whole number of steps as the nearest double."""
    return steps / step.denominator if step.numerator == 1 else float(steps * step.numerator)


def round_down(value: float, step: Fraction) -> float:
    """Round down to a step; 1e-9 of a step is forgiven."""
    return from_steps(math.floor(to_steps(value, step) + 1e-9), step)


def round_up(value: float, step: Fraction) -> float:
    """Round up to a step; 1e-9 of a step is forgiven."""
    return from_steps(math.ceil(to_steps(value, step) - 1e-9), step)


def bracket_at(notional: float, market: Market) -> Bracket:
    """Return the bracket that a notional lies in."""
    found = market.brackets[0]
    for bracket in market.brackets:
        if notional > bracket.floor:
            found = bracket
    return found


# --- §2: indicators, each as a whole series with None where undefined -------------------------------------------------


def wilder(values: Sequence[float], period: int) -> list[float | None]:
    """Return Wilder's average of a series: first the plain mean, then avg × (1 − k) + x × k."""
    k = 1 / period
    averages: list[float | None] = []
    average: float | None = None
    for i, value in enumerate(values):
        if i == period - 1:
            total = 0.0
            for first in values[:period]:
                total += first
            average = total / period
        elif average is not None:
            average = average * (1 - k) + value * k
        averages.append(average)
    return averages


def rsi_series(closes: Sequence[float], period: int) -> list[float | None]:
    """Return Wilder's RSI; a flat market is 50, the first value has index `period`."""
    changes = [after - before for before, after in zip(closes[:-1], closes[1:], strict=True)]
    gains = wilder([max(change, 0.0) for change in changes], period)
    losses = wilder([max(-change, 0.0) for change in changes], period)
    series: list[float | None] = [None]
    for gain, loss in zip(gains, losses, strict=True):
        if gain is None or loss is None:
            series.append(None)
        elif gain + loss == 0:
            series.append(50.0)
        else:
            series.append(100 * (gain / (gain + loss)))
    return series


def atr_series(candles: Sequence[Candle]) -> list[float | None]:
    """Return Wilder's ATR; true ranges count from the second candle on."""
    ranges = [
        max(now.high - now.low, abs(now.high - before.close), abs(now.low - before.close))
        for before, now in zip(candles[:-1], candles[1:], strict=True)
    ]
    return [None, *wilder(ranges, ATR_PERIOD)]


def mean_before(values: Sequence[float], i: int, window: int) -> float | None:
    """Return the mean of the `window` values before index i, summed oldest to newest."""
    if i < window:
        return None
    total = 0.0
    for value in values[i - window : i]:
        total += value
    return total / window


# --- one symbol -------------------------------------------------------------------------------------------------------


class Symbol:
    """One symbol of the account: its whole history, its position and what is planned for its next open."""

    def __init__(self, name: str, candles: Sequence[Candle], strategy: Strategy, market: Market) -> None:
        """Compute every indicator over the whole history."""
        self.name = name
        self.candles = candles
        self.strategy = strategy
        self.market = market
        closes = [candle.close for candle in candles]
        volumes = [candle.volume for candle in candles]
        self.rsi = rsi_series(closes, strategy.period)
        self.atr = atr_series(candles)
        self.volume_mean = [mean_before(volumes, i, strategy.volume_window) for i in range(len(candles))]
        window = strategy.trend_window
        self.trend_mean = [mean_before(closes, i + 1, window) if window else None for i in range(len(candles))]
        self.index_at = {candle.time: i for i, candle in enumerate(candles)}
        self.i = -1  # index of the newest candle seen
        self.position: Position | None = None
        self.planned_entry: PlannedEntry | None = None
        self.planned_exit: str | None = None
        self.stopped_index: int | None = None  # of the candle of the last stop, trailing stop or liquidation

    @property
    def candle(self) -> Candle:
        """Return the newest candle seen."""
        return self.candles[self.i]

    def is_after_gap(self, timeframe: int) -> bool:
        """Tell whether the newest candle does not follow the one before it (§1 Gaps)."""
        return self.i > 0 and self.candle.time != self.candles[self.i - 1].time + timeframe

    def is_warm(self) -> bool:
        """Tell whether every indicator in use is defined and `warm_up` candles were seen (§2)."""
        strategy = self.strategy
        warm_up = 28 * strategy.period if strategy.warm_up is None else strategy.warm_up
        return (
            self.i + 1 >= warm_up
            and self.rsi[self.i] is not None
            and (strategy.volume_factor == 0 or self.volume_mean[self.i] is not None)
            and (strategy.trend_window == 0 or self.trend_mean[self.i] is not None)
            and (strategy.stop_atr == 0 or self.atr[self.i] is not None)
        )

    def is_low(self, rsi: float | None) -> bool:
        """Tell whether an RSI is at or below the oversold level."""
        return rsi is not None and rsi <= self.strategy.oversold

    def is_high(self, rsi: float | None) -> bool:
        """Tell whether an RSI is at or above the overbought level."""
        return rsi is not None and rsi >= self.strategy.overbought

    def wants_entry(self, side: str) -> bool:
        """Tell whether the entry rule of one side is true at the newest close (§3, and volume of §2)."""
        strategy, i = self.strategy, self.i
        if strategy.direction not in (side, "both"):
            return False
        # Reversion buys low; momentum swaps the sides of entry and exit; the short side mirrors.
        reached = self.is_low if (side == "long") == (strategy.signal == "reversion") else self.is_high
        if not reached(self.rsi[i]):
            return False
        if strategy.entry_mode == "cross" and (i == 0 or self.rsi[i - 1] is None or reached(self.rsi[i - 1])):
            return False
        if self.candle.volume == 0:
            return False
        if strategy.volume_factor != 0:
            mean = self.volume_mean[i]
            if mean is not None and not self.candle.volume > strategy.volume_factor * mean:
                return False
        if strategy.trend_window:
            trend = self.trend_mean[i]
            if trend is not None:
                return self.candle.close > trend if side == "long" else self.candle.close < trend
        return True

    def wants_exit(self, side: str) -> bool:
        """Tell whether the exit rule of the side in position is true at the newest close (§3)."""
        reached = self.is_high if (side == "long") == (self.strategy.signal == "reversion") else self.is_low
        return reached(self.rsi[self.i])

    def stop_width(self) -> float:
        """Return the stop width a decision at the newest close uses (§3)."""
        if self.strategy.stop_atr == 0:
            return self.strategy.stop_loss
        atr = self.atr[self.i]
        assert atr is not None, "decided before the ATR was defined"
        return min(max(self.strategy.stop_atr * atr / self.candle.close, STOP_NARROWEST), STOP_WIDEST)

    def stop_from(self, price: float, side: str, width: float) -> float:
        """Return the stop of an entry at a price, rounded to a tick towards it (§3)."""
        if side == "long":
            return round_up(price * (1 - width), self.market.tick)
        return round_down(price * (1 + width), self.market.tick)

    def take_from(self, price: float, side: str) -> float | None:
        """Return the take-profit of an entry at a price, rounded to a tick towards it (§3)."""
        if self.strategy.take_profit == 0:
            return None
        if side == "long":
            return round_down(price * (1 + self.strategy.take_profit), self.market.tick)
        return round_up(price * (1 - self.strategy.take_profit), self.market.tick)

    def liquidation_from(self, price: float, side: str, size: float, leverage: float) -> float | None:
        """Return the liquidation price of an entry at a price, None on spot (§5)."""
        if not self.market.perpetual:
            return None
        bracket = bracket_at(size * price, self.market)
        margin = size * price / leverage
        if side == "long":
            return (size * price - margin - bracket.amount) / (size * (1 - bracket.rate))
        return (size * price + margin + bracket.amount) / (size * (1 + bracket.rate))


# --- the account ------------------------------------------------------------------------------------------------------


class Account:
    """One account over its symbols: the order of events of §1, the risk of §4 and the costs of §5."""

    def __init__(
        self,
        strategy: Strategy,
        risk: Risk,
        candles: Mapping[str, Sequence[Candle]],
        timeframe: int,
        markets: Mapping[str, Market],
        costs: Costs,
        equity: float,
        mark: Mapping[str, Sequence[Candle]] | None = None,
        funding: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    ) -> None:
        """Take the whole history; `run` walks it."""
        self.strategy, self.risk, self.costs, self.timeframe = strategy, risk, costs, timeframe
        self.symbols = [Symbol(name, candles[name], strategy, markets[name]) for name in sorted(candles)]
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
            factor = 1 - symbol.position.sign * self.costs.slippage
            self.close(symbol, price, price * factor, symbol.planned_exit)
        if symbol.planned_entry is not None:
            planned, symbol.planned_entry = symbol.planned_entry, None
            if symbol.is_after_gap(self.timeframe):  # §1 Gaps: dropped
                self.result.refusals.append((symbol.candle.time, symbol.name, "gap_in_data"))
            else:
                self.open(symbol, planned)

    def open(self, symbol: Symbol, planned: PlannedEntry) -> None:
        """Fill a planned entry at the open."""
        side, size = planned.side, planned.size
        price = symbol.candle.open * (1 + self.costs.slippage if side == "long" else 1 - self.costs.slippage)
        fee = self.costs.fee * size * price
        self.balance -= fee
        slipped = size * abs(price - symbol.candle.open)
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
            self.close(symbol, price, price * (1 - position.sign * self.costs.slippage), reason)
        elif reached:
            self.liquidate(symbol, position)
        elif position.take is not None and (candle.high >= position.take if is_long else candle.low <= position.take):
            price = max(candle.open, position.take) if is_long else min(candle.open, position.take)
            self.close(symbol, price, price * (1 - position.sign * self.costs.slippage), "take_profit")

    def liquidate(self, symbol: Symbol, position: Position) -> None:
        """Lose the margin and pay the liquidation fee in place of the taker fee (§5)."""
        price = position.entry_price * (1 - position.sign * (1 / position.leverage))
        self.close(symbol, price, price, "liquidation")

    def close(self, symbol: Symbol, unslipped: float, price: float, reason: str) -> None:
        """Close the position at a price and book it."""
        position = symbol.position
        assert position is not None
        rate = self.costs.liquidation_fee if reason == "liquidation" else self.costs.fee
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
        for symbol in self.symbols:  # §4 `close`: every open position, also of a symbol without a candle now
            if symbol.position is not None and self.daily_lock and self.risk.on_daily_loss == "close":
                symbol.planned_exit = "daily_loss"
        for symbol in present:
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
        day = math.floor((close_time + self.risk.zone_offset * HOUR_MS) / DAY_MS)
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
            if symbol.planned_exit is None and symbol.wants_exit(symbol.position.side):
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
        worst = self.balance
        for symbol in self.symbols:
            position, planned = symbol.position, symbol.planned_entry
            if position is not None:
                price = position.stop * (1 - position.sign * self.costs.slippage)
                gross = position.sign * position.size * (price - position.entry_price)
                worst += gross - self.costs.fee * position.size * price
            if planned is not None:
                worst -= planned.size * planned.close * planned.loss_width
        return worst

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
        width = symbol.stop_width()
        risk_amount = equity * risk.risk_per_trade * self.streak_factor()
        notional = risk_amount / width
        asked = risk.leverage if risk.leverage is not None else (3 if market.perpetual else 1)
        leverage = min(asked, bracket_at(notional, market).max_leverage) if market.perpetual else asked
        loss_width = width + 2 * (self.costs.fee + self.costs.slippage)
        wanted = min(notional, RISK_CEILING * equity / loss_width, risk.max_margin_fraction * equity * leverage)
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
        symbol.planned_entry = PlannedEntry(side, size, close, width, leverage, loss_width, equity)
        return None

"""Moves the market: funding, open, interior, close, for every symbol in alphabetical order.

Knows nothing of sockets or wall time. One candle is
OPEN      the price is the open; funding was paid; market orders fill here,
INTERIOR  first the touches of the candle (semantics 1c), then, when paced, points of a path from open to close,
CLOSE     the closed candle is announced, and the next OPEN entered in the same step.

Invariants:
1. State changes before it is announced: an order sent on the news of a close meets the next open.
2. In exact mode the touches of a candle are applied once, against the whole candle, before its path is walked.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise

from ctp.simulator.feed import Candle, Feed
from ctp.simulator.fills import FillModel
from ctp.simulator.futures import FuturesVenue
from ctp.simulator.futures_candle import pay_funding, touch, touch_account
from ctp.simulator.instrument import Instrument, Phase, Segment
from ctp.simulator.market import Costs, Market
from ctp.simulator.rules import SymbolRules, rules_of
from ctp.simulator.spot import SpotVenue

PriceListener = Callable[[Instrument], None]
CandleListener = Callable[[Instrument, bool], None]


class Engine:
    """The market and both venues on one feed."""

    def __init__(
        self,
        feed: Feed,
        fills: FillModel,
        costs: Costs,
        *,
        history: int = 1500,
        start_ms: int | None = None,
        rules: dict[str, SymbolRules] | None = None,
    ) -> None:
        """Stand at the open of the first candle.

        history: candles before it, as far as the feed has them; start_ms instead names the first candle.
        rules: market rules that replace the listed ones, by unified symbol.
        """
        self.feed = feed
        self.market = Market(fills, costs)
        self.futures, self.spot = FuturesVenue(self.market), SpotVenue(self.market)
        self.on_price: PriceListener = lambda instrument: None
        self.on_candle: CandleListener = lambda instrument, closed: None
        self.instruments: list[Instrument] = []
        for symbol in sorted(feed.symbols):
            instrument = Instrument((rules or {}).get(symbol) or rules_of(symbol))
            self.instruments.append(instrument)
            self.market.instruments[(instrument.rules.venue, instrument.rules.id)] = instrument
            venue = self.futures if instrument.rules.venue == "usdm" else self.spot
            venue.instruments[instrument.rules.id] = instrument
        self.time = 0
        self._touched = False
        self._in_gap = False
        self._order_mark = self._algo_mark = 0
        first = feed.first_time(history) if start_ms is None else feed.next_time(start_ms - 1)
        if first is None:
            raise ValueError(f"the feed has no candle at or after {start_ms}")
        for instrument in self.instruments:
            before = feed.candles(instrument.symbol, first - 1000 * feed.timeframe_ms, first - 1)
            if len(before.time):
                last = before.at(len(before.time) - 1)
                instrument.previous_close, instrument.last_time = last.close, last.time
        self._enter(first)

    @property
    def ended(self) -> bool:
        """Tell whether the feed has no more candles."""
        return self.market.phase is Phase.ENDED

    def _enter(self, time: int) -> None:
        """Enter OPEN of a candle: prices, then funding."""
        self.time = self.market.now = time
        self.market.phase, self._touched = Phase.OPEN, False
        self.market.is_paused = False
        self.market.rested.clear()
        for instrument in self.instruments:
            instrument.begin(self.feed.candle(instrument.symbol, time), self.feed.mark(instrument.symbol, time))
            if instrument.candle is not None and instrument.rules.venue == "usdm":
                self._pay_funding(instrument, time)

    def _pay_funding(self, instrument: Instrument, time: int) -> None:
        """Pay every funding time after the symbol's last candle up to this open."""
        for payment in self.feed.funding(instrument.symbol, instrument.last_time or time - 1, time):
            pay_funding(self.futures, instrument, payment.time, payment.rate)

    def touch_candle(self) -> None:
        """Enter INTERIOR: in exact mode apply the whole candle to what waits, symbol by symbol."""
        self.market.phase = Phase.INTERIOR
        if self._touched:
            return
        self._touched = True
        if not self.market.fills.exact:
            return
        for instrument in self.instruments:
            candle, mark = instrument.candle, instrument.mark
            if candle is None or instrument.halted:
                continue
            last = Segment(candle.open, candle.high, candle.low)
            self._touch(instrument, last, last if mark is None else Segment(mark.open, mark.high, mark.low))
        self._order_mark, self._algo_mark = self.market.order_ids.last, self.market.algo_ids.last

    def _touch(self, instrument: Instrument, last: Segment, mark: Segment) -> None:
        """Apply a stretch of prices to one symbol's venue."""
        if instrument.rules.venue == "usdm":
            touch(self.futures, instrument, last, mark)
        else:
            self.spot.touch(instrument, last)

    def path(self, candle: Candle, points: int) -> list[float]:
        """Return prices from open to close by way of both extremes, the nearer one first."""
        low_first = candle.open - candle.low <= candle.high - candle.open
        first, second = (candle.low, candle.high) if low_first else (candle.high, candle.low)
        corners = [candle.open, first, second, candle.close]
        between = max(1, points // 3)
        prices = [
            start + (end - start) * step / between
            for start, end in pairwise(corners)
            for step in range(1, between + 1)
        ]
        for number, corner in enumerate(corners[1:], 1):
            prices[number * between - 1] = corner
        return prices

    def walk(self, fraction: float, step: int, points: int) -> None:
        """Go to one point of every symbol's path; what came after the touches, or everything in book mode, meets it.

        fraction: how far into the candle market time stands, 0–1.
        """
        self.touch_candle()
        self.market.now = self.time + int(fraction * self.feed.timeframe_ms)
        for instrument in self.instruments:
            candle = instrument.candle
            if candle is None or instrument.halted:
                continue
            prices = self.path(candle, points)
            if step < len(prices):
                price = prices[step]
                if not self.market.fills.exact:
                    tick = instrument.rules.tick
                    price = tick.value(max(1, tick.nearest(price)))
                self.move(instrument, price, candle.volume / len(prices))

    def move(self, instrument: Instrument, price: float, volume: float = 0.0) -> None:
        """Bring one symbol to a price, past everything in between.

        In exact mode only orders that came after the touches of this candle meet the path.
        """
        exact = self.market.fills.exact and self._touched
        segment = instrument.move(price, volume)
        if not exact or instrument.jumped:
            self._touch(instrument, segment, segment)
        elif instrument.orders or instrument.triggers:
            self._touch_late(instrument, segment)
        self.on_price(instrument)
        self.on_candle(instrument, False)

    def _touch_late(self, instrument: Instrument, segment: Segment) -> None:
        """Let a path stretch meet only the orders that arrived in INTERIOR: the candle has met all the others."""
        hidden_orders = {n: o for n, o in instrument.orders.items() if n <= self._order_mark}
        hidden_triggers = {n: t for n, t in instrument.triggers.items() if n <= self._algo_mark}
        for number in hidden_orders:
            del instrument.orders[number]
        for number in hidden_triggers:
            del instrument.triggers[number]
        if instrument.orders or instrument.triggers:
            self._touch(instrument, segment, Segment(segment.open, segment.open, segment.open))
        instrument.orders.update({n: o for n, o in hidden_orders.items() if o.is_working})
        instrument.triggers.update(hidden_triggers)

    def jump(self, instrument: Instrument, price: float) -> None:
        """Force a price, for tests of shocks: everything on the way is touched, liquidation included."""
        instrument.jumped = True
        self.move(instrument, price)

    def step(self, path_points: int = 12) -> bool:
        """Finish the candle and enter the next; return False at the end of the data.

        In exact mode a candle inside which a limit order has opened something takes a second step: first the market stands
        still in INTERIOR, so that who entered can protect it; then the rest of the candle meets that protection.
        """
        was_paused, self.market.is_paused = self.market.is_paused, False
        self.touch_candle()
        if self.market.fills.exact and self.market.rested and not was_paused:
            self.market.is_paused = True
            return True
        if was_paused:
            self._touch_rest()
        if not self.market.fills.exact:
            for number in range(path_points):
                self.walk((number + 1) / (path_points + 1), number, path_points)
        return self.close()

    def _touch_rest(self) -> None:
        """Apply what is sure of the candle after each limit entry inside it: its extreme beyond, and its close."""
        for one in list(self.market.rested):
            candle, mark = one.instrument.candle, one.instrument.mark
            if candle is None:
                continue
            if one.sign > 0:
                last = Segment(one.price, max(one.price, candle.close), candle.low)
            else:
                last = Segment(one.price, candle.high, min(one.price, candle.close))
            if one.venue == "spot":
                self.spot.touch(one.instrument, last, only=one.account)
            else:
                marked = last if mark is None else Segment(mark.open, mark.high, mark.low)
                touch_account(self.futures, self.futures.accounts[one.account], one.instrument, last, marked)

    def close(self) -> bool:
        """Announce the closed candles and enter the next OPEN; return False at the end of the data."""
        if self.ended:
            return False
        self.touch_candle()
        self.market.now = self.time + self.feed.timeframe_ms
        closed = [instrument for instrument in self.instruments if instrument.candle is not None]
        for instrument in closed:
            self._settle(instrument)
            self.on_candle(instrument, True)
        following = self.feed.next_time(self.time)
        if following is None:
            self.market.phase = Phase.ENDED
            for instrument in self.instruments:
                instrument.begin(None, None)
            return False
        if following > self.time + self.feed.timeframe_ms and not self._in_gap:
            self._pause()
            return True
        self._in_gap = False
        self._enter(following)
        for instrument in self.instruments:
            if instrument.candle is not None:
                self.on_price(instrument)
                self.on_candle(instrument, False)
        return True

    def _settle(self, instrument: Instrument) -> None:
        """Show the candle whole, whatever of its path was walked."""
        candle = instrument.candle
        if candle is not None:
            instrument.price, instrument.high, instrument.low = candle.close, candle.high, candle.low
            instrument.volume = candle.volume

    def _pause(self) -> None:
        """Stand in a gap of all symbols: nobody can trade until the data goes on."""
        self._in_gap = True
        self.market.phase, self._touched = Phase.OPEN, False
        for instrument in self.instruments:
            instrument.begin(None, None)

    def add_account(
        self, key: str, wallet: Decimal, balances: dict[str, Decimal], fee_side: str, *, may_withdraw: bool
    ) -> None:
        """Open an account on both venues."""
        self.futures.add_account(key, wallet)
        self.spot.add_account(key, balances, fee_side, may_withdraw=may_withdraw)

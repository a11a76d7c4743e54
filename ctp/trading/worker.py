"""Keep one account at work: its candles in order, its hints, its reconciliation, its recovery.

Invariants:
1. A failure of one account never reaches another: it is logged, told to the owner, and the account recovers from the
   database and the exchange before it trades again.
2. A refused key stops this account alone (status `blocked`), until Start is asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ctp.core.types import Candle
from ctp.errors import CtpError, ExchangeBusy, ExchangeError, KeyRefused
from ctp.trading import sync
from ctp.trading.engine import Engine
from ctp.trading.equity_watch import Breach, breach_between_closes
from ctp.trading.exchange import FUNDING_HINT, CandleUpdate
from ctp.trading.protection import end_entries
from ctp.trading.reconciling import reconcile
from ctp.trading.store import BLOCKED
from ctp.trading.waiting import wait_for, within

SYMBOL_PATIENCE_S = 1.0  # how long a close waits for the candles of the other symbols
LOOK_PAUSE_S = 0.1
TAKE_BACK_S = 5.0  # how long ending may take for entries that rest
BEFORE_CLOSE_S, AFTER_CLOSE_S = 2.0, 1.0  # around the close of a candle nothing begins that can wait
GOLDEN_RATIO = 0.6180339887498949
RETRY_S, LONGEST_RETRY_S = 1.0, 30.0
FAILURES_TO_TELL = 4  # in a row, before the owner is told that the exchange cannot be reached


class Worker:
    """Runs one account's engine."""

    def __init__(self, engine: Engine, listen: Coroutine[Any, Any, None] | None) -> None:
        """Take an engine, and what listens to the account's stream."""
        self.engine, self.desk = engine, engine.desk
        self._listen = listen
        self._pending: dict[int, dict[str, Candle]] = {}
        self._market_now = 0
        self._candle_news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._failures = 0
        self._breach: Breach | None = None
        self._last_close = (0.0, 0.0)  # when the newest candle closed, and how long after the one before; monotonic seconds
        self.is_behind = False

    def start(self) -> None:
        """Begin to work."""
        self._tasks = [asyncio.create_task(self._follow_candles()), asyncio.create_task(self._follow_account())]
        if self._listen is not None:
            self._tasks.append(asyncio.create_task(self._listen))

    async def stop(self) -> None:
        """Stop working; what protects a position stays at the exchange, an entry that rests there is taken back.

        An order being sent is awaited.
        """
        async with self.desk.lock:
            await self._take_back_entries()
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.desk.exchange.close()

    async def _take_back_entries(self) -> None:
        """End entries that rest: they would fill while nobody is there to protect the position."""
        desk = self.desk
        if desk.view is None or not desk.is_leader():
            return
        doomed = [row for symbol in desk.account.symbols for row in desk.current.resting_entries(symbol)]
        try:
            if doomed:
                await within(end_entries(desk, doomed), desk.clock, TAKE_BACK_S)
        except (TimeoutError, CtpError) as error:
            desk.log.warning("entries_left_at_the_exchange", error=str(error))

    def offer(self, update: CandleUpdate) -> None:
        """Take news of the market."""
        account = self.desk.account
        if update.timeframe != account.timeframe or update.symbol not in account.symbols:
            return
        self._market_now = max(self._market_now, update.event_time)
        if update.is_closed:
            if update.candle.time not in self._pending:
                now_s = self.desk.clock.monotonic_s()
                self._last_close = (now_s, now_s - self._last_close[0])
            self._pending.setdefault(update.candle.time, {})[update.symbol] = update.candle
            self._candle_news.set()
        else:
            self.desk.see_price(update)

    def watch_equity(self) -> None:
        """Look at equity at the newest prices; a breach of the day's loss limit is acted on when the desk is free."""
        desk = self.desk
        if desk.view is None or self._breach is not None or not self.engine.is_ready:
            return
        self._breach = breach_between_closes(desk.view, desk.terms, desk.prices)
        if self._breach is not None:
            desk.wake.set()

    def missed_candles(self) -> None:
        """Take note that the market's stream broke: candles may be missing."""
        self.is_behind = True
        self.desk.wake.set()

    # --- candles -------------------------------------------------------------------------------------------------

    async def _follow_candles(self) -> None:
        """Decide on closed candles, oldest first."""
        while True:
            await self._candle_news.wait()
            self._candle_news.clear()
            while self._pending:
                time = min(self._pending)
                view = self.desk.view
                if view is None or time <= view.memory.decision_time:
                    del self._pending[time]
                    continue
                if not self.engine.is_ready:
                    await self.desk.clock.sleep(LOOK_PAUSE_S)
                    continue
                await self._wait_for_the_others(time)
                candles = self._pending.pop(time, {})
                await self._guarded(self.engine.close(time, candles, self._market_now))

    async def _wait_for_the_others(self, time: int) -> None:
        """Wait a moment for the candles of the account's other symbols, then ask the history for them."""
        account, clock = self.desk.account, self.desk.clock
        started = clock.monotonic_s()
        while len(self._pending[time]) < len(account.symbols):
            left = SYMBOL_PATIENCE_S - (clock.monotonic_s() - started)
            if left <= 0 or not await wait_for(self._candle_news, clock, left):
                break
            self._candle_news.clear()
        for symbol in set(account.symbols) - set(self._pending[time]):
            try:
                found = await self.engine.public.candles(symbol, account.timeframe, time, 1)
            except ExchangeError as error:
                self.desk.log.warning("candle_missing", symbol=symbol, error=str(error))
                continue
            for update in found:
                if update.is_closed and update.candle.time == time:
                    self._pending[time][symbol] = update.candle

    # --- the account ---------------------------------------------------------------------------------------------

    async def _follow_account(self) -> None:
        """Recover, then look whenever there is a hint, and reconcile at least as often as the settings say."""
        clock, settings = self.desk.clock, self.desk.settings
        due_s = clock.monotonic_s()
        while True:
            if not self.engine.is_ready:
                await self._guarded(self._recover())
                # Accounts that recovered together do not come again together.
                spread = self.desk.account.id * GOLDEN_RATIO % 1
                due_s = self._off_the_close(clock.monotonic_s() + settings.reconcile_every_s * (1 - spread / 2))
                continue
            left = due_s - clock.monotonic_s()
            if left > 0:
                await wait_for(self.desk.wake, clock, left)
            is_due = due_s <= clock.monotonic_s()
            if await self._guarded(self._look(is_due)) and is_due:
                due_s = self._off_the_close(clock.monotonic_s() + settings.reconcile_every_s)
            await clock.sleep(LOOK_PAUSE_S)

    def _off_the_close(self, due_s: float) -> float:
        """Return a moment not after `due_s` that is not around the close of a candle: then orders must leave at once."""
        closed_s, length_s = self._last_close
        if length_s < 4 * (BEFORE_CLOSE_S + AFTER_CLOSE_S):
            return due_s
        since_s = (due_s - closed_s) % length_s  # since the close before it
        if since_s > length_s - BEFORE_CLOSE_S:
            return due_s - BEFORE_CLOSE_S
        return due_s - AFTER_CLOSE_S - BEFORE_CLOSE_S if since_s < AFTER_CLOSE_S else due_s

    async def _recover(self) -> None:
        """Bring the account back to work and into line with its exchange."""
        await self.engine.recover()
        await reconcile(self.engine)
        self.desk.is_exchange_down = False
        self._failures = 0

    async def _look(self, is_due: bool) -> None:
        """Follow the hints, or reconcile when that is due."""
        desk = self.desk
        if desk.view is None:
            desk.wake.clear()
            desk.hints.clear()
            return
        if self._breach is not None:
            breach, self._breach = self._breach, None
            await self.engine.lock_the_day(breach)
        if desk.status == BLOCKED and not is_due:
            desk.wake.clear()
            desk.hints.clear()
            return
        async with desk.lock:
            hints = desk.take_hints()
            symbols = {hint.symbol for hint in hints}
            is_everything = is_due or "" in symbols
            if symbols and not is_everything:
                if FUNDING_HINT in symbols:
                    await desk.record([], await sync.read_funding(desk, desk.current.memory.decision_time))
                await self.engine.look(sorted(symbols & set(desk.account.symbols)))
        if is_everything:
            await reconcile(self.engine)
            desk.is_exchange_down = False
        if is_due or self.is_behind:
            await self.engine.catch_up()
            self.is_behind = False

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do work; a failure is told, and the account recovers before it goes on. Returns whether it succeeded."""
        desk = self.desk
        try:
            await work
        except ExchangeError as error:
            desk.is_exchange_down = True
            if isinstance(error, KeyRefused):
                desk.key_error = str(error)
            desk.log.warning("exchange_unavailable", error=str(error))
            desk.nudge()
            await self._pause(error)
            if self._failures == FAILURES_TO_TELL and not isinstance(error, KeyRefused):
                hour = desk.clock.now_ms() // 3_600_000
                await desk.tell_trouble("exchange_down", f"exchange_down:{hour}", error=str(error))
        except CtpError as error:
            desk.log.error("account_failed", error=str(error))
            self.engine.is_ready = False
            await self._pause(error)
        except Exception:  # outermost loop of an account: log, tell, recover; the other accounts go on
            desk.log.exception("account_crashed")
            self.engine.is_ready = False
            await self._pause(None)
        else:
            self._failures = 0
            await self._block_if_refused()
            return True
        await self._block_if_refused()
        return False

    async def _pause(self, error: CtpError | None) -> None:
        """Wait before trying again, longer each time."""
        self._failures += 1
        pause = min(LONGEST_RETRY_S, RETRY_S * 2 ** min(self._failures - 1, 5))
        if isinstance(error, ExchangeBusy):
            pause = max(pause, min(error.retry_after_s, 600.0))
        if isinstance(error, ExchangeError):
            pause = min(pause, 5.0) if not isinstance(error, ExchangeBusy) else pause
        await self.desk.clock.sleep(pause)

    async def _block_if_refused(self) -> None:
        """Stop an account whose key the exchange refuses."""
        desk = self.desk
        if not desk.key_error or desk.status == BLOCKED:
            return
        desk.status = BLOCKED
        reason, now_ms = desk.key_error, desk.clock.now_ms()
        await desk.run(lambda c: desk.store.set_status(c, BLOCKED, reason, now_ms))
        await desk.tell_trouble("key_refused", f"key_refused:{now_ms // 3_600_000}", error=reason)

"""One account's engine: candle close to decision to orders, start, recovery.

Invariants:
1. Start-up is recovery: orders in doubt are settled, fills and funding are read, every position is protected, missed
   candles are decided on (their entries are stale), exits that are due go out. Only then do new candles count.
2. Every closed candle is decided on exactly once, in order: `decision_time` moves with the commit of the decision.
3. A decision that was not committed leaves no trace: the memory is read again from the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal

import sqlalchemy as sa

from ctp.accounts.sources import source_hash
from ctp.core.orders import ENTRY
from ctp.core.strategies import of_values
from ctp.core.trader import start_account, start_trader
from ctp.core.types import ENTER, Candle, Plan
from ctp.errors import ExchangeBusy, ExchangeDown, ExchangeError, KeyRefused, NotAllowed, OrderRejected
from ctp.trading import code_pins, notices, rows, sync
from ctp.trading.decision import Conditions, PlannedOrder, Rules, candles_needed, decide_close, warm
from ctp.trading.desk import Desk
from ctp.trading.equity_watch import Breach, breach_between_closes, lock_fact
from ctp.trading.exchange import CandleUpdate, PublicMarket
from ctp.trading.fold import LOCK, Memory, fold
from ctp.trading.lost_orders import relive
from ctp.trading.memory_text import forget_indicators, read_memory
from ctp.trading.parameters import read_parameters
from ctp.trading.protection import carry_out, end_entries, settle_down
from ctp.trading.rows import OrderRow
from ctp.trading.store import RESTORED, RUNNING, STOPPED

MOST_MISSED = 1000  # candles asked for at once when catching up
NOT_KNOWN = (ExchangeDown, ExchangeBusy)


class Engine:
    """Trades one account. Everything that changes it runs under the desk's lock."""

    def __init__(self, desk: Desk, public: PublicMarket) -> None:
        """Bind a desk to the market its symbols trade on."""
        self.desk, self.public = desk, public
        self.is_ready = False
        self.prepared: dict[str, float] = {}  # the leverage of symbols known to trade isolated
        self._planned_leverages: dict[str, float] = {}  # of the last entries
        self._funding_known_to: int | None = None  # market time; None until the first decision of this process
        self._owes_funding = False  # a position was held since then

    # --- start and recovery --------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read the account's state from the database, and its market rules from the exchange when it has started."""
        desk = self.desk
        row = await desk.run(lambda c: desk.store.read_row(c, desk.clock.now_ms()))
        desk.status = row.status
        desk.is_restored = row.status_reason.startswith(RESTORED)
        if row.core_state == "{}":
            return
        rules = await self.read_rules()
        memory = read_memory(row.core_state, start_trader(rules.strategy), row.decision_time, row.ledger_id)
        assert memory is not None
        await self._adopt(memory, rules, row.parameter_version or 0)

    async def read_rules(self) -> Rules:
        """Return what the account decides with now."""
        desk = self.desk
        is_perpetual = desk.exchange.is_perpetual
        chosen = await desk.run(lambda c: read_parameters(c, desk.account.id, is_perpetual=is_perpetual))
        markets = await desk.exchange.markets(desk.account.symbols)
        ordered = tuple(markets[symbol] for symbol in desk.account.symbols)
        return Rules(chosen.strategy, chosen.risk, ordered, desk.account.timeframe_ms, chosen.version)

    async def _adopt(self, memory: Memory, rules: Rules, version: int) -> None:
        """Take over a stored memory, warming its indicators up again when the parameters are others now."""
        desk = self.desk
        if version != rules.version or any(state.seen == 0 for state in memory.states):
            memory = await self._warm_up(memory, rules)
            view = await desk.run(lambda c: desk.store.replace_memory(c, memory, rules, desk.clock.now_ms()))
        else:
            view = await desk.run(lambda c: desk.store.take_up(c, memory, rules, desk.clock.now_ms()))
        desk.rules, desk.view = rules, view
        await self.settle_hold()
        desk.last_fill_ids = await desk.run(lambda c: rows.last_fill_ids(c, desk.account.id))

    async def settle_hold(self) -> None:
        """Find out whether the account may enter with its parameters and the sources of this process."""
        desk = self.desk
        rules, decided = desk.terms, desk.current.memory.decision_time
        here, now_ms = source_hash(of_values(rules.strategy).name), desk.clock.now_ms()
        desk.hold = await desk.run(
            lambda c: code_pins.settle_hold(c, desk.account, rules.version, here, decided, now_ms)
        )
        if desk.hold:
            desk.log.warning("entries_held", reason=desk.hold)

    async def reload(self) -> None:
        """Forget the memory in this process and read the committed one."""
        desk = self.desk
        row = await desk.run(lambda c: desk.store.read_row(c, desk.clock.now_ms()))
        rules = desk.terms
        memory = read_memory(row.core_state, start_trader(rules.strategy), row.decision_time, row.ledger_id)
        assert memory is not None
        desk.view = await desk.run(lambda c: desk.store.view(c, memory, rules))

    async def begin(self) -> None:
        """Give an account that has never started its capital and its first memory."""
        desk = self.desk
        if desk.view is not None:
            return
        rules = await self.read_rules()
        capital = desk.account.capital
        if capital is None:
            capital = await desk.exchange.quote_balance(desk.account.quote)
        if capital <= 0:
            raise NotAllowed(f"there is no {desk.account.quote} to trade with: the balance is {capital}")
        symbols = desk.account.symbols
        fresh = start_trader(rules.strategy)
        newest = [await self._newest_closed(symbol) for symbol in symbols]
        account = start_account(float(capital))
        memory = Memory(symbols, (fresh,) * len(symbols), account, {}, {}, max(newest), 0, ())
        memory = await self._warm_up(memory, rules)
        market_time = memory.decision_time + rules.timeframe_ms
        view = await desk.run(
            lambda c: desk.store.start(c, memory, rules, capital, market_time, desk.clock.now_ms())
        )
        desk.rules, desk.view = rules, view
        await self.settle_hold()
        desk.log.info("account_started", capital=str(capital), first_times=dict(memory.first_times))

    async def _newest_closed(self, symbol: str) -> int:
        """Return the open time of a symbol's newest closed candle."""
        found = await self.public.candles(symbol, self.desk.account.timeframe, None, 3)
        closed = [update.candle.time for update in found if update.is_closed]
        if not closed:
            raise ExchangeDown(f"{symbol}: the exchange shows no closed candle yet")
        return closed[-1]

    async def _warm_up(self, memory: Memory, rules: Rules) -> Memory:
        """Return the memory with indicators that have seen just enough history up to `decision_time`.

        One candle less than a first decision needs: so the next candle is the account's first decision, as in a
        backtest that starts with the first candle seen.
        """
        needed = candles_needed(rules.strategy, start_trader(rules.strategy)) - 1
        since = memory.decision_time - (needed - 1) * rules.timeframe_ms
        states, first_times = [], dict(memory.first_times)
        for symbol, old in zip(memory.symbols, memory.states, strict=True):
            history: list[Candle] = []
            if needed > 0:
                found = await self.public.candles(symbol, self.desk.account.timeframe, since, needed + 1)
                history = [one.candle for one in found if one.is_closed and one.candle.time <= memory.decision_time]
            state = forget_indicators(old, start_trader(rules.strategy))
            states.append(warm(rules.strategy, state, history, rules.timeframe_ms))
            if history:
                first_times[symbol] = history[0].time
        return memory._replace(states=tuple(states), first_times=first_times)

    async def recover(self) -> None:
        """Bring an account back to work after a start of the process or a lost connection."""
        async with self.desk.lock:
            if self.desk.view is None:
                await self.load()
            if self.desk.view is None:
                self.is_ready = True
                return
            if self.desk.is_restored:
                await relive(self)
            await self.look(self.desk.account.symbols)
            self.is_ready = True
        await self.catch_up()

    async def use_new_parameters(self) -> None:
        """Change to the newest parameter version, between two candles."""
        desk = self.desk
        async with desk.lock:
            if desk.view is None:
                return
            rules = await self.read_rules()
            if rules.version == desk.terms.version:
                return
            await self._adopt(desk.current.memory, rules, desk.terms.version)
            desk.log.info("parameters_changed", version=rules.version)
            key, said = f"parameters_changed:{rules.version}", {"version": rules.version}
            now_ms = desk.clock.now_ms()
            await desk.run(
                lambda c: notices.tell_trouble(c, desk.account, "parameters_changed", key, now_ms, urgent=False, **said)
            )

    async def set_capital(self, capital: Decimal) -> None:
        """Record a change of the allotted capital as a transfer."""
        desk = self.desk
        async with desk.lock:
            if desk.view is None:
                return
            now_ms, market_time = desk.clock.now_ms(), desk.current.memory.decision_time + desk.account.timeframe_ms
            memory, rules = desk.current.memory, desk.terms

            def work(connection: sa.Connection) -> None:
                known = desk.store.capital(connection)
                if known is not None and known != capital:
                    desk.store.transfer(connection, capital - known, capital, market_time, now_ms)

            await desk.run(work)
            desk.view = await desk.run(lambda c: desk.store.replace_memory(c, memory, rules, now_ms))

    # --- looking at the exchange ---------------------------------------------------------------------------------

    async def look(self, symbols: Sequence[str]) -> frozenset[str]:
        """Read what happened to these symbols, book it and protect; returns those that could not be asked about."""
        desk = self.desk
        asked = [symbol for symbol in symbols if sync.needs_look(desk, symbol)]
        told = await asyncio.gather(*(sync.read_symbol(desk, symbol) for symbol in asked), return_exceptions=True)
        unknown: set[str] = set()
        news, facts = [], []
        for symbol, answer in zip(asked, told, strict=True):
            if isinstance(answer, ExchangeError):
                self._note(answer)
                unknown.add(symbol)
                desk.nudge(symbol)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                news += answer[0]
                facts += answer[1]
        if asked and len(unknown) < len(asked):
            desk.is_exchange_down = False
        await desk.record(news, facts)
        await settle_down(desk, [symbol for symbol in asked if symbol not in unknown])
        return frozenset(unknown)

    def _note(self, error: ExchangeError) -> None:
        """Remember what a failed answer says about the exchange or the key."""
        if isinstance(error, KeyRefused):
            self.desk.key_error = str(error)
        self.desk.is_exchange_down = True
        self.desk.nudge()
        self.desk.log.warning("exchange_unavailable", error=str(error))

    # --- candles -------------------------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Decide on every candle that closed since the last decision, as far as the exchange's history tells."""
        desk = self.desk
        async with desk.lock:
            while desk.view is not None:
                since = desk.current.memory.decision_time + desk.account.timeframe_ms
                by_time = await self.missed(since)
                if not by_time:
                    return
                market_now = await self.public.market_time(desk.account.symbols[0])
                for time in sorted(by_time):
                    await self._close(time, by_time[time], market_now)

    async def missed(self, since: int) -> dict[int, dict[str, Candle]]:
        """Return the closed candles from `since` on, by open time and symbol."""
        symbols, timeframe = self.desk.account.symbols, self.desk.account.timeframe
        found = await asyncio.gather(*(self.public.candles(one, timeframe, since, MOST_MISSED) for one in symbols))
        by_time: dict[int, dict[str, Candle]] = {}
        _gather(by_time, found, since)
        # A candle may have closed between two answers: whoever was asked too early is asked again, or its symbol
        # would be decided on as if the market had none.
        newest = max(by_time, default=since)
        early = [one for one in symbols if one not in by_time.get(newest, {})] if by_time else []
        again = await asyncio.gather(*(self.public.candles(one, timeframe, since, MOST_MISSED) for one in early))
        _gather(by_time, again, since, until=newest)
        return by_time

    async def close(self, time: int, candles: Mapping[str, Candle], market_now: int) -> None:
        """Decide on the candles that opened at `time`, unless that was done already or others are missing before it.

        market_now: the exchange's time. Missed candles are fetched and decided on first.
        """
        desk = self.desk
        if desk.view is None or time <= desk.current.memory.decision_time:
            return
        if time > desk.current.memory.decision_time + desk.account.timeframe_ms:
            await self.catch_up()
        async with desk.lock:
            if time > desk.current.memory.decision_time:
                await self._close(time, candles, market_now)

    async def _close(self, time: int, candles: Mapping[str, Candle], market_now: int) -> None:
        """Learn what happened inside the candle, decide, commit, send, protect."""
        desk = self.desk
        unavailable = await self._before_decision(time)
        view, rules = desk.current, desk.terms
        terms = desk.store.terms(rules)
        folded = fold(view.memory, view.facts, view.plans, view.purposes, terms, until=time).memory
        taken = view.entered_after(folded.pending) | view.in_flight()
        conditions = self._conditions(time, market_now, unavailable, taken)
        conditions = conditions._replace(dropped=await self._dropped(candles))
        decided = decide_close(rules, folded, candles, time, conditions)
        planned = [self.order_row(one, time) for one in decided.orders]
        now_ms = desk.clock.now_ms()
        after = desk.store.after_decision(view, decided, planned, rules)
        current = after.folded.memory
        try:
            await desk.run(lambda c: desk.store.commit_decision(c, decided, planned, current, rules, now_ms))
        except BaseException:
            await asyncio.shield(self.reload())
            raise
        desk.view = after
        desk.checkpoint("decided")
        sent = await asyncio.gather(*(self._carry_out(row) for row in planned), return_exceptions=True)
        await settle_down(desk, [symbol for symbol in desk.account.symbols if sync.needs_look(desk, symbol)])
        for one in sent:
            if isinstance(one, BaseException):
                raise one

    async def _before_decision(self, time: int) -> frozenset[str]:
        """Read fills and funding that belong before a decision; returns the symbols that could not be asked about."""
        desk = self.desk
        close_time = time + desk.account.timeframe_ms
        await self._end_entries(time)
        unavailable = await self._read_only([one for one in desk.account.symbols if sync.needs_look(desk, one)])
        await self._end_entries(time)  # those that were found to rest just now
        # After the fills, never beside them: only they tell whether a position was there to pay funding.
        if not await self._read_funding(time, close_time):
            unavailable = frozenset(desk.account.symbols)
        if desk.is_exchange_down or desk.key_error:
            unavailable = frozenset(desk.account.symbols)
        return unavailable

    async def _end_entries(self, time: int) -> None:
        """End limit entries whose candle has closed: they were good for that one. One that cannot be ended stays in flight."""
        desk = self.desk
        for symbol in desk.account.symbols:
            await end_entries(desk, [row for row in desk.current.resting_entries(symbol) if (row.candle_time or 0) < time])

    async def _read_funding(self, time: int, close_time: int) -> bool:
        """Read and book funding since it was last known, if a position can have paid any; returns whether it is known.

        A read that failed, and the candles missed while the bot was down, are read again: nothing else ever asks for them.
        """
        desk = self.desk
        if not desk.exchange.is_perpetual:
            return True
        if self._funding_known_to is None:
            self._funding_known_to = desk.current.memory.decision_time or time
        since = min(self._funding_known_to, time)
        self._owes_funding = self._owes_funding or self._held_position()
        if self._owes_funding and sync.crosses_hour(since, close_time):
            try:
                await desk.record([], await sync.read_funding(desk, since))
            except (*NOT_KNOWN, KeyRefused) as error:
                self._note(error)
                return False
        self._funding_known_to, self._owes_funding = close_time, False
        return True

    async def _read_only(self, symbols: Sequence[str]) -> frozenset[str]:
        """Read and book what happened to symbols, without acting on it: the decision comes first."""
        desk = self.desk
        try:
            changed = await sync.changed_symbols(desk, symbols)
        except ExchangeError as error:
            self._note(error)
            return frozenset(symbols)
        told = await asyncio.gather(*(sync.read_symbol(desk, symbol) for symbol in changed), return_exceptions=True)
        unknown: set[str] = set()
        for symbol, answer in zip(changed, told, strict=True):
            if isinstance(answer, ExchangeError):
                self._note(answer)
                unknown.add(symbol)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                await desk.record(*answer)
        if symbols and not unknown:
            desk.is_exchange_down = False
        return frozenset(unknown)

    def _held_position(self) -> bool:
        """Return whether a position was open at the last decision or has been since."""
        view = self.desk.current
        return any(state.position.lots for state in view.memory.states) or any(view.facts)

    async def _dropped(self, candles: Mapping[str, Candle]) -> Mapping[str, Plan]:
        """Return the plans of entries that a gap has dropped, of symbols that still have no candle."""
        desk = self.desk
        memory = desk.current.memory
        planned = {
            symbol: state.time
            for symbol, state in zip(memory.symbols, memory.states, strict=True)
            if symbol not in candles and state.plan.action == ENTER
        }
        if not planned:
            return {}
        return await desk.run(lambda c: rows.dropped_plans(c, desk.account.id, planned))

    async def lock_the_day(self, breach: Breach) -> None:
        """Lock the day because equity reached its loss limit between two closes.

        What the exchange knows better comes first: a stop that has filled meanwhile ended the loss at its price.
        """
        desk = self.desk
        async with desk.lock:
            if desk.view is None:
                return
            await self._read_only([one for one in desk.account.symbols if sync.needs_look(desk, one)])
            found = breach_between_closes(desk.current, desk.terms, breach.prices, breach.candle_time)
            if found is None:
                return
            day = desk.current.folded.memory.account.day
            await desk.record([], [lock_fact(found, day, desk.account.quote)])
            desk.log.warning("day_locked", equity=found.equity, market_time=found.time)

    def _conditions(
        self, time: int, market_now: int, unavailable: frozenset[str], taken: Mapping[str, Plan | None]
    ) -> Conditions:
        """Return what holds outside the definition at the close of the candle that opened at `time`.

        taken: symbols that an order of ours is about to change, or has changed since that close.
        """
        desk = self.desk
        length = desk.account.timeframe_ms
        return Conditions(
            is_running=desk.status == RUNNING,
            hold=desk.hold,
            leaves_exits=desk.status == STOPPED,
            unavailable=unavailable,
            is_clock_off=self.public.exchange_clock.is_off,
            is_stale=market_now > time + length + desk.entry_stale_after_ms,
            in_flight=taken,
            lock=next((fact for fact in desk.current.facts if fact.kind == LOCK), None),
            shortfall=desk.shortfall,
        )

    def order_row(self, order: PlannedOrder, time: int) -> OrderRow:
        """Return the row of an order that a decision planned."""
        plan = "{}"
        if order.purpose == ENTRY:
            plan = rows.write_plan(order.plan, self.desk.terms.strategy.take_profit)
        row = self.desk.order_row(order.symbol, order.purpose, order.side, order.lots, order.reason, time, 0, plan=plan)
        return row._replace(type=rows.LIMIT) if order.plan.limit_ticks else row

    async def _carry_out(self, row: OrderRow) -> None:
        """Send one planned order, and protect what it opened."""
        desk = self.desk
        if row.purpose == ENTRY and not await self._prepare(row):
            return
        await carry_out(desk, row)
        await settle_down(desk, [row.symbol])

    async def _prepare(self, row: OrderRow) -> bool:
        """Make sure that the symbol trades isolated with the planned leverage; gives the order up when it cannot."""
        desk = self.desk
        leverage = rows.read_plan(row.plan).plan.leverage
        self._planned_leverages[row.symbol] = leverage
        if not desk.exchange.is_perpetual or self.prepared.get(row.symbol) == leverage:
            return True
        try:
            await desk.exchange.prepare(row.symbol, leverage)
        except (ExchangeError, NotAllowed) as error:
            await desk.record([rows.given_up(row, str(error))], [])
            await desk.tell_trouble("leverage", f"leverage:{row.id}", symbol=row.symbol, error=str(error))
            return False
        self.prepared[row.symbol] = leverage
        return True

    async def prepare_symbols(self) -> None:
        """Bring leverage and margin mode of flat symbols in line before an entry needs them: then every moment counts.

        Whatever somebody changed by hand since is noticed here. An entry whose leverage the bracket lowers sets its own.
        """
        desk = self.desk
        if not desk.exchange.is_perpetual:
            return
        self.prepared = await desk.exchange.isolated_leverages()
        for symbol in desk.account.symbols:
            leverage = self._planned_leverages.get(symbol, desk.terms.risk.leverage)
            is_ready = self.prepared.get(symbol) == leverage or sync.needs_look(desk, symbol)
            if is_ready or desk.status != RUNNING:
                continue
            try:
                await desk.exchange.prepare(symbol, leverage)
            except (NotAllowed, OrderRejected) as error:
                self.prepared.pop(symbol, None)
                desk.log.warning("symbol_not_prepared", symbol=symbol, error=str(error))  # an entry tries, and tells
            else:
                self.prepared[symbol] = leverage


def _gather(
    by_time: dict[int, dict[str, Candle]], found: Sequence[Sequence[CandleUpdate]], since: int, until: int | None = None
) -> None:
    """Add closed candles that opened in [since, until] by open time and symbol."""
    for updates in found:
        for update in updates:
            if update.is_closed and since <= update.candle.time and (until is None or update.candle.time <= until):
                by_time.setdefault(update.candle.time, {})[update.symbol] = update.candle

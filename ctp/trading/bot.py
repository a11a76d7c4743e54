"""The bot: one asyncio process that trades every account.

Accounts, parameter versions and capital are picked up while it runs. Ending it is always safe: stops rest at the
exchange, everything else is in the database, and starting is recovery.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.vault import ExchangeKey, Vault
from ctp.clock import Clock, SystemClock
from ctp.config import Settings
from ctp.errors import CtpError, ExchangeDown, ExchangeError
from ctp.logs import logger
from ctp.market.series import timeframe_ms
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.storage.room import Room
from ctp.storage.tables import accounts, exchange_keys
from ctp.trading import commands
from ctp.trading.binance_streams import AccountStream
from ctp.trading.code_checks import CodeChecks
from ctp.trading.connections import Connections, Venue
from ctp.trading.desk import Checkpoint, Desk, pass_by
from ctp.trading.engine import Engine
from ctp.trading.exchange import CandleUpdate
from ctp.trading.leadership import Leadership
from ctp.trading.live_candles import HISTORY, KEPT, LiveCandles
from ctp.trading.parameters import newest_versions
from ctp.trading.scheduler_watch import SchedulerWatch
from ctp.trading.store import BLOCKED, PAUSED, RUNNING, AccountInfo, Store
from ctp.trading.worker import Worker
from ctp.trading.writer import Writer

HEARTBEAT_S = 1.0
ACCOUNTS_EVERY_S = 1.0
CLOCK_EVERY_S = 300.0
MOST_LAG_MS = 5000.0
RETRY_S = 2.0
SWITCH_S = 0.0005  # between the threads of this process


class Registered(NamedTuple):
    """An account as the database has it now."""

    info: AccountInfo
    version: int
    key_made_at: int | None  # None: no key entered


async def run(settings: Settings, clock: Clock | None = None, *, checkpoint: Checkpoint = pass_by) -> None:
    """Trade every account until cancelled.

    checkpoint: called at every point where the process may die; tests put a kill there.
    Raises ConfigError, DataDamaged or StateConflict when the bot must not start.
    """
    # The writer gives way to the loop at each statement and gets back in only after this long: with Python's 5 ms a
    # close of twenty accounts waited three times as long for its commit as the commit takes.
    sys.setswitchinterval(SWITCH_S)
    database = Database(settings.database_url)
    database.check()
    vault = Vault(settings.keys)
    with database.reading() as connection:
        vault.check(connection)
    clock = clock or SystemClock()
    writer = Writer(database)
    leadership = Leadership(writer, clock)
    try:
        await leadership.take()
        bot = Bot(settings, clock, database, writer, leadership, vault, checkpoint)
        await bot.work()
    finally:
        await leadership.give_back()
        await writer.close()
        database.close()


class Bot:
    """All accounts at work."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        database: Database,
        writer: Writer,
        leadership: Leadership,
        vault: Vault,
        checkpoint: Checkpoint,
    ) -> None:
        """Take what all accounts share."""
        self._settings, self._clock, self._database, self._writer = settings, clock, database, writer
        self._leadership, self._vault, self._checkpoint = leadership, vault, checkpoint
        self._connections = Connections(settings, clock)
        self._workers: dict[int, Worker] = {}
        self._registered: dict[int, Registered] = {}
        self._troubles: dict[int, str] = {}
        self._candles: dict[tuple[str, str], LiveCandles] = {}
        self._followed: dict[tuple[str, str], frozenset[tuple[str, str]]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._checks = CodeChecks(database, writer, clock)
        self._lag_ms = 0.0
        self._room = Room(settings.home, settings.disk)
        self._log = logger("ctp.trading.bot")

    async def work(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stay_alive())
                group.create_task(self._follow_accounts(group))
                group.create_task(self._follow_commands())
                group.create_task(self._watch_clock())
                group.create_task(SchedulerWatch(self._database, self._writer, self._clock).run())
                group.create_task(self._checks.run(lambda: [one.engine for one in self._workers.values()]))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
            await asyncio.gather(*(worker.stop() for worker in self._workers.values()), return_exceptions=True)
            await self._connections.close()

    # --- the process ---------------------------------------------------------------------------------------------

    async def _stay_alive(self) -> None:
        """Renew the lease and tell that the process lives."""
        while True:
            with contextlib.suppress(OSError):  # a disk that cannot be asked is told by what cannot be written
                await asyncio.to_thread(self._room.look)
            await self._leadership.renew()
            details = {
                "accounts": len(self._workers),
                "loop_lag_ms": round(self._lag_ms, 1),
                "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "unhealthy": self._why_unhealthy(),
                "troubles": {str(number): text for number, text in self._troubles.items()},
            }
            await self._writer.run(lambda c, facts=details: beat(c, "bot", self._clock.now_ms(), facts))  # type: ignore[misc]
            before = self._clock.monotonic_s()
            await self._clock.sleep(HEARTBEAT_S)
            self._lag_ms = max(0.0, (self._clock.monotonic_s() - before - HEARTBEAT_S) * 1000)

    def _why_unhealthy(self) -> str:
        """Return why trading is not healthy, for the alarm outside this server; empty when it is."""
        if self._lag_ms > MOST_LAG_MS:
            return "the bot is overloaded"
        at_work = [one for one in self._workers.values() if one.desk.status in (RUNNING, PAUSED)]
        if any(one.desk.is_exchange_down for one in at_work):
            return "an exchange cannot be reached"
        if self._room.is_short:
            return "the disk is full"
        return "" if all(one.engine.is_ready for one in at_work) else "an account is recovering"

    async def _watch_clock(self) -> None:
        """Measure our clock against every exchange's; too far off, or not known, stops entries."""
        while True:
            clocks = [venue.market.exchange_clock for venue in self._connections.opened()]
            for one in clocks:
                await one.measure_after(one.measurements)
            is_known = bool(clocks) and all(one.is_known for one in clocks)
            await self._clock.sleep(CLOCK_EVERY_S if is_known else RETRY_S)

    # --- accounts ------------------------------------------------------------------------------------------------

    async def _follow_accounts(self, group: asyncio.TaskGroup) -> None:
        """Pick up new accounts, keys, parameter versions and capital."""
        listening: set[tuple[str, str]] = set()
        while True:
            for found in await asyncio.to_thread(self._read_accounts):
                try:
                    await self._refresh(found)
                    self._troubles.pop(found.info.id, None)
                except CtpError as error:
                    await self._note_trouble(found, str(error))
            for venue in self._connections.opened():
                place = (venue.link.exchange, venue.link.mode)
                if place not in listening:
                    listening.add(place)
                    group.create_task(self._follow_market(venue))
            self._follow_pairs()
            await self._clock.sleep(ACCOUNTS_EVERY_S)

    def _read_accounts(self) -> list[Registered]:
        """Return every open account."""
        with self._database.reading() as connection:
            versions = newest_versions(connection)
            query = (
                sa.select(accounts, exchange_keys.c.created_at.label("key_made_at"))
                .join_from(accounts, exchange_keys, isouter=True)
                .where(accounts.c.closed_at.is_(None))
                .order_by(accounts.c.id)
            )
            return [
                Registered(_account_info(row), versions.get(row.id, 0), row.key_made_at)
                for row in connection.execute(query)
            ]

    async def _refresh(self, found: Registered) -> None:
        """Bring one account's worker up to date."""
        known = self._registered.get(found.info.id)
        if known == found:
            return
        worker = self._workers.get(found.info.id)
        if worker is None or known is None or known.key_made_at != found.key_made_at:
            if worker is not None:
                del self._workers[found.info.id]
                await worker.stop()
            await self._open(found)
        else:
            if known.version != found.version:
                await worker.engine.use_new_parameters()
            if known.info.capital != found.info.capital and found.info.capital is not None:
                await worker.engine.set_capital(found.info.capital)
        self._registered[found.info.id] = found

    async def _open(self, found: Registered) -> None:
        """Start to work for an account."""
        info = found.info
        key = await asyncio.to_thread(self._open_key, info.id)
        venue = await self._connections.venue(info.exchange, info.mode)
        exchange, api = self._connections.account(venue, key.api_key, key.secret)
        desk = Desk(
            account=info,
            exchange=exchange,
            writer=self._writer,
            clock=self._clock,
            settings=self._settings.trading,
            checkpoint=self._checkpoint,
            is_leader=self._leadership.is_leader,
            has_room=lambda: not self._room.is_short,
        )
        engine = Engine(desk, venue.market)
        if venue.market.exchange_clock.measurements == 0:
            await venue.market.exchange_clock.measure()
        worker = Worker(engine, AccountStream(api, self._clock, desk.hear).run())
        self._workers[info.id] = worker
        worker.start()
        self._log.info("account_opened", account=info.id, exchange=info.exchange, mode=info.mode)

    def _open_key(self, account_id: int) -> ExchangeKey:
        """Return an account's exchange key."""
        with self._database.reading() as connection:
            return self._vault.open_key(connection, account_id)

    async def _note_trouble(self, found: Registered, reason: str) -> None:
        """Show why an account cannot be worked for; asked again a little later."""
        if self._troubles.get(found.info.id) == reason:
            return
        self._troubles[found.info.id] = reason
        self._log.warning("account_not_open", account=found.info.id, reason=reason)
        store, now_ms = Store(found.info), self._clock.now_ms()

        def work(connection: sa.Connection) -> None:
            if store.read_row(connection, now_ms).core_state == "{}":
                store.set_status(connection, BLOCKED, reason, now_ms)

        await self._writer.run(work)

    def _of(self, venue: Venue) -> list[Worker]:
        """Return the workers whose accounts trade on a venue."""
        place = (venue.link.exchange, venue.link.mode)
        return [one for one in self._workers.values() if (one.desk.account.exchange, one.desk.account.mode) == place]

    # --- candles -------------------------------------------------------------------------------------------------

    def _follow_pairs(self) -> None:
        """Follow the symbols and timeframes that some account trades; fetch the history dashboards need."""
        for venue in self._connections.opened():
            place = (venue.link.exchange, venue.link.mode)
            pairs = frozenset(
                (symbol, worker.desk.account.timeframe)
                for worker in self._of(venue)
                for symbol in worker.desk.account.symbols
            )
            before = self._followed.get(place, frozenset())
            if not pairs or pairs == before:
                continue
            self._followed[place] = pairs
            venue.market.follow(pairs)
            for symbol, timeframe in sorted(pairs - before):
                self._in_background(self._fetch_history(venue, symbol, timeframe))

    def _live_candles(self, venue: Venue) -> LiveCandles:
        """Return the candle rows of a venue."""
        place = (venue.link.exchange, venue.link.mode)
        return self._candles.setdefault(place, LiveCandles(*place, self._clock))

    async def _fetch_history(self, venue: Venue, symbol: str, timeframe: str) -> None:
        """Write the candles a dashboard starts with."""
        while True:
            try:
                found = await venue.market.candles(symbol, timeframe, None, HISTORY)
                break
            except ExchangeError:
                await self._clock.sleep(RETRY_S)
        candles = self._live_candles(venue)
        await self._writer.run(lambda c: candles.write(c, found))
        if found:
            oldest = found[-1].candle.time - KEPT * timeframe_ms(timeframe)
            await self._writer.run(lambda c: candles.prune(c, symbol, timeframe, oldest))

    async def _follow_market(self, venue: Venue) -> None:
        """Hand every candle to the accounts that trade it, and keep it for the dashboards."""
        candles = self._live_candles(venue)
        while True:
            try:
                updates = await venue.market.next_updates()
            except ExchangeDown as error:
                self._log.warning("market_stream_broke", exchange=venue.link.exchange, error=str(error))
                for worker in self._of(venue):
                    worker.missed_candles()
                continue
            workers = self._of(venue)
            for update in updates:
                for worker in workers:
                    worker.offer(update)
            for worker in workers:
                worker.watch_equity()
            due = candles.due(updates)
            if due:
                self._in_background(self._write_candles(candles, due))

    async def _write_candles(self, candles: LiveCandles, due: list[CandleUpdate]) -> None:
        """Write candles without holding anybody up."""
        try:
            await self._writer.run(lambda c: candles.write(c, due))
        except CtpError as error:
            self._log.warning("candles_not_written", error=str(error))

    # --- commands ------------------------------------------------------------------------------------------------

    async def _follow_commands(self) -> None:
        """Acknowledge what people ask for at once, then do it beside everything else."""
        at_work: set[int] = set()  # accounts
        while True:
            for command in await asyncio.to_thread(self._read_commands):
                worker = self._workers.get(command.account_id)
                if worker is None:
                    reason = self._troubles.get(command.account_id)
                    if reason is not None:
                        now_ms = self._clock.now_ms()
                        await self._writer.run(_finishing(command.id, reason, now_ms))
                    continue
                if command.acknowledged_at is None:
                    await commands.acknowledge(worker.engine, command)
                if command.account_id not in at_work:
                    at_work.add(command.account_id)
                    self._in_background(self._obey(worker, command, at_work))
            await self._clock.sleep(self._settings.trading.command_poll_s)

    def _read_commands(self) -> list[commands.Command]:
        """Return the commands that are not done."""
        with self._database.reading() as connection:
            return commands.read_open(connection)

    async def _obey(self, worker: Worker, command: commands.Command, at_work: set[int]) -> None:
        """Do a command until it is done; later commands of the account wait for their turn."""
        try:
            while not worker.engine.is_ready:
                await self._clock.sleep(0.1)
            while not await commands.obey(worker.engine, command):
                await self._clock.sleep(0.5)
        finally:
            at_work.discard(command.account_id)

    def _in_background(self, work: object) -> None:
        """Do something beside the loops; its failure is logged."""
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Forget a background task, and log how it failed."""
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("background_failed", error=repr(task.exception()))


def _finishing(command_id: int, result: str, now_ms: int) -> Callable[[sa.Connection], None]:
    """Return the work that ends a command."""
    return lambda connection: commands.finish(connection, command_id, result, now_ms)


def _account_info(row: sa.Row[tuple[object, ...]]) -> AccountInfo:
    """Return an account's row as trading needs it."""
    return AccountInfo(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        exchange=row.exchange,
        mode=row.mode,
        symbols=tuple(sorted(json.loads(row.symbols))),
        timeframe=row.timeframe,
        timeframe_ms=timeframe_ms(row.timeframe),
        quote=row.quote,
        capital=row.capital,
    )


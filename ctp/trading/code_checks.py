"""After an upgrade: replay each account's journal by the sources of now, one account at a time, beside everything else.

Nothing waits for it but entries: reading, replaying and writing happen in threads, and the work of the thread that replays
is cut into slices of a few milliseconds (`code_replay`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from ctp.accounts.sources import source_hash
from ctp.clock import Clock
from ctp.core.strategies import of_values
from ctp.errors import CtpError
from ctp.logs import logger
from ctp.storage.database import Database
from ctp.trading import code_pins
from ctp.trading.code_pins import CODE_UNPROVEN, read_pin
from ctp.trading.code_replay import Material, read_material, replay
from ctp.trading.engine import Engine
from ctp.trading.exchange import CandleUpdate
from ctp.trading.writer import Writer

LOOK_EVERY_S = 0.5
RETRY_S = 30.0
PAGE = 1000  # candles asked for at once
BETWEEN_PAGES_S = 0.2


class CodeChecks:
    """The replays of one process."""

    def __init__(self, database: Database, writer: Writer, clock: Clock) -> None:
        """Take what is read and written with."""
        self._database, self._writer, self._clock = database, writer, clock
        self._again_s: dict[int, float] = {}  # account -> when a check that failed is tried again
        self._log = logger("ctp.trading.code_checks")

    async def run(self, engines: Callable[[], Sequence[Engine]]) -> None:
        """Check whatever account is held for unproven sources, until cancelled."""
        while True:
            for engine in engines():
                account_id, now_s = engine.desk.account.id, self._clock.monotonic_s()
                if engine.desk.hold != CODE_UNPROVEN or not engine.is_ready or self._again_s.get(account_id, 0.0) > now_s:
                    continue
                try:
                    await self.check(engine)
                except CtpError as error:
                    # Entries stay held; the exchange's history or the disk may answer later.
                    self._log.warning("code_not_checked", account=account_id, error=str(error))
                    self._again_s[account_id] = self._clock.monotonic_s() + RETRY_S
            await self._clock.sleep(LOOK_EVERY_S)

    async def check(self, engine: Engine) -> None:
        """Replay one account's journal, and pin it anew or hold its entries."""
        desk = engine.desk
        rules, account = desk.terms, desk.account
        here = source_hash(of_values(rules.strategy).name)
        is_perpetual = desk.exchange.is_perpetual
        material = await asyncio.to_thread(self._read, engine, is_perpetual)
        await self._fetch_missing(engine, material)
        stop = threading.Event()
        try:
            found = await asyncio.to_thread(replay, material, stop.is_set)
        finally:
            stop.set()
        if found is None:
            return
        now_ms = self._clock.now_ms()
        hold = await self._writer.run(
            lambda c: code_pins.note_replay(c, account, here, rules.version, found, now_ms)
        )
        if hold is None or desk.terms.version != rules.version:
            return
        await engine.settle_hold()
        self._log.info(
            "code_checked", account=account.id, decisions=found.decisions, differing=found.differing, hold=desk.hold
        )
        if not desk.hold:
            desk.nudge()  # symbols are made ready for entries again

    def _read(self, engine: Engine, is_perpetual: bool) -> Material:
        """Read what a replay needs, in one reading transaction."""
        account = engine.desk.account
        with self._database.reading() as connection:
            pin = read_pin(connection, account.id)
            until = engine.desk.current.memory.decision_time
            if pin is not None and pin.proven_until is not None:
                until = pin.proven_until
            return read_material(connection, account, until, is_perpetual=is_perpetual)

    async def _fetch_missing(self, engine: Engine, material: Material) -> None:
        """Ask the exchange for the candles that were decided on and are not in the database any more."""
        timeframe, length = engine.desk.account.timeframe, engine.desk.account.timeframe_ms
        for symbol, (first, last) in material.missing().items():
            since = first
            while since <= last:
                found: Sequence[CandleUpdate] = await engine.public.candles(symbol, timeframe, since, PAGE)
                for one in found:
                    if one.is_closed:
                        material.candles.setdefault((symbol, one.candle.time), one.candle)
                newest = max((one.candle.time for one in found), default=last)
                since = max(since, newest) + length
                if since <= last:
                    await self._clock.sleep(BETWEEN_PAGES_S)

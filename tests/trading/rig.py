"""A bot, a database and a simulated exchange in one event loop, moved candle by candle."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from ctp.accounts.vault import ExchangeKey
from ctp.clock import SystemClock
from ctp.config import PaperSettings, Settings, TradingSettings
from ctp.core.strategies import DEFAULT_STRATEGY
from ctp.market.series import timeframe_ms
from ctp.simulator.exchange import SimulatedExchange
from ctp.simulator.feed import RecordedFeed, recording
from ctp.simulator.settings import AccountSettings, SimulatorSettings
from ctp.storage.database import Database
from ctp.storage.tables import (
    account_states,
    accounts,
    commands,
    decisions,
    ledger,
    orders,
    parameter_versions,
    trades,
    users,
)
from ctp.trading.bot import Bot
from ctp.trading.desk import Checkpoint, pass_by
from ctp.trading.leadership import Leadership
from ctp.trading.rows import unfinished_orders
from ctp.trading.settled import is_quiet, is_settled
from ctp.trading.writer import Writer

HOUR = 3_600_000
START = 1_700_000_000_000 // (24 * HOUR) * 24 * HOUR
PROTECTION_S = 30.0  # longer than may be set: a busy machine must not turn a stop into an emergency exit
PATIENCE_S = 60.0  # of a test on a slow and busy machine; nothing is asserted about speed


def walk(seed: int, candles: int, price: float, *, tick: float, volatility: float = 0.006) -> dict[str, np.ndarray]:
    """Return a seeded random walk as candle columns, on tick, with bursts so that stops and takes are hit."""
    chance = np.random.default_rng(seed)
    scale = volatility * np.exp(0.6 * np.sin(np.arange(candles) / 17.0))
    steps = chance.standard_t(4, (candles, 8)) * scale[:, None] / np.sqrt(8)
    path = price * np.exp(np.cumsum(steps.ravel())).reshape(candles, 8)
    opened = np.concatenate([[price], path[:-1, -1]])
    on_tick = lambda values: np.round(np.round(values / tick) * tick, 10)  # noqa: E731
    low, high = np.minimum(path.min(axis=1), opened), np.maximum(path.max(axis=1), opened)
    return {
        "ts": START + np.arange(candles) * HOUR,
        "open": on_tick(opened),
        "high": np.maximum(on_tick(high), np.maximum(on_tick(opened), on_tick(path[:, -1]))),
        "low": np.minimum(on_tick(low), np.minimum(on_tick(opened), on_tick(path[:, -1]))),
        "close": on_tick(path[:, -1]),
        "volume": np.round(chance.lognormal(3, 0.8, candles), 3),
    }


def database_of(folder: Path) -> str:
    """Return the address of a rig's database: an SQLite file of its folder, unless the folder names another."""
    named = folder / "database.txt"
    return named.read_text() if named.is_file() else f"sqlite:///{folder / 'ctp.db'}"


class FakeVault:
    """Hands out keys without encryption."""

    def open_key(self, connection: sa.Connection, account_id: int) -> ExchangeKey:
        """Return the key of an account: its number."""
        return ExchangeKey(f"key{account_id}", "secret")


class Rig:
    """Everything that trades, and what a person could ask of it."""

    def __init__(self, folder: Path, exchange: SimulatedExchange, database: Database, timeframe: str = "1h") -> None:
        """Take a started exchange and a migrated database."""
        self.timeframe = timeframe
        self.folder, self.exchange, self.database = folder, exchange, database
        self.settings = Settings(
            home=folder / "home",
            trading=TradingSettings(command_poll_s=0.05).model_copy(update={"protection_deadline_s": PROTECTION_S}),
            paper=PaperSettings(port=exchange.port, ca_file=Path(exchange.ca_file)),
        )
        self.bot: asyncio.Task[None] | None = None

    # --- accounts and commands -----------------------------------------------------------------------------------

    def add_account(
        self,
        symbols: Sequence[str],
        *,
        exchange: str = "binanceusdm",
        capital: Decimal | None = None,
        strategy: dict[str, Any] | None = None,
        strategy_name: str = DEFAULT_STRATEGY,
        risk: dict[str, Any] | None = None,
        spot: tuple[tuple[str, Decimal], ...] = (("USDT", Decimal(10_000)), ("BTC", Decimal(1))),
        fee_side: str = "quote",
        wallet: Decimal = Decimal(10_000),
    ) -> int:
        """Add a user's account, here and at the exchange; returns its id."""
        with self.database.transaction() as connection:
            owner = connection.execute(sa.select(users.c.id)).scalar()
            if owner is None:
                owner = connection.execute(
                    sa.insert(users).values(name="alice", password_hash="x", role="trader", created_at=0)
                ).inserted_primary_key[0]
            count = connection.execute(sa.select(sa.func.count()).select_from(accounts)).scalar_one()
            account_id = connection.execute(
                sa.insert(accounts).values(
                    user_id=owner,
                    name=f"account {count}",
                    exchange=exchange,
                    mode="paper",
                    symbols=json.dumps(sorted(symbols)),
                    timeframe=self.timeframe,
                    quote="USDT",
                    capital=capital,
                    created_at=0,
                )
            ).inserted_primary_key[0]
            if strategy is not None or risk is not None:
                connection.execute(
                    sa.insert(parameter_versions).values(
                        account_id=account_id,
                        version=1,
                        strategy=strategy_name,
                        strategy_parameters=json.dumps(strategy or {}),
                        risk_parameters=json.dumps(risk or {}),
                        reason="test",
                        created_at=0,
                    )
                )
        if f"key{account_id}" not in self.exchange.server.keys:
            self.exchange.add_account(AccountSettings(f"key{account_id}", "secret", wallet, spot, fee_side))
        return int(account_id)

    def ask(self, account_id: int, kind: str, **arguments: str) -> int:
        """Append a command; returns its id."""
        with self.database.transaction() as connection:
            return int(
                connection.execute(
                    sa.insert(commands).values(
                        account_id=account_id,
                        kind=kind,
                        arguments=json.dumps(arguments),
                        door="test",
                        asked_at=SystemClock().now_ms(),
                    )
                ).inserted_primary_key[0]
            )

    async def command(self, account_id: int, kind: str, **arguments: str) -> str:
        """Ask for something and wait until it is done; returns the result."""
        number = self.ask(account_id, kind, **arguments)
        await self.until(lambda: self.one(commands, commands.c.id == number).done_at is not None, f"{kind} done")
        return str(self.one(commands, commands.c.id == number).result)

    # --- looking -------------------------------------------------------------------------------------------------

    def rows(self, table: sa.Table, *where: Any, order: Any = None) -> list[Any]:
        """Return rows of a table."""
        with self.database.reading() as connection:
            query = sa.select(table).where(*where)
            return list(connection.execute(query.order_by(order if order is not None else table.c[next(iter(table.c)).name])))

    def one(self, table: sa.Table, *where: Any) -> Any:
        """Return one row of a table."""
        found = self.rows(table, *where)
        assert len(found) == 1, found
        return found[0]

    def trades(self, account_id: int) -> list[Any]:
        """Return the closed trades of an account, in order of closing."""
        return self.rows(trades, trades.c.account_id == account_id, order=trades.c.id)

    def positions(self, account_id: int) -> list[dict[str, Any]]:
        """Return what an account has open."""
        state = self.one(account_states, account_states.c.account_id == account_id)
        return list(json.loads(state.core_state).get("positions", []))

    def exits_due(self, account_id: int) -> list[Any]:
        """Return the exits that were tried for the open positions of an account, without success."""
        opened = {one["entry_order_id"] for one in self.positions(account_id)}
        rows = self.rows(orders, orders.c.account_id == account_id, order=orders.c.planned_at)
        since = {row.symbol: row.planned_at for row in rows if row.id in opened}
        return [row for row in rows if row.purpose == "exit" and row.planned_at >= since.get(row.symbol, row.planned_at + 1)]

    def is_settled(self, account_id: int, time: int) -> bool:
        """Return whether an account has decided on a candle, has nothing in flight, and is protected."""
        with self.database.reading() as connection:
            return is_settled(connection, account_id, time, self.exchange.status()["trading"])  # type: ignore[arg-type]

    def is_protected(self, account_id: int) -> bool:
        """Return whether every limit order that filled at the exchange is known to us, and what it opened is protected."""
        truth = self.exchange.state(f"key{account_id}")
        told = [one for venue in ("usdm", "spot") for one in truth[venue]["orders"]]
        filled = {one["clientOrderId"] for one in told if one["type"].startswith("LIMIT") and one["status"] == "FILLED"}
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(orders.c.id, orders.c.status).where(orders.c.id.in_(sorted(filled))))
            if any(row.status != "filled" for row in rows):
                return False
            plain = connection.execute(
                sa.select(account_states.c.core_state).where(account_states.c.account_id == account_id)
            ).scalar_one()
            return is_quiet(
                json.loads(plain).get("positions", []), list(unfinished_orders(connection, account_id).values())
            )

    async def until(self, holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until something holds; fails with its name."""
        async with asyncio.timeout(patience_s):
            while True:
                if self.bot is not None and self.bot.done():
                    self.bot.result()
                if holds():
                    return
                await asyncio.sleep(0.01)
        raise AssertionError(what)

    async def advance(self, account_ids: Sequence[int], candles: int = 1) -> None:
        """Move the exchange candle by candle, each time waiting until the accounts have settled."""
        for _ in range(candles):
            time = int(self.exchange.status()["candle"])  # type: ignore[call-overload]
            await self.exchange.advance()
            while self.exchange.status()["phase"] == "interior":  # a limit order opened something: it is protected first
                await self.until(lambda: all(self.is_protected(a) for a in account_ids), f"protected inside {time}")
                await self.exchange.advance()
            try:
                await self.until(lambda t=time: all(self.is_settled(a, t) for a in account_ids), f"candle {time}")
            except TimeoutError:
                raise AssertionError(self.describe(account_ids, time)) from None

    def describe(self, account_ids: Sequence[int], time: int) -> str:
        """Say where accounts stand, for a failing test."""
        lines = [f"candle {time} not settled"]
        for account_id in account_ids:
            state = self.one(account_states, account_states.c.account_id == account_id)
            lines.append(f"account {account_id}: {state.status} {state.status_reason} decided {state.decision_time}")
            lines.append(str(json.loads(state.core_state).get("positions")))
            for row in self.rows(orders, orders.c.account_id == account_id, order=orders.c.planned_at)[-8:]:
                lines.append(f"  {row.id} {row.purpose} {row.side} {row.size} {row.trigger_price} {row.status} {row.error}")
        return "\n".join(lines)

    # --- the bot -------------------------------------------------------------------------------------------------

    async def start_bot(self, checkpoint: Checkpoint = pass_by) -> None:
        """Start the bot as a task of this loop."""
        self.bot = asyncio.create_task(self._run(checkpoint))

    async def _run(self, checkpoint: Checkpoint) -> None:
        clock = SystemClock()
        writer = Writer(self.database)
        leadership = Leadership(writer, clock)
        try:
            await leadership.take()
            bot = Bot(self.settings, clock, self.database, writer, leadership, FakeVault(), checkpoint)  # type: ignore[arg-type]
            await bot.work()
        finally:
            await leadership.give_back()
            await writer.close()

    async def stop_bot(self) -> None:
        """Stop the bot gracefully."""
        if self.bot is not None:
            self.bot.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.bot
            self.bot = None


@contextlib.asynccontextmanager
async def trading_rig(
    folder: Path, columns: dict[str, dict[str, np.ndarray]], *, history: int, timeframe: str = "1h", **settings: Any
) -> AsyncIterator[Rig]:
    """Give a rig over recorded candles; the first candle to decide on comes after `history` of them."""
    feed = RecordedFeed(
        {symbol: recording(rows, rows.get("mark"), rows.get("funding")) for symbol, rows in columns.items()},
        timeframe_ms(timeframe),
    )
    exchange = SimulatedExchange(
        SimulatorSettings(folder=folder / "exchange", feed=feed, history=history, enforce_limits=False, **settings)
    )
    await exchange.start()
    database = Database(database_of(folder))
    database.migrate()
    rig = Rig(folder, exchange, database, timeframe)
    try:
        yield rig
    finally:
        await rig.stop_bot()
        database.close()
        await exchange.stop()


__all__ = ["HOUR", "START", "Rig", "decisions", "ledger", "trading_rig", "walk"]

"""A database in which somebody has traded for weeks: every row as the bot would have left it, without bot or exchange.

Fills have exact prices on tick and sizes in lots; balance and equity follow from them, so that every figure of a report can
be checked against the ledger. Times are real: the market's candles close when our clock says so, unless told otherwise.
"""

from __future__ import annotations

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.passwords import accept_password
from ctp.accounts.rights import machine
from ctp.accounts.trading_accounts import NewAccount, create_account
from ctp.accounts.users import add_user, find_user
from ctp.clock import ManualClock
from ctp.config import PaperSettings, Settings
from ctp.core.timeframes import timeframe_ms
from ctp.storage import tables
from ctp.storage.database import Database

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_777_680_000_000 + 30 * 60_000  # 2026-05-02 09:30 in Seoul, 00:30 UTC
SEOUL_MIDNIGHT = 15 * HOUR  # of a UTC day
FEE_RATE = Decimal("0.0005")
TICK, LOT = Decimal("0.1"), Decimal("0.001")
MARKET = {
    "tick_multiple": 1, "tick_divisor": 10, "lot_multiple": 1, "lot_divisor": 1000, "min_notional": 100.0,
    "is_perpetual": 1, "fee_rate": 0.0005, "slippage": 0.0002, "liquidation_fee": 0.0125, "bracket_floor": [0.0],
    "bracket_rate": [0.01], "bracket_amount": [0.0], "bracket_leverage": [125.0],
}  # fmt: skip


class World(NamedTuple):
    """A home, its database and the hour."""

    settings: Settings
    database: Database
    clock: ManualClock

    def user(self, name: str) -> int:
        """Return a person's id."""
        with self.database.reading() as connection:
            return int(find_user(connection, name).id)

    def rows(self, table: sa.Table, *where: Any) -> list[Any]:
        """Return rows of a table."""
        with self.database.reading() as connection:
            return list(connection.execute(sa.select(table).where(*where)))


def make_world(home: Path, database: Database | None = None, now_ms: int = NOW, **paper: Any) -> World:
    """Make a home with minsu (Korean), alice (English), otto the operator, and no account yet."""
    settings = Settings(home=home, paper=PaperSettings(**paper))
    if database is None:
        database = Database(settings.database_url)
        database.migrate()
    with database.transaction() as connection:
        for name, role, language in (("minsu", "trader", "ko"), ("alice", "trader", "en"), ("otto", "operator", "en")):
            password = accept_password("correct horse battery", name, 4)
            add_user(connection, machine("cli"), name, password, role, now_ms - 90 * DAY, language=language)
    return World(settings, database, ManualClock(now_ms))


def add_account(world: World, owner: str, name: str, **wanted: Any) -> int:
    """Add an account that never traded; returns its id."""
    symbols = wanted.get("symbols", ("BTC/USDT:USDT", "ETH/USDT:USDT"))
    account = NewAccount(
        name, wanted.get("exchange", "binanceusdm"), wanted.get("mode", "paper"), symbols, wanted.get("timeframe", "1h"),
        Decimal(10_000),
    )  # fmt: skip
    with world.database.transaction() as connection:
        made = create_account(connection, machine("cli"), find_user(connection, owner).id, account, NOW - 80 * DAY)
    return int(made.id)


class Trading:
    """Weeks of trading, written candle by candle."""

    def __init__(self, world: World, account_id: int, begins: int, seed: int = 1, lag_ms: int = 2_000) -> None:
        """Start an account with its capital; begins: the first close, aligned. lag_ms: from a close to its decision."""
        self.world, self.account_id, self.lag_ms = world, account_id, lag_ms
        with world.database.reading() as connection:
            query = sa.select(tables.accounts).where(tables.accounts.c.id == account_id)
            row = connection.execute(query).one()
        self.symbols, self.step = json.loads(row.symbols), timeframe_ms(row.timeframe)
        self.chance = random.Random(seed)
        self.prices = {symbol: Decimal(60_000 if symbol.startswith("BTC") else 3_000) for symbol in self.symbols}
        self.time = begins
        self.balance = Decimal(0)
        self.capital = Decimal(0)
        self.held: dict[str, tuple[str, Decimal, Decimal, int, float, str]] = {}
        self.fees: dict[str, Decimal] = {}
        self.numbers = 0
        self.losses, self.peak = 0, 0.0
        self.equity = 0.0
        self.version = 0
        self.written: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("orders", "ledger", "trades", "decisions", "equity_samples")
        }
        self.transfer(Decimal(10_000), "start")

    def transfer(self, amount: Decimal, reason: str = "transfer") -> None:
        """Move capital in or out, from the candle that is open now on."""
        self.balance += amount
        self.capital += amount
        self._book("transfer", "", self.time - self.step, None, amount, reason)

    def run(
        self, until: int, trades_a_day: float = 6.0, missing: frozenset[int] = frozenset(), volatility: float = 0.004
    ) -> None:
        """Trade until a close, that one included. missing: closes nobody decided on, though the market went on."""
        while self.time <= until:
            opened = self.time - self.step
            for symbol in self.symbols:
                self._fill(symbol, opened, trades_a_day * self.step / DAY / len(self.symbols))
                move = Decimal(str(round(1 + self.chance.gauss(0, volatility), 6)))
                self.prices[symbol] = (self.prices[symbol] * move).quantize(TICK)
            if self.time not in missing:
                self._decide(opened)
            self.time += self.step

    def fund(self, symbol: str, amount: Decimal) -> None:
        """Pay (< 0) or get funding at the open of the candle that is open now."""
        self.balance += amount
        self._book("funding", symbol, self.time - self.step, None, amount, "")

    def save(self, status: str = "running") -> None:
        """Write everything that happened since the last time, and the state."""
        with self.world.database.transaction() as connection:
            for name, rows in self.written.items():
                for first in range(0, len(rows), 500):
                    connection.execute(sa.insert(tables.metadata.tables[name]), rows[first : first + 500])
                rows.clear()
            states = tables.account_states
            connection.execute(sa.delete(states).where(states.c.account_id == self.account_id))
            connection.execute(sa.insert(states).values(self._state(status)))

    def _fill(self, symbol: str, opened: int, chance: float) -> None:
        """Open or close a position in the candle that is open now, sometimes."""
        price = self.prices[symbol]
        if symbol in self.held:
            if self.chance.random() < max(0.3, chance):
                self._leave(symbol, opened, price)
        elif self.chance.random() < chance * 2:
            self._enter(symbol, opened, price)

    def _enter(self, symbol: str, opened: int, decided: Decimal) -> None:
        """Buy or sell at the open, a little worse than decided."""
        side = "long" if self.chance.random() < 0.6 else "short"
        price = (decided * (Decimal("1.0002") if side == "long" else Decimal("0.9998"))).quantize(TICK)
        size = (Decimal(3_000) / price).quantize(LOT)
        action = "buy" if side == "long" else "sell"
        order = self._order(symbol, "entry", action, size, opened, "entry_signal", float(decided))
        self.fees[symbol] = self._fill_row(order, symbol, action, price, size, opened, "entry_signal")
        self.held[symbol] = (side, size, price, opened + 1_500, self.equity, order)

    def _leave(self, symbol: str, opened: int, decided: Decimal) -> None:
        """Close at the open, by signal, or at a stop."""
        side, size, entry, entered, _, order = self.held.pop(symbol)
        direction = 1 if side == "long" else -1
        is_stop = direction * (decided - entry) < 0
        reason = "stop_loss" if is_stop else "take_profit" if self.chance.random() < 0.4 else "exit_signal"
        price = (decided * (Decimal("0.9997") if side == "long" else Decimal("1.0003"))).quantize(TICK)
        purpose = {"stop_loss": "stop", "take_profit": "take"}.get(reason, "exit")
        action = "sell" if side == "long" else "buy"
        left = self._order(symbol, purpose, action, size, opened, reason, float(decided))
        fee = self._fill_row(left, symbol, action, price, size, opened, reason) + self.fees.pop(symbol)
        gross = direction * size * (price - entry)
        self.balance += gross
        pnl = gross - fee
        self.losses = 0 if pnl > 0 else self.losses + 1
        self.written["trades"].append({
            "account_id": self.account_id, "symbol": symbol, "side": side, "entry_time": entered,
            "entry_price": float(entry), "exit_time": opened + 1_500, "exit_price": float(price), "size": float(size),
            "leverage": 3.0, "margin": float(size * entry / 3), "stop_price": float(entry) * (1 - 0.02 * direction),
            "take_price": None, "fee": float(fee), "funding": 0.0, "pnl": float(pnl),
            "r_multiple": float(pnl) / (float(size * entry) * 0.02), "exit_reason": reason, "entry_order_id": order,
            "exit_order_id": left,
        })  # fmt: skip

    def _order(
        self, symbol: str, purpose: str, side: str, size: Decimal, opened: int, reason: str, close: float
    ) -> str:
        """Write a filled order; its candle is the one before."""
        self.numbers += 1
        name = f"w{self.account_id}-{self.numbers}"
        candle = opened - self.step
        self.written["orders"].append({
            "id": name, "account_id": self.account_id, "symbol": symbol, "purpose": purpose, "side": side, "type": "market",
            "size": size, "trigger_price": Decimal(str(close)) if purpose in ("stop", "take") else None,
            "reduce_only": purpose != "entry", "reason": reason, "status": "filled", "filled": size, "candle_time": candle,
            "planned_at": opened, "updated_at": opened,
            "plan": json.dumps({"close": close, "equity": self.equity}) if purpose == "entry" else "{}",
        })  # fmt: skip
        if purpose in ("entry", "exit"):
            outcome = "enter" if purpose == "entry" else "exit"
            for row in reversed(self.written["decisions"][-2 * len(self.symbols) :]):
                if row["symbol"] == symbol and row["candle_time"] == candle:
                    numbers = json.loads(row["numbers"]) | {
                        "close": close, "rsi": 27.4, "volume": 81.2, "volume_mean": 60.5, "size": float(size), "risk": 60.0,
                        "side": 1 if side == "buy" else -1, "stop": close * (0.98 if side == "buy" else 1.02),
                    }  # fmt: skip
                    row |= {"outcome": outcome, "reason": reason, "numbers": json.dumps(numbers)}
        return name

    def _fill_row(
        self, order: str, symbol: str, side: str, price: Decimal, size: Decimal, opened: int, reason: str
    ) -> Decimal:
        """Write a fill and pay its fee."""
        fee = FEE_RATE * price * size
        self.balance -= fee
        self._book("fill", symbol, opened + 1_500, order, fee, reason, side, price, size)
        return fee

    def _book(
        self, kind: str, symbol: str, time: int, order: str | None, amount: Decimal, reason: str,
        side: str | None = None, price: Decimal | None = None, size: Decimal | None = None,
    ) -> None:  # fmt: skip
        """Write a ledger row."""
        self.numbers += 1
        self.written["ledger"].append({
            "account_id": self.account_id, "kind": kind, "symbol": symbol, "time": time, "order_id": order,
            "external_id": str(self.numbers), "side": side, "price": price, "size": size, "amount": amount,
            "asset": "USDT", "reason": reason, "recorded_at": time,
        })  # fmt: skip

    def _decide(self, opened: int) -> None:
        """Mark the account at the close and write a decision for each symbol."""
        open_profit = sum(
            ((1 if side == "long" else -1) * size * (self.prices[symbol] - entry)
             for symbol, (side, size, entry, *_) in self.held.items()),
            Decimal(0),
        )  # fmt: skip
        self.equity = float(self.balance + open_profit)
        self.peak = max(self.peak, self.equity)
        self.written["equity_samples"].append(
            {"account_id": self.account_id, "time": self.time, "equity": self.equity, "balance": float(self.balance)}
        )
        for symbol in self.symbols:
            is_open = symbol in self.held
            numbers = {
                "close": float(self.prices[symbol]),
                "equity": self.equity,
                "rsi": 48.0,
                "seen": 400,
                "warm_up": 392,
            }
            if is_open:
                numbers |= {"entry_price": float(self.held[symbol][2]), "stop": float(self.held[symbol][2]) * 0.98}
            outcome, reason = ("hold", "hold") if is_open else ("no_signal", "rsi_level")
            self.written["decisions"].append({
                "account_id": self.account_id, "symbol": symbol, "candle_time": opened, "outcome": outcome,
                "reason": reason, "numbers": json.dumps(numbers), "parameter_version": self.version,
                "decided_at": self.time + self.lag_ms,
            })  # fmt: skip

    def _state(self, status: str) -> dict[str, Any]:
        """Return the account's state as the bot keeps it."""
        core = {
            "markets": dict.fromkeys(self.symbols, MARKET),
            "account": {"losses": self.losses, "peak": self.peak, "is_started": 1},
            "positions": [
                {"symbol": symbol, "side": held[0], "size": str(held[1]), "entry_price": float(held[2])}
                for symbol, held in self.held.items()
            ],
        }
        return {
            "account_id": self.account_id, "status": status, "core_state": json.dumps(core),
            "decision_time": self.time - 2 * self.step, "capital": self.capital, "equity": self.equity,
            "balance": float(self.balance), "day_start_equity": self.equity, "parameter_version": self.version,
            "updated_at": self.time - self.step + self.lag_ms,
        }  # fmt: skip

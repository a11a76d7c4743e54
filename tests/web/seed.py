"""A small world for the web's tests: people, accounts, candles, trades and decisions, without bot or simulator."""

from __future__ import annotations

import json
import math
import random
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.passwords import accept_password
from ctp.accounts.rights import machine
from ctp.accounts.trading_accounts import NewAccount, append_parameters, create_account, share_account
from ctp.accounts.users import add_user, find_user
from ctp.config import LabSettings, PaperSettings, Settings, WebSettings
from ctp.notifiers.outbox import tell_account
from ctp.storage import tables
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.web.state import Gateway
from tests.journeys.processes import free_port

PASSWORD = "correct horse battery"
COST = 4
HOUR = 3_600_000
COUNT = 400  # candles
PEOPLE = {
    "minsu": ("trader", "ko"),
    "alice": ("trader", "en"),
    "vera": ("viewer", "en"),
    "quinn": ("quant", "en"),
    "otto": ("operator", "en"),
    "root": ("admin", "en"),
}


class World(NamedTuple):
    """What was seeded."""

    settings: Settings
    database: Database
    now_ms: int
    accounts: dict[str, int]  # name -> id


def make_world(home: Path, now_ms: int, **web: Any) -> World:
    """Make a home with a database: minsu and alice with two accounts each, and people of every other role.

    Minsu's perpetual account is shared with vera as viewer; alice's account `momentum live` trades real money.
    """
    settings = Settings(
        home=home, web=WebSettings(**{"port": 0, "voila_port": 0, **web}), paper=PaperSettings(market="generated"),
        lab=LabSettings(port=free_port(), api_port=0),
    )
    database = Database(settings.database_url)
    database.migrate()
    ids = {}
    with database.transaction() as connection:
        door = machine("cli")
        for name, (role, language) in PEOPLE.items():
            add_user(connection, door, name, accept_password(PASSWORD, name, COST), role, now_ms, language=language)
        wanted = {
            "minsu": (
                ("선물 주력", "binanceusdm", "paper", ("BTC/USDT:USDT", "ETH/USDT:USDT")),
                ("현물 실험", "binance", "paper", ("BTC/USDT", "ETH/USDT", "XRP/USDT")),
            ),
            "alice": (
                ("Perpetuals", "binanceusdm", "paper", ("BTC/USDT:USDT", "ETH/USDT:USDT")),
                ("Real money", "binance", "live", ("BTC/USDT",)),
            ),
        }
        for person, accounts in wanted.items():
            owner = find_user(connection, person).id
            for name, exchange, mode, symbols in accounts:
                account = NewAccount(name, exchange, mode, symbols, "1h", Decimal(10_000))
                ids[name] = create_account(connection, door, owner, account, now_ms).id
                if mode == "live":  # which does not start without grounds
                    grounds = {"override": "a month on paper"}
                    append_parameters(connection, door, ids[name], "rsi_mean_reversion", {}, {}, "first", now_ms, **grounds)
        vera = find_user(connection, "vera").id
        share_account(connection, door, ids["선물 주력"], vera, "viewer", now_ms)
        for exchange, mode, symbol, price in (
            ("binanceusdm", "paper", "BTC/USDT:USDT", 60_000.0),
            ("binanceusdm", "paper", "ETH/USDT:USDT", 3_000.0),
            ("binance", "paper", "BTC/USDT", 60_000.0),
            ("binance", "live", "BTC/USDT", 60_000.0),
            ("binance", "paper", "ETH/USDT", 3_000.0),
            ("binance", "paper", "XRP/USDT", 0.52),
        ):
            _add_candles(connection, exchange, mode, symbol, price, now_ms)
        for name, account_id in ids.items():
            _add_history(connection, account_id, name, now_ms)
        beat(connection, "bot", now_ms)
    return World(settings, database, now_ms, ids)


def _add_candles(connection: sa.Connection, exchange: str, mode: str, symbol: str, price: float, now_ms: int) -> None:
    """Add a wandering price; the newest candle is still open."""
    chance = random.Random(symbol + exchange)
    opened = now_ms - now_ms % HOUR - (COUNT - 1) * HOUR
    rows = []
    for number in range(COUNT):
        start, price = price, price * math.exp(chance.gauss(0, 0.006) + 0.004 * math.sin(number / 9))
        high, low = max(start, price) * (1 + chance.random() * 0.004), min(start, price) * (1 - chance.random() * 0.004)
        rows.append(
            {
                "exchange": exchange,
                "market": mode,
                "symbol": symbol,
                "timeframe": "1h",
                "time": opened + number * HOUR,
                "open": start,
                "high": high,
                "low": low,
                "close": price,
                "volume": 50 + 50 * chance.random(),
                "closed": number < COUNT - 1,
            }
        )
    connection.execute(sa.insert(tables.live_candles), rows)


def _close(connection: sa.Connection, symbol: str, time: int) -> float:
    """Return a close of the seeded market."""
    candle = tables.live_candles.c
    return (
        connection.execute(sa.select(candle.close).where(candle.symbol == symbol, candle.time == time))
        .scalars()
        .first()
        or 1.0
    )


def _add_history(connection: sa.Connection, account_id: int, name: str, now_ms: int) -> None:
    """Add closed trades, an open position with its resting stop, decisions, equity and a state."""
    account = connection.execute(sa.select(tables.accounts).where(tables.accounts.c.id == account_id)).one()
    symbols, newest = json.loads(account.symbols), now_ms - now_ms % HOUR
    chance, equity, samples = random.Random(account_id), 10_000.0, []
    for number in range(COUNT):
        equity *= math.exp(chance.gauss(0.00002, 0.0012))
        samples.append(
            {
                "account_id": account_id,
                "time": newest - (COUNT - 1 - number) * HOUR,
                "equity": equity,
                "balance": equity,
            }
        )
    connection.execute(sa.insert(tables.equity_samples), samples)
    reasons = ("exit_signal", "stop_loss", "take_profit", "exit_signal", "stop_loss", "trailing_stop")
    for number in reversed(range(12)):
        symbol = symbols[number % len(symbols)]
        entered, left = newest - (20 + number * 28) * HOUR, newest - (6 + number * 28) * HOUR
        entry, leave = _close(connection, symbol, entered), _close(connection, symbol, left)
        size = round(2_000 / entry, 4)
        order = f"t{account_id}-{number}"
        _add_order(connection, order, account_id, symbol, "entry", "filled", size, now_ms)
        connection.execute(
            sa.insert(tables.trades).values(
                account_id=account_id,
                symbol=symbol,
                side="long",
                entry_time=entered,
                entry_price=entry,
                exit_time=left,
                exit_price=leave,
                size=size,
                leverage=3.0,
                margin=size * entry / 3,
                stop_price=entry * 0.98,
                take_price=entry * 1.04,
                fee=size * entry * 0.001,
                funding=0.0,
                pnl=size * (leave - entry),
                r_multiple=(leave - entry) / (entry * 0.02),
                exit_reason=reasons[number % len(reasons)],
                entry_order_id=order,
            )
        )
    positions = []
    for symbol in symbols[:1]:
        price = _close(connection, symbol, newest)
        entry, stop, take = price * 0.996, price * 0.976, price * 1.035
        _add_order(connection, f"p{account_id}", account_id, symbol, "entry", "filled", 0.05, now_ms)
        _add_order(connection, f"s{account_id}", account_id, symbol, "stop", "open", 0.05, now_ms)
        positions.append(
            {
                "symbol": symbol,
                "side": "long",
                "size": "0.05",
                "entry_price": entry,
                "entry_time": newest - 5 * HOUR,
                "stop_price": f"{stop:.2f}",
                "take_price": f"{take:.2f}",
                "leverage": 3.0,
                "margin": 0.05 * entry / 3,
                "liquidation_price": None,
                "fee": 1.2,
                "funding": 0.0,
                "risk": 60.0,
                "entry_order_id": f"p{account_id}",
            }
        )
    for number in range(40):
        symbol = symbols[number % len(symbols)]
        outcome, reason = (
            ("no_signal", "rsi_level"),
            ("refused", "max_open_positions"),
            ("enter", "entry_signal"),
            ("hold", "hold"),
            ("exit", "exit_signal"),
            ("no_signal", "volume_not_rising"),
        )[number % 6]
        numbers = {
            "rsi": 41.3 + number % 20,
            "close": _close(connection, symbol, newest - number * HOUR),
            "volume": 71.0,
            "volume_mean": 66.0,
            "equity": equity,
            "size": 0.05,
            "stop": 58_000.0,
            "risk": 98.0,
            "entry_price": 60_000.0,
            "take": 62_000.0,
            "side": 1,
            "seen": 400,
            "warm_up": 392,
        }
        connection.execute(
            sa.insert(tables.decisions).values(
                account_id=account_id,
                symbol=symbol,
                candle_time=newest - (1 + number // len(symbols)) * HOUR,
                outcome=outcome,
                reason=reason,
                numbers=json.dumps(numbers),
                parameter_version=0,
                decided_at=now_ms,
            )
        )
    connection.execute(
        sa.insert(tables.account_states).values(
            account_id=account_id,
            status="running" if "R" not in name else "stopped",
            core_state=json.dumps({"positions": positions}),
            decision_time=newest - HOUR,
            capital=Decimal(10_000),
            equity=equity,
            balance=equity - 20,
            day_start_equity=equity * 1.0135,
            updated_at=now_ms,
        )
    )


def _add_order(
    connection: sa.Connection,
    name: str,
    account_id: int,
    symbol: str,
    purpose: str,
    status: str,
    size: float,
    now_ms: int,
) -> None:
    """Add an order."""
    connection.execute(
        sa.insert(tables.orders).values(
            id=name,
            account_id=account_id,
            symbol=symbol,
            purpose=purpose,
            side="buy" if purpose == "entry" else "sell",
            type="market" if purpose == "entry" else "stop_market",
            size=Decimal(str(size)),
            reduce_only=purpose != "entry",
            reason="entry_signal",
            status=status,
            planned_at=now_ms,
            updated_at=now_ms,
        )
    )


def set_up_channels(gateway: Gateway) -> None:
    """Let the operator have set up e-mail and Telegram; nothing is sent, because no delivery runs."""
    settings = gateway.settings
    email = settings.email.model_copy(update={"host": "127.0.0.1", "sender": "ctp@example.com"})
    telegram = settings.telegram.model_copy(update={"token_file": Path("/nowhere/token")})
    gateway.settings = settings.model_copy(update={"email": email, "telegram": telegram})


def add_notice(world: World, person: str, key: str, **facts: Any) -> None:
    """Tell a person that a position was opened."""
    with world.database.transaction() as connection:
        user = find_user(connection, person)
        owned = sa.select(tables.accounts.c.id).where(tables.accounts.c.user_id == user.id)
        told = {
            "symbol": "BTC/USDT:USDT",
            "side": "long",
            "size": 0.05,
            "price": 60_000.0,
            "stop": 58_800.0,
            "take": 62_400.0,
        }
        money = {"leverage": 3.0, "risk": 60.0, "equity": 10_000.0}
        account_id = connection.execute(owned.order_by(tables.accounts.c.id)).scalars().first()
        tell_account(connection, account_id, "position_opened", told | money | facts, key, world.now_ms)

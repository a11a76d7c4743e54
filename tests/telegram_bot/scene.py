"""People with connected chats, an account with a past and a position, and a way to talk without a network."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.rights import Actor
from ctp.accounts.trading_accounts import append_parameters, create_account, share_account
from ctp.clock import ManualClock
from ctp.notifiers.telegram_api import Heard, Me
from ctp.storage import tables
from ctp.storage.database import Database
from ctp.storage.leases import beat
from ctp.telegram.conversation import Conversation, Heeded, Reply
from tests.accounts.people import NOW, Scene, new_account, set_scene

HOUR = 3_600_000
ME = Me(99, "ctp_test_bot")
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
SENDERS = {"minsu": "1001", "alice": "1002", "vera": "1003", "quinn": "1004", "olaf": "1005", "ada": "1006"}


class Commanded(NamedTuple):
    """A command that was asked for."""

    account_id: int
    kind: str
    arguments: dict[str, Any]
    asked_by: int
    door: str


class Stage:
    """A database full of people, a clock, and everybody's words."""

    def __init__(self, database: Database, home: Path) -> None:
        """Connect everybody's chat; minsu's language is Korean, the others' English."""
        self.database, self.home = database, home
        self.clock = ManualClock(NOW)
        self.people: Scene = set_scene(database)
        with database.transaction() as connection:
            for name, sender in SENDERS.items():
                self.connect(connection, name, sender)
                if name != "minsu":
                    this = tables.users.c.id == self.id_of(name)
                    connection.execute(sa.update(tables.users).where(this).values(language="en"))
            beat(connection, "bot", NOW)
        self.conversation = Conversation(database, self.clock, home, ME)
        self._updates = itertools.count(700)

    def id_of(self, name: str) -> int:
        """Return a person's user id."""
        return self.people.actors()[name].user_id or 0

    def connect(self, connection: sa.Connection, name: str, sender: str, chat: str = "") -> None:
        """Confirm a person's chat."""
        connection.execute(
            sa.insert(tables.contacts).values(
                user_id=self.id_of(name),
                channel="telegram",
                address=chat or sender,
                sender=sender,
                confirmed_at=NOW,
                updated_at=NOW,
            )
        )

    def add_account(self, owner: str, name: str, **changes: object) -> int:
        """Give a person another account; returns its id."""
        actor: Actor = self.people.actors()[owner]
        with self.database.transaction() as connection:
            made = create_account(connection, actor, actor.user_id or 0, new_account(name, **changes), NOW).id
            if changes.get("mode") == "live":  # which does not start without grounds
                grounds = {"override": "a month on paper"}
                append_parameters(connection, actor, made, "rsi_mean_reversion", {}, {}, "first", NOW, **grounds)
            return made

    def share(self, account_id: int, owner: str, guest: str, role: str) -> None:
        """Share an account."""
        with self.database.transaction() as connection:
            share_account(connection, self.people.actors()[owner], account_id, self.id_of(guest), role, NOW)

    # --- talking ---------------------------------------------------------------------------------------------------

    def write(self, who: str, text: str, *, chat: str = "", update: int | None = None, ago_ms: int = 0) -> Heeded:
        """Let somebody write: a person by name, or a sender by number."""
        sender = SENDERS.get(who, who)
        heard = Heard(
            next(self._updates) if update is None else update,
            chat or sender,
            not chat or chat == sender,
            sender,
            text,
            self.clock.now_ms() - ago_ms,
            "",
            "",
            50,
            "",
        )
        return self.conversation.hear(heard)

    def press(
        self, who: str, data: str, *, chat: str = "", update: int | None = None, ago_ms: int = 0, message_id: int = 60
    ) -> Heeded:
        """Let somebody press a button."""
        sender = SENDERS.get(who, who)
        number = next(self._updates) if update is None else update
        heard = Heard(
            number,
            chat or sender,
            not chat or chat == sender,
            sender,
            "",
            self.clock.now_ms() - ago_ms,
            f"p{number}",
            data,
            message_id,
            "",
        )
        return self.conversation.hear(heard)

    def commands(self) -> list[Commanded]:
        """Return what was asked of the trading bot."""
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(tables.commands).order_by(tables.commands.c.id)).all()
        return [
            Commanded(row.account_id, row.kind, json.loads(row.arguments), row.asked_by, row.door) for row in rows
        ]

    def deeds(self) -> list[tuple[str, str, str]]:
        """Return the audit log's rows through this door: action, subject, person."""
        log = tables.audit_log.c
        query = sa.select(log.action, log.subject, tables.users.c.name).join(
            tables.users, tables.users.c.id == log.user_id
        )
        with self.database.reading() as connection:
            return [tuple(row) for row in connection.execute(query.where(log.door == "telegram").order_by(log.id))]

    # --- a past ----------------------------------------------------------------------------------------------------

    def give_history(self, account_id: int, **changes: object) -> None:
        """Give an account closed trades, an open position with its stop, decisions and a state."""
        opened = {
            "symbol": BTC,
            "side": "long",
            "size": "0.05",
            "entry_price": 60_000.0,
            "entry_time": NOW - 5 * HOUR,
            "stop_price": "58800",
            "take_price": "62400",
            "leverage": 3.0,
            "margin": 1000.0,
            "liquidation_price": None,
            "fee": 1.2,
            "funding": 0.0,
            "risk": 60.0,
            "entry_order_id": f"e{account_id}",
        }
        state = {
            "status": "running",
            "status_reason": "start",
            "core_state": json.dumps({"positions": [opened]}),
            "capital": Decimal(10_000),
            "equity": 10_123.45,
            "balance": 10_108.45,
            "day_start_equity": 10_150.0,
            "updated_at": NOW,
            **changes,
        }
        with self.database.transaction() as connection:
            for number, (symbol, hours, pnl, reason) in enumerate(
                ((ETH, 900, -101.5, "stop_loss"), (BTC, 60, 40.25, "take_profit"), (BTC, 8, 112.0, "exit_signal"))
            ):
                order = f"t{account_id}-{number}"
                _add_order(connection, order, account_id, symbol, "entry", "filled")
                connection.execute(
                    sa.insert(tables.trades).values(
                        account_id=account_id,
                        symbol=symbol,
                        side="long",
                        entry_time=NOW - (hours + 10) * HOUR,
                        entry_price=3000.0 if symbol == ETH else 59_000.0,
                        exit_time=NOW - hours * HOUR,
                        exit_price=2940.0 if symbol == ETH else 59_500.5,
                        size=0.5,
                        leverage=3.0,
                        margin=500.0,
                        stop_price=2940.0,
                        take_price=None,
                        fee=1.5,
                        funding=-0.25,
                        pnl=pnl,
                        r_multiple=round(pnl / 100, 2),
                        exit_reason=reason,
                        entry_order_id=order,
                    )
                )
            _add_order(connection, f"e{account_id}", account_id, BTC, "entry", "filled")
            _add_order(connection, f"s{account_id}", account_id, BTC, "stop", "open")
            for number, (symbol, outcome, reason) in enumerate(
                ((BTC, "hold", "hold"), (ETH, "no_signal", "rsi_level"), (ETH, "refused", "max_open_positions"))
            ):
                numbers = {"rsi": 41.3, "close": 60_000.0, "entry_price": 60_000.0, "stop": 58_800.0, "take": 62_400.0}
                connection.execute(
                    sa.insert(tables.decisions).values(
                        account_id=account_id,
                        symbol=symbol,
                        candle_time=NOW - NOW % HOUR - (1 + number) * HOUR,
                        outcome=outcome,
                        reason=reason,
                        numbers=json.dumps(numbers),
                        parameter_version=0,
                        decided_at=NOW,
                    )
                )
            connection.execute(sa.insert(tables.account_states).values(account_id=account_id, **state))
            for symbol, price in ((BTC, 60_300.0), (ETH, 3_000.0)):
                row = {"exchange": "binanceusdm", "market": "paper", "symbol": symbol, "timeframe": "1h"}
                known = sa.select(tables.live_candles.c.time).where(tables.live_candles.c.symbol == symbol)
                if connection.execute(known).first() is None:
                    prices = dict.fromkeys(("open", "high", "low", "close"), price)
                    values = {**row, "time": NOW - NOW % HOUR, **prices, "volume": 1.0, "closed": False}
                    connection.execute(sa.insert(tables.live_candles).values(**values))


def _add_order(
    connection: sa.Connection, name: str, account_id: int, symbol: str, purpose: str, status: str
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
            size=Decimal("0.05"),
            reduce_only=purpose != "entry",
            reason="entry_signal",
            status=status,
            planned_at=NOW,
            updated_at=NOW,
        )
    )


def said(heeded: Heeded) -> str:
    """Return the words of the only answer; those in the box over a pressed button included."""
    (reply,) = heeded.replies
    return reply.text.plain or reply.alert


def only(heeded: Heeded) -> Reply:
    """Return the only answer."""
    (reply,) = heeded.replies
    return reply


def buttons(heeded: Heeded) -> dict[str, str]:
    """Return the buttons of the only answer: data by label."""
    return {one.label: one.data for row in only(heeded).keyboard for one in row}

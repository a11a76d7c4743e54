"""Commands of people: Start, Pause, Stop (keep or close), Close all, close one symbol, Unlock. Asked, acknowledged, done.

Invariants:
1. A command takes effect on entries the moment it is read, also while orders are being sent: the status is written and
   the acknowledgement with it, before anything else is tried.
2. "Done" means what the person asked for is true: nothing working and, where asked, flat.
3. Closing one symbol closes the position that was open when it was asked for, not one that is opened afterwards.
4. A command that was asked while the bot was dead is obeyed at start-up, in the order of asking.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.live_door import grounds_of
from ctp.core.orders import ENTRY
from ctp.core.types import FLAT
from ctp.errors import CtpError, ExchangeBusy, ExchangeDown, NotAllowed, NotFound
from ctp.storage.tables import commands, orders
from ctp.trading.engine import Engine
from ctp.trading.protection import end_entries, leave, settle_down
from ctp.trading.results import DONE, NEVER_STARTED, OVERRULED
from ctp.trading.store import PAUSED, RUNNING, STOPPED

START, PAUSE, STOP_KEEP, STOP_CLOSE, CLOSE_ALL, EXIT_SYMBOL, UNLOCK = KINDS = (
    "start",
    "pause",
    "stop_keep",
    "stop_close",
    "close_all",
    "exit_symbol",
    "unlock",
)
STATUS_AFTER = {START: RUNNING, PAUSE: PAUSED, STOP_KEEP: STOPPED, STOP_CLOSE: STOPPED, CLOSE_ALL: PAUSED}
FORCE_EXIT = "force_exit"


class Command(NamedTuple):
    """A command that is not done yet."""

    id: int
    account_id: int
    kind: str
    arguments: dict[str, Any]
    asked_at: int
    acknowledged_at: int | None


def read_open(connection: sa.Connection) -> list[Command]:
    """Return every command that is not done, oldest first."""
    columns = [commands.c[name] for name in Command._fields]
    query = sa.select(*columns).where(commands.c.done_at.is_(None)).order_by(commands.c.id)
    return [
        Command(**{**row._mapping, "arguments": json.loads(row.arguments)}) for row in connection.execute(query)
    ]


def finish(connection: sa.Connection, command_id: int, result: str, now_ms: int) -> None:
    """Write that a command is done, or why it cannot be."""
    connection.execute(
        sa.update(commands)
        .where(commands.c.id == command_id)
        .values(done_at=now_ms, result=result[:256], acknowledged_at=sa.func.coalesce(commands.c.acknowledged_at, now_ms))
    )


async def acknowledge(engine: Engine, command: Command) -> None:
    """Take note of a command: entries obey from here on. Start takes effect only once it has succeeded."""
    desk = engine.desk
    now_ms = desk.clock.now_ms()
    status = STATUS_AFTER.get(command.kind)
    if status is not None and command.kind != START:
        desk.status = status

    def work(connection: sa.Connection) -> None:
        connection.execute(
            sa.update(commands)
            .where(commands.c.id == command.id, commands.c.acknowledged_at.is_(None))
            .values(acknowledged_at=now_ms)
        )
        if status is not None and command.kind != START:
            desk.store.set_status(connection, status, command.kind, now_ms)

    await desk.run(work)


async def obey(engine: Engine, command: Command) -> bool:
    """Do what an acknowledged command asks; returns whether it is done. Ask again until it is."""
    desk = engine.desk
    result = DONE
    async with desk.lock:
        try:
            if command.kind == START:
                result = await _start(engine, command)
            elif desk.view is None:
                result = NEVER_STARTED
            elif command.kind == UNLOCK:
                await _unlock(engine)
            elif command.kind in (STOP_CLOSE, CLOSE_ALL):
                if not await _close_positions(engine):
                    return False
            elif command.kind == EXIT_SYMBOL:
                if not await _close_symbol(engine, command):
                    return False
            else:
                await settle_down(desk, desk.account.symbols)  # entries that rest are taken back
                if not _has_no_entries(engine):
                    return False
        except (ExchangeDown, ExchangeBusy) as error:
            desk.log.warning("command_waits", command=command.kind, error=str(error))
            return False
        except CtpError as error:
            result = str(error)
        await desk.run(lambda c: finish(c, command.id, result, desk.clock.now_ms()))
    desk.log.info("command_done", command=command.kind, result=result)
    return True


async def _start(engine: Engine, command: Command) -> str:
    """Start trading, the first time with the allotted capital, unless a later command says otherwise."""
    desk = engine.desk
    grounds = await desk.run(lambda c: grounds_of(c, desk.account.id))
    if grounds.problem:
        raise NotAllowed(f"the live account {desk.account.name} does not start with its parameters: {grounds.problem}")
    desk.key_error = ""
    await _check_key(engine)
    await engine.begin()

    def work(connection: sa.Connection) -> bool:
        if _is_overruled(connection, command):
            return False
        desk.store.set_status(connection, RUNNING, START, desk.clock.now_ms())
        return True

    if not await desk.run(work):
        return OVERRULED
    desk.status = RUNNING
    desk.nudge()  # a look at everything, and the symbols made ready for entries
    return DONE


async def _check_key(engine: Engine) -> None:
    """Refuse a key that may withdraw; say so when the exchange does not tell."""
    desk = engine.desk
    try:
        may_withdraw = await desk.exchange.withdrawals_allowed()
    except ExchangeDown as error:
        desk.log.warning("key_rights_unknown", error=str(error))
        may_withdraw = None
    if may_withdraw:
        raise NotAllowed("this key may withdraw money; enter one without that right")
    if may_withdraw is None:
        day = desk.clock.now_ms() // 86_400_000
        await desk.tell_trouble("key_unverified", f"key_unverified:{day}")


def _is_overruled(connection: sa.Connection, command: Command) -> bool:
    """Return whether a later command of the account was acknowledged that stops or pauses it."""
    query = sa.select(commands.c.id).where(
        commands.c.account_id == command.account_id,
        commands.c.id > command.id,
        commands.c.kind.in_([kind for kind in STATUS_AFTER if kind != START]),
        commands.c.acknowledged_at.is_not(None),
    )
    return connection.execute(query).first() is not None


async def _unlock(engine: Engine) -> None:
    """Lift the drawdown lock: the peak is today's equity from now on."""
    desk = engine.desk
    memory, rules = desk.current.memory, desk.terms
    account = memory.account._replace(drawdown_locked=0, peak=memory.account.equity)
    memory = memory._replace(account=account)
    desk.view = await desk.run(lambda c: desk.store.replace_memory(c, memory, rules, desk.clock.now_ms()))


async def _close_positions(engine: Engine) -> bool:
    """Leave every position at the market; returns whether all are flat and nothing works any more."""
    desk = engine.desk
    if not _has_no_entries(engine):
        await engine.look(desk.account.symbols)
    for symbol in desk.account.symbols:
        if desk.state(symbol).position.side != FLAT:
            await leave(desk, symbol, FORCE_EXIT, desk.current.memory.decision_time)
    await settle_down(desk, desk.account.symbols)
    is_flat = all(state.position.side == FLAT for state in desk.current.folded.memory.states)
    return is_flat and not desk.current.unfinished


async def _close_symbol(engine: Engine, command: Command) -> bool:
    """Leave one symbol at the market; returns whether it is flat and nothing of it works any more."""
    desk, symbol = engine.desk, str(command.arguments.get("symbol", ""))
    if symbol not in desk.account.symbols:
        raise NotFound(f"this account does not trade {symbol}")
    if any(row.symbol == symbol and row.purpose == ENTRY for row in desk.current.unfinished.values()):
        await engine.look([symbol])
        await end_entries(desk, desk.current.resting_entries(symbol))
    if await desk.run(lambda c: _was_opened_later(c, desk.current.folded.memory.entry_orders.get(symbol), command)):
        return True
    if desk.state(symbol).position.side != FLAT:
        await leave(desk, symbol, FORCE_EXIT, desk.current.memory.decision_time)
    await settle_down(desk, [symbol])
    works = any(row.symbol == symbol for row in desk.current.unfinished.values())
    return desk.state(symbol).position.side == FLAT and not works


def _was_opened_later(connection: sa.Connection, entry_order: str | None, command: Command) -> bool:
    """Return whether the open position came after the command: the one that was meant is gone."""
    if entry_order is None:
        return False
    planned_at = connection.execute(sa.select(orders.c.planned_at).where(orders.c.id == entry_order)).scalar()
    return planned_at is not None and planned_at > command.asked_at


def _has_no_entries(engine: Engine) -> bool:
    """Return whether no entry is on its way or working."""
    return not any(row.purpose == ENTRY for row in engine.desk.current.unfinished.values())

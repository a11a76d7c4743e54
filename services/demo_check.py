"""`./run demo --check`: does what the bot did equal what the exchange saw and what a backtest says?

A stepped exchange stands still until every account has decided on the closed candle, has no order on its way and every
position protected; so the bot's speed cannot matter, and every value must be equal to the last bit.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from ctp.accounts.rights import machine
from ctp.accounts.vault import Vault
from ctp.accounts.visible import AccountView, Visible
from ctp.cli.accounts import paper_control
from ctp.config import Settings
from ctp.errors import CtpError, StateConflict
from ctp.market.validation import timeframe_name
from ctp.simulator.client import ControlClient
from ctp.simulator.feed import Feed
from ctp.storage.database import Database
from ctp.trading.settled import is_settled
from services.children import child_environment, exchange_program, exchange_settings, service_program
from services.demo_home import OWN_COINS, prepare_home
from services.demo_witnesses import trades_of_backtest, trades_of_database, trades_of_exchange
from services.supervisor import Supervisor
from services.trade_records import Difference, TradeRecord, differences

TRADES_WANTED, SYMBOLS_WANTED = 20, 2
MOST_CANDLES = 5000
PATIENCE_S = 60.0
POLL_S = 0.004
SHOWN_DIFFERENCES = 20


class Progress(NamedTuple):
    """How far the market was moved, and how it ended."""

    candles: int
    trades: int
    symbols: tuple[str, ...]
    ended: bool


def check_demo(parent: Path, candles: list[str], seed: int, feed: Feed) -> int:
    """Run the check in a new folder below `parent` and print one JSON object; return the exit code.

    The folder is removed when all agree, and named in the result when not.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="check-", dir=parent))
    (parent / "cache").mkdir(exist_ok=True)
    (home / "cache").symlink_to(parent / "cache")  # compiled code is made once, not for every check
    os.environ["CTP_HOME"] = str(home)
    started = time.monotonic()
    try:
        result = asyncio.run(_check(home, candles, seed, feed))
    except CtpError as error:
        result = {"ok": False, "reason": str(error)}
    result["seconds"] = round(time.monotonic() - started, 1)
    if result["ok"]:
        shutil.rmtree(home)
    else:
        result["home"] = str(home)
    print(json.dumps(result, ensure_ascii=False, indent=2))
    return 0 if result["ok"] else 1


async def _check(home: Path, candles: list[str], seed: int, feed: Feed) -> dict[str, Any]:
    """Start exchange and services, move the market until enough trades closed, compare."""
    supervisor = Supervisor()
    timeframe = timeframe_name(feed.timeframe_ms)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.watch(exchange_program(home, candles, timeframe, 0.0, seed, "candle-exact")))
            settings = await exchange_settings(home)
            control = paper_control(settings, "binance")
            now_ms = time.time_ns() // 1_000_000
            await asyncio.to_thread(prepare_home, settings, control, timeframe, now_ms)
            for name in ("bot", "backup"):
                group.create_task(supervisor.watch(service_program(home, name, child_environment(home))))
            database = Database(settings.database_url)
            try:
                accounts = await asyncio.to_thread(_read_accounts, database)
                await _until_started(database, accounts)
                progress = await _move(database, accounts, control)
                result = await asyncio.to_thread(_compare, settings, database, accounts, control, feed, progress)
            finally:
                database.close()
            await supervisor.stop()
        return result | {"restarts": supervisor.restarts}
    except* CtpError as errors:
        raise errors.exceptions[0] from None
    finally:
        await supervisor.stop()


def _read_accounts(database: Database) -> list[AccountView]:
    """Return the demo's accounts."""
    with database.reading() as connection:
        return Visible(connection, machine("cli")).accounts()


async def _until_started(database: Database, accounts: list[AccountView]) -> None:
    """Wait until the bot has carried out every Start."""

    def waiting() -> list[str]:
        with database.reading() as connection:
            visible = Visible(connection, machine("cli"))
            return [a.name for a in accounts if not all(command.done_at for command in visible.commands(a.id))]

    await _until(lambda: not waiting(), "the start of the accounts")


async def _move(database: Database, accounts: list[AccountView], control: ControlClient) -> Progress:
    """Move the market candle by candle until enough trades have closed."""
    candle = (await asyncio.to_thread(control.status))["candle"]
    for number in range(1, MOST_CANDLES + 1):
        status = await asyncio.to_thread(control.advance)
        closed = candle

        def settled(time_ms: int = closed, trading: tuple[str, ...] = tuple(status["trading"])) -> bool:
            with database.reading() as connection:
                return all(is_settled(connection, account.id, time_ms, trading) for account in accounts)

        await _until(settled, f"candle {closed}")
        progress = _progress(database, accounts, number, ended=bool(status["ended"]))
        if sys.stderr.isatty():
            print(f"\r{number} candles, {progress.trades} trades closed ", end="", file=sys.stderr)
        if status["ended"] or (progress.trades >= TRADES_WANTED and len(progress.symbols) >= SYMBOLS_WANTED):
            break
        candle = status["candle"]
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return progress


def _progress(database: Database, accounts: list[AccountView], candles: int, *, ended: bool) -> Progress:
    """Count what has closed so far."""
    with database.reading() as connection:
        closed = [trade for account in accounts for trade in trades_of_database(connection, account)]
    return Progress(candles, len(closed), tuple(sorted({trade.symbol for trade in closed})), ended)


async def _until(holds: Any, what: str) -> None:
    """Wait until something holds; StateConflict names what did not happen."""
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(holds):
        if time.monotonic() > deadline:
            raise StateConflict(f"{what}: not settled within {PATIENCE_S:g} s; the logs of the bot say why")
        await asyncio.sleep(POLL_S)


def _compare(
    settings: Settings,
    database: Database,
    accounts: list[AccountView],
    control: ControlClient,
    feed: Feed,
    progress: Progress,
) -> dict[str, Any]:
    """Let the three witnesses speak and say where they differ."""
    ours: list[TradeRecord] = []
    theirs: list[TradeRecord] = []
    replayed: list[TradeRecord] = []
    untouched = True
    with database.reading() as connection:
        for account in accounts:
            state = control.state(Vault(settings.keys).open_key(connection, account.id).api_key)
            label = account._replace(name=f"{account.owner}/{account.name}")
            ours += trades_of_database(connection, label)
            theirs += trades_of_exchange(state, label)
            replayed += trades_of_backtest(connection, label, feed)
            untouched &= _own_bitcoin(state) >= Decimal(OWN_COINS["BTC"])
    found = {
        "database_equals_exchange": differences(ours, theirs, "database, exchange", second_knows_causes=True),
        "database_equals_backtest": differences(ours, replayed, "database, backtest"),
        "backtest_equals_exchange": differences(replayed, theirs, "backtest, exchange", second_knows_causes=True),
    }
    enough = progress.trades >= TRADES_WANTED and len(progress.symbols) >= SYMBOLS_WANTED
    result: dict[str, Any] = {
        "ok": enough and untouched and not any(found.values()),
        "trades": progress.trades,
        "symbols": progress.symbols,
        "candles": progress.candles,
        "accounts": [f"{account.owner}/{account.name}" for account in accounts],
        **{name: not several for name, several in found.items()},
        "own_coins_untouched": untouched,
        "exit_reasons": {reason: sum(t.exit_reason == reason for t in ours) for reason in sorted({t.exit_reason for t in ours})},
        "differences": [_shown(one) for several in found.values() for one in several][:SHOWN_DIFFERENCES],
    }
    if not enough:
        result["reason"] = f"only {progress.trades} trades over {len(progress.symbols)} symbols closed before the data ended"
    return result


def _own_bitcoin(state: dict[str, Any]) -> Decimal:
    """Return the bitcoin of the spot wallet, locked ones too."""
    balances = {row["asset"]: Decimal(row["free"]) + Decimal(row["locked"]) for row in state["spot"]["account"]["balances"]}
    return balances.get("BTC", Decimal(0))


def _shown(difference: Difference) -> dict[str, Any]:
    """Return a difference as JSON."""
    return difference._asdict()

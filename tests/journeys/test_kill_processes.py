"""The demo's processes are killed again and again while two people trade: nothing is doubled, lost or left without a stop.

Exchange, bot, scheduler and gateway are processes of their own under the supervisor of the demo. One of the last three
dies by SIGKILL at a random moment, half of the times just after a candle closed, when the bot is busiest.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psutil
import pytest

from ctp.accounts.rights import machine
from ctp.accounts.trading_accounts import ask_command
from ctp.accounts.vault import Vault
from ctp.accounts.visible import AccountView, Visible
from ctp.cli.accounts import paper_control
from ctp.config import Settings
from ctp.simulator.client import ControlClient
from ctp.storage.database import Database
from ctp.storage.leases import read_heartbeats
from services.children import child_environment, exchange_program, exchange_settings, service_program
from services.demo_home import DemoAccount, prepare_home
from services.supervisor import Supervisor
from tests.journeys.exchange_record import Ours, check_account, fills_at, read_ours, trips_of
from tests.journeys.processes import free_port

CANDLE_S = 1.0
SERVICES = ("bot", "backup", "web")
WEIGHTS = (4, 1, 1)  # the bot has most to lose
PATIENCE_S = 180.0
EAGER = {"period": 5, "warm_up": 30, "volume_factor": 0, "stop_loss": 0.01, "take_profit": 0.012}
BOTH = {**EAGER, "oversold": 47, "overbought": 53, "direction": "both", "trailing_stop": 0.01}
LONG = {**EAGER, "oversold": 48, "overbought": 56}
RISK = {"max_drawdown": 1}
ACCOUNTS = (
    DemoAccount("minsu", "선물", "binanceusdm", ("BTC", "ETH"), LONG, RISK),
    DemoAccount("minsu", "현물", "binance", ("BTC", "ETH"), LONG, RISK),
    DemoAccount("alice", "perpetual", "binanceusdm", ("BTC", "SOL", "XRP"), BOTH, {**RISK, "leverage": 5}),
    DemoAccount("alice", "spot", "binance", ("BTC", "ETH"), {**LONG, "take_profit": 0}, RISK),
)


class Stage(NamedTuple):
    """Everything that runs, and what a test needs to look at it."""

    supervisor: Supervisor
    settings: Settings
    control: ControlClient
    database: Database
    accounts: Sequence[AccountView]
    keys: dict[int, str]  # the exchange's name of each account
    port: int


@pytest.mark.timeout(900)
def test_killed_processes_lose_and_double_nothing(home: Path) -> None:
    asyncio.run(_journey(home, "book", 40, 5))


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("fills", ["book", "candle-exact"])
def test_killed_for_five_minutes_processes_lose_and_double_nothing(fills: str, home: Path) -> None:
    asyncio.run(_journey(home, fills, 300, 20))


async def _journey(home: Path, fills: str, seconds: int, fewest: int) -> None:
    seed = int(os.environ.get("CTP_TEST_SEED") or time.time_ns() % 1_000_000)
    print(f"seed {seed}: repeat with CTP_TEST_SEED={seed}")
    async with _stage(home, fills, seed) as stage:
        await _until(stage, lambda: all(ours.fills for ours in _ours(stage)), "every account has traded")
        killed = await _kill_for(stage, seconds, random.Random(seed))
        print(f"killed: {dict(killed)}; restarts: {stage.supervisor.restarts}")
        assert set(killed) == set(SERVICES)
        await _until_alive(stage)
        await _until_true(stage, "after the kills")
        for account in stage.accounts:
            with stage.database.transaction() as connection:
                ask_command(connection, machine("cli"), account.id, "close_all", time.time_ns() // 1_000_000)
        await _until(stage, lambda: _is_flat(stage), "every account is flat")
        await _until_true(stage, "after everything was closed")
        trips = {one.name: trips_of(fills_at(stage.control.state(stage.keys[one.id]), one)) for one in stage.accounts}
        print("closed trades:", {name: len(found) for name, found in trips.items()})
        assert sum(len(found) for found in trips.values()) >= fewest, "too little happened to prove anything"
    assert not _left_behind(home)


@asynccontextmanager
async def _stage(home: Path, fills: str, seed: int) -> AsyncIterator[Stage]:
    """Start exchange, people, accounts and services, as the demo does, and stop them all at the end."""
    supervisor, port = Supervisor(longest_delay_s=0.4), free_port()  # a bot that waits cannot be caught at work
    watching: list[asyncio.Task[None]] = []
    watch = lambda program: watching.append(asyncio.create_task(supervisor.watch(program)))  # noqa: E731
    try:
        watch(exchange_program(home, [], "1h", 3600 / CANDLE_S, seed, fills))
        settings = await exchange_settings(home)
        control = paper_control(settings, "binance")
        await asyncio.to_thread(prepare_home, settings, control, "1h", time.time_ns() // 1_000_000, ACCOUNTS)
        environment = child_environment(home) | {"CTP__WEB__PORT": str(port), "CTP__WEB__VOILA_PORT": "0"}
        for name in SERVICES:
            watch(service_program(home, name, environment))
        database = Database(settings.database_url)
        try:
            with database.reading() as connection:
                accounts = Visible(connection, machine("cli")).accounts()
                keys = {one.id: Vault(settings.keys).open_key(connection, one.id).api_key for one in accounts}
            yield Stage(supervisor, settings, control, database, accounts, keys, port)
        except BaseException:
            _print_logs(home)
            raise
        finally:
            database.close()
    finally:
        await supervisor.stop()
        await asyncio.gather(*watching)


async def _kill_for(stage: Stage, seconds: int, chance: random.Random) -> Counter[str]:
    """Kill services one after the other, each of them at least once."""
    killed: Counter[str] = Counter()
    names = list(SERVICES)
    end = time.monotonic() + seconds
    while time.monotonic() < end or names:
        await asyncio.sleep(chance.uniform(1.0, 6.0))
        name = names.pop() if names else chance.choices(SERVICES, WEIGHTS)[0]
        if chance.random() < 0.5:
            await _just_after_a_close(stage)
            await asyncio.sleep(chance.uniform(0.0, 0.25))
        process = stage.supervisor.processes[name]
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
            killed[name] += 1
    return killed


async def _just_after_a_close(stage: Stage) -> None:
    """Wait until the exchange has moved to the next candle."""
    first = None
    while True:
        now = (await asyncio.to_thread(stage.control.status))["candle"]
        first = first or now
        if now != first:
            return
        await asyncio.sleep(0.02)


async def _until_alive(stage: Stage) -> None:
    """Wait until every service is back at work: heartbeats after this moment, and a page that answers."""
    since = time.time_ns() // 1_000_000

    def beating() -> bool:
        with stage.database.reading() as connection:
            beats = read_heartbeats(connection)
        return all(name in beats and beats[name].at > since for name in ("bot", "backup"))

    await _until(stage, beating, "bot and scheduler live again")
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{stage.port}/login") as reply:
                    if reply.status == 200:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


async def _until_true(stage: Stage, moment: str) -> None:
    """Wait for a moment at which nothing is under way, and check everything there.

    The market never stands still: a fill between our two looks is not a fault, one that stays unknown is.
    """
    for account in stage.accounts:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            before, state, after = await asyncio.to_thread(_look, stage, account)
            try:
                assert before == after, "the database is being written"
                check_account(account, state, after)
                break
            except AssertionError:
                if time.monotonic() > deadline:
                    print(f"{moment}: {account.owner}/{account.name}")
                    raise
                await asyncio.sleep(0.05)


def _look(stage: Stage, account: AccountView) -> tuple[Ours, dict[str, Any], Ours]:
    """Return the database's side before and after the exchange's."""
    with stage.database.reading() as connection:
        before = read_ours(connection, account)
    state = stage.control.state(stage.keys[account.id])
    with stage.database.reading() as connection:
        return before, state, read_ours(connection, account)


def _ours(stage: Stage) -> list[Ours]:
    """Return the database's side of every account."""
    with stage.database.reading() as connection:
        return [read_ours(connection, one) for one in stage.accounts]


def _is_flat(stage: Stage) -> bool:
    """Tell whether every account is paused without a position."""
    return all(not ours.positions and ours.status == "paused" for ours in _ours(stage))


async def _until(stage: Stage, holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fails with its name."""
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(holds):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")
        await asyncio.sleep(0.1)


def _print_logs(home: Path) -> None:
    """Print the last lines of every log, for a failing test."""
    for file in sorted((home / "logs").glob("*")):
        print(file.name, *file.read_text(errors="replace").splitlines()[-12:], sep="\n  ")


def _left_behind(home: Path) -> list[psutil.Process]:
    """Return the processes that still live in this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CTP_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return [one for one in found if one.pid != os.getpid()]

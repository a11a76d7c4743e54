"""After an upgrade the journal is made again: alike, the account is pinned anew; otherwise its entries are held."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.accounts.rights import machine
from ctp.accounts.sources import source_hash
from ctp.accounts.trading_accounts import append_parameters
from ctp.storage import tables
from ctp.storage.tables import account_states, audit_log, code_pins, decision_points, decisions, notices
from ctp.trading.bot import _account_info
from ctp.trading.code_pins import note_replay
from ctp.trading.code_replay import read_material, replay
from tests.trading.rig import Rig, trading_rig, walk

RSI = "rsi_mean_reversion"
HERE = source_hash(RSI)
THEN = "0" * 64  # the sources of before the upgrade
USDM = {"BTC/USDT:USDT": walk(3, 400, 60_000.0, tick=0.1), "ETH/USDT:USDT": walk(4, 400, 3_000.0, tick=0.01)}
SPOT = {"BTC/USDT": walk(3, 400, 60_000.0, tick=0.01), "ETH/USDT": walk(4, 400, 3_000.0, tick=0.01)}
BUSY: dict[str, Any] = {
    "period": 7, "oversold": 42, "overbought": 58, "volume_factor": 0.5, "warm_up": 40, "stop_loss": 0.012,
    "take_profit": 0.015, "trailing_stop": 0.02, "cooldown": 2,
}  # fmt: skip
RISK = {"max_drawdown": 1, "risk_per_trade": 0.02}


def replayed(rig: Rig, account: int) -> Any:
    """Replay an account's journal by the sources of this process."""
    row = rig.one(tables.accounts, tables.accounts.c.id == account)
    state = rig.one(account_states, account_states.c.account_id == account)
    with rig.database.reading() as connection:
        perpetual = row.exchange == "binanceusdm"
        material = read_material(connection, _account_info(row), state.decision_time, is_perpetual=perpetual)
    assert material.missing() == {}
    return replay(material)


def pin(rig: Rig, account: int) -> Any:
    """Return the account's pin."""
    return rig.one(code_pins, code_pins.c.account_id == account)


def pretend_upgrade(rig: Rig, account: int) -> None:
    """Let other sources have decided so far, while no bot runs."""
    with rig.database.transaction() as connection:
        connection.execute(sa.update(code_pins).where(code_pins.c.account_id == account).values(source_hash=THEN))


def deeds(rig: Rig, action: str) -> list[dict[str, Any]]:
    """Return what the audit log says about an action."""
    return [json.loads(row.details) for row in rig.rows(audit_log, audit_log.c.action == action, order=audit_log.c.id)]


@pytest.mark.parametrize("venue", ["usdm", "spot", "usdm, limit entries"])
def test_the_sources_that_wrote_a_journal_make_it_again_to_the_bit(venue: str, tmp_path: Path) -> None:
    """Through fills, stops, pauses, other parameters, capital and restarts."""
    columns = SPOT if venue == "spot" else USDM
    strategy = BUSY if venue == "spot" else {**BUSY, "direction": "both"}
    if venue.endswith("limit entries"):
        strategy = {**strategy, "limit_offset": 0.001}

    async def story() -> None:
        async with trading_rig(tmp_path, columns, history=100) as rig:
            exchange = "binance" if venue == "spot" else "binanceusdm"
            account = rig.add_account(list(columns), exchange=exchange, strategy=strategy, risk=RISK)
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            await rig.advance([account], 25)
            assert await rig.command(account, "pause") == "done"
            await rig.advance([account], 4)
            assert await rig.command(account, "start") == "done"
            with rig.database.transaction() as connection:
                append_parameters(connection, machine("cli"), account, RSI, {**strategy, "period": 5}, RISK, "faster", 1)
            await rig.until(lambda: _version(rig, account) == 2, "parameters in use")
            await rig.advance([account], 15)
            await rig.stop_bot()
            await rig.exchange.advance()  # candles that are decided on late
            await rig.exchange.advance()
            await rig.start_bot()
            await rig.advance([account], 12)
            assert await rig.command(account, "stop_keep") == "done"
            await rig.advance([account], 4)
            await rig.stop_bot()
            assert len(rig.trades(account)) >= 3
            found = replayed(rig, account)
            assert (found.differing, found.first) == (0, ())
            assert found.decisions == len(rig.rows(decisions, decisions.c.account_id == account)) > 100

    asyncio.run(story())


def test_a_changed_number_is_found_and_named(tmp_path: Path) -> None:
    """In the last bit of an indicator, and in what was decided."""

    async def story() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = rig.add_account(list(USDM), strategy=BUSY, risk=RISK)
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            await rig.advance([account], 12)
            await rig.stop_bot()
            rows = rig.rows(decisions, decisions.c.account_id == account, order=decisions.c.id)
            numbers = json.loads(rows[4].numbers)
            numbers["rsi"] = numbers["rsi"] * (1 + 2**-52)
            with rig.database.transaction() as connection:
                _edit(connection, rows[4].id, numbers=json.dumps(numbers))
                _edit(connection, rows[9].id, outcome="enter", reason="entry_signal")
            found = replayed(rig, account)
            assert found.differing == 2
            bit, decision = found.first
            assert (bit.symbol, bit.candle_time) == (rows[4].symbol, rows[4].candle_time)
            assert bit.numbers == {"rsi": [numbers["rsi"], json.loads(rows[4].numbers)["rsi"]]}
            assert (decision.outcome, decision.new_outcome) == ("enter", rows[9].outcome)

    asyncio.run(story())


def test_what_candles_are_missing_for_is_not_counted(tmp_path: Path) -> None:
    """Up to the next point; a live account without anything to compare stays held."""

    async def story() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = rig.add_account(list(USDM), strategy=BUSY, risk=RISK)
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            await rig.advance([account], 6)
            await rig.stop_bot()
            await rig.start_bot()
            await rig.advance([account], 6)
            await rig.stop_bot()
            row = rig.one(tables.accounts, tables.accounts.c.id == account)
            state = rig.one(account_states, account_states.c.account_id == account)
            with rig.database.reading() as connection:
                material = read_material(connection, _account_info(row), state.decision_time, is_perpetual=True)
            times = sorted(material.journal)
            del material.candles["BTC/USDT:USDT", times[2]]
            found = replay(material)
            assert found is not None and (found.decisions, found.differing) == (2 * 2 + 6 * 2, 0)
            info = _account_info(row)
            for mode, hold in (("live", "code_changed"), ("paper", "")):
                pretend_upgrade(rig, account)
                with rig.database.transaction() as connection:
                    _unprove(connection, account)
                    nothing = found._replace(decisions=0)
                    there = dataclasses.replace(info, mode=mode)
                    assert note_replay(connection, there, HERE, 1, nothing, 1) == hold

    asyncio.run(story())


def test_after_an_upgrade_that_decides_alike_the_account_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = await _traded(rig)
            assert (pin(rig, account).source_hash, pin(rig, account).state) == (HERE, "pinned")
            pretend_upgrade(rig, account)
            await rig.start_bot()
            await rig.until(lambda: pin(rig, account).source_hash == HERE, "pinned anew")
            found = pin(rig, account)
            assert (found.state, found.differing, found.found_hash) == ("pinned", 0, None) and found.compared >= 30
            said = deeds(rig, "parameters.pin")[-1]
            assert (said["before"], said["source_hash"], said["compared"]) == (THEN, HERE, found.compared)
            entered = len(_entries(rig, account))
            await rig.advance([account], 25)
            assert len(_entries(rig, account)) > entered
            assert not rig.rows(decisions, decisions.c.reason.in_(("code_unproven", "code_changed")))

    asyncio.run(story())


def test_after_an_upgrade_that_decides_otherwise_entries_wait_for_a_person(tmp_path: Path) -> None:
    """Open positions stay protected and are left; a restart changes nothing; promoting again lifts it."""

    async def story() -> None:
        async with trading_rig(tmp_path, USDM, history=100) as rig:
            account = await _traded(rig)
            pretend_upgrade(rig, account)
            rows = rig.rows(decisions, decisions.c.account_id == account, order=decisions.c.id)
            with rig.database.transaction() as connection:
                _edit(connection, rows[5].id, outcome="enter", reason="entry_signal")
            await rig.start_bot()
            await rig.until(lambda: pin(rig, account).state == "changed", "the difference found")
            found = pin(rig, account)
            assert (found.source_hash, found.found_hash, found.differing) == (THEN, HERE, 1)
            shown = json.loads(found.differences)[0]
            assert (shown["symbol"], shown["candle_time"]) == (rows[5].symbol, rows[5].candle_time)
            assert (shown["outcome"], shown["new_outcome"]) == ("enter", rows[5].outcome)
            told = [json.loads(one.facts) for one in rig.rows(notices)]
            assert next(one for one in told if one.get("what") == "code_changed")["new_outcome"] == rows[5].outcome
            assert deeds(rig, "parameters.hold")[-1]["differing"] == 1
            entered = len(_entries(rig, account))
            await rig.advance([account], 20)
            await rig.stop_bot()
            await rig.start_bot()
            await rig.advance([account], 15)
            assert pin(rig, account).state == "changed"
            assert len(_entries(rig, account)) == entered, "nothing was entered"
            held = rig.rows(decisions, decisions.c.reason == "code_changed")
            assert held and all(one.outcome == "refused" for one in held)
            assert rig.positions(account) == [], "what was open has been left"
            with rig.database.transaction() as connection:
                append_parameters(connection, machine("cli"), account, RSI, BUSY, RISK, "looked at it", 1)
            await rig.until(lambda: pin(rig, account).source_hash == HERE, "accepted")
            await rig.advance([account], 30)
            assert len(_entries(rig, account)) > entered

    asyncio.run(story())


def test_points_are_kept_for_the_replayed_days_and_no_longer(tmp_path: Path) -> None:
    columns = {"BTC/USDT:USDT": walk(3, 400, 60_000.0, tick=0.1)}

    async def story() -> None:
        async with trading_rig(tmp_path, columns, history=100) as rig:
            account = rig.add_account(list(columns), strategy=BUSY, risk=RISK)
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            old = [1, 2, 3]
            with rig.database.transaction() as connection:
                row = dict(rig.rows(decision_points)[0]._mapping)
                for time in old:
                    connection.execute(sa.insert(decision_points).values({**row, "decision_time": time}))
            await rig.stop_bot()
            await rig.exchange.advance()
            await rig.start_bot()
            await rig.until(lambda: len(rig.rows(decision_points)) <= 3, "older points pruned")
            kept = [one.decision_time for one in rig.rows(decision_points, order=decision_points.c.decision_time)]
            assert kept[0] == 3, "the last before the window stays: the replay starts there"

    asyncio.run(story())


async def _traded(rig: Rig) -> int:
    """Return an account that has traded for a while and has an open position; no bot runs."""
    account = rig.add_account(list(USDM), strategy=BUSY, risk=RISK)
    await rig.start_bot()
    assert await rig.command(account, "start") == "done"
    await rig.advance([account], 20)
    for _ in range(30):
        if rig.positions(account):
            break
        await rig.advance([account], 1)
    assert rig.positions(account)
    await rig.stop_bot()
    return account


def _version(rig: Rig, account: int) -> int:
    """Return the parameter version an account decides with."""
    return int(rig.one(account_states, account_states.c.account_id == account).parameter_version)


def _entries(rig: Rig, account: int) -> list[Any]:
    """Return the entry orders that filled something."""
    orders = tables.orders.c
    return rig.rows(tables.orders, orders.account_id == account, orders.purpose == "entry", orders.status == "filled")


def _unprove(connection: sa.Connection, account: int) -> None:
    """Let an account wait for a replay by the sources of this process."""
    values = {"state": "unproven", "found_hash": HERE, "version": 1}
    connection.execute(sa.update(code_pins).where(code_pins.c.account_id == account).values(values))


def _edit(connection: sa.Connection, decision: int, **values: Any) -> None:
    """Let the journal say something else."""
    connection.execute(sa.update(decisions).where(decisions.c.id == decision).values(**values))

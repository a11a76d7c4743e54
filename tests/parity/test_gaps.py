"""Where candles are missing the bot does what the backtest does: an entry is dropped, an exit waits for the next open."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ctp.storage.tables import notices
from tests.parity.test_bot_backtest import HISTORY, compare
from tests.trading.rig import HOUR, START, trading_rig, walk

SPOT, PERPETUAL = ("BTC/USDT", "ETH/USDT"), ("BTC/USDT:USDT", "ETH/USDT:USDT")
# In and out all the time, so that every gap meets plans.
BUSY = {"volume_factor": 0, "oversold": 52, "overbought": 55, "period": 5, "warm_up": 60, "stop_loss": 0.03, "take_profit": 0}


def cut(rows: dict[str, np.ndarray], missing: set[int]) -> dict[str, np.ndarray]:
    """Take candles out."""
    kept = np.array([row not in missing for row in range(len(rows["ts"]))])
    return {name: values[kept] for name, values in rows.items()}


@pytest.mark.parametrize(("symbols", "slots"), [(SPOT, 2), (PERPETUAL, 1)])
def test_gaps_of_one_symbol_and_of_all_leave_bot_and_backtest_equal(
    symbols: tuple[str, str], slots: int, tmp_path: Path
) -> None:
    count, seed = 90, 9
    chance = np.random.default_rng(seed)
    holes = [set(), set()]
    for start in range(HISTORY + 4, HISTORY + count, 5):  # every few candles: of the first, of the second, of both
        length = int(chance.integers(1, 4))
        for number in ((0,), (1,), (0, 1))[start // 5 % 3]:
            holes[number] |= set(range(start, start + length))
    tick = 0.01 if symbols is SPOT else 0.1
    columns = {
        symbol: cut(walk(2 * seed + number, HISTORY + count + 2, price, tick=tick), missing)
        for number, (symbol, price, missing) in enumerate(zip(symbols, (60_000.0, 3_000.0), holes, strict=True))
    }
    times = np.unique(np.concatenate([rows["ts"] for rows in columns.values()]))
    whole = int(np.sum(np.diff(times[HISTORY:]) > HOUR))  # a gap of all symbols takes a step of its own
    moves = int(np.sum(times >= times[HISTORY])) + whole - 3
    risk = {"max_drawdown": 1, "max_open_positions": slots}
    result, journal = asyncio.run(compare(tmp_path, columns, BUSY, risk, moves))
    assert result.dropped_entries >= 3
    starts = set(START + np.arange(HISTORY + count + 2) * HOUR)
    dropped = [
        row for row in journal
        if row.reason == "gap_in_data" and row.candle_time in starts and "size" in json.loads(row.numbers)
    ]  # fmt: skip
    assert len(dropped) == result.dropped_entries, "the journal says of each what became of it"
    refused = [row for row in journal if row.outcome == "refused" and "size" not in json.loads(row.numbers)]
    for reason, times_refused in result.refusals.items():
        if times_refused and reason != "warming_up":
            assert sum(row.reason == reason for row in refused) == times_refused


def recorded(file: Path, until_gap: int, count: int) -> dict[str, np.ndarray]:
    """Return recorded candles, so many of them, `until_gap` being an open time a little after the history."""
    frame = pd.read_parquet(file)
    first = int(np.searchsorted(frame["ts"].to_numpy(), until_gap)) - HISTORY - 20
    frame = frame.iloc[first : first + HISTORY + count]
    return {name: frame[name].to_numpy() for name in ("ts", "open", "high", "low", "close", "volume")}


def gaps_in(columns: dict[str, dict[str, Any]], length: int) -> int:
    """Return how many gaps lie in the part that is traded."""
    times = np.unique(np.concatenate([rows["ts"] for rows in columns.values()]))
    return int(np.sum(np.diff(times[HISTORY:]) > length))


def test_recorded_outages_of_binance_leave_bot_and_backtest_equal(shared_data: Path, tmp_path: Path) -> None:
    june_2018 = json.loads((shared_data / "known_gaps.json").read_text())["gaps"]["binance_BTCUSDT_1h.parquet"][3][0]
    columns = {
        symbol: recorded(shared_data / f"binance_{symbol.replace('/', '')}_1h.parquet", june_2018, 230) for symbol in SPOT
    }
    gaps = gaps_in(columns, HOUR)
    assert gaps >= 3
    asyncio.run(compare(tmp_path, columns, BUSY, {"max_drawdown": 1}, 225 + gaps))


def test_recorded_gaps_of_upbit_leave_bot_and_backtest_equal(shared_data: Path, tmp_path: Path) -> None:
    """Minutes in won, traded as if they were dollars: the rules of a symbol do not matter here."""
    frame = pd.read_parquet(shared_data / "upbit_BTCKRW_1m_gappy.parquet")
    times = frame["ts"].to_numpy()
    gap = int(times[np.flatnonzero(np.diff(times) > 60_000)[3]])
    columns = {"BTC/USDT": recorded(shared_data / "upbit_BTCKRW_1m_gappy.parquet", gap, 240)}
    gaps = gaps_in(columns, 60_000)
    assert gaps >= 2
    strategy = BUSY | {"stop_loss": 0.002}
    asyncio.run(
        compare(tmp_path, columns, strategy, {"max_drawdown": 1}, 235 + gaps, timeframe="1m", capital=Decimal(100_000_000))
    )


def test_an_exit_in_a_gap_waits_quietly_and_leaves_at_the_next_open(tmp_path: Path) -> None:
    """One notice, an attempt or two for each candle: no hammering at a closed market."""

    async def journey() -> None:
        columns = {"BTC/USDT:USDT": walk(7, HISTORY + 60, 60_000.0, tick=0.1)}
        async with trading_rig(tmp_path, columns, history=HISTORY) as rig:
            account = rig.add_account(list(columns), strategy=BUSY, risk={"max_drawdown": 1})
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            while not rig.exits_due(account):
                rig.exchange.halt("BTC/USDT:USDT", halted=False)
                await rig.advance([account])
                if rig.positions(account):
                    rig.exchange.halt("BTC/USDT:USDT")
                    await rig.advance([account])
            tried = len(rig.exits_due(account))
            assert tried == 1
            for seen in range(1, 4):
                await rig.advance([account])
                await rig.until(lambda n=tried + seen: len(rig.exits_due(account)) >= n, "tried again at a new candle")
            assert len(rig.exits_due(account)) <= tried + 2 * 3  # by the decision, and by its being due
            told = [json.loads(row.facts)["what"] for row in rig.rows(notices, notices.c.kind == "system_error")]
            assert told == ["symbol_halted"]
            rig.exchange.halt("BTC/USDT:USDT", halted=False)
            await rig.advance([account])  # the rig waits for exits that are due
            await rig.until(lambda: not rig.positions(account), "left at the open")
            assert [row.exit_reason for row in rig.trades(account)][-1] == "exit_signal"

    asyncio.run(journey())

"""The trial ledger: every try counts, the same try once, and no run ever fails by it."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

import ctp
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import RsiMeanReversion
from ctp.market.candles import Candles
from ctp.research.backtest import prepare
from ctp.research.grid import full_grid
from ctp.research.trial_ledger import (
    MOST_KEPT,
    NOTHING,
    Sketch,
    parameters_of,
    past_trials,
    sketch_of,
    united,
    with_trials,
)
from ctp.storage.database import Database
from ctp.storage.tables import trials
from tests.research.markets import market

RISK = DynamicRiskManager().for_market(False)


@pytest.fixture
def candles() -> Candles:
    """Return a short market."""
    return market(1, 900)


@pytest.fixture
def ledger(home: Path) -> Iterator[Database]:
    """Return the database of a home of its own."""
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    database.migrate()
    yield database
    database.close()


def counted(candles: Candles) -> Sketch:
    """Return what the ledger knows about these candles."""
    found = past_trials(prepare(None, None, candles, None, None, (), (), 10_000.0))
    assert found is not None
    return found


def test_the_same_parameters_are_one_trial_whichever_of_them_were_axes() -> None:
    grid = full_grid(RsiMeanReversion(), RISK, {"period": range(5, 15), "risk_per_trade": [0.01, 0.02]}, is_perpetual=False)
    swept = sketch_of(RsiMeanReversion(), RISK, grid, np.arange(20.0))
    assert len(set(swept.fingerprints.tolist())) == 20 and swept.is_exact and swept.distinct == 20
    single = sketch_of(RsiMeanReversion(period=7), RISK.with_values({"risk_per_trade": 0.02}), None, np.array([1.0]))
    assert single.fingerprints[0] in swept.fingerprints
    place = swept.fingerprints.tolist().index(int(single.fingerprints[0]))
    assert grid.values(int(swept.sharpes[place])) == {"period": 7, "risk_per_trade": 0.02}
    other = sketch_of(RsiMeanReversion(period=7, take_profit=0.05), RISK, None, np.array([1.0]))
    assert other.fingerprints[0] not in swept.fingerprints


def test_kept_sets_give_their_parameters_back() -> None:
    grid = full_grid(RsiMeanReversion(), RISK, {"period": [5, 6], "leverage": [1]}, is_perpetual=False)
    swept = sketch_of(RsiMeanReversion(oversold=25), RISK, grid, np.zeros(2))
    found = [parameters_of(kept) for kept in swept.sets.values()]
    assert {pair[0].to_dict()["period"] for pair in found if pair} == {5, 6}
    assert all(pair is not None and pair[0].to_dict()["oversold"] == 25.0 and pair[1] == RISK for pair in found)
    assert parameters_of({"strategy": "gone", "values": {}, "risk": {}}) is None


@pytest.mark.parametrize("distinct", [500, 40_000, 300_000])
def test_many_trials_are_counted_within_a_few_per_cent_in_bounded_memory(distinct: int) -> None:
    chance = np.random.default_rng(distinct)
    fingerprints = chance.integers(0, 2**64, distinct, dtype=np.uint64)
    sharpes = chance.normal(0.3, 0.8, distinct)
    found = NOTHING
    for first in range(0, distinct, distinct // 5):  # each part overlaps the one before by half
        part = slice(max(0, first - distinct // 10), first + distinct // 5)
        order = np.argsort(fingerprints[part])
        sketch = Sketch(fingerprints[part][order][:MOST_KEPT], sharpes[part][order][:MOST_KEPT], {}, len(order))
        found = united([found, sketch])
    assert len(found.fingerprints) <= MOST_KEPT
    assert found.distinct == pytest.approx(distinct, rel=0.07) and found.runs > distinct
    count, total, squares = found.moments
    assert total / count == pytest.approx(0.3, abs=0.08)
    assert squares / count - (total / count) ** 2 == pytest.approx(0.64, rel=0.12)
    if distinct < MOST_KEPT:
        assert (count, total) == (distinct, pytest.approx(sharpes.sum()))


def test_sweeps_and_backtests_note_themselves_and_repeats_count_once(ledger: Database, candles: Candles) -> None:
    for _ in range(2):
        ctp.sweep(candles=candles, quiet=True, period=[7, 14], oversold=[25, 30])
    ctp.backtest(candles=candles)  # period 14, oversold 30 again
    ctp.backtest(RsiMeanReversion(oversold=1), candles=candles)  # never trades: a trial all the same
    ctp.backtest(RsiMeanReversion(oversold=2), candles=candles, is_trial=False)
    found = counted(candles)
    assert (found.distinct, found.runs) == (5.0, 10)
    assert found.moments[0] == 4.0
    with ledger.reading() as connection:
        row = connection.execute(sa.select(trials)).one()
    assert (row.symbols, row.timeframe, row.runs, row.distinct) == ("BTC/USDT", "1h", 10, 5.0)


def test_trials_count_where_symbol_timeframe_and_months_overlap(ledger: Database, candles: Candles) -> None:
    later = dataclasses.replace(candles, time=candles.time + 365 * 24 * 3_600_000)
    ether = dataclasses.replace(candles, symbol="ETH/USDT")
    ctp.backtest(RsiMeanReversion(period=5), candles=candles)
    ctp.backtest(RsiMeanReversion(period=6), candles=candles.between(None, int(candles.time[600])))
    ctp.backtest(RsiMeanReversion(period=7), candles=later)
    ctp.backtest(RsiMeanReversion(period=8), candles=ether)
    ctp.backtest(RsiMeanReversion(period=9), candles=[candles, ether])
    assert counted(candles).distinct == 3 and counted(later).distinct == 1 and counted(ether).distinct == 2


def test_nothing_fails_without_a_database_or_with_one_that_is_locked(home: Path, candles: Candles) -> None:
    ctp.backtest(candles=candles)
    assert not (home / "ctp.db").exists()
    database = Database(f"sqlite:///{home / 'ctp.db'}")
    database.migrate()
    database.close()
    with sqlite3.connect(home / "ctp.db") as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(ctp.sweep(candles=candles, quiet=True, period=[7]).table) == 1
        other.rollback()
    assert counted(candles).distinct == 0
    (home / "ctp.db").write_bytes(b"no database")
    ctp.backtest(candles=candles)


def test_two_writers_lose_no_trial(ledger: Database, candles: Candles) -> None:
    ready = prepare(None, None, candles, None, None, (), (), 10_000.0)

    def note(number: int) -> None:
        with_trials(ledger, ready, sketch_of(RsiMeanReversion(period=number), RISK, None, np.array([0.1])))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(note, range(2, 34)))
    assert counted(candles).distinct == 32


def test_earlier_trials_deflate_what_is_found_now(ledger: Database) -> None:
    """The same sweep is worth less after four times as many other combinations were tried."""
    candles = market(1, 6_000, planted=0.02)
    axes: dict[str, Any] = {"period": [7, 14], "oversold": [30, 35], "overbought": [60, 70]}
    grid = ctp.sweep(candles=candles, quiet=True, **axes)
    before = ctp.validate(grid, quiet=True).deflated
    assert before.from_ledger and (before.trials, before.runs) == (8.0, 8)
    ctp.sweep(
        candles=candles, quiet=True, period=[3, 5, 21, 30], direction=["long"], oversold=[20, 40], overbought=[55, 80],
        stop_loss=[0.01, 0.1], signal=["momentum", "reversion"],
    )  # fmt: skip
    after = ctp.validate(grid, quiet=True).deflated
    assert after.trials == 8 + 64 and after.sharpe == before.sharpe
    assert after.effective_trials > before.effective_trials and after.luck > before.luck
    assert after.probability is not None and before.probability is not None and after.probability < before.probability

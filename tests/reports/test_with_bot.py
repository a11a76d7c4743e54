"""A report on what the real bot left after trading on the simulated exchange."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from ctp.accounts.visible import Visible
from ctp.reports.due import due_reports, market_now
from ctp.reports.extract import extract, read_scope, reader_of
from ctp.reports.extracted import read_extract
from ctp.reports.figures import figures, is_whole
from ctp.reports.periods import days
from ctp.reports.report import Report
from ctp.reports.sections import DEFAULT_SECTIONS
from ctp.storage.tables import equity_samples, trades, users
from tests.trading.rig import HOUR, START, Rig, trading_rig, walk

SYMBOLS = {"BTC/USDT:USDT": (60_000.0, 0.1), "ETH/USDT:USDT": (3_000.0, 0.01)}
HISTORY, CANDLES = 100, 90
STRATEGY = {"oversold": 45, "overbought": 55, "direction": "both", "stop_loss": 0.01, "take_profit": 0.015, "volume_factor": 0,
            "period": 7, "warm_up": 60}  # fmt: skip


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Let the bot trade for four days of a recorded market; returns (database, settings, account)."""
    folder = tmp_path_factory.mktemp("bot")
    columns: dict[str, dict[str, Any]] = {}
    for seed, (symbol, (price, tick)) in enumerate(SYMBOLS.items()):
        rows: dict[str, Any] = dict(walk(seed + 5, HISTORY + CANDLES + 2, price, tick=tick))
        times = START + np.arange(0, (HISTORY + CANDLES) * HOUR, 8 * HOUR)
        rows["funding"] = {"ts": times, "rate": np.full(len(times), 0.0002)}
        columns[symbol] = rows
    return asyncio.run(_trade(folder, columns))


async def _trade(folder: Path, columns: dict[str, dict[str, Any]]) -> Any:
    """Run bot and exchange, and keep the database."""
    async with trading_rig(folder, columns, history=HISTORY) as rig:
        account = rig.add_account(list(SYMBOLS), strategy=STRATEGY, risk={"max_drawdown": 1}, capital=Decimal("9876.5"))
        await rig.start_bot()
        assert await rig.command(account, "start") == "done"
        await rig.advance([account], CANDLES)
        await rig.stop_bot()
        return rig, account


def test_the_books_of_the_report_are_the_bots_and_equal_every_sample(traded: Any, tmp_path: Path) -> None:
    rig, account = traded
    told, whole = _figures(rig, account, tmp_path)
    assert whole.account["has_own_time"]
    assert told.books_differ == 0
    closed = rig.rows(trades, trades.c.account_id == account)
    inside = [row for row in closed if whole.period.start_ms <= row.exit_time // HOUR * HOUR < told.span.end.time]
    assert len(inside) == len(told.trades) >= 8
    gross = sum(row.pnl + row.fee - row.funding for row in inside)
    assert float(told.span.realised) == pytest.approx(gross, abs=0.005)
    samples = rig.rows(equity_samples, equity_samples.c.account_id == account, order=equity_samples.c.time)
    first = next(row for row in samples if row.time == told.span.start.time)
    last = next(row for row in samples if row.time == told.span.end.time)
    assert float(told.span.pnl) == pytest.approx(last.equity - first.equity, abs=1e-9)
    assert told.span.funding != 0


def test_the_bots_own_rows_name_reasons_decided_prices_and_entry_equity(traded: Any, tmp_path: Path) -> None:
    rig, account = traded
    told, whole = _figures(rig, account, tmp_path)
    fills = [row for row in whole.ledger if row.kind == "fill"]
    assert {row.purpose for row in fills} >= {"entry", "stop"}
    assert all(row.decided_price is not None for row in fills if row.purpose in ("entry", "exit", "stop", "take"))
    assert told.slippage.fills > 8
    assert all(row.entry_equity and json.loads(row.entry_numbers)["rsi"] for row in told.trades)
    assert told.largest_loss is not None and 0 < told.largest_loss < 0.03
    for language in ("ko", "en"):
        report = Report(whole, language)
        page = "".join((report.top(), report.result(), report.trades(), report.operation(), report.tomorrow()))
        assert "RSI" in page
        assert "books" not in "".join(one.key for one in report.told.findings)


def test_a_simulated_market_of_another_year_is_reported_on_its_own_days(traded: Any, tmp_path: Path) -> None:
    rig, account = traded
    with rig.database.reading() as connection:
        actor, _ = reader_of(connection, _owner(rig))
        scope = read_scope(Visible(connection, actor), account)
        now = int(connection.execute(sa.select(sa.func.max(users.c.created_at))).scalar_one()) + 1_800_000_000_000
        assert market_now(connection, scope.account, now) == START + (HISTORY + CANDLES) * HOUR
        due = due_reports(connection, now)
    assert [one.kind for one in due] == ["daily", "weekly"]  # its first month is not over
    assert due[0].period.startswith("2023-11-")


def _figures(rig: Rig, account: int, folder: Path) -> Any:
    """Extract all complete days as one period, and compute."""
    target = folder / "extract"
    target.mkdir()
    with rig.database.reading() as connection:
        actor, reader = reader_of(connection, _owner(rig))
        scope = read_scope(Visible(connection, actor), account)
        newest = scope.zone.day_of(market_now(connection, scope.account, 0))
        first = scope.zone.day_of(START + HISTORY * HOUR)
        period = days("daily", first, newest - timedelta(days=1), scope.zone)
        extract(connection, rig.settings, scope, reader, period, DEFAULT_SECTIONS, target, 0)
    found = read_extract(target)
    told = figures(found)
    assert not is_whole(found.period, told.span) or told.span.start is not None
    return told, found


def _owner(rig: Rig) -> int:
    """Return the account's owner."""
    return int(rig.rows(users)[0].id)

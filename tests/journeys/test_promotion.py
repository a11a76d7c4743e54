"""Journey: a notebook's sweep, validated, promoted to paper; the bot decides with those very parameters, and alike."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import ctp
from ctp.accounts.sources import source_hash
from ctp.errors import InputError
from ctp.market.candles import Candles
from ctp.storage.tables import code_pins, parameter_versions
from tests.parity.test_bot_backtest import _check
from tests.trading.rig import trading_rig, walk

SYMBOL = "BTC/USDT:USDT"
HISTORY, TRADED = 1_800, 40
COLUMNS = {SYMBOL: walk(8, HISTORY + TRADED + 5, 60_000.0, tick=0.1)}


def test_what_a_notebook_found_is_what_the_bot_decides_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {name: values[:HISTORY] for name, values in COLUMNS[SYMBOL].items()}
    columns = (rows[name] for name in ("ts", "open", "high", "low", "close", "volume"))
    candles = Candles.checked(SYMBOL, "1h", "binanceusdm", *columns)
    strategy = ctp.RsiMeanReversion(volume_factor=0.3, warm_up=60, overbought=58, stop_loss=0.015, take_profit=0.02)
    risk = ctp.DynamicRiskManager(max_drawdown=1, leverage=5)
    grid = ctp.sweep(strategy, risk, candles, period=[5, 7], oversold=[40.0, 44.0], quiet=True)
    found = ctp.validate(grid, folds=2, seed=1, quiet=True)
    asyncio.run(_journey(tmp_path, monkeypatch, grid.best, found))


async def _journey(folder: Path, monkeypatch: pytest.MonkeyPatch, best: Any, found: Any) -> None:
    async with trading_rig(folder, COLUMNS, history=HISTORY) as rig:
        account = rig.add_account([SYMBOL], capital=Decimal("9876.5"))
        with monkeypatch.context() as notebook:
            notebook.setenv("CTP_HOME", str(folder))
            made = await asyncio.to_thread(ctp.promote, best, to="paper", validation=found, reason="best of the plateau")
            if found.verdict != "green":
                with pytest.raises(InputError, match="no live account"):
                    ctp.promote(best, to="live", validation=found)
        assert (made.account_id, made.version, made.verdict) == (account, 1, found.verdict)
        row = rig.one(parameter_versions, parameter_versions.c.account_id == account)
        assert (row.fingerprint, row.data_hash) == (found.fingerprint, found.data_hash)
        assert row.source_hash == found.source_hash == source_hash("rsi_mean_reversion")
        await rig.start_bot()
        assert await rig.command(account, "start") == "done"
        await rig.advance([account], TRADED)
        await rig.stop_bot()
        result = _check(rig, account, COLUMNS, "1h", 2)
        assert result.strategy == best.strategy == found.strategy
        assert result.risk.to_dict() == best.risk.to_dict()
        assert rig.one(code_pins, code_pins.c.account_id == account).state == "pinned"



"""The bot's limit entries over the simulated exchange equal the backtest's, to the bit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctp.storage.tables import orders
from tests.parity.test_bot_backtest import PERPETUALS, SPOT, _columns, compare

CANDLES = 130
OFTEN = {"period": 5, "warm_up": 60, "volume_factor": 0, "oversold": 48, "overbought": 60, "limit_offset": 0.002}


def jolted(rows: dict[str, Any], tick: float) -> dict[str, Any]:
    """Return candles whose opens jump away from the last close, some beyond the limit."""
    chance = np.random.default_rng(4)
    moved = rows["open"] * (1 + 0.002 * chance.standard_normal(len(rows["open"])))
    opened = np.round(np.round(moved / tick) * tick, 10)
    return {**rows, "open": opened, "high": np.maximum(rows["high"], opened), "low": np.minimum(rows["low"], opened)}


@pytest.mark.parametrize(
    ("symbols", "strategy", "risk"),
    [
        (PERPETUALS, {**OFTEN, "direction": "both", "stop_loss": 0.008, "take_profit": 0.006}, {"leverage": 5}),
        (SPOT, {**OFTEN, "stop_loss": 0.006, "take_profit": 0.004}, {}),
    ],
    ids=["perpetual, both directions", "spot"],
)
def test_the_bot_enters_by_limit_as_the_backtest_does(
    symbols: Any, strategy: dict[str, Any], risk: dict[str, Any], tmp_path: Path
) -> None:
    symbol, (price, tick) = next(iter(symbols.items()))
    columns = _columns({symbol: (price, tick)}, 100 + CANDLES + 2)
    columns[symbol] = jolted(columns[symbol], tick)
    result, _ = asyncio.run(compare(tmp_path, columns, strategy, {"max_drawdown": 1, **risk}, CANDLES))
    assert result.unfilled_entries > 5
    at_once = {one["exit_reason"] for one in result.closed_trades if one["exit_time"] == one["entry_time"]}
    assert "stop_loss" in at_once, "no stop was met in the candle of its entry"
    assert orders is not None

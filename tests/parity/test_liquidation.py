"""A position that the exchange liquidates is the same trade in bot and backtest."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.test_bot_backtest import HISTORY, compare
from tests.trading.rig import HOUR, START, walk

BTC = "BTC/USDT:USDT"
# Always in the market, at ten times leverage, with a stop just this side of liquidation.
LONG = {"volume_factor": 0, "oversold": 98, "overbought": 99, "warm_up": 60, "stop_loss": 0.09, "take_profit": 0, "cooldown": 2}
SHORT = LONG | {"direction": "short", "oversold": 1, "overbought": 2}
RISK = {"leverage": 10, "risk_per_trade": 0.02, "liquidation_buffer": 0, "max_drawdown": 1}


def jumping(factor: float, jumps: tuple[int, ...], mark_jumps: tuple[int, ...]) -> dict[str, Any]:
    """Return quiet candles whose price jumps at some opens; the mark price jumps at these and for a candle at others."""
    count = HISTORY + 80
    rows: dict[str, Any] = dict(walk(3, count, 60_000.0, tick=0.1, volatility=0.0005))
    for jump in jumps:
        for name in ("open", "high", "low", "close"):
            rows[name][jump:] = np.round(rows[name][jump:] * factor, 1)
    mark = {name: rows[name].copy() for name in ("ts", "open", "high", "low", "close")}
    for jump in mark_jumps:
        mark["open"][jump] = mark["open"][jump] * factor
        mark["low"][jump] = min(mark["low"][jump], mark["open"][jump])
        mark["high"][jump] = max(mark["high"][jump], mark["open"][jump])
    times = START + np.arange(0, count * HOUR, 8 * HOUR)
    return rows | {"mark": mark, "funding": {"ts": times, "rate": np.full(len(times), 0.0001)}}


@pytest.mark.parametrize(("strategy", "factor"), [(LONG, 0.85), (SHORT, 1.15)])
def test_a_liquidated_position_is_the_same_trade(strategy: dict[str, Any], factor: float, tmp_path: Path) -> None:
    """Through stop and liquidation at an open, by the last price and by the mark price alone; one a day, or the day locks."""
    columns = {BTC: jumping(factor, (HISTORY + 12, HISTORY + 38), (HISTORY + 62,))}
    result, journal = asyncio.run(compare(tmp_path, columns, strategy, RISK, 76, least_trades=3))
    assert [trade["exit_reason"] for trade in result.closed_trades] == ["liquidation"] * 3
    assert "cooldown" in {row.reason for row in journal}
    losses = [trade["pnl"] for trade in result.closed_trades]
    margins = [trade["margin"] for trade in result.closed_trades]
    assert all(-loss > margin for loss, margin in zip(losses, margins, strict=True)), json.dumps([losses, margins])

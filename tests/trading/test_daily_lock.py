"""The day's loss limit on equity with open P&L: reached inside a candle, it locks at once, once, and until the next day."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs, MarketRules
from ctp.core.strategies import RsiMeanReversion
from ctp.core.trader import start_account, start_trader
from ctp.core.types import LONG, NO_POSITION, Candle
from ctp.storage.tables import account_states, decisions, ledger, notices
from ctp.trading.decision import Rules
from ctp.trading.equity_watch import breach_between_closes
from ctp.trading.exchange import CandleUpdate
from ctp.trading.fold import Folded, Memory
from ctp.trading.replay import read_replay
from ctp.trading.store import View
from tests.trading.rig import HOUR, START, Rig, trading_rig

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
FIRST, DIP, NEXT_DAY = 100, 112, 134  # candles; those of 110 and 134 close at midnight, +09:00


def columns(price: float, tick: float, *, climbs: bool) -> dict[str, np.ndarray]:
    """Return quiet candles; with `climbs` the price rises by a fifth before midnight and dips for a moment after it."""
    close = price * (1 + 0.001 * (np.arange(160) % 2))
    if climbs:
        for row in range(102, 110):
            close[row] = close[row - 1] * (1.03 if row % 2 == 0 else 1.02)
            close[row] *= 0.995 if row == 105 else 1.0
        close[110:] = close[109] * (1 - 0.001 * (np.arange(50) % 2))
    close = np.round(np.round(close / tick) * tick, 10)
    opened = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    if climbs:
        low[DIP] = np.round(np.round(close[DIP] * 0.93 / tick) * tick, 10)
    volume = np.ones(160)
    return {"ts": START + np.arange(160) * HOUR, "open": opened, "high": high, "low": low, "close": close, "volume": volume}


# One position takes the only slot at once; nothing but the loss limit makes it leave.
HOLDER = {"volume_factor": 0, "oversold": 98, "overbought": 99.9, "warm_up": 60, "stop_loss": 0.04, "take_profit": 0}
RISK = {"risk_per_trade": 0.02, "leverage": 3, "max_open_positions": 1, "max_drawdown": 1}


async def walk_inside(rig: Rig, fraction: float) -> None:
    """Let the market show its path up to a part of the open candle."""
    points = 12
    for step in range(int(points * fraction)):
        rig.exchange.engine.walk((step + 1) / (points + 1), step, points)
        await rig.exchange.streams.flush()


def state_of(rig: Rig, account: int) -> Any:
    """Return the account's row."""
    return rig.one(account_states, account_states.c.account_id == account)


def reasons(rig: Rig, symbol: str, candle: int) -> tuple[str, str, dict[str, float]]:
    """Return outcome, reason and numbers of one decision."""
    row = rig.one(decisions, decisions.c.symbol == symbol, decisions.c.candle_time == START + candle * HOUR)
    return row.outcome, row.reason, json.loads(row.numbers)


@pytest.mark.parametrize("on_daily_loss", ["lock", "close"])
def test_a_breach_inside_a_candle_locks_the_day_at_once_and_until_the_next(on_daily_loss: str, tmp_path: Path) -> None:
    async def journey() -> None:
        made = {BTC: columns(60_000.0, 0.1, climbs=True), ETH: columns(3_000.0, 0.01, climbs=False)}
        async with trading_rig(tmp_path, made, history=FIRST) as rig:
            account = rig.add_account([BTC, ETH], strategy=HOLDER, risk=RISK | {"on_daily_loss": on_daily_loss})
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            await rig.advance([account], DIP - FIRST)
            before = state_of(rig, account)
            assert not before.daily_locked and before.day_start_equity > 10_500
            assert reasons(rig, ETH, DIP - 1)[:2] == ("refused", "max_open_positions")

            await walk_inside(rig, 0.7)  # down to the low and half the way up again
            await rig.until(lambda: bool(state_of(rig, account).daily_locked), "the day is locked inside the candle")
            lock = rig.one(ledger, ledger.c.kind == "lock")
            assert START + DIP * HOUR < lock.time < START + (DIP + 1) * HOUR
            assert float(lock.amount) <= 0.97 * before.day_start_equity

            await rig.stop_bot()  # the lock survives a restart in the middle of the candle
            await rig.start_bot()
            await rig.advance([account], 1)
            outcome, reason, numbers = reasons(rig, BTC, DIP)
            assert numbers["equity"] > 0.97 * before.day_start_equity, "recovered by the close: the candles alone never lock"
            assert (numbers["locked_at"], numbers["lock_equity"]) == (lock.time, float(lock.amount))
            assert (outcome, reason) == (("exit", "daily_loss") if on_daily_loss == "close" else ("hold", "hold"))
            assert reasons(rig, ETH, DIP)[:2] == ("refused", "daily_loss_lock")

            await rig.advance([account], NEXT_DAY - DIP - 1)
            closed = ["daily_loss"] if on_daily_loss == "close" else []
            assert [row.exit_reason for row in rig.trades(account)] == closed
            assert reasons(rig, ETH, NEXT_DAY - 1)[:2] == ("refused", "daily_loss_lock")
            assert state_of(rig, account).daily_locked
            await rig.advance([account], 1)
            assert not state_of(rig, account).daily_locked
            assert reasons(rig, BTC, NEXT_DAY)[0] == ("enter" if on_daily_loss == "close" else "hold")

            told = [json.loads(row.facts) for row in rig.rows(notices, notices.c.kind == "system_error")]
            locked = [facts for facts in told if facts["what"] == "daily_loss_lock"]
            assert len(locked) == 1, "told once"
            assert locked[0]["day_pnl"] == pytest.approx(float(lock.amount) - before.day_start_equity)
            with rig.database.reading() as connection:
                assert read_replay(connection, account).locks == {lock.time: float(lock.amount)}

    asyncio.run(journey())


def test_a_market_that_shows_no_price_between_closes_locks_at_the_close_alone(tmp_path: Path) -> None:
    async def journey() -> None:
        made = {BTC: columns(60_000.0, 0.1, climbs=True)}
        async with trading_rig(tmp_path, made, history=FIRST) as rig:
            account = rig.add_account([BTC], strategy=HOLDER, risk=RISK)
            await rig.start_bot()
            assert await rig.command(account, "start") == "done"
            await rig.advance([account], DIP + 2 - FIRST)
            assert not state_of(rig, account).daily_locked
            assert not rig.rows(ledger, ledger.c.kind == "lock")

    asyncio.run(journey())


RULES = Rules(
    RsiMeanReversion().values(),
    DynamicRiskManager(daily_loss_limit=0.03).for_market(True).values(),
    (MarketRules(is_perpetual=True, tick=Decimal("0.1"), lot=Decimal("0.001")).market(Costs(fee=0.0005)),),
    HOUR,
    1,
)


def holding(entry_time: int, day: int) -> View:
    """Return an account that decided at hour 0 and holds a size of 10, bought at 100; a price of 70 is the limit."""
    position = NO_POSITION._replace(side=LONG, lots=10_000, entry_price=100.0, entry_time=entry_time)
    state = start_trader(RULES.strategy)._replace(position=position, time=0, close=100.0)
    money = start_account(10_000.0)._replace(day=day, is_started=1)
    memory = Memory((BTC,), (state,), money, {}, {}, 0, 0, ())
    return View(memory, Folded(memory, ()), (), {}, {}, {})


@pytest.mark.parametrize(
    ("time", "price", "entry_time", "day", "is_breach"),
    [
        (HOUR + 1, 70.0, 0, 0, True),  # touched
        (HOUR + 1, 70.1, 0, 0, False),
        (HOUR, 70.0, 0, 0, False),  # the open belongs to the decision before it
        (2 * HOUR, 70.0, 0, 0, False),  # and the close to the decision there
        (HOUR + 1, 70.0, HOUR + 2, 0, False),  # the price is older than the position
        (HOUR + 2, 70.0, HOUR + 2, 0, True),
        (HOUR + 1, 70.0, 0, -1, False),  # a new day has begun: its first decision opens it
    ],
)
def test_which_prices_reach_the_limit(time: int, price: float, entry_time: int, day: int, is_breach: bool) -> None:
    candle = Candle(HOUR, 100.0, 100.0, price, price, 1.0)
    found = breach_between_closes(holding(entry_time, day), RULES, {BTC: CandleUpdate(BTC, "1h", candle, False, time)})
    assert (found is not None) == is_breach
    if found is not None:
        assert found.equity == 10_000.0 - 300.0

"""A server that trades, is backed up, is lost, and comes back from one of its backups while the exchange went on."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from pathlib import Path
from typing import Any

from ctp.backup.create import make_backup
from ctp.backup.points import list_points
from ctp.backup.restore import restore_home
from ctp.backup.target import LocalTarget
from ctp.config import DatabaseSettings, Settings
from ctp.storage.database import Database
from ctp.storage.tables import account_states, decisions, trades
from tests.trading.rig import START, Rig, trading_rig, walk
from tests.trading.truth import await_truth, position_sizes

HOUR = 3_600_000
BUSY = {"volume_factor": 0, "oversold": 50, "overbought": 51, "warm_up": 60, "stop_loss": 0.008, "take_profit": 0.01}


async def lose_and_restore(folder: Path, seed: int, venue: str, *, candles: int = 3) -> dict[str, Any]:
    """Run one story and return what it was like; fails when an invariant does not hold afterwards.

    candles: between two backups.
    """
    chance = random.Random(seed)
    market = ":USDT" if venue == "usdm" else ""
    columns = {f"BTC/USDT{market}": walk(seed, 400, 60_000.0, tick=0.1 if venue == "usdm" else 0.01)}
    if venue == "usdm":
        columns[f"ETH/USDT{market}"] = walk(seed + 1, 400, 3_000.0, tick=0.01)
    async with trading_rig(folder / "first", columns, history=100) as rig:
        exchange = "binanceusdm" if venue == "usdm" else "binance"
        rig.settings = _quick(rig.settings)
        account = rig.add_account(list(columns), exchange=exchange, strategy=BUSY, risk={"max_drawdown": 1})
        await rig.start_bot()
        assert await rig.command(account, "start") == "done"
        home = _with_database(rig.settings, folder / "first" / "ctp.db")
        await rig.advance([account], chance.randrange(1, 6))
        for number in range(6):
            kind = "full" if number == 0 else "incremental"
            database = Database(home.database_url)
            await asyncio.to_thread(
                make_backup, home, database, LocalTarget(home.backups), kind, START + number * HOUR
            )
            database.close()
            await rig.advance([account], chance.randrange(1, candles + 1))
        before = _story(rig, account)
        await rig.stop_bot()
        lost_candles = chance.randrange(0, 3)  # the server is gone; the exchange goes on
        for _ in range(lost_candles):
            await rig.exchange.advance()
        chosen = chance.choice(list_points(LocalTarget(home.backups))).id
        saved = _rescue(home, folder / "second" / "home")
        again = _with_database(rig.settings.model_copy(update={"home": saved}), folder / "second" / "ctp.db")
        restore_home(again, LocalTarget(again.backups), chosen, START + 30 * 24 * HOUR)
        rig.database.close()
        rig.database = Database(again.database_url)
        rig.settings = again
        state = rig.one(account_states, account_states.c.account_id == account)
        assert (state.status, state.status_reason) == ("paused", "restored")
        restored_from = state.decision_time
        await rig.start_bot()
        newest = int(rig.exchange.status()["candle"]) - HOUR  # type: ignore[call-overload]
        await rig.until(lambda: _decided(rig, account) >= newest, "caught up", 60.0)
        await await_truth(rig, account, 20.0)
        state = rig.one(account_states, account_states.c.account_id == account)
        assert state.status == "paused"
        after = _story(rig, account)
        known = {one.candle_time for one in before["decisions"]}
        again_decided = [one for one in after["decisions"] if one.candle_time in known]
        assert [_said(one) for one in again_decided] == [_said(one) for one in before["decisions"]]
        assert await rig.command(account, "start") == "done"
        await rig.advance([account], 8)
        await await_truth(rig, account, 20.0)
        result = {
            "seed": seed,
            "venue": venue,
            "backup": chosen,
            "relived_candles": sum(1 for one in known if one > restored_from),
            "lost_candles": lost_candles,
            "trades": len(_story(rig, account)["trades"]),
            "open": {name: str(size) for name, size in position_sizes(rig, account).items()},
        }
        await rig.stop_bot()
        return result


def _quick(settings: Settings) -> Settings:
    """Return settings with short windows, so that a lost order is given up soon."""
    trading = settings.trading.model_copy(update={"recv_window_ms": 300, "reconcile_every_s": 1.0})
    return settings.model_copy(update={"trading": trading})


def _with_database(settings: Settings, file: Path) -> Settings:
    """Return the settings with the database in a file."""
    return settings.model_copy(update={"database": DatabaseSettings(url=f"sqlite:///{file}")})


def _rescue(home: Settings, place: Path) -> Path:
    """Carry the archives and the backup key to an empty machine; returns the new home. The old one is gone."""
    place.mkdir(parents=True)
    shutil.copytree(home.backups, place / "backups")
    shutil.copytree(home.keys, place / "keys")
    shutil.rmtree(home.home)
    return place


def _decided(rig: Rig, account: int) -> int:
    """Return the candle an account has decided on last."""
    state = rig.one(account_states, account_states.c.account_id == account)
    return int(state.decision_time or 0)


def _story(rig: Rig, account: int) -> dict[str, list[Any]]:
    """Return what an account decided and traded."""
    return {
        "decisions": rig.rows(decisions, decisions.c.account_id == account, order=decisions.c.id),
        "trades": rig.trades(account) if account else rig.rows(trades),
    }


def _said(row: Any) -> tuple[Any, ...]:
    """Return what a decision said about a position; refusals from outside may differ after the fact."""
    numbers = json.loads(row.numbers)
    return (row.candle_time, row.symbol, row.outcome in ("enter", "exit"), numbers.get("entry_price"), numbers.get("stop"))

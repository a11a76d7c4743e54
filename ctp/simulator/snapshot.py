"""Accounts, orders, positions and market time on disk, so that a restarted exchange is the same exchange.

Owns `simulator-state.json` (0600: it holds the secrets of simulated keys) in the folder given. It is replaced whole
and fsynced. The feed is not in it: it must be the same one again, and prices go on at the open of the saved candle.

Invariant: a file that cannot be read, or that another format wrote, is refused by name and never half used.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from ctp.errors import DataDamaged
from ctp.simulator.certificates import write_private
from ctp.simulator.engine import Engine
from ctp.simulator.futures_account import FuturesAccount, Position
from ctp.simulator.keys import Key
from ctp.simulator.orders import Income, Order, Touch, Trade, Trigger
from ctp.simulator.rules import Bracket
from ctp.simulator.server import Server
from ctp.simulator.spot_account import Balance, SpotAccount

FILE = "simulator-state.json"
_FORMAT = 1


class Saved(NamedTuple):
    """A state file as read: the candle to go on from, and the rest for `restore`."""

    time: int
    content: dict[str, Any]


def write(folder: Path, engine: Engine, server: Server) -> None:
    """Save everything that clients can have caused."""
    market = engine.market
    counters = (market.order_ids, market.algo_ids, market.trade_ids, market.list_ids)
    content = {
        "format": _FORMAT, "time": engine.time, "counters": [counter.last for counter in counters],
        "symbols": list(engine.feed.symbols), "keys": [asdict(key) for key in server.keys.values()],
        "usdm": [_futures(account) for account in engine.futures.accounts.values()],
        "spot": [_spot(account) for account in engine.spot.accounts.values()],
    }  # fmt: skip
    write_private(folder / FILE, json.dumps(content).encode())


def _futures(account: FuturesAccount) -> dict[str, Any]:
    """Return a USDⓈ-M account as JSON values."""
    return {
        "key": account.key, "wallet": str(account.wallet), "leverages": account.leverages,
        "margin_types": account.margin_types,
        "positions": {symbol: asdict(position) for symbol, position in account.positions.items()},
        "orders": [asdict(order) for order in account.orders.values()],
        "triggers": [asdict(trigger) for trigger in account.triggers.values()],
        "trades": account.trades, "income": account.income,
    }  # fmt: skip


def _spot(account: SpotAccount) -> dict[str, Any]:
    """Return a spot account as JSON values."""
    return {
        "key": account.key, "uid": account.uid, "fee_side": account.fee_side, "may_withdraw": account.may_withdraw,
        "balances": {asset: [str(b.free), str(b.locked)] for asset, b in account.balances.items()},
        "orders": [asdict(order) for order in account.orders.values()], "trades": account.trades,
        "lists": [[number, client_id, orders] for number, (client_id, orders) in account.lists.items()],
    }  # fmt: skip


def read(folder: Path) -> Saved | None:
    """Return the saved state of a folder, or None when there is none.

    Raises DataDamaged when the file is there and cannot be used.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text())
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}, this program writes {_FORMAT}")
        return Saved(int(content["time"]), content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "remove it to start a new simulated exchange"
        raise DataDamaged(str(file), f"not a simulator state: {error}", remedy) from error


def restore(saved: Saved, engine: Engine, server: Server) -> None:
    """Put saved accounts into an engine that stands at the open of the saved candle.

    Raises DataDamaged when the file is incomplete or belongs to another set of symbols.
    """
    try:
        _restore(saved.content, engine, server)
    except (KeyError, TypeError, ValueError) as error:
        remedy = "start with the same feed, or remove it to start a new simulated exchange"
        raise DataDamaged(FILE, f"does not fit this exchange: {error!r}", remedy) from error


def _restore(content: dict[str, Any], engine: Engine, server: Server) -> None:
    """Rebuild keys, accounts, waiting orders and counters."""
    market = engine.market
    counters = (market.order_ids, market.algo_ids, market.trade_ids, market.list_ids)
    for counter, last in zip(counters, content["counters"], strict=True):
        counter.last = int(last)
    for row in content["keys"]:
        server.keys[row["key"]] = Key(**row)
    for row in content["usdm"]:
        futures = engine.futures.add_account(row["key"], Decimal(row["wallet"]))
        futures.leverages, futures.margin_types = row["leverages"], row["margin_types"]
        for symbol, position in row["positions"].items():
            futures.positions[symbol] = Position(**{**position, "bracket": Bracket(*position["bracket"])})
        futures.orders = {order["id"]: Order(**order) for order in row["orders"]}
        futures.triggers = {t["id"]: Trigger(**{**t, "touch": Touch(t["touch"])}) for t in row["triggers"]}
        futures.trades = [Trade(*trade) for trade in row["trades"]]
        futures.income = [Income(*line) for line in row["income"]]
        for order in futures.orders.values():
            if order.is_working:
                engine.futures.instruments[order.symbol].orders[order.id] = order
        for trigger in futures.triggers.values():
            if trigger.status == "NEW":
                engine.futures.instruments[trigger.symbol].triggers[trigger.id] = trigger
    for row in content["spot"]:
        spot = engine.spot.add_account(row["key"], {}, row["fee_side"], may_withdraw=row["may_withdraw"])
        spot.uid = row["uid"]
        for asset, (free, locked) in row["balances"].items():
            spot.balances[asset] = Balance(Decimal(free), Decimal(locked))
        spot.orders = {order["id"]: Order(**order) for order in row["orders"]}
        spot.trades = [Trade(*trade) for trade in row["trades"]]
        spot.lists = {number: (client_id, tuple(orders)) for number, client_id, orders in row["lists"]}
        for order in spot.orders.values():
            if order.is_working:
                engine.spot.instruments[order.symbol].orders[order.id] = order

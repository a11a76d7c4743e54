"""The invariants of money, checked against what the simulated exchange knows."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from decimal import Decimal
from typing import Any

from ctp.core.orders import FINAL
from ctp.storage.tables import account_states, ledger, orders
from tests.trading.rig import Rig

WORKING = ("NEW", "PARTIALLY_FILLED")


def position_sizes(rig: Rig, account_id: int) -> dict[str, Decimal]:
    """Return the signed sizes that our database has open."""
    state = rig.one(account_states, account_states.c.account_id == account_id)
    return {
        one["symbol"]: Decimal(one["size"]) * (1 if one["side"] == "long" else -1)
        for one in json.loads(state.core_state).get("positions", [])
    }


def check_truth(rig: Rig, account_id: int) -> None:
    """Assert: no double entry, no naked position, no orphan stop, database equals exchange, money conserved."""
    state = rig.exchange.state(f"key{account_id}")
    rows = rig.rows(orders, orders.c.account_id == account_id)
    entries = Counter((row.symbol, row.candle_time) for row in rows if row.purpose == "entry" and row.filled > 0)
    assert all(count == 1 for count in entries.values()), f"double entry: {entries}"
    facts = rig.rows(ledger, ledger.c.account_id == account_id, ledger.c.kind == "fill")
    if any(":" in row.symbol for row in rows):
        _check_usdm(rig, account_id, state["usdm"], facts)
    else:
        _check_spot(rig, account_id, state["spot"], facts)
    known = {row.id: row for row in rows}
    for fact in facts:
        assert fact.order_id is None or fact.order_id in known
    by_order: Counter[str] = Counter()
    for fact in facts:
        if fact.order_id:
            by_order[fact.order_id] += fact.size
    for order_id, size in by_order.items():
        assert known[order_id].filled == size, f"{order_id}: row {known[order_id].filled}, fills {size}"


async def await_truth(rig: Rig, account_id: int, patience_s: float = 30.0) -> None:
    """Wait until the invariants hold, as they must once the exchange works again; fails with what is wrong."""
    started = time.monotonic()
    while True:
        try:
            return check_truth(rig, account_id)
        except AssertionError:
            if time.monotonic() - started > patience_s:
                print(rig.describe([account_id], 0))
                for struck in rig.exchange.faults.struck[-12:]:
                    print(struck)
                for fact in rig.rows(ledger, ledger.c.account_id == account_id)[-8:]:
                    print(fact)
                raise
        await asyncio.sleep(0.05)


def _check_usdm(rig: Rig, account_id: int, truth: dict[str, Any], facts: list[Any]) -> None:
    """Check a perpetual account."""
    ours = {symbol.partition("/")[0] + "USDT": size for symbol, size in position_sizes(rig, account_id).items()}
    theirs = {row["symbol"]: Decimal(row["positionAmt"]) for row in truth["positions"] if Decimal(row["positionAmt"])}
    assert ours == theirs, f"database {ours}, exchange {theirs}"
    live = [row for row in truth["conditional"] if row["algoStatus"] == "NEW"]
    stops = Counter(row["symbol"] for row in live if row["orderType"] == "STOP_MARKET")
    assert dict(stops) == dict.fromkeys(theirs, 1), f"positions {theirs}, stops {stops}"
    for row in live:
        assert row["symbol"] in theirs, f"orphan {row}"
        assert Decimal(row["quantity"]) == abs(theirs[row["symbol"]])
    assert not [row for row in truth["orders"] if row["status"] in WORKING]
    assert {fact.external_id for fact in facts} == {str(row["id"]) for row in truth["trades"]}, "a trade is missing"
    state = rig.one(account_states, account_states.c.account_id == account_id)
    wallet = next(Decimal(row["walletBalance"]) for row in truth["account"]["assets"] if row["asset"] == "USDT")
    funded = sum(Decimal(row["income"]) for row in truth["income"] if row["incomeType"] == "FUNDING_FEE")
    booked = sum(f.amount for f in rig.rows(ledger, ledger.c.account_id == account_id, ledger.c.kind == "funding"))
    assert abs(float(wallet) - float(funded - booked) - state.balance) < 1e-4, (wallet, state.balance, funded, booked)


def _check_spot(rig: Rig, account_id: int, truth: dict[str, Any], facts: list[Any]) -> None:
    """Check a spot account: our coins on top of the owner's, which nobody touched."""
    ours = {symbol.partition("/")[0]: size for symbol, size in position_sizes(rig, account_id).items()}
    coins = {
        row["asset"]: Decimal(row["free"]) + Decimal(row["locked"])
        for row in truth["account"]["balances"]
        if row["asset"] != "USDT"
    }
    for asset, size in coins.items():
        owned = Decimal(1) if asset == "BTC" else Decimal(0)
        assert size == owned + ours.get(asset, Decimal(0)), f"{asset}: wallet {size}, ours {ours}"
    live = [row for row in truth["orders"] if row["status"] in WORKING]
    stops = Counter(row["symbol"].removesuffix("USDT") for row in live if row["type"] == "STOP_LOSS")
    assert dict(stops) == dict.fromkeys(ours, 1), f"positions {ours}, stops {stops}"
    for row in live:
        assert Decimal(row["origQty"]) == ours[row["symbol"].removesuffix("USDT")]
    assert {fact.external_id for fact in facts} == {str(row["id"]) for row in truth["trades"]}, "a trade is missing"


def unfinished(rig: Rig, account_id: int) -> list[Any]:
    """Return the orders that are not final."""
    return rig.rows(orders, orders.c.account_id == account_id, orders.c.status.not_in(sorted(FINAL)))

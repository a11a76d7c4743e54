"""The simulated exchange's own record of an account, and everything that must hold between it and our database.

The exchange knows nothing of trades: they are rebuilt from its fills, from flat to flat, with arithmetic of this file's own.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.visible import AccountView
from ctp.storage.tables import account_states, ledger, notices, orders, trades

WORKING = ("NEW", "PARTIALLY_FILLED")
CLOSED_KINDS = ("position_closed", "stop_loss_hit", "take_profit_hit")  # one of these for each closed position
OWN_BITCOIN = Decimal(1)
START_MONEY = Decimal(10_000)


class Fill(NamedTuple):
    """One fill, by our name of the order that made it."""

    id: str
    symbol: str
    order: str
    sign: int
    price: Decimal
    size: Decimal
    fee: Decimal


class Trip(NamedTuple):
    """A position from flat to flat, or still open (size > 0)."""

    symbol: str
    side: str
    entries: frozenset[str]
    bought: Decimal  # the largest size it had
    gross: Decimal
    fee: Decimal
    left: Decimal


class Ours(NamedTuple):
    """What our database says of an account, at one moment."""

    status: str
    positions: dict[str, Decimal]  # signed
    orders: dict[str, Any]
    fills: list[Any]
    trades: list[Any]
    closed_notices: int
    paid: Decimal  # funding


def read_ours(connection: sa.Connection, account: AccountView) -> Ours:
    """Read the database's side."""

    def rows(table: sa.Table, *where: Any) -> list[Any]:
        return list(connection.execute(sa.select(table).where(table.c.account_id == account.id, *where)))

    signed = {"long": 1, "short": -1}
    states = rows(account_states)  # none before the bot has seen the account
    found = [one for state in states for one in json.loads(state.core_state).get("positions", [])]
    return Ours(
        states[0].status if states else "",
        {one["symbol"]: signed[one["side"]] * Decimal(one["size"]) for one in found},
        {row.id: row for row in rows(orders)},
        rows(ledger, ledger.c.kind == "fill"),
        rows(trades),
        len(rows(notices, notices.c.kind.in_(CLOSED_KINDS))),
        sum((row.amount for row in rows(ledger, ledger.c.kind == "funding")), Decimal(0)),
    )


def fills_at(state: dict[str, Any], account: AccountView) -> list[Fill]:
    """Return the exchange's fills of an account, oldest first, whoever made them."""
    venue = venue_of(state, account)
    names = {row["orderId"]: row["clientOrderId"] for row in venue["orders"]}
    names |= {int(row["actualOrderId"]): row["clientAlgoId"] for row in venue.get("conditional", []) if row["actualOrderId"]}
    by_market = {symbol.partition(":")[0].replace("/", ""): symbol for symbol in account.symbols}
    return [
        Fill(
            str(row["id"]),
            by_market[row["symbol"]],
            names[row["orderId"]],
            1 if row.get("isBuyer", row.get("buyer")) else -1,
            Decimal(row["price"]),
            Decimal(row["qty"]),
            Decimal(row["commission"]),
        )
        for row in sorted(venue["trades"], key=lambda one: int(one["id"]))
    ]


def venue_of(state: dict[str, Any], account: AccountView) -> dict[str, Any]:
    """Return the part of the record that an account trades on."""
    return dict(state["usdm" if account.exchange == "binanceusdm" else "spot"])


def trips_of(fills: list[Fill]) -> list[Trip]:
    """Rebuild positions from fills; nothing may cross zero or be entered by two orders."""
    open_: dict[str, Trip] = {}
    done: list[Trip] = []
    for fill in fills:
        trip = open_.pop(fill.symbol, None)
        if trip is None:
            side = "long" if fill.sign > 0 else "short"
            trip = Trip(fill.symbol, side, frozenset(), Decimal(0), Decimal(0), Decimal(0), Decimal(0))
        opens = (fill.sign > 0) == (trip.side == "long")
        trip = trip._replace(
            entries=trip.entries | {fill.order} if opens else trip.entries,
            bought=trip.bought + (fill.size if opens else 0),
            gross=trip.gross - fill.sign * fill.price * fill.size,
            fee=trip.fee + fill.fee,
            left=trip.left + (fill.size if opens else -fill.size),
        )
        assert trip.left >= 0, f"{fill} crosses zero: {trip}"
        if trip.left:
            open_[fill.symbol] = trip
        else:
            done.append(trip)
    return done + list(open_.values())


def check_account(account: AccountView, state: dict[str, Any], ours: Ours) -> None:
    """Assert all that must hold once nothing is under way."""
    fills = fills_at(state, account)
    trips = trips_of(fills)
    _check_entries(fills, trips)
    _check_ledger(fills, ours)
    _check_trades(trips, ours)
    _check_protection(account, state, trips, ours)
    _check_money(account, state, fills, ours)


def _check_entries(fills: list[Fill], trips: list[Trip]) -> None:
    """No candle, symbol and account was entered twice, and no position was added to."""
    for trip in trips:
        assert len(trip.entries) == 1, f"a position entered by several orders: {trip}"
        (name,) = trip.entries
        assert name.rpartition("-")[2].startswith("e"), f"a position opened by {name}"
    names = Counter(next(iter(trip.entries)).rpartition("-")[0] for trip in trips)
    assert not [name for name, count in names.items() if count > 1], f"entered twice: {names}"
    assert all(fill.order.startswith("ctp") for fill in fills), "the exchange has fills that are nobody's"


def _check_ledger(fills: list[Fill], ours: Ours) -> None:
    """Every fill of the exchange is in the ledger exactly once, to the last digit, and nothing else is."""
    theirs = Counter((one.symbol, one.id, one.order, one.price, one.size, one.fee) for one in fills)
    booked = Counter(
        (row.symbol, row.external_id, row.order_id, row.price, row.size, row.amount) for row in ours.fills
    )
    assert booked == theirs, f"only in the ledger {booked - theirs}, only at the exchange {theirs - booked}"
    by_order: Counter[str] = Counter()
    for one in fills:
        by_order[one.order] += one.size  # type: ignore[assignment]
    for name, size in by_order.items():
        assert ours.orders[name].filled == size, f"{name}: row {ours.orders[name].filled}, exchange {size}"


def _check_trades(trips: list[Trip], ours: Ours) -> None:
    """Every position that closed is one trade, with one notice."""
    closed = {next(iter(trip.entries)): trip for trip in trips if not trip.left}
    kept = {row.entry_order_id: row for row in ours.trades}
    assert kept.keys() == closed.keys(), f"trades {kept.keys() - closed.keys()}, lost {closed.keys() - kept.keys()}"
    for name, trip in closed.items():
        row = kept[name]
        assert (row.symbol, row.side, row.size) == (trip.symbol, trip.side, float(trip.bought)), (row, trip)
        assert abs(row.fee - float(trip.fee)) < 1e-9, (row, trip)
        assert abs(row.pnl - row.funding - float(trip.gross - trip.fee)) < 1e-6, (row, trip)
    assert ours.closed_notices == len(closed), f"{ours.closed_notices} notices of {len(closed)} closed positions"


def _check_protection(account: AccountView, state: dict[str, Any], trips: list[Trip], ours: Ours) -> None:
    """Every position has exactly its stop, nothing else rests, and the database knows the same positions."""
    venue = venue_of(state, account)
    theirs = {trip.symbol: trip.left * (1 if trip.side == "long" else -1) for trip in trips if trip.left}
    assert ours.positions == theirs, f"database {ours.positions}, exchange {theirs}"
    markets = {symbol.partition(":")[0].replace("/", ""): abs(size) for symbol, size in theirs.items()}
    if account.exchange == "binanceusdm":
        held = {row["symbol"]: abs(Decimal(row["positionAmt"])) for row in venue["positions"] if Decimal(row["positionAmt"])}
        assert held == markets, f"fills leave {markets}, the exchange holds {held}"
    resting = [
        (row["symbol"], row.get("orderType", row.get("type")), Decimal(row.get("quantity", row.get("origQty"))))
        for row in (*venue["orders"], *venue.get("conditional", []))
        if row.get("algoStatus", row.get("status")) in WORKING
    ]
    stops = [(symbol, size) for symbol, kind, size in resting if kind in ("STOP_MARKET", "STOP_LOSS")]
    assert sorted(stops) == sorted(markets.items()), f"positions {markets}, stops {stops}"
    for symbol, kind, size in resting:
        assert markets.get(symbol) == size, f"orphan {kind} of {size} {symbol}; positions {markets}"


def _check_money(account: AccountView, state: dict[str, Any], fills: list[Fill], ours: Ours) -> None:
    """Money and coins are what the fills say; the owner's own bitcoin is untouched."""
    wallet = {row["asset"]: Decimal(row["free"]) + Decimal(row["locked"]) for row in state["spot"]["account"]["balances"]}
    coins = ours.positions if account.exchange == "binance" else {}
    expected = {"BTC": OWN_BITCOIN}
    for symbol, size in coins.items():
        asset = symbol.partition("/")[0]
        expected[asset] = expected.get(asset, Decimal(0)) + size
    assert {asset: size for asset, size in wallet.items() if asset != "USDT" and size} == expected
    flow = sum((-one.sign * one.price * one.size - one.fee for one in fills), Decimal(0))
    if account.exchange == "binance":
        assert abs(wallet["USDT"] - START_MONEY - flow) < Decimal("1e-6"), (wallet["USDT"], flow)
    else:
        charged = sum(
            (Decimal(row["income"]) for row in state["usdm"]["income"] if row["incomeType"] == "FUNDING_FEE"), Decimal(0)
        )
        assert abs(charged - ours.paid) < Decimal("1e-6"), f"funding: exchange {charged}, ledger {ours.paid}"

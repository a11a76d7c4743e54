"""The same trades as three witnesses saw them, and where they differ. Pure.

The bot's database and the backtest keep trades. The exchange keeps fills and payments only, and knows nothing of trades,
stops or reasons of ours: its trades are rebuilt here from flat to flat, with arithmetic of this file's own.

Invariant: witnesses agree only when every value of every trade is equal, doubles to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class TradeRecord(NamedTuple):
    """One closed trade. Times are milliseconds UTC of the candle of the fill; money is in quote units."""

    account: str
    symbol: str
    entry_time: int
    side: str
    entry_price: float
    exit_time: int
    exit_price: float
    size: float
    fee: float
    funding: float
    pnl: float
    exit_reason: str
    details: tuple[float | None, ...] | None = None  # leverage, margin, stop, take, R; None: the witness does not know


class ExchangeFill(NamedTuple):
    """One fill in the exchange's order. cause: market, stop, take or liquidation, by the order that filled."""

    account: str
    symbol: str
    time: int
    is_buy: bool
    price: float
    size: float
    fee: float
    cause: str


class ExchangePayment(NamedTuple):
    """One funding payment; amount > 0 when received."""

    account: str
    symbol: str
    time: int
    amount: float


class Difference(NamedTuple):
    """One value on which two witnesses differ; None where one has no such trade."""

    account: str
    symbol: str
    entry_time: int
    field: str
    witnesses: str
    values: tuple[object, object]


# What the exchange calls the order that closed a position, and the reasons we may give for it.
REASONS_BY_CAUSE = {
    "stop": ("stop_loss", "trailing_stop"),
    "take": ("take_profit",),
    "market": ("exit_signal", "daily_loss"),
    "liquidation": ("liquidation",),
}


def rebuild_trades(fills: Iterable[ExchangeFill], payments: Iterable[ExchangePayment]) -> list[TradeRecord]:
    """Return the exchange's closed trades of whole entries and whole exits; exit_reason is the cause.

    Raises ValueError when fills do not come in pairs of one size: no rule of ours does that.
    """
    received: dict[tuple[str, str], list[ExchangePayment]] = {}
    for payment in payments:
        received.setdefault((payment.account, payment.symbol), []).append(payment)
    opened: dict[tuple[str, str], ExchangeFill] = {}
    trades = []
    for fill in fills:
        key = (fill.account, fill.symbol)
        entry = opened.pop(key, None)
        if entry is None:
            opened[key] = fill
            continue
        if entry.is_buy == fill.is_buy or entry.size != fill.size:
            raise ValueError(f"{fill.account} {fill.symbol}: {fill} does not close {entry}")
        # Funding at the entry candle's open came before the entry; funding at the exit's open before a market exit.
        funding = 0.0
        for payment in received.get(key, ()):
            if entry.time < payment.time <= fill.time:
                funding += payment.amount
        sign = 1.0 if entry.is_buy else -1.0
        gross = sign * entry.size * (fill.price - entry.price)
        fee = entry.fee + fill.fee
        trades.append(
            TradeRecord(
                *key,
                entry.time,
                "long" if entry.is_buy else "short",
                entry.price,
                fill.time,
                fill.price,
                entry.size,
                fee,
                funding,
                gross - fee + funding,
                fill.cause,
            )
        )
    return trades


def differences(
    first: Sequence[TradeRecord], second: Sequence[TradeRecord], witnesses: str, *, second_knows_causes: bool = False
) -> list[Difference]:
    """Return every value in which two lists of trades differ, trades that one of them lacks included.

    second_knows_causes: the second is the exchange, whose reasons are causes.
    """
    left, right = _by_key(first), _by_key(second)
    found = []
    for key in sorted(left.keys() | right.keys()):
        ours, theirs = left.get(key), right.get(key)
        if ours is None or theirs is None:
            found.append(Difference(*key, "trade", witnesses, (ours and ours.side, theirs and theirs.side)))
            continue
        for name in TradeRecord._fields[3:]:
            a, b = getattr(ours, name), getattr(theirs, name)
            if name == "details" and (a is None or b is None):
                continue
            same = a in REASONS_BY_CAUSE.get(b, ()) if second_knows_causes and name == "exit_reason" else a == b
            if not same:
                found.append(Difference(*key, name, witnesses, (a, b)))
    return found


def _by_key(trades: Sequence[TradeRecord]) -> dict[tuple[str, str, int], TradeRecord]:
    """Return trades by account, symbol and entry time; two of one key cannot be, since a symbol has one position."""
    keyed = {trade[:3]: trade for trade in trades}
    if len(keyed) != len(trades):
        raise ValueError("two trades of one symbol were entered in one candle")
    return keyed

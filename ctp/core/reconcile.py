"""Bring our position and our protective orders into line with the exchange's. Pure.

Two snapshots of one symbol go in, corrections come out, in the order in which they must be applied.

Invariants:
1. After the corrections our position equals the exchange's, as far as it is ours: what somebody else opened or ordered is
   announced and left alone.
2. After the corrections an open position has exactly one live stop of its size at its price, and one take-profit when it
   has one; a flat symbol has no order of ours.
3. A position is never without a stop in between, where the exchange lets two reduce-only orders rest side by side
   (`replaces_first`); elsewhere the old pair is cancelled right before the new one is placed.
4. The same two snapshots give the same corrections, in the same order; after applying them there are none.
"""

from __future__ import annotations

from typing import NamedTuple

from ctp.core.orders import STOP, TAKE


class Resting(NamedTuple):
    """A live protective order at the exchange."""

    order_id: str  # client order id
    purpose: str  # stop, take; anything else is a working market order
    lots: int
    ticks: int


class Ours(NamedTuple):
    """What we think of one symbol. `lots` is signed: negative when short."""

    lots: int
    stop_ticks: int
    take_ticks: int  # 0: no take-profit
    is_settled: bool  # False while an order of ours may still be filling: the position may be about to change


class Theirs(NamedTuple):
    """What the exchange says about one symbol. `lots` is signed; on spot it repeats ours: coins have no owner's name."""

    lots: int
    resting: tuple[Resting, ...]  # ours only
    foreign_order_ids: tuple[str, ...]


class Corrections(NamedTuple):
    """What to do, in this order. `closed_outside` is signed like the position; 0: nothing."""

    closed_outside: int
    foreign_lots: int
    foreign_order_ids: tuple[str, ...]
    cancel_first: tuple[str, ...]
    place: tuple[Resting, ...]  # order_id is empty: not named yet
    cancel_last: tuple[str, ...]


def compare(ours: Ours, theirs: Theirs, *, replaces_first: bool) -> Corrections:
    """Return the corrections that bring one symbol into line.

    replaces_first: the exchange lets an old and a new reduce-only order rest together (perpetuals; not spot, whose
    resting sale locks the coins).
    """
    closed_outside, foreign = _positions(ours, theirs)
    wanted = _wanted(ours, ours.lots - closed_outside)
    kept, surplus = _match(wanted, theirs.resting)
    missing = tuple(order for order in wanted if order.purpose not in kept)
    if missing and not replaces_first:
        # Stop and take are one pair that shares the coins: neither can be replaced alone.
        surplus = tuple(order.order_id for order in sorted(theirs.resting))
        missing = wanted
    first, last = ((), surplus) if replaces_first else (surplus, ())
    return Corrections(closed_outside, foreign, tuple(sorted(theirs.foreign_order_ids)), first, missing, last)


def _positions(ours: Ours, theirs: Theirs) -> tuple[int, int]:
    """Return (lots of ours that were closed by somebody else, lots that are not ours), both signed."""
    if not ours.is_settled:
        return 0, 0
    left = min(ours.lots, max(theirs.lots, 0)) if ours.lots > 0 else max(ours.lots, min(theirs.lots, 0))
    return ours.lots - left, theirs.lots - left


def _wanted(ours: Ours, lots: int) -> tuple[Resting, ...]:
    """Return the protective orders that a position of that many lots must have."""
    if lots == 0:
        return ()
    stop = Resting("", STOP, abs(lots), ours.stop_ticks)
    if ours.take_ticks == 0:
        return (stop,)
    return (stop, Resting("", TAKE, abs(lots), ours.take_ticks))


def _match(wanted: tuple[Resting, ...], resting: tuple[Resting, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the purposes already served as wanted, and the ids of orders that serve nothing."""
    kept: dict[str, str] = {}
    for order in sorted(resting):
        for want in wanted:
            if want[1:] == order[1:] and want.purpose not in kept:
                kept[want.purpose] = order.order_id
    surplus = tuple(order.order_id for order in sorted(resting) if order.order_id not in kept.values())
    return frozenset(kept), surplus

"""Whether an account is done with a candle: decided, nothing on its way, every position protected as it should be.

For whoever moves a stepped market, and for tests.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ctp.core.orders import EMERGENCY, EXIT, PROTECTIVE, RESTING, STOP, TAKE
from ctp.storage.tables import account_states, orders
from ctp.trading.rows import LIMIT, OrderRow, unfinished_orders


def is_settled(
    connection: sa.Connection, account_id: int, candle_time: int, trading: Collection[str] = ()
) -> bool:
    """Return whether an account has decided on the candle that opened at `candle_time` and has nothing left to do.

    trading: symbols that trade now; an exit that is due there must have been done.
    """
    mine = account_states.c.account_id == account_id
    decided = connection.execute(sa.select(account_states.c.decision_time).where(mine)).scalar()
    if decided is None or decided < candle_time:
        return False
    plain = json.loads(connection.execute(sa.select(account_states.c.core_state).where(mine)).scalar_one())
    positions = plain.get("positions", [])
    if any(one["symbol"] in trading and _is_exit_due(connection, one["entry_order_id"]) for one in positions):
        return False
    return is_quiet(positions, list(unfinished_orders(connection, account_id).values()))


def _is_exit_due(connection: sa.Connection, entry_order_id: str) -> bool:
    """Return whether an exit was tried for the position that an order opened: it is open still, so it did not fill."""
    entry = orders.alias()
    query = sa.select(orders.c.id).join(
        entry,
        sa.and_(
            entry.c.id == entry_order_id,
            orders.c.account_id == entry.c.account_id,
            orders.c.symbol == entry.c.symbol,
            orders.c.planned_at >= entry.c.planned_at,
            orders.c.purpose.in_((EXIT, EMERGENCY)),
        ),
    )
    return connection.execute(query).first() is not None


def is_quiet(positions: list[dict[str, Any]], unfinished: list[OrderRow]) -> bool:
    """Return whether the unfinished orders are exactly the protective orders that the open positions must have.

    A limit entry may rest beside them: it is good for the candle that has begun.
    """
    unfinished = [row for row in unfinished if row.type != LIMIT or row.status not in RESTING]
    if any(row.purpose not in PROTECTIVE or row.status not in RESTING for row in unfinished):
        return False
    wanted = set()
    for position in positions:
        symbol, size = position["symbol"], Decimal(position["size"])
        wanted.add((symbol, STOP, size, Decimal(position["stop_price"])))
        if position["take_price"] is not None:
            wanted.add((symbol, TAKE, size, Decimal(position["take_price"])))
    resting = [(row.symbol, row.purpose, row.size, row.trigger_price) for row in unfinished]
    return len(resting) == len(wanted) and set(resting) == wanted

"""Whether an account is done with a candle: decided, nothing on its way, every position protected as it should be.

For whoever moves a stepped market, and for tests.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ctp.core.orders import PROTECTIVE, RESTING, STOP, TAKE
from ctp.storage.tables import account_states
from ctp.trading.rows import OrderRow, unfinished_orders


def is_settled(connection: sa.Connection, account_id: int, candle_time: int) -> bool:
    """Return whether an account has decided on the candle that opened at `candle_time` and has nothing left to do."""
    mine = account_states.c.account_id == account_id
    decided = connection.execute(sa.select(account_states.c.decision_time).where(mine)).scalar()
    if decided is None or decided < candle_time:
        return False
    plain = json.loads(connection.execute(sa.select(account_states.c.core_state).where(mine)).scalar_one())
    return is_quiet(plain.get("positions", []), list(unfinished_orders(connection, account_id).values()))


def is_quiet(positions: list[dict[str, Any]], unfinished: list[OrderRow]) -> bool:
    """Return whether the unfinished orders are exactly the protective orders that the open positions must have."""
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

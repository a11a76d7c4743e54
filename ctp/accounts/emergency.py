"""Closing other people's positions in an emergency: what an administrator may see of accounts for it, and no more.

Invariants:
1. Nobody but an administrator gets the list; it holds no money, size, symbol or price.
2. Of commands, only the administrator's own Close all is shown: asked, acknowledged, flat.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.rights import Actor, require
from ctp.accounts.visible import CommandView, command_view
from ctp.storage.tables import account_states, accounts, commands, users


class ClosableAccount(NamedTuple):
    """An account as an administrator sees it who may close its positions."""

    id: int
    owner: str
    name: str
    exchange: str
    mode: str  # paper, live
    status: str
    is_flat: bool
    asked: CommandView | None  # this administrator's last Close all


def list_closable(connection: sa.Connection, actor: Actor) -> list[ClosableAccount]:
    """Return every open account, live ones first. Raises NotAllowed for anybody but an administrator."""
    require(actor, "close_all", "none")
    query = (
        sa.select(accounts, users.c.name.label("owner"), account_states.c.status, account_states.c.core_state)
        .join(users, users.c.id == accounts.c.user_id)
        .outerjoin(account_states, account_states.c.account_id == accounts.c.id)
        .where(accounts.c.closed_at.is_(None))
        .order_by(accounts.c.mode, users.c.name, accounts.c.name)
    )
    asked = _own_commands(connection, actor)
    return [
        ClosableAccount(
            row.id, row.owner, row.name, row.exchange, row.mode, row.status or "stopped",
            not json.loads(row.core_state or "{}").get("positions"), asked.get(row.id),
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def _own_commands(connection: sa.Connection, actor: Actor) -> dict[int, CommandView]:
    """Return the actor's last Close all for each account."""
    mine = (commands.c.kind == "close_all", commands.c.asked_by == actor.user_id)
    last = sa.select(sa.func.max(commands.c.id)).where(*mine).group_by(commands.c.account_id)
    rows = connection.execute(sa.select(commands).where(commands.c.id.in_(last))).mappings()
    return {row["account_id"]: command_view(dict(row)) for row in rows}

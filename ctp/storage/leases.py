"""Leases, so that two processes never do one job at once, and heartbeats, so that a dead process is noticed.

Invariants:
1. At any time at most one holder has an unexpired lease of a name.
2. The token grows with every change of hands; work stamped with an older token than the row's is void.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.storage.database import insert_or
from ctp.storage.tables import heartbeats, leases


class Lease(NamedTuple):
    """The right to do one job until it expires (wall time, milliseconds UTC)."""

    name: str
    holder: str
    token: int
    expires_at: int


class Heartbeat(NamedTuple):
    """When a process was last alive, and what it said about itself."""

    process: str
    at: int
    details: dict[str, Any]


def acquire_lease(connection: sa.Connection, name: str, holder: str, now_ms: int, duration_ms: int) -> Lease | None:
    """Take a lease that is free, expired or already this holder's; None when somebody else has it."""
    expires_at = now_ms + duration_ms
    fresh = insert_or(connection, leases).values(name=name, holder=holder, token=1, expires_at=expires_at)
    taken = fresh.on_conflict_do_update(
        index_elements=[leases.c.name],
        set_={
            "holder": holder,
            "token": leases.c.token + sa.case((leases.c.holder == holder, 0), else_=1),
            "expires_at": expires_at,
        },
        where=sa.or_(leases.c.expires_at <= now_ms, leases.c.holder == holder),
    ).returning(leases.c.token)
    token = connection.execute(taken).scalar()
    return None if token is None else Lease(name, holder, token, expires_at)


def renew_lease(connection: sa.Connection, lease: Lease, now_ms: int, duration_ms: int) -> Lease | None:
    """Prolong a lease; None when it has changed hands, after which its work must stop."""
    renewed = connection.execute(
        sa.update(leases)
        .where(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.token == lease.token)
        .values(expires_at=now_ms + duration_ms)
    )
    return lease._replace(expires_at=now_ms + duration_ms) if renewed.rowcount == 1 else None


def release_lease(connection: sa.Connection, lease: Lease) -> None:
    """Give a lease back at once; its token stays used."""
    connection.execute(
        sa.update(leases)
        .where(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.token == lease.token)
        .values(expires_at=0, holder="")
    )


def read_lease(connection: sa.Connection, name: str) -> Lease | None:
    """Return who holds or last held a lease; None when nobody ever did."""
    row = connection.execute(sa.select(leases).where(leases.c.name == name)).first()
    return None if row is None else Lease(row.name, row.holder, row.token, row.expires_at)


def beat(connection: sa.Connection, process: str, now_ms: int, details: dict[str, Any] | None = None) -> None:
    """Write that a process is alive."""
    row = {"at": now_ms, "details": json.dumps(details or {}, ensure_ascii=False)}
    connection.execute(
        insert_or(connection, heartbeats)
        .values(process=process, **row)
        .on_conflict_do_update(index_elements=[heartbeats.c.process], set_=row)
    )


def read_heartbeats(connection: sa.Connection) -> dict[str, Heartbeat]:
    """Return the last sign of life of every process, by its name."""
    rows = connection.execute(sa.select(heartbeats).order_by(heartbeats.c.process))
    return {row.process: Heartbeat(row.process, row.at, json.loads(row.details)) for row in rows}

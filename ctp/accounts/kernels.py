"""Dashboard kernels: which session each belongs to, and the opaque handle by which it speaks for that session.

Invariants:
1. A kernel belongs to exactly one session from before its id leaves the gateway; nobody else's requests reach it.
2. A handle is worth nothing once its session has ended, also when the kernel lives on. Only its hash is stored.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import sqlalchemy as sa

from ctp.storage.tables import kernels


class BoundKernel(NamedTuple):
    """A kernel and the session it draws for."""

    kernel_id: str
    session_id: str
    dashboard: str


def bind_kernel(
    connection: sa.Connection, kernel_id: str, session_id: str, handle: str, dashboard: str, now_ms: int
) -> None:
    """Tie a kernel to a session for good; an id or handle that is already bound is an error of the caller."""
    connection.execute(
        sa.insert(kernels).values(
            id=kernel_id, session_id=session_id, handle_hash=_digest(handle), dashboard=dashboard, created_at=now_ms
        )
    )


def kernel_session(connection: sa.Connection, kernel_id: str) -> str | None:
    """Return the id of the session a kernel belongs to."""
    found = connection.execute(sa.select(kernels.c.session_id).where(kernels.c.id == kernel_id)).scalar()
    return None if found is None else str(found)


def handle_session(connection: sa.Connection, handle: str) -> str | None:
    """Return the id of the session a kernel's handle speaks for; whether it still lives is the caller's question."""
    query = sa.select(kernels.c.session_id).where(kernels.c.handle_hash == _digest(handle))
    found = connection.execute(query).scalar()
    return None if found is None else str(found)


def release_kernel(connection: sa.Connection, kernel_id: str) -> None:
    """Forget a kernel that has ended; its handle ends with it."""
    connection.execute(sa.delete(kernels).where(kernels.c.id == kernel_id))


def release_all_kernels(connection: sa.Connection) -> None:
    """Forget every kernel; they have died with the server that ran them."""
    connection.execute(sa.delete(kernels))


def _digest(handle: str) -> str:
    """Return what is stored of a handle."""
    return hashlib.sha256(handle.encode()).hexdigest()

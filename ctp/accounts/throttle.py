"""Slow down guessing of passwords without locking anybody else out. Kept in the database, so a restart forgives nothing.

Invariants:
1. A name from one address is blocked after few failures, each block longer than the one before.
2. A name alone is never blocked: nobody can lock another person out from afar.
3. An address alone is blocked only after very many failures, and never for people who logged in from it before: an
   office behind one address keeps working.
"""

from __future__ import annotations

import ipaddress

import sqlalchemy as sa

from ctp.storage.database import insert_or
from ctp.storage.tables import login_failures, sessions

PAIR_FAILURES = 5
PAIR_BLOCK_MS = 30_000
PAIR_BLOCK_CEILING_MS = 15 * 60_000
ADDRESS_FAILURES = 100
ADDRESS_BLOCK_MS = 5 * 60_000
FORGET_MS = 60 * 60_000


def blocked_until(connection: sa.Connection, name: str, address: str, user_id: int | None, now_ms: int) -> int | None:
    """Return until when this name may not log in from this address; None when it may."""
    pair, whole = _subjects(name, address)
    rows = connection.execute(
        sa.select(login_failures.c.subject, login_failures.c.blocked_until).where(
            login_failures.c.subject.in_((pair, whole)), login_failures.c.blocked_until > now_ms
        )
    )
    until = {row.subject: int(row.blocked_until) for row in rows}
    if whole in until and user_id is not None and _logged_in_before(connection, user_id, address):
        del until[whole]
    return max(until.values(), default=None)


def count_failure(connection: sa.Connection, name: str, address: str, now_ms: int) -> None:
    """Count a failed attempt, and block what has failed too often."""
    pair, whole = _subjects(name, address)
    _count(connection, pair, now_ms, PAIR_FAILURES, PAIR_BLOCK_MS, PAIR_BLOCK_CEILING_MS)
    _count(connection, whole, now_ms, ADDRESS_FAILURES, ADDRESS_BLOCK_MS, ADDRESS_BLOCK_MS)


def forgive(connection: sa.Connection, name: str, address: str) -> None:
    """Forget the failures of a name from an address, after it logged in."""
    connection.execute(sa.delete(login_failures).where(login_failures.c.subject == _subjects(name, address)[0]))


def _count(connection: sa.Connection, subject: str, now_ms: int, few: int, block_ms: int, ceiling_ms: int) -> None:
    """Add one failure to a subject; from the `few`th on, each one blocks for twice as long."""
    query = sa.select(login_failures).where(login_failures.c.subject == subject)
    known = connection.execute(query).mappings().first()
    count, first_at = 1, now_ms
    if known is not None and max(known["first_at"], known["blocked_until"] or 0) >= now_ms - FORGET_MS:
        count, first_at = known["count"] + 1, known["first_at"]
    until = now_ms + min(ceiling_ms, block_ms * 2 ** min(count - few, 30)) if count >= few else None
    row = {"count": count, "first_at": first_at, "blocked_until": until}
    connection.execute(
        insert_or(connection, login_failures)
        .values(subject=subject, **row)
        .on_conflict_do_update(index_elements=[login_failures.c.subject], set_=row)
    )


def _logged_in_before(connection: sa.Connection, user_id: int, address: str) -> bool:
    """Tell whether this person has had a session from this address."""
    query = sa.select(sessions.c.id).where(sessions.c.user_id == user_id, sessions.c.address == address).limit(1)
    return connection.execute(query).first() is not None


def _subjects(name: str, address: str) -> tuple[str, str]:
    """Return the two things that are counted: this name from this address, and the address."""
    network = _network(address)
    return f"pair:{name[:64].casefold()}|{network}", f"address:{network}"


def _network(address: str) -> str:
    """Return what one person controls: an IPv4 address, or the half of an IPv6 address that is theirs to vary."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)

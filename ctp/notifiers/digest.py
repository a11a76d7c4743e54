"""A storm in one message: when more similar notices wait for a person than they can read, the first is sent and the rest
are told together, with how many, from when to when, and what they add up to.

Invariants:
1. Similar is the same kind, account and urgency; a digest is as urgent as what it tells. Reports and codes are never
   merged.
2. Every notice merged names the digest that tells it; on the web all of them stay as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.errors import StateConflict
from ctp.notifiers.outbox import tell_over
from ctp.storage.database import Database
from ctp.storage.tables import deliveries, notices

_ALONE = frozenset({"daily_report", "contact_code", "contact_test"})
_AT_ONCE = 1000  # rows merged in one transaction: the bot must not wait long
_COMMON = ("account", "mode", "exchange", "quote", "day_pnl", "day_limit")
_SHOWN = 5


class Queue(NamedTuple):
    """Notices that could be told together: a person's, on one channel, behind the one that goes first."""

    user_id: int
    channel: str
    kind: str
    account_id: int | None
    urgent: bool
    first_id: int


def fold_storm(database: Database, queue: Queue, above: int, now_ms: int) -> int:
    """Merge what waits behind the first notice when it is more than `above` with it; returns how many were merged.

    Raises StateConflict when another worker does the same; the next look finds what is left.
    """
    if queue.kind in _ALONE:
        return 0
    with database.reading() as connection:
        few = sa.select(sa.func.count()).select_from(_similar(queue).limit(above).subquery())
        if connection.execute(few).scalar_one() < above:
            return 0
    merged = 0
    while True:
        with database.transaction() as connection:
            rows = connection.execute(_similar(queue).limit(_AT_ONCE)).all()
            if len(rows) < 2:
                return merged
            ids = [row.notice_id for row in rows]
            key = f"digest:{queue.channel}:{ids[0]}:{ids[-1]}:{len(ids)}"
            facts = digest_facts((row.created_at, json.loads(row.facts)) for row in rows)
            digest_id = tell_over(
                connection,
                [queue.channel],
                queue.user_id,
                queue.kind,
                facts,
                key,
                now_ms,
                queue.account_id,
                urgent=queue.urgent,
            )
            if digest_id is None:  # another worker is at it
                raise StateConflict(f"{key} was written by another worker")
            taken = connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.notice_id.in_(ids), deliveries.c.channel == queue.channel)
                .where(deliveries.c.status == "waiting")
                .values(status="merged", merged_into=digest_id)
            )
            if taken.rowcount != len(ids):
                raise StateConflict(f"{key}: another worker took some of them")
            merged += len(ids)


def digest_facts(found: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Return the facts of a digest: of notices, and of digests among them. Oldest first."""
    count, first_at, last_at = 0, 0, 0
    pnl, wins, closings = Decimal(0), 0, 0
    symbols: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    common: dict[str, Any] = {}
    for created_at, facts in found:
        inner = facts.get("digest") or {}
        count += inner.get("count", 1)
        since, until = inner.get("first_at", created_at), inner.get("last_at", created_at)
        first_at, last_at = min(first_at or since, since), max(last_at, until)
        if inner:
            pnl, wins, closings = pnl + Decimal(inner["pnl"]), wins + inner["wins"], closings + inner["closings"]
            symbols.update(inner["symbols"])
            problems.update(inner["problems"])
        else:
            if facts.get("pnl") is not None:
                result = Decimal(str(facts["pnl"]))
                pnl, wins, closings = pnl + result, wins + (result > 0), closings + 1
            symbols.update([facts["symbol"]] if facts.get("symbol") else [])
            problems.update([facts["what"]] if facts.get("what") else [])
        common = {name: facts[name] for name in _COMMON if name in facts}
    told = {
        "count": count,
        "first_at": first_at,
        "last_at": last_at,
        "pnl": str(pnl),
        "wins": wins,
        "closings": closings,
        "symbols": dict(symbols.most_common(_SHOWN * 10)),
        "problems": dict(problems.most_common(_SHOWN * 10)),
    }
    return {**common, "digest": told}


def _similar(queue: Queue) -> sa.Select[Any]:
    """Select what could be merged, oldest first: nothing that was already tried, because it may have arrived."""
    return (
        sa.select(deliveries.c.notice_id, notices.c.created_at, notices.c.facts)
        .join(notices, notices.c.id == deliveries.c.notice_id)
        .where(
            deliveries.c.user_id == queue.user_id,
            deliveries.c.channel == queue.channel,
            deliveries.c.status == "waiting",
            deliveries.c.turn == (0 if queue.urgent else 1),
            deliveries.c.notice_id != queue.first_id,
            deliveries.c.attempts == 0,
            notices.c.kind == queue.kind,
            notices.c.account_id.is_not_distinct_from(queue.account_id),
        )
        .order_by(deliveries.c.notice_id)
    )

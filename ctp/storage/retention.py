"""Keep the database small: decisions move to Parquet by the month, equity thins out, delivered notices go.

Invariants:
1. The ledger and the audit log are never touched.
2. A decision is in the database or in the archive at every instant, whatever crashes; archiving again is harmless.
3. Everything here is written in small transactions, so that the bot never waits for it long.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from ctp.errors import DataDamaged
from ctp.storage.database import Database
from ctp.storage.tables import decisions, deliveries, equity_samples, kernels, login_failures, notices, sessions

DAY_MS = 86_400_000
HOUR_MS = 3_600_000

_BATCH = 5_000  # rows deleted in one transaction

_DECISIONS = pa.schema(
    [
        ("id", pa.int64()),
        ("account_id", pa.int64()),
        ("symbol", pa.string()),
        ("candle_time", pa.int64()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("numbers", pa.string()),
        ("parameter_version", pa.int64()),
        ("decided_at", pa.int64()),
    ]
)


def archive_decisions(database: Database, archive: Path, now_ms: int, keep_days: int) -> int:
    """Move decisions of months that lie wholly before the last `keep_days` to `archive`; returns how many.

    One file for an account and month: `decisions/<account id>/2026-01.parquet`, in order of deciding.
    """
    limit = _month_start(now_ms - keep_days * DAY_MS)
    moved = 0
    while True:
        with database.reading() as connection:
            oldest = connection.execute(
                sa.select(decisions.c.account_id, sa.func.min(decisions.c.candle_time))
                .where(decisions.c.candle_time < limit)
                .group_by(decisions.c.account_id)
                .limit(1)
            ).first()
            if oldest is None:
                return moved
            account_id, first = oldest
            start, end = _month_start(first), _next_month(first)
            month = sa.and_(
                decisions.c.account_id == account_id, decisions.c.candle_time >= start, decisions.c.candle_time < end
            )
            rows = connection.execute(sa.select(decisions).where(month).order_by(decisions.c.decided_at)).mappings().all()
        name = datetime.fromtimestamp(start / 1000, UTC).strftime("%Y-%m")
        _add_to_archive(archive / "decisions" / str(account_id) / f"{name}.parquet", [dict(row) for row in rows])
        ids = [row["id"] for row in rows]
        for first_of_batch in range(0, len(ids), _BATCH):
            with database.transaction() as connection:
                batch = ids[first_of_batch : first_of_batch + _BATCH]
                connection.execute(sa.delete(decisions).where(decisions.c.id.in_(batch)))
        moved += len(rows)


def read_archived_decisions(archive: Path, account_id: int, month: str) -> list[dict[str, Any]]:
    """Return the archived decisions of an account and a month such as `2026-01`, oldest first; empty if none."""
    file = archive / "decisions" / str(int(account_id)) / f"{month}.parquet"
    return _read(file).to_pylist() if file.is_file() else []


def thin_equity(database: Database, now_ms: int, *, every_sample_days: int, hourly_days: int) -> int:
    """Keep each sample of recent days, then the last of every hour, then the last of every day; returns how many went."""
    gone = 0
    hourly_from, daily_from = now_ms - every_sample_days * DAY_MS, now_ms - hourly_days * DAY_MS
    for before, since, step in ((hourly_from, daily_from, HOUR_MS), (daily_from, 0, DAY_MS)):
        bucket = equity_samples.c.time - equity_samples.c.time % step
        window = sa.and_(equity_samples.c.time < before - before % step, equity_samples.c.time >= since - since % step)
        last = sa.select(equity_samples.c.account_id, sa.func.max(equity_samples.c.time)).where(window)
        kept = last.group_by(equity_samples.c.account_id, bucket)
        pair = sa.tuple_(equity_samples.c.account_id, equity_samples.c.time)
        with database.transaction() as connection:
            gone += connection.execute(sa.delete(equity_samples).where(window, pair.not_in(kept))).rowcount
    return gone


def prune_notices(database: Database, now_ms: int, keep_days: int) -> int:
    """Delete old notices that no channel still has to deliver; returns how many."""
    pending = sa.select(deliveries.c.notice_id).where(deliveries.c.status.in_(("waiting", "leased")))
    old = sa.and_(notices.c.created_at < now_ms - keep_days * DAY_MS, notices.c.id.not_in(pending))
    with database.transaction() as connection:
        going = sa.select(notices.c.id).where(old)
        # A notice that one channel still owes may have been told by a digest on another.
        connection.execute(sa.update(deliveries).where(deliveries.c.merged_into.in_(going)).values(merged_into=None))
        connection.execute(sa.delete(deliveries).where(deliveries.c.notice_id.in_(going)))
        return connection.execute(sa.delete(notices).where(old)).rowcount


def prune_sessions(database: Database, now_ms: int, keep_days: int = 30) -> int:
    """Delete sessions that ended long ago, their kernels, and login failures nobody is blocked by; returns sessions."""
    limit = now_ms - keep_days * DAY_MS
    old = sessions.c.expires_at < limit
    with database.transaction() as connection:
        ended = sa.select(sessions.c.id).where(old)
        connection.execute(sa.delete(kernels).where(kernels.c.session_id.in_(ended)))
        connection.execute(
            sa.delete(login_failures).where(
                login_failures.c.first_at < limit, sa.func.coalesce(login_failures.c.blocked_until, 0) < now_ms
            )
        )
        return connection.execute(sa.delete(sessions).where(old)).rowcount


def _add_to_archive(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows beside those already archived, each candle once, and make the file durable before it gets its name."""
    table = pa.Table.from_pylist(rows, schema=_DECISIONS)
    if file.is_file():
        # A crash between archiving and deleting left these rows in both places.
        known = _read(file)
        there = set(zip(known["symbol"].to_pylist(), known["candle_time"].to_pylist(), strict=True))
        fresh = [row for row in rows if (row["symbol"], row["candle_time"]) not in there]
        table = pa.concat_tables([known, pa.Table.from_pylist(fresh, schema=_DECISIONS)]).sort_by("decided_at")
    folder = file.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    with unfinished.open("wb") as sink:
        unfinished.chmod(0o600)
        pq.write_table(table, sink, compression="zstd")
        sink.flush()
        os.fsync(sink.fileno())
    unfinished.replace(file)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(file: Path) -> pa.Table:
    """Read one archive file."""
    try:
        return pq.read_table(file, schema=_DECISIONS)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataDamaged(str(file), str(error).splitlines()[0], "restore it from a backup") from error


def _month_start(time_ms: int) -> int:
    """Return the first millisecond of the month that holds a time, UTC."""
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    return int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp() * 1000)


def _next_month(time_ms: int) -> int:
    """Return the first millisecond of the following month, UTC."""
    return _month_start(_month_start(time_ms) + 32 * DAY_MS)

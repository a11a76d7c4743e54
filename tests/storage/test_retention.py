"""Old rows leave the database without a moment in which they are nowhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from ctp.errors import DataDamaged
from ctp.storage import retention, tables
from ctp.storage.database import Database

DAY = retention.DAY_MS
NOW = int(datetime(2026, 6, 15, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def account(database: Database) -> int:
    """Return an account to hang rows on."""
    with database.transaction() as connection:
        user = {"id": 1, "name": "u", "password_hash": "x", "role": "trader", "created_at": 0}
        connection.execute(sa.insert(tables.users).values(**user))
        row = {"exchange": "binance", "mode": "paper", "symbols": "[]", "timeframe": "1h", "quote": "USDT"}
        connection.execute(sa.insert(tables.accounts).values(id=5, user_id=1, name="a", created_at=0, **row))
    return 5


def decide(database: Database, account: int, *times: int) -> None:
    """Journal one decision at each candle time."""
    row = {"symbol": "BTC/USDT", "outcome": "hold", "reason": "", "numbers": '{"rsi": 31.5}', "parameter_version": 1}
    with database.transaction() as connection:
        for time in times:
            connection.execute(
                sa.insert(tables.decisions).values(account_id=account, candle_time=time, decided_at=time, **row)
            )


def left(database: Database, table: sa.Table, column: str) -> list[int]:
    """Return what is left of a column, sorted."""
    with database.reading() as connection:
        return sorted(connection.scalars(sa.select(table.c[column])))


def at(month: int, day: int) -> int:
    """Return midnight of a day in 2026."""
    return int(datetime(2026, month, day, tzinfo=UTC).timestamp() * 1000)


def test_only_whole_months_older_than_the_limit_move_to_the_archive(
    database: Database, account: int, tmp_path: Path
) -> None:
    """A month that began before the limit but reaches past it stays."""
    times = [at(1, 1), at(1, 31), at(2, 10), at(3, 16), at(6, 1)]
    decide(database, account, *times)
    assert retention.archive_decisions(database, tmp_path, NOW, keep_days=90) == 3  # 90 days ago is 17 March
    assert left(database, tables.decisions, "candle_time") == times[3:]
    january = retention.read_archived_decisions(tmp_path, account, "2026-01")
    assert [row["candle_time"] for row in january] == times[:2]
    assert january[0]["numbers"] == '{"rsi": 31.5}'
    assert retention.archive_decisions(database, tmp_path, NOW, keep_days=90) == 0


def test_a_crash_between_archiving_and_deleting_doubles_nothing(
    database: Database, account: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows are archived again, and one that came late with them."""
    decide(database, account, at(1, 1), at(1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(sa, "delete", lambda table: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            retention.archive_decisions(database, tmp_path, NOW, keep_days=90)
    assert len(left(database, tables.decisions, "id")) == 2
    decide(database, account, at(1, 3))
    assert retention.archive_decisions(database, tmp_path, NOW, keep_days=90) == 3
    archived = retention.read_archived_decisions(tmp_path, account, "2026-01")
    assert [row["candle_time"] for row in archived] == [at(1, 1), at(1, 2), at(1, 3)]


def test_a_broken_archive_file_is_named_and_nothing_is_deleted(database: Database, account: int, tmp_path: Path) -> None:
    """What cannot be read is never overwritten."""
    file = tmp_path / "decisions" / str(account) / "2026-01.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PAR1 not really")
    decide(database, account, at(1, 1))
    with pytest.raises(DataDamaged, match=r"2026-01\.parquet"):
        retention.archive_decisions(database, tmp_path, NOW, keep_days=90)
    assert left(database, tables.decisions, "candle_time") == [at(1, 1)]


def test_equity_thins_to_the_last_sample_of_an_hour_then_of_a_day(database: Database, account: int) -> None:
    """Thinning twice changes nothing more."""
    recent = [NOW - DAY, NOW - DAY + 60_000]
    hourly = [at(6, 1), at(6, 1) + 60_000, at(6, 1) + 3_600_000]
    daily = [at(2, 1), at(2, 1) + 3_600_000, at(2, 2)]
    with database.transaction() as connection:
        for time in recent + hourly + daily:
            connection.execute(
                sa.insert(tables.equity_samples).values(account_id=account, time=time, equity=1.0, balance=1.0)
            )
    assert retention.thin_equity(database, NOW, every_sample_days=7, hourly_days=90) == 2
    assert left(database, tables.equity_samples, "time") == sorted(recent + hourly[1:] + daily[1:])
    assert retention.thin_equity(database, NOW, every_sample_days=7, hourly_days=90) == 0


def test_old_notices_go_only_when_no_channel_still_has_to_deliver_them(database: Database, account: int) -> None:
    """An undelivered notice stays, however old."""
    rows = [(1, NOW - 100 * DAY, "delivered"), (2, NOW - 100 * DAY, "waiting"), (3, NOW - DAY, "delivered")]
    with database.transaction() as connection:
        for number, created, status in rows:
            notice = {"id": number, "user_id": 1, "kind": "system_error", "facts": "{}", "created_at": created}
            connection.execute(sa.insert(tables.notices).values(deduplication_key=str(number), **notice))
            delivery = {"notice_id": number, "user_id": 1, "due_at": created}
            connection.execute(sa.insert(tables.deliveries).values(channel="web", status=status, **delivery))
            if number == 2:  # told on another channel, by a digest that is old and delivered itself
                told = {"status": "merged", "merged_into": 1}
                connection.execute(sa.insert(tables.deliveries).values(channel="email", **told, **delivery))
    assert retention.prune_notices(database, NOW, keep_days=90) == 1
    assert left(database, tables.notices, "id") == [2, 3]


def test_sessions_that_ended_long_ago_go_with_their_kernels(database: Database, account: int) -> None:
    """A kernel has no life of its own."""
    with database.transaction() as connection:
        for name, expires in (("old", NOW - 31 * DAY), ("new", NOW - 29 * DAY)):
            connection.execute(
                sa.insert(tables.sessions).values(
                    id=name, user_id=1, refresh_hash="x", created_at=0, seen_at=0, expires_at=expires
                )
            )
            connection.execute(
                sa.insert(tables.kernels).values(
                    id=name, session_id=name, handle_hash=name, dashboard="trading", created_at=0
                )
            )
    assert retention.prune_sessions(database, NOW) == 1
    with database.reading() as connection:
        assert list(connection.scalars(sa.select(tables.kernels.c.id))) == ["new"]


def test_ledger_and_audit_log_are_out_of_reach() -> None:
    """The two that are never pruned are not even imported."""
    source = Path(retention.__file__).read_text("utf-8")
    assert "audit_log" not in source and "ledger" not in source.replace("The ledger and", "")

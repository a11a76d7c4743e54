"""One holder at a time; a token that only grows; heartbeats."""

from __future__ import annotations

from ctp.storage.database import Database
from ctp.storage.leases import acquire_lease, beat, read_heartbeats, read_lease, release_lease, renew_lease


def test_a_second_holder_waits_until_the_lease_expires_and_the_token_grows(database: Database) -> None:
    """The first holder notices when it renews."""
    with database.transaction() as connection:
        first = acquire_lease(connection, "bot", "one", now_ms=1_000, duration_ms=500)
        assert first is not None and (first.token, first.expires_at) == (1, 1_500)
        assert acquire_lease(connection, "bot", "two", now_ms=1_499, duration_ms=500) is None
        second = acquire_lease(connection, "bot", "two", now_ms=1_500, duration_ms=500)
        assert second is not None and second.token == 2
        assert renew_lease(connection, first, now_ms=1_600, duration_ms=500) is None
        assert renew_lease(connection, second, now_ms=1_600, duration_ms=500) == second._replace(expires_at=2_100)


def test_a_holder_that_asks_again_keeps_its_token(database: Database) -> None:
    """A process that asks twice is still one holder."""
    with database.transaction() as connection:
        acquire_lease(connection, "bot", "one", 0, 100)
        again = acquire_lease(connection, "bot", "one", 50, 100)
        assert again is not None and (again.token, again.expires_at) == (1, 150)


def test_a_released_lease_is_free_at_once_and_its_token_stays_used(database: Database) -> None:
    """Releasing what has changed hands does nothing."""
    with database.transaction() as connection:
        first = acquire_lease(connection, "bot", "one", 0, 10_000)
        assert first is not None
        release_lease(connection, first)
        second = acquire_lease(connection, "bot", "two", 1, 10_000)
        assert second is not None and second.token == 2
        release_lease(connection, first)  # too late: it is the other's now
        assert read_lease(connection, "bot") == second


def test_the_last_heartbeat_of_each_process_is_kept(database: Database) -> None:
    """An update replaces the last one of the same process."""
    with database.transaction() as connection:
        beat(connection, "bot", 1, {"lag_ms": 3})
        beat(connection, "bot", 2, {"lag_ms": 4})
        beat(connection, "web", 2)
    with database.reading() as connection:
        beats = read_heartbeats(connection)
    assert (beats["bot"].at, beats["bot"].details, beats["web"].details) == (2, {"lag_ms": 4}, {})

"""Announce a bot that has gone silent, and that it is back: told by another process, because a dead bot tells nothing.

Invariant: each silence is told once, and its end once, whatever restarts in between.
"""

from __future__ import annotations

import sqlalchemy as sa

from ctp.notifiers.outbox import tell_account, tell_operators
from ctp.storage.leases import read_heartbeats
from ctp.storage.tables import account_states, notices

SILENT_AFTER_MS = 30_000
_LOOK_BACK_MS = 7 * 24 * 3_600_000
_KEY = "bot_silent:"


def watch_bot(connection: sa.Connection, now_ms: int) -> None:
    """Tell owners of running accounts, and operators, when the bot has been silent for half a minute, or is back.

    A bot that never ran here is no news.
    """
    bot = read_heartbeats(connection).get("bot")
    if bot is None:
        return
    if now_ms - bot.at > SILENT_AFTER_MS:
        _tell(connection, "bot_silent", f"{_KEY}{bot.at}", now_ms, urgent=True)
        return
    told = sa.select(notices.c.deduplication_key).where(
        notices.c.created_at > now_ms - _LOOK_BACK_MS, notices.c.deduplication_key.contains(_KEY)
    )
    last_beats = [int(key.rpartition(":")[2]) for key in connection.scalars(told)]
    if last_beats:
        _tell(connection, "bot_back", f"bot_back:{max(last_beats)}", now_ms, urgent=False)


def _tell(connection: sa.Connection, what: str, key: str, now_ms: int, *, urgent: bool) -> None:
    """Tell everybody whom it concerns."""
    running = sa.select(account_states.c.account_id).where(account_states.c.status.in_(("running", "paused")))
    for account_id in connection.scalars(running.order_by(account_states.c.account_id)).all():
        tell_account(connection, account_id, "system_error", {"what": what}, key, now_ms, urgent=urgent)
    tell_operators(connection, "system_error", {"what": what}, key, now_ms, urgent=urgent)

"""A channel that refuses everybody: operators are told once, and once more when it works again.

What was told is read from the notices themselves, so a restart neither repeats nor forgets it.
"""

from __future__ import annotations

import sqlalchemy as sa

from ctp.notifiers.outbox import tell_operators
from ctp.storage.tables import notices

_LOOK_BACK_MS = 30 * 24 * 3_600_000


def tell_channel_down(connection: sa.Connection, channel: str, reason: str, now_ms: int) -> None:
    """Tell operators that nothing can be sent over a channel, unless they know."""
    if _open_trouble(connection, channel, now_ms) is None:
        facts = {"what": f"{channel}_down", "reason": reason}
        tell_operators(connection, "system_error", facts, f"channel_down:{channel}:{now_ms}", now_ms, urgent=True)


def tell_channel_up(connection: sa.Connection, channel: str, now_ms: int) -> None:
    """Tell operators that a channel works again, if they were told that it does not."""
    since = _open_trouble(connection, channel, now_ms)
    if since is not None:
        tell_operators(connection, "system_error", {"what": f"{channel}_up"}, f"channel_up:{channel}:{since}", now_ms)


def _open_trouble(connection: sa.Connection, channel: str, now_ms: int) -> str | None:
    """Return since when operators know a channel to be down; None when they do not."""
    recent = sa.select(notices.c.deduplication_key).where(
        notices.c.created_at > now_ms - _LOOK_BACK_MS, notices.c.kind == "system_error"
    )
    told = {
        what: {key.rpartition(":")[2] for key in connection.scalars(recent.where(_begins(f"channel_{what}:{channel}:")))}
        for what in ("down", "up")
    }
    return max(told["down"] - told["up"], key=int, default=None)


def _begins(prefix: str) -> sa.ColumnElement[bool]:
    """Return the condition that a notice's key begins with these words."""
    return notices.c.deduplication_key.startswith(prefix, autoescape=True)

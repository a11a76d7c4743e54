"""How fast each channel may be used, and what may not be used right now.

Telegram allows a bot 30 messages a second over all, one a second to a chat and twenty a minute to a group. The windows
here are a little longer, because what leaves evenly may arrive unevenly.

Invariants:
1. Nothing here waits: it says how long something would have to wait, so that one slow address holds up nobody else.
2. What was sent is known for as long as a window reaches back, within this process.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple


class Limit(NamedTuple):
    """At most so many within a window."""

    most: int
    window_s: float


class Pace(NamedTuple):
    """The limits of one channel."""

    overall: tuple[Limit, ...] = ()
    address: tuple[Limit, ...] = ()  # a single person
    group: tuple[Limit, ...] = ()  # several people behind one address


TELEGRAM = Pace((Limit(30, 1.05),), (Limit(1, 1.05),), (Limit(1, 1.05), Limit(20, 63.0)))


def email_pace(per_second: float) -> Pace:
    """Return the pace of a mail server: none but the operator's for all mail together."""
    return Pace((Limit(1, 1 / per_second) if per_second < 1 else Limit(math.floor(per_second), 1.0),))


class Pacer:
    """Remembers what was sent when, and what is held. Times are of one monotonic clock, in seconds."""

    def __init__(self, paces: Mapping[str, Pace]) -> None:
        """Keep these limits; a channel without any is never slowed down."""
        self._paces = paces
        self._sent: dict[tuple[str, str], deque[float]] = {}
        self._held: dict[tuple[str, str], float] = {}

    def wait_s(self, channel: str, address: str, now_s: float) -> float:
        """Return how long a message to an address has to wait; 0 when it may go now."""
        waits = [until - now_s for key in ((channel, ""), (channel, address)) if (until := self._held.get(key))]
        waits += [self._room_s(key, limit, now_s) for key, limits in self._rules(channel, address) for limit in limits]
        return max(0.0, *waits) if waits else 0.0

    def count(self, channel: str, address: str, now_s: float) -> None:
        """Note that a message leaves now."""
        for key, limits in self._rules(channel, address):
            if limits:
                sent = self._sent.setdefault(key, deque())
                sent.append(now_s)
                while len(sent) > max(limit.most for limit in limits):
                    sent.popleft()
        if len(self._sent) > 10_000:
            self._forget(now_s)

    def hold(self, channel: str, address: str, until_s: float) -> None:
        """Send nothing to an address, or with an empty one to nobody on the channel, until then."""
        self._held[channel, address] = max(until_s, self._held.get((channel, address), until_s))

    def release(self, channel: str) -> None:
        """End the hold of a whole channel, because it works."""
        self._held.pop((channel, ""), None)

    def _rules(self, channel: str, address: str) -> tuple[tuple[tuple[str, str], tuple[Limit, ...]], ...]:
        """Return what is counted for an address, with its limits."""
        pace = self._paces.get(channel)
        if pace is None:
            return ()
        is_group = channel == "telegram" and address.startswith("-")
        return ((channel, ""), pace.overall), ((channel, address), pace.group if is_group else pace.address)

    def _room_s(self, key: tuple[str, str], limit: Limit, now_s: float) -> float:
        """Return how long until there is room under a limit."""
        sent = self._sent.get(key, ())
        if len(sent) < limit.most:
            return 0.0
        return sent[-limit.most] + limit.window_s - now_s

    def _forget(self, now_s: float) -> None:
        """Drop what no window reaches any more."""
        longest = max(limit.window_s for pace in self._paces.values() for limits in pace for limit in limits)
        self._sent = {key: sent for key, sent in self._sent.items() if sent[-1] > now_s - longest}
        self._held = {key: until for key, until in self._held.items() if until > now_s}

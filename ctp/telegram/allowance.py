"""How often somebody is answered, kept in memory: strangers must not make the bot talk, nor anybody tire it."""

from __future__ import annotations

from collections import OrderedDict, deque

_MOST_KEYS = 10_000


class Allowance:
    """At most so many in a window of time, for each key."""

    def __init__(self, most: int, window_ms: int) -> None:
        """Allow `most` in any window."""
        self._most, self._window_ms = most, window_ms
        self._past: OrderedDict[str, deque[int]] = OrderedDict()

    def take(self, key: str, now_ms: int) -> bool:
        """Use one up; False when none is left. Who was silent longest is forgotten first."""
        past = self._past.setdefault(key, deque())
        self._past.move_to_end(key)
        while len(self._past) > _MOST_KEYS:
            self._past.popitem(last=False)
        while past and past[0] <= now_ms - self._window_ms:
            past.popleft()
        if len(past) >= self._most:
            return False
        past.append(now_ms)
        return True

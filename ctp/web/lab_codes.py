"""Codes that hand a session over to JupyterLab: good once and for a minute."""

from __future__ import annotations

import secrets

_CODE_S = 60.0
_MOST_CODES = 1000


class Codes:
    """The codes that hand a session over, until they are used or too old."""

    def __init__(self) -> None:
        """Begin with none."""
        self._waiting: dict[str, tuple[str, float]] = {}

    def make(self, session_id: str, now_s: float) -> str:
        """Return a new code for a session."""
        self._waiting = {code: held for code, held in self._waiting.items() if held[1] > now_s}
        while len(self._waiting) >= _MOST_CODES:
            self._waiting.pop(next(iter(self._waiting)))
        code = secrets.token_urlsafe(32)
        self._waiting[code] = (session_id, now_s + _CODE_S)
        return code

    def take(self, code: str, now_s: float) -> str | None:
        """Return the session of a code, which is worth nothing from now on."""
        session_id, until = self._waiting.pop(code, ("", 0.0))
        return session_id if until > now_s else None

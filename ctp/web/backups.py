"""How backups stand, as the operations page shows it: no archive is opened, no account is named."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ctp.backup.remote import shown_address
from ctp.backup.state import BackupState, Check, KindState, backup_state
from ctp.config import Settings
from ctp.i18n import text

_MOST_LINES = 5


def backups_view(settings: Settings, connection: sa.Connection, language: str, now_ms: int) -> dict[str, Any]:
    """Return the panel's contents; times are milliseconds UTC."""
    state = backup_state(settings, connection, now_ms)

    def say(key: str, **facts: object) -> str:
        return text(f"web.backups.{key}", language, **facts)

    return {
        "is_good": state.is_good,
        "state": say(_standing(state)),
        "newest_at": state.newest_at,
        "total": say("total", count=state.points, size=_megabytes(state.bytes), chain=state.chain),
        "kinds": [
            _kind(text(f"jobs.name.backup_{name}", language), kind)
            for name, kind in (("full", state.full), ("incremental", state.incremental), ("config", state.configuration))
        ],
        "checks": [
            _check(say("verification"), state.verification, say, "read", late=bool(state.damaged)),
            _check(say("drill"), state.drill, say, "restored", late=state.is_drill_late),
            _remote(settings, state.remote, say),
            _check(say("sheet"), state.sheet, say, "printed"),
        ],
        "damaged": list(state.damaged[:_MOST_LINES]),
    }


def _standing(state: BackupState) -> str:
    """Return the key of the word for the whole."""
    if state.newest_at is None:
        return "none"
    if state.damaged:
        return "is_damaged"
    return "is_late" if state.is_late else "is_good" if state.is_good else "look"


def _kind(name: str, kind: KindState) -> dict[str, Any]:
    """Return a line of the table of kinds."""
    return {"name": name, "at": kind.at, "added": _megabytes(kind.bytes), "next_at": kind.next_at}


def _check(name: str, check: Check | None, say: Any, good: str, *, late: bool = False) -> dict[str, Any]:
    """Return a check: when it was, how it ended, and what it found."""
    if check is None:
        return {"name": name, "at": None, "look": "paused", "state": say("never"), "found": "", "lines": []}
    problems = [str(line) for line in (*check.facts.get("problems", ()), *check.facts.get("damaged", ()))]
    numbers = {key: value for key, value in check.facts.items() if isinstance(value, int)}
    return {
        "name": name,
        "at": check.at,
        "look": "running" if check.ok and not late else "paused" if check.ok else "blocked",
        "state": say("fine" if check.ok and not late else "late" if check.ok else "failed"),
        "found": say(good, **numbers) if check.ok else "",
        "lines": (problems or ([] if check.ok else [check.summary]))[:_MOST_LINES],
    }


def _remote(settings: Settings, check: Check | None, say: Any) -> dict[str, Any]:
    """Return the second place and how the last copy went."""
    if not settings.backup.remote:
        return {"name": say("remote"), "at": None, "look": "paused", "state": say("not_set"), "found": say("set_it"), "lines": []}
    shown = _check(say("remote"), check, say, "copied")
    return shown | {"found": " · ".join(part for part in (shown_address(settings), shown["found"]) if part)}


def _megabytes(size: int) -> str:
    """Return a size as people read it."""
    return f"{size / 1e6:,.1f} MB"

"""Versions of the configuration: ctp.toml and the settings that live in the database, with author and reason.

Invariants:
1. A change of stored settings and its version are one transaction (`audit.record` sees to it).
2. A version is never changed; going back is a new one.
3. No secret is in it: ctp.toml names files that hold secrets, and stored keys are left out.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.errors import NotFound
from ctp.storage.tables import (
    account_shares,
    accounts,
    configuration_versions,
    notice_settings,
    parameter_versions,
    users,
)

# Deeds of the audit log that change stored settings.
CHANGES = frozenset(
    {
        "account.capital",
        "account.close",
        "account.create",
        "account.share",
        "account.unshare",
        "contact.confirm",
        "contact.remove",
        "parameters.append",
        "telegram.lang",
        "user.add",
        "user.disable",
        "user.enable",
        "user.notice_times",
        "user.notices",
        "user.preferences",
        "user.role",
    }
)
_USER = ("role", "language", "zone", "theme", "rise_colour", "quiet_from", "quiet_until", "report_at", "weekly_report",
         "monthly_report")  # fmt: skip
UNCHANGED = "\0"  # for `file`: as in the version before


class ConfigurationVersion(NamedTuple):
    """One version."""

    id: int
    at: int
    author: str
    door: str
    reason: str
    file: str | None
    stored: dict[str, Any]


def stored_settings(connection: sa.Connection) -> dict[str, Any]:
    """Return the settings that live in the database, named as people know them."""
    names = {row.id: row.name for row in connection.execute(sa.select(users.c.id, users.c.name))}
    people = {
        row.name: {name: getattr(row, name) for name in _USER} | {"disabled": row.disabled_at is not None, "notices": {}}
        for row in connection.execute(sa.select(users).order_by(users.c.id))
    }
    for row in connection.execute(sa.select(notice_settings)):
        people[names[row.user_id]]["notices"][f"{row.kind}.{row.channel}"] = row.enabled
    newest = sa.select(parameter_versions.c.account_id, sa.func.max(parameter_versions.c.version).label("version"))
    last = newest.group_by(parameter_versions.c.account_id).subquery()
    same = sa.and_(
        parameter_versions.c.account_id == last.c.account_id, parameter_versions.c.version == last.c.version
    )
    parameters = {
        row.account_id: {
            "version": row.version,
            "strategy": row.strategy,
            "strategy_parameters": _plain(row.strategy_parameters),
            "risk_parameters": _plain(row.risk_parameters),
        }
        for row in connection.execute(sa.select(parameter_versions).join(last, same))
    }
    shares: dict[int, dict[str, str]] = {}
    for row in connection.execute(sa.select(account_shares)):
        shares.setdefault(row.account_id, {})[names[row.user_id]] = row.role
    found: dict[str, Any] = {}
    for row in connection.execute(sa.select(accounts).order_by(accounts.c.id)):
        found[str(row.id)] = {
            "owner": names[row.user_id],
            "name": row.name,
            "exchange": row.exchange,
            "mode": row.mode,
            "symbols": row.symbols,
            "timeframe": row.timeframe,
            "capital": None if row.capital is None else format(row.capital, "f"),
            "closed": row.closed_at is not None,
            "shared_with": shares.get(row.id, {}),
            "parameters": parameters.get(row.id),
        }
    return {"users": people, "accounts": found}


def note_version(
    connection: sa.Connection,
    author: str,
    author_id: int | None,
    door: str,
    reason: str,
    now_ms: int,
    *,
    file: str | None = UNCHANGED,
) -> int | None:
    """Write down the configuration as it is now; returns the version, or None when nothing has changed.

    file: the text of ctp.toml; None when there is none; left out when it is as before.
    """
    last = newest_version(connection)
    if file == UNCHANGED:
        file = None if last is None else last.file
    stored = json.dumps(stored_settings(connection), ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(json.dumps([file, stored]).encode()).hexdigest()
    if last is not None:
        before = connection.scalar(
            sa.select(configuration_versions.c.digest).where(configuration_versions.c.id == last.id)
        )
        if before == digest:
            return None
    row = {"at": now_ms, "author": author[:64], "author_id": author_id, "door": door[:16], "reason": reason[:256]}
    made = sa.insert(configuration_versions).values(**row, file=file, stored=stored, digest=digest)
    return int(connection.execute(made.returning(configuration_versions.c.id)).scalar_one())


def newest_version(connection: sa.Connection) -> ConfigurationVersion | None:
    """Return the newest version; None before the first."""
    found = list_versions(connection, limit=1)
    return found[0] if found else None


def list_versions(connection: sa.Connection, *, limit: int = 100) -> list[ConfigurationVersion]:
    """Return versions, newest first."""
    query = sa.select(configuration_versions).order_by(configuration_versions.c.id.desc()).limit(limit)
    return [_version(row) for row in connection.execute(query)]


def read_version(connection: sa.Connection, number: int) -> ConfigurationVersion:
    """Return a version; NotFound when there is none of this number."""
    row = connection.execute(sa.select(configuration_versions).where(configuration_versions.c.id == number)).first()
    if row is None:
        raise NotFound(f"there is no configuration version {number}; ctp config history lists them")
    return _version(row)


def _version(row: sa.Row[tuple[Any, ...]]) -> ConfigurationVersion:
    """Return a row as a version."""
    return ConfigurationVersion(row.id, row.at, row.author, row.door, row.reason, row.file, json.loads(row.stored))


def _plain(text: str) -> Any:
    """Return stored JSON; what is none stays the text it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text

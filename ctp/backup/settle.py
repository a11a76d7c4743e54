"""What a restored database must forget before anybody works with it: it is older than the world.

Invariants:
1. No account trades before a person says Start: every one that ran is paused, with the reason `restored`.
2. No command, session, lease or unsent message from before comes to life again.
3. No parameters become active on a live account that were not accepted there: with a green verdict or a named override.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.live_door import LIVE, RED, accept, deciding_values, grounds_of, known_verdict, why_not_live
from ctp.accounts.rights import machine
from ctp.core.rules import is_perpetual_symbol
from ctp.errors import CtpError, NotAllowed
from ctp.storage.tables import (
    account_states,
    accounts,
    commands,
    confirmations,
    deliveries,
    heartbeats,
    job_runs,
    kernels,
    leases,
    parameter_versions,
    sessions,
)
from ctp.trading.parameters import read_parameters
from ctp.trading.store import PAUSED, RESTORED, STOPPED

_DECIDING = ("strategy", "strategy_parameters", "risk_parameters", "source_hash")


class RestoredAccount(NamedTuple):
    """An account as it comes back."""

    id: int
    name: str
    mode: str
    status_before: str
    parameter_version: int
    problem: str  # why its parameters may not trade today; empty: they may


def settle(connection: sa.Connection, backup_id: str, now_ms: int, override: str) -> list[RestoredAccount]:
    """Make a restored database safe to start on, and write down that it was restored."""
    found = read_accounts(connection)
    connection.execute(
        sa.update(account_states)
        .where(account_states.c.status != STOPPED)
        .values(status=PAUSED, status_reason=RESTORED, updated_at=now_ms)
    )
    connection.execute(
        sa.update(account_states).where(account_states.c.status == STOPPED).values(status_reason=RESTORED)
    )
    for account in found:
        if account.problem:
            reason = f"{RESTORED}: {account.problem}"[:256]
            this = account_states.c.account_id == account.id
            connection.execute(sa.update(account_states).where(this).values(status_reason=reason))
    connection.execute(
        sa.update(commands)
        .where(commands.c.done_at.is_(None))
        .values(done_at=now_ms, result="not done: a backup was restored; ask again")
    )
    connection.execute(
        sa.update(sessions).where(sessions.c.revoked_at.is_(None)).values(revoked_at=now_ms, revoked_reason=RESTORED)
    )
    for table in (kernels, confirmations, heartbeats):
        connection.execute(sa.delete(table))
    connection.execute(sa.update(leases).values(expires_at=0, holder="", token=leases.c.token + 1))
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.status.in_(("waiting", "leased")))
        .values(status="dead", error="not sent: a backup was restored", leased_by=None, leased_until=None)
    )
    connection.execute(
        sa.update(job_runs)
        .where(job_runs.c.ended_at.is_(None))
        .values(ended_at=now_ms, result="lost", error="a backup was restored")
    )
    for account in found:
        if override.strip() and account.mode == LIVE and grounds_of(connection, account.id).problem:
            accept(connection, machine("cli"), account.id, override, now_ms)
    details = {"override": override, "paused": [account.name for account in found if account.status_before != STOPPED]}
    record(connection, machine("cli"), "backup.restore", backup_id, now_ms, **details)
    return found


def read_accounts(connection: sa.Connection) -> list[RestoredAccount]:
    """Return the open accounts of a database, with what today's ceilings say about their parameters."""
    query = (
        sa.select(accounts, account_states.c.status)
        .join_from(accounts, account_states, isouter=True)
        .where(accounts.c.closed_at.is_(None))
        .order_by(accounts.c.id)
    )
    found = []
    for row in connection.execute(query).all():
        version, problem = 0, ""
        try:
            is_perpetual = all(map(is_perpetual_symbol, json.loads(row.symbols)))
            version = read_parameters(connection, row.id, is_perpetual=is_perpetual).version
        except (CtpError, ValueError, KeyError, TypeError) as error:
            problem = str(error) or type(error).__name__
        found.append(RestoredAccount(row.id, row.name, row.mode, row.status or STOPPED, version, problem))
    return found


def live_parameters(connection: sa.Connection) -> dict[int, tuple[object, ...]]:
    """Return what every account trades with now, by account; for `check_door_to_live`."""
    columns = [parameter_versions.c[name] for name in ("account_id", *_DECIDING)]
    rows = connection.execute(sa.select(*columns).order_by(parameter_versions.c.account_id, parameter_versions.c.version))
    return {row[0]: tuple(row[1:]) for row in rows}  # the newest comes last


def check_door_to_live(
    restored: sa.Connection, current: Mapping[int, tuple[object, ...]] | None, override: str
) -> None:
    """Raise NotAllowed when a live account would trade with parameters it has not been let in with.

    current: `live_parameters` of the database that is replaced; None when there is none. What trades there now may go
    on; anything else needs the verdict or override its version was accepted with, and on a living server a new one.
    Red stays on paper whatever is said.
    """
    coming = live_parameters(restored)
    for account in read_accounts(restored):
        if account.mode != LIVE or account.id not in coming:
            continue
        if current is not None and coming[account.id] == current.get(account.id):
            continue
        grounds = grounds_of(restored, account.id)
        is_red = known_verdict(restored, deciding_values(*coming[account.id]), grounds.verdict) == RED
        if is_red:
            raise NotAllowed(f"the live account {account.name} cannot go back to these parameters: {why_not_live(RED, '')}")
        if not override.strip() and (current is not None or grounds.problem):
            raise NotAllowed(
                f"the live account {account.name} would go back to parameter version {account.parameter_version};"
                ' say why it may: --override "..."'
            )

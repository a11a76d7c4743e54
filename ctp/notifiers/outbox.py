"""The outbox: what happened is written down in the transaction in which it happened, and delivered afterwards.

Invariants:
1. A notice exists exactly if its transaction was committed, and once for each person and key, however often it is told.
2. Facts are kept, not words: every reader gets their own language and time zone.
3. Notices become readable in the order of their ids.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ctp.logs import redact_fields
from ctp.notifiers.kinds import Kind, channels_on
from ctp.storage.database import insert_or
from ctp.storage.tables import (
    account_shares,
    account_states,
    accounts,
    deliveries,
    notices,
    parameter_versions,
    users,
)

_DEFAULT_DAILY_LOSS_LIMIT = 0.03
_ORDER_LOCK = 7203403


def tell_account(
    connection: sa.Connection,
    account_id: int,
    kind: Kind,
    facts: Mapping[str, Any],
    key: str,
    now_ms: int,
    *,
    urgent: bool = False,
) -> int:
    """Tell an account's owner, and those who trade it with them, what happened; returns how many notices are new.

    facts: see `messages`; the account's name, mode, exchange and quote and today's loss against its limit are added.
    key: names what happened, within the account: telling it again with the same key does nothing.
    """
    account = connection.execute(sa.select(accounts).where(accounts.c.id == account_id)).one()
    everything = {
        "account": account.name,
        "mode": account.mode,
        "exchange": account.exchange,
        "quote": account.quote,
        **_today(connection, account_id),
        **facts,
    }
    shared = sa.select(account_shares.c.user_id).where(
        account_shares.c.account_id == account_id, account_shares.c.role == "trader"
    )
    who = sa.select(users.c.id).where(
        sa.or_(users.c.id == account.user_id, users.c.id.in_(shared)), users.c.disabled_at.is_(None)
    )
    return sum(
        tell_user(connection, user_id, kind, everything, f"{account_id}:{key}", now_ms, account_id, urgent=urgent)
        for user_id in connection.scalars(who.order_by(users.c.id)).all()
    )


def tell_operators(
    connection: sa.Connection, kind: Kind, facts: Mapping[str, Any], key: str, now_ms: int, *, urgent: bool = False
) -> int:
    """Tell operators and administrators what concerns the whole installation; returns how many notices are new."""
    who = sa.select(users.c.id).where(users.c.role.in_(("operator", "admin")), users.c.disabled_at.is_(None))
    return sum(
        tell_user(connection, user_id, kind, facts, key, now_ms, urgent=urgent)
        for user_id in connection.scalars(who.order_by(users.c.id)).all()
    )


def tell_user(
    connection: sa.Connection,
    user_id: int,
    kind: Kind,
    facts: Mapping[str, Any],
    key: str,
    now_ms: int,
    account_id: int | None = None,
    *,
    urgent: bool = False,
) -> bool:
    """Write one notice and a delivery for each channel the person wants it on; False when it was told before."""
    channels = channels_on(connection, user_id, kind, urgent=urgent)
    return tell_over(connection, channels, user_id, kind, facts, key, now_ms, account_id, urgent=urgent) is not None


def tell_over(
    connection: sa.Connection,
    channels: Sequence[str],
    user_id: int,
    kind: str,
    facts: Mapping[str, Any],
    key: str,
    now_ms: int,
    account_id: int | None = None,
    *,
    urgent: bool = False,
) -> int | None:
    """Write one notice and a delivery for each of these channels; returns its id, None when it was told before."""
    if connection.dialect.name == "postgresql":
        # Ids are given before the commit: without this a reader could see 7, then 6, and miss 6.
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_ORDER_LOCK})"))
    notice_id = connection.execute(
        insert_or(connection, notices)
        .values(
            user_id=user_id,
            account_id=account_id,
            kind=kind,
            facts=json.dumps(redact_fields(_known(facts)), ensure_ascii=False, default=_plain),
            deduplication_key=key[:128],
            urgent=urgent,
            created_at=now_ms,
        )
        .on_conflict_do_nothing(index_elements=[notices.c.user_id, notices.c.deduplication_key])
        .returning(notices.c.id)
    ).scalar()
    if notice_id is None:
        return None
    for channel in channels:
        # A web notice is delivered once its row can be read; pushing it to open pages is a courtesy on top.
        is_web = channel == "web"
        connection.execute(
            sa.insert(deliveries).values(
                notice_id=notice_id,
                channel=channel,
                user_id=user_id,
                turn=0 if urgent else 1,
                status="delivered" if is_web else "waiting",
                due_at=now_ms,
                delivered_at=now_ms if is_web else None,
            )
        )
    return int(notice_id)


def _today(connection: sa.Connection, account_id: int) -> dict[str, float]:
    """Return today's profit so far and the loss that is allowed, as the bot last knew them."""
    state = connection.execute(
        sa.select(account_states.c.equity, account_states.c.day_start_equity).where(
            account_states.c.account_id == account_id
        )
    ).first()
    if state is None or state.equity is None or state.day_start_equity is None:
        return {}
    newest = connection.execute(
        sa.select(parameter_versions.c.risk_parameters)
        .where(parameter_versions.c.account_id == account_id)
        .order_by(parameter_versions.c.version.desc())
        .limit(1)
    ).scalar()
    fraction = json.loads(newest or "{}").get("daily_loss_limit", _DEFAULT_DAILY_LOSS_LIMIT)
    return {"day_pnl": state.equity - state.day_start_equity, "day_limit": state.day_start_equity * fraction}


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts without those that are not a number after all; JSON has no word for them."""
    return {name: value for name, value in facts.items() if not (isinstance(value, float) and not math.isfinite(value))}


def _plain(value: object) -> str | float:
    """Write exact decimals as their text, and anything else as it shows itself."""
    return format(value, "f") if isinstance(value, Decimal) else str(value)

"""Which parameters an account trades with: its newest version, or the defaults when it has none.

The bounds of today apply to yesterday's settings too: a stored set is validated again whenever it is read.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import DEFAULT_STRATEGY, find
from ctp.storage.tables import parameter_versions

DEFAULT_VERSION = 0


class Chosen(NamedTuple):
    """The numbers an account decides with, and the version they come from."""

    version: int
    strategy: Any
    risk: Any


def newest_versions(connection: sa.Connection) -> dict[int, int]:
    """Return the newest version of every account that has one."""
    query = sa.select(parameter_versions.c.account_id, sa.func.max(parameter_versions.c.version))
    rows = connection.execute(query.group_by(parameter_versions.c.account_id))
    return {row[0]: row[1] for row in rows}


def read_parameters(connection: sa.Connection, account_id: int, *, is_perpetual: bool) -> Chosen:
    """Return what an account trades with; InputError when a stored value breaks a bound of today."""
    query = (
        sa.select(parameter_versions)
        .where(parameter_versions.c.account_id == account_id)
        .order_by(parameter_versions.c.version.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return _chosen(row, is_perpetual=is_perpetual)


def read_version(connection: sa.Connection, account_id: int, version: int, *, is_perpetual: bool) -> Chosen:
    """Return what an account traded with at a version; InputError when a stored value breaks a bound of today."""
    this = sa.and_(parameter_versions.c.account_id == account_id, parameter_versions.c.version == version)
    row = connection.execute(sa.select(parameter_versions).where(this)).first()
    return _chosen(row, is_perpetual=is_perpetual)


def _chosen(row: sa.Row[Any] | None, *, is_perpetual: bool) -> Chosen:
    """Return the numbers of a version; without one, the defaults."""
    if row is None:
        risk = DynamicRiskManager().for_market(is_perpetual)
        return Chosen(DEFAULT_VERSION, find(DEFAULT_STRATEGY).parameters().values(), risk.values())
    strategy = find(row.strategy).parameters.from_dict(json.loads(row.strategy_parameters))
    risk = DynamicRiskManager.from_dict(json.loads(row.risk_parameters)).for_market(is_perpetual)
    return Chosen(row.version, strategy.values(), risk.values())

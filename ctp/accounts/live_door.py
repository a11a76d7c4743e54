"""The one door to live: on what grounds parameters may trade real money.

Every way in asks here: promotion, edit, revert, import, restore, rollback, Start, and the bot itself before it enters.

Invariants:
1. A live account takes parameters with a green verdict, or with an override that says why and is kept with its author.
2. Red stays on paper; no override lifts it, and leaving the verdict out does not hide it.
3. Paper accounts need no grounds.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.rights import Actor
from ctp.errors import NotAllowed
from ctp.storage.tables import accounts, parameter_versions

GREEN, AMBER, RED = VERDICTS = ("green", "amber", "red")
LIVE = "live"


class Grounds(NamedTuple):
    """On what grounds an account trades with its newest parameters."""

    mode: str
    version: int  # 0: the defaults, which nobody has answered for
    verdict: str | None
    override: str

    @property
    def problem(self) -> str:
        """Return why these parameters may not trade; empty when they may."""
        return why_not_live(self.verdict, self.override) if self.mode == LIVE else ""


def why_not_live(verdict: str | None, override: str) -> str:
    """Return why parameters of this verdict may not trade live; empty when they may."""
    if verdict == RED:
        return "their verdict is red, and red may go to paper only; no override lifts it"
    if verdict == GREEN or override.strip():
        return ""
    found = "their verdict is amber" if verdict == AMBER else "nobody has validated them"
    return f'{found}: a live account takes them only with a green verdict, or an override that says why: --override "..."'


def require_grounds(
    connection: sa.Connection, account_name: str, deciding: tuple[object, ...], verdict: str | None, override: str
) -> None:
    """Raise NotAllowed unless parameters may trade on a live account. deciding: `deciding_values` of them."""
    problem = why_not_live(known_verdict(connection, deciding, verdict), override)
    if problem:
        raise NotAllowed(f"the live account {account_name} does not take these parameters: {problem}")


def known_verdict(connection: sa.Connection, deciding: tuple[object, ...], verdict: str | None) -> str | None:
    """Return the verdict that comes with parameters; where none does, a red one that they have had still holds."""
    return RED if verdict is None and was_red(connection, deciding) else verdict


def deciding_values(
    strategy: object, strategy_parameters: object, risk_parameters: object, source_hash: object
) -> tuple[object, ...]:
    """Return what a verdict is bound to, from the columns of a version: the same means the same decisions."""
    return (strategy, _sorted(str(strategy_parameters)), _sorted(str(risk_parameters)), source_hash)


def was_red(connection: sa.Connection, deciding: tuple[object, ...]) -> bool:
    """Tell whether the last verdict on these very parameters, with these very sources, on any account, was red."""
    columns = parameter_versions.c
    query = (
        sa.select(columns.strategy_parameters, columns.risk_parameters, columns.verdict)
        .where(columns.strategy == deciding[0], columns.source_hash == deciding[3], columns.verdict.is_not(None))
        .order_by(columns.created_at.desc(), columns.id.desc())
    )
    for row in connection.execute(query):
        if (_sorted(row.strategy_parameters), _sorted(row.risk_parameters)) == deciding[1:3]:
            return bool(row.verdict == RED)
    return False


def grounds_of(connection: sa.Connection, account_id: int) -> Grounds:
    """Return on what grounds an account trades with its newest parameters."""
    mode = connection.execute(sa.select(accounts.c.mode).where(accounts.c.id == account_id)).scalar_one()
    row = connection.execute(
        sa.select(parameter_versions.c.version, parameter_versions.c.verdict, parameter_versions.c.override)
        .where(parameter_versions.c.account_id == account_id)
        .order_by(parameter_versions.c.version.desc())
        .limit(1)
    ).first()
    return Grounds(mode, 0, None, "") if row is None else Grounds(mode, *row)


def accept(connection: sa.Connection, actor: Actor, account_id: int, override: str, now_ms: int) -> None:
    """Write down on an account's newest version why it may trade live; for doors that bring versions as they are.

    The caller has asked `require_grounds`; defaults, which are no version, cannot be accepted.
    """
    newest = grounds_of(connection, account_id)
    this = sa.and_(parameter_versions.c.account_id == account_id, parameter_versions.c.version == newest.version)
    connection.execute(sa.update(parameter_versions).where(this).values(override=override.strip()[:256]))
    details = {"version": newest.version, "verdict": newest.verdict, "override": override}
    record(connection, actor, "parameters.accept", f"account:{account_id}", now_ms, **details)


def _sorted(text: str) -> str:
    """Return a JSON object with its names in order; what is none stays as it is."""
    try:
        plain: Any = json.loads(text)
    except ValueError:
        return text
    return json.dumps(plain, sort_keys=True)

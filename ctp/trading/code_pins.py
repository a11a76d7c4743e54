"""Which sources an account is known to decide with, and whether it may enter with those of this process.

An account is pinned to the sources that decided for it. The same sources: it goes on. Others, after an upgrade: it enters
nothing until a replay of its journal (`code_replay`) has shown that they decide alike; where they do not, until a person
promotes again. Open positions are protected, reconciled and left all the while.

Invariants:
1. A pin changes in one transaction with its audit row; a process that dies in between leaves the old one.
2. What was found to differ stays held for these sources, whatever is decided meanwhile, until a person says otherwise.
3. A live account without grounds (`ctp.accounts.live_door`) enters nothing, whichever way its parameters came.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.live_door import grounds_of
from ctp.accounts.rights import machine
from ctp.storage.database import insert_or
from ctp.storage.tables import code_pins, parameter_versions
from ctp.trading.notices import tell_trouble

if TYPE_CHECKING:
    from ctp.trading.store import AccountInfo

PINNED, UNPROVEN, CHANGED = "pinned", "unproven", "changed"
# Why an account enters nothing although it runs; what the journal says then.
CODE_UNPROVEN: Final = "code_unproven"
CODE_CHANGED: Final = "code_changed"
NOT_ACCEPTED: Final = "not_accepted"
HOLDS = (CODE_UNPROVEN, CODE_CHANGED, NOT_ACCEPTED)
MOST_SHOWN = 20  # differences that are kept; all of them are counted


class Difference(NamedTuple):
    """One decision that these sources make otherwise."""

    symbol: str
    candle_time: int
    outcome: str  # then
    reason: str
    new_outcome: str  # now; empty: cannot be told
    new_reason: str
    numbers: dict[str, list[float | None]]  # name -> [then, now], where they differ

    def to_plain(self) -> dict[str, Any]:
        """Return it as the database and pages have it."""
        return self._asdict()


class Compared(NamedTuple):
    """What a replay found."""

    decisions: int
    differing: int
    first: tuple[Difference, ...]
    since: int  # open time of the first candle compared; 0: none


class Pin(NamedTuple):
    """The row of an account."""

    version: int
    source_hash: str
    state: str
    found_hash: str | None
    proven_until: int | None


def settle_hold(
    connection: sa.Connection, account: AccountInfo, version: int, here: str, decided: int, now_ms: int
) -> str:
    """Return why an account may not enter with these parameters and sources; empty when it may.

    version: of its parameters. here: hash of the sources of this process. decided: the last candle decided on.
    """
    held = _settle_code(connection, account.id, version, here, decided, now_ms)
    return NOT_ACCEPTED if grounds_of(connection, account.id).problem else held


def read_pin(connection: sa.Connection, account_id: int) -> Pin | None:
    """Return what an account is pinned to; None before its first start."""
    columns = [code_pins.c[name] for name in Pin._fields]
    row = connection.execute(sa.select(*columns).where(code_pins.c.account_id == account_id)).first()
    return None if row is None else Pin(*row)


def note_replay(
    connection: sa.Connection, account: AccountInfo, here: str, version: int, found: Compared, now_ms: int
) -> str | None:
    """Write down what a replay found; returns the hold that follows, None when it is not about the present any more."""
    pin = read_pin(connection, account.id)
    if pin is None or (pin.state, pin.found_hash, pin.version) != (UNPROVEN, here, version):
        return None
    figures = {
        "checked_at": now_ms,
        "compared": found.decisions,
        "differing": found.differing,
        "differences": json.dumps([one.to_plain() for one in found.first]),
    }
    said = {"version": version, "source_hash": here, "before": pin.source_hash, "compared": found.decisions}
    # A live account trades by what was validated; without a decision to compare nothing shows that this is the same.
    if found.differing == 0 and (found.decisions > 0 or account.mode != "live"):
        _pin(connection, account.id, version, here, now_ms, **figures)
        record(connection, machine("bot"), "parameters.pin", f"account:{account.id}", now_ms, **said)
        return ""
    this = code_pins.c.account_id == account.id
    connection.execute(sa.update(code_pins).where(this).values(state=CHANGED, **figures))
    details = {**said, "differing": found.differing, "differences": [one.to_plain() for one in found.first[:3]]}
    record(connection, machine("bot"), "parameters.hold", f"account:{account.id}", now_ms, **details)
    told: dict[str, Any] = {"compared": found.decisions, "differing": found.differing}
    if found.first:
        first = found.first[0]
        told |= {
            "symbol": first.symbol, "candle_time": first.candle_time,
            "outcome": first.outcome, "new_outcome": first.new_outcome,
        }  # fmt: skip
    tell_trouble(connection, account, CODE_CHANGED, f"code_changed:{here[:16]}:{version}", now_ms, **told)
    return CODE_CHANGED


def _settle_code(
    connection: sa.Connection, account_id: int, version: int, here: str, decided: int, now_ms: int
) -> str:
    """Bring the pin up to date with the parameters and return the hold that follows from it."""
    appended_with = connection.execute(
        sa.select(parameter_versions.c.source_hash).where(
            parameter_versions.c.account_id == account_id, parameter_versions.c.version == version
        )
    ).scalar()
    pin = read_pin(connection, account_id)
    if pin is None or (pin.version != version and appended_with == here):
        chosen = appended_with or here
        _pin(connection, account_id, version, chosen, now_ms)
        details = {"version": version, "source_hash": chosen, "before": pin.source_hash if pin else None}
        record(connection, machine("bot"), "parameters.pin", f"account:{account_id}", now_ms, **details)
        pin = Pin(version, chosen, PINNED, None, None)
    elif pin.version != version:
        _change(connection, account_id, version=version)
        pin = pin._replace(version=version)
    if pin.source_hash == here:
        if pin.state != PINNED:  # back to the sources it was pinned to
            _pin(connection, account_id, version, here, now_ms)
        return ""
    if pin.state == CHANGED and pin.found_hash == here:
        return CODE_CHANGED
    until = decided if pin.proven_until is None else pin.proven_until
    _change(connection, account_id, state=UNPROVEN, found_hash=here, proven_until=until)
    return CODE_UNPROVEN


def _pin(
    connection: sa.Connection, account_id: int, version: int, source_hash: str, now_ms: int, **figures: Any
) -> None:
    """Pin an account."""
    values = {
        "version": version, "source_hash": source_hash, "pinned_at": now_ms, "state": PINNED, "found_hash": None,
        "proven_until": None, "checked_at": None, "compared": 0, "differing": 0, "differences": "[]",
    } | figures  # fmt: skip
    statement = insert_or(connection, code_pins).values(account_id=account_id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=[code_pins.c.account_id], set_=values))


def _change(connection: sa.Connection, account_id: int, **values: Any) -> None:
    """Change columns of a pin."""
    connection.execute(sa.update(code_pins).where(code_pins.c.account_id == account_id).values(**values))


def shown(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """Return the differences that are kept."""
    return tuple(differences[:MOST_SHOWN])

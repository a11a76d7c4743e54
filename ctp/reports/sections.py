"""The port through which other rooms tell their part in a report: the drift from the backtest, the state of backups.

A section is asked while the account's rows are extracted, in the same reading transaction, and answers with keys of the
locale files and facts, never with finished words or markup: the report writes them in its reader's language and escapes
them. A room that has its part replaces the placeholder: `make_report(..., sections=…)` is given them where the programs
are wired together, because rooms beside each other do not import one another.

Invariant: a section that has nothing yet says so; it is never left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import sqlalchemy as sa

from ctp.reports.periods import Period

State = Literal["unavailable", "good", "attention"]


class Told(NamedTuple):
    """What a section has to say.

    sentence: key of a text, filled with `facts`. columns: keys of texts, one for each column of `rows`; the cells are
    shown as they are.
    """

    state: State
    sentence: str
    facts: Mapping[str, Any] = {}
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


class Section(Protocol):
    """One part of the report that another room fills in. Its heading is the text `report.<name>.title`."""

    name: str

    def tell(self, connection: sa.Connection, account_id: int, period: Period) -> Told:
        """Return what there is to say about one account in one period; no row of another account may be in it."""
        ...


class Unavailable:
    """Says honestly that this part does not exist yet."""

    def __init__(self, name: str) -> None:
        """Take the section's name."""
        self.name = name

    def tell(self, connection: sa.Connection, account_id: int, period: Period) -> Told:
        """Return that there is nothing to say yet."""
        return Told("unavailable", f"report.{self.name}.unavailable")


DRIFT, BACKUPS = "drift", "backups"
DEFAULT_SECTIONS: tuple[Section, ...] = (Unavailable(DRIFT), Unavailable(BACKUPS))

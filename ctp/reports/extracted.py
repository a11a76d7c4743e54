"""What a report is made from: a folder with the rows of one account, for one reader and one period, and nothing else.

The rows are Parquet, what there is once is `about.json`. A notebook kernel reads it without a database, a key or a
setting at hand.

Invariants:
1. Every row belongs to the one account, or is about it; there is no secret and no person but its reader.
2. What was written is read back equal: doubles to the bit, decimals as their texts.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ctp.errors import DataDamaged
from ctp.reports.books import Fact
from ctp.reports.periods import Kind, Period, Zone, days

FORMAT = 1
ABOUT, EVIDENCE = "about.json", "evidence.json"
CHART, SUMMARY = "chart.png", "summary.json"  # what its notebook leaves beside it


class LedgerRow(NamedTuple):
    """A ledger row, with what its order was for and the price it was decided at (empty: nobody decided one)."""

    id: int
    kind: str
    symbol: str
    time: int
    order_id: str | None
    external_id: str
    side: str | None
    price: str | None
    size: str | None
    amount: str
    asset: str
    reason: str
    purpose: str
    decided_price: float | None

    def fact(self) -> Fact:
        """Return the row as the books take it."""
        exact = [None if text is None else Decimal(text) for text in (self.price, self.size)]
        return Fact(
            self.id, self.kind, self.symbol, self.time, self.order_id, self.external_id, self.side,
            exact[0], exact[1], Decimal(self.amount), self.asset, self.reason,
        )  # fmt: skip


class EquityRow(NamedTuple):
    """Equity at a decision; `balance` is empty where only the decision journal still knows it."""

    time: int
    equity: float
    balance: float | None


class TradeRow(NamedTuple):
    """A closed trade, with equity when it was decided and the numbers that spoke for it (JSON, empty: not kept)."""

    symbol: str
    side: str
    entry_time: int
    entry_price: float
    exit_time: int
    exit_price: float
    size: float
    leverage: float
    fee: float
    funding: float
    pnl: float
    r_multiple: float
    exit_reason: str
    entry_equity: float | None
    entry_numbers: str
    entry_strategy: str


class DecisionTime(NamedTuple):
    """A close that was decided on, and when."""

    close_time: int
    decided_at: int
    parameter_version: int


class OutcomeCount(NamedTuple):
    """How often a decision came out this way in the period."""

    outcome: str
    reason: str
    times: int


class TroubleRow(NamedTuple):
    """A notice of trouble that the reader got."""

    created_at: int
    what: str
    symbol: str


class CommandRow(NamedTuple):
    """What a person asked of the bot."""

    asked_at: int
    kind: str
    asked_by: str
    door: str
    result: str


class CloseRow(NamedTuple):
    """Close of a symbol at a decision, and the stop in force, for valuing what is open."""

    symbol: str
    close_time: int
    close: float | None
    stop: float | None


TABLES: dict[str, type[Any]] = {
    "ledger": LedgerRow,
    "equity": EquityRow,
    "trades": TradeRow,
    "decisions": DecisionTime,
    "outcomes": OutcomeCount,
    "trouble": TroubleRow,
    "commands": CommandRow,
    "closes": CloseRow,
}
_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extract:
    """Everything about one account that its report may tell."""

    about: Mapping[str, Any]
    ledger: Sequence[LedgerRow]
    equity: Sequence[EquityRow]
    trades: Sequence[TradeRow]
    decisions: Sequence[DecisionTime]
    outcomes: Sequence[OutcomeCount]
    trouble: Sequence[TroubleRow]
    commands: Sequence[CommandRow]
    closes: Sequence[CloseRow]
    evidence: Mapping[str, Any]

    @property
    def account(self) -> Mapping[str, Any]:
        """Return name, mode, exchange, quote, symbols, timeframe, is_generated, has_own_time."""
        return self._part("account")

    @property
    def reader(self) -> Mapping[str, Any]:
        """Return zone, theme and rise_colour of the person who reads."""
        return self._part("reader")

    @property
    def limits(self) -> Mapping[str, Any]:
        """Return daily_loss_limit, max_drawdown and risk_per_trade in force."""
        return self._part("limits")

    @property
    def state(self) -> Mapping[str, Any] | None:
        """Return what the bot last said of the account; None before it first looked at it."""
        return typing.cast("Mapping[str, Any] | None", self.about["state"])

    @property
    def zone(self) -> Zone:
        """Return what places the account's days in time."""
        return Zone(self.about["zone_offset"], self.about["timeframe_ms"])

    @property
    def period(self) -> Period:
        """Return what the report is about."""
        told = self._part("period")
        kind = typing.cast("Kind", told["kind"])
        return days(kind, date.fromisoformat(told["first"]), date.fromisoformat(told["last"]), self.zone)

    def _part(self, name: str) -> Mapping[str, Any]:
        """Return one object of `about.json`."""
        return typing.cast("Mapping[str, Any]", self.about[name])


def write_extract(folder: Path, about: Mapping[str, Any], rows: Mapping[str, Sequence[Any]]) -> None:
    """Write an extract into an empty folder."""
    for name, row_type in TABLES.items():
        columns = _schema(row_type)
        plain = [row._asdict() for row in rows.get(name, ())]
        pq.write_table(pa.Table.from_pylist(plain, schema=columns), folder / f"{name}.parquet")
    (folder / ABOUT).write_text(json.dumps({"format": FORMAT, **about}, ensure_ascii=False), "utf-8")


def read_extract(folder: Path | str) -> Extract:
    """Return the extract in a folder. Raises DataDamaged."""
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        if about["format"] != FORMAT:
            raise DataDamaged(str(folder), f"format {about['format']}", "make the report again")
        rows = {}
        for name, row_type in TABLES.items():
            table = pq.read_table(folder / f"{name}.parquet", schema=_schema(row_type))
            rows[name] = tuple(row_type(**row) for row in table.to_pylist())
        file = folder / EVIDENCE
        evidence = json.loads(file.read_text("utf-8")) if file.is_file() else {"state": "none"}
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise DataDamaged(str(folder), str(error).splitlines()[0], "make the report again") from error
    return Extract(about=about, evidence=evidence, **rows)


def _schema(row_type: type[Any]) -> pa.Schema:
    """Return the columns of a row type."""
    fields = []
    for name, hint in typing.get_type_hints(row_type).items():
        inner = [one for one in typing.get_args(hint) if one is not type(None)]
        fields.append(pa.field(name, _TYPES[inner[0] if inner else hint], nullable=bool(inner)))
    return pa.schema(fields)

"""What a backtest returns: trades, equity, figures, and views of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.steps import price_of, size_of
from ctp.core.strategies import of_parameters
from ctp.core.types import EXIT_REASONS, FLAT, LONG, REFUSALS, Market
from ctp.market.candles import Candles
from ctp.research.bar_loop import (
    DECISIONS,
    DROPPED,
    RESOLVED_INSIDE,
    TOUCHED_BOTH,
    TRADES,
    UNFILLED,
    WITHOUT_DETAIL,
    Series,
)
from ctp.research.detail import Ambiguity
from ctp.research.metrics import Period, figures, iso_time, monthly_returns, total

if TYPE_CHECKING:
    import plotly.graph_objects
    import vectorbt

    from ctp.market.history import Time

TRADE_COLUMNS = (
    "symbol",
    "side",
    "entry_time",
    "entry_price",
    "exit_time",
    "exit_price",
    "size",
    "leverage",
    "margin",
    "stop_price",
    "take_price",
    "fee",
    "funding",
    "pnl",
    "r_multiple",
    "exit_reason",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BacktestResult:
    """A finished backtest. Times are milliseconds UTC; money is in quote units."""

    strategy: ParameterSet
    risk: DynamicRiskManager
    candles: Sequence[Candles]
    markets: Sequence[Market]
    start_equity: float
    time: np.ndarray  # close time of each decision
    equity_values: np.ndarray
    is_exposed: np.ndarray
    trade_records: Sequence[dict[str, Any]]  # closed, in order of closing, then open ones by symbol
    refusals: dict[str, int]
    dropped_entries: int
    unfilled_entries: int  # limit entries that were not traded through, or would have met the market
    ambiguity: Ambiguity  # trades whose last candle touched stop and take-profit
    columns: Series  # what the engine was fed
    notes: Sequence[str]
    engine: str = "bar loop"

    @classmethod
    def of_run(
        cls,
        *,
        strategy: ParameterSet,
        risk: DynamicRiskManager,
        candles: Sequence[Candles],
        markets: Sequence[Market],
        equity: float,
        run: Any,
        columns: Series,
        notes: Sequence[str],
    ) -> BacktestResult:
        """Make a result of what the bar loop left behind."""
        record = run.record
        decisions = int(record.totals[DECISIONS])
        rows = record.trade_rows[: int(record.totals[TRADES])]
        symbols = [each.symbol for each in candles]
        trades = [_closed(symbols[int(row[0])], markets[int(row[0])], row) for row in rows]
        for symbol, market, state in zip(symbols, markets, run.states, strict=True):
            if state.position.side != FLAT:
                trades.append(_still_open(symbol, market, state.position))
        return cls(
            strategy=strategy,
            risk=risk,
            candles=tuple(candles),
            markets=tuple(markets),
            start_equity=equity,
            time=record.time[:decisions].copy(),
            equity_values=record.equity[:decisions].copy(),
            is_exposed=record.is_exposed[:decisions].copy(),
            trade_records=trades,
            refusals={
                name: int(count) for name, count in zip(REFUSALS, record.refusals, strict=True) if name and count
            },
            dropped_entries=int(record.totals[DROPPED]),
            unfilled_entries=int(record.totals[UNFILLED]),
            ambiguity=Ambiguity(*(int(record.totals[place]) for place in (TOUCHED_BOTH, RESOLVED_INSIDE, WITHOUT_DETAIL))),
            columns=columns,
            notes=(
                *notes,
                *_lock_note(risk, record.time[:decisions], record.equity[:decisions]),
                *_ambiguity_note(record.totals, columns.detail.length_ms > 0),
            ),
        )

    @property
    def closed_trades(self) -> list[dict[str, Any]]:
        """Return the closed trades, in order of closing."""
        return [trade for trade in self.trade_records if trade["exit_reason"] is not None]

    @cached_property
    def figures(self) -> dict[str, Any]:
        """Return every figure of the run by name; undefined ones are None."""
        closed = self.closed_trades
        every = self.trade_records
        return figures(
            time=self.time,
            equity=self.equity_values,
            is_exposed=self.is_exposed,
            pnl=[trade["pnl"] for trade in closed],
            r_multiples=[trade["r_multiple"] for trade in closed],
            entry_equity=[trade["entry_equity"] for trade in closed],
            costs=tuple(total(trade[name] for trade in every) for name in ("fee", "funding", "slippage")),  # type: ignore[arg-type]
            zone_offset=self.risk.zone_offset,
            timeframe_ms=self.candles[0].length_ms,
        )

    @property
    def trades(self) -> pd.DataFrame:
        """Return the trade list, one row a trade; open positions last, their exit columns empty."""
        rows = [{name: trade[name] for name in TRADE_COLUMNS} for trade in self.trade_records]
        frame = pd.DataFrame(rows, columns=list(TRADE_COLUMNS))
        for name in ("entry_time", "exit_time"):
            frame[name] = pd.to_datetime(frame[name].astype("Int64"), unit="ms", utc=True)
        return frame

    @property
    def equity(self) -> pd.Series:
        """Return equity at each decision, by close time."""
        index = pd.to_datetime(self.time, unit="ms", utc=True)
        return pd.Series(self.equity_values, index=index, name="equity")

    @property
    def months(self) -> list[Period]:
        """Return the monthly returns, partial months marked."""
        return monthly_returns(self.time, self.equity_values, self.risk.zone_offset, self.candles[0].length_ms)

    def monthly_table(self) -> pd.DataFrame:
        """Return monthly returns as a table: years down, months across."""
        if not self.months:
            return pd.DataFrame()
        rows = [(int(month.name[:4]), int(month.name[5:]), month.value) for month in self.months]
        frame = pd.DataFrame(rows, columns=["year", "month", "return"])
        return frame.pivot_table(index="year", columns="month", values="return")

    def to_dict(self) -> dict[str, Any]:
        """Return figures, parameters and notes, ready for JSON: undefined is null, infinite is "inf"."""
        return {
            "symbols": [each.symbol for each in self.candles],
            "timeframe": self.candles[0].timeframe,
            "exchange": self.candles[0].exchange,
            "first_candle": iso_time(min(int(each.time[0]) for each in self.candles)),
            "last_candle": iso_time(max(int(each.time[-1]) for each in self.candles)),
            "start_equity": self.start_equity,
            "final_equity": float(self.equity_values[-1]) if len(self.equity_values) else self.start_equity,
            "decisions": len(self.time),
            "open_positions": len(self.trade_records) - len(self.closed_trades),
            "figures": _for_json(self.figures),
            "refusals": self.refusals,
            "dropped_entries": self.dropped_entries,
            "unfilled_entries": self.unfilled_entries,
            "ambiguity": self.ambiguity._asdict(),
            "strategy": {"name": of_parameters(self.strategy).name, **self.strategy.to_dict()},
            "risk": self.risk.to_dict(),
            "engine": self.engine,
            "notes": list(self.notes),
        }

    def summary(self) -> pd.Series:
        """Return the figures as a table for people."""
        shown = {name: value for name, value in self.figures.items() if name != "monthly_returns"}
        return pd.Series(shown, name=", ".join(each.symbol for each in self.candles), dtype=object)

    def write_trades(self, file: Path) -> None:
        """Write the trade list as CSV; doubles with all their digits, times ISO-8601 UTC."""
        _write_csv(
            file, TRADE_COLUMNS, ([_cell(name, trade[name]) for name in TRADE_COLUMNS] for trade in self.trade_records)
        )

    def write_equity(self, file: Path) -> None:
        """Write equity at each decision as CSV: close time, equity."""
        rows = (
            [iso_time(int(time)), repr(float(value))] for time, value in zip(self.time, self.equity_values, strict=True)
        )
        _write_csv(file, ("time", "equity"), rows)

    @property
    def excursions(self) -> pd.DataFrame:
        """Return how far each closed trade went against us and for us, in R."""
        from ctp.research.excursions import excursions

        return excursions(self)

    def plot(self, language: str = "en") -> plotly.graph_objects.Figure:
        """Return candles with entries and exits, and equity with its drawdown under it."""
        from ctp.research.plots import plot_result

        return plot_result(self, language)

    def plot_equity(self, language: str = "en") -> plotly.graph_objects.Figure:
        """Return equity with its drawdown under it."""
        from ctp.research.plots import plot_equity

        return plot_equity(self, language)

    def plot_trades(
        self, language: str = "en", *, symbol: str | None = None, start: Time | None = None, end: Time | None = None
    ) -> plotly.graph_objects.Figure:
        """Return candles with each trade from entry to exit and its stop; the last trades unless a stretch is given."""
        from ctp.research.plots import plot_trades

        return plot_trades(self, language, symbol=symbol, start=start, end=end)

    def plot_months(self, language: str = "en") -> plotly.graph_objects.Figure:
        """Return a heatmap of monthly returns beside the 5–10 % target."""
        from ctp.research.plots import plot_months

        return plot_months(self, language)

    def plot_excursions(self, language: str = "en") -> plotly.graph_objects.Figure:
        """Return how far trades went against us and for us, in units of the risk taken."""
        from ctp.research.plots import plot_excursions

        return plot_excursions(self, language)

    def plot_r_multiples(self, language: str = "en") -> plotly.graph_objects.Figure:
        """Return a histogram of what trades earned, in units of the risk taken."""
        from ctp.research.plots import plot_r_multiples

        return plot_r_multiples(self, language)

    def to_vectorbt(self) -> vectorbt.Portfolio:
        """Return a vectorbt Portfolio made of the finished orders; it computes no signal of its own."""
        from ctp.research.portfolio import to_vectorbt

        return to_vectorbt(self)


def _lock_note(risk: DynamicRiskManager, time: np.ndarray, equity: np.ndarray) -> list[str]:
    """Say when the drawdown lock ended all entries: everything after it is silence, not skill."""
    if risk.max_drawdown >= 1.0 or not len(equity):
        return []
    locked = np.flatnonzero(equity <= (1.0 - risk.max_drawdown) * np.maximum.accumulate(equity))
    if not len(locked):
        return []
    when = iso_time(int(time[locked[0]]))
    return [f"the drawdown lock ({risk.max_drawdown:.0%}) stopped entries from {when} on; in a backtest nobody lifts it"]


def _ambiguity_note(totals: np.ndarray, has_detail: bool) -> list[str]:
    """Say how many trades rest on the rule that the stop comes first."""
    touched, resolved, missing = (int(totals[place]) for place in (TOUCHED_BOTH, RESOLVED_INSIDE, WITHOUT_DETAIL))
    if not touched:
        return []
    share = f"{touched} of {int(totals[TRADES])} trades touched stop and take-profit in one candle"
    if not has_detail:
        return [f"{share} and count as stopped; finer candles (detail=) say which came first"]
    lacking = f", {missing} lack finer candles" if missing else ""
    return [f"{share}: finer candles resolved {resolved}{lacking}; the others count as stopped"]


def _closed(symbol: str, market: Market, row: np.ndarray) -> dict[str, Any]:
    """Return a closed trade of the record by column name, with what the figures need beside it."""
    return {
        "symbol": symbol,
        "side": "long" if row[1] == LONG else "short",
        "entry_time": int(row[2]),
        "entry_price": float(row[3]),
        "exit_time": int(row[4]),
        "exit_price": float(row[5]),
        "size": size_of(market, int(row[6])),
        "leverage": float(row[7]),
        "margin": float(row[8]),
        "stop_price": price_of(market, int(row[9])),
        "take_price": price_of(market, int(row[10])) if row[10] else None,
        "fee": float(row[11]),
        "funding": float(row[12]),
        "pnl": float(row[13]),
        "r_multiple": float(row[14]),
        "exit_reason": EXIT_REASONS[int(row[15])],
        "slippage": float(row[16]),
        "entry_equity": float(row[17]),
    }


def _still_open(symbol: str, market: Market, position: Any) -> dict[str, Any]:
    """Return an open position by the same names, its exit columns empty."""
    return {
        "symbol": symbol,
        "side": "long" if position.side == LONG else "short",
        "entry_time": int(position.entry_time),
        "entry_price": float(position.entry_price),
        "exit_time": None,
        "exit_price": None,
        "size": size_of(market, int(position.lots)),
        "leverage": float(position.leverage),
        "margin": float(position.margin),
        "stop_price": price_of(market, int(position.first_stop_ticks)),
        "take_price": price_of(market, int(position.take_ticks)) if position.take_ticks else None,
        "fee": float(position.fee),
        "funding": float(position.funding),
        "pnl": None,
        "r_multiple": None,
        "exit_reason": None,
        "slippage": float(position.slippage),
        "entry_equity": float(position.entry_equity),
    }


def _for_json(value: Any) -> Any:
    """Return a value as JSON has it: NaN is null, infinity is "inf"."""
    if isinstance(value, dict):
        return {name: _for_json(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def _cell(name: str, value: Any) -> str:
    """Return one cell of the trade list."""
    if value is None:
        return ""
    if name in ("entry_time", "exit_time"):
        return iso_time(value)
    return repr(value) if isinstance(value, float) else str(value)


def _write_csv(file: Path, header: Sequence[str], rows: Any) -> None:
    """Write a CSV file whose cells need no quotes."""
    with file.open("w", encoding="utf-8", newline="") as out:
        out.write(",".join(header) + "\n")
        for row in rows:
            out.write(",".join(row) + "\n")

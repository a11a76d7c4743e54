"""What a sweep returns: one row of figures for each combination, and views of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.errors import InputError
from ctp.research.backtest import Prepared, run_bar_loop
from ctp.research.event_figures import FIGURES
from ctp.research.grid import Grid
from ctp.research.result import BacktestResult

if TYPE_CHECKING:
    import plotly.graph_objects
    import vectorbt

EVENTS = "events"
SEARCH_WORDS = {"random": "chance", "tpe": "TPE"}
SMALLER_IS_BETTER = ("max_drawdown", "max_drawdown_days", "fees", "slippage", "largest_loss")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A finished sweep. `figures` has one row a combination, columns as FIGURES; NaN is undefined."""

    prepared: Prepared
    grid: Grid
    figures: np.ndarray
    engines: np.ndarray  # "events", or why the bar loop was taken
    search: str | None = None  # "random" or "tpe" when not all of a space was tried

    def __len__(self) -> int:
        """Return how many combinations there are."""
        return self.grid.total

    @cached_property
    def table(self) -> pd.DataFrame:
        """Return parameters and figures, one row a combination; whole numbers where counts are."""
        columns: dict[str, Any] = {}
        for name, values in self.grid.axes.items():
            columns[name] = np.array(values)[self.grid.places[name]]
        for place, name in enumerate(FIGURES):
            columns[name] = self.figures[:, place]
        frame = pd.DataFrame(columns)
        return frame.astype({"trades": "int64", "full_months": "int64"})

    @property
    def notes(self) -> list[str]:
        """Return what should be known before a row is believed."""
        counted = Counter(self.engines.tolist())
        notes = [*self.prepared.notes]
        if self.search:
            notes.append(f"searched by {SEARCH_WORDS[self.search]}: {len(self):,} combinations of the space were tried")
        if self.grid.left_out:
            notes.append(f"{self.grid.left_out:,} combinations contradict themselves and were left out")
        by_events = counted.pop(EVENTS, 0)
        notes.append(f"{by_events:,} of {len(self):,} combinations by the event engine, equal to the bar loop to the bit")
        notes += [f"{count:,} by the bar loop: {reason}" for reason, count in counted.most_common()]
        notes.append(f"the best of {len(self):,} tries looks good by luck alone; validate it before you believe it")
        return notes

    def top(self, by: str = "sharpe", count: int = 10) -> pd.DataFrame:
        """Return the best combinations by a figure, undefined ones last; the index is the combination's number."""
        return self.table.loc[self._ranked(by)[:count]]

    def _ranked(self, by: str) -> np.ndarray:
        """Return the combinations' numbers, best first; equals keep the order of the grid."""
        if by not in FIGURES:
            raise InputError("by", by, "must be one of " + ", ".join(FIGURES))
        values = self.figures[:, FIGURES.index(by)]
        signed = values if by in SMALLER_IS_BETTER else -values
        return np.argsort(np.where(np.isnan(signed), np.inf, signed), kind="stable")

    def parameters(self, number: int) -> tuple[ParameterSet, DynamicRiskManager]:
        """Return strategy and risk of one combination."""
        from ctp.research.sweep import split_values

        if not 0 <= number < len(self):
            raise InputError("number", number, f"must be 0 to {len(self) - 1}")
        return split_values(self.prepared.strategy, self.prepared.risk, self.grid.values(number))

    def backtest(self, number: int | None = None) -> BacktestResult:
        """Return the whole backtest of one combination, the best by Sharpe unless told otherwise."""
        chosen = int(self._ranked("sharpe")[0]) if number is None else number
        strategy, risk = self.parameters(chosen)
        return run_bar_loop(self.prepared, strategy, risk)

    @property
    def best(self) -> BacktestResult:
        """Return the backtest of the combination with the highest Sharpe ratio."""
        return self.backtest()

    def to_vectorbt(self, number: int | None = None) -> vectorbt.Portfolio:
        """Return a vectorbt Portfolio of one combination's finished orders."""
        return self.backtest(number).to_vectorbt()

    def heatmap(
        self, x: str, y: str, figure: str = "sharpe", how: str = "median", language: str = "en"
    ) -> plotly.graph_objects.Figure:
        """Return a figure over two axes; over all others their `how` (median, max, min, mean): a plateau shows in the median."""
        from ctp.research.plots import plot_heatmap

        return plot_heatmap(self, x, y, figure, how, language)

    def parallel(self, figure: str = "sharpe", count: int = 500, language: str = "en") -> plotly.graph_objects.Figure:
        """Return the best combinations as lines through all axes."""
        from ctp.research.plots import plot_parallel

        return plot_parallel(self, figure, count, language)

    def to_dict(self, by: str = "sharpe", count: int = 10) -> dict[str, Any]:
        """Return the best rows and the notes, ready for JSON: undefined is null, infinite is "inf"."""
        rows = []
        for number, row in zip(self._ranked(by)[:count].tolist(), self.top(by, count).to_dict("records"), strict=True):
            rows.append({"number": number, **{name: _plain(value) for name, value in row.items()}})
        return {
            "combinations": len(self),
            "axes": {name: list(values) for name, values in self.grid.axes.items()},
            "by": by,
            "top": rows,
            "engines": dict(Counter(self.engines.tolist())),
            "notes": self.notes,
        }


def _plain(value: Any) -> Any:
    """Return a cell as JSON has it."""
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else ("inf" if value > 0 else "-inf")
    return value.item() if isinstance(value, np.generic) else value

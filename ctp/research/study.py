"""What works, asked of any candles: the presets as they are, and the best plateau of a grid by walk-forward.

Every figure comes from the workbench's own tools. Presets are measured on the whole history and nothing is chosen on it here;
what is searched is chosen on the past of each fold and measured on what came after. Trials are counted, and the drawdown lock
is off, so that a losing rule is seen to its end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs
from ctp.errors import InputError
from ctp.i18n import LANGUAGES, text
from ctp.market.candles import Candles
from ctp.market.coarser import coarser
from ctp.research.backtest import backtest
from ctp.research.metrics import Period
from ctp.research.plots.look import TARGET
from ctp.research.presets import PRESETS, Preset
from ctp.research.sweep import sweep
from ctp.research.validation.outcome import Validation
from ctp.research.validation.run import validate
from ctp.research.validation.surroundings import PLATEAU

RISK = DynamicRiskManager(max_drawdown=1.0)
GRID: Mapping[str, Sequence[Any]] = {
    "period": [7, 14, 21],
    "oversold": [25.0, 30.0, 35.0],
    "trend_window": [0, 200],
    "stop_loss": [0.02, 0.05, 0.10],
    "take_profit": [0.0, 0.04],
    "signal": ["reversion", "momentum"],
}
FIXED, WALKED = "fixed", "walk-forward"


class Row(NamedTuple):
    """One rule on one series. `months_in_band` and `months_at_target` are shares of its full months."""

    symbol: str
    timeframe: str
    rule: str  # a preset's name, or "plateau"
    how: str  # fixed: the same all along; walk-forward: chosen anew in each fold
    trials: int
    total_return: float
    annual_return: float | None
    max_drawdown: float
    trades: int
    full_months: int
    months_in_band: float | None
    months_at_target: float | None
    median_month: float | None
    verdict: str


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study."""

    rows: Sequence[Row]
    trials: int

    @property
    def table(self) -> pd.DataFrame:
        """Return every row."""
        return pd.DataFrame(self.rows, columns=list(Row._fields))

    @property
    def by_rule(self) -> pd.DataFrame:
        """Return one row a rule and timeframe: medians over the symbols, and how often it earned something."""
        groups = self.table.groupby(["how", "rule", "timeframe"], sort=False)
        found = groups.agg(
            symbols=("symbol", "size"),
            profitable=("total_return", lambda values: int((values > 0).sum())),
            annual_return=("annual_return", "median"),
            max_drawdown=("max_drawdown", "median"),
            trades=("trades", "median"),
            months_in_band=("months_in_band", "median"),
            median_month=("median_month", "median"),
        )
        return found.reset_index()

    @property
    def supported(self) -> list[Row]:
        """Return what survived: chosen before it was measured, with a green verdict."""
        return [row for row in self.rows if row.verdict == "green"]

    def conclusion(self, language: str = "en") -> str:
        """Say plainly what was found, from these rows alone. Raises InputError for a language there is not."""
        if language not in LANGUAGES:
            raise InputError("language", language, "must be " + " or ".join(LANGUAGES))
        owner = [row for row in self.rows if row.rule == PRESETS[0].name]
        fixed = [row for row in self.rows if row.how == FIXED]
        walked = [row for row in self.rows if row.how == WALKED]
        yearly = [row.annual_return for row in walked if row.annual_return is not None]
        bands = [row.months_in_band for row in self.rows if row.months_in_band is not None]
        medians = [row.median_month for row in self.rows if row.median_month is not None]
        lines = [
            text("study.counted", language, trials=f"{self.trials:,}", series=len({row[:2] for row in self.rows})),
            text("study.owner", language, low=_share(min(row.total_return for row in owner)),
                 high=_share(max(row.total_return for row in owner)), gains=_gains(owner), count=len(owner)),
            text("study.fixed", language, gains=_gains(fixed), count=len(fixed), best=_best(fixed, language)),
        ]  # fmt: skip
        if yearly:
            lines.append(
                text("study.walked", language, low=_share(min(yearly)), high=_share(max(yearly)),
                     median=_share(float(np.median(yearly))), gains=_gains(walked), count=len(walked), green=len(self.supported))
            )  # fmt: skip
        if bands:
            lines.append(
                text("study.months", language, share=f"{float(np.median(bands)):.0%}", best=f"{max(bands):.0%}",
                     reached=sum(value >= TARGET[0] for value in medians), count=len(medians))
            )  # fmt: skip
        lines.append(text("study.supported" if self.supported else "study.nothing", language))
        return "\n".join(lines)


def study(
    candles: Sequence[Candles],
    costs: Costs,
    *,
    timeframes: Sequence[str] = ("1h", "4h", "1d"),
    presets: Sequence[Preset] = PRESETS,
    grid: Mapping[str, Sequence[Any]] | None = None,
    folds: int = 6,
    seed: int = 1,
    tell: Callable[[str], None] = print,
) -> Study:
    """Measure the presets and the best plateau of a grid on each series and timeframe.

    candles: of one timeframe, the shortest of `timeframes`; longer ones are made of them. grid: axes of the searched rule, none
    of which needs the bar loop by default: limit orders are measured as a preset. tell: hears what is being done.
    """
    axes = dict(grid or GRID)
    rows: list[Row] = []
    trials = 0
    for series in (one if one.timeframe == each else coarser(one, each) for one in candles for each in timeframes):
        rows += [_measured(series, preset, costs) for preset in presets]
        tell(f"{series.symbol} {series.timeframe}: {len(presets)} presets, now the grid")
        swept = sweep(None, RISK, series, axes, costs=costs, quiet=True)
        validation = validate(swept, by=PLATEAU, folds=folds, seed=seed, quiet=True)
        rows.append(_walked(series, validation, len(swept)))
        trials += len(presets) + len(swept)
    return Study(tuple(rows), trials)


def _measured(candles: Candles, preset: Preset, costs: Costs) -> Row:
    """Return a preset's row."""
    result = backtest(preset.parameters(), RISK, candles, costs=costs)
    figures = result.figures
    return Row(
        candles.symbol, candles.timeframe, preset.name, FIXED, 1, figures["total_return"], figures["cagr"],
        figures["max_drawdown"], figures["trades"], *_months(result.months), "",
    )  # fmt: skip


def _months(months: Sequence[Period]) -> tuple[int, float | None, float | None, float | None]:
    """Return how many full months there are, the shares inside the band and at or above 5 %, and the median."""
    full = [month.value for month in months if month.is_full]
    if not full:
        return 0, None, None, None
    low, high = TARGET
    inside = sum(low <= value <= high for value in full) / len(full)
    return len(full), inside, sum(value >= low for value in full) / len(full), float(np.median(full))


def _walked(candles: Candles, validation: Validation, trials: int) -> Row:
    """Return the row of what was chosen fold by fold."""
    walk = validation.anchored
    median = float(np.median(list(walk.months.values()))) if walk.months else None
    return Row(
        candles.symbol, candles.timeframe, PLATEAU, WALKED, trials, walk.total_return, walk.annual_return, walk.max_drawdown,
        walk.trades, walk.full_months, walk.months_in_band, walk.months_at_target, median, validation.verdict,
    )  # fmt: skip


def _gains(rows: Sequence[Row]) -> int:
    """Return how many earned something."""
    return sum(row.total_return > 0.0 for row in rows)


def _best(rows: Sequence[Row], language: str) -> str:
    """Name the rule and timeframe whose median year was best."""
    years: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        years.setdefault((row.rule, row.timeframe), []).append(row.annual_return or -1.0)
    (rule, timeframe), values = max(years.items(), key=lambda item: float(np.median(item[1])))
    return f"{text(f'study.preset.{rule}', language)} {timeframe} ({_share(float(np.median(values)))})"


def _share(value: float) -> str:
    """Return a fraction as people read it."""
    return f"{value:+.1%}"

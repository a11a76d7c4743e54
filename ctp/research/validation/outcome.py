"""What a validation found: frozen values that plots, reports, promotion and programs read.

Owns the shape of the outcome and nothing of how it is computed. Invariants:
1. `verdict` is green, amber or red and follows from `reasons` alone.
2. What was measured out of sample says so in its name or its docstring; everything else saw the data it was chosen on.
3. Undefined is None; in `to_dict` infinity is "inf", and there is nothing JSON lacks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.i18n import text

if TYPE_CHECKING:
    import plotly.graph_objects

    from ctp.research.validation.report import Report

GREEN, AMBER, RED = "green", "amber", "red"
VERDICTS = (GREEN, AMBER, RED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reason:
    """One finding that bears on the verdict. strength: how far beyond its limit it lies; reasons are sorted by it."""

    name: str
    colour: str
    strength: float
    facts: Mapping[str, str]

    def words(self, language: str = "en") -> str:
        """Return the finding as a sentence."""
        return text(f"validation.{self.colour}.{self.name}", language, **self.facts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fold:
    """One step of a walk-forward: chosen on [train_start, train_end), measured on [test_start, test_end), milliseconds."""

    train_start: int
    train_end: int
    test_start: int
    test_end: int
    number: int | None  # the combination chosen; None: none traded in training
    parameters: Mapping[str, Any]
    train_sharpe: float | None
    test_return: float
    test_sharpe: float | None
    test_drawdown: float
    trades: int  # closed in the test


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WalkForward:
    """Out of sample: in each fold the best of the grid is chosen on the past and measured on what came after."""

    kind: str  # anchored: all the past; rolling: a window of it
    folds: Sequence[Fold]
    total_return: float
    annual_return: float | None
    sharpe: float | None
    probability: float | None  # that the true Sharpe ratio is above 0 (probabilistic Sharpe ratio)
    max_drawdown: float
    trades: int
    profitable_folds: int
    full_months: int
    months_at_target: float | None  # share of full months at or above 5 %
    months_in_band: float | None  # share of full months from 5 to 10 %
    months: Mapping[str, float]
    day: np.ndarray = dataclasses.field(repr=False)  # days since 1970 in the risk zone, of all folds
    daily: np.ndarray = dataclasses.field(repr=False)  # their returns
    time: np.ndarray = dataclasses.field(repr=False)  # close times of all folds
    equity: np.ndarray = dataclasses.field(repr=False)  # grown from 1 through all folds


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """Purged and embargoed: chosen on the days outside each fold, measured on the days inside it."""

    folds: int
    purged_days: int  # left out on both sides of a test, so that no trade lies on both
    embargo_days: int  # left out after it
    sharpe: float | None  # of all test days in order
    fold_sharpes: Sequence[float]
    profitable_folds: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeflatedSharpe:
    """The candidate's Sharpe ratio against the best that luck alone brings among all trials. Sharpe ratios are annual."""

    probability: float | None  # that the true ratio is above the best of luck
    sharpe: float | None
    luck: float  # expected best of the effective trials without any skill
    trials: float  # distinct parameter sets ever tried on overlapping candles
    runs: int  # how often any was run
    effective_trials: float
    clusters: int  # groups of trials in the sample that move alike
    sampled: int
    spread: float  # standard deviation of the trials' Sharpe ratios, at least the sampling error of one
    days: int
    skewness: float
    kurtosis: float
    days_needed: float | None  # to be 95 % sure at this ratio; None: no length would do
    from_ledger: bool


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Overfitting:
    """Combinatorially symmetric cross-validation: what becomes out of sample of what was best in sample."""

    probability: float  # that the best in sample is below the median out of sample
    loss_probability: float  # that it loses out of sample
    splits: int
    blocks: int
    combinations: int
    in_sample: float  # median annual Sharpe ratio of the chosen
    out_of_sample: float
    logits: np.ndarray = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealityCheck:
    """Whether the best of all combinations beats holding cash by more than luck (Hansen's SPA and White's test)."""

    p_value: float  # consistent
    lower: float
    upper: float
    white: float
    combinations: int
    block_days: float
    resamples: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plateau:
    """The neighbours of the candidate, one step away on any axis."""

    score: float | None  # median Sharpe of the neighbours ÷ the candidate's, held within 0 and 1
    neighbours: int
    profitable: float | None  # share of them with a gain
    median_sharpe: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Band:
    """What resampling makes of one figure: its 5th, 25th, 50th, 75th and 95th percentile, and what was measured."""

    p5: float
    p25: float
    p50: float
    p75: float
    p95: float
    measured: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bands:
    """Bands by block bootstrap of the out-of-sample days; `order_drawdown` by shuffling the out-of-sample trades."""

    annual_return: Band
    max_drawdown: Band
    months_at_target: Band  # share of months at or above 5 %
    months_in_band: Band  # share of months from 5 to 10 %
    order_drawdown: Band | None
    resamples: int
    block_days: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regime:
    """Out-of-sample days of one kind; kinds are terciles of what was known when the day began."""

    name: str  # trend_down, trend_flat, trend_up, calm, usual, wild
    days: int
    total_return: float
    sharpe: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SymbolShare:
    """What one symbol brought in the candidate's backtest."""

    symbol: str
    trades: int
    pnl: float
    win_rate: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stress:
    """The anchored walk-forward's choices, out of sample, under worse conditions."""

    name: str  # fees, slippage, delay, all
    total_return: float
    sharpe: float | None
    trades: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Validation:
    """A finished validation of one parameter set: the best of a sweep, or the one of a backtest."""

    verdict: str
    reasons: Sequence[Reason]  # strongest first, those that decided the verdict before the others
    fingerprint: str  # SHA-256 of everything that went in and of the verdict
    data_hash: str
    source_hash: str  # of the strategy's file and the trading definition
    strategy: ParameterSet
    risk: DynamicRiskManager
    symbols: Sequence[str]
    timeframe: str
    exchange: str
    start: int  # open time of the first candle
    end: int  # open time of the last
    combinations: int
    axes: Mapping[str, Sequence[Any]]
    chosen_by: str
    seed: int
    figures: Mapping[str, Any]  # of the candidate's backtest: in sample
    deflated: DeflatedSharpe
    overfitting: Overfitting | None
    reality_check: RealityCheck | None
    cross_validation: CrossValidation | None
    anchored: WalkForward
    rolling: WalkForward
    plateau: Plateau
    bands: Bands | None
    regimes: Sequence[Regime]
    symbol_shares: Sequence[SymbolShare]
    stresses: Sequence[Stress]
    notes: Sequence[str]

    @property
    def strongest(self) -> Sequence[Reason]:
        """Return the three strongest reasons for the verdict."""
        return self.reasons[:3]

    def __repr__(self) -> str:
        """Return verdict and subject in a line."""
        return f"Validation({self.verdict}: {self.strategy} on {', '.join(self.symbols)} {self.timeframe})"

    def _repr_html_(self) -> str:
        """Return the report: what a notebook shows of a validation."""
        return self.report()._repr_html_()

    def is_of(self, strategy: ParameterSet, risk: DynamicRiskManager) -> bool:
        """Tell whether the verdict is about exactly these parameters."""
        return self.strategy == strategy and self.risk == risk

    def report(self, language: str = "en") -> Report:
        """Return the whole outcome in words and tables; shown by notebooks, printed by programs."""
        from ctp.research.validation.report import Report

        return Report.of(self, language)

    def plot(self, language: str = "en") -> plotly.graph_objects.Figure:
        """Return the walk-forward's course by fold, the deflated Sharpe ratio, and the bands."""
        from ctp.research.validation.drawing import draw

        return draw(self, language)

    def plot_walk_forward(self, language: str = "en") -> plotly.graph_objects.Figure:
        """Return the folds as a strip: what each was chosen on and what it then earned."""
        from ctp.research.plots import plot_walk_forward

        return plot_walk_forward(self, language)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the curves, ready for JSON."""
        found: dict[str, Any] = {
            field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self) if field.name != "reasons"
        }
        found["reasons"] = [
            {**plain(reason), "en": reason.words("en"), "ko": reason.words("ko")} for reason in self.reasons
        ]
        return found


def plain(value: Any) -> Any:
    """Return a value as JSON has it; arrays are left out of the dataclasses that hold them."""
    if isinstance(value, ParameterSet):
        return value.to_dict()
    if dataclasses.is_dataclass(value):
        found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: plain(each) for name, each in found.items() if not isinstance(each, np.ndarray)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value

"""What a Sharpe ratio is worth: probabilistic, deflated, and how long one would have to wait. Pure.

Ratios here are per day, not annual, unless a name says so.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ctp.research.ratios import DAYS_A_YEAR

NORMAL = NormalDist()
EULER = 0.5772156649015329
CONFIDENCE = 0.95
LONGEST_RECORD = 36_500.0  # days; nobody waits longer


class Moments(NamedTuple):
    """A return series by its moments; kurtosis is 3 for a normal one."""

    days: int
    sharpe: float  # per day; NaN when nothing varies
    skewness: float
    kurtosis: float


def moments(daily: np.ndarray) -> Moments:
    """Return the moments of daily returns: mean ÷ sample deviation, m3 ÷ m2^1.5 and m4 ÷ m2² (population moments)."""
    days = len(daily)
    if days < 2:
        return Moments(days, math.nan, 0.0, 3.0)
    away = daily - daily.mean()
    second = float(np.mean(away * away))
    if second <= 1e-30:
        return Moments(days, math.nan, 0.0, 3.0)
    sharpe = float(daily.mean()) / math.sqrt(second * days / (days - 1))
    return Moments(days, sharpe, float(np.mean(away**3)) / second**1.5, float(np.mean(away**4)) / second**2)


def annual(sharpe: float) -> float:
    """Return a daily ratio as an annual one, 365 days a year."""
    return sharpe * math.sqrt(DAYS_A_YEAR)


def probabilistic_sharpe(found: Moments, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio is above a benchmark; NaN when the ratio is undefined.

    Φ((SR − SR*) √(T − 1) ÷ √(1 − γ3 SR + (γ4 − 1) ÷ 4 × SR²)).
    Source: Bailey and López de Prado, The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2) (2012), eq. 4.
    """
    if found.days < 2 or math.isnan(found.sharpe):
        return math.nan
    return NORMAL.cdf((found.sharpe - benchmark) * math.sqrt(found.days - 1) / math.sqrt(_width(found)))


def expected_best(spread: float, trials: float) -> float:
    """Return the Sharpe ratio that the best of so many trials reaches on average without any skill.

    √V × ((1 − γ) Φ⁻¹(1 − 1/N) + γ Φ⁻¹(1 − 1/(N e))), γ = 0.5772…; one trial: 0. spread: √V, standard deviation of the trials'
    ratios. Source: Bailey and López de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5) (2014), eq. 1.
    """
    if trials <= 1.0:
        return 0.0
    first = NORMAL.inv_cdf(1.0 - 1.0 / trials)
    second = NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return max(0.0, spread * ((1.0 - EULER) * first + EULER * second))


def deflated_sharpe(found: Moments, spread: float, trials: float) -> float:
    """Return the probability that the true Sharpe ratio is above the best that luck brings among so many trials.

    The probabilistic Sharpe ratio against `expected_best`. Source: the same, eq. 2.
    """
    return probabilistic_sharpe(found, expected_best(spread, trials))


def track_record_needed(found: Moments, benchmark: float = 0.0) -> float | None:
    """Return how many days it takes to be 95 % sure that the true ratio is above a benchmark; None: a century would not do.

    1 + (1 − γ3 SR + (γ4 − 1) ÷ 4 × SR²) (Φ⁻¹(0.95) ÷ (SR − SR*))².
    Source: Bailey and López de Prado (2012), eq. 11.
    """
    if math.isnan(found.sharpe) or found.sharpe <= benchmark:
        return None
    needed = NORMAL.inv_cdf(CONFIDENCE) / (found.sharpe - benchmark)
    days = 1.0 + _width(found) * needed * needed
    return days if days <= LONGEST_RECORD else None


def _width(found: Moments) -> float:
    """Return the variance of the estimated ratio × (T − 1); population moments keep it above 0."""
    return max(1e-12, 1.0 - found.skewness * found.sharpe + (found.kurtosis - 1.0) / 4.0 * found.sharpe * found.sharpe)


def annual_sharpe(daily: np.ndarray) -> float | None:
    """Return the annual Sharpe ratio of daily returns; None when undefined."""
    found = moments(daily).sharpe
    return None if math.isnan(found) else annual(found)


def clusters_of(returns: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Return to which cluster each trial belongs; the first of a cluster leads it, and comes in the order given.

    returns: (days, trials). A trial joins the first leader with which its daily returns correlate at least by the threshold,
    or becomes one: leader clustering, deterministic. How many leaders there are is the number of trials that were really
    different. Source: Hartigan, Clustering Algorithms (1975), ch. 3; the use for trials: López de Prado and Lewis, Detection
    of False Investment Strategies Using Unsupervised Learning Methods, Quantitative Finance 19(9) (2019).
    """
    away = returns - returns.mean(axis=0)
    size = np.sqrt((away * away).sum(axis=0))
    unit = np.divide(away, size, out=np.zeros_like(away), where=size > 1e-12)
    correlation = unit.T @ unit
    leaders: list[int] = []
    cluster = np.full(returns.shape[1], -1)
    for trial in range(returns.shape[1]):
        if cluster[trial] >= 0:
            continue
        joins = (correlation[trial] >= threshold) & (cluster < 0)
        if size[trial] <= 1e-12:  # what never traded resembles only what never traded
            joins = (size <= 1e-12) & (cluster < 0)
        joins[trial] = True
        cluster[joins] = len(leaders)
        leaders.append(trial)
    return cluster


def unseen_too(cluster: np.ndarray) -> float:
    """Return how many clusters there are, those among them that a sample of trials missed.

    Chao's lower bound K + f1 (f1 − 1) ÷ (2 (f2 + 1)), f1 and f2 the clusters with one and with two members.
    Source: Chao, Nonparametric Estimation of the Number of Classes in a Population, Scandinavian Journal of Statistics 11
    (1984), bias-corrected form.
    """
    members = np.bincount(cluster)
    once, twice = int((members == 1).sum()), int((members == 2).sum())
    return len(members) + once * (once - 1) / (2.0 * (twice + 1.0))

"""Purged and embargoed cross-validation over daily returns of many combinations. Pure.

Source: López de Prado, Advances in Financial Machine Learning (2018), ch. 7: training days whose trades may reach into the
test are purged on both sides, and an embargo of a hundredth of all days follows each test.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ctp.research.validation.outcome import CrossValidation
from ctp.research.validation.sharpe import annual, annual_sharpe, moments

EMBARGO = 0.01
LEAST_DAYS = 5  # in a fold


def training_days(days: int, begin: int, end: int, purged: int, embargo: int) -> np.ndarray:
    """Return which days train when [begin, end) tests: not the test, not what is purged around it, not the embargo."""
    trains = np.ones(days, bool)
    trains[max(0, begin - purged) : min(days, end + purged + embargo)] = False
    return trains


def cross_validation(returns: np.ndarray, folds: int, purged_days: int) -> CrossValidation | None:
    """Return how the best of the training days does on the days held out, fold by fold; None with too few days.

    returns: (days, combinations). purged_days: as long as any trade was held, at most a tenth of all days.
    """
    days = len(returns)
    if days < folds * LEAST_DAYS:
        return None
    purged = min(purged_days, days // 10)
    embargo = int(np.ceil(EMBARGO * days))
    edges = [days * step // folds for step in range(folds + 1)]
    tested, sharpes = [], []
    for begin, end in pairwise(edges):
        training = returns[training_days(days, begin, end, purged, embargo)]
        spread = training.std(axis=0)
        score = np.where(spread > 1e-15, training.mean(axis=0) / np.where(spread > 1e-15, spread, 1.0), -np.inf)
        best = int(np.argmax(score))
        test = returns[begin:end, best] if np.isfinite(score[best]) else np.zeros(end - begin)
        tested.append(test)
        found = moments(test).sharpe
        sharpes.append(0.0 if np.isnan(found) else annual(found))
    return CrossValidation(
        folds=folds,
        purged_days=purged,
        embargo_days=embargo,
        sharpe=annual_sharpe(np.concatenate(tested)),
        fold_sharpes=tuple(sharpes),
        profitable_folds=sum(float(np.prod(1.0 + test)) > 1.0 for test in tested),
    )

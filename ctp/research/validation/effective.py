"""How many of all trials were really different: clusters of daily returns, of the grid at hand and of what was tried before."""

from __future__ import annotations

import numpy as np

from ctp.research.backtest import Prepared
from ctp.research.trial_ledger import Sketch, parameters_of
from ctp.research.validation.sample import Sample, unlocked
from ctp.research.validation.sharpe import clusters_of, unseen_too
from ctp.research.validation.slices import course_of, daily_of


def effective_trials(
    prepared: Prepared, sample: Sample, own: Sketch, every: Sketch, warm_rows: int
) -> tuple[int, int, float]:
    """Return (clusters found, trials looked at, effective number of trials).

    sample: of what is validated; own: its trials; every: those and what the ledger has. Daily returns of the sample, and of the
    parameter sets that the ledger kept of other trials, run over the same candles, are clustered by correlation. Where not all
    trials were looked at, the clusters that were missed are added (Chao 1984). A kept set that no strategy takes any more
    counts as a cluster. Never more than there were trials.
    """
    returns, lost = [sample.daily], 0
    mine = set(own.fingerprints.tolist())
    for fingerprint, kept in every.sets.items():
        if fingerprint in mine:
            continue
        found = parameters_of(kept)
        if found is None:
            lost += 1
            continue
        course = course_of(prepared, *unlocked(*found, warm_rows))
        returns.append(_on_days(sample.day, *daily_of(course.time, course.equity, found[1].zone_offset))[:, None])
    columns = np.column_stack(returns)
    cluster = clusters_of(columns)
    is_all = columns.shape[1] + lost >= every.distinct
    effective = (float(cluster.max()) + 1.0 if is_all else unseen_too(cluster)) + lost
    return int(cluster.max()) + 1, columns.shape[1], max(1.0, min(effective, every.distinct))


def _on_days(day: np.ndarray, known: np.ndarray, daily: np.ndarray) -> np.ndarray:
    """Return daily returns on the days asked for, 0 where there are none."""
    found = np.zeros(len(day))
    _, place, source = np.intersect1d(day, known, assume_unique=True, return_indices=True)
    found[place] = daily[source]
    return found

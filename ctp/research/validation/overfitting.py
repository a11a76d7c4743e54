"""The probability of backtest overfitting by combinatorially symmetric cross-validation (CSCV). Pure.

Source: Bailey, Borwein, López de Prado and Zhu, The Probability of Backtest Overfitting, Journal of Computational Finance
20(4) (2017), section 2.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from ctp.research.ratios import DAYS_A_YEAR
from ctp.research.validation.outcome import Overfitting

BLOCKS = 16  # 12,870 splits
LEAST_DAYS = 4  # in a block
_BATCH = 1_000  # splits at a time, for memory's sake


def overfitting(returns: np.ndarray, blocks: int = BLOCKS) -> Overfitting | None:
    """Return what becomes of the best in sample; None with fewer than two combinations or too few days.

    returns: (days, combinations). The days are cut into S blocks; for every choice of S/2 of them as the sample, the
    combination with the best Sharpe ratio there is looked up among all combinations on the other half. With its relative
    rank ω (average rank ÷ (N + 1), ties halved), λ = ln(ω ÷ (1 − ω)); the probability is the share of splits with λ ≤ 0.
    """
    days, count = returns.shape
    while blocks > 2 and days // blocks < LEAST_DAYS:
        blocks -= 2
    if count < 2 or days // blocks < LEAST_DAYS:
        return None
    length = days // blocks
    cut = returns[days - blocks * length :].reshape(blocks, length, count)
    sums, squares = cut.sum(axis=1), (cut * cut).sum(axis=1)
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    half = length * blocks // 2
    logits, inside, outside = [], [], []
    # In the order of `combinations`, split number i from the end holds the blocks that number i leaves out.
    for first in range(0, len(chosen) // 2, _BATCH):
        batch = chosen[first : min(first + _BATCH, len(chosen) // 2)]
        mask = np.zeros((len(batch), blocks))
        mask[np.arange(len(batch))[:, None], batch] = 1.0
        one = _sharpes(mask @ sums, mask @ squares, half)
        other = _sharpes((1.0 - mask) @ sums, (1.0 - mask) @ squares, half)
        for sample, rest in ((one, other), (other, one)):
            best = sample.argmax(axis=1)
            rows = np.arange(len(batch))
            reached = rest[rows, best][:, None]
            rank = (rest < reached).sum(axis=1) + ((rest == reached).sum(axis=1) + 1.0) / 2.0
            relative = rank / (count + 1.0)
            logits.append(np.log(relative / (1.0 - relative)))
            inside.append(sample[rows, best])
            outside.append(reached[:, 0])
    logit, reached_there = np.concatenate(logits), np.concatenate(outside)
    year = math.sqrt(DAYS_A_YEAR)
    return Overfitting(
        probability=float(np.mean(logit <= 1e-12)),
        loss_probability=float(np.mean(reached_there <= 0.0)),
        splits=len(chosen),
        blocks=blocks,
        combinations=count,
        in_sample=float(np.median(np.concatenate(inside))) * year,
        out_of_sample=float(np.median(reached_there)) * year,
        logits=logit,
    )


def _sharpes(total: np.ndarray, squares: np.ndarray, days: int) -> np.ndarray:
    """Return daily Sharpe ratios of sums; what does not vary has 0."""
    spread = squares - total * total / days
    is_flat = spread <= 1e-18
    found: np.ndarray = np.where(is_flat, 0.0, total / days / np.sqrt(np.where(is_flat, 1.0, spread) / (days - 1)))
    return found

"""The statistics of a validation, against published worked examples and independent implementations."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import scipy.stats

from ctp.research.validation.bootstrap import (
    block_length,
    deepest_falls,
    long_run_variance,
    reality_check,
    resampled_means,
    stationary_rows,
)
from ctp.research.validation.cross_validation import cross_validation, training_days
from ctp.research.validation.overfitting import overfitting
from ctp.research.validation.sharpe import (
    Moments,
    clusters_of,
    deflated_sharpe,
    expected_best,
    moments,
    probabilistic_sharpe,
    track_record_needed,
)


def test_deflated_sharpe_of_the_paper() -> None:
    """Bailey and López de Prado (2014), p. 9: annual 2.5 over 1,250 days, V = 1/2, skewness −3, kurtosis 10."""
    found = Moments(1250, 2.5 / math.sqrt(250), -3.0, 10.0)
    spread = math.sqrt(0.5 / 250)
    assert expected_best(spread, 100) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(found, spread, 100) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(found, spread, 46) == pytest.approx(0.9505, abs=5e-5)
    assert deflated_sharpe(found._replace(skewness=0.0, kurtosis=3.0), spread, 88) == pytest.approx(0.9505, abs=1.5e-3)


def test_probabilistic_sharpe_of_the_paper() -> None:
    """Bailey and López de Prado (2012): a fund of 24 months, 0.458 a month, skewness −2.448, kurtosis 10.164."""
    normal = Moments(24, 0.458, 0.0, 3.0)
    assert probabilistic_sharpe(normal) == pytest.approx(0.982, abs=5e-4)
    skewed = Moments(24, 0.458, -2.448, 10.164)
    assert probabilistic_sharpe(skewed) == pytest.approx(0.913, abs=5e-4)


def test_a_track_record_of_the_length_needed_is_just_sure_enough() -> None:
    found = Moments(0, 0.1, -0.5, 5.0)
    needed = track_record_needed(found, 0.02)
    assert needed is not None
    assert probabilistic_sharpe(found._replace(days=round(needed)), 0.02) == pytest.approx(0.95, abs=1e-3)
    assert track_record_needed(found, 0.1) is None


def test_the_expected_best_is_what_chance_really_brings() -> None:
    best = np.random.default_rng(1).normal(0.0, 0.3, (20_000, 50)).max(axis=1).mean()
    assert expected_best(0.3, 50) == pytest.approx(best, rel=0.02)
    assert expected_best(0.3, 1) == 0.0


def test_moments_agree_with_scipy() -> None:
    daily = np.random.default_rng(2).standard_t(5, 500) * 0.01 + 0.001
    found = moments(daily)
    assert found.sharpe == pytest.approx(daily.mean() / daily.std(ddof=1))
    assert found.skewness == pytest.approx(scipy.stats.skew(daily))
    assert found.kurtosis == pytest.approx(scipy.stats.kurtosis(daily, fisher=False))
    assert math.isnan(moments(np.zeros(10)).sharpe) and math.isnan(moments(np.array([0.1])).sharpe)


def test_trials_that_move_alike_are_one() -> None:
    chance = np.random.default_rng(3)
    roots = chance.normal(size=(400, 5))
    trials = np.repeat(roots, 8, axis=1) + 0.3 * chance.normal(size=(400, 40))
    cluster = clusters_of(trials)
    assert cluster.tolist() == np.repeat(np.arange(5), 8).tolist()
    assert clusters_of(np.zeros((50, 7))).max() == 0
    assert clusters_of(chance.normal(size=(400, 9))).max() == 8


def plain_overfitting(returns: np.ndarray, blocks: int) -> tuple[float, float]:
    """Return probability of overfitting and of loss, split by split, with scipy's ranks."""
    days = len(returns) // blocks * blocks
    parts = np.split(returns[len(returns) - days :], blocks)
    below, lost, splits = 0, 0, 0
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[place] for place in chosen])
        outside = np.concatenate([parts[place] for place in range(blocks) if place not in chosen])
        best = int(np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1)))
        after = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        rank = scipy.stats.rankdata(after)[best] / (returns.shape[1] + 1.0)
        below += math.log(rank / (1.0 - rank)) <= 1e-12
        lost += after[best] <= 0.0
        splits += 1
    return below / splits, lost / splits


def test_overfitting_agrees_with_the_definition_split_by_split() -> None:
    returns = np.random.default_rng(4).normal(0.0002, 0.01, (203, 9))
    found = overfitting(returns, blocks=8)
    assert found is not None and found.splits == 70
    assert (found.probability, found.loss_probability) == plain_overfitting(returns, 8)


def test_one_that_is_always_better_is_not_overfit_and_one_that_pays_back_is() -> None:
    chance = np.random.default_rng(5)
    returns = chance.normal(0.0, 0.01, (320, 20))
    returns[:, 7] += 0.02
    steady = overfitting(returns)
    assert steady is not None and steady.probability == 0.0 and steady.loss_probability == 0.0
    blocks = chance.normal(0.0, 0.01, (16, 20))
    paid_back = np.repeat(blocks - blocks.mean(axis=0), 20, axis=0) + chance.normal(0.0, 1e-4, (320, 20))
    fooled = overfitting(paid_back)
    assert fooled is not None and fooled.probability > 0.95 and fooled.loss_probability == 1.0
    assert overfitting(returns[:, :1]) is None and overfitting(returns[:5]) is None


def test_the_stationary_bootstrap_has_blocks_of_the_length_asked_for() -> None:
    rows = stationary_rows(np.random.default_rng(6), 500, 200, 10.0)
    goes_on = (np.diff(rows, axis=1) % 500) == 1
    assert 1.0 / (1.0 - goes_on.mean()) == pytest.approx(10.0, rel=0.05)
    assert np.bincount(rows.ravel(), minlength=500).min() > 0
    returns = np.random.default_rng(7).normal(size=(500, 3))
    assert np.allclose(resampled_means(returns, rows), returns[rows].mean(axis=1))


def test_the_long_run_variance_is_what_resampling_shows() -> None:
    chance = np.random.default_rng(8)
    noise = chance.normal(size=601)
    returns = np.column_stack([noise[1:] + 0.6 * noise[:-1], chance.normal(size=600)])
    rows = stationary_rows(np.random.default_rng(9), 600, 5_000, 12.0)
    shown = 600 * resampled_means(returns, rows).var(axis=0)
    assert long_run_variance(returns, 12.0) == pytest.approx(shown, rel=0.08)


def test_a_best_of_many_is_told_from_luck() -> None:
    chance = np.random.default_rng(10)
    noise = chance.normal(0.0, 0.01, (600, 100))
    nothing = reality_check(noise - noise.mean(axis=0), 1)
    assert nothing is not None and nothing.p_value == 1.0
    lucky = reality_check(noise, 1)
    assert lucky is not None and lucky.p_value > 0.1 and lucky.lower <= lucky.p_value <= lucky.upper
    noise[:, 40] += 0.003
    skilled = reality_check(noise, 1)
    assert skilled is not None and skilled.p_value < 0.01 and skilled.white < 0.01
    assert reality_check(np.zeros((100, 3)), 1) is None


def test_the_reality_check_is_right_as_often_as_it_says() -> None:
    """Without skill, a p-value below 10 % comes at most about 10 % of the time."""
    found = []
    for seed in range(150):
        noise = np.random.default_rng(seed).normal(0.0, 0.01, (250, 10))
        checked = reality_check(noise, seed, block_days=2.0, resamples=200)
        assert checked is not None
        found.append((checked.p_value, checked.white))
    rates = (np.array(found) <= 0.10).mean(axis=0)
    assert (rates > 0.03).all() and (rates < 0.17).all()


def test_block_length_grows_with_memory() -> None:
    chance = np.random.default_rng(11)
    noise = chance.normal(size=2_000)
    slow = np.zeros(2_000)
    for at in range(1, 2_000):
        slow[at] = 0.9 * slow[at - 1] + noise[at]
    # AR(1): g ÷ level tends to 2 ρ ÷ (1 − ρ²), so the length to (2 ρ ÷ (1 − ρ²))^⅔ T^⅓ = 56 for ρ = 0.9.
    assert 35.0 < block_length(slow) < 85.0
    assert block_length(noise) < 8.0
    assert block_length(np.zeros(100)) == 1.0


def test_deepest_falls_by_hand() -> None:
    assert deepest_falls(np.array([[1.1, 0.99, 1.2], [0.9, 0.8, 1.0]])).tolist() == pytest.approx([0.1, 0.2])


def test_purge_and_embargo_leave_the_days_around_a_test_out() -> None:
    assert np.flatnonzero(training_days(20, 8, 12, 2, 3)).tolist() == [0, 1, 2, 3, 4, 5, 17, 18, 19]
    assert np.flatnonzero(training_days(10, 0, 3, 2, 1)).tolist() == [6, 7, 8, 9]


def test_what_leaks_into_training_is_purged() -> None:
    """A combination whose edge lies in the days next to each test looks good only while those days train."""
    days = 240
    returns = np.random.default_rng(12).normal(0.0, 0.001, (days, 2))
    returns[:, 1] += 0.0001
    returns[117:123, 0] += 0.2
    leaky, purged = cross_validation(returns, 2, 0), cross_validation(returns, 2, 3)
    assert leaky is not None and purged is not None
    assert (purged.purged_days, purged.embargo_days) == (3, 3)
    honest = returns[:, 1]
    assert purged.sharpe == pytest.approx(honest.mean() / honest.std(ddof=1) * math.sqrt(365))
    assert leaky.sharpe is not None and leaky.sharpe < purged.sharpe
    assert cross_validation(returns[:10], 4, 1) is None

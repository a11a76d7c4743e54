"""The stationary bootstrap, Hansen's test of superior predictive ability, White's reality check, and bands. Pure, seeded.

Source of the resampling: Politis and Romano, The Stationary Bootstrap, JASA 89 (1994): blocks of geometric length, wrapped
around the end, so that neighbouring days stay together and the resampled series is stationary.
"""

from __future__ import annotations

import math

import numpy as np

from ctp.research.validation.outcome import Band, Bands, RealityCheck

RESAMPLES = 1_000
MONTH_DAYS = 30
LOW, HIGH = 0.05, 0.10  # the owner's target for a month


def stationary_rows(chance: np.random.Generator, days: int, resamples: int, block_days: float) -> np.ndarray:
    """Return (resamples, days) row numbers of the stationary bootstrap; each day begins a new block with 1 ÷ block_days."""
    begins = chance.random((resamples, days)) < 1.0 / block_days
    begins[:, 0] = True
    at = np.broadcast_to(np.arange(days), begins.shape)
    last = np.maximum.accumulate(np.where(begins, at, 0), axis=1)
    starts = chance.integers(0, days, (resamples, days))
    rows: np.ndarray = (np.take_along_axis(starts, last, axis=1) + at - last) % days
    return rows


def block_length(daily: np.ndarray) -> float:
    """Return the mean block length, in days, that makes the stationary bootstrap's variance most exact.

    (2 g² ÷ d)^⅓ × T^⅓ with flat-top weights λ of the autocovariances R: g = Σ λ |k| R(k), d = 2 (Σ λ R(k))²; the bandwidth
    follows from the first stretch of small autocorrelations. At least 1, at most min(3 √T, T ÷ 3).
    Source: Politis and White, Econometric Reviews 23 (2004), with the correction of Patton, Politis and White, 28 (2009).
    """
    days = len(daily)
    away = daily - daily.mean() if days else daily
    if days < 8 or float(np.mean(away * away)) <= 1e-30:
        return 1.0
    calm = max(5, math.ceil(math.log10(days)))
    most = math.ceil(math.sqrt(days)) + calm
    most = min(most, days - 1)
    covariances = np.array([float(away[: days - lag] @ away[lag:]) / days for lag in range(most + 1)])
    limit = 2.0 * math.sqrt(math.log10(days) / days)
    is_large = np.abs(covariances[1:] / covariances[0]) >= limit
    bandwidth = most
    for lag in range(len(is_large) - calm + 1):
        if not is_large[lag : lag + calm].any():
            bandwidth = min(2 * max(lag, 1), most)
            break
    else:
        bandwidth = min(2 * int(np.flatnonzero(is_large)[-1] + 1), most) if is_large.any() else 2
    lags = np.arange(1, bandwidth + 1)
    weights = np.minimum(1.0, 2.0 * (1.0 - lags / bandwidth))
    tail = covariances[1 : bandwidth + 1]
    slope = 2.0 * float((weights * lags) @ tail)
    level = float(covariances[0]) + 2.0 * float(weights @ tail)
    if level <= 0.0:
        return 1.0
    length = math.cbrt(slope * slope / (level * level) * days)
    return min(max(1.0, length), min(3.0 * math.sqrt(days), days / 3.0))


def long_run_variance(returns: np.ndarray, block_days: float) -> np.ndarray:
    """Return the variance of √T × mean of each column under the stationary bootstrap.

    γ(0) + 2 Σ κ(k) γ(k), κ(k) = (1 − k/T)(1 − q)^k + (k/T)(1 − q)^(T−k), q = 1 ÷ block_days. Source: Hansen (2005), p. 372.
    """
    days, count = returns.shape
    q = 1.0 / block_days
    found = np.empty(count)
    lags = np.arange(1, days)
    kernel = (1.0 - lags / days) * (1.0 - q) ** lags + (lags / days) * (1.0 - q) ** (days - lags)
    size = 1 << (2 * days - 1).bit_length()
    for first in range(0, count, 256):  # columns at a time, for memory's sake
        away = returns[:, first : first + 256]
        away = away - away.mean(axis=0)
        spectrum = np.abs(np.fft.rfft(away, size, axis=0)) ** 2
        covariances = np.fft.irfft(spectrum, size, axis=0)[:days] / days
        found[first : first + 256] = covariances[0] + 2.0 * kernel @ covariances[1:]
    return np.maximum(found, 0.0)


def reality_check(
    returns: np.ndarray, seed: int, *, block_days: float | None = None, resamples: int = RESAMPLES
) -> RealityCheck | None:
    """Return whether the best column beats holding cash by more than luck; None when nothing ever varied.

    returns: (days, combinations). The null: no combination has a mean above 0. SPA: T = max(0, max √n d̄ ÷ ω) against
    max √n (d̄* − g(d̄)) ÷ ω over resamples, with g(d̄) = d̄ where √n d̄ ÷ ω ≥ −√(2 ln ln n), else 0 (consistent);
    lower: g = max(0, d̄); upper: g = d̄. White: max √n d̄ without ω, recentred by d̄. block_days: Politis and White's for the
    best column unless given.
    Sources: Hansen, A Test for Superior Predictive Ability, JBES 23(4) (2005); White, A Reality Check for Data Snooping,
    Econometrica 68(5) (2000).
    """
    days, count = returns.shape
    if days < 8:
        return None
    mean = returns.mean(axis=0)
    deviation = returns.std(axis=0)
    varies = np.flatnonzero(deviation > 1e-15)
    if not len(varies):
        return None
    returns, mean = returns[:, varies], mean[varies]
    if block_days is None:
        block_days = block_length(returns[:, int(np.argmax(mean / deviation[varies]))])
    omega = np.sqrt(long_run_variance(returns, block_days))
    omega = np.maximum(omega, 1e-12 + 1e-3 * deviation[varies])
    rows = stationary_rows(np.random.default_rng(seed), days, resamples, block_days)
    means = resampled_means(returns, rows)
    root = math.sqrt(days)
    reached = max(0.0, float((root * mean / omega).max()))
    threshold = -math.sqrt(2.0 * math.log(max(math.e, math.log(days))))
    centres = (
        np.where(root * mean / omega >= threshold, mean, 0.0),
        np.maximum(mean, 0.0),
        mean,
    )
    values = [np.maximum(0.0, (root * (means - centre) / omega).max(axis=1)) for centre in centres]
    p_consistent, p_lower, p_upper = (float(np.mean(value >= reached)) for value in values)
    white = float(np.mean((root * (means - mean)).max(axis=1) >= float((root * mean).max())))
    return RealityCheck(
        p_value=p_consistent,
        lower=p_lower,
        upper=p_upper,
        white=white,
        combinations=count,
        block_days=block_days,
        resamples=resamples,
    )


def resampled_means(returns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return (resamples, combinations) means: how often each day was drawn, times what it returned."""
    resamples, days = rows.shape
    flat = (rows + np.arange(resamples)[:, None] * days).ravel()
    drawn = np.bincount(flat, minlength=resamples * days).reshape(resamples, days)
    means: np.ndarray = drawn.astype(np.float64) @ returns / days
    return means


def bands(
    daily: np.ndarray,
    trade_returns: np.ndarray,
    measured: dict[str, float | None],
    seed: int,
    *,
    resamples: int = RESAMPLES,
) -> Bands | None:
    """Return bands of annual return, drawdown and months at the target; None without a month of days.

    daily: out-of-sample daily returns, resampled in blocks (Politis and Romano 1994). Months are runs of 30 days. trade_returns:
    P&L of each out-of-sample trade ÷ equity at its entry; shuffled, they end at the same equity by another way, so only the
    drawdown has a band. measured: what really happened, by the names of Bands.
    """
    days = len(daily)
    if days < MONTH_DAYS:
        return None
    chance = np.random.default_rng(seed)
    length = max(block_length(daily), 5.0)
    rows = stationary_rows(chance, days, resamples, length)
    curves = np.cumprod(1.0 + daily[rows], axis=1)
    year = np.maximum(curves[:, -1], 1e-12) ** (365.0 / days) - 1.0
    months = days // MONTH_DAYS
    ends = curves[:, MONTH_DAYS - 1 :: MONTH_DAYS][:, :months]
    begins = np.concatenate((np.ones((resamples, 1)), ends[:, :-1]), axis=1)
    monthly = ends / begins - 1.0
    order = None
    if len(trade_returns) >= 2:
        shuffled = chance.permuted(np.broadcast_to(trade_returns, (resamples, len(trade_returns))), axis=1)
        order = _band(deepest_falls(np.cumprod(1.0 + shuffled, axis=1)), measured.get("order_drawdown"))
    return Bands(
        annual_return=_band(year, measured.get("annual_return")),
        max_drawdown=_band(deepest_falls(curves), measured.get("max_drawdown")),
        months_at_target=_band(np.mean(monthly >= LOW, axis=1), measured.get("months_at_target")),
        months_in_band=_band(np.mean((monthly >= LOW) & (monthly <= HIGH), axis=1), measured.get("months_in_band")),
        order_drawdown=order,
        resamples=resamples,
        block_days=length,
    )


def deepest_falls(curves: np.ndarray) -> np.ndarray:
    """Return the deepest fall from a peak of each row, as a fraction; every curve starts at 1."""
    peaks = np.maximum(1.0, np.maximum.accumulate(curves, axis=1))
    falls: np.ndarray = ((peaks - curves) / peaks).max(axis=1)
    return falls


def _band(values: np.ndarray, measured: float | None) -> Band:
    """Return the percentiles."""
    found = np.percentile(values, [5, 25, 50, 75, 95])
    return Band(
        p5=float(found[0]), p25=float(found[1]), p50=float(found[2]), p75=float(found[3]), p95=float(found[4]),
        measured=measured,
    )  # fmt: skip

"""The ratios of a run (semantics §6) from its sums: one definition for the bar loop's figures and the sweep's.

Every sum runs in order of time, left to right, one double added to another: two engines that see the same events agree to
the bit. (Python's own `sum` compensates, numpy's adds in pairs; neither is used.) Undefined is NaN here.
"""

from __future__ import annotations

import math

from ctp.core.kernel import kernel
from ctp.core.types import NAN

DAYS_A_YEAR = 365
MONTHLY_TARGET = 0.05  # the lower end of the owner's target of 5 to 10 % a month
INFINITE = float("inf")


@kernel
def sharpe_of(days: int, total: float, squares: float) -> float:
    """Return mean ÷ sample deviation × √365 of daily returns, zero rate.

    total, squares: sum of the returns and of their squares. Source: Sharpe, The Sharpe Ratio (1994).
    """
    if days < 2:
        return NAN
    spread = squares - total * total / days
    if spread <= 0.0:
        return NAN
    return total / days / math.sqrt(spread / (days - 1)) * math.sqrt(DAYS_A_YEAR)


@kernel
def sortino_of(days: int, total: float, losing_squares: float) -> float:
    """Return mean ÷ root mean square of losses over all days × √365. Source: Sortino and Price (1994)."""
    if days < 2 or losing_squares <= 0.0:
        return NAN
    return total / days / math.sqrt(losing_squares / days) * math.sqrt(DAYS_A_YEAR)


@kernel
def cagr_of(duration_days: float, first: float, last: float) -> float:
    """Return the compound annual growth rate, 365 days a year."""
    if duration_days <= 0.0 or first <= 0.0 or last <= 0.0:
        return NAN
    return math.pow(last / first, DAYS_A_YEAR / duration_days) - 1.0


@kernel
def profit_factor_of(trades: int, gains: float, losses: float) -> float:
    """Return gains ÷ losses of closed trades; infinite when there is no loss. losses: >= 0."""
    if trades == 0:
        return NAN
    if losses == 0.0:
        return INFINITE if gains > 0.0 else NAN
    return gains / losses


@kernel
def quotient(value: float, count: float) -> float:
    """Return value ÷ count, undefined where there is nothing to divide by."""
    return value / count if count != 0.0 else NAN

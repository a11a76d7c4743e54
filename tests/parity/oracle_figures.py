"""The figures of a run, §6 of the definition, from the oracle's decisions and trades.

Invariant: undefined is None; an endless profit factor is infinity. Months follow the risk zone's calendar.
"""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime

from tests.parity.oracle import DAY_MS
from tests.parity.oracle_values import Position, Result


def figures(result: Result) -> dict[str, float | int | None]:
    """Return every single-number figure of a run that had at least one decision."""
    equities = [decision.equity for decision in result.decisions]
    times = [decision.close_time for decision in result.decisions]
    first, final = equities[0], equities[-1]
    days = period_returns(result, [decision.day for decision in result.decisions])
    drawdown, length_ms = max_drawdown(equities, times)
    years = (times[-1] - times[0]) / (365 * DAY_MS)
    cagr = (final / first) ** (1 / years) - 1 if years > 0 and final > 0 else None
    losses = [-pnl(trade) / trade.decision_equity for trade in result.closed]
    return {
        "total_return": final / first - 1,
        "cagr": cagr,
        "max_drawdown": drawdown,
        "max_drawdown_ms": length_ms,
        "sharpe": sharpe(days),
        "sortino": sortino(days),
        "calmar": cagr / drawdown if cagr is not None and drawdown > 0 else None,
        **trade_figures(result),
        "exposure": sum(decision.in_position for decision in result.decisions) / len(result.decisions),
        "fees": result.fees,
        "funding": result.funding,
        "slippage": result.slippage,
        "largest_loss": max([0.0, *losses]) if losses else None,
        "worst_day": min(days) if days else None,
    }


def pnl(trade: Position) -> float:
    """Return the P&L of a closed trade."""
    assert trade.pnl is not None
    return trade.pnl


def trade_figures(result: Result) -> dict[str, float | int | None]:
    """Return the figures of the closed trades alone."""
    trades = result.closed
    won = [pnl(trade) for trade in trades if pnl(trade) > 0]
    lost = [pnl(trade) for trade in trades if pnl(trade) <= 0]
    multiples = [trade.r_multiple for trade in trades if trade.r_multiple is not None]
    factor = None
    if sum(lost) < 0:
        factor = sum(won) / -sum(lost)
    elif sum(won) > 0:  # trades that made exactly nothing leave 0 ÷ 0, which is undefined
        factor = math.inf
    return {
        "trades": len(trades),
        "win_rate": len(won) / len(trades) if trades else None,
        "profit_factor": factor,
        "expectancy_r": sum(multiples) / len(multiples) if multiples else None,
    }


def period_returns(result: Result, periods: list[int]) -> list[float]:
    """Return each period's return: its first equity to the next period's, the last one to the final equity."""
    equities = [decision.equity for decision in result.decisions]
    starts = [i for i, period in enumerate(periods) if i == 0 or period != periods[i - 1]]
    returns = [equities[after] / equities[start] - 1 for start, after in itertools.pairwise(starts)]
    if starts[-1] < len(equities) - 1:  # more than one decision
        returns.append(equities[-1] / equities[starts[-1]] - 1)
    return returns


def monthly_returns(result: Result) -> dict[str, float]:
    """Return the return of every month by name, partial months too."""
    months = [datetime.fromtimestamp(decision.day * DAY_MS / 1000, UTC) for decision in result.decisions]
    names = [f"{month:%Y-%m}" for month in months]
    returns = period_returns(result, [month.year * 12 + month.month for month in months])
    return dict(zip(dict.fromkeys(names), returns, strict=False))


def max_drawdown(equities: list[float], times: list[int]) -> tuple[float, int]:
    """Return the deepest fall from a peak and its length from the peak to the first close back at it, or the end."""
    deepest, length_ms = 0.0, 0
    highest = -math.inf
    for start, peak in enumerate(equities):
        if peak < highest:
            continue  # below an earlier peak
        highest = lowest = peak
        end = start
        for i in range(start + 1, len(equities)):
            end = i
            if equities[i] >= peak:
                break
            lowest = min(lowest, equities[i])
        fall = (peak - lowest) / peak
        if fall > deepest:
            deepest, length_ms = fall, times[end] - times[start]
    return deepest, length_ms


def sharpe(days: list[float]) -> float | None:
    """Return the mean daily return over its sample deviation, × √365."""
    if len(days) < 2:
        return None
    mean = sum(days) / len(days)
    deviation = math.sqrt(sum((day - mean) ** 2 for day in days) / (len(days) - 1))
    return mean / deviation * math.sqrt(365) if deviation > 0 else None


def sortino(days: list[float]) -> float | None:
    """Return the mean daily return over the root mean square of the losing days (over all days), × √365."""
    if len(days) < 2:
        return None
    downside = math.sqrt(sum(min(day, 0.0) ** 2 for day in days) / len(days))
    return sum(days) / len(days) / downside * math.sqrt(365) if downside > 0 else None

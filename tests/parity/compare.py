"""Run one case through the oracle, and tell every difference to what ctp found.

Invariant: trades, equity, refusals and open positions are compared with ==; figures that sum in another order to 1e-9.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ctp.market.candles import Candles
from ctp.research.result import BacktestResult
from tests.parity import oracle_figures
from tests.parity import oracle_values as plain
from tests.parity.cases import Case, History
from tests.parity.oracle import Account

ORACLE_COLUMNS: dict[str, Callable[[plain.Position], Any]] = {
    "symbol": lambda trade: trade.symbol,
    "side": lambda trade: trade.side,
    "entry_time": lambda trade: trade.entry_time,
    "entry_price": lambda trade: trade.entry_price,
    "exit_time": lambda trade: trade.exit_time,
    "exit_price": lambda trade: trade.exit_price,
    "size": lambda trade: trade.size,
    "leverage": lambda trade: trade.leverage,
    "margin": lambda trade: trade.margin,
    "stop_price": lambda trade: trade.first_stop,
    "take_price": lambda trade: trade.take,
    "fee": lambda trade: trade.fee,
    "funding": lambda trade: trade.funding,
    "pnl": lambda trade: trade.pnl,
    "r_multiple": lambda trade: trade.r_multiple,
    "exit_reason": lambda trade: trade.exit_reason,
    "slippage": lambda trade: trade.slippage,
    "entry_equity": lambda trade: trade.decision_equity,
}


def run_oracle(case: Case, history: History) -> plain.Result:
    """Run a case through the oracle."""
    first = next(iter(history.candles.values()))
    return Account(
        plain.Strategy(**case.strategy),
        plain.Risk(**case.risk),
        {name: rows_of(candles) for name, candles in history.candles.items()},
        first.length_ms,
        dict(zip(case.names, case.markets, strict=True)),
        dict(zip(case.names, case.costs, strict=True)),
        case.equity,
        {name: rows_of(candles) for name, candles in history.mark.items()},
        {
            name: list(zip(rates.time.tolist(), rates.rate.tolist(), strict=True))
            for name, rates in history.funding.items()
        },
    ).run()


def rows_of(candles: Candles) -> list[plain.Candle]:
    """Return candles as the oracle takes them."""
    columns = (candles.time, candles.open, candles.high, candles.low, candles.close, candles.volume)
    return [plain.Candle(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def differences(found: BacktestResult, expected: plain.Result) -> list[str]:
    """Return every difference in words, the trades first; none means equal to the bit."""
    return [
        *_trade_differences(found.trade_records, [*expected.closed, *expected.open]),
        *_equity_differences(found, expected),
        *_refusal_differences(found, expected),
        *_figure_differences(found, expected),
    ]


def _trade_differences(found: Sequence[dict[str, Any]], expected: Sequence[plain.Position]) -> Iterator[str]:
    """Name the columns in which trades differ."""
    for number, (trade, right) in enumerate(zip(found, expected, strict=False)):
        for name, column in ORACLE_COLUMNS.items():
            if not _is_same(trade[name], column(right)):
                yield f"trade {number} {name}: ctp {trade[name]!r}, oracle {column(right)!r}"
    if len(found) != len(expected):
        yield f"trades: ctp {len(found)}, oracle {len(expected)}"


def _is_same(found: Any, expected: Any) -> bool:
    """Compare two cells; a number that is not there is NaN or None."""
    if isinstance(found, float) and math.isnan(found):
        found = None
    return bool(found == expected)


def _equity_differences(found: BacktestResult, expected: plain.Result) -> Iterator[str]:
    """Name the first decision that differs."""
    mine = list(zip(found.time.tolist(), found.equity_values.tolist(), found.is_exposed.astype(bool).tolist(), strict=True))
    theirs = [(decision.close_time, decision.equity, decision.in_position) for decision in expected.decisions]
    for row, (one, other) in enumerate(zip(mine, theirs, strict=False)):
        if one != other:
            yield f"decision {row} (time, equity, in position): ctp {one}, oracle {other}"
            break
    if len(mine) != len(theirs):
        yield f"decisions: ctp {len(mine)}, oracle {len(theirs)}"


def _refusal_differences(found: BacktestResult, expected: plain.Result) -> Iterator[str]:
    """Compare how often each reason was given; before the first decision the oracle does not speak."""
    mine = {name: count for name, count in found.refusals.items() if name != "warming_up"}
    theirs = Counter(reason for _, _, reason in expected.refusals if reason != "warming_up")
    if mine != dict(theirs) or (found.dropped_entries, found.unfilled_entries) != (expected.dropped, expected.unfilled):
        ours = f"{mine} {found.dropped_entries} {found.unfilled_entries}"
        yield f"refusals, dropped, unfilled: ctp {ours}, oracle {dict(theirs)} {expected.dropped} {expected.unfilled}"


def _figure_differences(found: BacktestResult, expected: plain.Result) -> Iterator[str]:
    """Compare the figures, which may sum in another order."""
    if not expected.decisions or min(decision.equity for decision in expected.decisions) <= 0:
        return  # growth from or to nothing has no meaning to compare
    right = oracle_figures.figures(expected)
    right["max_drawdown_days"] = right.pop("max_drawdown_ms") / 86_400_000  # type: ignore[operator]
    for name, value in right.items():
        if not _is_close(found.figures[name], value):
            yield f"figure {name}: ctp {found.figures[name]!r}, oracle {value!r}"
    months = oracle_figures.monthly_returns(expected)
    mine = found.figures["monthly_returns"]
    if list(mine) != list(months) or not all(_is_close(mine[name], months[name]) for name in months):
        yield f"monthly returns: ctp {mine}, oracle {months}"


def _is_close(found: float | None, expected: float | None) -> bool:
    """Compare two figures to 1e-9."""
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)

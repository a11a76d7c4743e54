"""The same out-of-sample choices under worse conditions: dearer, and one candle late. One engine, one definition."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ctp.core.strategies import of_parameters
from ctp.research.backtest import Prepared
from ctp.research.delayed import delayed
from ctp.research.validation.outcome import Stress, WalkForward
from ctp.research.validation.walk_forward import Choice, Walker

FEES, SLIPPAGE = 2.0, 3.0


def stresses(walker: Walker, walked: WalkForward, choices: Sequence[Choice]) -> list[Stress]:
    """Return the walk-forward again with fees × 2, with slippage × 3, with each decision one candle late, and with all three."""
    late = delayed(of_parameters(walker.prepared.strategy))
    found = []
    for name, fees, slippage, rule in (
        ("fees", FEES, 1.0, None),
        ("slippage", 1.0, SLIPPAGE, None),
        ("delay", 1.0, 1.0, late),
        ("all", FEES, SLIPPAGE, late),
    ):
        dearer = _dearer(walker.prepared, fees, slippage)
        courses = [walker.measure(choice, dearer, rule) for choice in choices]
        outcome = walker.outcome(walked.kind, choices, courses)
        found.append(Stress(name=name, total_return=outcome.total_return, sharpe=outcome.sharpe, trades=outcome.trades))
    return found


def _dearer(prepared: Prepared, fees: float, slippage: float) -> Prepared:
    """Return a history whose trades cost more."""
    markets = [
        market._replace(
            fee_rate=market.fee_rate * fees,
            maker_fee_rate=market.maker_fee_rate * fees,
            slippage=market.slippage * slippage,
        )
        for market in prepared.markets
    ]
    return dataclasses.replace(prepared, markets=markets)

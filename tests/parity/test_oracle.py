"""The backtest equals an independent reading of the trading definition, to the bit."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterable

from ctp.core.types import EXIT_REASONS, REFUSALS
from tests.parity import oracle_values as plain
from tests.parity.cases import history_of, random_case
from tests.parity.compare import differences, run_oracle
from tests.parity.engines import run_compiled

# The gate runs the same accounts each time; CTP_PARITY_EXAMPLES=5000 draws that many new ones.
FRESH = int(os.environ.get("CTP_PARITY_EXAMPLES", "0"))
SEEDS: Iterable[int] = [secrets.randbits(32) for _ in range(FRESH)] or range(400)
OUTSIDE_A_BACKTEST = {"", "paused", "exchange_unavailable", "clock_drift", "stale_candle"}


def events_of(expected: plain.Result) -> Counter[str]:
    """Return how often each thing that can happen to an account has happened."""
    events: Counter[str] = Counter()
    for trade in expected.closed:
        events[str(trade.exit_reason)] += 1
        events[trade.side] += 1
        events["funded"] += trade.funding != 0.0
        events["by limit"] += trade.by_limit
        if trade.by_limit and trade.exit_time == trade.entry_time:
            events[f"by limit, at once {trade.exit_reason}"] += 1
    events.update(reason for _, _, reason in expected.refusals)
    return events + Counter({"dropped": expected.dropped, "left open": len(expected.open), "unfilled": expected.unfilled})


def test_backtest_equals_the_oracle_in_every_trade_and_every_equity_value() -> None:
    """Hundreds of random accounts agree, and together they reach every exit and every refusal there is."""
    seen: Counter[str] = Counter()
    for seed in SEEDS:
        case = random_case(seed)
        history = history_of(case)
        expected = run_oracle(case, history)
        assert differences(run_compiled(case, history), expected) == [], f"seed {seed}: {case}"
        seen += events_of(expected)
    every = {*EXIT_REASONS[1:7], *REFUSALS, "long", "short", "funded", "dropped", "left open", "unfilled"} - OUTSIDE_A_BACKTEST
    every |= {"by limit", "by limit, at once stop_loss", "by limit, at once take_profit"}
    assert min(seen[name] for name in every) >= 5, f"the random accounts leave something untried: {seen}"

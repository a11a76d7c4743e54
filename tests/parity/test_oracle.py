"""The backtest equals an independent reading of the trading definition, to the bit."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, note, settings

from ctp.core.types import EXIT_REASONS, REFUSALS
from tests.parity.cases import Case, cases, history_of
from tests.parity.compare import differences, run_ctp, run_oracle

# A larger number of examples is drawn anew each time; the gate's are always the same ones.
EXAMPLES = int(os.environ.get("CTP_PARITY_EXAMPLES", "0"))
OUTSIDE_A_BACKTEST = {"", "paused", "exchange_unavailable", "clock_drift", "stale_candle", "warming_up"}


def test_backtest_equals_the_oracle_in_every_trade_and_every_equity_value() -> None:
    """Hundreds of random accounts agree, and together they reach every exit and every refusal there is."""
    seen: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES or 350,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def check(case: Case) -> None:
        history = history_of(case)
        expected = run_oracle(case, history)
        found = run_ctp(case, history)
        for line in (wrong := differences(found, expected)):
            note(line)
        assert not wrong
        for trade in expected.closed:
            seen[str(trade.exit_reason)] += 1
            seen[trade.side] += 1
            seen["funded"] += trade.funding != 0.0
        for _, _, reason in expected.refusals:
            seen[reason] += 1
        seen["dropped"] += expected.dropped
        seen["left open"] += len(expected.open)

    check()
    print(dict(seen))
    reasons = {*EXIT_REASONS[1:7], *REFUSALS, "long", "short", "funded", "dropped", "left open"} - OUTSIDE_A_BACKTEST
    assert reasons <= {name for name, count in seen.items() if count}, "the random accounts leave something untried"

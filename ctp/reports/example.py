"""An extract to look at where there is no account yet: a backtest over the generated market, told as if it were traded.

Notebooks, tests and the benchmark start from it. It says in its name and in a note that nobody ever traded it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import RsiMeanReversion
from ctp.reports.evidence_state import NONE
from ctp.reports.extracted import DecisionTime, EquityRow, Extract, LedgerRow, OutcomeCount, TradeRow
from ctp.reports.periods import DAY_MS, HOUR_MS, Zone, period_of

CAPITAL = 10_000.0
SYMBOL = "BTC/USDT:USDT"
MARKET = {
    "tick_multiple": 1, "tick_divisor": 10, "lot_multiple": 1, "lot_divisor": 1000, "min_notional": 100.0,
    "is_perpetual": 1, "fee_rate": 0.0005, "slippage": 0.0002, "liquidation_fee": 0.0125, "bracket_floor": [0.0],
    "bracket_rate": [0.01], "bracket_amount": [0.0], "bracket_leverage": [125.0],
}  # fmt: skip


def example_extract(candles: int = 2_400, seed: int = 3) -> Extract:
    """Return the extract of the last complete day that an example account would have."""
    result = _run(candles, seed)
    zone, equity = (
        Zone(9.0, HOUR_MS),
        [EquityRow(int(t), float(e), None) for t, e in zip(result.time, result.equity_values, strict=True)],
    )
    day = zone.day_of(int(result.time[-1]) - DAY_MS)
    period = period_of("daily", day, zone)
    closed = [one for one in result.closed_trades if one["exit_time"] < period.end_ms]
    trades = [_trade(one) for one in closed]
    times = [row.time for row in equity if row.time <= period.end_ms]
    return Extract(
        about=_about(day, times[-1]),
        ledger=tuple(_ledger(int(result.time[0]), closed)),
        equity=tuple(row for row in equity if row.time <= period.end_ms),
        trades=tuple(trades),
        decisions=tuple(DecisionTime(time, time + 2_000, 1) for time in times),
        outcomes=(OutcomeCount("no_signal", "rsi_level", 24),),
        trouble=(),
        commands=(),
        closes=(),
        evidence={"state": NONE},
    )


def _run(candles: int, seed: int) -> Any:
    """Run the strategy, eager enough to have something to tell, over a market without drift."""
    from ctp.market.candles import Candles
    from ctp.research.backtest import backtest, costs
    from ctp.simulator.generated import DEFAULT_START_MS, GeneratedFeed

    strategy = RsiMeanReversion(oversold=45, overbought=55, volume_factor=0, stop_loss=0.01, take_profit=0.01)
    last = DEFAULT_START_MS + (candles - 1) * HOUR_MS
    columns = GeneratedFeed((SYMBOL,), HOUR_MS, seed).candles(SYMBOL, DEFAULT_START_MS, last)
    time, open_, high, low, close, volume = (column.copy() for column in columns)
    market = Candles.checked(SYMBOL, "1h", "generated", time, open_, high, low, close, volume)
    risk = DynamicRiskManager(max_drawdown=1.0)
    return backtest(strategy, risk, market, costs=costs("binanceusdm"), equity=CAPITAL, is_trial=False)


def _trade(one: dict[str, Any]) -> TradeRow:
    """Return a trade of the backtest as an extract keeps it."""
    names = [name for name in TradeRow._fields if name not in ("entry_equity", "entry_numbers", "entry_strategy")]
    return TradeRow(**{name: one[name] for name in names}, entry_equity=one["entry_equity"], entry_numbers="", entry_strategy="")


def _ledger(begins: int, closed: Sequence[dict[str, Any]]) -> list[LedgerRow]:
    """Return the ledger that the trades would have left: the capital, then two fills for each."""
    rows = [_row(1, "transfer", "", begins - HOUR_MS, None, "capital-1", None, None, None, CAPITAL, "start", "", None)]
    for number, one in enumerate(closed, 1):
        buys, sells = ("buy", "sell") if one["side"] == "long" else ("sell", "buy")
        rate = one["fee"] / (one["size"] * (one["entry_price"] + one["exit_price"]))
        for place, (time, price, side) in enumerate(
            ((one["entry_time"], one["entry_price"], buys), (one["exit_time"], one["exit_price"], sells))
        ):
            purpose, reason = ("entry", "entry_signal") if place == 0 else ("exit", one["exit_reason"])
            fee = rate * one["size"] * price
            order = f"example-{number}-{purpose}"
            rows.append(
                _row(2 * number + place, "fill", SYMBOL, int(time), order, str(2 * number + place), side, price,
                     one["size"], fee, reason, purpose, price / 1.0002 if side == "buy" else price / 0.9998)
            )  # fmt: skip
    return rows


def _row(
    number: int, kind: str, symbol: str, time: int, order: str | None, external: str, side: str | None,
    price: float | None, size: float | None, amount: float, reason: str, purpose: str, decided: float | None,
) -> LedgerRow:  # fmt: skip
    """Return a ledger row with doubles as exact texts."""
    exact = [None if value is None else repr(value) for value in (price, size, amount)]
    return LedgerRow(
        number,
        kind,
        symbol,
        time,
        order,
        external,
        side,
        exact[0],
        exact[1],
        exact[2] or "0",
        "USDT",
        reason,
        purpose,
        decided,
    )


def _about(day: date, now_ms: int) -> dict[str, Any]:
    """Return what there is once in an extract."""
    risk = DynamicRiskManager()
    limits = ("risk_per_trade", "daily_loss_limit", "max_drawdown", "loss_streak", "shrink", "shrink_floor")
    placeholder = {"state": "unavailable", "facts": {}, "columns": [], "rows": []}
    return {
        "account": {
            "name": "example", "owner": None, "mode": "paper", "exchange": "binanceusdm", "quote": "USDT",
            "symbols": [SYMBOL], "timeframe": "1h", "is_generated": True, "has_own_time": True,
        },
        "reader": {"zone": "Asia/Seoul", "theme": "light", "rise_colour": "red"},
        "period": {"kind": "daily", "first": day.isoformat(), "last": day.isoformat()},
        "zone_offset": 9.0,
        "timeframe_ms": HOUR_MS,
        "made_at": now_ms,
        "limits": {name: getattr(risk, name) for name in limits},
        "parameters": [],
        "state": None,
        "markets": json.loads(json.dumps({SYMBOL: MARKET})),
        "opening": {"balance": "0", "transferred": "0", "holdings": {}},
        "sections": [
            {"name": name, "sentence": f"report.{name}.unavailable", **placeholder} for name in ("drift", "backups")
        ],
    }  # fmt: skip

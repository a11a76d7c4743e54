"""Run one case through ctp: compiled through its public door, or plain as the bot runs it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Bracket, Costs, MarketRules
from ctp.core.strategies import RsiMeanReversion
from ctp.core.trader import start_account, start_trader
from ctp.core.types import Market
from ctp.research.bar_loop import Cursors, Series, new_record, run_account
from ctp.research.detail_candles import NO_DETAIL
from ctp.research.result import BacktestResult
from tests.parity import oracle_values as plain
from tests.parity.cases import Case, History, as_decimal


def costs_of(cost: plain.Costs) -> Costs:
    """Return the oracle's costs as ctp takes them."""
    return Costs(fee=cost.fee, slippage=cost.slippage, liquidation_fee=cost.liquidation_fee, maker_fee=cost.maker_fee)


def rules_of(market: plain.Market) -> MarketRules:
    """Return the oracle's market as ctp takes it."""
    return MarketRules(
        is_perpetual=market.perpetual,
        tick=as_decimal(market.tick),
        lot=as_decimal(market.lot),
        min_notional=market.minimum_notional,
        brackets=tuple(Bracket(each.floor, each.rate, each.amount, each.max_leverage) for each in market.brackets),
    )


def run_compiled(case: Case, history: History, kind: type[ParameterSet] = RsiMeanReversion) -> BacktestResult:
    """Run a case on the compiled bar loop, as a person does. kind: whose parameters `case.strategy` holds."""
    from ctp.research.backtest import backtest  # brings the compiler, which plain runs do without

    return backtest(
        kind(**case.strategy),
        DynamicRiskManager(**case.risk),
        list(history.candles.values()),
        costs={name: costs_of(cost) for name, cost in zip(case.names, case.costs, strict=True)},
        rules={name: rules_of(market) for name, market in zip(case.names, case.markets, strict=True)},
        mark=list(history.mark.values()),
        funding=list(history.funding.values()),
        equity=case.equity,
    )


def run_plain(case: Case, history: History, kind: type[ParameterSet] = RsiMeanReversion) -> BacktestResult:
    """Run a case on the bar loop as plain Python: lists instead of tuples and arrays, nothing compiled."""
    strategy = kind(**case.strategy)
    risk = DynamicRiskManager(**case.risk).for_market(case.is_perpetual)
    markets: list[Market] = [
        rules_of(market).market(costs_of(cost)) for market, cost in zip(case.markets, case.costs, strict=True)
    ]
    columns = columns_of(history)
    times = sorted(set(columns.time))
    symbols = len(markets)
    record = new_record(len(times), len(columns.time))
    states, account = run_account(
        strategy.values(),
        risk.values(),
        markets,
        [start_trader(strategy.values()) for _ in markets],
        start_account(case.equity),
        [None] * symbols,
        [None] * symbols,
        columns,
        times,
        next(iter(history.candles.values())).length_ms,
        Cursors(columns.offset[:-1], columns.funding_offset[:-1], [0] * symbols, [0] * symbols),
        record,
    )
    return BacktestResult.of_run(
        strategy=strategy,
        risk=risk,
        candles=list(history.candles.values()),
        markets=markets,
        equity=case.equity,
        run=SimpleNamespace(states=states, account=account, record=record),
        columns=columns,
        notes=(),
    )


def columns_of(history: History) -> Series:
    """Lay the symbols out one after another as plain lists, mark prices aligned by open time."""
    rows: dict[str, list[Any]] = {name: [] for name in ("time", "open", "high", "low", "close", "volume")}
    marks: dict[str, list[float]] = {name: [] for name in ("open", "high", "low")}
    funding_time: list[int] = []
    funding_rate: list[float] = []
    offset, funding_offset = [0], [0]
    for name, candles in history.candles.items():
        for column, values in rows.items():
            values += getattr(candles, column).tolist()
        mark = history.mark.get(name)
        row_at = {} if mark is None else {time: row for row, time in enumerate(mark.time.tolist())}
        for column, values in marks.items():
            if history.mark:
                found = [row_at.get(time) for time in candles.time.tolist()]
                values += [np.nan if row is None else float(getattr(mark, column)[row]) for row in found]
        if name in history.funding:
            funding_time += history.funding[name].time.tolist()
            funding_rate += history.funding[name].rate.tolist()
        offset.append(len(rows["time"]))
        funding_offset.append(len(funding_time))
    return Series(
        offset=offset,
        **rows,
        mark_open=marks["open"],
        mark_high=marks["high"],
        mark_low=marks["low"],
        funding_offset=funding_offset,
        funding_time=funding_time,
        funding_rate=funding_rate,
        detail=NO_DETAIL,
    )

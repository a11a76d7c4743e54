"""`ctp.backtest`: a strategy and its risk over recorded candles, on the compiled bar loop.

Everything from outside is validated here, once; inside, arrays are contiguous float64 and writable, because a read-only
array costs another compilation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import MAKER_FEES, TAKER_FEES, Costs, MarketRules, is_perpetual_symbol
from ctp.core.strategies import RsiMeanReversion, Strategy, of_parameters
from ctp.core.trader import start_account, start_trader
from ctp.core.types import FLAT, NAN, Candle, Intent, Market
from ctp.errors import InputError
from ctp.market.candles import Candles, FundingRates
from ctp.research.bar_loop import Cursors, Record, Series, new_cursors, new_record, run_account
from ctp.research.compiled import compile_kernel
from ctp.research.detail_candles import NO_DETAIL, detail_of
from ctp.research.result import BacktestResult

NO_INTENT = Intent(0, FLAT, 0, 0, 0, 0, NAN, NAN, NAN, NAN, NAN, NAN, NAN)
NO_CANDLE_YET = Candle(0, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN)


def costs(
    exchange: str,
    *,
    fee: float | None = None,
    slippage: float | None = None,
    funding: bool = True,
    maker_fee: float | None = None,
) -> Costs:
    """Return the costs of an exchange: its fees of the lowest tier and the default slippage, unless given.

    A taker fee that is given holds for limit entries too, unless maker_fee is given.
    """
    if fee is None:
        if exchange not in TAKER_FEES:
            raise InputError("exchange", exchange, "has no known fee; give fee=, or one of " + ", ".join(TAKER_FEES))
        fee = TAKER_FEES[exchange]
        maker_fee = MAKER_FEES[exchange] if maker_fee is None else maker_fee
    found = Costs(fee=fee, funding=funding, maker_fee=maker_fee)
    return found if slippage is None else dataclasses.replace(found, slippage=slippage)


def backtest(
    strategy: ParameterSet | None = None,
    risk: DynamicRiskManager | None = None,
    candles: Candles | Sequence[Candles] = (),
    *,
    costs: Costs | Mapping[str, Costs] | None = None,
    rules: MarketRules | Mapping[str, MarketRules] | None = None,
    mark: Candles | Sequence[Candles] = (),
    funding: FundingRates | Sequence[FundingRates] = (),
    equity: float = 10_000.0,
    detail: str | Candles | Sequence[Candles] = (),
    is_trial: bool = True,
) -> BacktestResult:
    """Run a strategy over candles and return its trades, equity and figures.

    candles: one symbol, or several of one exchange and timeframe for one account. mark, funding: of the same symbols, where
    there are any. costs and rules: for all symbols, or by symbol; without rules, steps of 1e-8 and no minimum are used and
    the result says so. equity: start capital in quote units. detail: finer candles of the same symbols, or their timeframe to
    load them from the store: they say which came first when a candle touched both stop and take-profit. is_trial: somebody
    looks at the outcome to choose by it, so the trial ledger counts it, where there is a database; reports and proofs say no.
    Raises InputError naming the field, the value and the bound.
    """
    prepared = prepare(strategy, risk, candles, costs, rules, mark, funding, equity, detail)
    result = run_bar_loop(prepared, prepared.strategy, prepared.risk)
    if is_trial:
        from ctp.research.trial_ledger import note_trials

        sharpe = result.figures["sharpe"]
        note_trials(prepared, None, np.array([math.nan if sharpe is None else sharpe]))
    return result


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """Validated inputs of a run, laid out for the engines; one is only equal to itself."""

    strategy: ParameterSet
    risk: DynamicRiskManager
    candles: Sequence[Candles]  # by symbol, in order
    markets: Sequence[Market]
    columns: Series
    times: np.ndarray
    equity: float
    notes: Sequence[str]

    @property
    def timeframe_ms(self) -> int:
        """Return the length of a candle."""
        return self.candles[0].length_ms


def prepare(
    strategy: ParameterSet | None,
    risk: DynamicRiskManager | None,
    candles: Candles | Sequence[Candles],
    given_costs: Costs | Mapping[str, Costs] | None,
    rules: MarketRules | Mapping[str, MarketRules] | None,
    mark: Candles | Sequence[Candles],
    funding: FundingRates | Sequence[FundingRates],
    equity: float,
    detail: str | Candles | Sequence[Candles] = (),
) -> Prepared:
    """Validate what a backtest or a sweep was given. Raises InputError naming the field, the value and the bound."""
    strategy = RsiMeanReversion() if strategy is None else strategy
    series = _by_symbol(candles, "candles")
    if not series:
        raise InputError("candles", "nothing", "must hold at least one candle")
    if not (math.isfinite(equity) and equity > 0.0):
        raise InputError("equity", equity, "must be above 0")
    symbols = sorted(series)
    first = series[symbols[0]]
    for each in series.values():
        if (each.timeframe, each.exchange) != (first.timeframe, first.exchange):
            raise InputError(
                "candles", f"{each.exchange} {each.timeframe}", f"must all be {first.exchange} {first.timeframe}"
            )
        if len(each) == 0:
            raise InputError("candles", each.symbol, "must hold at least one candle")
    perpetual = {symbol: is_perpetual_symbol(symbol) for symbol in symbols}
    if len(set(perpetual.values())) > 1:
        raise InputError("candles", ", ".join(symbols), "must be all spot or all perpetual for one account")
    is_perpetual = perpetual[symbols[0]]
    risk = (DynamicRiskManager() if risk is None else risk).for_market(is_perpetual)
    if not is_perpetual and getattr(strategy, "direction", "long") != "long":
        raise InputError("direction", getattr(strategy, "direction", ""), "must be long on a spot market")

    notes = []
    if rules is None:
        notes.append("market rules unknown: tick and lot 1e-8, no minimum, maintenance 1 %")
    known_rules = {symbol: _of_symbol(rules, symbol) or MarketRules(is_perpetual=is_perpetual) for symbol in symbols}
    default_costs = costs(first.exchange) if given_costs is None else None
    known_costs = {symbol: _of_symbol(given_costs, symbol) or default_costs for symbol in symbols}
    markets = []
    for symbol in symbols:
        found = known_costs[symbol]
        if found is None:
            raise InputError("costs", symbol, "has no costs; give them for every symbol")
        if known_rules[symbol].is_perpetual != is_perpetual:
            raise InputError("rules", symbol, "must say is_perpetual as the symbol does")
        markets.append(known_rules[symbol].market(found))
    with_funding = {symbol: getattr(known_costs[symbol], "funding", True) for symbol in symbols}
    rates = {
        symbol: each
        for symbol, each in _by_symbol(funding, "funding").items()
        if is_perpetual and with_funding.get(symbol)
    }
    if is_perpetual and any(with_funding.values()) and not rates:
        notes.append("no funding rates were given: funding is left out")
    marks = _by_symbol(mark, "mark")
    for name, given in (("mark", marks), ("funding", _by_symbol(funding, "funding"))):
        for symbol in sorted(set(given) - set(symbols)):
            raise InputError(name, symbol, "has no candles of the same symbol; given are " + ", ".join(symbols))
    columns, times = _columns(series, marks, rates, symbols)
    columns = columns._replace(detail=detail_of(detail, [series[symbol] for symbol in symbols]))

    return Prepared(
        strategy=strategy,
        risk=risk,
        candles=[series[symbol] for symbol in symbols],
        markets=markets,
        columns=columns,
        times=times,
        equity=float(equity),
        notes=notes,
    )


def run_bar_loop(
    prepared: Prepared, strategy: ParameterSet, risk: DynamicRiskManager, rule: Strategy | None = None
) -> BacktestResult:
    """Run the bar loop with these parameters. risk: settled for the market (`for_market`). rule: as for `run_of`."""
    return BacktestResult.of_run(
        strategy=strategy,
        risk=risk,
        candles=prepared.candles,
        markets=prepared.markets,
        equity=prepared.equity,
        run=run_of(prepared, strategy, risk, rule),
        columns=prepared.columns,
        notes=prepared.notes,
    )


def run_of(prepared: Prepared, strategy: ParameterSet, risk: DynamicRiskManager, rule: Strategy | None = None) -> Run:
    """Run the bar loop and return what it left behind, for those who want less than a whole result.

    rule: the code that decides; the strategy's own unless given.
    """
    return _run_compiled(
        of_parameters(strategy) if rule is None else rule,
        strategy.values(),
        risk.values(),
        prepared.markets,
        prepared.columns,
        prepared.times,
        prepared.timeframe_ms,
        prepared.equity,
    )


def _by_symbol[T: (Candles, FundingRates)](given: T | Sequence[T], name: str) -> dict[str, T]:
    """Return the series by symbol; two of one symbol are an error."""
    found: dict[str, T] = {}
    for each in [given] if isinstance(given, Candles | FundingRates) else given:
        if each.symbol in found:
            raise InputError(name, each.symbol, "is given twice")
        found[each.symbol] = each
    return found


def _of_symbol[T](given: T | Mapping[str, T] | None, symbol: str) -> T | None:
    """Return what holds for one symbol."""
    return given.get(symbol) if isinstance(given, Mapping) else given


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    """Return one contiguous, writable array."""
    return np.concatenate([np.asarray(part, dtype) for part in parts]) if parts else np.empty(0, dtype)


def _columns(
    series: Mapping[str, Candles],
    marks: Mapping[str, Candles],
    rates: Mapping[str, FundingRates],
    symbols: Sequence[str],
) -> tuple[Series, np.ndarray]:
    """Lay the symbols out one after another, and return every open time at which any has a candle."""
    each = [series[symbol] for symbol in symbols]
    mark_parts: dict[str, list[np.ndarray]] = {"open": [], "high": [], "low": []}
    if any(symbol in marks for symbol in symbols):
        for symbol in symbols:
            for name, part in _aligned_marks(series[symbol], marks.get(symbol)).items():
                mark_parts[name].append(part)
    no_rates = np.empty(0)
    funding_time = [rates[symbol].time if symbol in rates else no_rates for symbol in symbols]
    funding_rate = [rates[symbol].rate if symbol in rates else no_rates for symbol in symbols]
    columns = Series(
        offset=np.cumsum([0, *(len(one) for one in each)]),
        time=_joined([one.time for one in each], np.int64),
        open=_joined([one.open for one in each], np.float64),
        high=_joined([one.high for one in each], np.float64),
        low=_joined([one.low for one in each], np.float64),
        close=_joined([one.close for one in each], np.float64),
        volume=_joined([one.volume for one in each], np.float64),
        mark_open=_joined(mark_parts["open"], np.float64),
        mark_high=_joined(mark_parts["high"], np.float64),
        mark_low=_joined(mark_parts["low"], np.float64),
        funding_offset=np.cumsum([0, *(len(part) for part in funding_time)]),
        funding_time=_joined(funding_time, np.int64),
        funding_rate=_joined(funding_rate, np.float64),
        detail=NO_DETAIL,
    )
    times = columns.time if len(each) == 1 else np.unique(columns.time)
    return columns, times


def _aligned_marks(candles: Candles, mark: Candles | None) -> dict[str, np.ndarray]:
    """Return mark prices at the candles' times, NaN where there is none."""
    aligned = {name: np.full(len(candles), np.nan) for name in ("open", "high", "low")}
    if mark is not None:
        _, rows, mark_rows = np.intersect1d(candles.time, mark.time, assume_unique=True, return_indices=True)
        for name, column in aligned.items():
            column[rows] = getattr(mark, name)[mark_rows]
    return aligned


@cache
def _compiled(strategy: Strategy) -> Any:
    """Return the compiled bar loop for a strategy."""
    return compile_kernel(run_account, strategy)


@dataclasses.dataclass(frozen=True)
class Run:
    """What the bar loop returned."""

    states: Sequence[Any]
    account: Any
    record: Record


def as_arrays(value: Any) -> Any:
    """Return a state with its rings as arrays, and a market with its brackets as arrays, as compiled code takes them."""
    if isinstance(value, list) or (type(value) is tuple):
        return np.array(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(as_arrays(field) for field in value))
    return value


def _run_compiled(
    strategy: Strategy,
    strategy_values: Any,
    risk_values: Any,
    markets: Sequence[Market],
    columns: Series,
    times: np.ndarray,
    timeframe_ms: int,
    equity: float,
) -> Run:
    """Run the compiled bar loop once."""
    record = new_record(len(times), len(columns.time))
    cursors: Cursors = new_cursors(columns)
    states, account = _compiled(strategy)(
        strategy_values,
        risk_values,
        tuple([as_arrays(market) for market in markets]),
        tuple([as_arrays(start_trader(strategy_values)._replace(indicators=strategy.start(strategy_values))) for _ in markets]),
        start_account(float(equity)),
        tuple([NO_CANDLE_YET for _ in markets]),
        tuple([NO_INTENT for _ in markets]),
        columns,
        times,
        timeframe_ms,
        cursors,
        record,
    )
    return Run(list(states), account, record)

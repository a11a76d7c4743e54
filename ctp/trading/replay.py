"""What is needed to make an account's decisions again elsewhere: in a backtest, in the drift report.

A backtest over the candles from `first_time` on, with these parameters, rules, costs and capital, makes its first
decision at the same candle as the account did, and every later one to the bit (semantics §7).
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.core.memory import load
from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs, MarketRules, is_perpetual_symbol
from ctp.core.strategies import DEFAULT_STRATEGY, find
from ctp.core.types import Market
from ctp.errors import NotFound
from ctp.storage.tables import account_states, accounts, ledger, parameter_versions
from ctp.trading.fold import LOCK
from ctp.trading.market_rules import rules_and_costs


class Replay(NamedTuple):
    """An account's beginning. `first_times` and the rules are by symbol; the newest first time is where all have data."""

    symbols: tuple[str, ...]
    timeframe: str
    exchange: str
    first_times: dict[str, int]
    capital: float
    strategy: ParameterSet
    risk: DynamicRiskManager
    rules: dict[str, MarketRules]
    costs: dict[str, Costs]
    locks: dict[int, float]  # when the day was locked between two closes, and the equity that did it: not in any candle


def read_replay(connection: sa.Connection, account_id: int) -> Replay:
    """Return how to make an account's decisions again; NotFound when it has never started."""
    row = connection.execute(
        sa.select(accounts, account_states.c.core_state, account_states.c.capital.label("started_with"))
        .join_from(accounts, account_states)
        .where(accounts.c.id == account_id)
    ).first()
    if row is None or row.core_state == "{}":
        raise NotFound(f"account {account_id} has never started")
    plain = load(row.core_state)
    markets = {symbol: read_market(values) for symbol, values in plain["markets"].items()}
    symbols = tuple(sorted(markets))
    strategy, risk = _parameters(connection, account_id)
    made = {symbol: rules_and_costs(market) for symbol, market in markets.items()}
    return Replay(
        symbols,
        row.timeframe,
        row.exchange,
        dict(plain["first_times"]),
        float(row.started_with or Decimal(0)),
        strategy,
        risk.for_market(is_perpetual_symbol(symbols[0])),
        {symbol: rules for symbol, (rules, _) in made.items()},
        {symbol: costs for symbol, (_, costs) in made.items()},
        _locks(connection, account_id),
    )


def _locks(connection: sa.Connection, account_id: int) -> dict[int, float]:
    """Return the locks that engaged between two closes."""
    query = sa.select(ledger.c.time, ledger.c.amount).where(ledger.c.account_id == account_id, ledger.c.kind == LOCK)
    return {row.time: float(row.amount) for row in connection.execute(query.order_by(ledger.c.id))}


def read_market(plain: dict[str, Any]) -> Market:
    """Return a stored market; ValueError when it is none."""
    plain = {**Market._field_defaults, **plain}  # a field that is younger than what was stored
    if set(plain) != set(Market._fields):
        raise ValueError("the stored state has no complete market")
    values = (plain[name] for name in Market._fields)
    return Market._make(tuple(value) if isinstance(value, list) else value for value in values)


def _parameters(connection: sa.Connection, account_id: int) -> tuple[ParameterSet, DynamicRiskManager]:
    """Return the newest parameters of an account, or the defaults."""
    row = connection.execute(
        sa.select(parameter_versions)
        .where(parameter_versions.c.account_id == account_id)
        .order_by(parameter_versions.c.version.desc())
        .limit(1)
    ).first()
    if row is None:
        return find(DEFAULT_STRATEGY).parameters(), DynamicRiskManager()
    strategy = find(row.strategy).parameters.from_dict(json.loads(row.strategy_parameters))
    return strategy, DynamicRiskManager.from_dict(json.loads(row.risk_parameters))

"""Read `--set name=value`: parameters of strategy and risk, costs, market rules, start equity."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from ctp.errors import InputError

if TYPE_CHECKING:
    from ctp.core.parameters import ParameterSet
    from ctp.core.risk import DynamicRiskManager
    from ctp.core.rules import Costs, MarketRules

GROUPS = ("strategy", "risk", "costs", "market")
COSTS = ("fee", "maker_fee", "slippage", "funding")
MARKET = ("tick", "lot", "min_notional", "max_leverage")


@dataclasses.dataclass(frozen=True)
class Assignments:
    """Everything a run can be told, validated by the parameter sets themselves."""

    strategy: ParameterSet
    risk: DynamicRiskManager
    costs: Costs
    rules: MarketRules | None
    equity: float


def parse_assignments(
    assignments: Sequence[str], exchange: str, *, is_perpetual: bool, strategy: str
) -> Assignments:
    """Return what `--set` asks for; InputError names the field, the value and the bound. strategy: registry name."""
    from ctp.core.risk import DynamicRiskManager
    from ctp.core.strategies import find

    groups: dict[str, dict[str, str]] = {name: {} for name in GROUPS}
    equity = 10_000.0
    for assignment in assignments:
        name, equals, value = (part.strip() for part in assignment.partition("="))
        group, dot, field = name.partition(".")
        if not equals or not value:
            raise InputError("--set", assignment, "must be name=value, like strategy.period=14")
        if name == "equity":
            equity = _number("equity", value, above=0.0)
        elif dot and group in groups:
            groups[group][field] = value
        else:
            raise InputError("--set", name, "must start with strategy., risk., costs. or market., or be equity")
    return Assignments(
        find(strategy).parameters.from_dict(groups["strategy"]),
        DynamicRiskManager.from_dict(groups["risk"]),
        _costs(groups["costs"], exchange),
        _rules(groups["market"], is_perpetual=is_perpetual),
        equity,
    )


def _costs(values: dict[str, str], exchange: str) -> Costs:
    """Return the exchange's costs with what was set instead."""
    from ctp.core.rules import MAKER_FEES, TAKER_FEES, Costs

    _known("costs", values, COSTS)
    given: dict[str, Any] = {
        name: _number(f"costs.{name}", values[name]) for name in ("fee", "maker_fee", "slippage") if name in values
    }
    if "funding" in values:
        if values["funding"] not in ("on", "off"):
            raise InputError("costs.funding", values["funding"], "must be on or off")
        given["funding"] = values["funding"] == "on"
    if "fee" not in given:
        if exchange not in TAKER_FEES:
            raise InputError("exchange", exchange, "has no known fee; give it with --set costs.fee=0.001")
        given["fee"] = TAKER_FEES[exchange]
        given.setdefault("maker_fee", MAKER_FEES[exchange])
    return Costs(**given)


def _rules(values: dict[str, str], *, is_perpetual: bool) -> MarketRules | None:
    """Return the market's rules when any was set; None when they are not known."""
    from ctp.core.rules import UNKNOWN_BRACKET, MarketRules

    _known("market", values, MARKET)
    if not values:
        return None
    given: dict[str, Any] = {name: _decimal(f"market.{name}", values[name]) for name in ("tick", "lot") if name in values}
    if "min_notional" in values:
        given["min_notional"] = _number("market.min_notional", values["min_notional"])
    if "max_leverage" in values:
        bracket = UNKNOWN_BRACKET._replace(max_leverage=_number("market.max_leverage", values["max_leverage"]))
        given["brackets"] = (bracket,)
    return MarketRules(is_perpetual=is_perpetual, **given)


def _known(group: str, values: dict[str, str], names: Sequence[str]) -> None:
    """Refuse a name the group does not have."""
    for name, value in values.items():
        if name not in names:
            raise InputError(f"{group}.{name}", value, "unknown; there are " + ", ".join(f"{group}.{n}" for n in names))


def _number(field: str, value: str, *, above: float | None = None) -> float:
    """Return a finite number."""
    number = float(_decimal(field, value))
    if above is not None and not number > above:
        raise InputError(field, value, f"must be above {above:g}")
    return number


def _decimal(field: str, value: str) -> Decimal:
    """Return a finite decimal."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise InputError(field, value, "must be a number") from None
    if not number.is_finite():
        raise InputError(field, value, "must be a finite number")
    return number

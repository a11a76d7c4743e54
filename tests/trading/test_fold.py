"""Folding facts: their order of arrival cannot matter, each counts once, nothing gets lost between decisions."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctp.core.risk import DynamicRiskManager
from ctp.core.rules import Costs, MarketRules
from ctp.core.strategies import RsiMeanReversion
from ctp.core.trader import start_account, start_trader
from ctp.core.types import ENTER, LONG, STILL_OPEN, Plan
from ctp.trading.fold import EntryPlan, Fact, Folded, Memory, Terms, candle_index, fee_in_quote, filled_lots, fold

HOUR = 3_600_000
STRATEGY = RsiMeanReversion(cooldown=4).values()
RISK = DynamicRiskManager().for_market(True).values()
RULES = MarketRules(is_perpetual=True, tick=Decimal("0.1"), lot=Decimal("0.001"))
MARKET = RULES.market(Costs(fee=0.0005))
SPOT = MarketRules(is_perpetual=False, tick=Decimal("0.1"), lot=Decimal("0.001")).market(Costs(fee=0.001))
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
TERMS = Terms((MARKET, MARKET), HOUR, STRATEGY, "USDT")
PLAN = EntryPlan(Plan(ENTER, LONG, 20, 3.0, 100.0, 0.02, 0.0214, 10_000.0, STILL_OPEN), 0.04)
PLANS = {"e-BTC/USDT:USDT": PLAN, "e-ETH/USDT:USDT": PLAN}
PURPOSES = {f"{letter}-{symbol}": purpose for symbol in SYMBOLS for letter, purpose in (("e", "entry"), ("s", "stop"))}


def memory() -> Memory:
    """Return an account that has decided on the candle before hour 1."""
    return Memory(SYMBOLS, (start_trader(STRATEGY),) * 2, start_account(10_000.0), {}, {}, 0, 0, ())


def fill(number: int, symbol: str, hour: float, letter: str, price: float, size: str, fee: str = "0.05") -> Fact:
    """Return a fill of one of the symbol's orders."""
    side, reason = ("buy", "entry_signal") if letter == "e" else ("sell", "stop_loss")
    return Fact(
        number, "fill", symbol, int(hour * HOUR), f"{letter}-{symbol}", str(1000 + number), side, Decimal(str(price)),
        Decimal(size), Decimal(fee), "USDT", reason,
    )  # fmt: skip


def funding(number: int, symbol: str, hour: float, amount: str) -> Fact:
    """Return a funding payment."""
    return Fact(
        number, "funding", symbol, int(hour * HOUR) + 7, None, f"f{number}", None, None, None, Decimal(amount), "USDT",
        "funding",
    )  # fmt: skip


FACTS = [
    fill(1, SYMBOLS[0], 1, "e", 100.0, "0.012"),
    fill(2, SYMBOLS[0], 1, "e", 100.1, "0.008"),
    fill(3, SYMBOLS[1], 1.2, "e", 50.0, "0.02"),
    funding(4, SYMBOLS[0], 2, "-0.011"),
    fill(5, SYMBOLS[1], 2.5, "s", 49.0, "0.02"),
    fill(6, SYMBOLS[0], 2.7, "s", 98.0, "0.02"),
    funding(7, SYMBOLS[1], 3, "0.5"),
]


def numbers(found: Folded) -> tuple[object, ...]:
    """Return what can be compared, without the shared indicator rings."""
    states = [(state.position, state.cooldown) for state in found.memory.states]
    return (repr(states), found.memory.account, found.trades, found.memory.entry_orders)


@given(st.permutations(FACTS))
def test_the_order_in_which_facts_are_learnt_does_not_matter(facts: list[Fact]) -> None:
    numbered = [fact._replace(id=number) for number, fact in enumerate(facts, 1)]
    assert numbers(fold(memory(), numbered, PLANS, PURPOSES, TERMS)) == numbers(
        fold(memory(), FACTS, PLANS, PURPOSES, TERMS)
    )


@given(st.permutations(FACTS), st.lists(st.integers(0, len(FACTS)), min_size=1, max_size=3).map(sorted))
def test_folding_at_every_decision_equals_folding_once(facts: list[Fact], known: list[int]) -> None:
    """Facts trickle in while decisions pass; whatever is not due waits and is folded later, once."""
    numbered = [fact._replace(id=number) for number, fact in enumerate(facts, 1)]
    whole = fold(memory(), numbered, PLANS, PURPOSES, TERMS)
    now, trades = memory(), list[object]()
    for hour in (0, 1, 2, 3):
        step = fold(now, numbered, PLANS, PURPOSES, TERMS, until=hour * HOUR)
        now = step.memory
        trades += step.trades
    assert tuple(trades) == whole.trades
    assert now.account == whole.memory.account
    assert now.pending == ()
    again = fold(now, numbered, PLANS, PURPOSES, TERMS)
    assert numbers(again)[1:] == (now.account, (), now.entry_orders)


def test_a_fact_of_the_next_candle_waits() -> None:
    found = fold(memory(), FACTS, PLANS, PURPOSES, TERMS, until=1 * HOUR)
    assert found.memory.pending == (4, 5, 6, 7)
    assert found.memory.ledger_id == 7
    assert set(found.memory.entry_orders) == set(SYMBOLS)
    assert not found.trades


def test_funding_is_paid_before_the_fills_of_its_candle_and_by_who_held_before() -> None:
    facts = [funding(1, SYMBOLS[0], 1, "-3"), fill(2, SYMBOLS[0], 1, "e", 100.0, "0.02")]
    found = fold(memory(), facts, PLANS, PURPOSES, TERMS).memory
    assert found.states[0].position.funding == 0.0
    assert found.account.balance == 10_000.0 - 3.0 - 0.05


@pytest.mark.parametrize(
    ("time", "index"),
    [(2 * HOUR, 2), (2 * HOUR + 59_999, 2), (2 * HOUR + 60_000, 3), (3 * HOUR - 1, 3), (3 * HOUR, 3)],
)
def test_funding_belongs_to_the_first_open_at_or_after_its_minute(time: int, index: int) -> None:
    assert candle_index(funding(1, SYMBOLS[0], 0, "1")._replace(time=time), HOUR) == index


def test_a_stop_starts_the_cooldown_and_one_learnt_late_has_used_part_of_it() -> None:
    opened = fold(memory(), FACTS[:1], PLANS, PURPOSES, TERMS, until=1 * HOUR).memory
    stopped = fill(9, SYMBOLS[0], 2, "s", 98.0, "0.012")
    assert fold(opened, [stopped], PLANS, PURPOSES, TERMS, until=2 * HOUR).memory.states[0].cooldown == 4
    assert fold(opened, [stopped], PLANS, PURPOSES, TERMS, until=3 * HOUR).memory.states[0].cooldown == 3
    assert fold(opened, [stopped], PLANS, PURPOSES, TERMS, until=9 * HOUR).memory.states[0].cooldown == 0


def test_more_capital_is_never_profit() -> None:
    moved = Fact(1, "transfer", "", HOUR, None, "capital-2", None, None, None, Decimal(500), "USDT", "transfer")
    account = fold(memory(), [moved], {}, {}, TERMS).memory.account
    assert account == start_account(10_500.0)


def test_a_fee_taken_in_coins_leaves_whole_lots_and_costs_what_it_took() -> None:
    bought = fill(1, "BTC/USDT", 1, "e", 100.0, "0.020", "0.00002")._replace(asset="BTC")
    assert filled_lots(SPOT, bought) == 19
    assert fee_in_quote(SPOT, bought, "USDT") == pytest.approx(0.1)


def test_a_fee_in_a_third_coin_is_booked_at_the_accounts_rate() -> None:
    bought = fill(1, "BTC/USDT", 1, "e", 100.0, "0.020", "0.000003")._replace(asset="BNB")
    assert filled_lots(SPOT, bought) == 20
    assert fee_in_quote(SPOT, bought, "USDT") == 0.001 * 0.020 * 100.0


def test_an_exit_of_a_closed_position_books_its_fee_and_nothing_else() -> None:
    found = fold(memory(), [fill(1, SYMBOLS[0], 1, "s", 98.0, "0.02")], PLANS, PURPOSES, TERMS)
    assert found.memory.account.balance == 10_000.0 - 0.05
    assert not found.trades

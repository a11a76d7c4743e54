"""The demo's comparison sees every kind of disagreement, down to the last bit."""

from __future__ import annotations

import math

import pytest

from services.trade_records import ExchangeFill, ExchangePayment, TradeRecord, differences, rebuild_trades

ENTRY = ExchangeFill("rsi", "BTC/USDT:USDT", 1000, True, 100.02, 0.5, 0.025, "market")
STOPPED = ExchangeFill("rsi", "BTC/USDT:USDT", 5000, False, 98.0, 0.5, 0.0245, "stop")
TRADE = TradeRecord(
    "rsi", "BTC/USDT:USDT", 1000, "long", 100.02, 5000, 98.0, 0.5, 0.025 + 0.0245, 0.0,
    0.5 * (98.0 - 100.02) - (0.025 + 0.0245) + 0.0, "stop_loss", (3.0, 16.67, 98.02, None, -1.1),
)  # fmt: skip


def test_fills_become_a_trade() -> None:
    """Two fills of one size make one closed trade, its cause a stop."""
    assert rebuild_trades([ENTRY, STOPPED], []) == [TRADE._replace(exit_reason="stop", details=None)]


def test_funding_between_entry_and_exit_belongs_to_the_trade() -> None:
    """Payments at or before the entry's open belong to an earlier position."""
    payments = [ExchangePayment("rsi", "BTC/USDT:USDT", time, 0.25) for time in (1000, 1001, 5000, 5001)]
    (trade,) = rebuild_trades([ENTRY, STOPPED], payments)
    assert trade.funding == 0.5


def test_an_open_position_is_no_trade() -> None:
    """The last entry has no exit yet."""
    assert rebuild_trades([ENTRY], []) == []


@pytest.mark.parametrize("closing", [STOPPED._replace(size=0.4), STOPPED._replace(is_buy=True)])
def test_fills_that_do_not_pair_are_refused(closing: ExchangeFill) -> None:
    """A doubled or partial order must not look like a trade."""
    with pytest.raises(ValueError, match="does not close"):
        rebuild_trades([ENTRY, closing], [])


def test_equal_witnesses_agree() -> None:
    """No difference between equal lists; a cause stands for the reasons it can have."""
    assert differences([TRADE], [TRADE], "a == b") == []
    exchange = [TRADE._replace(exit_reason="stop", details=None)]
    assert differences([TRADE], exchange, "a == b", second_knows_causes=True) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("side", "short"),
        ("entry_price", math.nextafter(100.02, 101)),
        ("exit_time", 5001),
        ("exit_price", math.nextafter(98.0, 99)),
        ("size", math.nextafter(0.5, 1)),
        ("fee", math.nextafter(TRADE.fee, 1)),
        ("funding", 1e-300),
        ("pnl", math.nextafter(TRADE.pnl, 0)),
        ("exit_reason", "take_profit"),
        ("details", (3.0, 16.67, 98.02, 104.0, -1.1)),
    ],
)
def test_the_last_bit_of_every_value_counts(field: str, value: object) -> None:
    """One unit in the last place is a difference, and it is named."""
    (found,) = differences([TRADE], [TRADE._replace(**{field: value})], "a == b")  # type: ignore[arg-type]
    assert (found.field, found.values) == (field, (getattr(TRADE, field), value))


def test_a_take_profit_for_the_exchange_is_no_stop_for_us() -> None:
    """The cause must fit the reason."""
    exchange = [TRADE._replace(exit_reason="take")]
    (found,) = differences([TRADE], exchange, "a == b", second_knows_causes=True)
    assert found.field == "exit_reason"


def test_a_trade_only_one_witness_saw_is_a_difference() -> None:
    """A lost trade must never look like agreement."""
    (found,) = differences([TRADE], [], "a == b")
    assert (found.field, found.values) == ("trade", ("long", None))

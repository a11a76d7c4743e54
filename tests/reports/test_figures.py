"""A report's figures equal the ledger to the cent, whatever happened in the day."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.reports.figures import figures, is_whole
from ctp.storage.tables import equity_samples, ledger, orders
from tests.reports.conftest import Extracting
from tests.reports.world import DAY, HOUR, NOW, Trading, World, add_account

CENT = Decimal("0.01")
NEWEST = NOW // HOUR * HOUR
MAY_1 = date(2026, 5, 1)


def midnight(day: date) -> int:
    """Return when a day begins in Seoul."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000) - 9 * HOUR


def sums(world: World, account_id: int, since: int, until: int) -> dict[str, Decimal]:
    """Add the ledger up by hand, in decimals: an average-cost book of its own, fills by their time."""
    purposes = {row.id: row.purpose for row in world.rows(orders, orders.c.account_id == account_id)}
    held: dict[str, list[Decimal]] = {}
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    rows = world.rows(ledger, ledger.c.account_id == account_id, ledger.c.time < until)
    for row in sorted(rows, key=lambda one: (one.time, one.id)):
        inside = row.time >= since
        if row.kind != "fill":
            total["balance"] += row.amount
            if inside:
                total[row.kind] += row.amount
            continue
        signed = row.size if row.side == "buy" else -row.size
        gross = Decimal(0)
        if purposes[row.order_id] == "entry":
            held[row.symbol] = [signed, row.price]
        else:
            size, entry = held.pop(row.symbol)
            assert size == -signed
            gross = size * (row.price - entry)
        total["balance"] += gross - row.amount
        if inside:
            total["realised"] += gross
            total["fees"] += row.amount
    return total


def sample(world: World, account_id: int, time: int) -> Decimal:
    """Return the equity the bot wrote at a close."""
    query = (equity_samples.c.account_id == account_id, equity_samples.c.time == time)
    (row,) = world.rows(equity_samples, *query)
    return Decimal(repr(row.equity))


@pytest.mark.parametrize("timeframe", ["1h", "15m"])
@pytest.mark.parametrize(
    ("kind", "first", "days"),
    [("daily", MAY_1, 1), ("weekly", date(2026, 4, 20), 7), ("monthly", date(2026, 4, 1), 30)],
)
def test_every_period_equals_the_ledger_to_the_cent(
    world: World, extracted: Extracting, kind: str, first: date, days: int, timeframe: str
) -> None:
    account = add_account(world, "alice", "a", timeframe=timeframe)
    trading = Trading(world, account, NEWEST - 45 * DAY, seed=days)
    trading.run(NEWEST - 20 * DAY, 8)
    trading.fund("BTC/USDT:USDT", Decimal("-1.37"))
    trading.run(NEWEST, 8)
    trading.save()
    told = figures(extracted(account, "alice", kind, first))
    since, until = midnight(first), midnight(first + timedelta(days=days))
    expected = sums(world, account, since, until)
    span = told.span
    assert (span.realised, span.fees, span.funding) == (expected["realised"], expected["fees"], expected["funding"])
    assert span.pnl.quantize(CENT) == (sample(world, account, until) - sample(world, account, since)).quantize(CENT)
    assert span.end is not None
    assert span.end.balance == expected["balance"]
    assert span.pnl == sum((one.amount for one in span.causes), Decimal(0))
    assert told.books_differ == 0
    assert span.trades > 0


def test_the_days_of_a_month_add_up_to_it(world: World, extracted: Extracting) -> None:
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, NEWEST - 45 * DAY)
    trading.run(NEWEST, 8)
    trading.save()
    told = figures(extracted(account, "alice", "monthly", date(2026, 4, 1)))
    april = [day for day in told.days if day.day.month == 4]
    assert len(april) == 30
    assert sum((day.pnl for day in april), Decimal(0)) == told.span.pnl
    product = 1.0
    for day in april:
        product *= 1.0 + (day.fraction or 0.0)
    assert told.span.fraction == pytest.approx(product - 1.0, rel=1e-9)


def test_a_day_without_trades_says_zero_and_is_whole(world: World, extracted: Extracting) -> None:
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, NEWEST - 5 * DAY)
    trading.run(NEWEST, 0)
    trading.save()
    told = figures(extracted(account, "alice", "daily", MAY_1))
    assert (told.span.pnl, told.span.trades, told.span.fees) == (0, 0, 0)
    assert told.span.fraction == 0.0
    assert told.largest_loss is None
    assert told.worst is not None and told.worst.worst_fraction == 0.0
    assert is_whole(extracted(account, "alice", "daily", MAY_1).period, told.span)


def test_an_account_that_never_started_has_no_figures(world: World, extracted: Extracting) -> None:
    account = add_account(world, "alice", "a")
    told = figures(extracted(account, "alice", "daily", MAY_1))
    assert told.span.end is None
    assert told.span.fraction is None
    assert told.worst is None
    assert told.positions == ()


def test_an_account_started_within_the_month_counts_from_its_capital(world: World, extracted: Extracting) -> None:
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, midnight(date(2026, 4, 12)) + 5 * HOUR)
    trading.run(NEWEST, 8)
    trading.save()
    told = figures(extracted(account, "alice", "monthly", date(2026, 4, 1)))
    end = sample(world, account, midnight(MAY_1))
    assert told.span.pnl.quantize(CENT) == (end - 10_000).quantize(CENT)
    assert told.span.fraction == pytest.approx(float(end) / 10_000 - 1)
    before = [day for day in told.days if day.day == date(2026, 4, 3)]
    assert before[0].pnl == 0 and not before[0].has_decisions


def test_a_change_of_capital_is_no_profit_and_returns_are_time_weighted(world: World, extracted: Extracting) -> None:
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, NEWEST - 20 * DAY)
    trading.run(midnight(MAY_1) + 6 * HOUR, 8)
    before = trading.equity
    trading.transfer(Decimal(5_000))
    trading.run(NEWEST, 8)
    trading.save()
    told = figures(extracted(account, "alice", "daily", MAY_1))
    first, last = sample(world, account, midnight(MAY_1)), sample(world, account, midnight(MAY_1) + DAY)
    assert told.span.transfers == 5_000
    assert told.span.pnl.quantize(CENT) == (last - first - 5_000).quantize(CENT)
    expected = before / float(first) * float(last) / (before + 5_000) - 1
    assert told.span.fraction == pytest.approx(expected, rel=1e-9)
    assert told.capital == 15_000
    assert told.worst is not None and told.worst.worst_fraction is not None
    assert told.worst.worst_fraction < 0.05  # the withdrawal of nothing is no loss


def test_the_worst_point_counts_from_the_days_start_and_moves_with_the_capital(
    world: World, extracted: Extracting
) -> None:
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, NEWEST - 5 * DAY)
    trading.run(midnight(MAY_1) + 3 * HOUR, 0)
    trading.transfer(Decimal(-4_000))
    trading.run(NEWEST, 0)
    trading.save()
    with world.database.transaction() as connection:  # 2 % of what is left is lost in one candle, and comes back
        samples = equity_samples.c
        at = sa.and_(samples.account_id == account, samples.time == midnight(MAY_1) + 10 * HOUR)
        connection.execute(sa.update(equity_samples).where(at).values(equity=5_880.0))
    told = figures(extracted(account, "alice", "daily", MAY_1))
    assert told.worst is not None
    assert told.worst.worst_fraction == pytest.approx(0.02)


def test_a_missing_last_close_is_measured_at_the_next_one_and_said(world: World, extracted: Extracting) -> None:
    account = add_account(world, "alice", "a")
    ends = midnight(MAY_1) + DAY
    trading = Trading(world, account, NEWEST - 10 * DAY)
    trading.run(NEWEST + 5 * HOUR, 8, missing=frozenset({ends, ends + HOUR}))
    trading.save()
    found = extracted(account, "alice", "daily", MAY_1)
    told = figures(found)
    assert told.span.end is not None and told.span.end.time == ends + 2 * HOUR
    assert not is_whole(found.period, told.span)
    expected = sums(world, account, midnight(MAY_1), ends + 2 * HOUR)
    assert told.span.realised == expected["realised"]
    assert told.books_differ == 0


def test_thinned_samples_are_remembered_by_the_decision_journal(world: World, extracted: Extracting) -> None:
    account = add_account(world, "alice", "a", timeframe="15m")
    trading = Trading(world, account, NEWEST - 40 * DAY)
    trading.run(NEWEST, 8)
    trading.save()
    before = figures(extracted(account, "alice", "monthly", date(2026, 4, 1)))
    with world.database.transaction() as connection:
        samples = equity_samples.c
        keep = samples.time % HOUR == 45 * 60_000
        connection.execute(sa.delete(equity_samples).where(samples.account_id == account, ~keep))
    after = figures(extracted(account, "alice", "monthly", date(2026, 4, 1)))
    assert after.span.pnl == before.span.pnl
    assert [day.pnl for day in after.days] == [day.pnl for day in before.days]


def test_slippage_is_what_fills_were_worse_than_the_decided_prices(world: World, extracted: Extracting) -> None:
    account = add_account(world, "alice", "a")
    trading = Trading(world, account, NEWEST - 10 * DAY)
    trading.run(NEWEST, 10)
    trading.save()
    told = figures(extracted(account, "alice", "daily", MAY_1))
    assert told.slippage.fills > 0
    points = told.slippage.cost / told.slippage.notional * 10_000
    assert Decimal("1.5") < points < Decimal("3.5")  # entries are 2 bp worse in this world, exits 3


def test_an_entry_bought_with_its_fee_in_coins_is_booked_as_the_bot_books_it() -> None:
    from ctp.reports.books import Books, Fact, Terms

    books = Books({"BTC/USDT": Terms(False, Decimal("0.001"), Decimal("0.001"))}, "USDT", HOUR)
    buy = Fact(
        1, "fill", "BTC/USDT", HOUR, "e", "1", "buy", Decimal(100), Decimal("1.0005"), Decimal("0.0010005"), "BTC", ""
    )
    sell = Fact(
        2, "fill", "BTC/USDT", 2 * HOUR, "x", "2", "sell", Decimal(110), Decimal("0.999"), Decimal("0.1"), "USDT", ""
    )
    told: list[Any] = books.book_all([sell, buy], {"e": "entry", "x": "exit"})
    assert told[0].fee == (Decimal("1.0005") - Decimal("0.999")) * 100  # the coins taken and the dust that is left
    assert told[1].realised == Decimal("0.999") * 10
    assert books.holdings == {}
    assert books.balance == told[1].realised - told[0].fee - Decimal("0.1")

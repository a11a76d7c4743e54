"""What must hold whatever clients and prices do: money is conserved, reduce-only reduces, nothing is short on spot."""

from __future__ import annotations

from decimal import Decimal

import hypothesis.strategies as st
from hypothesis import given, settings

from ctp.simulator.engine import Engine
from ctp.simulator.fills import Book, CandleExact, FillModel
from ctp.simulator.market import Costs, UserEvent
from ctp.simulator.refusals import Refusal
from ctp.simulator.requests import spot_order, usdm_order, usdm_trigger
from tests.simulator.conftest import ROW, feed_of

PERP, SPOT = "BTC/USDT:USDT", "BTC/USDT"
START_MONEY = Decimal(100_000)

price = st.integers(900, 1100).map(lambda tenths: tenths / 10)
row = st.tuples(price, price, price, price).map(
    lambda p: (p[0], max(p), min(p), p[3]),
)
lots = st.sampled_from(["1.000", "1.500", "2.000", "3.750"])
side = st.sampled_from(["BUY", "SELL"])
action = st.one_of(
    st.tuples(st.just("market"), side, lots, st.booleans()),
    st.tuples(st.just("limit"), side, lots, price),
    st.tuples(st.just("stop"), side, lots, price, st.sampled_from([True, True, False])),
    st.tuples(st.just("take"), side, lots, price, st.sampled_from([True, True, False])),
    st.tuples(st.just("jump"), price),
    st.tuples(st.just("jump"), price),
    st.tuples(st.just("step")),
)


def make(rows: list[ROW], fills: FillModel, symbol: str) -> Engine:
    """Return an engine on some candles with one account."""
    engine = Engine(feed_of({symbol: rows}), fills, Costs(), history=1)
    engine.add_account("key", START_MONEY, {"USDT": START_MONEY, "BTC": Decimal(5)}, "quote", may_withdraw=False)
    return engine


def models(exact: bool, seed: int) -> FillModel:
    """Return one of the fill models."""
    return CandleExact() if exact else Book(0.001, 0.8, seed)


@settings(max_examples=150, deadline=None)
@given(st.lists(row, min_size=6, max_size=12), st.lists(action, min_size=4, max_size=25), st.booleans(), st.integers(0, 9))
def test_futures_money_is_conserved_and_reduce_only_never_increases(
    rows: list[ROW], actions: list[tuple], exact: bool, seed: int
) -> None:
    """The wallet is the sum of the income; the position is the sum of the trades; events tell the same sizes."""
    engine = make(rows, models(exact, seed), PERP)
    venue, account = engine.futures, engine.futures.accounts["key"]
    instrument = venue.instruments["BTCUSDT"]
    account.margin_types["BTCUSDT"] = "isolated" if seed % 2 else "cross"
    reducing: dict[int, bool] = {}
    filled: list[tuple[int, int]] = []

    def hear(_: str, __: str, event: UserEvent) -> None:
        """Note the size before and after each reduce-only trade."""
        if event["e"] == "ORDER_TRADE_UPDATE":
            report = event["o"]
            assert isinstance(report, dict)
            reducing[report["i"]] = report["R"]
            if report["x"] in ("TRADE", "CALCULATED"):
                filled.append((report["i"], account.position("BTCUSDT").lots))

    engine.market.emit = hear
    for kind, *details in actions:
        try:
            _futures_action(engine, kind, details)
        except Refusal:
            continue
    position = account.position("BTCUSDT")
    assert position.lots == sum(trade.sign * trade.lots for trade in account.trades)
    assert account.wallet == START_MONEY + sum((Decimal(repr(line.amount)) for line in account.income), Decimal(0))
    assert len({trade.id for trade in account.trades}) == len(account.trades)
    held = 0
    for (order_id, after), trade in zip(filled, account.trades, strict=True):
        assert after == held + trade.sign * trade.lots
        if reducing[order_id]:
            assert abs(after) < abs(held) and after * held >= 0
        held = after
    for order in account.orders.values():
        assert 0 <= order.filled <= order.lots
        assert order.is_working == (order.id in instrument.orders)


def _futures_action(engine: Engine, kind: str, details: list) -> None:
    """Do one thing at the futures venue."""
    venue, account = engine.futures, engine.futures.accounts["key"]
    instrument = venue.instruments["BTCUSDT"]
    if kind == "step":
        engine.step()
    elif kind == "jump":
        engine.jump(instrument, details[0])
    elif kind in ("market", "limit"):
        sent = {"side": details[0], "type": kind.upper(), "quantity": details[1]}
        if kind == "limit":
            sent |= {"price": f"{details[2]:.1f}", "timeInForce": "GTC"}
        else:
            sent["reduceOnly"] = str(details[2]).lower()
        venue.submit(account, instrument, usdm_order(sent, instrument))
    else:
        sent = {
            "algoType": "CONDITIONAL", "side": details[0], "quantity": details[1], "triggerPrice": f"{details[2]:.1f}",
            "type": "STOP_MARKET" if kind == "stop" else "TAKE_PROFIT_MARKET", "reduceOnly": str(details[3]).lower(),
        }  # fmt: skip
        venue.submit_trigger(account, instrument, usdm_trigger(sent, instrument))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(row, min_size=6, max_size=12), st.lists(action, min_size=4, max_size=25), st.booleans(), st.integers(0, 9),
    st.sampled_from(["quote", "received"]),
)  # fmt: skip
def test_spot_coins_are_conserved_and_never_below_zero(
    rows: list[ROW], actions: list[tuple], exact: bool, seed: int, fee_side: str
) -> None:
    """Balances are the deposits plus the trades less the fees, and no coin is sold that is not there."""
    engine = make(rows, models(exact, seed), SPOT)
    account, instrument = engine.spot.accounts["key"], engine.spot.instruments["BTCUSDT"]
    account.fee_side = fee_side
    for kind, *details in actions:
        try:
            _spot_action(engine, kind, details)
        except Refusal:
            continue
        for balance in account.balances.values():
            assert balance.free >= 0 and balance.locked >= 0
    expected = {"BTC": Decimal(5), "USDT": START_MONEY}
    for trade in account.trades:
        expected["BTC"] += trade.sign * instrument.rules.lot.decimal(trade.lots)
        expected["USDT"] -= trade.sign * Decimal(repr(trade.turnover))
        expected[trade.fee_asset] -= Decimal(repr(trade.fee))
    for asset, amount in expected.items():
        balance = account.balance(asset)
        assert abs(balance.free + balance.locked - amount) < Decimal("1e-18")
    for order in account.orders.values():
        if order.is_working:
            engine.spot.cancel(account, order)
    assert all(balance.locked == 0 for balance in account.balances.values())


def _spot_action(engine: Engine, kind: str, details: list) -> None:
    """Do one thing at the spot venue."""
    account, instrument = engine.spot.accounts["key"], engine.spot.instruments["BTCUSDT"]
    if kind == "step":
        engine.step()
        return
    if kind == "jump":
        engine.jump(instrument, details[0])
        return
    sent = {"side": details[0], "quantity": details[1], "type": kind.upper()}
    if kind == "limit":
        sent |= {"price": f"{details[2]:.2f}", "timeInForce": "GTC"}
    elif kind in ("stop", "take"):
        sent |= {"type": "STOP_LOSS" if kind == "stop" else "TAKE_PROFIT", "stopPrice": f"{details[2]:.2f}"}
    engine.spot.submit(account, instrument, spot_order(sent, instrument))

"""The adapter over ccxt: what every error proves, and which answers are believed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from ctp.config import Settings
from ctp.core.types import Candle
from ctp.errors import (
    ConfigError,
    ExchangeBusy,
    ExchangeDown,
    KeyRefused,
    OrderMissing,
    OrderRejected,
    OrderUnknown,
    RequestExpired,
)
from ctp.trading import binance_shapes as shapes
from ctp.trading.ccxt_errors import asking_failed, sending_failed, text_of
from ctp.trading.ccxt_link import link_for, open_ccxt, open_session
from ctp.trading.exchange import WOULD_TRIGGER

ROOT = Path(__file__).resolve().parent.parent.parent


def body(code: int, message: str = "words") -> str:
    return f'binanceusdm {{"code":{code},"msg":"{message}"}}'


SENDING = [
    (ccxt.RequestTimeout("binanceusdm POST https://fapi.binance.com/fapi/v1/order"), OrderUnknown),
    (ccxt.ExchangeNotAvailable("binanceusdm POST …"), OrderUnknown),
    (ccxt.ExchangeNotAvailable(body(-1007)), OrderUnknown),
    (ccxt.OperationFailed(body(-1000, "Unknown error, please check your request or try again later.")), OrderUnknown),
    (ccxt.OperationFailed(body(-1001, "Internal error")), OrderUnknown),
    (ccxt.ExchangeError("binanceusdm POST … payload"), OrderUnknown),  # a broken body, no code: nothing is proved
    (ccxt.DuplicateOrderId(body(-4116)), OrderUnknown),
    (TypeError("'NoneType' object is not subscriptable"), OrderUnknown),
    (ccxt.InsufficientFunds(body(-2019, "Margin is insufficient.")), OrderRejected),
    (ccxt.InvalidOrder(body(-4164)), OrderRejected),
    (ccxt.InsufficientFunds("binance Account has insufficient balance for requested action."), OrderRejected),
    (ccxt.OrderNotFound("binance Unknown order sent."), OrderUnknown),
    (ccxt.OperationRejected(body(-2022, "ReduceOnly Order is rejected.")), OrderRejected),
    (ccxt.InvalidNonce(body(-1021)), RequestExpired),  # outside the window: certainly not accepted
    (ccxt.OperationFailed(body(-5028)), RequestExpired),  # the same, said by the matching engine
    (ccxt.BadSymbol(body(-1122)), OrderRejected),
    (ccxt.DDoSProtection("binanceusdm 429 Too Many Requests " + body(-1003)), ExchangeBusy),
    (ccxt.RateLimitExceeded(body(-1015)), ExchangeBusy),
    (ccxt.AuthenticationError(body(-2015)), KeyRefused),
    # ccxt takes a key revoked in mid-life for a ban; its code tells.
    (ccxt.DDoSProtection(body(-2015)), KeyRefused),
]


@pytest.mark.parametrize(("error", "expected"), SENDING, ids=lambda value: getattr(value, "__name__", str(value)[:50]))
def test_what_a_failed_send_proves(error: Exception, expected: type[Exception]) -> None:
    assert type(sending_failed(error, None, 0)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ccxt.OrderNotFound(body(-2013)), OrderMissing),
        (ccxt.OrderNotFound(body(-2011)), OrderMissing),
        (ccxt.ExchangeNotAvailable("…"), ExchangeDown),
        (ccxt.BadResponse("<html>"), ExchangeDown),
        (ccxt.ExchangeError(body(-9999)), ExchangeDown),
        (ccxt.DDoSProtection("418"), ExchangeBusy),
        (ccxt.AuthenticationError(body(-2014)), KeyRefused),
        (ccxt.InvalidNonce(body(-1021)), RequestExpired),
        (KeyError("assets"), ExchangeDown),
    ],
)
def test_what_a_failed_question_proves(error: Exception, expected: type[Exception]) -> None:
    assert type(asking_failed(error, None, 0)) is expected


@pytest.mark.parametrize(
    "message",
    ["Order would immediately trigger.", "Stop price would trigger immediately.",
     "The relationship of the prices for the orders is not correct."],
)  # fmt: skip
def test_a_stop_the_market_has_passed_is_told_apart(message: str) -> None:
    error = sending_failed(ccxt.InvalidOrder(body(-2021, message)), None, 0)
    assert isinstance(error, OrderRejected)
    assert error.code == WOULD_TRIGGER


@pytest.mark.parametrize(
    ("text", "headers", "expected"),
    [
        ("418 banned until 1700000060000", None, 60.0),
        ("429", {"Retry-After": "17"}, 17.0),
        ("429", {"retry-after": "3"}, 3.0),
        ("429", None, 5.0),
    ],
)
def test_how_long_the_exchange_wants_silence(text: str, headers: dict[str, str] | None, expected: float) -> None:
    error = asking_failed(ccxt.DDoSProtection(text), headers, 1_700_000_000_000)
    assert isinstance(error, ExchangeBusy)
    assert error.retry_after_s == expected


def test_an_error_never_shows_a_signature() -> None:
    error = ccxt.NetworkError("GET https://x/order?symbol=B&signature=abcdef&apiKey=topsecret&listenKey=zzz")
    assert not any(secret in text_of(error) for secret in ("abcdef", "topsecret", "zzz"))


ORDER: dict[str, Any] = {
    "orderId": 7, "clientOrderId": "ctp1-a", "symbol": "BTCUSDT", "status": "FILLED", "executedQty": "0.100",
    "origQty": "0.100", "type": "MARKET", "stopPrice": "0",
}  # fmt: skip
TRADE: dict[str, Any] = {
    "id": 9, "orderId": 7, "side": "BUY", "price": "60000.10", "qty": "0.1", "commission": "3.0000050",
    "commissionAsset": "USDT", "time": 1_700_000_000_000,
}  # fmt: skip


@pytest.mark.parametrize(
    "reply",
    [None, [], "", "<html>", {}, {"code": 0}, ORDER | {"status": "WHATEVER"}, ORDER | {"executedQty": None},
     ORDER | {"executedQty": 0.1}, ORDER | {"orderId": None}, {k: v for k, v in ORDER.items() if k != "origQty"}],
)  # fmt: skip
def test_an_order_reply_that_is_none_is_not_believed(reply: Any) -> None:
    with pytest.raises(ExchangeDown):
        shapes.order_report("BTC/USDT:USDT", reply)


@pytest.mark.parametrize(
    "reply",
    [None, {}, TRADE | {"price": "NaN"}, TRADE | {"qty": "0"}, TRADE | {"price": "-1"}, TRADE | {"side": "HOLD"},
     TRADE | {"commission": None}, TRADE | {"id": "x"}],
)  # fmt: skip
def test_a_trade_that_makes_no_sense_is_not_booked(reply: Any) -> None:
    with pytest.raises(ExchangeDown):
        shapes.fill_report("BTC/USDT:USDT", reply)


def test_every_digit_of_a_fill_arrives() -> None:
    fill = shapes.fill_report("BTC/USDT:USDT", TRADE | {"price": "60000.12345678901"})
    assert fill.price == Decimal("60000.12345678901")
    assert (fill.id, fill.order_exchange_id, fill.side) == ("9", "7", "buy")


@pytest.mark.parametrize(
    "row",
    [None, [], [1, "1", "1"], [1, "5", "4", "3", "4", "1"], [1, "1", "2", "1", "NaN", "1"], [1, "0", "1", "0", "1", "1"],
     [1, "1", "2", "1", "1", "-1"], list("<html>")],
)  # fmt: skip
def test_a_candle_that_cannot_be_is_refused(row: Any) -> None:
    with pytest.raises(ExchangeDown):
        shapes.kline_update("BTC/USDT", "1h", row, 10)


def test_the_closed_flag_of_a_candle_is_the_exchanges_own() -> None:
    kline = {"t": 5, "o": "1", "h": "2", "l": "1", "c": "2", "v": "3", "x": False, "i": "1h"}
    update = shapes.stream_update("BTC/USDT", "1h", {"E": 9, "k": kline})
    assert (update.is_closed, update.event_time) == (False, 9)
    assert update.candle == Candle(5, 1.0, 2.0, 1.0, 2.0, 3.0) or update.candle[:6] == (5, 1.0, 2.0, 1.0, 2.0, 3.0)
    assert shapes.stream_update("BTC/USDT", "1h", {"E": 9, "k": kline | {"x": True}}).is_closed


def test_recorded_replies_of_the_exchange_are_understood(shared_vectors: Path) -> None:
    """Order replies recorded from the real exchange go through the same reading as those of the simulated one."""
    recorded = json.loads((shared_vectors / "binance_net_responses.json").read_text("utf-8"))
    found = [row for row in _dicts(recorded) if {"orderId", "clientOrderId", "executedQty", "origQty"} <= set(row)]
    assert found
    for row in found:
        report = shapes.order_report("BTC/USDT", row)
        assert report.exchange_id == str(row["orderId"])
        assert report.filled == Decimal(row["executedQty"])


def _dicts(value: Any) -> list[dict[str, Any]]:
    """Return every object inside a JSON value; texts that hold JSON are opened."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return _dicts(json.loads(value))
        except ValueError:
            return []
    if isinstance(value, dict):
        return [value] + [found for inner in value.values() for found in _dicts(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in _dicts(inner)]
    return []


def test_paper_trading_without_a_simulated_exchange_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"paper\.port"):
        link_for(Settings(home=tmp_path), "binanceusdm", "paper")
    with pytest.raises(ConfigError, match="not available yet"):
        link_for(Settings(home=tmp_path), "kraken", "paper")


async def _open(tmp_path: Path) -> Any:
    link = link_for(Settings(home=tmp_path), "binance", "live")
    session = open_session(link)
    api = open_ccxt(link, session, key="k", secret="s")
    await api.close()
    await session.close()
    return api


def test_the_class_is_ccxts_own_with_its_real_addresses(tmp_path: Path) -> None:
    api = asyncio.run(_open(tmp_path))
    assert isinstance(api, ccxt.pro.binance)
    assert api.urls["api"]["private"] == "https://api.binance.com/api/v3"


LIGHT = """
import sys
import ctp.trading.bot, ccxt, ccxt.pro, ccxt.async_support
assert isinstance(ccxt.pro.binance, type) and isinstance(ccxt.pro.binanceusdm, type), "classes, not modules"
assert issubclass(ccxt.pro.binance, ccxt.async_support.binance) and issubclass(ccxt.InvalidNonce, ccxt.BaseError)
assert ccxt.kraken is sys.modules["ccxt.kraken"].kraken
loaded = [name for name in sys.modules if name.startswith("ccxt.pro.")]
assert len(loaded) < 6, loaded
for name in ("pandas", "numba", "vectorbt"):
    assert name not in sys.modules, name
"""


def test_the_bot_starts_without_the_exchanges_it_does_not_trade_on() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, check=True, timeout=120)

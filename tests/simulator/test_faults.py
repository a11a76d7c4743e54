"""Scripted trouble, limits and the control port."""

from __future__ import annotations

import asyncio
import json
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import pytest

from ctp.errors import DataDamaged
from ctp.simulator import certificates
from ctp.simulator.control import TOKEN_FILE, Control, account_settings
from ctp.simulator.exchange import SimulatedExchange
from ctp.simulator.limits import Limits, weight
from ctp.simulator.loopback import session
from ctp.simulator.refusals import Refusal
from ctp.simulator.run import READY_FILE, serve
from ctp.simulator.settings import SimulatorSettings
from tests.simulator.conftest import ACCOUNT, HOUR, ROW, START, feed_of

BTC = "BTC/USDT:USDT"
ROWS: list[ROW | None] = [(60000.0, 60500.0, 59500.0, 60000.0)] * 40
FAULTS: list[tuple[dict[str, Any], type[Exception], int]] = [
    ({"action": "drop_before"}, ccxt.ExchangeNotAvailable, 0),
    ({"action": "drop_after"}, ccxt.ExchangeNotAvailable, 1),
    ({"action": "status", "status": 502, "body": "<html>502</html>", "content_type": "text/html"},
     ccxt.ExchangeNotAvailable, 0),
    ({"action": "status_after", "status": 503, "code": -1007}, ccxt.RequestTimeout, 1),
    ({"action": "error", "code": -2019, "message": "Margin is insufficient."}, ccxt.InsufficientFunds, 0),
    ({"action": "error", "code": -1003, "status": 429, "headers": {"Retry-After": "7"}}, ccxt.DDoSProtection, 0),
    ({"action": "error", "code": -1003, "status": 418}, ccxt.DDoSProtection, 0),
]  # fmt: skip


def quiet() -> Any:
    """Return forty hours in which nothing happens."""
    return feed_of({BTC: ROWS})


@pytest.mark.anyio
@pytest.mark.parametrize(("fault", "expected", "orders"), FAULTS)
async def test_a_fault_before_changes_nothing_and_one_after_loses_only_the_answer(
    rig: Any, fault: dict[str, Any], expected: type[Exception], orders: int
) -> None:
    async with rig(quiet()) as made:
        client = made.client()
        await client.load_markets()
        made.exchange.fault(match="POST /fapi/v1/order", **fault)
        with pytest.raises(expected):
            await client.create_order(BTC, "market", "buy", 0.01)
        assert len(await client.fetch_orders(BTC)) == orders
        await client.create_order(BTC, "market", "buy", 0.01)
        assert len(await client.fetch_orders(BTC)) == orders + 1, "a fault strikes once"


@pytest.mark.anyio
async def test_broken_answers_reach_the_client_as_they_are(rig: Any) -> None:
    async with rig(quiet()) as made:
        client = made.client()
        await client.load_markets()
        made.exchange.fault("garbage", match="GET /fapi/v3/positionRisk")
        made.exchange.fault("truncate", match="POST /fapi/v1/order")
        made.exchange.fault("null", match="GET /fapi/v3/account")
        order = await client.create_order(BTC, "market", "buy", 0.01)
        assert order["id"] is None, "ccxt makes an order without an id of half an answer"
        assert await client.fetch_positions() == [], "and no position of an HTML page"
        assert "USDT" not in await client.fetch_balance()
        assert (await client.fetch_positions())[0]["contracts"] == 0.01


@pytest.mark.anyio
async def test_delays_happen_before_or_after_the_deed(rig: Any) -> None:
    async with rig(quiet()) as made:
        client = made.client(recvWindow=50)
        await client.load_markets()
        made.exchange.fault("delay_before", match="POST /fapi/v1/order", delay_ms=80)
        with pytest.raises(ccxt.InvalidNonce):
            await client.create_order(BTC, "market", "buy", 0.01)
        made.exchange.fault("delay_after", match="POST /fapi/v1/order", delay_ms=80)
        assert (await client.create_order(BTC, "market", "buy", 0.01))["status"] == "closed"


@pytest.mark.anyio
async def test_faults_can_wait_for_a_parameter_skip_and_repeat(rig: Any) -> None:
    async with rig(quiet()) as made:
        client = made.client()
        await client.create_order(BTC, "market", "buy", 0.01)
        made.exchange.fault(
            "error", match="POST /fapi/v1/algoOrder", parameters={"type": "STOP_MARKET"}, skip=1, count=2, code=-2021,
            message="Order would immediately trigger.",
        )  # fmt: skip
        outcomes = []
        for kind in ("stopLossPrice", "takeProfitPrice", "stopLossPrice", "stopLossPrice", "stopLossPrice"):
            price = 59000 if kind == "stopLossPrice" else 61000
            try:
                await client.create_order(BTC, "market", "sell", 0.01, None, {kind: price, "reduceOnly": True})
                outcomes.append("placed")
            except ccxt.OrderImmediatelyFillable:
                outcomes.append("refused")
        assert outcomes == ["placed", "placed", "refused", "refused", "placed"]
        with pytest.raises(ValueError, match="explode"):
            made.exchange.fault("explode")
        with pytest.raises(ValueError, match="cuont"):
            made.exchange.fault("drop_after", cuont=1)


@pytest.mark.anyio
async def test_fills_can_be_scripted_to_be_partial(rig: Any) -> None:
    async with rig(feed_of({BTC: ROWS, "BTC/USDT": ROWS})) as made:
        client = made.client()
        made.exchange.partial_fill(0.4)
        whole = await client.create_order(BTC, "market", "buy", 0.01)
        assert [trade["amount"] for trade in await client.fetch_my_trades(BTC)] == [0.004, 0.006]
        assert (whole["status"], whole["filled"]) == ("closed", 0.01)
        made.exchange.partial_fill(0.3, "unfilled")
        part = await client.create_order(BTC, "market", "buy", 0.01)
        assert (part["status"], part["filled"], part["remaining"]) == ("expired", 0.003, 0.007)
        made.exchange.partial_fill(0.5, "unfilled")
        limit = await client.create_order(BTC, "limit", "buy", 0.01, 60100)
        assert (limit["status"], limit["filled"]) == ("open", 0.005)
        assert (await client.fetch_positions())[0]["contracts"] == 0.018
        spot = made.client("binance")
        made.exchange.partial_fill(0.25, "unfilled")
        rest = await spot.create_order("BTC/USDT", "limit", "buy", 0.04, 60100)
        assert (rest["status"], rest["filled"]) == ("open", 0.01)
        held = (await spot.fetch_balance())["USDT"]["used"]
        assert held > 0.03 * 60100
        await spot.cancel_order(rest["id"], "BTC/USDT")
        assert (await spot.fetch_balance())["USDT"]["used"] == 0.0
        with pytest.raises(ValueError, match="fraction"):
            made.exchange.partial_fill(1.0)


@pytest.mark.anyio
async def test_too_many_requests_are_answered_429_and_then_418(rig: Any) -> None:
    async with rig(quiet()) as made:
        limits = made.exchange.server.limits["usdm"]
        client = made.client()
        await client.load_markets()
        limits.limit, limits._clock = 60, lambda: 1_000_000.5
        statuses = []
        for _ in range(40):
            try:
                await client.fapiPublicGetKlines({"symbol": "BTCUSDT", "interval": "1h", "limit": 500})
                statuses.append(200)
            except ccxt.DDoSProtection as error:
                statuses.append(418 if " 418 " in str(error) else 429)
                retry_after = int(client.last_response_headers["Retry-After"])
                assert 0 < retry_after <= 121
        assert statuses == [200] * 12 + [429] * 21 + [418] * 7
        limits._clock = lambda: 1_000_000.5 + 121
        assert await client.fetch_time()
        assert client.last_response_headers["X-MBX-USED-WEIGHT-1M"] == "1"


def test_weights_follow_symbol_and_limit() -> None:
    assert weight("GET", "/fapi/v1/klines", {"limit": "99"}) == 1
    assert weight("GET", "/fapi/v1/klines", {"limit": "1500"}) == 10
    assert weight("GET", "/fapi/v1/ticker/24hr", {}) == 40
    assert weight("GET", "/api/v3/openOrders", {"symbol": "BTCUSDT"}) == 6
    assert weight("GET", "/api/v3/account", {}) == 20
    assert weight("POST", "/fapi/v1/order", {}) == 0


def test_orders_are_counted_per_key() -> None:
    now = [1000.0]
    limits = Limits("usdm", limit=2400, clock=lambda: now[0])
    for _ in range(300):
        headers = limits.count_order("POST", "/fapi/v1/order", "a")
    assert headers == {"X-MBX-ORDER-COUNT-10S": "300", "X-MBX-ORDER-COUNT-1M": "300"}
    with pytest.raises(Refusal, match="-1015"):
        limits.count_order("POST", "/fapi/v1/order", "a")
    assert limits.count_order("POST", "/fapi/v1/order", "b")["X-MBX-ORDER-COUNT-10S"] == "1"
    assert limits.count_order("GET", "/fapi/v1/order", "a") == {}
    now[0] += 11
    assert limits.count_order("POST", "/fapi/v1/order", "a")["X-MBX-ORDER-COUNT-10S"] == "1"


@pytest.mark.anyio
async def test_the_control_port_does_everything_and_needs_its_token(rig: Any) -> None:
    async with rig(quiet()) as made:
        control = Control(made.exchange)
        await control.start()
        token_file = made.exchange.settings.folder / TOKEN_FILE
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        address = f"http://127.0.0.1:{control.port}/sim/"
        try:
            async with aiohttp.ClientSession() as http:
                async with http.get(address + "status") as answer:
                    assert answer.status == 401
                http.headers["Authorization"] = f"Bearer {token_file.read_text()}"

                async def ask(method: str, name: str, **body: Any) -> tuple[int, Any]:
                    """Send a request to the control port."""
                    async with http.request(method, address + name, json=body or None) as reply:
                        return reply.status, await reply.json()

                assert (await ask("POST", "accounts", key="k2", secret="s2", wallet="500", spot={"BTC": "2"}))[0] == 200
                assert (await ask("POST", "accounts", key="k2", secret="s2"))[0] == 400
                assert (await ask("POST", "accounts", key="k3", secrets="s"))[0] == 400
                status, moved = await ask("POST", "advance", candles=2)
                assert (status, moved["time"], moved["phase"]) == (200, START + 3 * HOUR, "open")
                assert (await ask("POST", "fault", action="drop_after", match="POST"))[1]["waiting"][0]["count"] == 1
                assert (await ask("POST", "fault", clear=True))[1]["waiting"] == []
                assert (await ask("POST", "fault", action="nonsense"))[0] == 400
                assert (await ask("POST", "price", symbol=BTC, price=61000))[1]["prices"][BTC] == 61000
                assert "traded" in (await ask("POST", "price", symbol="X/Y", price=1))[1]["error"]
                assert (await ask("POST", "halt", symbol=BTC))[1]["halted"] is True
                assert (await ask("POST", "socket", action="duplicate", kind="market"))[0] == 200
                assert (await ask("POST", "partial", fraction=0.5))[1] == {"waiting": 1}
                assert (await ask("POST", "clock", skew_ms=50))[1] == {"skew_ms": 50}
                assert (await ask("POST", "deposit", key="k2", asset="USDT", amount="7", venue="usdm"))[0] == 200
                assert (await ask("POST", "key", key="k2", is_revoked=True))[0] == 200
                state = (await ask("GET", "state?key=k2"))[1]
                assert state["usdm"]["account"]["totalWalletBalance"] == "507.00000000"
                assert state["spot"]["account"]["balances"][0] == {
                    "asset": "BTC", "free": "2.00000000", "locked": "0.00000000",
                }  # fmt: skip
                assert (await ask("GET", "state?key=nobody"))[0] == 400
        finally:
            await control.stop()


@pytest.mark.anyio
async def test_serving_writes_where_it_listens_and_cleans_up(tmp_path: Path) -> None:
    settings = SimulatorSettings(tmp_path, quiet(), accounts=(ACCOUNT,), history=1)
    ready = asyncio.Event()
    task = asyncio.create_task(serve(settings, lambda exchange, control: ready.set()))
    await asyncio.wait_for(ready.wait(), 60)
    where = json.loads((tmp_path / READY_FILE).read_text())
    http = session(where["port"], where["ca_file"])
    async with http.get("https://fapi.binance.com/fapi/v1/ping") as answer:
        assert await answer.json() == {}
    async with http.get("https://localhost/en/trade") as answer:
        assert answer.status == 404
    await http.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (tmp_path / READY_FILE).exists()


@pytest.mark.anyio
async def test_a_restarted_exchange_keeps_accounts_orders_and_time(tmp_path: Path) -> None:
    feed = feed_of({BTC: ROWS, "BTC/USDT": ROWS})
    settings = SimulatorSettings(tmp_path, feed, accounts=(ACCOUNT,), history=1, state=True)

    async def client_of(exchange: SimulatedExchange, name: str) -> tuple[Any, aiohttp.ClientSession]:
        """Return a client of an exchange and the session to close."""
        http = session(exchange.port, exchange.ca_file)
        made = getattr(ccxt.pro, name)({"apiKey": "key", "secret": "secret", "session": http,
                                        "options": {"fetchCurrencies": False}})  # fmt: skip
        return made, http

    first = SimulatedExchange(settings)
    await first.start()
    client, http = await client_of(first, "binanceusdm")
    await client.create_order(BTC, "market", "buy", 0.01)
    stop = await client.create_order(BTC, "market", "sell", 0.01, None, {"stopLossPrice": 59000, "reduceOnly": True})
    spot, spot_http = await client_of(first, "binance")
    await spot.create_order("BTC/USDT", "limit", "sell", 0.5, 70000)
    await first.advance(3)
    before = first.state("key")
    for closing in (client, spot, http, spot_http):
        await closing.close()
    await first.stop()

    second = SimulatedExchange(settings)
    await second.start()
    assert (second.engine.time, second.state("key")) == (START + 4 * HOUR, before)
    await second.set_price(BTC, 58000.0)
    client, http = await client_of(second, "binanceusdm")
    assert (await client.fetch_order(stop["id"], BTC, {"trigger": True}))["status"] == "closed"
    assert await client.fetch_positions() == []
    for closing in (client, http):
        await closing.close()
    await second.stop()

    (tmp_path / "simulator-state.json").write_text("{}")
    with pytest.raises(DataDamaged, match="remove it"):
        SimulatedExchange(settings)


def test_certificates_are_kept_while_good_and_replaced_when_damaged(tmp_path: Path) -> None:
    files = certificates.ensure(tmp_path)
    before = files.server.read_bytes()
    assert stat.S_IMODE(files.server.stat().st_mode) == 0o600
    assert certificates.ensure(tmp_path).server.read_bytes() == before
    files.server.write_bytes(before[:200])
    certificates.ensure(tmp_path)
    renewed = files.server.read_bytes()
    assert renewed != before
    other = certificates.ensure(tmp_path / "other")
    files.authority.write_bytes(other.authority.read_bytes())
    certificates.ensure(tmp_path)
    assert files.server.read_bytes() != renewed, "a certificate of another authority is replaced"


def test_settings_that_cannot_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fill_mode"):
        SimulatorSettings(tmp_path, quiet(), fill_mode="magic")
    with pytest.raises(ValueError, match="fee_side"):
        account_settings({"key": "k", "secret": "s", "fee_side": "none"})
    assert account_settings({"key": "k", "secret": "s", "wallet": 5}).wallet == Decimal(5)

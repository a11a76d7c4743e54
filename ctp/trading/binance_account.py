"""One Binance account, spot or USDⓈ-M, through an unmodified ccxt class.

Requests are ccxt's implicit calls with exact texts; replies are read raw (`binance_shapes`). Every error is one of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ctp.clock import Clock
from ctp.core.orders import PROTECTIVE
from ctp.core.types import Market
from ctp.errors import (
    ExchangeBusy,
    ExchangeDown,
    ExchangeError,
    InputError,
    NotAllowed,
    OrderUnknown,
    RequestExpired,
)
from ctp.trading import binance_shapes as shapes
from ctp.trading.ccxt_errors import GARBAGE, asking_failed, sending_failed
from ctp.trading.ccxt_light import ccxt
from ctp.trading.exchange import BUY, FillReport, FundingReport, OrderReport, OrderRequest
from ctp.trading.exchange_clock import ExchangeClock
from ctp.trading.market_rules import binance_market

PAGE = 1000
SIGNED_TWICE = 2  # what may be repeated without harm is signed anew once when its timestamp is refused

type Call = Callable[[Mapping[str, Any]], Awaitable[Any]]
type Failed = Callable[[Exception, Mapping[str, str] | None, int], ExchangeError]


class BinanceAccount:
    """The Exchange port of one key at Binance."""

    def __init__(self, api: Any, clock: Clock, exchange_clock: ExchangeClock, *, is_perpetual: bool) -> None:
        """Use a ccxt exchange whose markets are loaded or shared, and sign with its venue's time."""
        self.api, self.is_perpetual = api, is_perpetual
        self._clock, self._exchange_clock = clock, exchange_clock
        self._silent_until_s = 0.0

    # --- orders --------------------------------------------------------------------------------------------------

    async def place(self, order: OrderRequest, *, window_ms: int) -> OrderReport:
        """Send one order."""
        request: dict[str, Any] = {
            "symbol": self._id(order.symbol),
            "side": order.side.upper(),
            "quantity": format(order.size, "f"),
            "recvWindow": window_ms,
        }
        if not self.is_perpetual:
            request |= {"type": "MARKET", "newClientOrderId": order.id, "newOrderRespType": "RESULT"}
            if order.trigger_price is not None:
                kind = "STOP_LOSS" if order.purpose == "stop" else "TAKE_PROFIT"
                request |= {"type": kind, "stopPrice": format(order.trigger_price, "f")}
            elif order.limit_price is not None:
                request |= {"type": "LIMIT_MAKER", "price": format(order.limit_price, "f")}
            reply = await self._send(self.api.privatePostOrder, request)
            return self._echoed(order, reply)
        if order.trigger_price is None:
            request |= {"type": "MARKET", "newClientOrderId": order.id, "newOrderRespType": "RESULT"}
            if order.reduce_only:
                request["reduceOnly"] = "true"
            if order.limit_price is not None:
                request |= {"type": "LIMIT", "timeInForce": "GTX", "price": format(order.limit_price, "f")}
            reply = await self._send(self.api.fapiPrivatePostOrder, request)
            return self._echoed(order, reply)
        request |= {
            "algoType": "CONDITIONAL",
            "type": "STOP_MARKET" if order.purpose == "stop" else "TAKE_PROFIT_MARKET",
            "triggerPrice": format(order.trigger_price, "f"),
            "clientAlgoId": order.id,
            "reduceOnly": "true",
        }
        reply = await self._send(self.api.fapiPrivatePostAlgoOrder, request)
        return self._same(order, lambda: shapes.algo_report(order.symbol, reply))

    async def place_pair(
        self, stop: OrderRequest, take: OrderRequest, *, window_ms: int
    ) -> tuple[OrderReport, OrderReport]:
        """Send a stop and a take-profit as an order list of which one cancels the other."""
        if self.is_perpetual or stop.side == BUY or stop.trigger_price is None or take.trigger_price is None:
            raise InputError("order", stop.id, "a pair protects a long spot position with two trigger prices")
        request = {
            "symbol": self._id(stop.symbol),
            "side": "SELL",
            "quantity": format(stop.size, "f"),
            "aboveType": "TAKE_PROFIT",
            "aboveStopPrice": format(take.trigger_price, "f"),
            "aboveClientOrderId": take.id,
            "belowType": "STOP_LOSS",
            "belowStopPrice": format(stop.trigger_price, "f"),
            "belowClientOrderId": stop.id,
            "newOrderRespType": "RESULT",
            "recvWindow": window_ms,
        }
        reply = await self._send(self.api.privatePostOrderListOco, request)

        def read() -> dict[str, OrderReport]:
            reports = [shapes.order_report(stop.symbol, row) for row in reply["orderReports"]]
            return {report.id: report for report in reports}

        try:
            by_id = shapes.checked("order list", read)
            return by_id[stop.id], by_id[take.id]
        except (ExchangeDown, KeyError) as error:
            raise OrderUnknown(f"{stop.id}: {error}") from error

    def _echoed(self, order: OrderRequest, reply: Any) -> OrderReport:
        """Return the report of a plain order, if the reply is about it."""
        return self._same(order, lambda: shapes.order_report(order.symbol, reply))

    def _same(self, order: OrderRequest, read: Any) -> OrderReport:
        """Return a report that names our order; anything else leaves the outcome unknown."""
        try:
            report: OrderReport = read()
        except ExchangeDown as error:
            raise OrderUnknown(str(error)) from error
        if report.id != order.id:
            raise OrderUnknown(f"asked for {order.id}, the reply is about {report.id!r}")
        return report

    async def find(self, symbol: str, order_id: str, purpose: str) -> OrderReport:
        """Look an order up by our client order id."""
        request = {"symbol": self._id(symbol)}
        if not self.is_perpetual:
            row = await self._ask(self.api.privateGetOrder, request | {"origClientOrderId": order_id})
            return shapes.order_report(symbol, row)
        if purpose not in PROTECTIVE:
            row = await self._ask(self.api.fapiPrivateGetOrder, request | {"origClientOrderId": order_id})
            return shapes.order_report(symbol, row)
        reply = await self._ask(self.api.fapiPrivateGetAlgoOrder, {"clientAlgoId": order_id})
        row = shapes.object_of("algo order", reply)
        report = shapes.algo_report(symbol, row)
        became = shapes.actual_order_id(row)
        if not became:
            return report
        order = await self.find_by_exchange_id(symbol, became)
        return order._replace(id=report.id, purpose=report.purpose, trigger_price=report.trigger_price)

    async def find_by_exchange_id(self, symbol: str, exchange_id: str) -> OrderReport:
        """Look an order up by the exchange's id."""
        request = {"symbol": self._id(symbol), "orderId": exchange_id}
        call = self.api.fapiPrivateGetOrder if self.is_perpetual else self.api.privateGetOrder
        return shapes.order_report(symbol, await self._ask(call, request))

    async def cancel(self, symbol: str, order_id: str, purpose: str) -> None:
        """Cancel an order; on spot the other half of its list goes with it."""
        if self.is_perpetual and purpose in PROTECTIVE:
            reply = await self._ask(self.api.fapiPrivateDeleteAlgoOrder, {"clientAlgoId": order_id})
        else:
            request = {"symbol": self._id(symbol), "origClientOrderId": order_id}
            call = self.api.fapiPrivateDeleteOrder if self.is_perpetual else self.api.privateDeleteOrder
            reply = await self._ask(call, request)
        if not shapes.confirms_cancel(reply, order_id):
            # An order taken for cancelled that has filled would be closed a second time.
            raise OrderUnknown(f"{order_id}: the reply does not confirm the cancellation: {str(reply)[:60]!r}")

    async def open_orders(self, symbol: str) -> Sequence[OrderReport]:
        """Return every order that rests on the symbol."""
        request = {"symbol": self._id(symbol)}
        if not self.is_perpetual:
            rows = shapes.rows_of("open orders", await self._ask(self.api.privateGetOpenOrders, request))
            return [shapes.order_report(symbol, row) for row in rows]
        plain, conditional = await asyncio.gather(
            self._ask(self.api.fapiPrivateGetOpenOrders, request),
            self._ask(self.api.fapiPrivateGetOpenAlgoOrders, request),
        )
        found = [shapes.order_report(symbol, row) for row in shapes.rows_of("open orders", plain)]
        return found + [shapes.algo_report(symbol, row) for row in shapes.rows_of("open algo orders", conditional)]

    # --- what happened -------------------------------------------------------------------------------------------

    async def fills(
        self, symbol: str, *, after_id: str | None = None, order_exchange_id: str | None = None
    ) -> Sequence[FillReport]:
        """Return fills oldest first: those after a fill id, or those of one order."""
        request: dict[str, Any] = {"symbol": self._id(symbol), "limit": PAGE}
        if order_exchange_id is not None:
            if not order_exchange_id.isdigit():
                return []  # a conditional order that has not become an order yet
            request["orderId"] = order_exchange_id
        found: list[FillReport] = []
        while True:
            if after_id is not None:
                request["fromId"] = int(after_id) + 1
            call = self.api.fapiPrivateGetUserTrades if self.is_perpetual else self.api.privateGetMyTrades
            page = shapes.rows_of("trades", await self._ask(call, request))
            found += [shapes.fill_report(symbol, row) for row in page]
            if after_id is None or len(page) < PAGE:
                return sorted(found, key=lambda fill: int(fill.id))
            after_id = found[-1].id

    async def funding(self, since: int) -> Sequence[FundingReport]:
        """Return the funding payments from `since` on."""
        if not self.is_perpetual:
            return []
        found: dict[str, FundingReport] = {}
        while True:
            request = {"incomeType": "FUNDING_FEE", "startTime": since, "limit": PAGE}
            page = shapes.rows_of("income", await self._ask(self.api.fapiPrivateGetIncome, request))
            for row in page:
                symbol = self._symbol(str(row.get("symbol", "")))
                if symbol is not None:
                    report = shapes.funding_report(symbol, row)
                    found[report.id] = report
            if len(page) < PAGE:
                return sorted(found.values(), key=lambda one: (one.time, int(one.id)))
            since = int(page[-1]["time"])

    async def positions(self, symbols: Sequence[str]) -> dict[str, Decimal]:
        """Return the signed position size per symbol."""
        reply = shapes.rows_of("positions", await self._ask(self.api.fapiPrivateV3GetPositionRisk, {}))
        sizes = {symbol: Decimal(0) for symbol in symbols}

        def add() -> None:
            for row in reply:
                symbol = self._symbol(str(row["symbol"]))
                if symbol in sizes:
                    sizes[symbol] += shapes.number(row["positionAmt"])

        shapes.checked("positions", add)
        return sizes

    async def quote_balance(self, quote: str) -> Decimal:
        """Return the wallet balance in the quote currency."""
        if self.is_perpetual:
            reply = shapes.object_of("account", await self._ask(self.api.fapiPrivateV3GetAccount, {}))
            rows = shapes.rows_of("assets", reply.get("assets"))
            return shapes.checked(
                "assets",
                lambda: sum((shapes.number(row["walletBalance"]) for row in rows if row["asset"] == quote), Decimal(0)),
            )
        reply = shapes.object_of("account", await self._ask(self.api.privateGetAccount, {"omitZeroBalances": "true"}))
        rows = shapes.rows_of("balances", reply.get("balances"))
        return shapes.checked(
            "balances",
            lambda: sum(
                (shapes.number(row["free"]) + shapes.number(row["locked"]) for row in rows if row["asset"] == quote),
                Decimal(0),
            ),
        )

    # --- rules ---------------------------------------------------------------------------------------------------

    async def markets(self, symbols: Sequence[str]) -> dict[str, Market]:
        """Return the rules and this account's costs per symbol."""
        for symbol in symbols:
            if symbol not in self.api.markets:
                raise InputError("symbol", symbol, f"is not listed on {self.api.id}")
        if not self.is_perpetual:
            account = shapes.object_of("account", await self._ask(self.api.privateGetAccount, {"omitZeroBalances": "true"}))
            rates = shapes.checked(
                "account",
                lambda: [float(shapes.number(account["commissionRates"][one])) for one in ("taker", "maker")],
            )
            return {symbol: self._market(symbol, rates[0], rates[1], []) for symbol in symbols}
        return dict(zip(symbols, await asyncio.gather(*(self._perpetual(one) for one in symbols)), strict=True))

    async def _perpetual(self, symbol: str) -> Market:
        """Return the rules of one perpetual."""
        request = {"symbol": self._id(symbol)}
        costs, brackets = await asyncio.gather(
            self._ask(self.api.fapiPrivateGetCommissionRate, request),
            self._ask(self.api.fapiPrivateGetLeverageBracket, request),
        )
        if isinstance(brackets, list):
            brackets = brackets[0] if brackets else {}
        rates = shapes.checked(
            "commission",
            lambda: [float(shapes.number(costs[f"{one}CommissionRate"])) for one in ("taker", "maker")],
        )
        rows = shapes.rows_of("brackets", shapes.object_of("brackets", brackets).get("brackets"))
        return self._market(symbol, rates[0], rates[1], rows)

    def _market(self, symbol: str, fee_rate: float, maker_fee_rate: float, brackets: Sequence[Any]) -> Market:
        """Return the rules of one symbol from its listing."""
        listing = self.api.markets[symbol]["info"]
        return shapes.checked(
            f"{symbol} rules",
            lambda: binance_market(
                listing,
                is_perpetual=self.is_perpetual,
                fee_rate=fee_rate,
                maker_fee_rate=maker_fee_rate,
                brackets=brackets,
            ),
        )

    async def prepare(self, symbol: str, leverage: float) -> None:
        """Make sure that the symbol trades isolated at this leverage, one-way."""
        if leverage != int(leverage):
            raise NotAllowed(f"{symbol}: the exchange knows whole leverages only, not {leverage:g}")
        wanted = ("ISOLATED", int(leverage))
        if await self._configured(symbol) == wanted:
            return
        dual = shapes.object_of("position mode", await self._ask(self.api.fapiPrivateGetPositionSideDual, {}))
        if dual.get("dualSidePosition") is not False:
            raise NotAllowed("the account is in hedge mode; switch it to one-way mode at the exchange")
        request = {"symbol": self._id(symbol)}
        try:
            await self._send(self.api.fapiPrivatePostMarginType, request | {"marginType": "ISOLATED"}, tries=SIGNED_TWICE)
        except ExchangeError as error:
            if "-4046" not in str(error) and "No need to change" not in str(error):
                raise
        await self._send(self.api.fapiPrivatePostLeverage, request | {"leverage": int(leverage)}, tries=SIGNED_TWICE)
        found = await self._configured(symbol)
        if found != wanted:
            raise NotAllowed(f"{symbol}: asked for isolated {leverage:g}x, the exchange has {found[0]} {found[1]}x")

    async def isolated_leverages(self) -> dict[str, float]:
        """Return the leverage of every symbol that trades isolated; one request for all."""
        reply = shapes.rows_of("symbol configuration", await self._ask(self.api.fapiPrivateGetSymbolConfig, {}))
        found: dict[str, float] = {}

        def add() -> None:
            for row in reply:
                symbol = self._symbol(str(row["symbol"]))
                if symbol is not None and str(row["marginType"]).upper() == "ISOLATED":
                    found[symbol] = float(row["leverage"])

        shapes.checked("symbol configuration", add)
        return found

    async def _configured(self, symbol: str) -> tuple[str, int]:
        """Return margin type and leverage of a symbol."""
        reply = await self._ask(self.api.fapiPrivateGetSymbolConfig, {"symbol": self._id(symbol)})
        rows = shapes.rows_of("symbol configuration", reply)
        return shapes.checked(
            "symbol configuration", lambda: (str(rows[0]["marginType"]).upper(), int(rows[0]["leverage"]))
        )

    async def last_price(self, symbol: str) -> Decimal:
        """Return the last traded price."""
        call = self.api.fapiPublicGetTicker24hr if self.is_perpetual else self.api.publicGetTicker24hr
        reply = shapes.object_of("ticker", await self._ask(call, {"symbol": self._id(symbol)}))
        return shapes.checked("ticker", lambda: shapes.number(reply["lastPrice"]))

    async def withdrawals_allowed(self) -> bool | None:
        """Return whether the key may withdraw."""
        reply = shapes.object_of("key rights", await self._ask(self.api.sapiGetAccountApiRestrictions, {}))
        found = reply.get("enableWithdrawals")
        return found if isinstance(found, bool) else None

    async def close(self) -> None:
        """Close ccxt's websockets; the session belongs to its maker."""
        await self.api.close()

    # --- requests ------------------------------------------------------------------------------------------------

    def _id(self, symbol: str) -> str:
        """Return the exchange's name of a symbol."""
        market = self.api.markets.get(symbol)
        if market is None:
            raise InputError("symbol", symbol, f"is not listed on {self.api.id}")
        return str(market["id"])

    def _symbol(self, market_id: str) -> str | None:
        """Return our name of a symbol, None when it is not of this venue."""
        for market in self.api.markets_by_id.get(market_id, []):
            if bool(market["swap"]) == self.is_perpetual:
                return str(market["symbol"])
        return None

    async def _ask(self, call: Call, request: Mapping[str, Any]) -> Any:
        """Ask a question; every failure is one of ours."""
        return await self._request(call, request, asking_failed, SIGNED_TWICE)

    async def _send(self, call: Call, request: Mapping[str, Any], *, tries: int = 1) -> Any:
        """Send what changes something; every failure is one of ours, told apart by what it proves.

        tries: more than one for what is not an order. An order's sender decides itself whether it may still leave.
        """
        return await self._request(call, request, sending_failed, tries)

    async def _request(self, call: Call, request: Mapping[str, Any], failed: Failed, tries: int) -> Any:
        """Sign with the exchange's time; a request refused for its timestamp has the clock measured anew."""
        while True:
            tries -= 1
            self._respect_silence()
            seen = self._exchange_clock.measurements
            self.api.options["timeDifference"] = self._exchange_clock.lead_ms
            try:
                return await call(request)
            except (ccxt.BaseError, *GARBAGE) as error:
                failure = self._noted(failed(error, self.api.last_response_headers, self._clock.now_ms()))
                if not isinstance(failure, RequestExpired):
                    raise failure from error
                await self._exchange_clock.measure_after(seen)
                if tries <= 0:
                    raise failure from error

    def _respect_silence(self) -> None:
        """Refuse to ask while the exchange wants silence."""
        left = self._silent_until_s - self._clock.monotonic_s()
        if left > 0:
            raise ExchangeBusy("the exchange asked for silence", left)

    def _noted(self, error: ExchangeError) -> ExchangeError:
        """Remember how long the exchange wants silence."""
        if isinstance(error, ExchangeBusy):
            self._silent_until_s = max(self._silent_until_s, self._clock.monotonic_s() + error.retry_after_s)
        return error

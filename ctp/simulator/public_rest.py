"""Public answers of both venues: time, listing, klines, tickers, book, mark prices, funding."""

from __future__ import annotations

import json
from collections.abc import Callable

from ctp.simulator import charts, quotes
from ctp.simulator.engine import Engine
from ctp.simulator.generated import EIGHT_HOURS_MS
from ctp.simulator.instrument import Instrument
from ctp.simulator.listing import Listing
from ctp.simulator.refusals import Refusal
from ctp.simulator.requests import Parameters, whole

Answer = object
Handler = Callable[[Parameters], Answer]


class PublicRest:
    """What anybody may ask one venue."""

    def __init__(self, engine: Engine, venue: str, listing: Listing, wall_ms: Callable[[], int]) -> None:
        """wall_ms: the clock that GET time shows and that signatures are checked against."""
        self.engine, self.market, self.venue, self.listing, self._wall_ms = (
            engine, engine.market, venue, listing, wall_ms,
        )  # fmt: skip
        self._longest = 1500 if venue == "usdm" else 1000
        prefix = "/fapi/v1" if venue == "usdm" else "/api/v3"
        self.routes: dict[str, Handler] = {
            f"GET {prefix}/ping": lambda parameters: {},
            f"GET {prefix}/time": lambda parameters: {"serverTime": self._wall_ms()},
            f"GET {prefix}/exchangeInfo": self.exchange_info,
            f"GET {prefix}/klines": self.klines,
            f"GET {prefix}/depth": self.depth,
            f"GET {prefix}/trades": self.trades,
            f"GET {prefix}/aggTrades": self.aggregate_trades,
            f"GET {prefix}/ticker/24hr": self._each(self._ticker),
            f"GET {prefix}/ticker/price": self._each(self._price),
            f"GET {prefix}/ticker/bookTicker": self._each(lambda i: quotes.book_ticker(i, self.market)),
        }
        if venue == "usdm":
            self.routes |= {
                "GET /fapi/v2/ticker/price": self._each(self._price),
                "GET /fapi/v1/premiumIndex": self._each(lambda i: quotes.premium(engine.feed, i, self.market)),
                "GET /fapi/v1/fundingRate": self.funding_rate,
                "GET /fapi/v1/fundingInfo": self.funding_info,
            }
        else:
            self.routes["GET /api/v3/avgPrice"] = self.average_price

    def _instrument(self, parameters: Parameters) -> Instrument:
        """Return the instrument named; a listed symbol without a feed has no prices and counts as unknown."""
        return self.market.instrument(self.venue, parameters)

    def _each(self, view: Callable[[Instrument], quotes.View]) -> Handler:
        """Make a handler that answers for one symbol, a list of them, or all that are traded."""

        def answer(parameters: Parameters) -> Answer:
            """Answer for the symbols asked for."""
            if "symbol" in parameters:
                return view(self._instrument(parameters))
            if "symbols" in parameters:
                names = json.loads(parameters["symbols"])
                return [view(self._instrument({"symbol": name})) for name in names]
            return [view(instrument) for instrument in self.market.of_venue(self.venue)]

        return answer

    def _ticker(self, instrument: Instrument) -> quotes.View:
        """Return the last 24 hours of a symbol."""
        return quotes.ticker(self.engine.feed, instrument, self.market)

    def _price(self, instrument: Instrument) -> quotes.View:
        """Return the price of a symbol."""
        view: quotes.View = {
            "symbol": instrument.rules.id, "price": self.market.wire.price(instrument.rules, instrument.price),
        }  # fmt: skip
        return view | {"time": self.market.now} if self.venue == "usdm" else view

    def exchange_info(self, parameters: Parameters) -> Answer:
        """Return the listing, whole or of the symbols named; only spot can be asked for some."""
        names = None
        if self.venue == "spot" and ("symbol" in parameters or "symbols" in parameters):
            names = [parameters["symbol"]] if "symbol" in parameters else json.loads(parameters["symbols"])
            if any(name not in self.listing for name in names):
                raise Refusal(-1121)
        return self.listing.body(self._wall_ms(), names)

    def klines(self, parameters: Parameters) -> Answer:
        """Return candles."""
        instrument = self._instrument(parameters)
        span = charts.timeframe_ms(parameters.get("interval", ""), self.engine.feed.timeframe_ms)
        limit = max(1, min(whole(parameters, "limit", 500) or 500, self._longest))
        start, end = whole(parameters, "startTime"), whole(parameters, "endTime")
        candles = charts.history(self.engine.feed, instrument, span, self.market.now, start, end, limit)
        return [charts.row(candle, instrument, span, self.market.wire) for candle in candles]

    def depth(self, parameters: Parameters) -> Answer:
        """Return the book."""
        return quotes.depth(self._instrument(parameters), self.market, whole(parameters, "limit", 500) or 500)

    def trades(self, parameters: Parameters) -> Answer:
        """Return one recent trade at the price now."""
        instrument = self._instrument(parameters)
        event = quotes.trade_event(instrument, self.market, "trade")
        size = instrument.rules.lot.value(instrument.rules.min_lots)
        view = {
            "id": event["t"], "price": event["p"], "qty": event["q"],
            "quoteQty": self.market.wire.money(size * instrument.price), "time": event["T"], "isBuyerMaker": event["m"],
        }  # fmt: skip
        return [view | {"isBestMatch": True} if self.venue == "spot" else view]

    def aggregate_trades(self, parameters: Parameters) -> Answer:
        """Return one aggregate trade at the price now."""
        event = quotes.trade_event(self._instrument(parameters), self.market, "aggTrade")
        view = {name: event[name] for name in ("a", "p", "q", "f", "l", "T", "m")}
        return [view | {"M": True} if self.venue == "spot" else view]

    def funding_rate(self, parameters: Parameters) -> Answer:
        """Return past funding of one symbol."""
        instrument = self._instrument(parameters)
        limit = min(whole(parameters, "limit", 100) or 100, 1000)
        end = whole(parameters, "endTime", self.market.now) or self.market.now
        start = whole(parameters, "startTime")
        if start is not None:
            return quotes.funding_history(self.engine.feed, instrument, self.market, start, end, limit)
        start = end - limit * EIGHT_HOURS_MS
        return quotes.funding_history(self.engine.feed, instrument, self.market, start, end, limit * 2)[-limit:]

    def funding_info(self, parameters: Parameters) -> Answer:
        """Return the funding interval of every traded perpetual."""
        return [
            {
                "symbol": instrument.rules.id, "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000", "fundingIntervalHours": 8, "disclaimer": False,
            }
            for instrument in self.market.of_venue("usdm")
        ]  # fmt: skip

    def average_price(self, parameters: Parameters) -> Answer:
        """Return the average price of the last minutes: the price now."""
        instrument = self._instrument(parameters)
        price = self.market.wire.price(instrument.rules, instrument.price)
        return {"mins": 5, "price": price, "closeTime": self.market.now}

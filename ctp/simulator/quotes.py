"""Public prices: tickers, the synthetic book, trades and mark prices, as replies and as stream events.

Invariant: best bid < best ask, and every level lies on the tick.
"""

from __future__ import annotations

from ctp.simulator.charts import DAY_MS, forming, merge
from ctp.simulator.feed import Candle, Feed
from ctp.simulator.generated import EIGHT_HOURS_MS
from ctp.simulator.instrument import Instrument
from ctp.simulator.market import Market

View = dict[str, object]
Levels = list[tuple[str, str]]
_DEPTH = 20


def levels(instrument: Instrument, market: Market, sign: int, count: int) -> Levels:
    """Return price and size of the best levels of one side: +1 for asks, -1 for bids."""
    rules, half = instrument.rules, market.fills.spread(instrument)
    best = rules.tick.nearest(instrument.price + sign * half)
    other = rules.tick.nearest(instrument.price - sign * half)
    if best == other:
        best += max(0, sign)
    unit = max(1, rules.lot.nearest(20_000 / max(instrument.price, 1e-9)))
    return [
        (
            rules.tick.text(best + sign * step, rules.price_decimals),
            rules.lot.text(unit * (1 + step % 5), rules.size_decimals),
        )
        for step in range(min(count, _DEPTH))
        if best + sign * step > 0
    ]


def depth(instrument: Instrument, market: Market, limit: int) -> View:
    """Return the book as GET depth does."""
    view: View = {"lastUpdateId": instrument.update_id}
    if instrument.rules.venue == "usdm":
        view |= {"E": market.now, "T": market.now}
    view["bids"] = [list(level) for level in levels(instrument, market, -1, limit)]
    view["asks"] = [list(level) for level in levels(instrument, market, 1, limit)]
    return view


def book_ticker(instrument: Instrument, market: Market) -> View:
    """Return best bid and ask as GET ticker/bookTicker does."""
    bid, ask = levels(instrument, market, -1, 1)[0], levels(instrument, market, 1, 1)[0]
    view: View = {
        "symbol": instrument.rules.id, "bidPrice": bid[0], "bidQty": bid[1], "askPrice": ask[0], "askQty": ask[1],
    }  # fmt: skip
    if instrument.rules.venue == "usdm":
        view |= {"time": market.now, "lastUpdateId": instrument.update_id}
    return view


def day(feed: Feed, instrument: Instrument, now: int) -> Candle:
    """Return the last 24 hours as one candle."""
    last = forming(instrument)
    until = last.time - 1 if last is not None else now - 1
    candles = feed.candles(instrument.symbol, now - DAY_MS + 1, until)
    rows = merge(candles, None, 1 << 60)
    if not rows:
        return last or Candle(now, *(instrument.price,) * 4, 0.0)
    held = rows[0]
    if last is None:
        return held
    return Candle(
        now, held.open, max(held.high, last.high), min(held.low, last.low), last.close, held.volume + last.volume
    )


def ticker(feed: Feed, instrument: Instrument, market: Market) -> View:
    """Return the last 24 hours as GET ticker/24hr does."""
    rules, wire = instrument.rules, market.wire
    candle = day(feed, instrument, market.now)
    change = candle.close - candle.open
    view: View = {
        "symbol": rules.id, "priceChange": wire.price(rules, change),
        "priceChangePercent": f"{100 * change / candle.open:.3f}",
        "weightedAvgPrice": wire.price(rules, (candle.open + candle.close) / 2),
        "lastPrice": wire.price(rules, candle.close), "lastQty": rules.lot.text(1, rules.size_decimals),
        "openPrice": wire.price(rules, candle.open), "highPrice": wire.price(rules, candle.high),
        "lowPrice": wire.price(rules, candle.low), "volume": wire.money(candle.volume, rules.size_decimals),
        "quoteVolume": wire.money(candle.volume * candle.close), "openTime": market.now - DAY_MS,
        "closeTime": market.now, "firstId": 1, "lastId": 100, "count": 100,
    }  # fmt: skip
    if rules.venue == "spot":
        best = book_ticker(instrument, market)
        view["prevClosePrice"] = view["openPrice"]
        view |= {name: best[name] for name in ("bidPrice", "bidQty", "askPrice", "askQty")}
    return view


def premium(feed: Feed, instrument: Instrument, market: Market) -> View:
    """Return mark price and funding as GET premiumIndex does."""
    payments = feed.funding(instrument.symbol, market.now - 3 * EIGHT_HOURS_MS, market.now)
    mark = market.wire.money(instrument.mark_price)
    return {
        "symbol": instrument.rules.id, "markPrice": mark, "indexPrice": mark, "estimatedSettlePrice": mark,
        "lastFundingRate": market.wire.money(payments[-1].rate if payments else 0.0001), "interestRate": "0.00010000",
        "nextFundingTime": (market.now // EIGHT_HOURS_MS + 1) * EIGHT_HOURS_MS, "time": market.now,
    }  # fmt: skip


def funding_history(feed: Feed, instrument: Instrument, market: Market, start: int, end: int, limit: int) -> list[View]:
    """Return past funding as GET fundingRate does, never beyond market time."""
    payments = feed.funding(instrument.symbol, start - 1, min(end, market.now))
    return [
        {
            "symbol": instrument.rules.id, "fundingTime": payment.time,
            "fundingRate": market.wire.money(payment.rate), "markPrice": "",
        }
        for payment in payments[:limit]
    ]  # fmt: skip


# stream events


def trade_event(instrument: Instrument, market: Market, name: str) -> View:
    """Return `trade` or `aggTrade` at the price now."""
    number, rules = instrument.update_id, instrument.rules
    view: View = {
        "e": name, "E": market.now, "s": rules.id, "p": market.wire.price(rules, instrument.price),
        "q": rules.lot.text(rules.min_lots, rules.size_decimals), "T": market.now,
        "m": bool(number % 2),
    }  # fmt: skip
    return view | ({"t": number} if name == "trade" else {"a": number, "f": number, "l": number})


def book_ticker_event(instrument: Instrument, market: Market) -> View:
    """Return `bookTicker`; on spot it comes without a name and a time."""
    view = book_ticker(instrument, market)
    event: View = {
        "u": instrument.update_id, "s": view["symbol"], "b": view["bidPrice"], "B": view["bidQty"],
        "a": view["askPrice"], "A": view["askQty"],
    }  # fmt: skip
    if instrument.rules.venue == "usdm":
        event |= {"e": "bookTicker", "E": market.now, "T": market.now}
    return event


def ticker_event(feed: Feed, instrument: Instrument, market: Market, *, short: bool) -> View:
    """Return `24hrTicker`, or `24hrMiniTicker` when short."""
    view = ticker(feed, instrument, market)
    event: View = {
        "e": "24hrMiniTicker" if short else "24hrTicker", "E": market.now, "s": view["symbol"], "c": view["lastPrice"],
        "o": view["openPrice"], "h": view["highPrice"], "l": view["lowPrice"], "v": view["volume"],
        "q": view["quoteVolume"],
    }  # fmt: skip
    if not short:
        event |= {
            "p": view["priceChange"], "P": view["priceChangePercent"], "w": view["weightedAvgPrice"],
            "Q": view["lastQty"], "O": view["openTime"], "C": view["closeTime"], "F": 1, "L": 100, "n": 100,
        }  # fmt: skip
        if instrument.rules.venue == "spot":
            event |= {
                "x": view["prevClosePrice"], "b": view["bidPrice"], "B": view["bidQty"], "a": view["askPrice"],
                "A": view["askQty"],
            }  # fmt: skip
    return event


def mark_event(feed: Feed, instrument: Instrument, market: Market) -> View:
    """Return `markPriceUpdate`."""
    view = premium(feed, instrument, market)
    return {
        "e": "markPriceUpdate", "E": market.now, "s": view["symbol"], "p": view["markPrice"], "i": view["indexPrice"],
        "P": view["estimatedSettlePrice"], "r": view["lastFundingRate"], "T": view["nextFundingTime"],
    }  # fmt: skip


def both_sides(instrument: Instrument, market: Market) -> tuple[Levels, Levels]:
    """Return bids and asks to the full depth of the synthetic book."""
    return levels(instrument, market, -1, _DEPTH), levels(instrument, market, 1, _DEPTH)


def depth_event(
    instrument: Instrument, market: Market, before: tuple[Levels, Levels]
) -> tuple[View, tuple[Levels, Levels]]:
    """Return `depthUpdate` from the levels sent before to those of now, and the latter."""
    now = both_sides(instrument, market)
    changes = []
    for old, new in zip(before, now, strict=True):
        kept = {price for price, _ in new}
        gone = [[price, "0"] for price, _ in old if price not in kept]
        changes.append(gone + [list(level) for level in new])
    event: View = {
        "e": "depthUpdate", "E": market.now, "s": instrument.rules.id, "U": instrument.update_id, "u": instrument.update_id,
        "b": changes[0], "a": changes[1],
    }  # fmt: skip
    if instrument.rules.venue == "usdm":
        event |= {"T": market.now, "pu": instrument.update_id - 1}
    return event, now

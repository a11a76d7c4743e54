"""The trades closed in the period with their reasons, what is still open, and why there was no trade."""

from __future__ import annotations

import json

from markupsafe import Markup

from ctp.reports.extracted import TradeRow
from ctp.reports.figures import OpenPosition
from ctp.reports.html import table, tag
from ctp.reports.told import Told
from ctp.trading.why import why

MOST_TRADES = 500  # a page with more would not open on a phone; the rest is counted
MOST_OPEN = 12  # trades shown with everything; of more, each unfolds when asked
_MOST_REASONS = 6


def trades(told: Told) -> Markup:
    """List the trades, each with why it was opened and closed."""
    words, closed = told.words, told.figures.trades
    title = tag("h2", words.say("trades.title"))
    if not closed:
        return tag("section", title, tag("p", words.say("trades.none"), class_="soft"))
    is_open = "" if len(closed) <= MOST_OPEN else None
    rows = [_trade(told, one, is_open) for one in closed[-MOST_TRADES:]]
    parts: list[object] = [title, tag("ol", rows, class_="trades")]
    if is_open is None:
        parts.insert(1, tag("p", words.say("trades.unfold"), class_="soft small screen"))
    if len(closed) > MOST_TRADES:
        parts.insert(1, tag("p", words.say("trades.cut", shown=MOST_TRADES, trades=len(closed)), class_="note"))
    return tag("section", parts)


def _trade(told: Told, one: TradeRow, is_open: str | None) -> Markup:
    """Show one trade: what, what it brought and why it was closed; unfolded, from where to where and why it was opened.

    is_open: an empty text to show it unfolded.
    """
    words = told.words
    side = tag("span", words.word("side", one.side), class_="side")
    reason = words.word("exit_reason", one.exit_reason)
    what = tag("span", tag("strong", words.symbol(one.symbol)), " ", side, " ", tag("span", reason, class_="soft"))
    multiple = f"{one.r_multiple:+.2f} R".replace("-", "−") if one.r_multiple == one.r_multiple else ""
    brought = tag("span", words.gain(one.pnl), tag("small", multiple), class_="brought")
    way = words.say(
        "trades.way",
        entry=words.price(one.entry_price),
        exit=words.price(one.exit_price),
        start=words.clock(one.entry_time),
        end=words.clock(one.exit_time),
    )
    more = [tag("p", way, class_="num")]
    if one.entry_numbers:
        numbers = json.loads(one.entry_numbers)
        entered = why("enter", "entry_signal", numbers, words.language, words.quote, one.entry_strategy)
        more.append(tag("p", words.say("trades.entered", reason=entered)))
    costs = words.say("trades.costs", fee=words.money(one.fee), funding=words.money(one.funding, signed=True))
    more.append(tag("p", costs, class_="soft small"))
    return tag("li", tag("details", tag("summary", what, brought), more, open=is_open))


def positions(told: Told) -> Markup:
    """Show what was open at the end."""
    words, held = told.words, told.figures.positions
    title = tag("h2", words.say("positions.title"))
    if not held:
        return tag("section", title, tag("p", words.say("positions.none"), class_="soft"))
    columns = [words.say(f"positions.{name}") for name in ("symbol", "side", "size", "entry", "close", "open", "stop")]
    return tag("section", title, table(columns, [_position(told, one) for one in held], numeric=range(2, 7), wide=True))


def _position(told: Told, one: OpenPosition) -> list[object]:
    """Return an open position as a row."""
    words, size, entry = told.words, one.holding.size, one.holding.entry_price
    side = words.word("side", "long" if size > 0 else "short")
    gain: object = "–"
    if one.close is not None:
        gain = words.gain(float(size) * (one.close - float(entry)))
    shown = format(abs(size).normalize(), "f")
    marks = ["–" if value is None else words.price(value) for value in (one.close, one.stop)]
    return [words.symbol(one.symbol), side, shown, words.price(entry), marks[0], gain, marks[1]]


def untraded(told: Told) -> Markup:
    """Count how the decisions came out: most closes lead to no trade, and here is why."""
    words, counts = told.words, told.extract.outcomes
    title = tag("h2", words.say("untraded.title"))
    total = sum(one.times for one in counts)
    if not total:
        return tag("section", title, tag("p", words.say("untraded.none"), class_="soft"))
    times: dict[str, int] = {}  # rules of a strategy that is not at hand here share their outcome's name
    for one in counts:
        key = "refusal" if one.outcome == "refused" else "report.outcome"
        reason = words.word(key, one.reason if one.outcome == "refused" else f"{one.outcome}_{one.reason}")
        if one.outcome != "refused" and reason == f"{one.outcome}_{one.reason}":
            reason = words.word("outcome", one.outcome)
        times[reason] = times.get(reason, 0) + one.times
    most = sorted(times.items(), key=lambda item: -item[1])[:_MOST_REASONS]
    rows = [[reason, f"{count:,}", words.percent(count / total, places=0)] for reason, count in most]
    columns = [words.say(f"untraded.{name}") for name in ("reason", "count", "share")]
    return tag(
        "section",
        title,
        tag("p", words.say("untraded.total", count=f"{total:,}")),
        table(columns, rows, numeric=(1, 2)),
    )

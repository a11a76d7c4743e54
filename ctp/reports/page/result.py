"""Where the result came from, how equity went, and day, week and month side by side."""

from __future__ import annotations

from decimal import Decimal

from markupsafe import Markup

from ctp.reports.charts import Dot, Label, Line, Rule, chart
from ctp.reports.figures import NOT_TRADES, NOTHING, Cause, Span
from ctp.reports.html import table, tag
from ctp.reports.told import Told
from ctp.reports.words import Words

MOST_DOTS = 40  # more would hide the line


def causes(told: Told) -> Markup:
    """Split the result into its causes, as bars from a common middle that add up to it."""
    words, span = told.words, told.figures.span
    title = tag("h2", words.say("causes.title"))
    if not span.causes:
        return tag("section", title, tag("p", words.say("causes.none"), class_="soft"))
    largest = max(abs(one.amount) for one in span.causes)
    rows = [_cause(cause_words(words, one), words.gain(one.amount), one.amount, largest) for one in span.causes]
    total = tag("li", tag("span", words.say("causes.total")), tag("i"), words.gain(span.pnl), class_="total")
    return tag("section", title, tag("ul", rows, total, class_="causes"))


def cause_words(words: Words, one: Cause) -> str:
    """Return what brought a part of the result, with how often where it was trades."""
    name = words.say(f"causes.{one.name}") if one.name in NOT_TRADES else words.word("exit_reason", one.name)
    return words.say("causes.times", name=name, count=one.times) if one.times else name


def _cause(name: str, amount: Markup, value: Decimal, largest: Decimal) -> Markup:
    """Draw one cause."""
    width = float(abs(value) / largest) * 50 if largest else 0.0
    kind, side = ("up", "left:50%") if value > 0 else ("down", "right:50%")
    bar = tag("i", tag("b", class_=kind, style=f"{side};width:{width:.1f}%"))
    return tag("li", tag("span", name), bar, amount)


def course(told: Told) -> Markup:
    """Draw equity over the period, with the limit of each day and the trades closed."""
    words, extract, span = told.words, told.extract, told.figures.span
    if span.start is None and span.end is None:
        return Markup()
    since = span.start.time if span.start else extract.equity[0].time
    until = span.end.time if span.end else since
    points = [(float(row.time), row.equity) for row in extract.equity if since <= row.time <= until]
    if len(points) < 2:
        return tag("section", tag("h2", words.say("course.title")), tag("p", words.say("course.short"), class_="soft"))
    begun, limit = points[0][1], float(extract.limits["daily_loss_limit"])
    rules = [Rule(begun, words.say("course.begin"), "base")]
    if extract.period.kind == "daily" and min(value for _, value in points) < begun * (1 - limit / 2):
        rules.append(
            Rule(begun * (1 - limit), words.say("course.limit", limit=words.percent(limit, places=0)), "limit")
        )
    dots, closed = [], told.figures.trades
    for trade in closed if len(closed) <= MOST_DOTS else ():
        near = min(points, key=lambda point, time=trade.exit_time: abs(point[0] - time))  # type: ignore[misc]
        dots.append(Dot(near[0], near[1], "up" if trade.pnl > 0 else "down"))
    places = [points[0][0] + (points[-1][0] - points[0][0]) * part / 4 for part in range(5)]
    labels = [Label(place, words.hour_or_day(int(place), until - since)) for place in places]
    summary = words.say("course.summary", first=words.money(begun), last=words.money(points[-1][1]))
    drawn = chart(
        summary=summary, lines=[Line(points, "equity")], rules=rules, dots=dots, labels=labels,
        format_value=lambda value: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}",
    )  # fmt: skip
    key = words.say("course.key" if dots else "course.times")
    return tag("section", tag("h2", words.say("course.title")), drawn, tag("p", key, class_="soft small"))


def spans(told: Told) -> Markup:
    """Put the period beside its week and its month."""
    words, figures, period = told.words, told.figures, told.extract.period
    shown = [(f"span.{period.kind}", figures.span)]
    shown += [("span.week_so_far", figures.week)] if period.kind == "daily" else []
    shown += [("span.month_so_far", figures.month)] if period.kind != "monthly" else []
    columns = [
        words.say(f"span.{name}") for name in ("when", "pnl", "return", "trades", "realised", "fees", "funding", "open")
    ]
    rows = [_span_row(told, words.say(key), span) for key, span in shown]
    parts = [tag("h2", words.say("span.title")), table(columns, rows, numeric=range(1, 8), wide=True)]
    if any(span.transfers for _, span in shown):
        parts.append(
            tag(
                "p",
                words.say("span.transfers", amount=words.money(figures.month.transfers, signed=True)),
                class_="note",
            )
        )
    return tag("section", parts)


def _span_row(told: Told, name: str, span: Span) -> list[object]:
    """Return a stretch of time as a row."""
    words = told.words
    if span.end is None:
        return [name, *["–"] * 7]
    wins = words.say("span.wins", trades=span.trades, wins=span.wins) if span.trades else "0"
    return [
        name,
        words.gain(span.pnl),
        words.rate(span.fraction),
        wins,
        words.gain(span.realised),
        words.gain(-span.fees),
        words.gain(span.funding) if span.funding else words.money(NOTHING),
        words.gain(span.open_change),
    ]

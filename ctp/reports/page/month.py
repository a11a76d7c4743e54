"""The month so far, beside the target and beside what these parameters did in past months."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ctp.reports.charts import Band, Label, Line, Rule, bars, chart
from ctp.reports.figures import TARGET_HIGH, TARGET_LOW
from ctp.reports.html import table, tag
from ctp.reports.months import FEW_MONTHS, at_day, past_months, quantile, so_far, worse_months
from ctp.reports.periods import period_of
from ctp.reports.told import Told


def month(told: Told) -> Markup:
    """Draw this month's way between the target and past months, and say where it stands."""
    words, extract = told.words, told.extract
    title = tag("h2", words.say("month_part.title"))
    if told.figures.month.fraction is None:
        return tag("section", title, tag("p", words.say("month_part.nothing"), class_="soft"))
    ours = so_far(told.extract, told.figures)
    evidence = extract.evidence
    months = past_months(extract)
    parts: list[object] = [title, _drawn(told, ours, months), tag("p", _standing(told, ours, months))]
    if months:
        parts += [_table(told, months), tag("p", _source(told, evidence, months), class_="soft small")]
    else:
        parts.append(tag("p", words.say(f"evidence.{evidence['state']}"), class_="note"))
    parts.append(tag("p", words.say("evidence.target"), class_="soft small"))
    return tag("section", parts)


def daily(told: Told) -> Markup:
    """Draw the result of each day of the month so far."""
    words, first = told.words, period_of("monthly", told.extract.period.last, told.extract.zone).first
    begin = min(first, told.extract.period.first)
    days = [day for day in told.figures.days if day.day >= begin]
    if len(days) < 2 or not any(day.pnl for day in days):
        return Markup()
    step = max(1, len(days) // 8)
    labels = [Label(number, str(day.day.day)) for number, day in enumerate(days) if number % step == 0]
    values = [float(day.pnl) for day in days]
    best, worst = max(days, key=lambda day: day.pnl), min(days, key=lambda day: day.pnl)
    summary = words.say("daily.summary", days=len(days))
    drawn = bars(summary=summary, values=values, labels=labels, format_value=lambda value: f"{value:,.0f}")
    told_words = words.say(
        "daily.best_worst",
        best=words.money(best.pnl, signed=True),
        best_day=words.day(best.day),
        worst=words.money(worst.pnl, signed=True),
        worst_day=words.day(worst.day),
    )
    return tag("section", tag("h2", words.say("daily.title")), drawn, tag("p", told_words, class_="soft small"))


def _drawn(told: Told, ours: list[float], months: list[dict[str, Any]]) -> Markup:
    """Draw the month, the target, and the spread of past months where there is one."""
    words = told.words
    length = period_of("monthly", told.extract.period.last, told.extract.zone).last.day
    bands, lines = [], []
    if months:
        places = [float(day) for day in range(length + 1)]
        spread = [[0.0], *([at_day(month["days"], day) for month in months] for day in range(1, length + 1))]
        for low, high, kind in ((0.1, 0.9, "outer"), (0.25, 0.75, "inner")):
            lower, upper = ([quantile(one, part) for one in spread] for part in (low, high))
            bands.append(Band(places, lower, upper, kind))
        lines.append(Line([(place, quantile(one, 0.5)) for place, one in zip(places, spread, strict=True)], "median"))
    lines.append(Line([(0.0, 0.0), *((float(day), value) for day, value in enumerate(ours, 1))], "ours"))
    lines.append(Line([(0.0, 0.0), (float(length), 0.0)], "zero"))
    labels = [Label(float(day), str(day)) for day in (1, 8, 15, 22, length)]
    rules = [
        Rule(value, words.say("month_part.target", target=words.percent(value, places=0)), "target")
        for value in (TARGET_LOW, TARGET_HIGH)
    ]
    key = [tag("span", words.say("month_part.key_ours"), class_="key ours")]
    if months:
        key += [
            tag("span", words.say(f"month_part.key_{name}"), class_=f"key {name}")
            for name in ("median", "inner", "outer")
        ]
    summary = words.say("month_part.summary", value=words.percent(ours[-1] if ours else 0.0, signed=True))
    drawn = chart(
        summary=summary,
        bands=bands,
        lines=lines,
        rules=rules,
        labels=labels,
        format_value=lambda value: words.percent(value, places=1, signed=True),
    )
    return tag("div", drawn, tag("p", key, class_="keys"))


def _standing(told: Told, ours: list[float], months: list[dict[str, Any]]) -> str:
    """Say where the month stands against the target, and among past months at the same day."""
    words, value = told.words, ours[-1] if ours else 0.0
    shown = words.percent(value, signed=True)
    if value >= TARGET_LOW:
        sentence = words.say("month_part.reached", value=shown)
    else:
        sentence = words.say("month_part.below", value=shown, left=words.percent(TARGET_LOW - value))
    if not months:
        return sentence
    better = worse_months(value, len(ours), months)
    return f"{sentence} {words.say('month_part.rank', better=better, months=len(months), days=len(ours))}"


def _table(told: Told, months: list[dict[str, Any]]) -> Markup:
    """Show the distribution of whole months."""
    words, values = told.words, [month["value"] for month in months]
    share = sum(value >= TARGET_LOW for value in values) / len(values)
    lost = sum(value < 0 for value in values) / len(values)
    columns = [
        words.say(f"evidence.{name}")
        for name in ("worst", "quarter", "median", "three_quarters", "best", "at_target", "losing")
    ]
    rates = [words.rate(quantile(values, part)) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    row = [*rates, words.percent(share, places=0), words.percent(lost, places=0)]
    return table(columns, [row], numeric=range(7), wide=True)


def _source(told: Told, evidence: Any, months: list[dict[str, Any]]) -> str:
    """Say what the distribution was measured on."""
    words = told.words
    facts = {name: evidence[name] for name in ("first_candle", "last_candle", "trades")}
    sentences = [words.say("evidence.source", symbols=", ".join(evidence["symbols"]), months=len(months), **facts)]
    if len(months) < FEW_MONTHS:
        sentences.append(words.say("evidence.few"))
    if any(":" in symbol for symbol in evidence["symbols"]) and not evidence["has_funding"]:
        sentences.append(words.say("evidence.no_funding"))
    if told.extract.account["is_generated"]:
        sentences.append(words.say("evidence.other_market"))
    return " ".join(sentences)

"""The first screen: whose report, how much, why in one sentence, how far from the limits, is anything wrong."""

from __future__ import annotations

from decimal import Decimal

from markupsafe import Markup

from ctp.reports.figures import RISK_CEILING, TARGET_HIGH, TARGET_LOW
from ctp.reports.findings import Finding
from ctp.reports.html import tag
from ctp.reports.page.result import cause_words
from ctp.reports.told import Told
from ctp.reports.words import Words


def header(told: Told) -> Markup:
    """Say whose report this is, on what, and whether the money is real."""
    words, account, period = told.words, told.extract.account, told.extract.period
    when = words.day(period.first)
    if period.first != period.last:
        when = words.say("from_to", first=when, last=words.day(period.last))
    badge = tag("span", words.word("mode", account["mode"]), class_=f"badge {account['mode']}")
    facts = [words.word("exchange", account["exchange"]), account["timeframe"]]
    facts += [words.say("owner", owner=account["owner"])] if account["owner"] else []
    notes = [words.say(f"note.{name}") for name in ("is_generated", "has_own_time") if account[name]]
    return tag(
        "header",
        tag("p", badge, tag("strong", account["name"]), tag("span", " · ".join(facts), class_="soft"), class_="whose"),
        tag("h1", words.say(f"title.{period.kind}")),
        tag("p", when, tag("span", words.say("days_of", zone=words.day_zone), class_="soft"), class_="when"),
        [tag("p", note, class_="note") for note in notes],
    )


def verdict(told: Told) -> Markup:
    """Say in one or two sentences how it went and whether something needs a look."""
    words, span = told.words, told.figures.span
    if span.end is None:
        return tag("section", tag("p", words.say("verdict.never"), class_="lead"), class_="verdict")
    if span.trades:
        closed = words.say("verdict.trades", trades=span.trades, wins=span.wins)
    else:
        closed = words.say("verdict.no_trades" if not told.figures.positions else "verdict.only_open")
    headline = tag("p", words.gain(span.pnl), " ", words.rate(span.fraction), class_="headline")
    if span.causes:
        first = span.causes[0]
        amount = words.money(first.amount, signed=True)
        closed = f"{closed} {words.say('verdict.mainly', cause=cause_words(words, first), amount=amount)}"
    return tag("section", headline, tag("p", closed, class_="lead"), attention(told), class_="verdict")


def attention(told: Told) -> Markup:
    """List what needs a person's eye, or say that nothing does."""
    if not told.findings:
        return tag("p", told.words.say("all_well"), class_="well")
    return tag(
        "ul", [tag("li", finding_words(told.words, one), class_=one.level) for one in told.findings], class_="findings"
    )


def finding_words(words: Words, one: Finding) -> str:
    """Return a finding in words."""
    shown = {}
    for name, value in one.facts.items():
        if name in ("fraction", "limit"):
            shown[name] = words.percent(float(value))
        elif name == "longest_ms":
            shown["longest"] = words.duration(int(value))
        elif isinstance(value, Decimal):
            shown[name] = words.money(value)
        elif name == "reason":
            shown[name] = words.word("exit_reason", str(value))
        else:
            shown[name] = str(value)
    return words.say(f"finding.{one.key}", **shown)


def tiles(told: Told) -> Markup:
    """Show the four figures a trader looks for: worth, month, distance to the day's limit, largest loss."""
    words, figures = told.words, told.figures
    if figures.span.end is None:
        return Markup()
    limit = float(told.extract.limits["daily_loss_limit"])
    worst = figures.worst.worst_fraction if figures.worst else None
    month = figures.month.fraction
    target = words.say(
        "tile.target", low=words.percent(TARGET_LOW, places=0), high=words.percent(TARGET_HIGH, places=0)
    )
    made = [
        _tile(words.say("tile.equity"), words.money(figures.span.end.equity),
              words.say("tile.capital", capital=words.money(figures.capital))),
        _tile(words.say("tile.month"), words.rate(month), target, share=None if month is None else month / TARGET_LOW),
        _tile(words.say("tile.worst"), "–" if worst is None else words.percent(worst),
              words.say("tile.of_limit", limit=words.percent(limit)), used=_used(worst, limit)),
        _tile(words.say("tile.largest"), "–" if figures.largest_loss is None else words.percent(figures.largest_loss),
              words.say("tile.of_ceiling", limit=words.percent(RISK_CEILING)), used=_used(figures.largest_loss, RISK_CEILING)),
    ]  # fmt: skip
    return tag("section", made, class_="tiles")


def _used(value: float | None, limit: float) -> float | None:
    """Return how much of a limit is used."""
    return None if value is None else value / limit if limit > 0 else 1.0


def _tile(name: str, value: object, below: str, *, used: float | None = None, share: float | None = None) -> Markup:
    """Show one figure; used: part of a limit, the less the better; share: part of a target, the more the better."""
    bar = None
    if used is not None:
        kind = "over" if used >= 1 else "near" if used >= 0.7 else "far"
        bar = _bar(used, kind)
    elif share is not None:
        bar = _bar(share, "goal")
    return tag(
        "div", tag("h2", name), tag("p", value, class_="big"), bar, tag("p", below, class_="soft"), class_="tile"
    )


def _bar(part: float, kind: str) -> Markup:
    """Draw how much of something is reached."""
    width = max(0.0, min(1.0, part)) * 100
    return tag("div", tag("i", style=f"width:{width:.1f}%"), class_=f"gauge {kind}", aria_hidden="true")

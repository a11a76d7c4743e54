"""How much risk was used, what trading cost, and what tomorrow begins with."""

from __future__ import annotations

from markupsafe import Markup

from ctp.reports.figures import DAILY_CEILING, RISK_CEILING
from ctp.reports.html import table, tag
from ctp.reports.told import Told


def risk(told: Told) -> Markup:
    """Put the largest loss and the worst day beside what is allowed."""
    words, figures, limits = told.words, told.figures, told.extract.limits
    rows = [
        [
            words.say("risk.largest"),
            "–" if figures.largest_loss is None else words.percent(figures.largest_loss),
            words.percent(float(limits["risk_per_trade"])),
            words.percent(RISK_CEILING),
        ],
        [
            words.say("risk.worst")
            + (f" ({words.day(figures.worst.day)})" if _several(told) and figures.worst else ""),
            "–" if figures.worst is None else words.percent(figures.worst.worst_fraction or 0.0),
            words.percent(float(limits["daily_loss_limit"])),
            words.percent(DAILY_CEILING),
        ],
    ]
    columns = [words.say(f"risk.{name}") for name in ("what", "used", "set", "ceiling")]
    notes = [tag("p", words.say("risk.explained"), class_="soft small")]
    return tag("section", tag("h2", words.say("risk.title")), table(columns, rows, numeric=(1, 2, 3)), notes)


def costs(told: Told) -> Markup:
    """Show what fees, funding and slippage took."""
    words, span, slippage = told.words, told.figures.span, told.figures.slippage
    base = span.start.equity if span.start else told.figures.capital
    shown = [("fees", -span.fees), ("funding", span.funding), ("slippage", -slippage.cost)]
    rows = []
    for name, amount in shown:
        share = words.percent(float(amount / base), places=3, signed=True) if base else "–"
        rows.append([words.say(f"costs.{name}"), words.gain(amount) if amount else words.money(amount), share])
    columns = [words.say(f"costs.{name}") for name in ("what", "amount", "share")]
    note = words.say("costs.no_fills")
    if slippage.notional:
        points = float(slippage.cost / slippage.notional) * 10_000
        note = words.say("costs.explained", fills=slippage.fills, points=f"{points:+.2f}".replace("-", "−"))
    return tag(
        "section",
        tag("h2", words.say("costs.title")),
        table(columns, rows, numeric=(1, 2)),
        tag("p", note, class_="soft small"),
    )


def tomorrow(told: Told) -> Markup:
    """Say which locks hold when trading goes on, and by how much the next entry is smaller."""
    words, state, limits = told.words, told.extract.state, told.extract.limits
    title = tag("h2", words.say("tomorrow.title"))
    if state is None or not state["is_started"]:
        return tag("section", title, tag("p", words.say("tomorrow.never"), class_="soft"))
    lines = [words.say("tomorrow.status", status=words.word("status", state["status"]))]
    lines.append(words.say("tomorrow.daily_locked" if state["daily_locked"] else "tomorrow.daily_free"))
    if state["drawdown_locked"]:
        lines.append(words.say("tomorrow.drawdown_locked"))
    elif state["peak"] and state["equity"] and limits["max_drawdown"] < 1:
        fallen = max(0.0, 1.0 - state["equity"] / state["peak"])
        facts = {"fallen": words.percent(fallen), "limit": words.percent(float(limits["max_drawdown"]), places=0)}
        lines.append(words.say("tomorrow.drawdown", **facts))
    factor = streak_factor(int(state["losses"]), limits)
    if factor < 1.0:
        lines.append(words.say("tomorrow.smaller", losses=state["losses"], part=words.percent(factor, places=0)))
    else:
        lines.append(words.say("tomorrow.full", risk=words.percent(float(limits["risk_per_trade"]))))
    as_of = tag("p", words.say("tomorrow.as_of", time=words.moment(state["updated_at"])), class_="soft small")
    return tag("section", title, tag("ul", [tag("li", line) for line in lines]), as_of)


def streak_factor(losses: int, limits: object) -> float:
    """Return the part of the usual risk that the next entry may take after losses in a row (semantics §4)."""
    told = dict(limits)  # type: ignore[call-overload]
    factor = 1.0
    for _ in range(losses - int(told["loss_streak"]) + 1):
        factor *= float(told["shrink"])
    return max(float(told["shrink_floor"]), factor)


def _several(told: Told) -> bool:
    """Tell whether the report is about more than one day."""
    return told.extract.period.first != told.extract.period.last

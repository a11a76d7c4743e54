"""What happened around the trading: outages, trouble, what people asked for, changed parameters; and other rooms' parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from ctp.i18n import has_text, text
from ctp.reports.extracted import Extract
from ctp.reports.html import table, tag
from ctp.reports.outages import Outage, outages
from ctp.reports.told import Told

_MOST_ROWS = 40


def operation(told: Told) -> Markup:
    """List outages and errors, or say that there were none."""
    words, found = told.words, outages(told.extract)
    rows: list[list[object]] = [_outage(told, one) for one in found[:_MOST_ROWS]]
    for one in told.extract.trouble[:_MOST_ROWS]:
        key = f"problem.{one.what}.title"
        problem = text(key if has_text(key) else "problem.other.title", words.language)
        about = f"{problem} · {words.symbol(one.symbol)}" if one.symbol else problem
        rows.append([words.moment(one.created_at), words.say("operation.error"), about])
    title = tag("h2", words.say("operation.title"))
    if not rows:
        return tag("section", title, tag("p", words.say("operation.none"), class_="well"))
    columns = [words.say(f"operation.{name}") for name in ("when", "kind", "what")]
    return tag("section", title, table(columns, rows))


def _outage(told: Told, one: Outage) -> list[object]:
    """Return an outage as a row."""
    words = told.words
    key = "operation.late_row" if one.was_made_up else "operation.missing_row"
    kind = words.say("operation.late" if one.was_made_up else "operation.missing")
    told_words = words.say(key, candles=one.candles, length=words.duration(one.end_ms - one.start_ms))
    return [words.moment(one.start_ms), kind, told_words]


def people(told: Told) -> Markup:
    """List what people asked of the bot and which parameters changed."""
    words, extract = told.words, told.extract
    asked = [
        [
            words.moment(one.asked_at),
            words.word("command", one.kind),
            one.asked_by or one.door,
            _result(told, one.result),
        ]
        for one in extract.commands[-_MOST_ROWS:]
    ]
    changed = _changes(extract)
    title = tag("h2", words.say("people.title"))
    if not asked and not changed:
        return tag("section", title, tag("p", words.say("people.none"), class_="soft"))
    parts: list[object] = [title]
    if asked:
        columns = [words.say(f"people.{name}") for name in ("when", "command", "who", "result")]
        parts.append(table(columns, asked))
    for one in changed:
        facts = {"version": one["version"], "time": words.moment(one["since"]), "reason": one["reason"]}
        parts.append(tag("p", words.say("people.parameters", **facts), class_="note"))
    return tag("section", parts)


def _result(told: Told, result: str) -> str:
    """Return how a command ended."""
    if result == "done":
        return told.words.say("people.done")
    return result or told.words.say("people.open")


def _changes(extract: Extract) -> list[dict[str, Any]]:
    """Return the parameter versions that came into force within the period, each with its first close."""
    known = {one["version"]: one for one in extract.about["parameters"]}
    found, last = [], None
    for row in extract.decisions:
        if last is not None and row.parameter_version != last and row.close_time >= extract.period.start_ms:
            version = known.get(row.parameter_version, {"version": row.parameter_version, "reason": ""})
            found.append({**version, "since": row.close_time})
        last = row.parameter_version
    return found


def section(told: Told, name: str) -> Markup:
    """Show another room's part; one that has nothing yet says so."""
    words = told.words
    for one in told.extract.about["sections"]:
        if one["name"] == name:
            parts: list[object] = [tag("h2", words.say(f"{name}.title")), _told(told, one)]
            if one["rows"]:
                parts.append(table([text(key, words.language) for key in one["columns"]], one["rows"], wide=True))
            return tag("section", parts)
    return Markup()


def _told(told: Told, one: Mapping[str, Any]) -> Markup:
    """Return a section's sentence in the reader's language."""
    kind = {"good": "well", "attention": "attention"}.get(one["state"], "note")
    return tag("p", text(one["sentence"], told.words.language, **one["facts"]), class_=kind)


def footer(told: Told) -> Markup:
    """Say when the report was made and what it rests on."""
    words, about = told.words, told.extract.about
    lines = [
        words.say("footer.made", time=words.moment(about["made_at"]), zone=words.zone),
        words.say("footer.method"),
        words.say("footer.target"),
    ]
    return tag("footer", [tag("p", line) for line in lines])

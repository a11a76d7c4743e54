"""A validation in words and tables: one page, in Korean or English, as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ctp.errors import InputError
from ctp.i18n import LANGUAGES, number, percent, text
from ctp.research.metrics import iso_time

if TYPE_CHECKING:
    from ctp.research.validation.outcome import Band, Validation, WalkForward

MARKS = {"green": "●", "amber": "▲", "red": "■"}  # told apart without colour too
COLOURS = {"green": "#1f9d78", "amber": "#b7791f", "red": "#c53030"}


class Section(NamedTuple):
    """A heading, rows of a table, and a sentence under it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class Report(NamedTuple):
    """What people read. `str` gives plain text; notebooks show HTML."""

    colour: str
    headline: str
    subject: str
    reasons: Sequence[str]
    sections: Sequence[Section]
    notes: Sequence[str]

    @classmethod
    def of(cls, found: Validation, language: str) -> Report:
        """Write the report. Raises InputError for a language there is not."""
        if language not in LANGUAGES:
            raise InputError("language", language, "must be one of " + ", ".join(LANGUAGES))
        words = _Words(language)
        return cls(
            found.verdict,
            words(f"verdict.{found.verdict}"),
            _subject(found, words),
            [reason.words(language) for reason in found.reasons],
            [each for each in _sections(found, words) if each.rows],
            [words("target"), *([] if found.deflated.from_ledger else [words("no_ledger")]), *found.notes],
        )

    def __str__(self) -> str:
        """Return the report as plain text."""
        lines = [f"{MARKS[self.colour]} {self.headline}", self.subject, ""]
        for place, reason in enumerate(self.reasons, 1):
            lines.append(f"{place}. {reason}" if place <= 3 else f"   {reason}")
        for section in self.sections:
            lines += ["", section.title, *_aligned([section.columns, *section.rows])]
            if section.note:
                lines.append(section.note)
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the text: a program's shell shows it whole."""
        return str(self)

    def _repr_html_(self) -> str:
        """Return the report as a notebook shows it."""
        escape = html.escape
        colour = COLOURS[self.colour]
        parts = [
            f'<h3 style="color:{colour}">{MARKS[self.colour]} {escape(self.headline)}</h3><p>{escape(self.subject)}</p>',
            "<ol>" + "".join(f"<li>{escape(reason)}</li>" for reason in self.reasons) + "</ol>",
        ]
        for section in self.sections:
            head = "".join(f"<th>{escape(name)}</th>" for name in section.columns)
            rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in section.rows)
            parts.append(f"<h4>{escape(section.title)}</h4><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
            if section.note:
                parts.append(f"<p>{escape(section.note)}</p>")
        parts.append("<ul>" + "".join(f"<li>{escape(note)}</li>" for note in self.notes) + "</ul>")
        return "".join(parts)


class _Words:
    """Texts of the report's own table in one language."""

    def __init__(self, language: str) -> None:
        """Take the language."""
        self.language = language

    def __call__(self, key: str, **facts: object) -> str:
        """Return a text."""
        return text(f"validation.{key}", self.language, **facts)


def _subject(found: Validation, words: _Words) -> str:
    """Say what was validated."""
    shown = {name: getattr(found.strategy, name, getattr(found.risk, name, None)) for name in found.axes}
    return words(
        "subject",
        symbols=", ".join(found.symbols),
        timeframe=found.timeframe,
        exchange=found.exchange,
        start=iso_time(found.start)[:10],
        end=iso_time(found.end)[:10],
        parameters=", ".join(f"{name} {_value(value)}" for name, value in shown.items()) or "-",
        combinations=number(found.combinations, 0),
    )


def _value(value: object) -> str:
    """Return a parameter's value."""
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _sections(found: Validation, words: _Words) -> list[Section]:
    """Return every table of the report."""
    return [
        _walked(found, words),
        Section(
            words("title.folds"),
            [words(f"column.{name}") for name in ("test", "chosen", "train_sharpe", "return", "trades")],
            [
                (
                    f"{iso_time(fold.test_start)[:10]} – {iso_time(fold.test_end)[:10]}",
                    ", ".join(f"{name} {_value(value)}" for name, value in fold.parameters.items()) or "-",
                    _ratio(fold.train_sharpe),
                    percent(fold.test_return, 1, signed=True),
                    str(fold.trades),
                )
                for fold in found.anchored.folds
            ],
        ),
        _luck(found, words),
        _bands(found, words),
        Section(
            words("title.stress"),
            [words(f"column.{name}") for name in ("condition", "return", "sharpe", "trades")],
            [
                (words(f"stress.{each.name}"), percent(each.total_return, 1, signed=True), _ratio(each.sharpe), str(each.trades))
                for each in found.stresses
            ],
        ),
        Section(
            words("title.regimes"),
            [words(f"column.{name}") for name in ("market", "days", "return", "sharpe")],
            [
                (words(f"regime.{each.name}"), str(each.days), percent(each.total_return, 1, signed=True), _ratio(each.sharpe))
                for each in found.regimes
            ],
            words("known_before") if found.regimes else "",
        ),
        Section(
            words("title.symbols"),
            [words(f"column.{name}") for name in ("symbol", "trades", "pnl", "win_rate")],
            [
                (each.symbol, str(each.trades), number(each.pnl, 2, signed=True), _share(each.win_rate))
                for each in found.symbol_shares
            ],
            words("in_sample"),
        ),
    ]


def _walked(found: Validation, words: _Words) -> Section:
    """Return both walk-forwards side by side."""

    def row(name: str, of: WalkForward) -> tuple[str, ...]:
        """Return one walk-forward."""
        yearly = "-" if of.annual_return is None else percent(of.annual_return, 1, signed=True)
        return (
            words(f"walk.{name}"), percent(of.total_return, 1, signed=True), yearly, _ratio(of.sharpe),
            percent(of.max_drawdown, 1), str(of.trades), _share(of.months_at_target), _share(of.months_in_band),
        )  # fmt: skip

    names = ("walk", "return", "yearly", "sharpe", "drawdown", "trades", "at_target", "in_band")
    return Section(
        words("title.walk_forward"),
        [words(f"column.{name}") for name in names],
        [row("anchored", found.anchored), row("rolling", found.rolling)],
        words("out_of_sample"),
    )


def _luck(found: Validation, words: _Words) -> Section:
    """Return the statistics that count every trial."""
    deflated, overfit, check, crossed = found.deflated, found.overfitting, found.reality_check, found.cross_validation
    rows = [
        (words("luck.sharpe"), _ratio(deflated.sharpe)),
        (words("luck.trials"), f"{number(deflated.trials, 0)} / {number(deflated.effective_trials, 0)}"),
        (words("luck.luck"), number(deflated.luck, 2)),
        (words("luck.deflated"), "-" if deflated.probability is None else percent(deflated.probability, 1)),
        (
            words("luck.days"),
            f"{number(deflated.days, 0)} / {'∞' if deflated.days_needed is None else number(deflated.days_needed, 0)}",
        ),
    ]
    if check is not None:
        rows += [(words("luck.spa"), percent(check.p_value, 1)), (words("luck.white"), percent(check.white, 1))]
    if overfit is not None:
        rows += [
            (words("luck.pbo"), percent(overfit.probability, 0)),
            (words("luck.loss"), percent(overfit.loss_probability, 0)),
        ]
    if crossed is not None:
        rows.append((words("luck.crossed"), f"{_ratio(crossed.sharpe)} ({crossed.profitable_folds}/{crossed.folds})"))
    if found.plateau.score is not None:
        rows.append((words("luck.plateau"), f"{percent(found.plateau.score, 0)} ({number(found.plateau.neighbours, 0)})"))
    return Section(words("title.luck"), (words("column.figure"), words("column.value")), rows)


def _bands(found: Validation, words: _Words) -> Section:
    """Return the bands."""
    names = ("figure", "measured", "p5", "p25", "p50", "p75", "p95")
    rows: list[tuple[str, ...]] = []
    if found.bands is not None:
        for name in ("annual_return", "max_drawdown", "order_drawdown", "months_at_target", "months_in_band"):
            band: Band | None = getattr(found.bands, name)
            if band is not None:
                measured = "-" if band.measured is None else percent(band.measured, 1)
                values = (percent(value, 1) for value in (band.p5, band.p25, band.p50, band.p75, band.p95))
                rows.append((words(f"band.{name}"), measured, *values))
    return Section(words("title.bands"), [words(f"column.{name}") for name in names], rows, words("out_of_sample"))


def _ratio(value: float | None) -> str:
    """Return a ratio, or a dash."""
    return "-" if value is None else number(value, 2)


def _share(value: float | None) -> str:
    """Return a share, or a dash."""
    return "-" if value is None else percent(value, 0)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with their columns under each other; Korean letters take two places."""
    widths = [max(_width(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _width(cell: str) -> int:
    """Return how many places a text takes in a terminal."""
    return sum(2 if "ᄀ" <= letter <= "힣" else 1 for letter in cell)

"""The report as its notebook sees it: opened from an extract, shown part by part, concluded in figures.

report = open_report(extract, language, day)
report.top(), report.result(), …, report.conclusion()
"""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from ctp.errors import DataDamaged
from ctp.reports.extracted import CHART, SUMMARY, Extract, read_extract
from ctp.reports.figures import CENT, TARGET_HIGH, TARGET_LOW, figures
from ctp.reports.files import write_whole
from ctp.reports.findings import findings
from ctp.reports.html import Part, tag, together
from ctp.reports.page import events, month, result, risk, top, trades
from ctp.reports.told import Told
from ctp.reports.words import Words


class Report:
    """One account, one period, one reader."""

    def __init__(self, extract: Extract, language: str, folder: Path | None = None) -> None:
        """Compute the figures. folder: where the extract lies; None for the example."""
        self.folder = folder
        told = figures(extract)
        words = Words(language, extract.reader["zone"], extract.account["quote"], extract.zone.name)
        self.told = Told(extract, told, findings(extract, told), words)

    def top(self) -> Part:
        """Show the first screen: how much, why, how far from the limits, is anything wrong."""
        parts = [top.header(self.told), tag("div", top.verdict(self.told), top.tiles(self.told), class_="first")]
        return Part(together(parts))

    def result(self) -> Part:
        """Show what the result was made of, and how equity went."""
        return Part(tag("div", result.causes(self.told), result.course(self.told), class_="pair"))

    def spans(self) -> Part:
        """Show day, week and month side by side."""
        return Part(result.spans(self.told))

    def month(self) -> Part:
        """Show the month against the target and past months."""
        return Part(together([month.month(self.told), month.daily(self.told)]))

    def trades(self) -> Part:
        """Show the trades with their reasons, what is open, and why there was no trade."""
        return Part(together([trades.trades(self.told), trades.positions(self.told), trades.untraded(self.told)]))

    def risk(self) -> Part:
        """Show the risk used, and fees, funding and slippage."""
        return Part(tag("div", risk.risk(self.told), risk.costs(self.told), class_="pair"))

    def sections(self) -> Part:
        """Show what other rooms know: drift and backups."""
        names = [one["name"] for one in self.told.extract.about["sections"]]
        return Part(tag("div", [events.section(self.told, name) for name in names], class_="pair"))

    def operation(self) -> Part:
        """Show errors, outages and what people did."""
        return Part(together([events.operation(self.told), events.people(self.told)]))

    def tomorrow(self) -> Part:
        """Show tomorrow's locks, and how the report was made."""
        return Part(together([risk.tomorrow(self.told), events.footer(self.told)]))

    def conclusion(self) -> str:
        """Return the result in one plain sentence, with what needs a look."""
        told, words = self.told, self.told.words
        span = told.figures.span
        if span.end is None:
            return words.say("verdict.never")
        lines = [
            words.say(
                "conclusion",
                pnl=words.money(span.pnl, signed=True),
                equity=words.money(span.end.equity),
                trades=span.trades,
            )
        ]
        lines += [f"- {top.finding_words(words, one)}" for one in told.findings] or [words.say("all_well")]
        return "\n".join(lines)

    def summary(self) -> dict[str, Any]:
        """Return the figures that the notice repeats. Fractions lost are 0 or more; money in quote units."""
        figures_, account = self.told.figures, self.told.extract.account
        span, worst = figures_.span, figures_.worst
        return {
            "mode": account["mode"],
            "pnl": _cents(span.pnl),
            "equity": None if span.end is None else _cents(span.end.equity),
            "return": span.fraction,
            "trades": span.trades,
            "wins": span.wins,
            "month_return": figures_.month.fraction,
            "target_low": TARGET_LOW,
            "target_high": TARGET_HIGH,
            "largest_loss_fraction": figures_.largest_loss,
            "worst_day_fraction": None if worst is None else worst.worst_fraction,
            "daily_loss_limit": float(self.told.extract.limits["daily_loss_limit"]),
            "findings": [one.key for one in self.told.findings],
        }

    def leave(self) -> None:
        """Write chart and summary beside the extract, for those who send them on; the example leaves nothing."""
        if self.folder is None:
            return
        from ctp.reports.picture import draw_png

        write_whole(self.folder.parent / CHART, draw_png(self.told))
        write_whole(self.folder.parent / SUMMARY, json.dumps(self.summary()).encode())


def open_report(extract: str, language: str, day: str) -> Report:
    """Open the report on the extract in a folder; without one, on an example that says what it is.

    Raises DataDamaged when the folder is about another day.
    """
    if not extract:
        from ctp.reports.example import example_extract

        return Report(example_extract(), language)
    found = read_extract(extract)
    if found.period.first != date.fromisoformat(day):
        raise DataDamaged(extract, f"is about {found.period.first}, not {day}", "make the report again")
    return Report(found, language, Path(extract))


def _cents(amount: Decimal) -> str:
    """Return an amount to the cent, as text that no reader rounds again."""
    return format(amount.quantize(CENT), "f")

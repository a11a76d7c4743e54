"""How a report speaks to its reader: texts, money, times and colours of one account in one language."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NamedTuple

from markupsafe import Markup

from ctp import i18n
from ctp.reports.html import tag
from ctp.reports.periods import DAY_MS

Amount = Decimal | float


class Words(NamedTuple):
    """A reader's language and zone, with the account's currency and days."""

    language: str
    zone: str
    quote: str
    day_zone: str  # of the account's days, as people write it

    def say(self, key: str, **facts: object) -> str:
        """Return a text of the table [report]."""
        return i18n.text(f"report.{key}", self.language, **facts)

    def word(self, table: str, name: str) -> str:
        """Return a word of another table, or the word itself where the table does not have it."""
        key = f"{table}.{name}"
        return i18n.text(key, self.language) if i18n.has_text(key) else name

    def money(self, amount: Amount, *, signed: bool = False) -> str:
        """Return an amount in the account's currency, to the cent."""
        return i18n.money(amount, self.quote, self.language, signed=signed).replace("-", "−")

    def gain(self, amount: Amount) -> Markup:
        """Return an amount with its sign, in the colour of a rise or a fall."""
        return self._coloured(self.money(amount, signed=True), amount)

    def percent(self, fraction: float, *, signed: bool = False, places: int = 2) -> str:
        """Return a fraction as per cent."""
        return i18n.percent(fraction, places, signed=signed).replace("-", "−")

    def rate(self, fraction: float | None) -> Markup:
        """Return a return with its sign and colour; a dash where there is none."""
        if fraction is None:
            return tag("span", "–", class_="num")
        return self._coloured(self.percent(fraction, signed=True), fraction)

    def price(self, value: Amount) -> str:
        """Return a price."""
        return i18n.price(value)

    def symbol(self, name: str) -> str:
        """Return a symbol as people write it."""
        return i18n.symbol_name(name, self.language)

    def moment(self, time_ms: int) -> str:
        """Return a time in the reader's zone, to the minute."""
        return i18n.moment(time_ms, self.language, self.zone, seconds=False)

    def clock(self, time_ms: int) -> str:
        """Return day of the month and hour in the reader's zone: `05-01 09:00`."""
        return i18n.moment(time_ms, self.language, self.zone, seconds=False)[5:16]

    def hour_or_day(self, time_ms: int, shown_ms: int) -> str:
        """Return what tells a moment from its neighbours in a chart of this length: `09:00`, or `05-01`."""
        told = self.clock(time_ms)
        return told[6:] if shown_ms <= 2 * DAY_MS else told[:5]

    def duration(self, length_ms: int) -> str:
        """Return a length of time."""
        return i18n.duration(length_ms, self.language)

    def day(self, day: date) -> str:
        """Return a day with its weekday."""
        weekday, month = self.say(f"weekday.{day.weekday()}"), self.say(f"month.{day.month}")
        return self.say("day", year=day.year, month=month, day=day.day, weekday=weekday)

    def _coloured(self, shown: str, amount: Amount) -> Markup:
        """Return a figure in its colour; no change has none."""
        kind = "rise" if amount > 0 else "fall" if amount < 0 else ""
        return tag("span", shown, class_=f"num {kind}".strip())

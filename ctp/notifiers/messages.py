"""Put a notice into words: a title and lines, in the reader's language and time zone.

Facts, by kind (money in the account's quote currency; sizes and prices as numbers or exact texts; `?` may be missing):

- every notice about an account: account, mode, quote; exchange?, day_pnl?, day_limit?
- trade_executed: symbol, side (buy, sell), size; price?, fee?, fee_asset?, reason?
- position_opened: symbol, side (long, short), size, price, stop; take?, leverage?, margin?, risk?, equity?, reason?, rsi?
- position_closed, stop_loss_hit, take_profit_hit: symbol, side, size, entry_price, price, pnl, reason; r_multiple?, fee?,
  funding?, entry_time?, exit_time?, balance?
- system_error: what (a key of [problem]); whatever else explains it
- daily_report: day; kind? (daily, weekly, monthly), last_day?, pnl?, return?, trades?, wins?, equity?, month_return?,
  target_low?, target_high?, largest_loss_fraction?, worst_day_fraction?, daily_loss_limit?, attention?, chart?
- contact_test: nothing; a person asked for it
- contact_code: code, expires_at; goes to the address it proves and nowhere else
- a digest, of any kind: digest (see `digest.digest_facts`)

Invariants:
1. A notice about an account says SIMULATED or LIVE in its title.
2. A fact that is missing takes its line away; nothing is shown as 0 that is not known.
3. Title and lines are one line each, whatever the names in them; a title fits a lock screen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from ctp import i18n
from ctp.core.risk import MAX_RISK_PER_TRADE
from ctp.i18n import has_text, text

Facts = Mapping[str, Any]

TITLE_LENGTH = 80
_SHOWN = 5  # of a list in a digest
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # control, format (writing direction), line separators


class Message(NamedTuple):
    """A notice in words, plain text; each channel escapes it in its own way."""

    title: str
    lines: tuple[str, ...]
    when: str
    mode: str  # paper, live; empty when it concerns no account
    image: str = ""  # a chart, by its file name below CTP_HOME/reports
    urgent: bool = False

    def plain(self) -> str:
        """Return title, lines and time as one text."""
        return "\n".join((self.title, *self.lines, self.when))


class _Writer(NamedTuple):
    """Facts with a reader."""

    facts: Facts
    language: str
    zone: str

    def say(self, key: str, **more: object) -> str:
        """Return a text of the table [notice]."""
        return text(f"notice.{key}", self.language, **more)

    def has(self, *names: str) -> bool:
        """Tell whether all these facts are known."""
        return all(self.facts.get(name) is not None for name in names)

    def money(self, name: str, *, signed: bool = False) -> str:
        """Return an amount in the account's quote currency."""
        return i18n.money(_number(self.facts[name]), str(self.facts.get("quote", "")), self.language, signed=signed)

    def price(self, name: str) -> str:
        """Return a price."""
        return i18n.price(_number(self.facts[name]))

    def size(self) -> str:
        """Return the size with its coin."""
        base = str(self.facts.get("symbol", "")).partition("/")[0]
        return f"{i18n.number(_number(self.facts['size']))} {base}".strip()

    def symbol(self) -> str:
        """Return the symbol as people write it."""
        return i18n.symbol_name(str(self.facts.get("symbol", "")), self.language)

    def side(self) -> str:
        """Return the side in words."""
        return self._word("side", str(self.facts.get("side", "")))

    def reason(self) -> str:
        """Return why, in words."""
        reason = str(self.facts.get("reason", ""))
        for table in ("exit_reason", "entry_reason"):
            if has_text(f"{table}.{reason}"):
                return text(f"{table}.{reason}", self.language)
        return reason

    def _word(self, table: str, word: str) -> str:
        """Return a word of a table, or the word itself when the table does not have it."""
        return text(f"{table}.{word}", self.language) if has_text(f"{table}.{word}") else word


def compose(
    kind: str, facts: Facts, language: str, zone: str, created_at: int, *, urgent: bool = False
) -> Message:
    """Return a notice in words."""
    writer = _Writer(facts, language, zone)
    title, lines = _digest(kind, writer) if facts.get("digest") else _KINDS.get(kind, _unknown)(writer)
    mode = str(facts.get("mode", ""))
    if mode:
        title = f"[{text(f'mode.{mode}', language)}] {title}"
        lines = [*lines, _account_line(writer)]
    when = writer.say("line.time", time=i18n.moment(created_at, language, zone))
    image = str(facts.get("chart") or "")
    return Message(_shortened(_clean(title)), tuple(_clean(line) for line in lines), when, mode, image, urgent)


def _trade_executed(writer: _Writer) -> tuple[str, list[str]]:
    """Say what was bought or sold."""
    lines = []
    if writer.has("price"):
        notional = _number(writer.facts["price"]) * _number(writer.facts["size"])
        worth = i18n.money(notional, str(writer.facts.get("quote", "")), writer.language)
        lines.append(writer.say("line.fill", price=writer.price("price"), size=writer.size(), notional=worth))
    else:
        lines.append(writer.say("line.size", size=writer.size()))
    if writer.has("fee"):
        asset = str(writer.facts.get("fee_asset") or writer.facts.get("quote", ""))
        lines.append(writer.say("line.fee", fee=i18n.money(_number(writer.facts["fee"]), asset, writer.language)))
    if writer.has("reason"):
        lines.append(writer.say("line.reason", reason=writer.reason()))
    lines += _day(writer)
    return writer.say("trade_executed.title", symbol=writer.symbol(), side=writer.side()), lines


def _position_opened(writer: _Writer) -> tuple[str, list[str]]:
    """Say what was opened, where it stops, and what that would cost."""
    price, stop = _number(writer.facts["price"]), _number(writer.facts["stop"])
    notional = i18n.money(price * _number(writer.facts["size"]), str(writer.facts.get("quote", "")), writer.language)
    lines = [
        writer.say("line.fill", price=writer.price("price"), size=writer.size(), notional=notional),
        writer.say("line.stop", price=writer.price("stop"), distance=_distance(price, stop)),
    ]
    if writer.has("take"):
        distance = _distance(price, _number(writer.facts["take"]))
        lines.append(writer.say("line.take", price=writer.price("take"), distance=distance))
    if writer.has("leverage", "margin"):
        leverage = i18n.number(_number(writer.facts["leverage"]))
        lines.append(writer.say("line.margin", margin=writer.money("margin"), leverage=leverage))
    elif writer.has("leverage") and _number(writer.facts["leverage"]) != 1:
        lines.append(writer.say("line.leverage", leverage=i18n.number(_number(writer.facts["leverage"]))))
    if writer.has("risk", "equity") and _number(writer.facts["equity"]) > 0:
        part = i18n.percent(float(_number(writer.facts["risk"]) / _number(writer.facts["equity"])))
        lines.append(writer.say("line.risk_part", risk=writer.money("risk"), part=part))
    elif writer.has("risk"):
        lines.append(writer.say("line.risk", risk=writer.money("risk")))
    if writer.has("reason", "rsi"):
        rsi = i18n.number(_number(writer.facts["rsi"]), 1)
        lines.append(writer.say("line.reason_rsi", reason=writer.reason(), rsi=rsi))
    elif writer.has("reason"):
        lines.append(writer.say("line.reason", reason=writer.reason()))
    lines += _day(writer)
    return writer.say("position_opened.title", symbol=writer.symbol(), side=writer.side()), lines


def _position_closed(writer: _Writer) -> tuple[str, list[str]]:
    """Say what was closed, why, and what it brought."""
    return _closed("position_closed", writer)


def _stop_loss_hit(writer: _Writer) -> tuple[str, list[str]]:
    """Say that the stop was hit."""
    return _closed("stop_loss_hit", writer)


def _take_profit_hit(writer: _Writer) -> tuple[str, list[str]]:
    """Say that the take-profit was hit."""
    return _closed("take_profit_hit", writer)


def _closed(kind: str, writer: _Writer) -> tuple[str, list[str]]:
    """Say how a position ended."""
    pnl = writer.money("pnl", signed=True)
    result = writer.say("line.pnl", pnl=pnl)
    if writer.has("r_multiple"):
        multiple = i18n.number(_number(writer.facts["r_multiple"]), 2, signed=True)
        result = writer.say("line.pnl_r", pnl=pnl, r=multiple)
    lines = [
        result,
        writer.say("line.way", entry=writer.price("entry_price"), exit=writer.price("price"), size=writer.size()),
    ]
    if writer.has("fee", "funding") and _number(writer.facts["funding"]) != 0:
        lines.append(
            writer.say("line.costs_funding", fee=writer.money("fee"), funding=writer.money("funding", signed=True))
        )
    elif writer.has("fee"):
        lines.append(writer.say("line.costs", fee=writer.money("fee")))
    lines.append(writer.say("line.reason", reason=writer.reason()))
    if writer.has("entry_time", "exit_time"):
        held = int(writer.facts["exit_time"]) - int(writer.facts["entry_time"])
        lines.append(writer.say("line.held", duration=i18n.duration(held, writer.language)))
    if writer.has("balance"):
        lines.append(writer.say("line.balance", balance=writer.money("balance")))
    lines += _day(writer)
    return writer.say(f"{kind}.title", symbol=writer.symbol(), side=writer.side(), pnl=pnl), lines


def _system_error(writer: _Writer) -> tuple[str, list[str]]:
    """Say what is wrong and what to do about it."""
    what = str(writer.facts.get("what", "other"))
    lines = [_problem(what, "do", writer.language)]
    if writer.has("symbol"):
        lines.append(writer.say("line.symbol", symbol=writer.symbol()))
    known = {"what", "symbol", "account", "mode", "exchange", "quote", "day_pnl", "day_limit"}
    if writer.has("candle_time", "outcome"):  # a decision that changed sources make otherwise
        lines.append(_decided_otherwise(writer))
        known |= {"candle_time", "outcome", "new_outcome", "compared", "differing"}
    details = [
        f"{name}: {value}" for name, value in writer.facts.items() if name not in known and value not in (None, "")
    ]
    if details:
        lines.append(writer.say("line.details", details=" · ".join(details)))
    return writer.say("system_error.title", problem=_problem(what, "title", writer.language)), lines


def _decided_otherwise(writer: _Writer) -> str:
    """Say which decision comes out otherwise: then, and now."""
    facts, words = writer.facts, []
    for name in ("outcome", "new_outcome"):
        key = f"web.outcome.{facts.get(name)}"
        words.append(text(key, writer.language) if has_text(key) else writer.say("line.not_comparable"))
    candle = i18n.moment(int(facts["candle_time"]), writer.language, writer.zone, seconds=False)
    counts = {name: i18n.number(_number(facts.get(name, 0))) for name in ("compared", "differing")}
    return writer.say("line.decided_otherwise", candle=candle, before=words[0], after=words[1], **counts)


def _daily_report(writer: _Writer) -> tuple[str, list[str]]:
    """Sum a day, a week or a month up: how much, why, how far from the limits, is anything wrong."""
    facts, lines = writer.facts, []
    if writer.has("pnl", "return"):
        part = i18n.percent(float(facts["return"]), signed=True)
        lines.append(writer.say("line.pnl_part", pnl=writer.money("pnl", signed=True), part=part))
    elif writer.has("pnl"):
        lines.append(writer.say("line.pnl", pnl=writer.money("pnl", signed=True)))
    if writer.has("trades", "wins"):
        lines.append(writer.say("line.trades", trades=facts["trades"], wins=facts["wins"]))
    if writer.has("equity"):
        lines.append(writer.say("line.equity", equity=writer.money("equity")))
    if writer.has("month_return", "target_low", "target_high"):
        low, high = (i18n.number(float(facts[name]) * 100) for name in ("target_low", "target_high"))
        month = i18n.percent(float(facts["month_return"]), signed=True)
        lines.append(writer.say("line.month", month=month, low=low, high=high))
    if writer.has("largest_loss_fraction"):
        ceiling = i18n.percent(MAX_RISK_PER_TRADE)
        lines.append(writer.say("line.largest_loss", part=i18n.percent(float(facts["largest_loss_fraction"])), ceiling=ceiling))
    if writer.has("worst_day_fraction", "daily_loss_limit"):
        worst, limit = (i18n.percent(float(facts[name])) for name in ("worst_day_fraction", "daily_loss_limit"))
        lines.append(writer.say("line.worst_day", part=worst, limit=limit))
    if facts.get("attention"):
        lines.append(writer.say("line.attention", count=facts["attention"]))
    report = str(facts.get("kind", "daily"))
    title = f"{report}_report.title" if report in ("weekly", "monthly") else "daily_report.title"
    day, last_day = str(facts.get("day", "")), str(facts.get("last_day", ""))
    return writer.say(title, day=day, last_day=last_day, month=day[:7]), lines


def _ai_signal(writer: _Writer) -> tuple[str, list[str]]:
    """Say what a model saw; until one is active, that there is none."""
    return writer.say("ai_signal.title"), [writer.say("ai_signal.unavailable")]


def _contact_code(writer: _Writer) -> tuple[str, list[str]]:
    """Give a person the code that proves their address."""
    until = i18n.moment(int(writer.facts.get("expires_at", 0)), writer.language, writer.zone, seconds=False)
    code = str(writer.facts.get("code", ""))
    return writer.say("contact_code.title", code=code), [
        writer.say("contact_code.code", code=code),
        writer.say("contact_code.until", time=until),
        writer.say("contact_code.unasked"),
    ]


def _contact_test(writer: _Writer) -> tuple[str, list[str]]:
    """Answer a person who wants to know whether they are reached."""
    return writer.say("contact_test.title"), [writer.say("contact_test.arrived")]


def _digest(kind: str, writer: _Writer) -> tuple[str, list[str]]:
    """Sum up what many similar notices told."""
    told, language = writer.facts["digest"], writer.language
    count = i18n.number(told["count"])
    first, last = (i18n.moment(told[name], language, writer.zone) for name in ("first_at", "last_at"))
    lines = [writer.say("digest.what", count=count), writer.say("digest.span", first=first, last=last)]
    if told["closings"]:
        pnl = i18n.money(_number(told["pnl"]), str(writer.facts.get("quote", "")), language, signed=True)
        lines.append(writer.say("digest.pnl", pnl=pnl, closings=told["closings"], wins=told["wins"]))
    symbols = [(i18n.symbol_name(symbol, language), times) for symbol, times in told["symbols"].items()]
    if symbols:
        lines.append(writer.say("digest.symbols", symbols=_counted(symbols)))
    lines += [
        writer.say("digest.problem", problem=_problem(what, "title", language), count=i18n.number(times))
        for what, times in list(told["problems"].items())[:_SHOWN]
    ]
    name = writer.say(f"{kind}.name") if has_text(f"notice.{kind}.name") else writer.say("unknown.title")
    return writer.say("digest.title", name=name, count=count), [*lines, *_day(writer)]


def _counted(found: list[tuple[str, int]]) -> str:
    """Return the most frequent of something, each with how often."""
    shown = ", ".join(f"{name} {i18n.number(times)}" for name, times in found[:_SHOWN])
    return f"{shown}, …" if len(found) > _SHOWN else shown


def _problem(what: str, part: str, language: str) -> str:
    """Return the words for a problem; a newer program may know more problems than this one."""
    return text(f"problem.{what if has_text(f'problem.{what}.title') else 'other'}.{part}", language)


def _unknown(writer: _Writer) -> tuple[str, list[str]]:
    """Show a kind that a newer program wrote."""
    return writer.say("unknown.title"), [writer.say("line.details", details=str(dict(writer.facts)))]


def _clean(line: str) -> str:
    """Return one line of visible text: names come from people and exchanges, and could break lines or turn them around."""
    return "".join(" " if unicodedata.category(sign) in _UNSEEN else sign for sign in line).strip()


def _shortened(title: str) -> str:
    """Return a title that a lock screen can show."""
    return title if len(title) <= TITLE_LENGTH else title[: TITLE_LENGTH - 1].rstrip() + "…"


def _day(writer: _Writer) -> list[str]:
    """Say how far today's loss limit is away."""
    if not writer.has("day_pnl", "day_limit"):
        return []
    left = max(Decimal(0), _number(writer.facts["day_limit"]) + min(Decimal(0), _number(writer.facts["day_pnl"])))
    shown = i18n.money(left, str(writer.facts.get("quote", "")), writer.language)
    return [
        writer.say("line.day", pnl=writer.money("day_pnl", signed=True), limit=writer.money("day_limit"), left=shown)
    ]


def _account_line(writer: _Writer) -> str:
    """Say which account it concerns."""
    exchange = str(writer.facts.get("exchange", ""))
    name = str(writer.facts.get("account", ""))
    return writer.say("line.account", account=f"{name} ({exchange})" if exchange else name)


def _distance(price: Decimal, other: Decimal) -> str:
    """Return how far another price lies, in per cent with its sign."""
    return i18n.percent(float(other / price - 1), signed=True) if price else "-"


def _number(value: Any) -> Decimal:
    """Return a fact as an exact number, whatever way it was written down."""
    try:
        return Decimal(repr(value) if isinstance(value, float) else str(value))
    except InvalidOperation:
        return Decimal("NaN")


_KINDS: dict[str, Callable[[_Writer], tuple[str, list[str]]]] = {
    "trade_executed": _trade_executed,
    "position_opened": _position_opened,
    "position_closed": _position_closed,
    "ai_signal": _ai_signal,
    "stop_loss_hit": _stop_loss_hit,
    "take_profit_hit": _take_profit_hit,
    "system_error": _system_error,
    "daily_report": _daily_report,
    "contact_code": _contact_code,
    "contact_test": _contact_test,
}

"""Answers about one account: what is open, what it earned, why it traded. They change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ctp import i18n
from ctp.accounts.readings import OpenPosition, Reading, open_positions
from ctp.i18n import has_text, text
from ctp.notifiers.messages import compose
from ctp.notifiers.telegram_api import Button
from ctp.notifiers.telegram_text import Line, bold
from ctp.telegram.answer import Answer, head, moment, money
from ctp.telegram.figures import by_period, by_symbol, total
from ctp.telegram.person import Question
from ctp.trading.why import why as why_in_words

_ALL = 1_000_000
_DAY_MS = 86_400_000
_DEFAULT_OFFSET = 9.0
PERIODS = {"daily": (7, 31), "weekly": (8, 26), "monthly": (6, 24)}  # how many by default, and at most
TRADES = (5, 20)
DECISIONS = (5, 20)


def status(question: Question, reading: Reading) -> Answer:
    """Show today's result and every open position with its stop and take-profit."""
    said = [*head(question, reading), *_result(question, reading)]
    positions = open_positions(question.visible, reading)
    if not positions and reading.state is not None:
        said.append(Line(question.say("status.flat")))
    for position in positions:
        said += [Line(""), *_position(question, reading, position)]
    return Answer(tuple(said))


def overview(question: Question, readings: list[Reading]) -> list[Line]:
    """Show several accounts in short."""
    said: list[Line] = []
    for reading in readings:
        said += [Line("")] if said else []
        said += [*head(question, reading), *_result(question, reading)]
        for position in open_positions(question.visible, reading):
            name = _position_name(question, position)
            gain = "" if position.unrealised is None else money(position.unrealised, reading, question, signed=True)
            said.append(Line(f"{name} {gain}".strip()))
    return said


def profit(question: Question, reading: Reading, days: int | None) -> Answer:
    """Sum up the closed trades, and what stands against the capital."""
    trades = question.visible.trades(reading.id, limit=_ALL)
    if days is not None:
        trades = [trade for trade in trades if trade["exit_time"] > question.now_ms - days * _DAY_MS]
    what = question.say("profit.title") if days is None else question.say("profit.title_days", days=days)
    said = head(question, reading, what)
    if trades:
        said += _total(question, reading, trades)
    else:
        said.append(Line(question.say("profit.none")))
    gains = [one.unrealised for one in open_positions(question.visible, reading) if one.unrealised is not None]
    if gains:
        said.append(Line(question.say("profit.open", pnl=money(sum(gains), reading, question, signed=True))))
    if reading.state is not None and reading.state.equity is not None and reading.capital:
        gain = reading.state.equity - float(reading.capital)
        part = i18n.percent(gain / float(reading.capital), signed=True)
        said.append(Line(question.say("profit.total", pnl=money(gain, reading, question, signed=True), part=part)))
    return Answer(tuple(said))


def periods(question: Question, reading: Reading, kind: str, count: int | None) -> Answer:
    """Show the result of each day, week or month."""
    usual, most = PERIODS[kind]
    offset = float(reading.risk.get("zone_offset", _DEFAULT_OFFSET))
    trades = question.visible.trades(reading.id, limit=_ALL)
    found = by_period(trades, kind, min(most, count or usual), question.now_ms, offset)
    said = head(question, reading, question.say(f"period.{kind}"))
    for one in found:
        name = one.first.strftime("%Y-%m" if kind == "monthly" else "%m-%d")
        pnl = money(one.pnl, reading, question, signed=True)
        said.append(Line(question.say("period.row", period=name, pnl=pnl, count=one.trades)))
    pnl = money(sum(one.pnl for one in found), reading, question, signed=True)
    said.append(Line(question.say("period.total", pnl=pnl, count=sum(one.trades for one in found))))
    if kind == "monthly":
        said.append(Line(question.say("period.target")))
    return Answer(tuple(said))


def balance(question: Question, reading: Reading) -> Answer:
    """Show the money of an account."""
    said = head(question, reading, question.say("balance.title"))
    state, positions = reading.state, open_positions(question.visible, reading)
    amounts: list[tuple[str, str, float | None, bool]] = [
        ("capital", "capital", None if reading.capital is None else float(reading.capital), False),
        ("equity", "equity", state.equity if state else None, False),
        ("balance", "balance", state.balance if state else None, False),
    ]
    if positions:
        gains = [one.unrealised for one in positions]
        known = None if None in gains else sum(gain for gain in gains if gain is not None)
        amounts += [("open", "pnl", known, True), ("margin", "margin", sum(one.margin for one in positions), False)]
    for key, fact, amount, signed in amounts:
        if amount is not None:
            said.append(Line(question.say(f"balance.{key}", **{fact: money(amount, reading, question, signed=signed)})))
    return Answer(tuple(said))


def performance(question: Question, reading: Reading) -> Answer:
    """Show what each symbol came to, the best first."""
    said = head(question, reading, question.say("performance.title"))
    found = by_symbol(question.visible.trades(reading.id, limit=_ALL))
    for rank, one in enumerate(found, 1):
        name, pnl = _symbol(question, one.symbol), money(one.pnl, reading, question, signed=True)
        row = question.say("performance.row", rank=rank, symbol=name, pnl=pnl, count=one.trades, wins=one.wins)
        said.append(Line(row))
    return Answer(tuple(said if found else [*said, Line(question.say("profit.none"))]))


def trades(question: Question, reading: Reading, count: int | None) -> Answer:
    """Show the trades that were closed last."""
    found = question.visible.trades(reading.id, limit=min(TRADES[1], count or TRADES[0]))
    if not found:
        return Answer((*head(question, reading), Line(question.say("profit.none"))))
    said = head(question, reading, question.say("trades.title", count=len(found)))
    for trade in found:
        side = text(f"side.{trade['side']}", question.person.language)
        row = question.say(
            "trades.row",
            time=moment(question, trade["exit_time"]),
            symbol=_symbol(question, trade["symbol"]),
            side=side,
            pnl=money(trade["pnl"], reading, question, signed=True),
            r=i18n.number(trade["r_multiple"], 2, signed=True),
        )
        way = question.say(
            "trades.way",
            entry=i18n.price(trade["entry_price"]),
            exit=i18n.price(trade["exit_price"]),
            reason=_exit_reason(question, trade["exit_reason"]),
        )
        said += [Line(row), Line(way)]
    return Answer(tuple(said))


def why(question: Question, reading: Reading, symbol: str | None, count: int | None) -> Answer:
    """Say in words what was decided on the last candles."""
    limit = min(DECISIONS[1], count or DECISIONS[0])
    found = question.visible.decisions(reading.id, symbol=symbol, limit=limit)
    said = head(question, reading, question.say("why.title"))
    for one in found:
        row = question.say(
            "why.row",
            time=moment(question, one.candle_time + reading.timeframe_ms),
            symbol=_symbol(question, one.symbol),
            outcome=text(f"web.outcome.{one.outcome}", question.person.language),
        )
        language, quote = question.person.language, reading.account.quote
        told = why_in_words(one.outcome, one.reason, one.numbers, language, quote, one.strategy)
        said += [bold(row), Line(told)]
    return Answer(tuple(said if found else [*said, Line(question.say("why.none"))]))


def locks(question: Question, reading: Reading) -> Answer:
    """Show what keeps an account from entering."""
    said, state = head(question, reading, question.say("locks.title")), reading.state
    found = []
    if state is not None and state.daily_locked:
        found.append(question.say("locks.daily"))
    if state is not None and state.drawdown_locked:
        found.append(question.say("locks.drawdown"))
    if reading.status != "running":
        word = text(f"status.{reading.status}", question.person.language)
        reason = "" if state is None else state.status_reason
        if has_text(f"command.{reason}"):
            reason = text(f"command.{reason}", question.person.language)
        key = "locks.status_reason" if reason else "locks.status"
        found.append(question.say(key, status=word, reason=reason))
    return Answer((*said, *map(Line, found or [question.say("locks.none")])))


def report(question: Question, reading: Reading) -> Answer:
    """Show the newest daily report of an account, with its chart and a button for a new one."""
    newest = question.visible.reports(reading.id, kind="daily", limit=1)
    now = Button(question.say("report.now"), f"a:report:{reading.id}:{question.person.sender}:now")
    keyboard = () if reading.state is None else ((now,),)
    if not newest:
        return Answer((*head(question, reading), Line(question.say("report.none"))), keyboard)
    found, account = newest[0], reading.account
    if found.status != "done":
        return Answer((*head(question, reading), Line(question.say("report.failed", day=found.period))), keyboard)
    about = {"account": account.name, "mode": account.mode, "exchange": account.exchange, "quote": account.quote}
    what = {"day": found.period, "kind": found.kind, "chart": found.chart}
    facts = {**found.summary, **about, **what, "attention": len(found.summary.get("findings", ()))}
    message = compose("daily_report", facts, question.person.language, question.person.zone, found.created_at)
    lines = (bold(message.title), *map(Line, message.lines), Line(message.when))
    return Answer(lines, keyboard, message.image)


READERS: dict[str, Callable[[Question, Reading, str | None, int | None], Answer]] = {
    "status": lambda question, reading, symbol, count: status(question, reading),
    "profit": lambda question, reading, symbol, count: profit(question, reading, count),
    "daily": lambda question, reading, symbol, count: periods(question, reading, "daily", count),
    "weekly": lambda question, reading, symbol, count: periods(question, reading, "weekly", count),
    "monthly": lambda question, reading, symbol, count: periods(question, reading, "monthly", count),
    "balance": lambda question, reading, symbol, count: balance(question, reading),
    "performance": lambda question, reading, symbol, count: performance(question, reading),
    "trades": lambda question, reading, symbol, count: trades(question, reading, count),
    "why": why,
    "locks": lambda question, reading, symbol, count: locks(question, reading),
    "report": lambda question, reading, symbol, count: report(question, reading),
}


def _result(question: Question, reading: Reading) -> list[Line]:
    """Say what an account is worth and how far today's loss limit is away."""
    state = reading.state
    if state is None or state.equity is None:
        return [Line(question.say("status.never"))]
    said = [Line(question.say("status.equity", equity=money(state.equity, reading, question)))]
    if reading.day_pnl is not None and reading.day_fraction is not None and state.day_start_equity:
        limit = state.day_start_equity * reading.daily_loss_limit
        row = question.say(
            "status.today",
            pnl=money(reading.day_pnl, reading, question, signed=True),
            part=i18n.percent(reading.day_fraction, signed=True),
            limit=money(limit, reading, question),
            left=money(max(0.0, limit + min(0.0, reading.day_pnl)), reading, question),
        )
        said.append(Line(row))
    return said


def _position(question: Question, reading: Reading, position: OpenPosition) -> list[Line]:
    """Show one open position."""
    said = [bold(_position_name(question, position))]
    entry = i18n.price(position.entry_price)
    if position.price is None or position.unrealised is None or position.unrealised_fraction is None:
        said.append(Line(question.say("status.entry", entry=entry)))
    else:
        gain = money(position.unrealised, reading, question, signed=True)
        part = i18n.percent(position.unrealised_fraction, signed=True)
        now = i18n.price(position.price)
        said.append(Line(question.say("status.price", entry=entry, price=now, pnl=gain, part=part)))
    said.append(Line(_level(question, "stop", position.stop_price, position.stop_distance)))
    if position.take_price is not None:
        said.append(Line(_level(question, "take", position.take_price, position.take_distance)))
    held = i18n.duration(question.now_ms - position.entry_time, question.person.language)
    margin, leverage = money(position.margin, reading, question), i18n.number(position.leverage)
    said.append(Line(question.say("status.held", duration=held, leverage=leverage, margin=margin)))
    return said


def _level(question: Question, which: str, price: float | None, distance: float | None) -> str:
    """Say where a stop or take-profit lies."""
    if price is None:
        return question.say("status.no_stop")
    if distance is None:
        return question.say(f"status.{which}_price", price=i18n.price(price))
    return question.say(f"status.{which}", price=i18n.price(price), distance=i18n.percent(distance))


def _position_name(question: Question, position: OpenPosition) -> str:
    """Return symbol, side and size of a position."""
    side = text(f"side.{position.side}", question.person.language)
    base = position.symbol.partition("/")[0]
    size = i18n.number(position.size)
    return question.say("status.position", symbol=_symbol(question, position.symbol), side=side, size=size, base=base)


def _total(question: Question, reading: Reading, found: list[dict[str, Any]]) -> list[Line]:
    """Say what trades came to."""
    summed, ranked = total(found), by_symbol(found)
    best, worst = ranked[0], ranked[-1]
    rate = i18n.percent(summed.wins / summed.trades, 1)
    rows = [
        question.say("profit.pnl", pnl=money(summed.pnl, reading, question, signed=True)),
        question.say("profit.trades", count=summed.trades, wins=summed.wins, rate=rate),
        question.say(
            "profit.average",
            r=i18n.number(summed.r_multiple, 2, signed=True),
            duration=i18n.duration(summed.held_ms, question.person.language),
        ),
        question.say(
            "profit.costs",
            fee=money(summed.fee, reading, question),
            funding=money(summed.funding, reading, question, signed=True),
        ),
        question.say(
            "profit.since",
            first=moment(question, min(trade["exit_time"] for trade in found), "%Y-%m-%d"),
            last=moment(question, max(trade["exit_time"] for trade in found), "%Y-%m-%d"),
        ),
    ]
    if best is not worst:
        row = question.say(
            "profit.best",
            symbol=_symbol(question, best.symbol),
            pnl=money(best.pnl, reading, question, signed=True),
            worst_symbol=_symbol(question, worst.symbol),
            worst=money(worst.pnl, reading, question, signed=True),
        )
        rows.insert(3, row)
    return [Line(row) for row in rows]


def _symbol(question: Question, symbol: str) -> str:
    """Return a symbol as people write it."""
    return i18n.symbol_name(symbol, question.person.language)


def _exit_reason(question: Question, reason: str) -> str:
    """Return in words why a trade ended."""
    key = f"exit_reason.{reason}"
    return text(key, question.person.language) if has_text(key) else reason

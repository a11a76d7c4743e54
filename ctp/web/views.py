"""What the API says about accounts: readings turned into JSON for people, words in the reader's language included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ctp.accounts.readings import Reading, open_positions, read_account
from ctp.accounts.visible import AccountState, CommandView, Visible
from ctp.errors import NotFound
from ctp.i18n import has_text, text
from ctp.trading.results import problem_of
from ctp.trading.why import why
from ctp.web.people import Visitor
from ctp.web.series import SeriesCache, chart_series

EXCHANGES = {
    "binanceusdm": "Binance USDⓈ-M",
    "binance": "Binance",
    "bybit": "Bybit",
    "okx": "OKX",
    "upbit": "Upbit",
    "bithumb": "Bithumb",
}
_DESK_TRADES, _DESK_DECISIONS, _DESK_COMMANDS = 50, 30, 3


def account_view(reading: Reading, visitor: Visitor, is_generated: bool) -> dict[str, Any]:
    """Return an account's card. Fractions are of the day's first equity; null where there is nothing yet."""
    language, account, state = visitor.language, reading.account, reading.state
    day_fraction, limit = reading.day_fraction, reading.daily_loss_limit
    is_perpetual = any(":" in symbol for symbol in account.symbols)
    return {
        "id": account.id,
        "name": account.name,
        "exchange": account.exchange,
        "exchange_name": EXCHANGES.get(account.exchange, account.exchange),
        "market_word": text("web.market.perpetual" if is_perpetual else "web.market.spot", language),
        "mode": account.mode,
        "mode_word": text(f"mode.{account.mode}", language),
        "is_generated": is_generated and account.mode == "paper",
        "symbols": list(account.symbols),
        "timeframe": account.timeframe,
        "quote": account.quote,
        "owner": None if account.relation == "owner" else account.owner,
        "status": reading.status,
        "status_word": text(f"status.{reading.status}", language),
        "status_reason": _status_reason(state, language),
        "capital": None if reading.capital is None else float(reading.capital),
        "equity": state.equity if state else None,
        "balance": state.balance if state else None,
        "day_pnl": reading.day_pnl,
        "day_fraction": day_fraction,
        "daily_loss_limit": limit,
        "limit_used": None if day_fraction is None else max(0.0, -day_fraction) / limit if limit else 1.0,
        "daily_locked": bool(state and state.daily_locked),
        "drawdown_locked": bool(state and state.drawdown_locked),
        "hold": reading.hold,
        "hold_word": text(f"web.hold.{reading.hold}", language) if reading.hold else "",
        "open_positions": len(reading.positions),
        "may_command": visitor.may_command(account.relation),
    }


def _status_reason(state: AccountState | None, language: str) -> str:
    """Return why an account does not run; a command's name is told in words, as is nothing while it runs."""
    if state is None or state.status == "running":
        return ""
    key = f"command.{state.status_reason}"
    return text(key, language) if has_text(key) else state.status_reason


def position_views(visible: Visible, reading: Reading, language: str) -> list[dict[str, Any]]:
    """Return open positions in the columns of the trading desk."""
    return [
        one._asdict() | {"side_word": text(f"side.{one.side}", language)} for one in open_positions(visible, reading)
    ]


def trade_views(
    visible: Visible, account_id: int, language: str, *, limit: int, symbol: str | None = None
) -> list[dict[str, Any]]:
    """Return closed trades, newest first, in the columns of the trade list."""
    hidden = ("account_id", "entry_order_id", "exit_order_id")
    return [
        {name: value for name, value in row.items() if name not in hidden}
        | {
            "side_word": text(f"side.{row['side']}", language),
            "exit_reason_word": text(f"exit_reason.{row['exit_reason']}", language),
        }
        for row in visible.trades(account_id, limit=limit, symbol=symbol)
    ]


def decision_views(
    visible: Visible, reading: Reading, language: str, *, limit: int, symbol: str | None = None
) -> list[dict[str, Any]]:
    """Return decisions with their reason in words, newest first."""
    return [
        {
            "symbol": row.symbol,
            "candle_time": row.candle_time,
            "close_time": row.candle_time + reading.timeframe_ms,
            "outcome": row.outcome,
            "outcome_word": text(f"web.outcome.{row.outcome}", language),
            "reason": row.reason,
            "words": why(row.outcome, row.reason, row.numbers, language, reading.account.quote, row.strategy),
            "numbers": row.numbers,
        }
        for row in visible.decisions(reading.id, symbol=symbol, limit=limit)
    ]


def command_views(visible: Visible, reading: Reading, visitor: Visitor, *, limit: int) -> list[dict[str, Any]]:
    """Return the newest commands and how far they have come."""
    names = {visitor.user_id: visitor.name, reading.account.user_id: reading.account.owner}
    return [
        command_progress(row, names.get(row.asked_by or 0, row.door), visitor.language)
        for row in visible.commands(reading.id, limit=limit)
    ]


def command_progress(command: CommandView, asked_by: str, language: str) -> dict[str, Any]:
    """Return a command and how far it has come."""
    return {
        "id": command.id,
        "kind": command.kind,
        "kind_word": text(f"command.{command.kind}", language),
        "door": command.door,
        "asked_by": asked_by,
        "asked_at": command.asked_at,
        "acknowledged_at": command.acknowledged_at,
        "done_at": command.done_at,
        "problem": problem_of(command.result if command.done_at else None, language),
    }


def desk_view(
    visible: Visible,
    cache: SeriesCache,
    visitor: Visitor,
    is_generated: Callable[[Reading], bool],
    *,
    account_id: int | None,
    symbol: str | None,
    since: int | None,
) -> dict[str, Any]:
    """Return everything the trading desk shows, in one reading of one moment.

    account_id: None means the reader's first account. symbol: None, or one the account does not trade, means its first.
    Raises NotFound when there is no such account.
    """
    language, seen = visitor.language, visible.accounts()
    if account_id is None and not seen:
        raise NotFound("no account")
    reading = read_account(visible, seen[0].id if account_id is None else account_id)
    symbols = reading.account.symbols
    chosen = symbol if symbol in symbols else symbols[0]
    return {
        "accounts": [
            {"id": one.id, "name": one.name, "mode": one.mode, "mode_word": text(f"mode.{one.mode}", language)}
            for one in seen
        ],
        "account": account_view(reading, visitor, is_generated(reading)),
        "symbol": chosen,
        "positions": position_views(visible, reading, language),
        "trades": trade_views(visible, reading.id, language, limit=_DESK_TRADES),
        "decisions": decision_views(visible, reading, language, limit=_DESK_DECISIONS),
        "commands": command_views(visible, reading, visitor, limit=_DESK_COMMANDS),
        "series": series_view(visible, cache, reading, chosen, since, language),
    }


def series_view(
    visible: Visible, cache: SeriesCache, reading: Reading, symbol: str, since: int | None, language: str
) -> dict[str, Any]:
    """Return a chart's series with the words beside its arrows."""
    series = chart_series(visible, cache, reading, symbol, since)
    for mark in series["markers"]:
        mark["text"] = text(f"web.marker.{mark['reason']}", language)
    return series

"""What doors show of an account, gathered through the eyes of whoever looks."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from ctp.accounts.code_words import read_code_state
from ctp.accounts.rights import Relation
from ctp.accounts.visible import AccountState, AccountView, Visible
from ctp.core.risk import MAX_DAILY_LOSS
from ctp.core.strategies import DEFAULT_STRATEGY
from ctp.core.timeframes import timeframe_ms

_MOST_VERSIONS = 20


class Reading(NamedTuple):
    """One account as its reader sees it: who it is, what the bot last said, and the parameters in force."""

    account: AccountView
    state: AccountState | None
    strategy: dict[str, Any]
    risk: dict[str, Any]
    strategy_name: str = DEFAULT_STRATEGY
    hold: str = ""  # why nothing is entered although it runs: code_unproven, code_changed, not_accepted

    @property
    def id(self) -> int:
        """Return the account's id."""
        return self.account.id

    @property
    def relation(self) -> Relation:
        """Return what the account is to its reader."""
        return self.account.relation

    @property
    def timeframe_ms(self) -> int:
        """Return the length of the account's candles."""
        return timeframe_ms(self.account.timeframe)

    @property
    def status(self) -> str:
        """Return what the account does; one the bot has not looked at yet is stopped."""
        return self.state.status if self.state else "stopped"

    @property
    def positions(self) -> tuple[dict[str, Any], ...]:
        """Return what is open now."""
        return self.state.positions if self.state else ()

    @property
    def daily_loss_limit(self) -> float:
        """Return the fraction of the day's first equity that may be lost."""
        return float(self.risk.get("daily_loss_limit", MAX_DAILY_LOSS))

    @property
    def capital(self) -> Decimal | None:
        """Return what was allotted, as the bot works with it."""
        return self.state.capital if self.state and self.state.capital is not None else self.account.capital

    @property
    def day_pnl(self) -> float | None:
        """Return today's profit, open positions included; None where there is nothing yet."""
        if self.state is None or self.state.equity is None or not self.state.day_start_equity:
            return None
        return self.state.equity - self.state.day_start_equity

    @property
    def day_fraction(self) -> float | None:
        """Return today's profit as a fraction of the day's first equity."""
        pnl = self.day_pnl
        return None if pnl is None or self.state is None else pnl / (self.state.day_start_equity or 1.0)


class OpenPosition(NamedTuple):
    """A position with how far the price is from its stop and take-profit, as fractions of the price.

    A stop that does not rest at the exchange is None: what is not there protects nothing.
    """

    symbol: str
    side: str
    size: float
    entry_price: float
    entry_time: int
    price: float | None
    unrealised: float | None
    unrealised_fraction: float | None
    stop_price: float | None
    take_price: float | None
    stop_distance: float | None
    take_distance: float | None
    leverage: float
    margin: float


def read_accounts(visible: Visible) -> list[Reading]:
    """Return every account the reader sees, own ones first."""
    states = visible.states()
    return [_reading(visible, account, states.get(account.id)) for account in visible.accounts()]


def read_account(visible: Visible, account_id: int) -> Reading:
    """Return one account. Raises NotFound."""
    return _reading(visible, visible.account(account_id), visible.state(account_id))


def open_positions(visible: Visible, reading: Reading) -> list[OpenPosition]:
    """Return what is open now, at the newest price."""
    if not reading.positions:
        return []
    stops = {
        order["symbol"]
        for order in visible.orders(reading.id, working=True)
        if order["purpose"] == "stop" and order["status"] in ("open", "partial")
    }
    found = []
    for position in reading.positions:
        symbol, direction = position["symbol"], 1 if position["side"] == "long" else -1
        size, entry = float(position["size"]), float(position["entry_price"])
        newest = visible.candles(reading.id, symbol, limit=1)
        price = newest[0]["close"] if newest else None
        stop = float(position["stop_price"]) if symbol in stops else None
        take = float(position["take_price"]) if position["take_price"] is not None else None
        gain = None if price is None else direction * size * (price - entry)
        found.append(
            OpenPosition(
                symbol,
                position["side"],
                size,
                entry,
                position["entry_time"],
                price,
                gain,
                None if gain is None else gain / (size * entry),
                stop,
                take,
                None if price is None or stop is None else direction * (price - stop) / price,
                None if price is None or take is None else direction * (take - price) / price,
                position["leverage"],
                position["margin"],
            )
        )
    return found


def _reading(visible: Visible, account: AccountView, state: AccountState | None) -> Reading:
    """Add the parameters in force: those the bot works with, else the newest, else the defaults (empty)."""
    versions = visible.parameter_versions(account.id, limit=_MOST_VERSIONS)
    used = state.parameter_version if state else None
    chosen = next((one for one in versions if one.version == used), versions[0] if versions else None)
    hold = read_code_state(visible, account.id).hold
    if chosen is None:
        return Reading(account, state, {}, {}, hold=hold)
    return Reading(account, state, chosen.strategy_parameters, chosen.risk_parameters, chosen.strategy, hold)

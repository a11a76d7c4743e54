"""What doors show of an account, gathered through the eyes of whoever looks."""

from __future__ import annotations

from typing import Any, NamedTuple

from ctp.accounts.rights import Relation
from ctp.accounts.visible import AccountState, AccountView, Visible
from ctp.core.risk import MAX_DAILY_LOSS
from ctp.core.timeframes import timeframe_ms

_MOST_VERSIONS = 20


class Reading(NamedTuple):
    """One account as its reader sees it: who it is, what the bot last said, and the parameters in force."""

    account: AccountView
    state: AccountState | None
    strategy: dict[str, Any]
    risk: dict[str, Any]

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


def read_accounts(visible: Visible) -> list[Reading]:
    """Return every account the reader sees, own ones first."""
    states = visible.states()
    return [_reading(visible, account, states.get(account.id)) for account in visible.accounts()]


def read_account(visible: Visible, account_id: int) -> Reading:
    """Return one account. Raises NotFound."""
    return _reading(visible, visible.account(account_id), visible.state(account_id))


def _reading(visible: Visible, account: AccountView, state: AccountState | None) -> Reading:
    """Add the parameters in force: those the bot works with, else the newest, else the defaults (empty)."""
    versions = visible.parameter_versions(account.id, limit=_MOST_VERSIONS)
    used = state.parameter_version if state else None
    chosen = next((one for one in versions if one.version == used), versions[0] if versions else None)
    return Reading(
        account, state, chosen.strategy_parameters if chosen else {}, chosen.risk_parameters if chosen else {}
    )

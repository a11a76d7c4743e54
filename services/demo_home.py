"""The people and accounts of the demo: made once in a home of its own, with passwords that nobody chose.

Invariants:
1. Preparing twice makes nothing twice; passwords are known only to the one who read them when they were made.
2. A home made for one market is not used with another: its trades would not fit.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.passwords import accept_password, new_password
from ctp.accounts.rights import machine
from ctp.accounts.trading_accounts import NewAccount, append_parameters, ask_command, create_account
from ctp.accounts.users import add_user, list_users
from ctp.accounts.vault import ExchangeKey, KeyPermissions, Vault
from ctp.config import Settings
from ctp.errors import ConfigError
from ctp.simulator.client import ControlClient
from ctp.storage.database import Database

MARKER = "demo.json"
CAPITAL = Decimal(10_000)
OWN_COINS = {"USDT": "10000", "BTC": "1"}  # the bitcoin is the user's own: no account may ever touch it


class DemoAccount(NamedTuple):
    """One account: whose, what it is called, what it trades, with which parameters instead of the defaults."""

    owner: str
    name: str
    exchange: str
    bases: tuple[str, ...]
    strategy: dict[str, Any]
    risk: dict[str, Any]


class DemoUser(NamedTuple):
    """A person of the demo; password is None when it was made in an earlier run."""

    name: str
    language: str
    password: str | None


PEOPLE = (("minsu", "ko"), ("alice", "en"))
# minsu trades the owner's rule as it stands; alice shows the other directions and the advice to trade less.
ACCOUNTS = (
    DemoAccount("minsu", "선물", "binanceusdm", ("BTC", "ETH"), {}, {}),
    DemoAccount("minsu", "현물", "binance", ("BTC", "ETH"), {}, {}),
    DemoAccount(
        "alice",
        "perpetual",
        "binanceusdm",
        ("BTC", "SOL", "XRP"),
        {"direction": "both", "trailing_stop": 0.03, "stop_loss": 0.015},
        {"leverage": 5},
    ),
    DemoAccount("alice", "spot", "binance", ("BTC", "ETH"), {"stop_atr": 2.0, "take_profit": 0.0, "overbought": 60}, {}),
)


def claim_home(home: Path, market: dict[str, Any], *, reset: bool) -> None:
    """Make the home the demo's, empty when asked; ConfigError when it holds another market or something else."""
    marker = home / MARKER
    known = json.loads(marker.read_text()) if marker.is_file() else None
    if known is None and home.is_dir() and any(home.iterdir()):
        raise ConfigError(f"{home} holds something that is not a demo; choose another folder with CTP_HOME")
    if known is not None and (reset or known != market):
        if not reset:
            raise ConfigError(f"the demo in {home} ran on another market; start it anew with --reset")
        shutil.rmtree(home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker.write_text(json.dumps(market))


def prepare_home(
    settings: Settings,
    control: ControlClient,
    timeframe: str,
    now_ms: int,
    accounts: Sequence[DemoAccount] = ACCOUNTS,
) -> list[DemoUser]:
    """Make the database, the people and their accounts, and ask for each account's start."""
    database = Database(settings.database_url)
    try:
        database.migrate()
        with database.reading() as connection:
            if list_users(connection, machine("cli")):
                return [DemoUser(name, language, None) for name, language in PEOPLE]
        people = [DemoUser(name, language, new_password()) for name, language in PEOPLE]
        kept = {person.name: accept_password(person.password or "", person.name) for person in people}
        traded = control.status()["prices"].keys()
        with database.transaction() as connection:
            owners = {
                person.name: add_user(
                    connection, machine("cli"), person.name, kept[person.name], "trader", now_ms, language=person.language
                ).id
                for person in people
            }
            for account in accounts:
                symbols = symbols_of(account, traded)
                if symbols:
                    open_account(connection, settings, control, account, owners[account.owner], symbols, timeframe, now_ms)
        return people
    finally:
        database.close()


def symbols_of(account: DemoAccount, traded: Sequence[str] | Any) -> tuple[str, ...]:
    """Return what an account trades of the symbols that the simulated exchange trades."""
    suffix = ":USDT" if account.exchange == "binanceusdm" else ""
    wanted = tuple(f"{base}/USDT{suffix}" for base in account.bases)
    return tuple(symbol for symbol in wanted if symbol in traded)


def open_account(
    connection: sa.Connection,
    settings: Settings,
    control: ControlClient,
    account: DemoAccount,
    owner_id: int,
    symbols: tuple[str, ...],
    timeframe: str,
    now_ms: int,
) -> None:
    """Open one account here and at the exchange, and ask for its start."""
    wanted = NewAccount(account.name, account.exchange, "paper", symbols, timeframe, CAPITAL)
    made = create_account(connection, machine("cli"), owner_id, wanted, now_ms, listed=symbols)
    if account.strategy or account.risk:
        append_parameters(
            connection, machine("cli"), made.id, "rsi_mean_reversion", account.strategy, account.risk, "demo", now_ms
        )
    key, secret = f"demo-{secrets.token_hex(16)}", secrets.token_hex(32)
    control.add_account(key, secret, wallet=str(CAPITAL), spot=OWN_COINS)
    rights = KeyPermissions(may_trade=True, may_withdraw=False, is_bound_to_address=True)
    Vault(settings.keys).store(connection, machine("cli"), made.id, ExchangeKey(key, secret), rights, now_ms)
    ask_command(connection, machine("cli"), made.id, "start", now_ms)

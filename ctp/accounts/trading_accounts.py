"""Trading accounts: making them, sharing them, their parameters and the commands to the bot.

Invariants:
1. Everything that changes an account checks the right to, and writes the audit log, in one transaction.
2. An account's exchange, mode and timeframe never change; parameter versions and commands are only ever appended.
3. Parameters pass the hard ceilings of `ctp.core` whichever door they come through.
4. On a live account new parameters need a verdict or a named, logged override (`live_door`), and so does Start.
5. A verdict is bound to exactly these parameters and these sources: an edit has none, a revert keeps it while both are the same.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple, get_args

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.live_door import LIVE, deciding_values, grounds_of, require_grounds
from ctp.accounts.rights import Actor, allowed, may_be_shared_with, require
from ctp.accounts.sources import source_hash
from ctp.accounts.users import read_user
from ctp.accounts.visible import AccountView, CommandView, ParameterVersion, Visible, command_view, parameter_version
from ctp.core import strategies
from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.timeframes import timeframe_ms
from ctp.errors import InputError, NotAllowed, NotFound, StateConflict
from ctp.storage.database import insert_or
from ctp.storage.tables import account_shares, accounts, commands, parameter_versions

CommandKind = Literal["start", "pause", "stop_keep", "stop_close", "close_all", "exit_symbol", "unlock"]
COMMAND_KINDS: tuple[CommandKind, ...] = get_args(CommandKind)

# Which markets an exchange has for us; a perpetual's symbol names what it settles in ("BTC/USDT:USDT").
_SPOT, _PERPETUAL = False, True
EXCHANGES: dict[str, frozenset[bool]] = {
    "binanceusdm": frozenset({_PERPETUAL}),
    "binance": frozenset({_SPOT}),
    "bybit": frozenset({_SPOT, _PERPETUAL}),
    "okx": frozenset({_SPOT, _PERPETUAL}),
    "upbit": frozenset({_SPOT}),
    "bithumb": frozenset({_SPOT}),
}
CommandRight = Literal["command", "close_all"]
MODES = ("paper", "live")


class NewAccount(NamedTuple):
    """What somebody wants a trading account to be."""

    name: str
    exchange: str
    mode: str
    symbols: tuple[str, ...]
    timeframe: str
    capital: Decimal | None = None


def create_account(
    connection: sa.Connection,
    actor: Actor,
    owner_id: int,
    wanted: NewAccount,
    now_ms: int,
    *,
    listed: Collection[str] | None = None,
) -> AccountView:
    """Make a trading account for a person.

    listed: the symbols its exchange lists; None when the caller cannot know. Raises InputError naming field, value
    and bound; NotAllowed for an owner whose role may not trade.
    """
    require(actor, "create_account")
    if actor.user_id not in (None, owner_id):
        raise NotAllowed(f"{actor.name} may make accounts for themselves only")
    owner = read_user(connection, owner_id)
    if not allowed(Actor(owner.id, owner.name, owner.role, None, actor.door), "create_account"):
        raise NotAllowed(f"{owner.name} is {owner.role} and cannot own a trading account")
    quote = check_account(wanted, listed)
    taken = sa.select(accounts.c.id).where(accounts.c.user_id == owner_id, accounts.c.name == wanted.name)
    if connection.execute(taken).first() is not None:
        raise InputError("name", wanted.name, f"{owner.name} has an account of this name already")
    symbols = sorted(wanted.symbols)
    account_id = connection.execute(
        sa.insert(accounts)
        .values(
            user_id=owner_id,
            name=wanted.name,
            exchange=wanted.exchange,
            mode=wanted.mode,
            symbols=json.dumps(symbols),
            timeframe=wanted.timeframe,
            quote=quote,
            capital=wanted.capital,
            created_at=now_ms,
        )
        .returning(accounts.c.id)
    ).scalar_one()
    details = {**wanted._asdict(), "symbols": symbols, "owner": owner.name}
    record(connection, actor, "account.create", f"account:{account_id}", now_ms, **details)
    return Visible(connection, actor).account(account_id)


def set_capital(connection: sa.Connection, actor: Actor, account_id: int, capital: Decimal, now_ms: int) -> AccountView:
    """Allot another capital; the bot books the difference as a transfer, never as profit."""
    visible = Visible(connection, actor)
    before = visible.for_action("edit_account", account_id)
    _check_capital(capital)
    connection.execute(sa.update(accounts).where(accounts.c.id == account_id).values(capital=capital))
    change = {"before": before.capital, "after": capital}
    record(connection, actor, "account.capital", f"account:{account_id}", now_ms, **change)
    return visible.account(account_id)


def share_account(connection: sa.Connection, actor: Actor, account_id: int, user_id: int, role: str, now_ms: int) -> None:
    """Let another person see an account (`viewer`), or also command it (`trader`), as far as their own role allows."""
    account = Visible(connection, actor).for_action("edit_account", account_id)
    if role not in ("viewer", "trader"):
        raise InputError("as", role, "must be viewer or trader")
    guest = read_user(connection, user_id)
    if guest.id == account.user_id:
        raise InputError("with", guest.name, "owns this account")
    if not may_be_shared_with(guest.role):
        raise NotAllowed(f"{guest.name} is {guest.role}: operators see health figures, not accounts")
    row = {"role": role, "granted_by": actor.user_id or account.user_id, "granted_at": now_ms}
    connection.execute(
        insert_or(connection, account_shares)
        .values(account_id=account_id, user_id=user_id, **row)
        .on_conflict_do_update(index_elements=[account_shares.c.account_id, account_shares.c.user_id], set_=row)
    )
    record(connection, actor, "account.share", f"account:{account_id}", now_ms, guest=guest.name, role=role)


def unshare_account(connection: sa.Connection, actor: Actor, account_id: int, user_id: int, now_ms: int) -> None:
    """Take a share back. Raises NotFound when there is none."""
    Visible(connection, actor).for_action("edit_account", account_id)
    this = sa.and_(account_shares.c.account_id == account_id, account_shares.c.user_id == user_id)
    if connection.execute(sa.delete(account_shares).where(this)).rowcount == 0:
        raise NotFound(f"account {account_id} is not shared with user {user_id}")
    record(connection, actor, "account.unshare", f"account:{account_id}", now_ms, guest_id=user_id)


class Evidence(NamedTuple):
    """What speaks for parameters: the data they were found on, and what a validation said about them."""

    data_hash: str | None = None
    verdict: str | None = None  # green, amber, red
    fingerprint: str | None = None
    details: Mapping[str, Any] = {}  # data, reasons, versions


NO_EVIDENCE = Evidence()


def append_parameters(
    connection: sa.Connection,
    actor: Actor,
    account_id: int,
    strategy: str,
    strategy_parameters: Mapping[str, Any],
    risk_parameters: Mapping[str, Any],
    reason: str,
    now_ms: int,
    *,
    evidence: Evidence = NO_EVIDENCE,
    override: str = "",
) -> ParameterVersion:
    """Append a parameter version, pinned to the sources of this program; the bot takes it up at its next decision.

    override: on a live account, why these parameters may trade without a green verdict; kept with the version and in the
    audit log. Raises InputError past any bound or ceiling, NotAllowed on a live account without grounds.
    """
    account = Visible(connection, actor).for_action("edit_parameters", account_id)
    checked_strategy, checked_risk = check_parameters(account, strategy, strategy_parameters, risk_parameters)
    if not reason.strip():
        raise InputError("reason", reason, "say in a few words why, for those who read the history")
    row = {
        "account_id": account_id,
        "strategy": strategy,
        "strategy_parameters": json.dumps(checked_strategy.to_dict()),
        "risk_parameters": json.dumps(checked_risk.to_dict()),
        "source_hash": source_hash(strategy),
        "data_hash": evidence.data_hash,
        "verdict": evidence.verdict,
        "fingerprint": evidence.fingerprint,
        "evidence": json.dumps(dict(evidence.details), ensure_ascii=False, sort_keys=True),
        "override": override.strip()[:256],
        "author_id": actor.user_id,
        "reason": reason.strip()[:256],
        "created_at": now_ms,
    }
    if account.mode == LIVE:
        deciding = deciding_values(
            strategy, row["strategy_parameters"], row["risk_parameters"], row["source_hash"]
        )
        require_grounds(connection, account.name, deciding, evidence.verdict, override)
    last = _lock_and_find_last_version(connection, account_id)
    row["version"] = last + 1
    version_id = connection.execute(
        sa.insert(parameter_versions).values(**row).returning(parameter_versions.c.id)
    ).scalar_one()
    details = {"version": last + 1, "reason": reason, "override": override, "verdict": evidence.verdict}
    if actor.is_machine:
        details["system_user"] = _system_user()
    record(connection, actor, "parameters.append", f"account:{account_id}", now_ms, **details)
    return parameter_version({"id": version_id, **row})


def revert_parameters(
    connection: sa.Connection,
    actor: Actor,
    account_id: int,
    version: int,
    now_ms: int,
    *,
    reason: str = "",
    override: str = "",
) -> ParameterVersion:
    """Append an earlier version's parameters as the newest; today's ceilings and the door to live hold for them too.

    Their verdict comes back with them as long as the sources that decide are the same as then.
    """
    visible = Visible(connection, actor)
    visible.for_action("edit_parameters", account_id)
    earlier = [one for one in visible.parameter_versions(account_id, limit=10_000) if one.version == version]
    if not earlier:
        raise NotFound(f"account {account_id} has no parameter version {version}")
    one = earlier[0]
    evidence = NO_EVIDENCE
    if one.source_hash == source_hash(one.strategy):
        evidence = Evidence(one.data_hash, one.verdict, one.fingerprint, one.evidence)
    words = f"back to version {version}"
    return append_parameters(
        connection,
        actor,
        account_id,
        one.strategy,
        one.strategy_parameters,
        one.risk_parameters,
        f"{words}: {reason.strip()}" if reason.strip() else words,
        now_ms,
        evidence=evidence,
        override=override,
    )


def check_parameters(
    account: AccountView, strategy: str, strategy_parameters: Mapping[str, Any], risk_parameters: Mapping[str, Any]
) -> tuple[ParameterSet, DynamicRiskManager]:
    """Return the parameters as sets of core, checked against bounds, ceilings and the account's markets."""
    is_perpetual = all(":" in symbol for symbol in account.symbols)
    chosen = strategies.find(strategy).parameters.from_dict(dict(strategy_parameters))
    direction = getattr(chosen, "direction", "long")
    if direction != "long" and not is_perpetual:
        raise InputError("direction", direction, "must be long on a spot market")
    risk = DynamicRiskManager.from_dict(dict(risk_parameters))
    risk.for_market(is_perpetual)
    return chosen, risk


def ask_command(
    connection: sa.Connection,
    actor: Actor,
    account_id: int,
    kind: str,
    now_ms: int,
    *,
    request_key: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> CommandView:
    """Ask the bot to do something with an account, and return the command.

    arguments: `exit_symbol` needs `symbol`; the others have none.
    request_key: the same key again is the same command again (a double click), and returns the first.
    Raises NotFound, NotAllowed, InputError; StateConflict when the key was used for something else.
    """
    if kind not in COMMAND_KINDS:
        raise InputError("command", kind, "must be one of " + ", ".join(COMMAND_KINDS))
    if request_key is not None and not 1 <= len(request_key) <= 64:
        raise InputError("request_key", request_key[:80], "must have 1 to 64 characters")
    account = account_to_command(connection, actor, account_id, "close_all" if kind == "close_all" else "command")
    if account.closed_at is not None and kind == "start":
        raise NotAllowed(f"account {account.name} is closed")
    if kind == "start" and (problem := grounds_of(connection, account_id).problem):
        raise NotAllowed(f"the live account {account.name} does not start with its parameters: {problem}")
    _check_arguments(account, kind, dict(arguments or {}))
    values = {
        "account_id": account_id,
        "kind": kind,
        "arguments": json.dumps(dict(arguments or {}), sort_keys=True),
        "asked_by": actor.user_id,
        "door": actor.door,
        "request_key": request_key,
        "asked_at": now_ms,
    }
    new_id = connection.execute(
        insert_or(connection, commands)
        .values(**values)
        .on_conflict_do_nothing(index_elements=[commands.c.request_key])
        .returning(commands.c.id)
    ).scalar()
    which = commands.c.id == new_id if new_id is not None else commands.c.request_key == request_key
    row = dict(connection.execute(sa.select(commands).where(which)).mappings().one())
    if new_id is None:
        if any(row[name] != values[name] for name in ("account_id", "kind", "arguments", "asked_by")):
            raise StateConflict(f"request_key {request_key!r} was used for another command")
        return command_view(row)
    record(connection, actor, f"command.{kind}", f"account:{account_id}", now_ms, command=new_id, **(arguments or {}))
    return command_view(row)


def _check_arguments(account: AccountView, kind: str, arguments: dict[str, Any]) -> None:
    """Raise InputError unless a command has what it needs, and nothing else."""
    if kind == "exit_symbol":
        symbol = arguments.pop("symbol", None)
        if symbol not in account.symbols:
            raise InputError("symbol", symbol, f"{account.name} trades {', '.join(account.symbols)}")
    if arguments:
        raise InputError("arguments", sorted(arguments), f"{kind} does not take them")


def accounts_to_command(connection: sa.Connection, actor: Actor, action: CommandRight) -> list[AccountView]:
    """Return the open accounts an actor may command. An administrator may close what they cannot see."""
    if allowed(actor, action, "none"):
        return _unseen(connection, actor).accounts()
    visible = Visible(connection, actor)
    return [account for account in visible.accounts() if visible.may(action, account)]


def account_to_command(
    connection: sa.Connection, actor: Actor, account_id: int, action: CommandRight
) -> AccountView:
    """Return the account a command is for. An administrator may close what they cannot see.

    Raises NotFound, NotAllowed.
    """
    try:
        return Visible(connection, actor).for_action(action, account_id)
    except NotFound:
        if not allowed(actor, action, "none"):
            raise
    owner_id = connection.execute(sa.select(accounts.c.user_id).where(accounts.c.id == account_id)).scalar()
    if owner_id is None:
        raise NotFound(f"no account {account_id}")
    return _unseen(connection, actor).account(account_id)


def _unseen(connection: sa.Connection, actor: Actor) -> Visible:
    """Look at every account's name, for somebody whose right does not depend on seeing it."""
    return Visible(connection, Actor(None, actor.name, actor.role, None, actor.door))


def check_account(wanted: NewAccount, listed: Collection[str] | None) -> str:
    """Raise InputError unless the account makes sense; return its quote currency."""
    if not wanted.name.strip() or len(wanted.name) > 64 or "/" in wanted.name or wanted.name.isdecimal():
        raise InputError("name", wanted.name, "must be 1 to 64 characters without / and not just a number")
    if wanted.exchange not in EXCHANGES:
        raise InputError("exchange", wanted.exchange, "must be one of " + ", ".join(EXCHANGES))
    if wanted.mode not in MODES:
        raise InputError("mode", wanted.mode, "must be paper or live")
    timeframe_ms(wanted.timeframe)
    if wanted.capital is not None:
        _check_capital(wanted.capital)
    if not wanted.symbols or len(set(wanted.symbols)) != len(wanted.symbols):
        raise InputError("symbols", ",".join(wanted.symbols), "name at least one symbol, each once")
    kinds, quotes = set(), set()
    for symbol in wanted.symbols:
        pair, _, settle = symbol.partition(":")
        base, _, quote = pair.partition("/")
        if not base or not quote or (":" in symbol and settle != quote):
            raise InputError("symbols", symbol, "must look like BTC/USDT, or BTC/USDT:USDT for a perpetual")
        kinds.add(":" in symbol)
        quotes.add(quote)
        if (":" in symbol) not in EXCHANGES[wanted.exchange]:
            looks = "BTC/USDT:USDT" if _PERPETUAL in EXCHANGES[wanted.exchange] else "BTC/USDT"
            raise InputError("symbols", symbol, f"{wanted.exchange} trades symbols such as {looks}")
        if listed is not None and symbol not in listed:
            raise InputError("symbols", symbol, f"{wanted.exchange} does not list it")
    if len(kinds) > 1 or len(quotes) > 1:
        bound = "an account trades spot or perpetuals, all in one quote currency"
        raise InputError("symbols", ",".join(wanted.symbols), bound)
    return quotes.pop()


def _check_capital(capital: Decimal) -> None:
    """Raise InputError unless the capital is an amount of money."""
    if not capital.is_finite() or capital <= 0:
        raise InputError("capital", str(capital), "must be a number above 0")


def _system_user() -> str:
    """Return the operating system's user who runs this: the name of whoever works in the server's shell."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _lock_and_find_last_version(connection: sa.Connection, account_id: int) -> int:
    """Return the newest version's number, keeping others from appending until this transaction ends."""
    # SQLite's transaction has the lock already, and ignores FOR UPDATE.
    connection.execute(sa.select(accounts.c.id).where(accounts.c.id == account_id).with_for_update())
    newest = sa.select(sa.func.max(parameter_versions.c.version)).where(parameter_versions.c.account_id == account_id)
    return connection.execute(newest).scalar() or 0

"""Take one person's data in: all of it or nothing, under numbers of this server.

Invariants:
1. One transaction; a dry run is the same transaction, rolled back.
2. Every value is checked against its column, every parameter against today's ceilings; live accounts need an override.
   What another server found good is not proven here: of the verdicts only red ones come along, of the overrides none.
3. Numbers of accounts, orders, ledger rows are mapped; an account with an open position or order keeps its number, or is
   refused: its orders at the exchange are named after it.
4. Accounts come in paused, like restored ones, and wait for Start.
"""

from __future__ import annotations

import base64
import json
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ctp.accounts.audit import record
from ctp.accounts.live_door import LIVE, RED, accept, deciding_values, require_grounds
from ctp.accounts.passwords import NewPassword
from ctp.accounts.rights import Actor
from ctp.accounts.trading_accounts import NewAccount, check_account, check_parameters
from ctp.accounts.users import User, add_user, find_user
from ctp.accounts.vault import ExchangeKey, KeyPermissions, Vault
from ctp.accounts.visible import Visible
from ctp.backup.create import pass_by
from ctp.backup.swap import refuse_when_used
from ctp.backup.user_export import passphrase_key
from ctp.backup.user_files import KEYS, TABLES, UserArchive, file_of, open_user_data
from ctp.core.memory import dump, load
from ctp.core.orders import FINAL, client_order_id, read_order_id
from ctp.errors import InputError, NotAllowed, NotFound
from ctp.storage.database import Database
from ctp.storage.tables import Exact, accounts, metadata, notice_settings, users
from ctp.trading.store import PAUSED, RESTORED

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MINE = ("user_id", "author_id", "asked_by")
_LONGEST_TEXT = 1 << 20
_AT_ONCE = 1000  # rows
_MOST_BESIDE_THE_BOT = 20_000  # rows; SQLite has one writer, and a bot that cannot write takes no entries
_MOST_DIGITS = 48  # before or after the point
_SKIPPED = {"request_key"}  # of commands: unique on this server


class Imported(NamedTuple):
    """What was taken in, or would be."""

    user: str
    is_new_user: bool
    accounts: dict[str, int]  # name -> number here
    rows: dict[str, int]
    keys: int


class _DryRun(Exception):
    """Rolls a dry run back."""


def import_user(
    database: Database,
    vault: Vault,
    actor: Actor,
    file: Path,
    now_ms: int,
    *,
    name: str = "",
    password: Callable[[str], NewPassword] | None = None,
    passphrase: str = "",
    override: str = "",
    dry_run: bool = False,
    checkpoint: Callable[[str], None] = pass_by,
) -> Imported:
    """Take an export in.

    name: of the person here; empty: as in the export. password: makes the password of a person who is new here.
    override: why live accounts may trade with these parameters. Raises InputError, NotAllowed or StorageUnavailable in one
    sentence; then nothing has changed.
    """
    done: list[Imported] = []
    try:
        with open_user_data(file) as data, _room_for(database, data, now_ms) as connection:
            checkpoint("read")
            try:
                work = _Import(connection, actor, data, now_ms, override, checkpoint)
                done.append(work.run(vault, name or data.user, password, passphrase))
            except (sa.exc.IntegrityError, sa.exc.DataError) as error:
                reason = str(error.orig).splitlines()[0]
                raise InputError("file", file.name, f"contradicts itself or this server: {reason}") from None
            except sa.exc.StatementError as error:
                if isinstance(error, sa.exc.DBAPIError):
                    raise
                raise InputError("file", file.name, f"holds what no database can keep ({error.orig})"[:300]) from None
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
                raise InputError("file", file.name, f"holds what is no data of ours ({type(error).__name__})") from None
            checkpoint("written")
            if dry_run:
                raise _DryRun
    except _DryRun:
        return done[0]
    checkpoint("committed")
    return done[0]


@contextmanager
def _room_for(database: Database, data: UserArchive, now_ms: int) -> Iterator[sa.Connection]:
    """Open the transaction of an import. Raises NotAllowed for a long one that would hold up a bot at work."""
    if database.is_sqlite and sum(data.rows_of.values()) > _MOST_BESIDE_THE_BOT:
        refuse_when_used(database, now_ms)
    with database.transaction() as connection:
        yield connection


class _Import:
    """One import while it goes on."""

    def __init__(
        self,
        connection: sa.Connection,
        actor: Actor,
        data: UserArchive,
        now_ms: int,
        override: str,
        checkpoint: Callable[[str], None],
    ) -> None:
        """Take the data; nothing is written yet."""
        self.connection, self.actor, self.data, self.now_ms = connection, actor, data, now_ms
        self.override, self.checkpoint = override, checkpoint
        self.accounts: dict[int, int] = {}
        self.orders: dict[str, str] = {}
        self.ledger: dict[int, int] = {}
        self.ledger_order: list[int] | None = None
        self.open_numbers: set[Any] | None = None  # of accounts with something open at the exchange

    def run(
        self, vault: Vault, name: str, password: Callable[[str], NewPassword] | None, passphrase: str
    ) -> Imported:
        """Write everything."""
        person, is_new = self._person(name, password)
        names = {}
        for row in self.data.rows("accounts"):
            names[str(row["name"])] = self._account(row, person)
        self.checkpoint("accounts")
        for table in TABLES[1:]:
            self._table(table, person)
            self.checkpoint(table)
        for number in self.accounts.values():
            self._check_parameters(number)
        keys = self._keys(vault, passphrase)
        rows = {table: self.data.rows_of[table] for table in TABLES}
        details = {"accounts": len(names), "override": self.override, "from_user": self.data.user}
        record(self.connection, self.actor, "user.import", f"user:{person.id}", self.now_ms, **details)
        return Imported(person.name, is_new, names, rows, keys)

    def _person(self, name: str, password: Callable[[str], NewPassword] | None) -> tuple[User, bool]:
        """Return who gets the data, made when new here."""
        try:
            return find_user(self.connection, name), False
        except NotFound:
            if password is None:
                raise InputError("user", name, "is new here and needs a password: --password-stdin") from None
        profile = self.data.profile
        role = str(profile["role"]) if profile["role"] in ("trader", "quant", "viewer") else "trader"  # no rights come along
        made = add_user(
            self.connection, self.actor, name, password(name), role, self.now_ms, language=str(profile["language"])
        )
        chosen = {"zone", "theme", "rise_colour", "quiet_from", "quiet_until", "report_at", "weekly_report", "monthly_report"}
        values = self._values(users, {key: profile[key] for key in chosen}, partial=True)
        self.connection.execute(sa.update(users).where(users.c.id == made.id).values(values))
        for kind, channel, enabled in profile["notices"]:
            row = self._values(notice_settings, {"user_id": made.id, "kind": kind, "channel": channel, "enabled": enabled})
            self.connection.execute(sa.insert(notice_settings).values(row))
        return made, True

    def _account(self, row: Mapping[str, Any], person: User) -> int:
        """Write one account; returns its number here."""
        values = self._values(accounts, {**row, "user_id": person.id})
        name, symbols = values["name"], json.loads(values["symbols"])
        if name.startswith(_FORMULA):
            raise InputError("name", name, "begins like a formula of a spreadsheet")
        wanted = NewAccount(name, values["exchange"], values["mode"], tuple(symbols), values["timeframe"], values["capital"])
        if check_account(wanted, None) != values["quote"]:
            raise InputError("quote", values["quote"], "is not what these symbols are quoted in")
        old = values.pop("id")
        taken = self.connection.scalar(sa.select(accounts.c.id).where(accounts.c.id == old))
        same = sa.select(accounts.c.id).where(accounts.c.user_id == person.id, accounts.c.name == name)
        if self.connection.scalar(same) is not None:
            raise InputError("name", name, f"{person.name} has an account of this name already")
        if taken is not None:
            self._refuse_open(old, name)
        insert = sa.insert(accounts).values(values if taken is not None else {**values, "id": old})
        number = int(self.connection.execute(insert.returning(accounts.c.id)).scalar_one())
        self.accounts[old] = number
        details = {"name": name, "mode": values["mode"], "owner": person.name, "number_before": old}
        record(self.connection, self.actor, "account.create", f"account:{number}", self.now_ms, **details)
        return number

    def _refuse_open(self, number: int, name: str) -> None:
        """Refuse an account that has something open at the exchange under a number that is somebody else's here."""
        if self.open_numbers is None:
            working = {one["account_id"] for one in self.data.rows("orders") if one["status"] not in FINAL}
            states = self.data.rows("account_states")
            self.open_numbers = working | {one["account_id"] for one in states if load(one["core_state"]).get("positions")}
        if number in self.open_numbers:
            raise NotAllowed(
                f"account {name} has open positions or orders, and its number {number} is taken here: close them first"
                " and export again, or import into a fresh server"
            )

    def _table(self, name: str, person: User) -> None:
        """Write the rows of one table."""
        table = metadata.tables[name]
        counts = "id" in table.c and isinstance(table.c["id"].type, sa.Integer)
        made: list[dict[str, Any]] = []
        for row in self.data.rows(name):
            values = dict(row)
            for column in _MINE:
                if column in values:
                    values[column] = person.id if values[column] == "me" else None
            if name == "notices":
                values["user_id"] = person.id
            if values.get("account_id") is not None:
                values["account_id"] = self._mapped(self.accounts, values["account_id"], "account")
            for column in ("order_id", "entry_order_id", "exit_order_id"):
                if values.get(column) is not None:
                    values[column] = self._mapped(self.orders, values[column], "order")
            if name == "orders":
                values["id"] = self._order_id(values, row)
            if name == "account_states":
                values = self._state(values)
            if name == "parameter_versions":
                values = _unproven(values)
            values = self._values(table, {key: value for key, value in values.items() if key not in _SKIPPED})
            if name == "commands" and values.get("done_at") is None:
                values |= {"done_at": self.now_ms, "result": "not done: imported"}
            if counts:
                del values["id"]
            if name == "ledger":
                number = self.connection.execute(sa.insert(table).values(values).returning(table.c.id)).scalar_one()
                self.ledger[int(row["id"])] = int(number)
                continue
            made.append(values)
            if len(made) == _AT_ONCE:
                self.connection.execute(sa.insert(table), made)
                made.clear()
        if made:
            self.connection.execute(sa.insert(table), made)

    def _order_id(self, values: Mapping[str, Any], row: Mapping[str, Any]) -> str:
        """Return an order's name here: of the account's number here."""
        old, number = str(row["id"]), int(values["account_id"])
        name = read_order_id(old, int(row["account_id"]), str(row["symbol"]))
        if name is None:
            raise InputError("order", old, "is not named as orders of its account are")
        self.orders[old] = old if number == row["account_id"] else client_order_id(number, str(row["symbol"]), *name)
        return self.orders[old]

    def _state(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return an account's state with the numbers of this server, paused."""
        plain = load(values["core_state"])
        if plain:
            plain["pending"] = [self._mapped(self.ledger, one, "ledger row") for one in plain["pending"]]
            plain["entry_orders"] = {
                symbol: self._mapped(self.orders, order, "order") for symbol, order in plain["entry_orders"].items()
            }
            values["core_state"] = dump(plain)
        if self.ledger_order is None:
            self.ledger_order = sorted(self.ledger)
        before = bisect_right(self.ledger_order, int(values["ledger_id"]))
        values["ledger_id"] = self.ledger[self.ledger_order[before - 1]] if before else 0
        return {**values, "status": PAUSED, "status_reason": RESTORED}

    def _mapped(self, numbers: Mapping[Any, Any], old: Any, what: str) -> Any:
        """Return what a number of the export is here."""
        if old not in numbers:
            raise InputError(what, str(old)[:80], "is pointed to and is not in the export")
        return numbers[old]

    def _check_parameters(self, number: int) -> None:
        """Refuse parameters past today's ceilings, and a live account's without grounds."""
        view = Visible(self.connection, Actor(None, "cli", "admin", None, "cli")).account(number)
        newest = Visible(self.connection, Actor(None, "cli", "admin", None, "cli")).parameter_versions(number, limit=1)
        if not newest:
            return
        one = newest[0]
        check_parameters(view, one.strategy, one.strategy_parameters, one.risk_parameters)
        if view.mode == LIVE and not self.override.strip():
            raise NotAllowed(
                f'the live account {view.name} brings parameters of another server; say why they may trade: --override "..."'
            )
        if view.mode == LIVE:
            strategy_text, risk_text = json.dumps(one.strategy_parameters), json.dumps(one.risk_parameters)
            deciding = deciding_values(one.strategy, strategy_text, risk_text, one.source_hash)
            require_grounds(self.connection, view.name, deciding, one.verdict, self.override)
            accept(self.connection, self.actor, number, self.override, self.now_ms)
        details = {"version": one.version, "reason": "imported", "override": self.override}
        record(self.connection, self.actor, "parameters.append", f"account:{number}", self.now_ms, **details)

    def _keys(self, vault: Vault, passphrase: str) -> int:
        """Take in exchange keys, if the passphrase for them was given; returns how many."""
        sealed = self.data.sealed_keys
        if sealed is None or not passphrase:
            return 0
        try:
            parts = {name: base64.b64decode(str(sealed[name])) for name in ("salt", "nonce", "sealed")}
            opened = AESGCM(passphrase_key(passphrase, parts["salt"])).decrypt(
                parts["nonce"], parts["sealed"], b"ctp-user-keys"
            )
        except (InvalidTag, ValueError):
            raise InputError("passphrase", "***", f"does not open {KEYS}") from None
        found = json.loads(opened)
        for old, plain in found.items():
            permissions = KeyPermissions(**plain.pop("permissions"))
            number = self._mapped(self.accounts, int(old), "account")
            vault.store(self.connection, self.actor, number, ExchangeKey(**plain), permissions, self.now_ms)
        return len(found)

    def _values(self, table: sa.Table, row: Mapping[str, Any], *, partial: bool = False) -> dict[str, Any]:
        """Return a row whose every value fits its column. Raises InputError naming table, column and bound.

        partial: only the columns it has; otherwise all of them, so that rows can be written together.
        """
        if unknown := set(row) - set(table.columns.keys()):
            raise InputError(file_of(table.name), ", ".join(sorted(unknown))[:80], "is not what the table has")
        found = {name: _value(table.c[name], value) for name, value in row.items()}
        return found if partial else {column.name: _given(column, found) for column in table.columns}


def _given(column: sa.Column[Any], row: Mapping[str, Any]) -> Any:
    """Return a column's value, or what stands for it when it was left out."""
    if column.name in row:
        return row[column.name]
    if column.default is not None and column.default.is_scalar:
        return column.default.arg  # type: ignore[attr-defined]
    if column.nullable:
        return None
    raise InputError(file_of(column.table.name), column.name, "is missing in a row")


def _unproven(values: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter version without what another server, or whoever wrote the file, says in its favour."""
    if not isinstance(json.loads(values.get("evidence", "{}")), dict):
        raise InputError("evidence", "…", "must be a JSON object")
    if values.get("verdict") != RED:
        values = {**values, "verdict": None, "fingerprint": None}
    return {**values, "override": ""}


def _value(column: sa.Column[Any], value: Any) -> Any:
    """Return a value as its column takes it."""
    kind, place = column.type, f"{column.table.name}.{column.name}"
    if value is None:
        if not column.nullable:
            raise InputError(place, value, "must not be empty")
        return None
    if isinstance(kind, Exact):
        try:
            exact = Decimal(value) if isinstance(value, str) and len(value) <= 64 else None
        except InvalidOperation:
            exact = None
        # 1e999999999 is a short text and a gigabyte once it is written out.
        if exact is None or not exact.is_finite() or max(abs(exact.adjusted()), -int(exact.as_tuple().exponent)) > _MOST_DIGITS:
            raise InputError(place, str(value)[:80], "must be a decimal number, as text")
        return exact
    longest = getattr(kind, "length", None) or _LONGEST_TEXT
    fits: dict[type, Callable[[Any], bool]] = {
        sa.Boolean: lambda one: isinstance(one, bool),
        sa.Integer: lambda one: isinstance(one, int) and not isinstance(one, bool) and abs(one) < 2**63,
        sa.Float: lambda one: isinstance(one, int | float) and not isinstance(one, bool) and abs(one) <= sys.float_info.max,
        sa.String: lambda one: isinstance(one, str) and len(one) <= longest and "\0" not in one,
    }
    for type_, test in fits.items():
        if isinstance(kind, type_):
            if not test(value):
                raise InputError(place, str(value)[:80], f"does not fit its column ({kind})")
            return value
    raise InputError(place, "***", "cannot be imported")


"""Write one person's data into a ZIP: theirs, all of it, and nobody else's.

Invariants:
1. Every row is taken through the accounts the person owns; of other people there is not even a name.
2. No password hash, no session, no e-mail code. Exchange keys only under a passphrase the person gives.
3. No cell of a CSV can be taken for a formula.
4. Rows go from the database to the file one by one: an export needs little memory, however long somebody has traded.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import secrets
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ctp.accounts.audit import record
from ctp.accounts.rights import Actor, require
from ctp.accounts.users import find_user
from ctp.accounts.vault import Vault
from ctp.backup.durable import new_file
from ctp.backup.user_files import FORMAT, KEYS, MANIFEST, PROFILE, README, TABLES, file_of
from ctp.config import Settings
from ctp.errors import InputError, NotAllowed, NotFound
from ctp.storage import migrations
from ctp.storage.database import Database
from ctp.storage.tables import accounts, exchange_keys, metadata, notice_settings, reports, users

_PROFILE = ("name", "role", "language", "zone", "theme", "rise_colour", "quiet_from", "quiet_until", "report_at",
            "weekly_report", "monthly_report")  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_TRADES = ["account", "exchange", "mode", "symbol", "side", "opened", "entry_price", "closed", "exit_price", "size",
           "leverage", "fee", "funding", "profit_or_loss", "currency", "reason"]  # fmt: skip
_FILLS = ["account", "exchange", "mode", "time", "kind", "symbol", "side", "price", "size", "fee_or_amount", "asset", "id"]
_AT_ONCE = 500  # rows fetched together
SHORTEST_PASSPHRASE = 12
SCRYPT = {"n": 1 << 15, "r": 8, "p": 1}
_README = """Your data of Crypto Trader Pro, exported {when}.

csv/trades.csv     every closed trade: when, what, at which price, fees, funding, profit or loss in the quote currency
csv/fills.csv      every single purchase and sale with its fee, as the exchange reported it
data/*.jsonl       everything the program knows of your accounts, one JSON object a row: accounts, parameter versions,
                   orders, ledger (fills, fees, funding, transfers), trades, decisions with their reasons, equity,
                   commands, notices, your profile. Times are milliseconds since 1970 UTC, exact decimals are text.
exchange_keys.json only if you gave a passphrase: your exchange keys, sealed with it (scrypt, AES-256-GCM)
reports/*.html     your daily, weekly and monthly reports; `ctp import` leaves them alone, they can be made again
manifest.json      which file has how many rows and which SHA-256

SIMULATED money and LIVE money are told apart in the column `mode`. `ctp import` reads this file on another server.
"""


def export_user(
    settings: Settings, database: Database, actor: Actor, name: str, file: Path, now_ms: int, *, passphrase: str = ""
) -> dict[str, int]:
    """Write a person's data into a new file; returns the number of rows by table, and of `reports`.

    passphrase: also put the exchange keys in, sealed with it. Raises NotFound, NotAllowed for another person's data,
    InputError for a short passphrase or a file that exists.
    """
    if passphrase and len(passphrase) < SHORTEST_PASSPHRASE:
        raise InputError("passphrase", "***", f"must have at least {SHORTEST_PASSPHRASE} characters")
    if file.exists():
        raise InputError("FILE", str(file), "exists; name a new one")
    with database.reading() as connection:
        person = find_user(connection, name)
        if actor.user_id not in (None, person.id):
            raise NotAllowed(f"{actor.name} may export their own data only")
        require(actor, "export_own")
        with new_file(file) as sink, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            export = _Export(connection, archive, person.id)
            export.write(Vault(settings.keys), passphrase)
            export.add_reports(settings.reports)
            manifest = {
                "format": FORMAT,
                "schema": migrations.head(),
                "program": version("ctp"),
                "user": person.name,
                "exported_at": now_ms,
                "files": export.files,
            }
            archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
            when = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
            archive.writestr(README, _README.format(when=when))
    with database.transaction() as connection:
        record(connection, actor, "user.export", f"user:{person.id}", now_ms, keys=bool(passphrase))
    return export.counts


class _Export:
    """One export while it is written."""

    def __init__(self, connection: sa.Connection, archive: zipfile.ZipFile, user_id: int) -> None:
        """Take the caller's reading transaction and an open archive."""
        self._connection, self._archive, self._user_id = connection, archive, user_id
        self.files: dict[str, dict[str, Any]] = {}
        self.counts: dict[str, int] = {}

    def write(self, vault: Vault, passphrase: str) -> None:
        """Write every table, the tables for people, and the exchange keys if a passphrase was given."""
        profile = self._profile()
        mine = {row["id"]: row for row in self._rows("accounts")}
        self._add_lines(PROFILE, [profile])
        for table in TABLES:
            self._add_lines(table, self._rows(table))
        zone = ZoneInfo(str(profile["zone"]))
        self._add("csv/trades.csv", _csv(_TRADES, (_trade(row, mine, zone) for row in self._rows("trades"))))
        self._add("csv/fills.csv", _csv(_FILLS, (_fill(row, mine, zone) for row in self._rows("ledger"))))
        if passphrase:
            self._add(KEYS, [json.dumps(_sealed_keys(self._connection, vault, list(mine), passphrase)).encode()])

    def add_reports(self, folder: Path) -> None:
        """Put in the reports about the person's own accounts that were made for them."""
        mine = sa.select(accounts.c.id).where(accounts.c.user_id == self._user_id)
        where = (reports.c.user_id == self._user_id, reports.c.account_id.in_(mine), reports.c.status == "done")
        columns = (reports.c.kind, reports.c.period, reports.c.account_id, reports.c.file)
        place, self.counts["reports"] = folder.resolve(), 0
        for row in self._connection.execute(sa.select(*columns).where(*where).order_by(reports.c.id)):
            file = (place / row.file).resolve()
            if file.is_file() and file.is_relative_to(place):
                self._add(f"reports/{row.kind}-{row.period}-account-{row.account_id}.html", [file.read_bytes()])
                self.counts["reports"] += 1

    def _add_lines(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Write a table as JSON, one row a line."""
        count = 0

        def lines() -> Iterator[bytes]:
            nonlocal count
            for row in rows:
                count += 1
                yield (json.dumps(row, ensure_ascii=False, allow_nan=True) + "\n").encode()

        self._add(file_of(table), lines())
        self.files[file_of(table)]["rows"] = self.counts[table] = count

    def _add(self, path: str, parts: Iterable[bytes]) -> None:
        """Write one file, and note its hash."""
        digest = hashlib.sha256()
        with self._archive.open(path, "w") as sink:
            for part in parts:
                digest.update(part)
                sink.write(part)
        self.files[path] = {"sha256": digest.hexdigest(), "rows": 0}

    def _profile(self) -> dict[str, Any]:
        """Return how the person's pages look and what they are told."""
        connection, chosen = self._connection, sa.select(notice_settings).where(notice_settings.c.user_id == self._user_id)
        row = connection.execute(sa.select(*(users.c[one] for one in _PROFILE)).where(users.c.id == self._user_id))
        notices = [[one.kind, one.channel, one.enabled] for one in connection.execute(chosen)]
        return {**row.mappings().one(), "notices": notices}

    def _rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the person's rows of a table."""
        table = metadata.tables[name]
        mine = sa.select(accounts.c.id).where(accounts.c.user_id == self._user_id)
        owner = "id" if name == "accounts" else "account_id"
        where: sa.ColumnElement[bool] = table.c[owner].in_(mine)
        if name == "notices":  # not those about accounts that others share with this person
            where = sa.and_(table.c.user_id == self._user_id, sa.or_(table.c.account_id.is_(None), where))
        ordered = sa.select(table).where(where).order_by(*table.primary_key.columns)
        found = self._connection.execute(ordered, execution_options={"yield_per": _AT_ONCE})
        for row in found.mappings():
            yield _plain(dict(row), self._user_id)


def _plain(row: dict[str, Any], user_id: int) -> dict[str, Any]:
    """Return a row as JSON can carry it, without a trace of other people."""
    for name in ("user_id", "author_id", "asked_by"):
        if name in row:
            row[name] = "me" if row[name] == user_id else None
    return {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in row.items()}


def _sealed_keys(
    connection: sa.Connection, vault: Vault, mine: list[int], passphrase: str
) -> dict[str, Any]:
    """Return the person's exchange keys, sealed with a passphrase."""
    found = {}
    for account_id in mine:
        try:
            key = vault.open_key(connection, account_id)
        except NotFound:
            continue
        query = sa.select(exchange_keys.c.permissions).where(exchange_keys.c.account_id == account_id)
        found[str(account_id)] = {**key._asdict(), "permissions": json.loads(connection.scalar(query) or "{}")}
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    sealed = AESGCM(passphrase_key(passphrase, salt)).encrypt(nonce, json.dumps(found).encode(), b"ctp-user-keys")
    texts = {"salt": salt, "nonce": nonce, "sealed": sealed}
    return {"kdf": "scrypt", **SCRYPT, **{name: base64.b64encode(value).decode() for name, value in texts.items()}}


def passphrase_key(passphrase: str, salt: bytes) -> bytes:
    """Return the key that a passphrase stands for."""
    return Scrypt(salt=salt, length=32, **SCRYPT).derive(passphrase.encode())


def _trade(trade: dict[str, Any], mine: dict[int, dict[str, Any]], zone: ZoneInfo) -> list[Any]:
    """Return a closed trade as a tax adviser reads it."""
    account = mine[trade["account_id"]]
    return [
        account["name"],
        account["exchange"],
        _mode(account),
        trade["symbol"],
        trade["side"],
        _time(trade["entry_time"], zone),
        trade["entry_price"],
        _time(trade["exit_time"], zone),
        trade["exit_price"],
        trade["size"],
        trade["leverage"],
        trade["fee"],
        trade["funding"],
        trade["pnl"],
        account["quote"],
        trade["exit_reason"],
    ]


def _fill(fact: dict[str, Any], mine: dict[int, dict[str, Any]], zone: ZoneInfo) -> list[Any]:
    """Return a ledger row as the exchange reported it."""
    account = mine[fact["account_id"]]
    return [
        account["name"],
        account["exchange"],
        _mode(account),
        _time(fact["time"], zone),
        fact["kind"],
        fact["symbol"],
        fact["side"],
        fact["price"] and Decimal(fact["price"]),
        fact["size"] and Decimal(fact["size"]),
        Decimal(fact["amount"]),
        fact["asset"],
        fact["external_id"],
    ]


def _csv(head: list[str], rows: Iterable[list[Any]]) -> Iterator[bytes]:
    """Yield a CSV that spreadsheets open in any script and never calculate."""
    text = io.StringIO("\ufeff")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text)
    for row in chain([head], rows):
        writer.writerow([cell(value) for value in row])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def cell(value: Any) -> Any:
    """Return a value for a CSV: a text that a spreadsheet would take for a formula gets an apostrophe."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return format(value, "f") if isinstance(value, Decimal) else value


def _mode(account: dict[str, Any]) -> str:
    """Return paper or live money as nobody can mistake it."""
    return "LIVE" if account["mode"] == "live" else "SIMULATED"


def _time(time_ms: int, zone: ZoneInfo) -> str:
    """Return a time in the person's zone."""
    return datetime.fromtimestamp(time_ms / 1000, zone).isoformat(sep=" ", timespec="seconds")

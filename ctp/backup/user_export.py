"""Write one person's data into a ZIP: theirs, all of it, and nobody else's.

Invariants:
1. Every row is taken through the accounts the person owns; of other people there is not even a name.
2. No password hash, no session, no e-mail code. Exchange keys only under a passphrase the person gives.
3. No cell of a CSV can be taken for a formula.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import secrets
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ctp.accounts.audit import record
from ctp.accounts.rights import Actor
from ctp.accounts.users import find_user
from ctp.accounts.vault import Vault
from ctp.backup.durable import new_file
from ctp.backup.user_files import FORMAT, KEYS, MANIFEST, PROFILE, README, TABLES, file_of
from ctp.errors import InputError, NotAllowed, NotFound
from ctp.storage import migrations
from ctp.storage.database import Database
from ctp.storage.tables import accounts, exchange_keys, metadata, notice_settings, users

_PROFILE = ("name", "role", "language", "zone", "theme", "rise_colour", "quiet_from", "quiet_until", "report_at",
            "weekly_report", "monthly_report")  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
SHORTEST_PASSPHRASE = 12
SCRYPT = {"n": 1 << 15, "r": 8, "p": 1}
_README = """Your data of Crypto Trader Pro, exported {when}.

csv/trades.csv     every closed trade: when, what, at which price, fees, funding, profit or loss in the quote currency
csv/fills.csv      every single purchase and sale with its fee, as the exchange reported it
data/*.jsonl       everything the program knows of your accounts, one JSON object a row: accounts, parameter versions,
                   orders, ledger (fills, fees, funding, transfers), trades, decisions with their reasons, equity,
                   commands, notices, your profile. Times are milliseconds since 1970 UTC, exact decimals are text.
exchange_keys.json only if you gave a passphrase: your exchange keys, sealed with it (scrypt, AES-256-GCM)
manifest.json      which file has how many rows and which SHA-256

SIMULATED money and LIVE money are told apart in the column `mode`. `ctp import` reads this file on another server.
"""


def export_user(
    database: Database, vault: Vault, actor: Actor, name: str, file: Path, now_ms: int, *, passphrase: str = ""
) -> dict[str, int]:
    """Write a person's data into a new file; returns the number of rows by table.

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
        rows = _all_rows(connection, person.id)
        keys = _sealed_keys(connection, vault, rows["accounts"], passphrase) if passphrase else None
    contents = {file_of(table): (_lines(found), len(found)) for table, found in rows.items()}
    zone = ZoneInfo(str(rows[PROFILE][0]["zone"]))
    contents["csv/trades.csv"] = (_trades_csv(rows, zone), len(rows["trades"]))
    contents["csv/fills.csv"] = (_fills_csv(rows, zone), 0)
    if keys is not None:
        contents[KEYS] = (json.dumps(keys).encode(), 0)
    when = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    manifest = {
        "format": FORMAT,
        "schema": migrations.head(),
        "program": version("ctp"),
        "user": person.name,
        "exported_at": now_ms,
        "files": {
            path: {"sha256": hashlib.sha256(content).hexdigest(), "rows": count if path.startswith("data/") else 0}
            for path, (content, count) in contents.items()
        },
    }
    with new_file(file) as sink, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        archive.writestr(README, _README.format(when=when))
        for path, (content, _) in contents.items():
            archive.writestr(path, content)
    with database.transaction() as connection:
        record(connection, actor, "user.export", f"user:{person.id}", now_ms, keys=keys is not None)
    return {table: len(found) for table, found in rows.items()}


def _all_rows(connection: sa.Connection, user_id: int) -> dict[str, list[dict[str, Any]]]:
    """Return every row of a person, by table."""
    profile = connection.execute(sa.select(*(users.c[one] for one in _PROFILE)).where(users.c.id == user_id)).mappings().one()
    chosen = connection.execute(sa.select(notice_settings).where(notice_settings.c.user_id == user_id)).all()
    found: dict[str, list[dict[str, Any]]] = {
        PROFILE: [{**profile, "notices": [[row.kind, row.channel, row.enabled] for row in chosen]}]
    }
    mine = sa.select(accounts.c.id).where(accounts.c.user_id == user_id)
    for name in TABLES:
        table = metadata.tables[name]
        owner = "id" if name == "accounts" else "account_id"
        where: sa.ColumnElement[bool] = table.c[owner].in_(mine)
        if name == "notices":  # not those about accounts that others share with this person
            where = sa.and_(table.c.user_id == user_id, sa.or_(table.c.account_id.is_(None), table.c.account_id.in_(mine)))
        ordered = sa.select(table).where(where).order_by(*table.primary_key.columns)
        found[name] = [_plain(dict(row), user_id) for row in connection.execute(ordered).mappings()]
    return found


def _plain(row: dict[str, Any], user_id: int) -> dict[str, Any]:
    """Return a row as JSON can carry it, without a trace of other people."""
    for name in ("user_id", "author_id", "asked_by"):
        if name in row:
            row[name] = "me" if row[name] == user_id else None
    return {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in row.items()}


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """Return rows as JSON, one a line."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=True) + "\n" for row in rows).encode()


def _sealed_keys(
    connection: sa.Connection, vault: Vault, mine: list[dict[str, Any]], passphrase: str
) -> dict[str, Any]:
    """Return the person's exchange keys, sealed with a passphrase."""
    found = {}
    for account in mine:
        try:
            key = vault.open_key(connection, account["id"])
        except NotFound:
            continue
        query = sa.select(exchange_keys.c.permissions).where(exchange_keys.c.account_id == account["id"])
        found[str(account["id"])] = {**key._asdict(), "permissions": json.loads(connection.scalar(query) or "{}")}
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    sealed = AESGCM(passphrase_key(passphrase, salt)).encrypt(nonce, json.dumps(found).encode(), b"ctp-user-keys")
    texts = {"salt": salt, "nonce": nonce, "sealed": sealed}
    return {"kdf": "scrypt", **SCRYPT, **{name: base64.b64encode(value).decode() for name, value in texts.items()}}


def passphrase_key(passphrase: str, salt: bytes) -> bytes:
    """Return the key that a passphrase stands for."""
    return Scrypt(salt=salt, length=32, **SCRYPT).derive(passphrase.encode())


def _trades_csv(rows: dict[str, list[dict[str, Any]]], zone: ZoneInfo) -> bytes:
    """Return the closed trades as a tax adviser reads them."""
    by_id = {account["id"]: account for account in rows["accounts"]}
    head = ["account", "exchange", "mode", "symbol", "side", "opened", "entry_price", "closed", "exit_price", "size",
            "leverage", "fee", "funding", "profit_or_loss", "currency", "reason"]  # fmt: skip
    return _csv(
        head,
        (
            [
                by_id[trade["account_id"]]["name"],
                by_id[trade["account_id"]]["exchange"],
                _mode(by_id[trade["account_id"]]),
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
                by_id[trade["account_id"]]["quote"],
                trade["exit_reason"],
            ]
            for trade in rows["trades"]
        ),
    )


def _fills_csv(rows: dict[str, list[dict[str, Any]]], zone: ZoneInfo) -> bytes:
    """Return every ledger row as the exchange reported it."""
    by_id = {account["id"]: account for account in rows["accounts"]}
    head = ["account", "exchange", "mode", "time", "kind", "symbol", "side", "price", "size", "fee_or_amount", "asset", "id"]
    return _csv(
        head,
        (
            [
                by_id[fact["account_id"]]["name"],
                by_id[fact["account_id"]]["exchange"],
                _mode(by_id[fact["account_id"]]),
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
            for fact in rows["ledger"]
        ),
    )


def _csv(head: list[str], rows: Iterable[list[Any]]) -> bytes:
    """Return a CSV that spreadsheets open in any script and never calculate."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    for row in rows:
        writer.writerow([cell(value) for value in row])
    return ("\ufeff" + text.getvalue()).encode()


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

"""Databases full of rows: every table, every kind of value, references that hold."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ctp.backup.create import make_backup
from ctp.backup.keys import BackupKeys
from ctp.backup.manifest import Manifest
from ctp.backup.pieces import open_archive
from ctp.backup.rows import read_groups
from ctp.backup.shapes import read_shapes
from ctp.backup.target import LocalTarget
from ctp.config import BackupSettings, DatabaseSettings, Settings
from ctp.storage.database import Database, insert_or
from ctp.storage.tables import Exact, accounts, ledger, metadata

NOW = 1_800_000_000_000
HOUR = 3_600_000
_WORDS = ("", "a", "한국어 글", "line\nbreak", "'quote'", "tab\t", "🙂", "x" * 7)


def fill(database: Database, rows: int, seed: int = 1, many: int = 0) -> None:
    """Put about so many rows into every table; many: into the ledger, orders and samples, which grow in life."""
    chance = random.Random(seed)
    with database.transaction() as connection:
        there: dict[str, list[dict[str, Any]]] = {}
        for table in metadata.sorted_tables:
            made = [_row(table, number, there, chance) for number in range(1, _count(table, rows, many) + 1)]
            connection.execute(insert_or(connection, table).on_conflict_do_nothing(), made)
            there[table.name] = made


def append(database: Database, share: float, seed: int = 2) -> None:
    """Append a share of new ledger rows, as trading does."""
    chance = random.Random(seed)
    with database.transaction() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(ledger)).scalar_one()
        known = connection.execute(sa.select(accounts.c.id)).scalars().all()
        made = []
        for number in range(count + 1, count + 2 + int(count * share)):
            row = _row(ledger, number, {"accounts": [{"id": one} for one in known]}, chance)
            made.append(row | {"order_id": None, "external_id": f"appended{number}"})
        connection.execute(sa.insert(ledger), made)


def _count(table: sa.Table, rows: int, many: int) -> int:
    """Return how many rows a table gets: few where each stands for a person or an account."""
    if many and table.name in ("equity_samples", "ledger", "orders"):
        return many
    return min(rows, 5) if table.name in ("users", "accounts", "account_states", "exchange_keys") else rows


def _row(table: sa.Table, number: int, there: dict[str, list[dict[str, Any]]], chance: random.Random) -> dict[str, Any]:
    """Return one row whose keys are its number and whose references exist."""
    row: dict[str, Any] = {}
    for column in table.columns:
        key = next(iter(column.foreign_keys), None)
        if key is not None:
            known = there.get(key.column.table.name, [])
            is_key = column.primary_key or column.name in ("entry_order_id",)
            index = (number - 1) % len(known) if known and is_key else chance.randrange(len(known)) if known else 0
            row[column.name] = known[index][key.column.name] if known else None
        else:
            row[column.name] = _value(column, number, chance)
    return row


def _value(column: sa.Column[Any], number: int, chance: random.Random) -> Any:
    """Return a value of a column's type; every text and number of a key is different."""
    kind = column.type
    if column.name == "mode":
        return chance.choice(("paper", "live"))
    if column.nullable and chance.random() < 0.3:
        return None
    if isinstance(kind, sa.Boolean):
        return chance.random() < 0.5
    if isinstance(kind, Exact):
        return Decimal(chance.randrange(-(10**12), 10**12)).scaleb(-chance.randrange(0, 12))
    if isinstance(kind, sa.Float):
        return chance.choice((0.0, 5e-324, -1.7976931348623157e308, chance.random(), chance.gauss(0, 1e6), 1 / 3))
    if isinstance(kind, sa.Integer):
        return number if column.primary_key or column.name in ("version", "due_at") else chance.randrange(2**31)
    if isinstance(kind, sa.LargeBinary):
        return chance.randbytes(40)
    word = f"{number}{chance.choice(_WORDS)}"
    return word if getattr(kind, "length", None) is None else word[: kind.length]  # type: ignore[attr-defined]


def home_at(folder: Path, url: str = "", **backup: Any) -> Settings:
    """Return the settings of a home in a folder, which has some files besides the database."""
    settings = Settings(home=folder, database=DatabaseSettings(url=url), backup=BackupSettings(**backup))
    for name, content in (
        ("candles/binance/BTC_USDT/1h/2026-01.parquet", b"PAR1" + bytes(range(256)) * 40),
        ("candles/binance/BTC_USDT/1h/newest.journal", b"journal"),
        ("reports/5/2026-01-02.html", "<p>보고서</p>".encode()),
        ("archive/decisions/5/2025-12.parquet", b"PAR1decisions"),
        ("ctp.toml", b"[web]\nport = 8600\n"),
    ):
        file = folder / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(content)
    return settings


def content_of(database: Database) -> dict[str, list[bytes]]:
    """Return every table as bytes, equal exactly when the rows are."""
    with database.reading() as connection:
        return {
            name: [group.content for group in read_groups(connection, shape, "")]
            for name, shape in read_shapes(connection).items()
        }


def back_up(settings: Settings, kind: str = "full", now_ms: int = NOW, **more: Any) -> Manifest:
    """Make a backup of a home."""
    database = Database(settings.database_url)
    try:
        return make_backup(settings, database, LocalTarget(settings.backups), kind, now_ms, **more).manifest
    finally:
        database.close()


def filled_home(
    folder: Path, template: Path, rows: int = 60, seed: int = 1, many: int = 0, **backup: Any
) -> Settings:
    """Return a home with a full database, copied from an empty one with every table."""
    settings = home_at(folder, **backup)
    (folder / "ctp.db").write_bytes(template.read_bytes())
    database = Database(settings.database_url)
    fill(database, rows, seed, many)
    database.close()
    return settings


def addresses(settings: Settings, backup_id: str) -> dict[str, list[bytes]]:
    """Return the addresses of every group of a backup, by table."""
    archive = open_archive(LocalTarget(settings.backups), backup_id, BackupKeys(settings.keys))
    return {table.name: [group.address for group in table.groups] for table in archive.manifest.tables}


def dumped(value: object) -> str:
    """Return JSON text."""
    return json.dumps(value)


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """Give a home's database, and let go of the file afterwards: restoring needs it alone."""
    database = Database(settings.database_url)
    try:
        yield database
    finally:
        database.close()

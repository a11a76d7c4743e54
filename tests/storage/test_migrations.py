"""Every step up from every older schema keeps the rows, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command

from ctp.storage import migrations
from ctp.storage.database import Database

OLDER = sorted(migrations.known())[:-1]


@pytest.mark.parametrize("revision", OLDER)
def test_an_older_database_is_migrated_with_its_rows(revision: str, empty_url: str) -> None:
    database = Database(empty_url)
    try:
        with database.transaction() as connection:
            command.upgrade(migrations.config(connection), revision)
            old = sa.MetaData()
            old.reflect(connection)
            connection.execute(_row(old.tables["users"], id=1, name="minsu", role="trader"))
            connection.execute(_row(old.tables["notices"], id=1, user_id=1, kind="system_error", facts="{}"))
            owner = {"user_id": 1} if "user_id" in old.tables["deliveries"].columns else {}
            connection.execute(_row(old.tables["deliveries"], notice_id=1, channel="email", status="waiting", **owner))
        database.migrate()
        assert database.revision() == migrations.head()
        with database.transaction() as connection:
            new = sa.MetaData()
            new.reflect(connection)
            for name in ("users", "notices", "deliveries"):
                assert connection.scalar(sa.select(sa.func.count()).select_from(new.tables[name])) == 1
            if connection.dialect.name == "sqlite":
                assert connection.execute(sa.text("PRAGMA foreign_key_check")).all() == []
    finally:
        database.close()


def _row(table: sa.Table, **values: object) -> sa.Insert:
    """Return an insert that gives every required column something."""
    for column in table.columns:
        if column.name not in values and not column.nullable and column.server_default is None:
            kind = column.type.python_type
            values[column.name] = {int: 0, bool: False, str: column.name[:2], bytes: b"", float: 0.0}[kind]
    return sa.insert(table).values(**values)

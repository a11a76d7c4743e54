"""Write the next migration from the difference between `tables.py` and the steps so far."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from ctp.storage import migrations
from ctp.storage.database import Database


def write_step(message: str) -> None:
    """Write a migration that leads from the last step to the tables as they are now."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'empty.db'}")
        if any((migrations.FOLDER / "versions").glob("*.py")):
            database.migrate()
        with database.transaction() as connection:
            command.revision(migrations.config(connection), message=message, autogenerate=True, rev_id=_next_number())
        database.close()


def _next_number() -> str:
    """Return the number of the next step, four digits."""
    taken = [int(file.name[:4]) for file in (migrations.FOLDER / "versions").glob("[0-9]*.py")]
    return f"{max(taken, default=0) + 1:04d}"


if __name__ == "__main__":
    write_step(" ".join(sys.argv[1:]) or sys.exit('usage: python -m ctp.storage.migrations "what it does"'))

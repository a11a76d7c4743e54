"""The database for one command: opened, checked, closed; and who acts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ctp.config import load_settings

if TYPE_CHECKING:
    from ctp.accounts.rights import Actor
    from ctp.storage.database import Database


@contextmanager
def opened_database() -> Iterator[Database]:
    """Yield the database of this home; raises ConfigError saying what to run when it is missing, old or newer."""
    from ctp.storage.database import Database

    database = Database(load_settings().database_url)
    try:
        database.check()
        yield database
    finally:
        database.close()


def shell_owner() -> Actor:
    """Return who acts here: whoever may run commands in this home owns its files, and so the machine."""
    from ctp.accounts.rights import machine

    return machine("cli")


def now_ms() -> int:
    """Return wall time in milliseconds UTC."""
    return time.time_ns() // 1_000_000

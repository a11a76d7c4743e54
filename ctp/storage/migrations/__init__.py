"""The history of the schema, one file in `versions` for each step; run by `Database.migrate`.

A new step: change `ctp/storage/tables.py`, then `python -m ctp.storage.migrations "what it does"`, and read what it
wrote. A test compares the tables with the sum of all steps. A step that has left the house is never edited.
"""

from __future__ import annotations

import functools
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

FOLDER = Path(__file__).resolve().parent


def config(connection: sa.Connection | None = None) -> Config:
    """Return alembic's configuration, bound to a connection whose transaction the caller holds."""
    settings = Config()
    settings.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Take every step that is missing up to a revision, inside the caller's transaction."""
    command.upgrade(config(connection), revision)


@functools.cache
def head() -> str:
    """Return the revision this program works on."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    if revision is None:
        raise RuntimeError("the package lacks its migrations")
    return revision


@functools.cache
def known() -> frozenset[str]:
    """Return every revision this program has heard of."""
    return frozenset(step.revision for step in ScriptDirectory.from_config(config()).walk_revisions())

"""Run by alembic for every command: work on the connection that `ctp.storage.migrations` passed."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from ctp.storage.tables import Exact, metadata


def render_item(kind: str, item: Any, _autogen_context: Any) -> str | Literal[False]:
    """Write our own column types as what they are to the database, so that a step never depends on later code."""
    return "sa.String(length=64)" if kind == "type" and isinstance(item, Exact) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_item=render_item,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

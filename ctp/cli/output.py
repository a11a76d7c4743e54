"""How commands speak: a table or a sentence for people, one JSON document for programs, progress for a person who waits.

Invariant: with `--json` nothing but one document reaches stdout, and no progress is drawn; nor is it in a pipe.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, Any, Protocol

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def print_json(document: object) -> None:
    """Print one JSON document; numbers that JSON lacks become null, infinity the text "inf"."""
    typer.echo(json.dumps(_plain(document), ensure_ascii=False, indent=2, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print rows under their columns; numbers to the right. `empty` is the sentence for no rows at all."""
    if not rows:
        typer.echo(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    watched = sys.stdout.isatty()
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD if watched else None, pad_edge=watched)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | Decimal) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # A pipe has no width: let each row keep its line there, so that grep and awk work.
    Console(width=None if watched else 400).print(table)


def print_facts(facts: Mapping[str, object], *, title: str = "") -> None:
    """Print names and values in two columns."""
    if title:
        typer.echo(title)
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        typer.echo(f"  {name.ljust(width)}  {_cell(value)}")


class Progress(Protocol):
    """What long work reports to."""

    def __call__(self, done: float, total: float) -> None:
        """Say how much is done."""


@contextmanager
def progress(label: str, *, quiet: bool) -> Iterator[Progress]:
    """Show a bar on stderr while long work runs; nothing when quiet or when nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def working(label: str, *, quiet: bool) -> Iterator[None]:
    """Show on stderr that work of unknown length goes on; nothing when quiet or when nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(label):
        yield


def read_secret_line(what: str, *, from_stdin: bool) -> str:
    """Read a secret: a line of stdin when asked to, else typed twice without being shown."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt(what, hide_input=True, confirmation_prompt=True))


def _cell(value: object) -> str:
    """Return a value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.8g}"
    return str(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON can carry it: exact decimals as text, because a float would round them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value

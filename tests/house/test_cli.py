"""The root of the command line: fast, and honest about what went wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ctp.cli import app
from ctp.cli.app import exit_code
from ctp.errors import ConfigError, CtpError, DataDamaged, InputError, NotAllowed, NotFound, StorageUnavailable


def ctp(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run([sys.executable, "-m", "ctp", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("leverage", 11, "1 to 10"), 2),
        (ConfigError("x"), 2),
        (NotFound("x"), 2),
        (DataDamaged("a", "b", "c"), 2),
        (NotAllowed("no"), 3),
        (StorageUnavailable("x"), 1),
    ],
)
def test_an_error_becomes_its_exit_code(error: CtpError, code: int) -> None:
    """What cannot be used as it is gives 2, a safety rule 3, work that failed 1."""
    assert exit_code(error) == code


def test_an_unknown_command_exits_2() -> None:
    """The shell can tell wrong use from failure."""
    assert ctp("nonsense").returncode == 2


def test_help_does_not_load_the_heavy_libraries() -> None:
    """A person who asks for help does not wait for pandas, numba, ccxt or the database."""
    heavy = ("pandas", "numba", "ccxt", "sqlalchemy", "numpy")
    code = f"import sys, ctp.cli; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_status_does_not_load_the_heavy_libraries(home: Path) -> None:
    """What a person types most often must not wait for research, trading or the exchange library."""
    code = (
        "import sys, ctp.cli\n"
        "for words in (['db', 'upgrade'], ['status']):\n"
        "    ctp.cli.app(words, standalone_mode=False)\n"
        "print([name for name in ('pandas', 'numba', 'ccxt', 'vectorbt', 'pyarrow') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_every_command_has_help_with_an_example() -> None:
    """A person learns a command from its help alone."""
    checked = 0
    for path, command in leaves(typer.main.get_command(app)):
        assert command.help, path
        assert (command.epilog or "").startswith("Example: ctp " if "echo" not in (command.epilog or "") else "Example:"), path
        if "--json" not in {option for parameter in command.params for option in parameter.opts}:
            pytest.fail(f"{path} has no --json")
        checked += 1
    assert checked > 20


def leaves(command: Any, path: str = "ctp") -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with its words."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from leaves(inner, f"{path} {name}")

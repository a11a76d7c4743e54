"""The root of the command line: fast, and honest about what went wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

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

"""The command line as a person types it: its exit code and what it says, without the second that a process costs."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from ctp.cli.app import main


class Typed(NamedTuple):
    """What came of a command."""

    code: int
    output: str
    errors: str


def environment(home: Path) -> dict[str, str]:
    """Return this process's environment with another home and nothing else of ours."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CTP_")}
    return inherited | {"CTP_HOME": str(home)}


def typed(home: Path, *words: str, stdin: str = "") -> Typed:
    """Run `ctp` in a home, through the same entry point as the shell does."""
    output, errors = io.StringIO(), io.StringIO()
    surroundings: Mapping[str, str] = environment(home)
    with (
        mock.patch.dict(os.environ, surroundings, clear=True),
        mock.patch.object(sys, "argv", ["ctp", *words]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Typed(code, output.getvalue(), errors.getvalue())

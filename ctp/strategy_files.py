"""Strategies that the operator wrote: `CTP_HOME/strategies/*.py`, loaded into the registry when a program starts.

Invariants:
1. Such a file decides about money and runs with the rights of the bot: it is loaded only if nobody but its owner may write
   to it or to its folder, and the owner is the user of this process, or root. What was checked is what is run.
2. One that cannot be loaded hinders nothing else: it is told, and an account that trades with it waits.
"""

from __future__ import annotations

import os
import stat
import sys
import types
from pathlib import Path
from typing import NamedTuple

from ctp.core.parameters import ParameterSet
from ctp.core.strategies import find, names
from ctp.errors import ConfigError, CtpError

FOLDER = "strategies"
MOST_BYTES = 1_000_000


class StrategyFile(NamedTuple):
    """A file of the folder: what it registered, or why it was not loaded."""

    file: Path
    strategies: tuple[str, ...]
    problem: str


_loaded: dict[Path, tuple[bytes, tuple[str, ...]]] = {}


def load_strategies(home: Path) -> list[StrategyFile]:
    """Load every strategy of a home, in alphabetical order, and say what became of each file."""
    found = []
    for file in sorted((home / FOLDER).glob("*.py")):
        try:
            found.append(StrategyFile(file, _load(file), ""))
        except CtpError as error:
            found.append(StrategyFile(file, (), str(error)))
    return found


def load_strategy(path: str | Path) -> type[ParameterSet]:
    """Load one file and return the parameters of the strategy it registers, the first of them if there are several.

    A file that was changed since is loaded again. Raises ConfigError when it may not be loaded or cannot be.
    """
    return find(_load(Path(path).expanduser().absolute())[0]).parameters


def _load(file: Path) -> tuple[str, ...]:
    """Run a file that may be trusted, once, and return the names it registered."""
    source = _read_trusted(file)
    known = _loaded.get(file)
    if known is not None and known[0] == source:
        return known[1]
    # Compiled code on disk finds a strategy's types by this name again, so it must not change between processes.
    name = f"ctp_strategy_{file.stem}"
    other = sys.modules.get(name)
    if other is not None and other.__file__ != str(file):
        raise ConfigError(f"{file}: another strategy file of this name is loaded, {other.__file__}; rename one of them")
    module = types.ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)  # noqa: S102 - the operator's own file, checked above
    except CtpError as error:
        raise ConfigError(f"{file}: {error}") from error
    except Exception as error:  # somebody else's program: whatever goes wrong in it is told, and ends nothing else
        raise ConfigError(f"{file}: {type(error).__name__}: {error}") from error
    registered = tuple(one for one in names() if find(one).parameters.__module__ == name)
    if not registered:
        raise ConfigError(f"{file}: registers no strategy; end it with register(Strategy(...))")
    _loaded[file] = (source, registered)
    return registered


def _read_trusted(file: Path) -> bytes:
    """Return the bytes of a file that only this user, or root, may write. Raises ConfigError."""
    try:
        # Opened once: what is looked at is what is read, whatever the name points to a moment later.
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read as a plain file: {error.strerror}") from error
    with os.fdopen(handle, "rb") as opened:
        about = os.fstat(opened.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ConfigError(f"{file}: is no plain file")
        for place, found in ((file, about), (file.parent, file.parent.stat())):
            if found.st_uid not in (os.geteuid(), 0):
                raise ConfigError(f"{place}: belongs to another user, who could change what this account trades")
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ConfigError(f"{place}: may be written by others; run: chmod go-w '{place}'")
        source = opened.read(MOST_BYTES + 1)
    if len(source) > MOST_BYTES:
        raise ConfigError(f"{file}: is larger than {MOST_BYTES:,} bytes")
    return source

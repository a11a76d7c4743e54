"""The sources that decide: their SHA-256, which a parameter version is pinned to.

What decides is all of `ctp.core`, and of the strategies the file of the one in use. No package of others can change a bit
of it: core imports none. Research compiles the same sources with numba, whose results the tests hold equal to the bit; its
version is written down with a promotion (`made_with`) and is no part of the hash.

Invariant: a process tells the hash of the sources it has loaded, as long as it asks before they change: the bot asks when
it starts.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ctp.core
from ctp.core.strategies import find
from ctp.errors import InputError

_CORE = Path(ctp.core.__file__).parent
_STRATEGIES = _CORE / "strategies"
_RESEARCH = ("numba", "numpy")


@cache
def deciding_sources(strategy: str) -> dict[str, str]:
    """Return the SHA-256 of every file that decides for a strategy, by its name below the package.

    strategy: registry name. Raises InputError when there is none of this name.
    """
    place = getattr(sys.modules[find(strategy).step.__module__], "__file__", None)
    if place is None:
        raise InputError("strategy", strategy, "was typed into a notebook: put it into a file of its own first")
    own = Path(place).resolve()
    files = {
        f"core/{file.relative_to(_CORE).as_posix()}": file
        for file in sorted(_CORE.rglob("*.py"))
        if file.parent != _STRATEGIES or file.stem == "__init__" or file == own
    }
    if own not in files.values():  # a user's own file, outside the package
        files[f"strategy/{own.name}"] = own
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


@cache
def source_hash(strategy: str) -> str:
    """Return the SHA-256 over all files that decide for a strategy. Raises InputError for an unknown one."""
    digest = hashlib.sha256()
    for name, content in sorted(deciding_sources(strategy).items()):
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def made_with() -> dict[str, str]:
    """Return the versions that compiled what a notebook saw: Python and the packages of research that are installed."""
    found = {"python": platform.python_version()}
    for name in _RESEARCH:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

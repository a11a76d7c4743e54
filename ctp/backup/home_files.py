"""Which files of a home belong in a backup, and where they go back.

Key files, logs, caches and backups themselves never do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ctp.backup.durable import UNFINISHED, replace_file
from ctp.config import Settings
from ctp.errors import BackupDamaged

SHARED = ("candles", "reports")  # large and mostly final: kept once for all backups
PACKED = ("archive", "configuration", "emergency")  # small and ours alone: in every full backup
CONFIGURATION_FILE = "ctp.toml"
_CACHE = "backup-files.json"


class HomeFile(NamedTuple):
    """A file below CTP_HOME."""

    path: str  # with slashes, below the home
    file: Path
    is_shared: bool

    def stamp(self) -> list[int]:
        """Return what changes whenever the file does."""
        status = self.file.stat()
        return [status.st_size, status.st_mtime_ns, status.st_ino]


def files_of(settings: Settings) -> Iterator[HomeFile]:
    """Yield the files of a home that belong in a backup, in order of their path."""
    for folder in sorted((*SHARED, *PACKED)):
        root = settings.home / folder
        for file in sorted(root.rglob("*")) if root.is_dir() else ():
            if file.is_file() and not file.is_symlink() and not file.name.endswith(UNFINISHED):
                yield HomeFile(file.relative_to(settings.home).as_posix(), file, folder in SHARED)
    file = settings.home / CONFIGURATION_FILE
    if file.is_file():
        yield HomeFile(CONFIGURATION_FILE, file, False)


def place_below(home: Path, path: str) -> Path:
    """Return where a stored file goes; BackupDamaged for a path that leads elsewhere."""
    pure = PurePosixPath(path)
    known = (*SHARED, *PACKED, CONFIGURATION_FILE)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or pure.parts[0] not in known:
        raise BackupDamaged(path, "a file below " + ", ".join(known), path)
    return home.joinpath(*pure.parts)


class KnownAddresses:
    """Addresses of files that were read before and have not changed since; may be lost at any time."""

    def __init__(self, settings: Settings, key_id: str) -> None:
        """Read what the last backup remembered under this key."""
        self._file = settings.cache / _CACHE
        self._key_id = key_id
        self._known: dict[str, list[object]] = {}
        self._seen: dict[str, list[object]] = {}
        try:
            remembered = json.loads(self._file.read_text("utf-8"))
            if remembered["key"] == key_id:
                self._known = remembered["files"]
        except (OSError, ValueError, KeyError, TypeError):
            self._known = {}

    def find(self, path: str, stamp: list[int]) -> bytes | None:
        """Return the address of a file that is as it was."""
        known = self._known.get(path)
        return bytes.fromhex(str(known[1])) if known is not None and known[0] == stamp else None

    def note(self, path: str, stamp: list[int], address: bytes) -> None:
        """Remember the address of a file."""
        self._seen[path] = [stamp, address.hex()]

    def keep(self) -> None:
        """Write down what was seen."""
        replace_file(self._file, json.dumps({"key": self._key_id, "files": self._seen}).encode())

"""Where archives lie: a folder here, or anything fsspec reaches (S3-compatible, SFTP).

Names: `<backup>.manifest`, `<backup>.pack`, `objects/<address>`, `<backup>.verified`.

Invariant: a name is there with its whole content or not at all.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ctp.backup.durable import UNFINISHED, new_file, replace_file, sync_folder
from ctp.errors import BackupDamaged, StateConflict, StorageUnavailable

OBJECTS = "objects"
_LOOK_S = 0.2


class Target(Protocol):
    """A place for archives."""

    address: str

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder, sorted, without unfinished ones; empty when it is not there."""
        ...

    def size(self, name: str) -> int | None:
        """Return a file's length; None when it is not there."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file; BackupDamaged when it is missing."""
        ...

    def read_part(self, name: str, offset: int, length: int) -> bytes:
        """Return a part of a file, shorter at its end; BackupDamaged when it is missing."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Keep a file, durably, replacing what has its name."""
        ...

    def put(self, name: str, source: Path) -> None:
        """Keep a copy of a local file, durably."""
        ...

    def delete(self, name: str) -> None:
        """Forget a file; nothing when it is not there."""
        ...


class LocalTarget:
    """A folder on this machine."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, made on demand for its owner alone."""
        self.folder = folder
        self.address = str(folder)

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder, sorted, without unfinished ones."""
        place = self.folder / folder
        if not place.is_dir():
            return []
        names = [entry.name for entry in os.scandir(place) if entry.is_file()]
        return sorted(name for name in names if not name.startswith(".") and not name.endswith(UNFINISHED))

    def size(self, name: str) -> int | None:
        """Return a file's length; None when it is not there."""
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """Return a file."""
        with self._reading(name):
            return (self.folder / name).read_bytes()

    def read_part(self, name: str, offset: int, length: int) -> bytes:
        """Return a part of a file."""
        with self._reading(name), (self.folder / name).open("rb") as source:
            source.seek(offset)
            return source.read(length)

    def write(self, name: str, content: bytes) -> None:
        """Keep a file, durably."""
        self._make_folder(name)
        replace_file(self.folder / name, content)

    def put(self, name: str, source: Path) -> None:
        """Keep a copy of a local file, durably."""
        self._make_folder(name)
        with new_file(self.folder / name) as sink, source.open("rb") as content:
            while piece := content.read(1 << 20):
                sink.write(piece)

    def delete(self, name: str) -> None:
        """Forget a file."""
        (self.folder / name).unlink(missing_ok=True)
        if (self.folder / name).parent.is_dir():
            sync_folder((self.folder / name).parent)

    def sweep(self) -> int:
        """Remove what a killed run left unfinished; the caller holds the folder alone. Returns how many files."""
        left = [*self.folder.glob(f"*{UNFINISHED}"), *self.folder.glob(f"{OBJECTS}/*{UNFINISHED}")]
        for file in left:
            file.unlink()
        return len(left)

    @contextmanager
    def alone(self, patience_s: float = 0.0) -> Iterator[None]:
        """Keep every other backup, clean-up and restore of this folder out.

        patience_s: how long another may take to end. Raises StateConflict when it does not.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            until = time.monotonic() + patience_s
            while not _locked(descriptor):
                if time.monotonic() >= until:
                    raise StateConflict(f"another backup or restore is at work in {self.folder}; try again later")
                time.sleep(_LOOK_S)
            yield
        finally:
            os.close(descriptor)

    def _make_folder(self, name: str) -> None:
        """Make the folder of a name."""
        (self.folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Turn a missing or unreadable file into our errors."""
        try:
            yield
        except FileNotFoundError:
            raise BackupDamaged(name, "a file", "nothing") from None
        except OSError as error:
            raise StorageUnavailable(f"{self.folder / name}: {error.strerror}") from error


def _locked(descriptor: int) -> bool:
    """Try to lock an open file; returns whether it is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

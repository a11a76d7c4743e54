"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".unfinished"
_FLUSH_BYTES = 4 << 20  # written back piece by piece: one great flush at the end would hold up the bot's own


@contextmanager
def new_file(file: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name only when the block has ended well. Mode 0600."""
    unfinished = file.with_name(file.name + UNFINISHED)
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        unfinished.replace(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)  # on a full disk it may be what filled it
        raise
    sync_folder(file.parent)


def replace_file(file: Path, content: bytes) -> None:
    """Write a file at once and durably."""
    with new_file(file) as sink:
        sink.write(content)


def sync_folder(folder: Path) -> None:
    """Make names that came, changed or went in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SteadySink:
    """Writes on, and flushes to the disk every few megabytes, so that nobody else's flush has to wait for all of it."""

    def __init__(self, sink: BinaryIO) -> None:
        """Wrap an open file."""
        self._sink = sink
        self._since = 0

    def write(self, content: bytes) -> int:
        """Write; returns how many bytes."""
        self._sink.write(content)
        self._since += len(content)
        if self._since >= _FLUSH_BYTES:
            self._sink.flush()
            os.fdatasync(self._sink.fileno())
            self._since = 0
        return len(content)

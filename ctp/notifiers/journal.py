"""What a channel has taken, written down before the database knows: a worker killed in between repeats nothing.

A line is one write to a file that the kernel keeps when the process dies; nothing is forced to the disk, so a power cut
may still cost a repetition. The database is asked first: a line matters only for a lease that was never given back.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

from ctp.logs import logger

_KEEP_S = 86_400
_LARGE_BYTES = 1_000_000

log = logger(__name__)


class SentJournal:
    """The files of a folder, one for each worker; each writes its own and reads all."""

    def __init__(self, folder: Path) -> None:
        """Begin a file of this worker's own, and drop those that nobody has written to for a day."""
        self._folder = folder
        for file in folder.glob("*.sent"):
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < time.time() - _KEEP_S:
                    file.unlink()
        name = folder / f"{os.getpid()}-{secrets.token_hex(4)}.sent"
        self._descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, notice_id: int, channel: str, attempt: int) -> None:
        """Write down that the channel took this attempt; costs microseconds. A full disk loses the line, not the notice."""
        try:
            os.write(self._descriptor, f"{notice_id} {channel} {attempt}\n".encode())
        except OSError as error:
            log.warning("sent_journal_unwritable", reason=str(error))

    def sent(self) -> set[tuple[int, str, int]]:
        """Return every attempt that any worker of this machine wrote down as taken."""
        found = set()
        for file in self._folder.glob("*.sent"):
            with contextlib.suppress(OSError):
                for line in file.read_text("utf-8").splitlines():
                    notice_id, channel, attempt = line.split(" ")
                    found.add((int(notice_id), channel, int(attempt)))
        return found

    def tidy(self) -> None:
        """Empty a file that has grown; only while the database knows of everything in it."""
        if os.fstat(self._descriptor).st_size > _LARGE_BYTES:
            os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Close the file; it stays, for whoever follows."""
        os.close(self._descriptor)

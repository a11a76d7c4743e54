"""Room on the disk: how much is left, and a ballast that is given up when it runs out, so that exits can still be written.

Invariants:
1. Short of room, there are no entries, until there is clearly room again: it does not flap.
2. The ballast is given up by whoever notices first, and made again only with room to spare.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctp.config import DiskSettings
from ctp.logs import logger

BALLAST = "ballast"
_MB = 1_000_000
_SPARE_MB = 100  # beyond the ballast itself, before it is made again

log = logger(__name__)


class Room:
    """Looks at the disk of one home. Each process has its own, and sees what the others did to the ballast."""

    def __init__(
        self, home: Path, settings: DiskSettings, usage: Callable[[Path], Any] = shutil.disk_usage
    ) -> None:
        """Begin without having looked. usage: what says how many bytes of a disk are `free`."""
        self.is_short = False
        self.ballast = home / BALLAST
        self._home, self._settings, self._usage = home, settings, usage
        self._had = self.ballast.exists()

    def look(self) -> bool:
        """Look at the disk, and give the ballast up when there is hardly room; returns whether that was done now."""
        free_mb = self._usage(self._home).free / _MB
        is_enough = free_mb >= self._settings.short_mb + self._settings.ballast_mb + _SPARE_MB
        if free_mb < self._settings.short_mb:
            self.is_short, gave_up = True, self._give_up()
            self._had = False
            return gave_up
        has = self.ballast.exists()
        if self._had and not has and not is_enough:  # another process gave it up, or a person
            self.is_short = True
        elif is_enough:
            self.is_short = False
        self._had = has
        return False

    def keep(self) -> bool:
        """Look at the disk, and make the ballast when it is missing and there is room; returns as `look`."""
        gave_up = self.look()
        if not self.is_short and self._settings.ballast_mb and not self.ballast.exists():
            self._make()
        return gave_up

    def _give_up(self) -> bool:
        """Delete the ballast; False when it is gone already."""
        try:
            self.ballast.unlink()
        except FileNotFoundError:
            return False
        log.warning("ballast_given_up", free_mb=self._usage(self._home).free // _MB)
        return True

    def _make(self) -> None:
        """Reserve the blocks of the ballast, whole or not at all."""
        size = self._settings.ballast_mb * _MB
        if self._usage(self._home).free < size + (self._settings.short_mb + _SPARE_MB) * _MB:
            return
        unfinished = self.ballast.with_name(f".{BALLAST}.{os.getpid()}.unfinished")
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
            unfinished.replace(self.ballast)
            self._had = True
        except OSError as error:  # no room after all, or a file system that reserves nothing
            unfinished.unlink(missing_ok=True)
            log.warning("ballast_not_made", error=str(error))

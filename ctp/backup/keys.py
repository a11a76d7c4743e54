"""The keys that seal archives; apart from the keys that open exchange keys.

Invariants:
1. The file is readable by its owner alone, is never in an archive, and never loses a key an archive may need.
2. The newest key seals; every archive names the key that opens it.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ctp.backup.durable import replace_file
from ctp.config import read_secret
from ctp.errors import ConfigError
from ctp.logs import register_secret

FILE = "backup.keys"
_BYTES = 32


class BackupKey(NamedTuple):
    """One key of 256 bits. `repr` shows its name and nothing of it."""

    secret: bytes

    @property
    def id(self) -> str:
        """Return the key's public name, eight hexadecimal digits."""
        return hashlib.blake2b(b"name", key=self.secret, digest_size=4, person=b"ctp-backup").hexdigest()

    def derive(self, purpose: bytes, salt: bytes = b"") -> bytes:
        """Return a key for one purpose (at most 16 bytes of name), which says nothing about this one."""
        return hashlib.blake2b(salt, key=self.secret, digest_size=32, person=purpose).digest()

    def text(self) -> str:
        """Return the key as it stands in its file."""
        return base64.urlsafe_b64encode(self.secret).decode()

    def __repr__(self) -> str:
        """Show the name alone."""
        return f"BackupKey({self.id})"


class BackupKeys:
    """The file of backup keys in `CTP_HOME/keys`, newest first."""

    def __init__(self, folder: Path) -> None:
        """Use the file in this folder."""
        self.file = folder / FILE

    def create(self) -> None:
        """Make the file, unless there is one."""
        try:
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        with os.fdopen(descriptor, "w") as sink:
            sink.write(BackupKey(secrets.token_bytes(_BYTES)).text() + "\n")
            sink.flush()
            os.fsync(sink.fileno())

    def all(self) -> list[BackupKey]:
        """Return every key, newest first. Raises ConfigError when the file is missing or is none."""
        keys = [self._parse(line) for line in read_secret(self.file, "backup key").split()]
        for key in keys:
            register_secret(key.text())
        return keys

    def newest(self) -> BackupKey:
        """Return the key that seals."""
        return self.all()[0]

    def find(self, key_id: str, file: str) -> BackupKey:
        """Return the key of a name; ConfigError when the file of keys lacks the one that `file` was sealed with."""
        for key in self.all():
            if key.id == key_id:
                return key
        raise ConfigError(
            f"{file} was sealed with backup key {key_id}, which {self.file} does not hold;"
            " enter it from the recovery sheet: ctp keys enter"
        )

    def rotate(self) -> BackupKey:
        """Put a fresh key in front of those before, which still open older archives; returns it."""
        folder = os.open(self.file.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            fresh = BackupKey(secrets.token_bytes(_BYTES))
            self.write([fresh, *self.all()])
        finally:
            os.close(folder)
        return fresh

    def write(self, keys: Sequence[BackupKey]) -> None:
        """Replace the file, durably."""
        replace_file(self.file, "".join(f"{key.text()}\n" for key in keys).encode())

    def _parse(self, line: str) -> BackupKey:
        """Read one line."""
        try:
            secret = base64.urlsafe_b64decode(line)
        except (ValueError, binascii.Error):
            secret = b""
        if len(secret) != _BYTES:
            raise ConfigError(f"{self.file}: not a file of backup keys; put the right one back")
        return BackupKey(secret)

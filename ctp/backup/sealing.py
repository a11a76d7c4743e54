"""Seal pieces of an archive: compress, encrypt, authenticate, address.

Invariants:
1. A sealed piece opens only in its place: what it is (table, range, schema) is authenticated with it.
2. Equal pieces in equal places have equal addresses under one key; the address tells nothing to who lacks the key.
3. One bit changed anywhere is found before anything of the piece is used.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ctp.backup.keys import BackupKey
from ctp.errors import BackupDamaged

ADDRESS_BYTES = 20
_NONCE_BYTES = 12
_LEVEL = 3
_LARGEST = 1 << 31  # of one opened piece; what was sealed by us is far below


class Sealer:
    """Seals and opens the pieces of one chain. Not for several threads at once, but for `compress` beside the rest."""

    def __init__(self, key: BackupKey, salt: bytes) -> None:
        """Derive what this chain needs. salt: random, one for each chain."""
        self._cipher = AESGCM(key.derive(b"ctp-seal", salt))
        self._naming = key.derive(b"ctp-address")
        self._packer = zstandard.ZstdCompressor(level=_LEVEL)
        self._batch_packer = zstandard.ZstdCompressor(level=_LEVEL)
        self._unpacker = zstandard.ZstdDecompressor()

    def address(self, place: bytes, content: bytes) -> bytes:
        """Return the address of a piece."""
        name = hashlib.blake2b(len(place).to_bytes(4, "big"), key=self._naming, digest_size=ADDRESS_BYTES)
        name.update(place)
        name.update(content)
        return name.digest()

    def seal(self, place: bytes, content: bytes) -> bytes:
        """Return a piece as it is stored."""
        return self.seal_compressed(place, self._packer.compress(content))

    def compress(self, contents: Sequence[bytes]) -> list[bytes]:
        """Return contents compressed, without holding other threads up; one call at a time."""
        found = self._batch_packer.multi_compress_to_buffer(list(contents))
        return [found[number].tobytes() for number in range(len(found))]

    def seal_compressed(self, place: bytes, compressed: bytes) -> bytes:
        """Return a piece as it is stored, from its content compressed."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, compressed, place)

    def open(self, place: bytes, sealed: bytes, file: str, address: bytes | None = None) -> bytes:
        """Return the content of a piece.

        file: where it lies, for the error. Raises BackupDamaged unless it is what was sealed, here, under `address`.
        """
        try:
            packed = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
            content = self._unpacker.decompress(packed, max_output_size=_LARGEST)
        except (InvalidTag, ValueError, zstandard.ZstdError):
            expected = "its seal" if address is None else address.hex()
            raise BackupDamaged(file, expected, hashlib.blake2b(sealed, digest_size=ADDRESS_BYTES).hexdigest()) from None
        if address is not None:
            found = self.address(place, content)
            if found != address:
                raise BackupDamaged(file, address.hex(), found.hex())
        return content


def new_salt() -> bytes:
    """Return the salt of a new chain."""
    return secrets.token_bytes(16)

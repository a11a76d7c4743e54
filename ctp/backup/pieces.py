"""Read the pieces a manifest names, each checked before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ctp.backup.keys import BackupKeys
from ctp.backup.manifest import SUFFIX, Manifest, StoredFile, StoredGroup, StoredTable, read_manifest
from ctp.backup.rows import Row, place_of, unpack_rows
from ctp.backup.sealing import Sealer
from ctp.backup.target import OBJECTS, Target
from ctp.errors import BackupDamaged

PACK_SUFFIX = ".pack"
_WINDOW = 4 << 20  # neighbouring pieces are read together
SHARED_PLACE = b"ctp-file"


class Archive(NamedTuple):
    """One backup, opened."""

    target: Target
    manifest: Manifest
    sealer: Sealer
    shared: Sealer  # of files, which all chains of one key share

    def rows(self, table: StoredTable) -> Iterator[list[Row]]:
        """Yield the rows of a table, group by group. Raises BackupDamaged at the first that is not what was stored."""
        for group, content in self.contents(table):
            rows = unpack_rows(content)
            if len(rows) != group.rows:
                raise BackupDamaged(group.pack + PACK_SUFFIX, f"{group.rows} rows", f"{len(rows)} rows")
            yield rows

    def contents(self, table: StoredTable) -> Iterator[tuple[StoredGroup, bytes]]:
        """Yield every group of a table with its rows still packed, checked against its address."""
        for group, sealed in _sealed(self.target, table.groups):
            place = place_of(table.name, self.manifest.revision, group.first, group.last)
            yield group, self.sealer.open(place, sealed, group.pack + PACK_SUFFIX, group.address)

    def file(self, stored: StoredFile) -> bytes:
        """Return a file. Raises BackupDamaged when it is not what was stored."""
        if stored.pack:
            name = stored.pack + PACK_SUFFIX
            sealed = self.target.read_part(name, stored.offset, stored.length)
            return self.sealer.open(file_place(stored.path), sealed, name, stored.address)
        name = object_name(stored.address)
        return self.shared.open(SHARED_PLACE, self.target.read(name), name, stored.address)


def open_archive(target: Target, backup_id: str, keys: BackupKeys) -> Archive:
    """Open a backup. Raises BackupDamaged or, when its key is not here, ConfigError."""
    manifest, sealer = read_manifest(target.read(backup_id + SUFFIX), backup_id, keys)
    return Archive(target, manifest, sealer, shared_sealer(keys, manifest.key_id))


def shared_sealer(keys: BackupKeys, key_id: str) -> Sealer:
    """Return what seals the files that chains share."""
    return Sealer(keys.find(key_id, "objects"), b"files")


def object_name(address: bytes) -> str:
    """Return the name of a shared file."""
    return f"{OBJECTS}/{address.hex()}"


def file_place(path: str) -> bytes:
    """Return what a packed file is, as it is authenticated."""
    return b"ctp-path:" + path.encode()


def _sealed(target: Target, groups: tuple[StoredGroup, ...]) -> Iterator[tuple[StoredGroup, bytes]]:
    """Yield each group with its sealed bytes, reading neighbours in one go."""
    window, window_pack, window_start = b"", "", 0
    for group in groups:
        start = group.offset - window_start
        if group.pack != window_pack or start < 0 or start + group.length > len(window):
            window_pack, window_start, start = group.pack, group.offset, 0
            window = target.read_part(group.pack + PACK_SUFFIX, group.offset, max(_WINDOW, group.length))
        yield group, window[start : start + group.length]

"""What a backup consists of: written last, sealed like everything else.

Invariants:
1. A backup without its manifest does not exist; with it, everything it names was durable before.
2. What stands readable in front of the seal (kind, key, salt) is authenticated by it, and so is the file's name.
3. A manifest names every group of its database, wherever it is stored: none depends on reading another.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgpack

from ctp.backup.keys import BackupKeys
from ctp.backup.sealing import Sealer
from ctp.errors import BackupDamaged, ConfigError

FULL, INCREMENTAL, CONFIGURATION = KINDS = ("full", "incremental", "config")
SUFFIX = ".manifest"
_MAGIC = b"CTPB"
_FORMAT = 1
HEAD_BYTES = 1024  # more than what stands readable in front of the seal


class StoredGroup(NamedTuple):
    """A group of rows, or a piece of a file, and where it lies."""

    first: bytes
    last: bytes
    rows: int
    address: bytes
    pack: str  # id of the backup that stored it
    offset: int
    length: int


class StoredTable(NamedTuple):
    """A table: its columns in the order of its rows' values, and its groups in the order of the primary key."""

    name: str
    columns: tuple[str, ...]
    groups: tuple[StoredGroup, ...]

    @property
    def rows(self) -> int:
        """Return how many rows it has."""
        return sum(group.rows for group in self.groups)


class StoredFile(NamedTuple):
    """A file below CTP_HOME: in a pack, or under its address in `objects/`, shared by every backup that has it."""

    path: str
    size: int
    address: bytes
    pack: str = ""  # empty: in objects/
    offset: int = 0
    length: int = 0


class Pack(NamedTuple):
    """The file of sealed pieces that one backup added."""

    id: str
    length: int


class Manifest(NamedTuple):
    """One backup: a point to which everything can return."""

    id: str
    kind: str
    created_at: int
    full_id: str  # the full backup it stands on; its own id for a full one
    revision: str
    program: str
    tables: tuple[StoredTable, ...]
    files: tuple[StoredFile, ...]
    packs: tuple[Pack, ...]
    key_id: str
    salt: bytes

    @property
    def rows(self) -> int:
        """Return how many rows it has in all."""
        return sum(table.rows for table in self.tables)

    @property
    def own_bytes(self) -> int:
        """Return how many bytes of pieces it added."""
        return sum(pack.length for pack in self.packs if pack.id == self.id)


class Head(NamedTuple):
    """What can be read of a manifest without any key; not to be trusted before it is opened."""

    id: str
    kind: str
    created_at: int
    full_id: str
    key_id: str
    salt: bytes


def write_manifest(manifest: Manifest, sealer: Sealer) -> bytes:
    """Return a manifest as it is stored."""
    head = {
        "id": manifest.id,
        "kind": manifest.kind,
        "created_at": manifest.created_at,
        "full": manifest.full_id,
        "key": manifest.key_id,
        "salt": manifest.salt.hex(),
        "format": _FORMAT,
    }
    text = json.dumps(head, sort_keys=True).encode()
    open_part = _MAGIC + len(text).to_bytes(4, "big") + text
    body = (manifest.revision, manifest.program, manifest.tables, manifest.files, manifest.packs)
    return open_part + sealer.seal(open_part, bytes(msgpack.packb(body)))


def read_head(content: bytes, file: str) -> tuple[Head, int]:
    """Return what stands in front of the seal, and where the seal begins. BackupDamaged when it is no manifest."""
    length = int.from_bytes(content[4:8], "big")
    try:
        if content[:4] != _MAGIC:
            raise ValueError(content[:4])
        head: dict[str, Any] = json.loads(content[8 : 8 + length])
        if head["format"] != _FORMAT:
            raise ConfigError(f"{file}: written by a newer program (format {head['format']}); use that one")
        read = Head(
            str(head["id"]),
            str(head["kind"]),
            int(head["created_at"]),
            str(head["full"]),
            str(head["key"]),
            bytes.fromhex(head["salt"]),
        )
    except (ValueError, KeyError, TypeError):
        raise BackupDamaged(file, "a manifest", content[:16].hex() or "nothing") from None
    return read, 8 + length


def read_manifest(content: bytes, backup_id: str, keys: BackupKeys) -> tuple[Manifest, Sealer]:
    """Return a backup's manifest and what opens its pieces.

    Raises BackupDamaged when it is not what was written under this id, ConfigError when its key is not here.
    """
    file = backup_id + SUFFIX
    head, start = read_head(content, file)
    if head.id != backup_id:
        raise BackupDamaged(file, backup_id, head.id)
    sealer = Sealer(keys.find(head.key_id, file), head.salt)
    body = sealer.open(content[:start], content[start:], file)
    revision, program, tables, files, packs = msgpack.unpackb(body, use_list=False)
    return (
        Manifest(
            head.id,
            head.kind,
            head.created_at,
            head.full_id,
            revision,
            program,
            tuple(StoredTable(name, columns, tuple(map(StoredGroup._make, groups))) for name, columns, groups in tables),
            tuple(map(StoredFile._make, files)),
            tuple(map(Pack._make, packs)),
            head.key_id,
            head.salt,
        ),
        sealer,
    )

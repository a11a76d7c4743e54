"""Make a backup: one look at the database, its groups in one pack, the files beside it, the manifest last.

Invariants:
1. Everything of the database is of one moment; writers go on meanwhile.
2. Killed anywhere, every earlier backup is whole, and the next run sweeps up what was left.
3. A backup counts as made only after it was read back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ctp.backup.durable import SteadySink, new_file
from ctp.backup.home_files import KnownAddresses, files_of
from ctp.backup.keys import BackupKeys
from ctp.backup.manifest import (
    CONFIGURATION,
    FULL,
    INCREMENTAL,
    SUFFIX,
    Manifest,
    Pack,
    StoredFile,
    StoredGroup,
    StoredTable,
    read_head,
    write_manifest,
)
from ctp.backup.packing import PackWriter
from ctp.backup.pieces import PACK_SUFFIX, SHARED_PLACE, file_place, object_name, open_archive, shared_sealer
from ctp.backup.rows import read_groups
from ctp.backup.sealing import Sealer, new_salt
from ctp.backup.shapes import read_shapes
from ctp.backup.target import LocalTarget
from ctp.backup.verify import note_verified, verify_backup
from ctp.config import Settings
from ctp.errors import BackupDamaged, ConfigError, StorageUnavailable
from ctp.storage import migrations
from ctp.storage.database import Database

Checkpoint = Callable[[str], None]
# What people set up, without what has happened since.
CONFIGURATION_TABLES = frozenset(
    {
        "account_shares",
        "accounts",
        "configuration_versions",
        "contacts",
        "exchange_keys",
        "notice_settings",
        "parameter_versions",
        "users",
    }
)


class Made(NamedTuple):
    """A backup that was made and read back."""

    manifest: Manifest
    added_bytes: int  # pack, manifest and new files


def pass_by(_point: str) -> None:
    """Do nothing; tests put a kill in its place."""


def make_backup(
    settings: Settings,
    database: Database,
    target: LocalTarget,
    kind: str,
    now_ms: int,
    *,
    patience_s: float = 0.0,
    checkpoint: Checkpoint = pass_by,
    may_be_older: bool = False,
) -> Made:
    """Make a backup and read it back.

    kind: full, incremental or config. An incremental one stands on the newest full one of the same day in the
    operator's zone; without any it becomes a full one. patience_s: how long another run may take to end.
    checkpoint: called wherever the process may die. may_be_older: the schema, because it is about to be brought up to date.
    Raises BackupDamaged when what was written cannot be read back, StateConflict when another is at work,
    StorageUnavailable when there is no room.
    """
    try:
        return _make(settings, database, target, kind, now_ms, patience_s, checkpoint, may_be_older)
    except OSError as error:
        raise StorageUnavailable(f"{target.address}: {error.strerror or error}; earlier backups are whole") from error


def _make(
    settings: Settings,
    database: Database,
    target: LocalTarget,
    kind: str,
    now_ms: int,
    patience_s: float,
    checkpoint: Checkpoint,
    may_be_older: bool,
) -> Made:
    """Make a backup and read it back, with every other run kept out."""
    if database.revision() != migrations.head() and not may_be_older:
        database.check()  # says what to do; on a database of ours the rest of it goes on beside the reading
    keys = BackupKeys(settings.keys)
    keys.create()
    with target.alone(patience_s):
        target.sweep()
        checkpoint("swept")
        base = _base(target, keys, now_ms, settings.scheduler.zone) if kind == INCREMENTAL else None
        if kind == INCREMENTAL and base is None:
            kind = FULL
        made = _Maker(settings, database, target, keys, kind, now_ms, base, checkpoint, may_be_older).make()
        checkpoint("named")
        damages = verify_backup(target, made.manifest.id, keys, only_own=True)
        if damages:
            raise damages[0]
        note_verified(target, made.manifest.id, now_ms, thorough=False, damages=[])
        checkpoint("verified")
    return made


def _base(target: LocalTarget, keys: BackupKeys, now_ms: int, zone: str) -> tuple[Manifest, Sealer] | None:
    """Return the newest full backup of today that opens and whose pack is there."""
    today = _day(now_ms, zone)
    for name in reversed(target.names()):
        if not name.endswith(f"-{FULL}{SUFFIX}"):
            continue
        with suppress(BackupDamaged, ConfigError):
            head, _ = read_head(target.read(name), name)
            if _day(head.created_at, zone) != today:
                return None
            archive = open_archive(target, name.removesuffix(SUFFIX), keys)
            if all(target.size(pack.id + PACK_SUFFIX) == pack.length for pack in archive.manifest.packs):
                return archive.manifest, archive.sealer
    return None


def _day(time_ms: int, zone: str) -> str:
    """Return the day of a time in a zone."""
    return datetime.fromtimestamp(time_ms / 1000, ZoneInfo(zone)).date().isoformat()


class _Maker:
    """One backup while it is made."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        target: LocalTarget,
        keys: BackupKeys,
        kind: str,
        now_ms: int,
        base: tuple[Manifest, Sealer] | None,
        checkpoint: Checkpoint,
        may_be_older: bool,
    ) -> None:
        """Take what the backup is made of; a chain has one key and one salt."""
        self.may_be_older = may_be_older
        self.settings, self.database, self.target, self.checkpoint = settings, database, target, checkpoint
        self.kind, self.now_ms, self.base = kind, now_ms, base
        moment = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
        self.id = f"{moment}-{secrets.token_hex(2)}-{kind}"
        if base is None:
            key = keys.newest()
            self.key_id, self.salt = key.id, new_salt()
            self.sealer = Sealer(key, self.salt)
        else:
            self.key_id, self.salt = base[0].key_id, base[0].salt
            self.sealer = base[1]
        self.shared = shared_sealer(keys, self.key_id)
        self.added = 0

    def make(self) -> Made:
        """Write pack, files and manifest."""
        self.target.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = {} if self.base is None else _by_address(self.base[0])
        with (
            new_file(self.target.folder / (self.id + PACK_SUFFIX)) as sink,
            ThreadPoolExecutor(2, "backup") as executor,
        ):
            self.checkpoint("pack opened")
            self.pack = PackWriter(SteadySink(sink), self.sealer, executor)
            revision, tables = self._tables(before, executor)
            self.checkpoint("tables written")
            files = self._files()
        self.checkpoint("pack named")
        used = {group.pack for table in tables for group in table.groups}
        used |= {file.pack for file in files if file.pack} | {self.id}
        lengths = {} if self.base is None else {pack.id: pack.length for pack in self.base[0].packs}
        lengths[self.id] = self.pack.length
        manifest = Manifest(
            self.id,
            self.kind,
            self.now_ms,
            self.id if self.base is None else self.base[0].id,
            revision,
            version("ctp"),
            tables,
            files,
            tuple(Pack(name, lengths[name]) for name in sorted(used)),
            self.key_id,
            self.salt,
        )
        content = write_manifest(manifest, self.sealer)
        self.target.write(self.id + SUFFIX, content)
        return Made(manifest, self.added + self.pack.length + len(content))

    def _tables(self, before: Mapping[bytes, StoredGroup], executor: Executor) -> tuple[str, tuple[StoredTable, ...]]:
        """Store every group of the database that is not stored yet; returns its schema and its tables."""
        found: list[tuple[str, tuple[str, ...], list[StoredGroup]]] = []
        with self.database.reading() as connection:
            whole = executor.submit(self.database.check, may_be_older=self.may_be_older)  # SQLite reads its file
            revision = str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())
            for shape in read_shapes(connection).values():
                if self.kind == CONFIGURATION and shape.name not in CONFIGURATION_TABLES:
                    continue
                groups: list[StoredGroup] = []
                found.append((shape.name, shape.columns, groups))
                for group in read_groups(connection, shape, revision):
                    address = self.sealer.address(group.place, group.content)
                    stored = before.get(address)
                    groups.append(stored or StoredGroup(group.first, group.last, group.rows, address, self.id, 0, 0))
                    if stored is None:
                        self.pack.add(group.place, group.content, partial(_locate, groups, len(groups) - 1))
        self.pack.flush()
        whole.result()
        return revision, tuple(StoredTable(name, columns, tuple(groups)) for name, columns, groups in found)

    def _files(self) -> tuple[StoredFile, ...]:
        """Store the files that are not stored yet."""
        known = KnownAddresses(self.settings, self.key_id)
        before = {} if self.base is None else {file.path: file for file in self.base[0].files if file.pack}
        stored: list[StoredFile] = []
        for found in files_of(self.settings):
            if found.is_shared and self.kind == CONFIGURATION:
                continue
            try:
                stamp = found.stamp()
                address = known.find(found.path, stamp) if found.is_shared and self.kind != FULL else None
                if address is not None and self.target.size(object_name(address)):
                    stored.append(StoredFile(found.path, stamp[0], address))
                    known.note(found.path, stamp, address)
                    continue
                content = found.file.read_bytes()
            except FileNotFoundError:
                continue  # replaced or pruned since it was listed; the next backup has what took its place
            if found.is_shared:
                address = self._share(content)
                known.note(found.path, stamp, address)
                stored.append(StoredFile(found.path, len(content), address))
                continue
            place = file_place(found.path)
            address = self.sealer.address(place, content)
            earlier = before.get(found.path)
            if earlier is not None and earlier.address == address:
                stored.append(earlier)
                continue
            stored.append(StoredFile(found.path, len(content), address, self.id))
            self.pack.add(place, content, partial(_locate, stored, len(stored) - 1))
        self.pack.flush()
        if self.kind != CONFIGURATION:
            known.keep()
        return tuple(stored)

    def _share(self, content: bytes) -> bytes:
        """Keep a file in `objects/`, also when the copy there has gone bad; returns its address."""
        address = self.shared.address(SHARED_PLACE, content)
        name = object_name(address)
        if self.target.size(name) is not None:
            with suppress(BackupDamaged):
                self.shared.open(SHARED_PLACE, self.target.read(name), name, address)
                return address
        sealed = self.shared.seal(SHARED_PLACE, content)
        self.target.write(name, sealed)
        self.shared.open(SHARED_PLACE, self.target.read(name), name, address)  # read back, like everything else
        self.added += len(sealed)
        self.checkpoint("file stored")
        return address


def _locate[Piece: (StoredGroup, StoredFile)](pieces: list[Piece], number: int, offset: int, length: int) -> None:
    """Note where a piece lies in the pack."""
    pieces[number] = pieces[number]._replace(offset=offset, length=length)


def _by_address(manifest: Manifest) -> dict[bytes, StoredGroup]:
    """Return the groups of a full backup by address."""
    return {group.address: group for table in manifest.tables for group in table.groups if group.pack == manifest.id}

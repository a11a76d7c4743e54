"""Bring a home back to a backup: beside the old one first, proven there, then put in its place at once.

Invariants:
1. Nothing of the home changes before the restored database is complete, compared with the archive, migrated and
   checked. Then one rename (SQLite) or one commit (PostgreSQL) makes the change.
2. It is refused while any process works with the home.
3. What was there is kept: as a copy of the file, or as a backup of its own.
4. Candles, reports and settings that are there now stay: only what is missing comes back.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from ctp.backup.build import careless_database, compare_database, fill_database
from ctp.backup.create import make_backup, pass_by
from ctp.backup.durable import replace_file
from ctp.backup.home_files import place_below
from ctp.backup.keys import BackupKeys
from ctp.backup.manifest import CONFIGURATION, FULL, Manifest
from ctp.backup.pieces import Archive, open_archive
from ctp.backup.settle import RestoredAccount, check_door_to_live, live_parameters, settle
from ctp.backup.swap import copy_aside, has_schema, keep_last_copies, refuse_when_used, swap_file
from ctp.backup.target import LocalTarget, Target
from ctp.config import BackupSettings, DatabaseSettings, Settings
from ctp.errors import BackupDamaged, ConfigError, CtpError, NotAllowed, StorageUnavailable
from ctp.storage import migrations
from ctp.storage.database import Database

SCRATCH = "restoring"
_UTC_NAME = "%Y%m%dT%H%M%SZ"


class Restored(NamedTuple):
    """What a restore did."""

    manifest: Manifest
    accounts: tuple[RestoredAccount, ...]
    files: int  # brought back
    files_kept: int  # there already, left alone
    files_lost: tuple[str, ...]  # damaged in the archive; candles and reports only
    safety: str  # where what was there before is
    seconds: float


def restore_home(
    settings: Settings,
    target: Target,
    backup_id: str,
    now_ms: int,
    *,
    override: str = "",
    keys_folder: Path | None = None,
    checkpoint: Callable[[str], None] = pass_by,
) -> Restored:
    """Restore a backup into the home and database of these settings.

    override: on what grounds live accounts may go back to other parameters. keys_folder: where the backup keys are,
    when not in this home. Raises NotAllowed while the home is in use
    or a live account lacks its grounds, BackupDamaged, ConfigError; then nothing has changed.
    """
    started = time.monotonic()
    keys = BackupKeys(keys_folder or settings.keys)
    archive = open_archive(target, backup_id, keys)
    database = Database(settings.database_url)
    here = LocalTarget(settings.backups)
    outcome = _Outcome(settings, archive, database, now_ms, override, checkpoint)
    try:
        with here.alone():
            if archive.manifest.kind == CONFIGURATION and has_schema(database):
                raise NotAllowed(
                    f"{backup_id} holds settings without history and would empty {database.address};"
                    " use `ctp config rollback`, or restore it into a new folder: --into FOLDER"
                )
            refuse_when_used(database, now_ms)
            checkpoint("unused")
            if database.is_sqlite:
                _change_sqlite(outcome)
        if not database.is_sqlite:
            _change_postgres(outcome, here)
    finally:
        database.close()
    return Restored(
        archive.manifest,
        tuple(outcome.accounts),
        outcome.files,
        outcome.files_kept,
        tuple(outcome.files_lost),
        outcome.safety,
        round(time.monotonic() - started, 3),
    )


def settings_for(settings: Settings, folder: Path) -> Settings:
    """Return the settings of a new home in a folder; ConfigError when something is there already."""
    home = folder.expanduser().absolute()
    if home.exists() and any(home.iterdir()):
        raise ConfigError(f"{home} is not empty; name a new folder")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings.model_copy(update={"home": home, "database": DatabaseSettings(), "backup": BackupSettings()})


class _Outcome:
    """One restore while it goes on."""

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        database: Database,
        now_ms: int,
        override: str,
        checkpoint: Callable[[str], None],
    ) -> None:
        """Take what is restored, and where."""
        self.settings, self.archive, self.database, self.now_ms = settings, archive, database, now_ms
        self.override, self.checkpoint, self.safety = override, checkpoint, ""
        self.accounts: list[RestoredAccount] = []
        self.files = self.files_kept = 0
        self.files_lost: list[str] = []

    def finish(self, restored: sa.Connection, current: dict[int, tuple[object, ...]] | None) -> None:
        """Migrate what was filled and make it safe to start on."""
        migrations.upgrade(restored)
        check_door_to_live(restored, current, self.override)
        self.accounts = settle(restored, self.archive.manifest.id, self.now_ms, self.override)

    def bring_files(self) -> None:
        """Put back the files that are missing."""
        self.files, self.files_kept, self.files_lost = bring_files(self.archive, self.settings.home)
        self.checkpoint("files brought")


def _change_sqlite(outcome: _Outcome) -> None:
    """Build a new file beside the database's, then let it take its place."""
    database = outcome.database
    assert database.file is not None
    scratch = database.file.parent / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(mode=0o700, parents=True)
        file = scratch / database.file.name
        _build_and_settle(outcome, file)
        outcome.bring_files()
        database.close()
        if database.file.exists():
            stamp = datetime.fromtimestamp(outcome.now_ms / 1000, UTC).strftime(_UTC_NAME)
            copies = outcome.settings.folder("before-restore")
            outcome.safety = str(copy_aside(database.file, copies / stamp))
            keep_last_copies(copies)
        outcome.checkpoint("copied aside")
        swap_file(file, database.file, outcome.checkpoint)
    except OSError as error:
        raise StorageUnavailable(f"{scratch}: {error.strerror or error}; nothing was restored") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _build_and_settle(outcome: _Outcome, file: Path) -> None:
    """Fill a new file from the archive, compare it, migrate it and make it safe to start on."""
    build_file(outcome.archive, file, outcome.checkpoint)
    made = Database(f"sqlite:///{file}")
    try:
        with made.transaction() as connection:
            outcome.finish(connection, current_parameters(outcome.database))
        outcome.checkpoint("settled")
        made.check(thorough=True)
    finally:
        made.close()


def build_file(archive: Archive, file: Path, checkpoint: Callable[[str], None] = pass_by) -> None:
    """Fill a new SQLite file with an archive's rows and compare them."""
    careless = careless_database(f"sqlite:///{file}")
    try:
        with careless.transaction() as connection:
            fill_database(connection, archive, checkpoint)
        checkpoint("filled")
        with careless.reading() as connection:
            compare_database(connection, archive)
    finally:
        careless.close()
    file.chmod(0o600)
    checkpoint("compared")


def _change_postgres(outcome: _Outcome, here: LocalTarget) -> None:
    """Replace every table inside one transaction; until it commits, the old ones are what everybody sees."""
    database, checkpoint = outcome.database, outcome.checkpoint
    current = None
    if has_schema(database):
        database.check()  # without it there would be no safety copy
        current = current_parameters(database)
        made = make_backup(outcome.settings, database, here, FULL, outcome.now_ms)
        outcome.safety = made.manifest.id
        checkpoint("copied aside")
    outcome.bring_files()
    with database.transaction() as connection:
        old = sa.MetaData()
        old.reflect(connection)
        old.drop_all(connection)
        fill_database(connection, outcome.archive, checkpoint)
        compare_database(connection, outcome.archive)
        checkpoint("compared")
        outcome.finish(connection, current)
        checkpoint("settled")
    checkpoint("swapped")


def current_parameters(database: Database) -> dict[int, tuple[object, ...]] | None:
    """Return what accounts trade with in the database that is replaced; None when there is none to be read."""
    try:
        database.check()
    except CtpError:
        return None
    with database.reading() as connection:
        return live_parameters(connection)


def bring_files(archive: Archive, home: Path) -> tuple[int, int, list[str]]:
    """Put back the files of an archive that are missing in a home; returns (brought, left alone, damaged).

    Candles can be fetched and reports made again: a damaged one is named and does not stop the rest.
    """
    brought = kept = 0
    lost = []
    for stored in archive.manifest.files:
        file = place_below(home, stored.path)
        if file.exists():
            kept += 1
            continue
        try:
            content = archive.file(stored)
        except BackupDamaged:
            if stored.pack:
                raise
            lost.append(stored.path)
            continue
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(file, content)
        brought += 1
    return brought, kept, lost

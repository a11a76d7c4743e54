"""Read backups back: every piece opened and compared with its address.

What was found is noted beside each backup, so that clean-up never removes the last chain that is known to be good.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from ctp.backup.keys import BackupKeys
from ctp.backup.pieces import PACK_SUFFIX, Archive, open_archive
from ctp.backup.target import Target
from ctp.errors import BackupDamaged, ConfigError

VERIFIED = ".verified"


class Verified(NamedTuple):
    """What the last verification of a backup found."""

    at: int
    thorough: bool  # False: right after it was made, only what it added
    ok: bool
    damages: tuple[str, ...]


def verify_backup(target: Target, backup_id: str, keys: BackupKeys, *, only_own: bool = False) -> list[BackupDamaged]:
    """Return what is wrong with a backup; empty when it can be restored whole.

    only_own: only what this backup added, not what it shares with others.
    """
    try:
        archive = open_archive(target, backup_id, keys)
    except BackupDamaged as error:
        return [error]
    found = _check_packs(archive)
    for table in archive.manifest.tables:
        groups = tuple(group for group in table.groups if not only_own or group.pack == backup_id)
        try:
            for _ in archive.contents(table._replace(groups=groups)):
                pass
        except BackupDamaged as error:
            found.append(error)
    for file in archive.manifest.files:
        if only_own and file.pack != backup_id:
            continue
        try:
            archive.file(file)
        except BackupDamaged as error:
            found.append(error)
    return found


def _check_packs(archive: Archive) -> list[BackupDamaged]:
    """Return the packs that are missing, too short or too long."""
    found = []
    for pack in archive.manifest.packs:
        size = archive.target.size(pack.id + PACK_SUFFIX)
        if size != pack.length:
            seen = "nothing" if size is None else f"{size} bytes"
            found.append(BackupDamaged(pack.id + PACK_SUFFIX, f"{pack.length} bytes", seen))
    return found


def check_and_note(target: Target, backup_id: str, keys: BackupKeys, now_ms: int) -> Verified:
    """Verify a backup thoroughly and note the result. An absent key is a damage like any other here."""
    try:
        damages: Sequence[Exception] = verify_backup(target, backup_id, keys)
    except ConfigError as error:
        damages = [error]
    return note_verified(target, backup_id, now_ms, thorough=True, damages=damages)


def note_verified(
    target: Target, backup_id: str, now_ms: int, *, thorough: bool, damages: Sequence[Exception]
) -> Verified:
    """Write down what a verification found."""
    noted = Verified(now_ms, thorough, not damages, tuple(str(damage) for damage in damages[:20]))
    target.write(backup_id + VERIFIED, json.dumps(noted._asdict()).encode())
    return noted


def read_verified(target: Target, backup_id: str) -> Verified | None:
    """Return what the last verification of a backup found; None when there was none."""
    if target.size(backup_id + VERIFIED) is None:
        return None
    try:
        plain = json.loads(target.read(backup_id + VERIFIED))
        damages = tuple(map(str, plain["damages"]))
        return Verified(int(plain["at"]), bool(plain["thorough"]), bool(plain["ok"]), damages)
    except (ValueError, KeyError, TypeError, BackupDamaged):
        return None

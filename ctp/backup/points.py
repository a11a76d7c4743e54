"""Which backups there are, how good they are, and which may go.

Invariant: clean-up never removes the newest chain that was verified whole, nor anything a kept backup needs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ctp.backup.create import pass_by
from ctp.backup.keys import BackupKeys
from ctp.backup.manifest import CONFIGURATION, FULL, HEAD_BYTES, SUFFIX, Head, read_head
from ctp.backup.pieces import PACK_SUFFIX, object_name, open_archive
from ctp.backup.target import OBJECTS, LocalTarget, Target
from ctp.backup.verify import VERIFIED, Verified, read_verified
from ctp.config import BackupSettings, Settings
from ctp.errors import BackupDamaged, ConfigError, NotFound

LATEST = "latest"


class Point(NamedTuple):
    """A backup as a list shows it."""

    id: str
    kind: str
    created_at: int
    full_id: str
    key_id: str
    bytes: int  # of its own pack and manifest
    verified: Verified | None
    is_readable: bool  # False: its manifest is damaged


class Pruned(NamedTuple):
    """What a clean-up removed."""

    backups: tuple[str, ...]
    files: int
    bytes: int


def list_points(target: Target) -> list[Point]:
    """Return every backup, oldest first, without opening any."""
    points = []
    names = target.names()
    verified = {name for name in names if name.endswith(VERIFIED)}
    for name in names:
        if not name.endswith(SUFFIX):
            continue
        backup_id = name.removesuffix(SUFFIX)
        content = target.read_part(name, 0, HEAD_BYTES)
        own = (target.size(name) or 0) + (target.size(backup_id + PACK_SUFFIX) or 0)
        noted = read_verified(target, backup_id) if backup_id + VERIFIED in verified else None
        try:
            head, _ = read_head(content, name)
            is_readable = head.id == backup_id
        except (BackupDamaged, ConfigError):
            head, is_readable = Head(backup_id, backup_id.rpartition("-")[2], 0, "", "", b""), False
        points.append(Point(backup_id, head.kind, head.created_at, head.full_id, head.key_id, own, noted, is_readable))
    return points


def find_point(target: Target, wanted: str) -> Point:
    """Return the backup whose id begins with `wanted`, or the newest one with data (`latest`). Raises NotFound."""
    points = list_points(target)
    if wanted == LATEST:
        found = [point for point in points if point.is_readable and point.kind != CONFIGURATION][-1:]
    else:
        found = [point for point in points if point.id == wanted] or [
            point for point in points if wanted and point.id.startswith(wanted)
        ]
    if len(found) != 1:
        known = "there is none" if not points else f"{len(found)} of {len(points)} match; ctp backup list names them"
        raise NotFound(f"no backup {wanted!r} in {target.address}: {known}")
    return found[0]


def doomed_points(points: list[Point], settings: Settings, now_ms: int) -> list[Point]:
    """Return the backups that retention lets go.

    Kept are the newest full backup of each of the last days, weeks and months with all that stands on it; incremental
    ones go with their full one; settings are kept as long as weekly backups. The newest chain that was verified whole
    stays whatever its age, and so does the newest of each kind, and everything that cannot be read: a person decides.
    """
    zone = ZoneInfo(settings.scheduler.zone)
    readable = [point for point in points if point.is_readable]
    staying: set[str] = set()
    for kind in (FULL, CONFIGURATION):
        ours = [point for point in readable if point.kind == kind]
        staying |= {point.id for point in ours[-1:]}
        good = [point for point in ours if point.verified is not None and point.verified.ok]
        staying |= {point.id for point in good[-1:]}
        thorough = [point for point in good if point.verified is not None and point.verified.thorough]
        staying |= {point.id for point in thorough[-1:]}
        for point in _newest_of_each(ours, settings.backup, zone, now_ms):
            staying.add(point.id)
    return [point for point in readable if point.id not in staying and point.full_id not in staying]


def _newest_of_each(points: list[Point], kept: BackupSettings, zone: ZoneInfo, now_ms: int) -> list[Point]:
    """Return the newest backup of each of the last days, weeks and months."""
    today = datetime.fromtimestamp(now_ms / 1000, zone).date()
    monday = today - timedelta(days=today.weekday())
    days = {(today - timedelta(days=back)).isoformat() for back in range(kept.daily)}
    weeks = {(monday - timedelta(weeks=back)).isoformat() for back in range(kept.weekly)}
    month = today.year * 12 + today.month
    months = {str(month - back) for back in range(kept.monthly)}
    newest: dict[str, Point] = {}
    for point in points:
        day = datetime.fromtimestamp(point.created_at / 1000, zone).date()
        week = (day - timedelta(days=day.weekday())).isoformat()
        number = str(day.year * 12 + day.month)
        for span, label, among in (("day", day.isoformat(), days), ("week", week, weeks), ("month", number, months)):
            if label in among:
                newest[f"{span} {label}"] = point
    return list(newest.values())


def prune(
    target: Target,
    keys: BackupKeys,
    settings: Settings,
    now_ms: int,
    *,
    checkpoint: Callable[[str], None] = pass_by,
    dry_run: bool = False,
) -> Pruned:
    """Remove what retention lets go, and files that no backup needs any more. The caller holds the target alone.

    Killed half way it leaves only whole backups; the next run goes on. Packs and files without a backup are what a
    killed run left. While one manifest cannot be opened no file is removed: it may be the one that needs it.
    """
    points = list_points(target)
    doomed = doomed_points(points, settings, now_ms)
    if dry_run:
        return Pruned(tuple(point.id for point in doomed), 0, sum(point.bytes for point in doomed))
    freed = files = 0
    # What stands on a full backup goes before it; a manifest goes before its pack.
    for point in sorted(doomed, key=lambda one: (one.kind == FULL, one.id)):
        target.delete(point.id + SUFFIX)
        checkpoint("manifest removed")
        target.delete(point.id + PACK_SUFFIX)
        target.delete(point.id + VERIFIED)
        checkpoint("pack removed")
        freed += point.bytes
    names = target.names()
    alive = {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}
    for name in names:
        for ending in (PACK_SUFFIX, VERIFIED):
            if name.endswith(ending) and name.removesuffix(ending) not in alive:
                freed += target.size(name) or 0
                target.delete(name)
                files += 1
    needed = _needed_files(target, keys, sorted(alive))
    for name in target.names(OBJECTS) if needed is not None else ():
        if needed is not None and f"{OBJECTS}/{name}" not in needed:
            freed += target.size(f"{OBJECTS}/{name}") or 0
            target.delete(f"{OBJECTS}/{name}")
            files += 1
            checkpoint("file removed")
    return Pruned(tuple(point.id for point in doomed), files, freed)


def _needed_files(target: Target, keys: BackupKeys, backups: list[str]) -> set[str] | None:
    """Return the shared files that backups need; None when one of them cannot be asked."""
    needed: set[str] = set()
    with suppress(BackupDamaged, ConfigError):
        for backup_id in backups:
            manifest = open_archive(target, backup_id, keys).manifest
            needed |= {object_name(file.address) for file in manifest.files if not file.pack}
        return needed
    return None


def prune_here(
    settings: Settings,
    now_ms: int,
    *,
    checkpoint: Callable[[str], None] = pass_by,
    dry_run: bool = False,
) -> Pruned:
    """Clean up the local folder, with every other run kept out."""
    target, keys = LocalTarget(settings.backups), BackupKeys(settings.keys)
    with target.alone():
        if not dry_run:
            target.sweep()
        return prune(target, keys, settings, now_ms, checkpoint=checkpoint, dry_run=dry_run)

"""`ctp backup` and `ctp restore`: make, list, verify, clean up, bring back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from ctp.cli.opened import now_ms, opened_database
from ctp.cli.output import Json, print_facts, print_json, print_table, working
from ctp.config import Settings, load_settings
from ctp.errors import ConfigError

if TYPE_CHECKING:
    from ctp.backup.points import Point

app = typer.Typer(help="Backups: sealed, read back, proven by restoring them.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]


@app.command(epilog="Example: ctp backup full")
def full(as_json: Json = False) -> None:
    """Back up everything, so that this backup depends on no other."""
    _make("full", as_json)


@app.command(epilog="Example: ctp backup incremental --json")
def incremental(as_json: Json = False) -> None:
    """Back up what has changed since today's full backup; without one this makes it."""
    _make("incremental", as_json)


@app.command(epilog="Example: ctp backup config")
def config(as_json: Json = False) -> None:
    """Back up what people set up: users, accounts, keys (encrypted), parameters, ctp.toml. No trades."""
    _make("config", as_json)


@app.command("list", epilog="Example: ctp backup list")
def list_(as_json: Json = False) -> None:
    """List every backup, oldest first."""
    from ctp.backup.points import list_points
    from ctp.backup.target import LocalTarget

    settings = load_settings()
    points = list_points(LocalTarget(settings.backups))
    if as_json:
        print_json([_plain(point) for point in points])
        return
    rows = [
        (point.id, point.kind, _time(settings, point.created_at), f"{point.bytes / 1e6:.2f}", _standing(settings, point))
        for point in points
    ]
    print_table("", ("backup", "kind", "made", "MB", "verified"), rows, empty=f"No backup in {settings.backups} yet.")


@app.command(epilog="Example: ctp backup verify 20260131T020000Z")
def verify(
    backup: Annotated[str, typer.Argument(help="A backup's id or how it begins; empty: all of them.")] = "",
    as_json: Json = False,
) -> None:
    """Read backups back, every piece; exit 1 and name the damage when one is not what was written."""
    from ctp.backup.keys import BackupKeys
    from ctp.backup.points import find_point, list_points
    from ctp.backup.target import LocalTarget
    from ctp.backup.verify import check_and_note

    settings = load_settings()
    target, keys = LocalTarget(settings.backups), BackupKeys(settings.keys)
    points = [find_point(target, backup)] if backup else list_points(target)
    with working("Reading backups", quiet=as_json):
        found = {point.id: check_and_note(target, point.id, keys, now_ms()) for point in points}
    if as_json:
        print_json({name: noted._asdict() for name, noted in found.items()})
    else:
        rows = [(name, "whole" if noted.ok else "DAMAGED: " + "; ".join(noted.damages)) for name, noted in found.items()]
        print_table("", ("backup", "state"), rows, empty=f"No backup in {settings.backups} yet.")
    if not all(noted.ok for noted in found.values()):
        raise typer.Exit(1)


@app.command(epilog="Example: ctp backup drill")
def drill(
    backup: Annotated[str, typer.Argument(help="A backup's id or how it begins; empty: the newest.")] = "latest",
    as_json: Json = False,
) -> None:
    """Rehearse a restore in a scratch folder: check it, recompute every balance, compare with the living database."""
    from ctp.backup.drill import rehearse

    with opened_database() as database, working("Rehearsing", quiet=as_json):
        found = rehearse(load_settings(), database, now_ms(), backup)
    if as_json:
        print_json({**found._asdict(), "problems": [problem._asdict() for problem in found.problems]})
    else:
        typer.echo(found.summary() + ".")
        for problem in found.problems:
            typer.echo(f"  {problem.said}" + (f" ({problem.detail})" if problem.detail else ""))
    if not found.ok:
        raise typer.Exit(1)


@app.command(epilog="Example: ctp backup copy")
def copy(as_json: Json = False) -> None:
    """Copy what the second place (backup.remote) lacks, and read it back there."""
    from ctp.backup.jobs import copy_away

    settings = load_settings()
    if not settings.backup.remote:
        raise ConfigError("backup.remote is empty: name the second place in ctp.toml first")
    with opened_database() as database, working("Copying", quiet=as_json):
        copied = copy_away(settings, database, now_ms())
    if as_json:
        print_json({"copied": copied})
    else:
        typer.echo(f"{len(copied)} backups copied and read back there.")


@app.command(epilog="Example: ctp backup prune --dry-run")
def prune(dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove what retention lets go: kept are the last days, weeks and months, and always the last verified chain."""
    from ctp.backup.points import prune_here

    pruned = prune_here(load_settings(), now_ms(), dry_run=dry_run)
    if as_json:
        print_json(pruned)
        return
    would = "would go" if dry_run else "are gone"
    typer.echo(f"{len(pruned.backups)} backups and {pruned.files} files {would}: {pruned.bytes / 1e6:.2f} MB.")
    for name in pruned.backups:
        typer.echo(f"  {name}")


def restore(
    backup: Annotated[str, typer.Argument(help="A backup's id or how it begins, or `latest`.")],
    dry_run: DryRun = False,
    into: Annotated[Path | None, typer.Option("--into", help="Restore into this new folder instead of the home.")] = None,
    remote: Annotated[bool, typer.Option("--remote", help="Take the archive from backup.remote.")] = False,
    override: Annotated[str, typer.Option(help="Why live accounts may go back to other parameters; logged.")] = "",
    as_json: Json = False,
) -> None:
    """Bring everything back to a backup; accounts come up paused and wait for Start. The services must be stopped."""
    from ctp.backup.comparing import compare_with_live
    from ctp.backup.points import find_point
    from ctp.backup.remote import remote_target
    from ctp.backup.restore import restore_home, settings_for
    from ctp.backup.target import LocalTarget

    settings = load_settings()
    there = remote_target(settings) if remote else None
    if remote and there is None:
        raise ConfigError("backup.remote is empty: name the second place in ctp.toml first")
    target = there or LocalTarget(settings.backups)
    point = find_point(target, backup)
    place = settings if into is None else settings_for(settings, into)
    if dry_run:
        _print_difference(compare_with_live(place, settings, target, point.id), as_json)
        return
    with working(f"Restoring {point.id}", quiet=as_json):
        done = restore_home(place, target, point.id, now_ms(), override=override, keys_folder=settings.keys)
    facts: dict[str, Any] = {
        "backup": point.id,
        "home": str(place.home),
        "rows": done.manifest.rows,
        "files": done.files,
        "files kept": done.files_kept,
        "files damaged": list(done.files_lost),
        "kept before": done.safety,
        "seconds": done.seconds,
        "accounts": [account._asdict() for account in done.accounts],
    }
    if as_json:
        print_json(facts)
        return
    shown = {name: value for name, value in facts.items() if name != "accounts" and value not in ("", [], 0)}
    print_facts(shown, title="Restored, compared with the archive and checked.")
    columns = ("account", "mode", "was", "parameters", "problem")
    rows = [(one.name, one.mode, one.status_before, one.parameter_version, one.problem) for one in done.accounts]
    print_table("Accounts, paused until somebody says Start:", columns, rows, empty="No accounts.")


def _make(kind: str, as_json: bool) -> None:
    """Make one backup and say what it is."""
    from ctp.backup.create import make_backup
    from ctp.backup.target import LocalTarget

    settings = load_settings()
    with opened_database() as database, working("Backing up", quiet=as_json):
        made = make_backup(settings, database, LocalTarget(settings.backups), kind, now_ms())
    manifest = made.manifest
    facts = {
        "backup": manifest.id,
        "kind": manifest.kind,
        "rows": manifest.rows,
        "files": len(manifest.files),
        "added_bytes": made.added_bytes,
        "folder": str(settings.backups),
    }
    if as_json:
        print_json(facts)
    else:
        typer.echo(f"{manifest.id}: {manifest.rows:,} rows, {made.added_bytes / 1e6:.2f} MB added, read back.")


def _print_difference(difference: Any, as_json: bool) -> None:
    """Print what a restore would change."""
    if as_json:
        print_json(difference)
        return
    rows = [(one.table, one.now, one.then, one.groups_changed) for one in difference.tables if one.groups_changed]
    title = f"Restoring {difference.backup} would change:"
    print_table(title, ("table", "rows now", "rows then", "groups that differ"), rows, empty="No table would change.")
    accounts = [(one.name, one.mode, one.status_before, one.parameter_version, one.problem) for one in difference.accounts]
    columns = ("account", "mode", "was", "parameters", "problem")
    print_table("Accounts that would come up paused:", columns, accounts, empty="No accounts.")
    print_facts({"files to bring back": len(difference.files), "would be refused": difference.refusal or "no"})


def _plain(point: Point) -> dict[str, Any]:
    """Return a backup for JSON."""
    return {**point._asdict(), "verified": None if point.verified is None else point.verified._asdict()}


def _time(settings: Settings, time_ms: int) -> str:
    """Return a time in the operator's zone."""
    return datetime.fromtimestamp(time_ms / 1000, ZoneInfo(settings.scheduler.zone)).strftime("%Y-%m-%d %H:%M:%S")


def _standing(settings: Settings, point: Point) -> str:
    """Say how good a backup is known to be."""
    if not point.is_readable:
        return "UNREADABLE"
    if point.verified is None:
        return "never"
    if not point.verified.ok:
        return f"DAMAGED, {_time(settings, point.verified.at)}"
    depth = "whole" if point.verified.thorough else "read back"
    return f"{depth}, {_time(settings, point.verified.at)}"

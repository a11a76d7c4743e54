"""`ctp doctor`: look at everything a run needs; say what is wrong and how to mend it. Changes nothing.

Each check is a function that returns findings; none of them raises for what it was made to find.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import typer

from ctp.cli.output import Json, print_json, print_table
from ctp.config import Settings, load_settings
from ctp.errors import CtpError

Verdict = Literal["ok", "warning", "wrong"]

SPACE_WRONG_MB, SPACE_WARNING_MB = 200, 2000
SILENT_AFTER_S = 30


class Finding(NamedTuple):
    """One thing looked at: what was found, and what to do when it is not ok."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""


def doctor(as_json: Json = False) -> None:
    """Check Python, disk, clock, schema, keys, services and exchanges; exit 1 when something is wrong."""
    findings = list(examine(load_settings()))
    if as_json:
        print_json({"ok": all(f.verdict != "wrong" for f in findings), "findings": findings})
    else:
        print_table("", ("", "subject", "found", "what to do"), [_row(f) for f in findings], empty="")
    if any(finding.verdict == "wrong" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, cheapest first."""
    yield _python()
    yield from _home(settings)
    database = _database(settings)
    yield database
    if database.verdict == "ok":
        yield from _services(settings)
    yield from _keys(settings)
    yield from _port(settings)


def _row(finding: Finding) -> tuple[str, str, str, str]:
    """Return a finding as a table row."""
    sign = {"ok": "ok", "warning": "!", "wrong": "WRONG"}[finding.verdict]
    return sign, finding.subject, finding.found, finding.remedy


def _python() -> Finding:
    """Look at the interpreter; an older one could not have read this file."""
    return Finding("Python", "ok", ".".join(str(part) for part in sys.version_info[:3]))


def _home(settings: Settings) -> Iterator[Finding]:
    """Look at the folder everything is written to."""
    home = settings.home
    existing = next(folder for folder in (home, *home.parents) if folder.is_dir())
    if not os.access(existing, os.W_OK):
        yield Finding("home", "wrong", f"{home} cannot be written", f"chown {os.getuid()} {existing}")
        return
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    remedy = f"make room on the disk of {home}; without it the bot takes no entries"
    if free_mb < SPACE_WRONG_MB:
        yield Finding("disk", "wrong", f"{free_mb} MB free", remedy)
    elif free_mb < SPACE_WARNING_MB:
        yield Finding("disk", "warning", f"{free_mb} MB free", remedy)
    else:
        yield Finding("disk", "ok", f"{free_mb} MB free in {home}")


def _database(settings: Settings) -> Finding:
    """Look at the schema."""
    from ctp.storage.database import Database

    try:
        database = Database(settings.database_url)
        try:
            database.check()
            return Finding("database", "ok", f"{database.address}, schema {database.revision()}")
        finally:
            database.close()
    except CtpError as error:
        found, _, remedy = str(error).partition("; ")
        return Finding("database", "wrong", found, remedy)


def _services(settings: Settings) -> Iterator[Finding]:
    """Look at the last sign of life of each service."""
    from ctp.storage.database import Database
    from ctp.storage.leases import read_heartbeats

    database = Database(settings.database_url)
    try:
        with database.reading() as connection:
            beats = read_heartbeats(connection)
    finally:
        database.close()
    now = time.time()
    for name in ("bot", "backup", "web"):
        if name not in beats:
            yield Finding(f"crypto-trader-{name}", "warning", "has never run here", "./run up")
            continue
        silent_s = now - beats[name].at / 1000
        if silent_s < -SILENT_AFTER_S:
            yield Finding("clock", "wrong", f"runs {-silent_s:.0f} s behind the last sign of life", "let NTP set the clock")
        elif silent_s > SILENT_AFTER_S:
            yield Finding(f"crypto-trader-{name}", "warning", f"silent for {silent_s:.0f} s", "./run up, or read its log")
        else:
            yield Finding(f"crypto-trader-{name}", "ok", f"alive {max(0.0, silent_s):.0f} s ago")


def _keys(settings: Settings) -> Iterator[Finding]:
    """Look at who may read the key files."""
    folder = settings.home / "keys"
    if not folder.is_dir():
        yield Finding("keys", "warning", "none yet", "ctp init")
        return
    secret = [path for path in (folder, *folder.iterdir()) if not _is_public_key(path)]
    open_files = [path for path in secret if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_files:
        names = " ".join(str(path) for path in open_files)
        yield Finding("keys", "wrong", f"{len(open_files)} can be read by others", f"chmod go-rwx {names}")
    else:
        yield Finding("keys", "ok", f"{sum(1 for _ in folder.iterdir())} files, readable by their owner alone")


def _is_public_key(path: Path) -> bool:
    """Tell whether a file is the public half of a key, which everybody may read."""
    return path.suffix == ".pem" and path.read_bytes().startswith(b"-----BEGIN PUBLIC KEY")


def _port(settings: Settings) -> Iterator[Finding]:
    """Look at whether the gateway listens, or could."""
    web = settings.web
    with socket.socket() as probe:
        probe.settimeout(2)
        answers = probe.connect_ex((web.host, web.port)) == 0
    state = "something listens" if answers else "free"
    yield Finding("web", "ok", f"{web.host}:{web.port}: {state}")


"""The doctor looks at the home: room, who may read it, keys, database, services, ports."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ctp.cli.findings import Finding
from ctp.config import Settings
from ctp.errors import CtpError
from ctp.storage.room import BALLAST

SPACE_WARNING_MB = 2000
SILENT_AFTER_S = 30
_SHOWN = 3


def look_at_home(settings: Settings) -> Iterator[Finding]:
    """Look at everything that this installation keeps on this machine."""
    yield from _room(settings)
    yield from _readable(settings)
    yield _keys(settings)
    database = _database(settings)
    yield database
    beats = _beats(settings) if database.verdict == "ok" else {}
    if database.verdict == "ok":
        yield from _services(beats)
    for name, port in (("web", settings.web.port), ("voila", settings.web.voila_port)):
        yield _port(name, settings.web.host if name == "web" else "127.0.0.1", port, beats.get("web"))


def _room(settings: Settings) -> Iterator[Finding]:
    """Look at the folder everything is written to, and at its disk."""
    home = settings.home
    existing = next(folder for folder in (home, *home.parents) if folder.is_dir())
    if not os.access(existing, os.W_OK):
        yield Finding("home", "wrong", f"{home} cannot be written", f"chown {os.getuid()} {existing}")
        return
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    remedy = f"make room on the disk of {home}; without it the bot takes no entries"
    if free_mb < settings.disk.short_mb:
        yield Finding("disk", "wrong", f"{free_mb} MB free", remedy)
    elif free_mb < SPACE_WARNING_MB:
        yield Finding("disk", "warning", f"{free_mb} MB free", remedy)
    else:
        yield Finding("disk", "ok", f"{free_mb} MB free in {home}")
    ballast, wanted_mb = home / BALLAST, settings.disk.ballast_mb
    if ballast.is_file():
        held_mb = ballast.stat().st_blocks * 512 // 1_000_000
        if held_mb < ballast.stat().st_size // 1_100_000:
            yield Finding("ballast", "warning", f"{ballast} holds only {held_mb} MB", "use a file system that reserves blocks")
        else:
            yield Finding("ballast", "ok", f"{held_mb} MB are given up when the disk is full, so that exits can be written")
    elif wanted_mb and home.is_dir():
        remedy = "./run up: crypto-trader-backup makes it when there is room to spare"
        yield Finding("ballast", "warning", "there is no file to give up when the disk is full", remedy)


def _readable(settings: Settings) -> Iterator[Finding]:
    """Look for files of the home that other users of this machine can read."""
    home = settings.home
    if not home.is_dir():
        return
    if not stat.S_IMODE(home.stat().st_mode) & 0o011:
        yield Finding("files", "ok", "nobody else can look into the home")
        return
    named = ("ctp.toml", "ctp.db*", "logs/*", "backups/*", "reports/*")
    files = [file for pattern in named for file in sorted(home.glob(pattern)) if _others_may_read(file)]
    if files:
        shown = ", ".join(str(file.relative_to(home)) for file in files[:_SHOWN])
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        yield Finding("files", "warning", f"other users can read {shown}{more}", f"chmod 700 {home}")
    else:
        yield Finding("files", "ok", "other users can read nothing of value")


def _others_may_read(path: Path) -> bool:
    """Tell whether somebody beside the owner can read a file, or list and enter a folder."""
    wanted = 0o005 if path.is_dir() else 0o004
    mode = stat.S_IMODE(path.stat().st_mode)
    return mode & wanted == wanted or mode & wanted << 3 == wanted << 3


def _keys(settings: Settings) -> Finding:
    """Look at who may read the key files, and the files of secrets that settings name."""
    folder = settings.home / "keys"
    named = (
        settings.database.password_file,
        settings.email.password_file,
        settings.telegram.token_file,
        settings.heartbeat.url_file,
        settings.web.certificate_key_file,
    )
    missing = [str(file) for file in named if file is not None and not file.is_file()]
    if missing:
        return Finding("keys", "wrong", f"settings name what is not there: {', '.join(missing)}", "mend ctp.toml")
    found = [file for file in named if file is not None]
    if folder.is_dir():
        found += [path for path in (folder, *folder.iterdir()) if not _is_public_key(path)]
    open_files = [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_files:
        names = " ".join(str(path) for path in open_files)
        return Finding("keys", "wrong", f"{len(open_files)} can be read by others", f"chmod go-rwx {names}")
    if not folder.is_dir():
        return Finding("keys", "warning", "none yet", "ctp init")
    return Finding("keys", "ok", f"{sum(1 for _ in folder.iterdir())} files, readable by their owner alone")


def _is_public_key(path: Path) -> bool:
    """Tell whether a file is the public half of a key, which everybody may read."""
    return path.suffix == ".pem" and path.read_bytes().startswith(b"-----BEGIN PUBLIC KEY")


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


def _beats(settings: Settings) -> dict[str, float]:
    """Return how long ago each process gave a sign of life, in seconds; negative: in the future."""
    from ctp.storage.database import Database
    from ctp.storage.leases import read_heartbeats

    database = Database(settings.database_url)
    try:
        with database.reading() as connection:
            return {name: time.time() - beat.at / 1000 for name, beat in read_heartbeats(connection).items()}
    finally:
        database.close()


def _services(beats: dict[str, float]) -> Iterator[Finding]:
    """Look at the last sign of life of each service."""
    for name in ("bot", "backup", "web"):
        silent_s = beats.get(name)
        if silent_s is None:
            yield Finding(f"crypto-trader-{name}", "warning", "has never run here", "./run up")
        elif silent_s < -SILENT_AFTER_S:
            yield Finding("clock", "wrong", f"runs {-silent_s:.0f} s behind the last sign of life", "let NTP set the clock")
        elif silent_s > SILENT_AFTER_S:
            yield Finding(f"crypto-trader-{name}", "warning", f"silent for {silent_s:.0f} s", "./run up, or read its log")
        else:
            yield Finding(f"crypto-trader-{name}", "ok", f"alive {max(0.0, silent_s):.0f} s ago")


def _port(name: str, host: str, port: int, web_silent_s: float | None) -> Finding:
    """Look at whether the web listens on its ports, or could."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(2)
        try:
            answers = probe.connect_ex((host, port)) == 0
        except OSError as error:
            return Finding(f"port {port}", "wrong", f"{host}: {error}", "mend web.host in ctp.toml")
    is_ours = web_silent_s is not None and web_silent_s < SILENT_AFTER_S
    if answers and not is_ours:
        setting = "web.port" if name == "web" else "web.voila_port"
        return Finding(f"port {port}", "warning", "another program listens on it", f"stop that program, or set {setting}")
    return Finding(f"port {port}", "ok", f"{name} listens on {host}" if answers else f"free for {name}")

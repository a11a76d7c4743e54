"""A thousand damaged and forged exports, and the largest ones: each refused in one sentence, nothing changed, in little memory.

    python -m benchmarks.hostile_imports [--mutations 1000] [--seed 1]

Mutations of a real export: flipped bits and cuts of the ZIP; and, with right hashes as an attacker would make them, values
of another kind, missing and added names, rows twice, gone or in another order, files in each other's place. Each is imported
into a fresh server. Counted as a fault: anything but one of our errors, an error of several lines, a refused import that has
changed the database, an accepted one that leaves it damaged.
Then, in a process of its own with its memory measured: ten million rows, honest and denied; a bomb; a line of 400 MB.
Prints JSON; exit code 1 when there is a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ctp.accounts.passwords import NewPassword, accept_password
from ctp.accounts.rights import machine
from ctp.accounts.vault import Vault
from ctp.backup.user_export import export_user
from ctp.backup.user_files import MANIFEST, PROFILE, TABLES, file_of
from ctp.backup.user_import import import_user
from ctp.config import Settings
from ctp.errors import CtpError
from ctp.logs import start_logging
from ctp.storage.database import Database
from ctp.storage.tables import accounts
from tests.backup.made import NOW, content_of
from tests.backup.restored_bot import BUSY
from tests.trading.rig import trading_rig, walk

ROOT = Path(__file__).resolve().parent.parent
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1 << 63, -(1 << 63) - 1, 10**400, 0.5, float("nan"), float("inf"), "", "x", "=1+1", "\0",
    "1e999999999", "9" * 5000, "한국어", "\ud800", [], [[]], {}, {"a": [1]}, "[[[", "{}", '{"positions": 5}', "9999-99-99",
    "../../x", "1" * (1 << 20),
)  # fmt: skip
MOST_MB = 600
LARGEST = ("ten million rows", "ten million rows, denied", "a bomb", "a line of 400 MB")


def main() -> None:
    """Forge, import, count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    start_logging("benchmark", None, console=False, level="CRITICAL")
    if arguments.one:
        print(json.dumps(import_one(Path(arguments.one))))
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ctp-hostile-") as name:
        folder = Path(name)
        (folder / "traded").mkdir()
        export = asyncio.run(traded(folder / "traded"))
        result = forge(folder, export, arguments.mutations, arguments.seed)
        largest = {one: measure(folder, export, one) for one in LARGEST}
    past = [name for name, found in largest.items() if found["peak_mb"] > MOST_MB or not found["refused"]]
    print(json.dumps(result | {"largest": largest, "past": past, "seconds": round(time.monotonic() - started, 1)}, indent=2))
    sys.exit(1 if past or result["faults"] else 0)


async def traded(folder: Path) -> Path:
    """Return the export of somebody whose account has traded and is flat."""
    async with trading_rig(folder, {"BTC/USDT:USDT": walk(5, 300, 60_000.0, tick=0.1)}, history=100) as rig:
        account = rig.add_account(["BTC/USDT:USDT"], strategy=BUSY, risk={"max_drawdown": 1})
        await rig.start_bot()
        await rig.command(account, "start")
        await rig.advance([account], 12)
        await rig.command(account, "close_all")
        await rig.stop_bot()
    settings = Settings(home=folder)
    database = Database(settings.database_url)
    with database.transaction() as connection:
        connection.execute(sa.update(accounts).where(accounts.c.id == account).values(name="rsi"))
    export_user(settings, database, machine("cli"), "alice", folder / "alice.zip", NOW)
    database.close()
    return folder / "alice.zip"


# --- mutations --------------------------------------------------------------------------------------------------------


def forge(folder: Path, export: Path, count: int, seed: int) -> dict[str, Any]:
    """Import so many mutations; returns what came of them."""
    chance = random.Random(seed)
    empty = folder / "empty"
    empty.mkdir()
    database = Database(f"sqlite:///{empty / 'ctp.db'}")
    database.migrate()
    before = content_of(database)
    database.close()
    saved = (empty / "ctp.db").read_bytes()
    found = {"mutations": count, "refused": 0, "accepted": 0, "longest_s": 0.0}
    faults: dict[str, str] = {}
    sentences: set[str] = set()
    for number in range(count):
        forged = folder / "forged.zip"
        kind = mutate(export, forged, chance)
        for ending in ("", "-wal", "-shm"):
            (empty / f"ctp.db{ending}").unlink(missing_ok=True)
        (empty / "ctp.db").write_bytes(saved)
        began = time.monotonic()
        outcome = attempt(empty, forged, before)
        found["longest_s"] = max(found["longest_s"], round(time.monotonic() - began, 2))
        if outcome.startswith("fault"):
            faults[f"{number}, {kind}"] = outcome
        else:
            found["accepted" if outcome == "accepted" else "refused"] += 1
            sentences.add(outcome.split(":")[0][:60])
    return found | {"faults": faults, "different_sentences": len(sentences)}


def attempt(home: Path, file: Path, before: dict[str, list[bytes]]) -> str:
    """Import a file; returns `accepted`, the sentence it was refused with, or `fault …`."""
    settings = Settings(home=home)
    database = Database(settings.database_url)
    said = ""
    try:
        import_user(database, Vault(settings.keys), machine("cli"), file, NOW, password=password)
    except CtpError as error:
        said = str(error)
        if "\n" in said or len(said) > 600:
            return f"fault: not one sentence: {said[:300]}"
    except BaseException:
        return "fault: " + traceback.format_exc(limit=-3)
    finally:
        after = content_of(database)
        try:
            database.check(thorough=True)
        except CtpError as error:
            said = f"fault: {error}"
        database.close()
    if said and not said.startswith("fault") and after != before:
        return f"fault: refused ({said}) and changed all the same"
    return said or "accepted"


def password(name: str) -> NewPassword:
    """Return a password for somebody new, cheaply."""
    return accept_password("a very long password", name, 4)


def mutate(source: Path, target: Path, chance: random.Random) -> str:
    """Write a mutation of an export; returns its kind."""
    if chance.random() < 0.3:
        content = bytearray(source.read_bytes())
        if chance.random() < 0.3:
            target.write_bytes(content[: chance.randrange(len(content))])
            return "cut"
        for _ in range(chance.choice((1, 1, 1, 8, 64))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        target.write_bytes(content)
        return "bits"
    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    name = file_of(chance.choice((PROFILE, *TABLES)))
    lines = contents[name].splitlines()
    kind = chance.choice(("value", "value", "value", "name", "rows", "swap", "manifest", "text"))
    if kind in ("value", "name") and lines:
        number = chance.randrange(len(lines))
        row = json.loads(lines[number])
        for key in chance.sample(sorted(row), min(len(row), chance.choice((1, 1, 3)))):
            if kind == "value":
                row[key] = chance.choice(JUNK)
            elif chance.random() < 0.5:
                del row[key]
            else:
                row[f"{key}_"] = row.pop(key)
        lines[number] = json.dumps(row).encode()
    elif kind == "rows" and lines:
        lines = chance.choice((lines[:-1], lines[1:], lines + lines[:1], lines[::-1], [], lines * 2))
    elif kind == "text":
        lines = [chance.choice((b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 50_000, b"{}", b'"', b"1" * 5000))]
    contents[name] = b"".join(line + b"\n" for line in lines)
    if kind == "swap":
        contents[name] = contents[file_of(chance.choice(TABLES))]
    write(target, contents, chance if kind == "manifest" else None)
    return kind


def write(target: Path, contents: dict[str, bytes], chance: random.Random | None) -> None:
    """Write an export with right hashes; chance: with junk in its manifest."""
    manifest = json.loads(contents[MANIFEST])
    for name, told in manifest["files"].items():
        told["sha256"] = hashlib.sha256(contents[name]).hexdigest()
        if name.startswith("data/"):
            told["rows"] = contents[name].count(b"\n")
    if chance is not None:
        place = chance.choice((manifest, manifest["files"], next(iter(manifest["files"].values()))))
        place[chance.choice(sorted(place))] = chance.choice(JUNK)
    contents[MANIFEST] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


# --- the largest ------------------------------------------------------------------------------------------------------


def measure(folder: Path, export: Path, kind: str) -> dict[str, Any]:
    """Import one of the largest in a process of its own."""
    file = folder / "largest.zip"
    size = 10_000_000
    parts: dict[str, tuple[Callable[[], Iterator[bytes]], int]] = {
        "ten million rows": (lambda: rows(size), size),
        "ten million rows, denied": (lambda: rows(size), 100),
        "a bomb": (lambda: (b"\0" * (1 << 20) for _ in range(450)), 1),
        "a line of 400 MB": (lambda: (random.Random(n).randbytes(1 << 19).hex().encode() for n in range(400)), 0),
    }
    make, said = parts[kind]
    with zipfile.ZipFile(export) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        manifest = json.loads(source.read(MANIFEST))
        digest = hashlib.sha256()
        name = file_of("decisions")
        with archive.open(name, "w") as sink:
            for part in make():
                digest.update(part)
                sink.write(part)
        manifest["files"][name] = {"sha256": digest.hexdigest(), "rows": said}
        for other in source.namelist():
            if other not in (MANIFEST, name):
                archive.writestr(other, source.read(other))
        archive.writestr(MANIFEST, json.dumps(manifest))
    command = [sys.executable, "-m", "benchmarks.hostile_imports", "--one", str(file)]
    environment = {**os.environ, "CTP_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {"zip_mb": round(file.stat().st_size / 1e6, 1), **json.loads(told)}


def rows(count: int) -> Iterator[bytes]:
    """Yield so many small rows, ten thousand at a time."""
    for start in range(0, count, 10_000):
        yield b"".join(b'{"id": %d}\n' % number for number in range(start, start + 10_000))


def import_one(file: Path) -> dict[str, Any]:
    """Import a file here; returns seconds, the peak of memory, and what was said."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/ctp.db")
        database.migrate()
        began, said = time.monotonic(), ""
        try:
            import_user(database, Vault(Path(folder)), machine("cli"), file, NOW, password=password)
        except CtpError as error:
            said = str(error)
        database.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"refused": bool(said), "said": said, "seconds": round(time.monotonic() - began, 2), "peak_mb": round(peak)}


if __name__ == "__main__":
    main()

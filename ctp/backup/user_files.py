"""One person's data as a ZIP: which files are in it, and how it is read without trusting it.

`manifest.json` names every other file with its SHA-256 and number of rows; `data/<table>.jsonl` has one JSON object a row
(decimals and large numbers as text, times in milliseconds UTC); `csv/` is for people and is not read back.

Invariants of reading:
1. Nothing is unpacked to disk, and no name but the expected ones is looked at.
2. Sizes are capped before and while a file is read: what the ZIP says about itself is not believed.
"""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from ctp.errors import InputError
from ctp.storage import migrations

FORMAT = 1
MANIFEST, README, KEYS = "manifest.json", "README.txt", "exchange_keys.json"
PROFILE = "profile"
# In the order in which they are written: each after what it points to.
TABLES = (
    "accounts",
    "parameter_versions",
    "orders",
    "ledger",
    "trades",
    "decisions",
    "equity_samples",
    "commands",
    "account_states",
    "notices",
)
CSV = ("trades.csv", "fills.csv")
MOST_BYTES = 1 << 30  # of one archive, unpacked
MOST_FILE = 256 << 20  # of one file in it
MOST_ROWS = 2_000_000
MOST_RATIO = 300
_SMALL = 1 << 20  # below this a ratio means nothing


class UserData(NamedTuple):
    """What an archive holds, checked for form but not for meaning."""

    user: str
    exported_at: int
    program: str
    rows: dict[str, list[dict[str, Any]]]
    sealed_keys: dict[str, Any] | None


def file_of(table: str) -> str:
    """Return the name of a table's file."""
    return f"data/{table}.jsonl"


def read_user_data(path: Path) -> UserData:
    """Return the content of an archive. Raises InputError, in one sentence, for anything that is not one of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive)
            manifest = _manifest(_read(archive, entries, MANIFEST))
            rows = {table: _rows(archive, entries, manifest, table) for table in (PROFILE, *TABLES)}
            keys = None
            if KEYS in entries:
                keys = json.loads(_checked(archive, entries, manifest, KEYS))
            for name in CSV:
                _checked(archive, entries, manifest, f"csv/{name}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError("file", path.name, f"is not one of ours ({type(error).__name__}: {str(error)[:200]})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise InputError("file", path.name, f"is not a ZIP that can be read ({error})") from None
    if len(rows[PROFILE]) != 1:
        raise InputError("file", path.name, "must hold one person's profile")
    return UserData(str(manifest["user"]), int(manifest["exported_at"]), str(manifest["program"]), rows, keys)


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name, each looked at from outside."""
    expected = {MANIFEST, README, KEYS, *(file_of(table) for table in (PROFILE, *TABLES)), *(f"csv/{name}" for name in CSV)}
    found: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for entry in archive.infolist():
        if entry.filename not in expected:
            raise InputError("file", entry.filename[:80], "does not belong into an export; nothing was read")
        if entry.filename in found:
            raise InputError("file", entry.filename, "is there twice")
        if stat.S_ISLNK(entry.external_attr >> 16) or entry.is_dir() or entry.flag_bits & 1:
            raise InputError("file", entry.filename, "is a link, a folder or encrypted, and not a file")
        total += entry.file_size
        ratio = entry.file_size / max(1, entry.compress_size)
        if entry.file_size > MOST_FILE or total > MOST_BYTES or (entry.file_size > _SMALL and ratio > MOST_RATIO):
            raise InputError("file", entry.filename, f"would unpack to {entry.file_size} bytes, which is more than allowed")
        found[entry.filename] = entry
    if MANIFEST not in found:
        raise InputError("file", MANIFEST, "is missing: this is no export")
    return found


def _read(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], name: str) -> bytes:
    """Return a file, never more than its entry says."""
    if name not in entries:
        raise InputError("file", name, "is missing")
    with archive.open(entries[name]) as source:
        content = source.read(entries[name].file_size + 1)
    if len(content) != entries[name].file_size:
        raise InputError("file", name, "is longer or shorter than the archive says")
    return content


def _manifest(content: bytes) -> dict[str, Any]:
    """Return the manifest of an archive that this program can take."""
    plain: dict[str, Any] = json.loads(content)
    if plain["format"] != FORMAT or plain["schema"] != migrations.head():
        raise InputError(
            "schema",
            plain["schema"],
            f"this program takes exports of schema {migrations.head()}; upgrade the older of the two servers first",
        )
    return plain


def _checked(
    archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], manifest: dict[str, Any], name: str
) -> bytes:
    """Return a file whose hash is the manifest's."""
    content = _read(archive, entries, name)
    expected, found = manifest["files"][name]["sha256"], hashlib.sha256(content).hexdigest()
    if expected != found:
        raise InputError("file", name, f"has SHA-256 {found}, the manifest says {str(expected)[:80]}")
    return content


def _rows(
    archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], manifest: dict[str, Any], table: str
) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    name = file_of(table)
    said = int(manifest["files"][name]["rows"])
    if sum(int(one.get("rows", 0)) for one in manifest["files"].values()) > MOST_ROWS:
        raise InputError("file", name, f"an export may have {MOST_ROWS} rows")
    content = _checked(archive, entries, manifest, name)
    if content.count(b"\n") != said:
        raise InputError("file", name, f"has {content.count(bytes([10]))} rows, the manifest says {said}")
    rows = [json.loads(line) for line in content.splitlines()]
    if not all(isinstance(row, dict) for row in rows):
        raise InputError("file", name, "must have one JSON object on each line")
    return rows

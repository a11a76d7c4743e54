"""One person's data as a ZIP: which files are in it, and how it is read without trusting it.

`manifest.json` names every other file with its SHA-256 and number of rows; `data/<table>.jsonl` has one JSON object a row
(decimals and large numbers as text, times in milliseconds UTC); `csv/` and `reports/` are for people and are not read back.

Invariants of reading:
1. Nothing is unpacked to disk, and no name but the expected ones is looked at.
2. Sizes are capped before and while a file is read: what the ZIP says about itself is not believed.
3. Memory is bounded by one line and one block, however large the archive is.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

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
MOST_FILE = 512 << 20  # of one file in it
MOST_ROWS = 2_000_000
_MOST_OF = {PROFILE: 1, "accounts": 200, "account_states": 200}  # rows
_MOST_LINE = 4 << 20
_MOST_NAME = 64  # letters
_MOST_WHOLE = 4 << 20  # of a file that is read in one piece
MOST_RATIO = 300
_SMALL = 1 << 20  # below this a ratio means nothing
_BLOCK = 1 << 16
_REPORT = re.compile(r"reports/[0-9A-Za-z._-]{1,80}\.html", re.ASCII)


class UserArchive:
    """An export that is open: looked at from outside, every file compared with its hash, rows read one by one."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Check everything that can be checked without understanding a row. Raises InputError in one sentence."""
        self._archive = archive
        self._entries = _entries(archive)
        manifest = _manifest(self._whole(MANIFEST))
        self.user = str(manifest["user"])
        if len(self.user) > _MOST_NAME:
            raise InputError("user", self.user[:_MOST_NAME] + "…", "is longer than a name may be")
        self._hashes = {str(name): str(one["sha256"]) for name, one in manifest["files"].items()}
        self.rows_of = {table: int(manifest["files"][file_of(table)]["rows"]) for table in (PROFILE, *TABLES)}
        if sum(self.rows_of.values()) > MOST_ROWS:
            raise InputError("file", MANIFEST, f"an export may have {MOST_ROWS} rows")
        for table, most in _MOST_OF.items():
            if self.rows_of[table] > most:
                raise InputError("file", file_of(table), f"may have {most} rows")
        for name in (*map(file_of, (PROFILE, *TABLES)), *(f"csv/{one}" for one in CSV)):
            if name not in self._entries:
                raise InputError("file", name, "is missing")
        for name in self._entries:
            if name not in (MANIFEST, README):
                self._check(name)
        self.sealed_keys: dict[str, Any] | None = json.loads(self._whole(KEYS)) if KEYS in self._entries else None
        profile = list(self.rows(PROFILE))
        if len(profile) != 1:
            raise InputError("file", file_of(PROFILE), "must hold one person's profile")
        self.profile = profile[0]

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table. Raises InputError when the file is not what it was when it was checked."""
        name, digest, rest = file_of(table), hashlib.sha256(), b""
        with _told(name):
            for block in self._blocks(name):
                digest.update(block)
                *lines, rest = (rest + block).split(b"\n")
                if len(rest) > _MOST_LINE:
                    raise InputError("file", name, f"has a line of more than {_MOST_LINE} bytes")
                for line in lines:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise InputError("file", name, "must have one JSON object on each line")
                    yield row
            if digest.hexdigest() != self._hashes[name]:
                raise InputError("file", name, "changed while it was read")

    def _check(self, name: str) -> None:
        """Compare a file with its hash and its number of rows."""
        digest, count = hashlib.sha256(), 0
        for block in self._blocks(name):
            digest.update(block)
            count += block.count(b"\n")
        expected, found = self._hashes[name], digest.hexdigest()
        if expected != found:
            raise InputError("file", name, f"has SHA-256 {found}, the manifest says {expected[:80]}")
        for table, said in self.rows_of.items():
            if name == file_of(table) and count != said:
                raise InputError("file", name, f"has {count} rows, the manifest says {said}")

    def _blocks(self, name: str) -> Iterator[bytes]:
        """Yield a file in blocks, never more of it than its entry says."""
        entry, length = self._entries[name], 0
        with self._archive.open(entry) as source:
            while block := source.read(_BLOCK):
                length += len(block)
                if length > entry.file_size:
                    break
                yield block
        if length != entry.file_size:
            raise InputError("file", name, "is longer or shorter than the archive says")

    def _whole(self, name: str) -> bytes:
        """Return a small file in one piece."""
        if self._entries[name].file_size > _MOST_WHOLE:
            raise InputError("file", name, f"may have {_MOST_WHOLE} bytes")
        return b"".join(self._blocks(name))


def file_of(table: str) -> str:
    """Return the name of a table's file."""
    return f"data/{table}.jsonl"


@contextmanager
def open_user_data(path: Path) -> Iterator[UserArchive]:
    """Open an archive. Raises InputError, in one sentence, for anything that is not one of ours, also while rows are read."""
    with ExitStack() as stack:
        with _told(path.name):
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(_Careful(path))))
            opened = UserArchive(archive)
        yield opened


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what a hostile file makes its readers raise into one sentence."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise InputError("file", name, f"is not a ZIP that can be read ({' '.join(str(error).split())[:200]})") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        said = f"is not one of ours ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        raise InputError("file", name, said) from None


class _Careful(io.FileIO):
    """A file of which nobody can read much at once: a ZIP's table of contents is read in one piece, and its length is a claim."""

    _MOST = 1 << 20

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes."""
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > self._MOST:
            raise zipfile.BadZipFile("its table of contents is too long")
        return super().read(wanted)


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name, each looked at from outside."""
    expected = {MANIFEST, README, KEYS, *(file_of(table) for table in (PROFILE, *TABLES)), *(f"csv/{name}" for name in CSV)}
    found: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for entry in archive.infolist():
        if entry.filename not in expected and not _REPORT.fullmatch(entry.filename):
            raise InputError("file", entry.filename[:80], "does not belong into an export; nothing was read")
        if entry.filename in found:
            raise InputError("file", entry.filename, "is there twice")
        if stat.S_ISLNK(entry.external_attr >> 16) or entry.is_dir() or entry.flag_bits & 1:
            raise InputError("file", entry.filename, "is a link, a folder or encrypted, and not a file")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError("file", entry.filename, "is compressed in a way exports are not")
        total += entry.file_size
        ratio = entry.file_size / max(1, entry.compress_size)
        if entry.file_size > MOST_FILE or total > MOST_BYTES or (entry.file_size > _SMALL and ratio > MOST_RATIO):
            raise InputError("file", entry.filename, f"would unpack to {entry.file_size} bytes, which is more than allowed")
        found[entry.filename] = entry
    if MANIFEST not in found:
        raise InputError("file", MANIFEST, "is missing: this is no export")
    return found


def _manifest(content: bytes) -> dict[str, Any]:
    """Return the manifest of an archive that this program can take."""
    plain: dict[str, Any] = json.loads(content)
    if plain["format"] != FORMAT or plain["schema"] != migrations.head():
        raise InputError(
            "schema",
            str(plain["schema"])[:80],
            f"this program takes exports of schema {migrations.head()}; upgrade the older of the two servers first",
        )
    return plain

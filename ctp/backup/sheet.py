"""The recovery sheet: printed on paper, it brings everything back on a bare machine; and read in again.

It holds the backup keys and the keys that open exchange keys, each with a checksum so that a mistyped letter is found.
Whoever has the sheet and an archive has everything: it belongs in a safe.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cryptography.fernet import Fernet

from ctp.accounts.vault import FILE as FERNET_FILE
from ctp.backup.durable import replace_file
from ctp.backup.keys import FILE as BACKUP_FILE
from ctp.backup.keys import BackupKey, BackupKeys
from ctp.config import Settings, read_secret
from ctp.errors import InputError, StateConflict

_GROUP = 4
_LINE = re.compile(r"^\s*([BF])(\d+):\s+([A-Z2-7 ]+?)\s+/\s+([0-9A-F]{4})\s*$")


def recovery_sheet(settings: Settings, now_ms: int) -> str:
    """Return the sheet as text. It holds every key in the clear."""
    backup_keys = BackupKeys(settings.keys).all()
    fernet = _fernet_keys(settings.keys)
    day = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%d")
    lines = [
        "CRYPTO TRADER PRO - RECOVERY SHEET - KEEP IN A SAFE",
        f"printed {day}, program {version('ctp')}, {settings.home}",
        "",
        "Backups lie in:",
        f"  {settings.backups}",
        f"  {settings.backup.remote or '(no second place is set: backup.remote)'}",
        f"Database: {settings.database.url or 'SQLite in CTP_HOME'}",
        "",
        "Backup keys, newest first. Without them no archive opens, and nothing can help.",
        *(_line("B", number, key.secret) + f"   ({key.id})" for number, key in enumerate(backup_keys, 1)),
        "",
        "Keys of exchange keys (Fernet), newest first. Without them everything comes back but the exchange keys:",
        "those are entered again.",
        *(_line("F", number, base64.urlsafe_b64decode(key)) for number, key in enumerate(fernet, 1)),
        "",
        "On a bare machine:",
        "  1. Install the program and make CTP_HOME (docs/runbook.md, Install).",
        "  2. ctp keys enter        type or paste the lines B1 ... and F1 ... of this sheet, then an empty line",
        "  3. Copy the backups into CTP_HOME/backups, or set backup.remote and its key file in ctp.toml.",
        "  4. ctp restore latest    (or --remote)",
        "  5. ./run up; look at the accounts, which are paused; press Start.",
        "Not on this sheet: the password of a PostgreSQL server, certificates, the key of the second place.",
        "Print a new sheet after every `ctp keys rotate`.",
    ]
    return "\n".join(lines) + "\n"


def enter_sheet(settings: Settings, text: str) -> tuple[int, int]:
    """Write the key files from a sheet's lines; returns how many (backup keys, Fernet keys).

    Keys that are there already stay, behind those entered. Raises InputError naming the line that was mistyped.
    """
    found: dict[str, list[bytes]] = {"B": [], "F": []}
    for line in text.splitlines():
        plain = re.sub(r"\s*\([0-9a-f]{8}\)\s*$", "", line)
        match = _LINE.match(plain.upper()) if re.match(r"\s*[BbFf]\d+:", plain) else None
        if match is None:
            if re.match(r"\s*[BbFf]\d+:", line):
                raise InputError(line.split(":")[0].strip(), "***", "the line is not complete: letters, then / and 4 digits")
            continue
        kind, number, letters, check = match.groups()
        found[kind].append(_read(f"{kind}{number}", letters, check))
    if not found["B"]:
        raise InputError("sheet", "***", "holds no line that begins with B1:")
    keys = BackupKeys(settings.keys)
    entered = [BackupKey(secret) for secret in found["B"]]
    known = keys.all() if (settings.keys / BACKUP_FILE).exists() else []
    keys.write([*entered, *(key for key in known if key not in entered)])
    if found["F"]:
        file = settings.keys / FERNET_FILE
        texts = [base64.urlsafe_b64encode(secret).decode() for secret in found["F"]]
        if file.exists() and set(_fernet_keys(settings.keys)) - set(texts):
            raise StateConflict(f"{file} holds other keys already; move it away first, nothing of it was changed")
        for one in texts:
            Fernet(one)
        replace_file(file, "".join(f"{one}\n" for one in texts).encode())
    return len(found["B"]), len(found["F"])


def _line(kind: str, number: int, secret: bytes) -> str:
    """Return a key in letters that are hard to confuse, in groups, with its checksum."""
    letters = base64.b32encode(secret).decode().rstrip("=")
    grouped = " ".join(letters[start : start + _GROUP] for start in range(0, len(letters), _GROUP))
    return f"  {kind}{number}: {grouped} / {_check(secret)}"


def _check(secret: bytes) -> str:
    """Return four digits that a mistyped key does not have."""
    return f"{zlib.crc32(secret) & 0xFFFF:04X}"


def _read(name: str, letters: str, check: str) -> bytes:
    """Return a key from its letters."""
    joined = letters.replace(" ", "")
    try:
        secret = base64.b32decode(joined + "=" * (-len(joined) % 8))
    except binascii.Error:
        secret = b""
    # The last letter has bits that no byte holds: without the second look its neighbours would pass for it.
    is_exact = base64.b32encode(secret).decode().rstrip("=") == joined
    if len(secret) != 32 or not is_exact or _check(secret) != check:
        raise InputError(name, "***", "does not fit its checksum; compare it with the sheet letter by letter")
    return secret


def _fernet_keys(folder: Path) -> list[str]:
    """Return the keys of exchange keys; none when nothing was ever encrypted."""
    file = folder / FERNET_FILE
    return read_secret(file, "exchange key encryption").split() if file.exists() else []

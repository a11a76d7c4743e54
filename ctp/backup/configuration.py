"""The history of the configuration: note what changed, show it, go back.

`CTP_HOME/configuration/<version>.toml` holds each ctp.toml that worked, so that the way back is open while a broken one
keeps everything else shut.
"""

from __future__ import annotations

import difflib
import json
import os
import pwd
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ctp.accounts.audit import record
from ctp.accounts.configuration import (
    ConfigurationVersion,
    note_version,
    read_version,
    stored_settings,
)
from ctp.accounts.rights import Actor, machine
from ctp.accounts.trading_accounts import append_parameters, set_capital
from ctp.backup.durable import replace_file
from ctp.backup.home_files import CONFIGURATION_FILE
from ctp.config import COPIES, Settings, load_settings
from ctp.errors import InputError, NotFound
from ctp.storage.database import Database

OUTSIDE = "ctp.toml was changed outside the program"


def note_file(home: Path, connection: sa.Connection, now_ms: int, reason: str = OUTSIDE) -> int | None:
    """Write down ctp.toml, which was just loaded and so works, when it is not the newest version's; returns the version.

    Its author is the system's user who owns the file.
    """
    file = home / CONFIGURATION_FILE
    text = file.read_text("utf-8") if file.is_file() else None
    author = _owner(file) if text is not None else "nobody"
    version = note_version(connection, author, None, "file", reason, now_ms, file=text)
    if version is not None:
        _copy(home, version, text)
    return version


def difference(before: ConfigurationVersion, after: ConfigurationVersion) -> list[str]:
    """Return the lines that differ between two versions, as `diff -u` shows them."""
    lines: list[str] = []
    for name, one, other in (
        (CONFIGURATION_FILE, before.file or "", after.file or ""),
        ("stored settings", _text(before.stored), _text(after.stored)),
    ):
        labels = (f"{name} {before.id}", f"{name} {after.id}")
        lines += difflib.unified_diff(one.splitlines(), other.splitlines(), *labels, lineterm="", n=1)
    return lines


def roll_back(
    home: Path, database: Database, number: int, now_ms: int, *, reason: str = "", override: str = ""
) -> list[str]:
    """Make an earlier configuration the newest version again; returns what was changed and what was left alone, in words.

    Brought back are ctp.toml, parameters and capital. Who may do what, accounts and shares, and people's own choices stay:
    going back must not give a right back that was taken away. Today's rules and ceilings hold for it; a live account's
    parameters need an override. Raises ConfigError, InputError or NotAllowed naming what does not pass; then nothing
    has changed.
    """
    actor = machine("cli")
    done: list[str] = []
    left: list[str] = []
    with database.transaction() as connection:
        version = read_version(connection, number)
        check_text(home, version.file or "")
        done += _bring_back(connection, actor, version.stored, number, now_ms, override)
        left = _left_alone(version.stored, stored_settings(connection))
        file = home / CONFIGURATION_FILE
        now_text = file.read_text("utf-8") if file.is_file() else None
        if now_text != version.file:
            done.append(f"{CONFIGURATION_FILE} is as in version {number}")
        words = reason.strip() or f"back to version {number}"
        made = note_version(connection, "cli", None, "cli", words, now_ms, file=version.file)
        record(connection, actor, "configuration.rollback", f"version:{number}", now_ms, override=override, reason=words)
        if now_text != version.file:
            replace_file(file, (version.file or "").encode())
        if made is not None:
            _copy(home, made, version.file)
    return done + left


def mend_file(home: Path, number: int) -> Settings:
    """Put back the copy of an earlier ctp.toml, without a database: the broken one keeps it shut. Returns its settings."""
    copy = home / COPIES / f"{number}.toml"
    if not copy.is_file():
        known = ", ".join(sorted(file.stem for file in (home / COPIES).glob("*.toml"))) or "none"
        raise NotFound(f"there is no copy of configuration version {number} in {home / COPIES}; there are: {known}")
    text = copy.read_text("utf-8")
    settings = check_text(home, text)
    replace_file(home / CONFIGURATION_FILE, text.encode())
    return settings


def check_text(home: Path, text: str) -> Settings:
    """Return the settings a ctp.toml of this text gives. Raises ConfigError when today's program does not take it."""
    environment = {name: value for name, value in os.environ.items() if name != "CTP_CONFIG"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / CONFIGURATION_FILE
        file.write_text(text, "utf-8")
        return load_settings({**environment, "CTP_HOME": str(home), "CTP_CONFIG": str(file)})


def _bring_back(
    connection: sa.Connection, actor: Actor, stored: Mapping[str, Any], number: int, now_ms: int, override: str
) -> list[str]:
    """Bring back parameters and capital of accounts that are there still; returns what was changed."""
    done = []
    there = stored_settings(connection)["accounts"]
    for account_id, then in stored["accounts"].items():
        now = there.get(account_id)
        if now is None or now["closed"]:
            continue
        before, wanted = now["parameters"], then["parameters"]
        names = ("strategy", "strategy_parameters", "risk_parameters")
        if wanted is not None and (before is None or any(before[name] != wanted[name] for name in names)):
            append_parameters(
                connection,
                actor,
                int(account_id),
                wanted["strategy"],
                wanted["strategy_parameters"],
                wanted["risk_parameters"],
                f"back to configuration {number}",
                now_ms,
                override=override,
            )
            done.append(f"account {now['name']}: parameters as in version {wanted['version']}")
        elif wanted is None and before is not None:
            raise InputError("version", number, f"account {now['name']} had no parameters then; set them in the page")
        if then["capital"] is not None and then["capital"] != now["capital"]:
            set_capital(connection, actor, int(account_id), Decimal(then["capital"]), now_ms)
            done.append(f"account {now['name']}: capital {then['capital']}")
    return done


def _left_alone(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what is not as it was in a version and was not brought back."""
    left = []
    for noun, place, brought in (("user", "users", ()), ("account", "accounts", ("parameters", "capital"))):
        for key in sorted({*then[place], *now[place]}):
            before, after = then[place].get(key), now[place].get(key)
            name = key if noun == "user" else (after or before)["name"]
            if before is None or after is None:
                left.append(f"left alone: {noun} {name} {'is new since' if before is None else 'is gone'}")
                continue
            for field in sorted({*before, *after} - set(brought)):
                if before.get(field) != after.get(field):
                    left.append(f"left alone: {noun} {name}: {field} stays {after.get(field)} (then {before.get(field)})")
    return left


def _copy(home: Path, version: int, text: str | None) -> None:
    """Keep a copy of a ctp.toml that works."""
    folder = home / COPIES
    folder.mkdir(mode=0o700, exist_ok=True)
    replace_file(folder / f"{version}.toml", (text or "").encode())


def _owner(file: Path) -> str:
    """Return the name of the system's user who owns a file."""
    number = file.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _text(stored: Mapping[str, Any]) -> str:
    """Return stored settings as lines that can be compared."""
    return json.dumps(stored, ensure_ascii=False, indent=1, sort_keys=True)

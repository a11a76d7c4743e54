"""The recovery sheet: printed, typed in on a bare machine, and what a mistake in it costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ctp.accounts.vault import FILE, Vault
from ctp.backup.keys import BackupKeys
from ctp.backup.restore import restore_home
from ctp.backup.sheet import enter_sheet, recovery_sheet
from ctp.backup.target import LocalTarget
from ctp.cli.app import app
from ctp.config import Settings
from ctp.errors import InputError, StateConflict
from tests.backup.made import HOUR, NOW, back_up, filled_home


def test_paper_and_archives_bring_everything_back_on_a_bare_machine(tmp_path: Path, sqlite_template: Path) -> None:
    """Two backup keys and two Fernet keys; typed in small letters."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=5)
    older = back_up(settings)
    BackupKeys(settings.keys).rotate()
    newer = back_up(settings, "full", NOW + HOUR)
    Vault(settings.keys).create()
    text = recovery_sheet(settings, NOW)
    bare = Settings(home=tmp_path / "bare")
    assert enter_sheet(bare, text.replace("B1: ", "b1: ").lower()) == (2, 1)
    assert (bare.keys / FILE).read_text() == (settings.keys / FILE).read_text()
    for file in bare.keys.iterdir():
        assert file.stat().st_mode & 0o077 == 0
    for made in (older, newer):
        restore_home(bare, LocalTarget(settings.backups), made.id, NOW + HOUR, override="random words")
    assert enter_sheet(bare, text) == (2, 1)


def test_a_mistyped_letter_is_named_by_its_line_and_nothing_is_written(tmp_path: Path, sqlite_template: Path) -> None:
    """Every single letter of the first key."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=1)
    BackupKeys(settings.keys).create()
    line = next(one for one in recovery_sheet(settings, NOW).splitlines() if one.startswith("  B1:"))
    bare = Settings(home=tmp_path / "bare")
    start, end = line.index(": ") + 2, line.index(" /")
    for position in (one for one in range(start, end) if line[one] != " "):
        other = "A" if line[position] != "A" else "B"
        with pytest.raises(InputError, match="B1"):
            enter_sheet(bare, line[:position] + other + line[position + 1 :])
    with pytest.raises(InputError, match="not complete"):
        enter_sheet(bare, line[:40])
    with pytest.raises(InputError, match="no line"):
        enter_sheet(bare, "hello")
    assert not list(bare.keys.iterdir())


def test_keys_that_are_in_use_are_not_replaced(tmp_path: Path, sqlite_template: Path) -> None:
    """A sheet of another server must not lock this one's exchange keys away."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=1)
    other = filled_home(tmp_path / "other", sqlite_template, rows=1)
    for one in (settings, other):
        Vault(one.keys).create()
        BackupKeys(one.keys).create()
    before = (other.keys / FILE).read_bytes()
    with pytest.raises(StateConflict, match="other keys already"):
        enter_sheet(other, recovery_sheet(settings, NOW))
    assert (other.keys / FILE).read_bytes() == before


def test_the_commands_print_and_take_a_sheet(home: Path, sqlite_template: Path) -> None:
    """And rotation says that the sheet is out of date."""
    (home / "ctp.db").write_bytes(sqlite_template.read_bytes())
    run = CliRunner().invoke
    printed = run(app, ["keys", "sheet"])
    assert printed.exit_code == 0 and "KEEP IN A SAFE" in printed.output
    assert run(app, ["keys", "enter"], input=printed.output).exit_code == 0
    rotated = run(app, ["keys", "rotate", "--backup"])
    assert "out of date" in rotated.output, rotated.output
    assert run(app, ["keys", "sheet"]).output != printed.output

"""The pages about backups: the same commands in both languages, each understood, and the schedule as the program has it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from ctp.backup.jobs import backup_jobs
from ctp.backup.state import DRILL_LATE_MS, LATE_MS
from ctp.backup.user_import import _MOST_BESIDE_THE_BOT
from ctp.cli import app
from ctp.config import BackupSettings, Settings
from ctp.storage.database import Database

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("backup.md", "backup.ko.md")


def page(name: str) -> str:
    """Return a page."""
    return (DOCS / name).read_text("utf-8")


def quoted(name: str) -> list[str]:
    """Return what stands between backticks outside of blocks."""
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", page(name), flags=re.DOTALL | re.MULTILINE))


def blocks(name: str) -> dict[str, list[str]]:
    """Return a page's shell blocks by name, without remarks."""
    found = re.findall(r"^```sh (\S+)\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE)
    return {key: [re.sub(r"\s+# .*", "", line) for line in text.splitlines()] for key, text in found}


def commands() -> list[str]:
    """Return every `ctp …` of the page, in blocks, in their remarks and between them."""
    told = re.findall(r"(?:^|# .*?|, |; )(ctp (?:backup|restore) [a-z]+)", page(PAGES[0]), re.MULTILINE)
    lines = [line for block in blocks(PAGES[0]).values() for line in block if line.startswith("ctp ")]
    named = [one for one in quoted(PAGES[0]) if one.startswith("ctp ")]
    whole = {re.sub(r" \||[\[\]]", " ", one).split(" lpr")[0].strip() for one in (*named, *told, *lines)}
    return sorted(whole)


def test_both_languages_give_the_same_commands_and_tables() -> None:
    assert blocks(PAGES[0]) == blocks(PAGES[1])
    assert sorted(quoted(PAGES[0])) == sorted(quoted(PAGES[1]))
    assert page(PAGES[0]).count("\n|") == page(PAGES[1]).count("\n|")
    assert page(PAGES[0]).count("\n## ") == page(PAGES[1]).count("\n## ")


@pytest.mark.parametrize("command", commands())
def test_a_command_is_understood(command: str) -> None:
    arguments = shlex.split(command)[1:]
    node = typer.main.get_command(app)
    while hasattr(node, "commands"):
        assert arguments and arguments[0] in node.commands, command
        node = node.commands[arguments.pop(0)]
    is_named_only = not arguments and any(one.required for one in node.params)
    if not is_named_only:
        node.make_context(node.name, arguments)


def test_the_numbers_are_the_programs(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    kept = BackupSettings()
    schedules = {job.name: str(job.schedule) for job in backup_jobs(settings, Database(settings.database_url))}
    assert schedules["backup_full"].startswith("daily 02:00") and schedules["backup_config"].startswith("weekly sun 02:30")
    assert schedules["backup_verify"].startswith("weekly sun 03:00") and schedules["backup_drill"].startswith("monthly 1 04:30")
    assert schedules["backup_incremental"] == "every 14400 s" and schedules["backup_age"] == "every 3600 s"
    said = ("{0} daily, {1} weekly, {2} monthly", "일간 {0}개, 주간 {1}개, 월간 {2}개")
    for text, words in zip(map(page, PAGES), said, strict=True):
        assert words.format(kept.daily, kept.weekly, kept.monthly) in text
        for number in (LATE_MS // 3_600_000, DRILL_LATE_MS // 86_400_000, f"{_MOST_BESIDE_THE_BOT:,}", "02:30", "04:30"):
            assert str(number) in text
